"""Folders of results: what is written, what is kept, what is removed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from messages import naming
from processes import another_has

from diversity_by_design.errors import InputError
from diversity_by_design.running.records import portable
from diversity_by_design.running.results import ResultFolder, settle_layout

FRAME = pd.DataFrame({"perturbation": ["A", "B+C"], "mse": [1 / 3, np.nan]})
CAPTIONS = {
    "bias": {"title": "Bias", "caption": "See", "paper": "2D/E"},
    "scores": {"title": "Scores", "caption": "All scores"},
    "*": {"title": "", "caption": ""},
}


def open_folder(path: Path, checksum: str = "sha256:0123", **changed) -> ResultFolder:
    options = {
        "analysis": "2_sweeps",
        "title": "Sweeps",
        "dataset": SimpleNamespace(
            name="demo", path=Path("/data/demo.h5ad"), checksum=checksum, report={"n_cells": np.int64(7)}
        ),
        "seed": 0,
        "parameters": {"grid": [1, 2]},
        "captions": CAPTIONS,
    }
    return ResultFolder(path, **{**options, **changed})


def draw() -> plt.Figure:
    figure, axes = plt.subplots(figsize=(2, 1.5))
    axes.plot([0, 1], [0, 1], label="β")
    axes.set_title(r"$\mu^{all}$ → Δ")
    axes.legend()
    return figure


def record(path: Path) -> dict:
    return json.loads((path / "run.json").read_text())


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file() and file.name[0] != "."}


def finish_first_run(path: Path) -> dict[str, bytes]:
    """A finished run, and a file of somebody else beside its files; what is there then."""
    folder = open_folder(path)
    folder.table("scores", FRAME)
    folder.table("only_earlier", FRAME)
    folder.figure("bias", draw(), FRAME)
    with folder.file("predictions/mse.h5ad") as file:
        file.write_text("earlier")
    folder.note("old")
    folder.finish()
    (path / "mine.csv").write_text("mine")
    return content(path) | {"mse.h5ad": (path / "predictions" / "mse.h5ad").read_bytes()}


def test_run_json_tells_how_the_results_were_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["analyses/2_sweeps.py", "--dataset", "/elsewhere/screen.h5ad", f"--output={tmp_path}/results"]
    monkeypatch.setattr(sys, "argv", command)
    folder = open_folder(tmp_path / "results")
    folder.table("scores", FRAME, show=True)
    folder.figure("bias", draw(), FRAME)
    folder.figure("pair", draw(), {"points": FRAME, "trend": FRAME})
    folder.note("B was left out")
    folder.note("B was left out")
    assert not folder.complete
    folder.finish()

    run = record(folder.path)
    assert run["command"] == ["analyses/2_sweeps.py", "--dataset", "screen.h5ad", "--output=results"]
    assert (run["analysis"], run["title"], run["seed"]) == ("2_sweeps", "Sweeps", 0)
    assert run["parameters"] == {"grid": [1, 2]}
    assert run["input"] == {"name": "demo", "checksum": "sha256:0123", "report": {"n_cells": 7}}
    assert run["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert run["versions"]["numpy"] == np.__version__
    assert set(run["versions"]) == {"python", "diversity_by_design", "numpy", "scipy", "pandas", "anndata", "scanpy"}
    assert run["started"] <= run["finished"]
    assert run["finished"].endswith("+00:00")
    assert run["seconds"] > 0
    assert run["notes"] == ["B was left out"]
    assert [(table["file"], table["caption"], table["shown"]) for table in run["tables"]] == [
        ("scores.csv", "All scores", True)
    ]
    assert [figure["data"] for figure in run["figures"]] == [["bias.csv"], ["pair_points.csv", "pair_trend.csv"]]
    assert run["figures"][0] == {
        "name": "bias",
        "png": "bias.png",
        "pdf": "bias.pdf",
        "data": ["bias.csv"],
        "title": "Bias",
        "caption": "See",
        "paper": "2D/E",
    }
    listed = {"run.json", "scores.csv", *(f"bias.{kind}" for kind in ("png", "pdf", "csv"))}
    assert set(content(folder.path)) == listed | {"pair.png", "pair.pdf", "pair_points.csv", "pair_trend.csv"}
    assert str(tmp_path) not in (folder.path / "run.json").read_text()


def test_floats_are_written_to_ten_digits(tmp_path):
    path = open_folder(tmp_path).table("scores", FRAME)
    assert path.read_text() == "perturbation,mse\nA,0.3333333333\nB+C,\n"


def test_complete_only_once_finished_and_while_all_files_are_there(tmp_path):
    folder = open_folder(tmp_path)
    path = folder.table("scores", FRAME)
    assert not open_folder(tmp_path).complete
    folder.finish()
    before = content(tmp_path)
    assert open_folder(tmp_path).complete
    assert content(tmp_path) == before  # opening what is finished changes nothing
    path.unlink()
    assert not open_folder(tmp_path).complete


def test_interrupted_run_goes_on_without_making_a_table_again(tmp_path):
    first = open_folder(tmp_path).cached_table("sweep_k", lambda: FRAME)
    started = record(tmp_path)["started"]

    again = open_folder(tmp_path)
    second = again.cached_table("sweep_k", lambda: pytest.fail("made again"))
    pd.testing.assert_frame_equal(first, second)
    assert first["mse"].iat[0] == 0.3333333333  # what the file says, also when it was just made
    again.finish()
    assert record(tmp_path)["started"] == started
    assert [table["name"] for table in record(tmp_path)["tables"]] == ["sweep_k"]


def test_table_that_was_being_written_is_made_again(tmp_path):
    def stop() -> pd.DataFrame:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_folder(tmp_path).cached_table("sweep_k", stop)
    (tmp_path / "sweep_k.csv").write_text("not recorded, so not trusted\n")
    table = open_folder(tmp_path).cached_table("sweep_k", lambda: FRAME)
    assert list(table["perturbation"]) == ["A", "B+C"]


OTHER_RUNS = {
    "seed": {"seed": 1},
    "input": {"checksum": "sha256:other"},
    "parameters": {"parameters": {"grid": [1, 3]}},
    "captions": {"captions": {**CAPTIONS, "scores": {"title": "Scores", "caption": "Every score"}}},
    "force": {"force": True},
}


@pytest.mark.parametrize("changed", OTHER_RUNS.values(), ids=OTHER_RUNS)
def test_another_run_keeps_the_earlier_results_until_it_is_complete(tmp_path, changed):
    earlier = finish_first_run(tmp_path)
    anew = open_folder(tmp_path, **changed)
    assert not anew.complete
    made = anew.cached_table("scores", lambda: FRAME.head(1))
    with anew.file("predictions/mse.h5ad") as file:
        file.write_text("new")
    with anew.file("predictions/wmse.h5ad") as file:
        file.write_text("new")
    anew.note("new")
    assert len(made) == 1
    assert content(tmp_path) | {"mse.h5ad": (tmp_path / "predictions" / "mse.h5ad").read_bytes()} == earlier

    anew.finish()
    assert set(content(tmp_path)) == {"run.json", "scores.csv", "mine.csv"}
    assert {file.name: file.read_text() for file in (tmp_path / "predictions").iterdir()} == {
        "mse.h5ad": "new",
        "wmse.h5ad": "new",
    }
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == [".lock"]
    assert record(tmp_path)["notes"] == ["new"] and record(tmp_path)["complete"]
    again = open_folder(tmp_path, **changed | {"force": False})
    assert again.complete
    assert len(again.cached_table("scores", lambda: pytest.fail("made again"))) == 1


def test_another_run_goes_on_where_it_was_interrupted(tmp_path):
    earlier = finish_first_run(tmp_path)
    open_folder(tmp_path, seed=1).cached_table("scores", lambda: FRAME.head(1))
    again = open_folder(tmp_path, seed=1)
    assert len(again.cached_table("scores", lambda: pytest.fail("made again"))) == 1
    # A third run starts anew, and so does the second after it; the first is still there.
    assert len(open_folder(tmp_path, seed=2).cached_table("scores", lambda: FRAME)) == 2
    assert len(open_folder(tmp_path, seed=1).cached_table("scores", lambda: FRAME.head(0))) == 0
    assert content(tmp_path).items() <= earlier.items()
    assert open_folder(tmp_path).complete


class Killed(BaseException):
    """The program ends here."""


def kill_at_change(number: int, monkeypatch) -> list[str]:
    """Let the program end instead of the `number`-th change of a file's name or place; the changes made before."""
    changes = []

    def counted(change):
        def changed(*arguments, **options):
            if len(changes) == number:
                raise Killed
            changes.append(change.__name__)
            return change(*arguments, **options)

        return changed

    monkeypatch.setattr(os, "replace", counted(os.replace))
    monkeypatch.setattr(shutil, "rmtree", counted(shutil.rmtree))
    return changes


def test_replacement_that_is_killed_is_completed_by_the_next_start(tmp_path, monkeypatch):
    finish_first_run(tmp_path / "whole")
    for number in range(20):
        path = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", path)
        anew = open_folder(path, seed=1)
        anew.table("scores", FRAME.head(1))
        with anew.file("predictions/wmse.h5ad") as file:
            file.write_text("new")
        with monkeypatch.context() as patch:
            changes = kill_at_change(number, patch)
            try:
                anew.finish()
                break
            except Killed:
                assert "only_earlier.csv" in content(path) or "rmtree" in changes
        again = open_folder(path, seed=1)
        # Nothing was lost: either the new run goes on, or it is in its place.
        assert again.complete == (number > 0)
        assert len(again.cached_table("scores", lambda: pytest.fail("made again"))) == 1
        again.finish()
        assert set(content(path)) == {"run.json", "scores.csv", "mine.csv"}
        assert [file.name for file in (path / "predictions").iterdir()] == ["wmse.h5ad"]
        assert [entry.name for entry in path.iterdir() if entry.name.startswith(".")] == [".lock"]
        assert record(path)["complete"] and record(path)["obsolete"] == []
    assert changes == ["replace"] * 4 + ["rmtree", "replace"]


def test_files_of_any_kind_are_results(tmp_path):
    folder = open_folder(tmp_path)
    with folder.file(Path("predictions") / "wmse-power0.5_seed3.h5ad") as temporary:
        temporary.write_text("half")
        assert not (tmp_path / "predictions" / "wmse-power0.5_seed3.h5ad").exists()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mse.safetensors").write_text("written elsewhere")
    folder.keep("models/mse.safetensors")
    folder.finish()
    assert record(tmp_path)["files"] == [
        {"name": "predictions/wmse-power0.5_seed3.h5ad"},
        {"name": "models/mse.safetensors"},
    ]
    assert open_folder(tmp_path).complete
    (tmp_path / "models" / "mse.safetensors").unlink()
    assert not open_folder(tmp_path).complete


def test_a_file_that_could_not_be_written_is_not_recorded(tmp_path):
    folder = open_folder(tmp_path)
    with pytest.raises(ZeroDivisionError), folder.file("model.safetensors"):
        raise ZeroDivisionError
    assert record(tmp_path)["files"] == []
    folder.table("scores", FRAME)
    with pytest.raises(InputError, match=r"scores\.csv"):
        folder.keep("scores.csv")


def test_what_other_analyses_left_is_part_of_the_run(tmp_path):
    read = tmp_path / "1_sweep" / "correlations.csv"
    read.parent.mkdir()
    read.write_text("r\n0.5\n")
    path = tmp_path / "2_sweeps"
    open_folder(path, reads=[read]).finish()
    assert list(record(path)["reads"]) == ["1_sweep/correlations.csv"]
    assert open_folder(path, reads=[read]).complete
    assert not open_folder(path).complete
    read.write_text("r\n0.6\n")
    assert not open_folder(path, reads=[read]).complete


def test_a_second_program_is_refused_until_the_first_has_ended(tmp_path):
    before = finish_first_run(tmp_path)
    with another_has(tmp_path) as process:
        for options in ({}, {"force": True}):
            with pytest.raises(InputError, match=naming(tmp_path, process)):
                open_folder(tmp_path, **options)
        assert content(tmp_path).items() <= before.items()
    folders = [open_folder(tmp_path) for _ in range(2)]  # one program may open it again
    assert len(folders) == 2


def test_a_finished_run_lets_others_in(tmp_path):
    folder = open_folder(tmp_path)
    folder.finish()
    with another_has(tmp_path):
        pass


def test_edited_code_starts_anew(tmp_path, monkeypatch):
    script = tmp_path / "analysis.py"
    script.write_text("SEED = 1")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
    open_folder(tmp_path / "results").finish()
    assert open_folder(tmp_path / "results").complete
    script.write_text("SEED = 2")
    assert not open_folder(tmp_path / "results").complete


@pytest.mark.parametrize("file", ["../outside.csv", "/outside.csv"])
def test_record_that_names_files_elsewhere_is_refused(tmp_path, file):
    folder = open_folder(tmp_path)
    folder.table("scores", FRAME)
    run = record(tmp_path)
    run["tables"][0]["file"] = file
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(InputError, match=naming("run.json", file)):
        open_folder(tmp_path, force=True)


def test_folder_of_another_analysis_is_left_alone(tmp_path):
    path = open_folder(tmp_path).table("scores", FRAME)
    with pytest.raises(InputError, match=naming(tmp_path, "2_sweeps", "3_niche")):
        open_folder(tmp_path, analysis="3_niche", force=True)
    assert path.exists()


@pytest.mark.parametrize("text", ["{half", "[]", '{"tables": [], "figures": []}'])
def test_run_json_of_something_else_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=naming("run.json")):
        open_folder(tmp_path)
    assert (tmp_path / "run.json").read_text() == text


def test_two_results_cannot_share_a_file(tmp_path):
    folder = open_folder(tmp_path)
    folder.table("scores", FRAME)
    with pytest.raises(InputError, match=naming("scores.csv")):
        folder.figure("scores", draw(), FRAME)
    folder.table("scores", FRAME.head(1))  # the same result again replaces it
    assert record(tmp_path)["tables"][0]["rows"] == 1


@pytest.mark.parametrize("name", ["../scores", "a/b", "", ".hidden", "β"])
def test_names_that_no_file_should_have_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="cannot name a result"):
        open_folder(tmp_path).table(name, FRAME)


@pytest.mark.parametrize("name", ["../scores.csv", "/scores.csv", "", ".hidden", "a/.b/c", "a b", "scores."])
def test_paths_that_no_file_should_have_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="cannot name a result"), open_folder(tmp_path).file(name):
        pytest.fail("accepted")


def test_failed_figure_is_closed_and_not_recorded(tmp_path):
    figure = draw()
    folder = open_folder(tmp_path)
    with pytest.raises(ValueError, match="reset_index"):
        folder.figure("bias", figure, FRAME.set_index("perturbation"))
    assert figure.number not in plt.get_fignums()
    assert record(tmp_path)["figures"] == []
    assert set(content(tmp_path)) == {"run.json"}


DRAW = """
import sys
from pathlib import Path
from types import SimpleNamespace
import matplotlib
matplotlib.use("agg")
import matplotlib.pyplot as plt
import pandas as pd
from diversity_by_design.running.results import ResultFolder
matplotlib.rcParams["pdf.fonttype"] = 42
folder = ResultFolder(Path(sys.argv[1]), analysis="a", title="A", seed=0, parameters={},
                      captions={"bias": {"title": "", "caption": ""}},
                      dataset=SimpleNamespace(name="demo", path=Path("d"), checksum="c", report=None))
figure, axes = plt.subplots(figsize=(2, 1.5))
axes.scatter([0, 1], [0, 1], label="\\u03b2", rasterized=True)
axes.set_title(r"$\\mu^{all}$ \\u2192 \\u0394")
axes.legend()
folder.figure("bias", figure, pd.DataFrame({"x": [0, 1]}))
"""


def test_figures_are_the_same_bytes_in_every_run(tmp_path):
    """Another process, another time, another hash seed."""
    for run, hash_seed, day in (("one", "1", "1000000000"), ("two", "2", "2000000000")):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "SOURCE_DATE_EPOCH": day}
        subprocess.run([sys.executable, "-c", DRAW, str(tmp_path / run)], check=True, env=environment)
    for kind in ("png", "pdf"):
        pictures = [(tmp_path / run / f"bias.{kind}").read_bytes() for run in ("one", "two")]
        assert pictures[0] == pictures[1], kind


def test_last_digits_of_the_layout_do_not_reach_the_file():
    figure, panels = plt.subplots(2, 3, layout="constrained")
    panels[0, 0].set(xlabel="cells per perturbation", ylabel="MSE", aspect="equal")
    figure.draw_without_rendering()
    automatic = [axes.get_position(original=True).get_points() for axes in figure.axes]
    settle_layout(figure)
    figure.draw_without_rendering()
    settled = [axes.get_position(original=True).get_points() for axes in figure.axes]
    plt.close(figure)
    assert not np.array_equal(automatic, settled)
    np.testing.assert_array_equal(settled, np.round(settled, 6))
    np.testing.assert_allclose(settled, automatic, atol=1e-6)


def test_portable_keeps_what_is_no_path():
    assert [portable(text) for text in ("--seed", "--seed=3", "norman19", "a=b")] == [
        "--seed",
        "--seed=3",
        "norman19",
        "a=b",
    ]
