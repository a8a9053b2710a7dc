"""The numbered scripts, run as a user runs them: on a file of one's own, interrupted, and with bad input."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import anndata as ad
import pandas as pd
import pytest
from conftest import ROOT
from examples import write_counts
from messages import naming
from processes import wait_until

# A sweep over simulated data sets that takes seconds; reproduce.py hands its seed on.
SMALL_SWEEP = ("--n-datasets", "20", "--max-entries", "300000")
# GEARS is trained where its packages are.
WITH_GEARS = find_spec("torch") is not None
SMALL_TRAINING = ("--epochs", "1", "--seeds", "1")
OPTIONS = {"1_synthetic_sweep": (*SMALL_SWEEP, "--seed", "0"), "4_train_gears": SMALL_TRAINING}
FIGURES = {
    "1_synthetic_sweep": {
        "gene_parameter_histograms": "",
        "gene_fits": "",
        "library_size_histograms": "",
        "control_and_perturbed": "",
        "metrics_compared": "",
        "beta_pearson_delta": "2C",
        "n_0_pearson_delta": "5G",
        "k_pearson_delta_affected": "5K",
        "table2_heat_map": "",
        "sweep_overview": "",
    },
    "2_real_data_sweeps": {
        "trinary_degs_vs_control": "2A, 5A",
        "deg_frequency_rank": "5B",
        "deg_frequency_comparison": "5C",
        "deg_counts_vs_control": "5D",
        "deg_counts_vs_rest": "5E",
        "beta_pearson_delta": "2D/E",
        "n_0_pearson_delta": "5H/I",
        "k_pearson_delta_degs": "5L/M",
        "sweeps_overview": "",
    },
    "3_niche_sensitivity": {"niche_sensitivity": "3", "weights": ""},
    "5_compare_models": {
        "baseline_metrics": "6",
        "deg_count_groups": "9",
        "duplicate_strength": "7",
        "calibrated_scores": "",
    },
}
if WITH_GEARS:
    FIGURES["4_train_gears"] = {"training_curves": ""}
    FIGURES["5_compare_models"]["model_comparison"] = "8"
SHOWN = {
    "1_synthetic_sweep": "table2",
    "2_real_data_sweeps": "table3",
    "3_niche_sensitivity": "summary",
    "4_train_gears": "jobs",
    "5_compare_models": "summary",
}
PARAMETERS = ("epsilon", "g", "n_p", "beta", "delta", "n_0", "k", "mu_l")


@pytest.fixture(scope="module")
def screen(tmp_path_factory) -> Path:
    """Raw counts of a small screen, with the condition in a column of its own name."""
    return write_counts(tmp_path_factory.mktemp("own") / "own.h5ad")


def command_of(name: str, screen: Path, folder: Path, *arguments: str) -> dict:
    """What subprocess needs to know of a script's run."""
    return {
        "args": [sys.executable, str(ROOT / "analyses" / f"{name}.py"), "--dataset", str(screen),
                 "--output", str(folder), "--perturbation-key", "guide", "--min-genes-per-cell", "1", *arguments],
        "env": {**os.environ, "DBD_DATA_DIR": str(folder / "data"), "MPLBACKEND": "Agg"},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }  # fmt: skip


def run(name: str, screen: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(**command_of(name, screen, folder, *arguments))


def graph_of(screen: Path) -> tuple[str, str]:
    """The option for a graph of the perturbed genes but the last, which is written beside the screen."""
    edges = screen.with_name("edges.csv")
    rows = [f"P{number},P{(number + 1) % 6},0.5" for number in range(6)]
    edges.write_text("\n".join(["source,target,importance", *rows]))
    return "--graph", str(edges)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name not in ("run.json", ".lock")}


@pytest.fixture(scope="module")
def finished(screen, tmp_path_factory) -> Path:
    """Folder of results in which reproduce.py has run every analysis."""
    folder = tmp_path_factory.mktemp("finished")
    only = () if WITH_GEARS else ("--only", "1,2,3,5")
    first = run("reproduce", screen, folder, *SMALL_SWEEP, *SMALL_TRAINING, *graph_of(screen), *only)
    assert first.returncode == 0, first.stderr
    assert str(folder / "own" / "index.html") in first.stdout.splitlines()[-1]
    return folder


def test_page_shows_every_figure_in_a_browser(finished, open_in_browser):
    page = (finished / "own" / "index.html").read_text(encoding="utf-8")
    seen = open_in_browser(page)
    assert len(seen["pictures"]) == sum(map(len, FIGURES.values()))
    assert all(picture["whole"] for picture in seen["pictures"])
    assert seen["refused"] == []
    assert "table3.csv" in page


@pytest.mark.parametrize("name", FIGURES)
def test_writes_its_figures_and_tables_and_only_once(name, screen, finished):
    folder = finished / "own" / name
    record = json.loads((folder / "run.json").read_text())
    assert record["complete"] and record["seed"] == 0
    assert {figure["name"]: figure["paper"] for figure in record["figures"]} == FIGURES[name]
    for figure in record["figures"]:
        assert figure["caption"] and "nan" not in figure["caption"].split()
        assert all((folder / file).stat().st_size for file in [figure["png"], figure["pdf"], *figure["data"]])
    assert next(table["name"] for table in record["tables"] if table["shown"]) == SHOWN[name]

    written = {file.name: file.stat().st_mtime_ns for file in folder.iterdir() if file.name != ".lock"}
    graph = graph_of(screen) if name == "4_train_gears" else ()
    again = run(name, screen, finished, *OPTIONS.get(name, ()), *graph)
    assert re.search(naming(folder, "--force"), again.stdout)
    unchanged = {file.name: file.stat().st_mtime_ns for file in folder.iterdir() if file.name != ".lock"}
    del written["run.json"], unchanged["run.json"]
    assert unchanged == written


@pytest.mark.skipif(not WITH_GEARS, reason="the packages for training are not installed")
def test_training_says_what_it_left_out_and_tests_every_other_perturbation_once(finished):
    folder = finished / "own" / "4_train_gears"
    notes = " ".join(json.loads((folder / "run.json").read_text())["notes"])
    assert re.search(naming("unseen", "P6", "P0+P1"), notes)
    splits = pd.read_csv(folder / "splits.csv")
    tested = splits.loc[splits["role"] == "test", "perturbation"]
    assert sorted(tested) == [f"P{number}" for number in range(6)]
    assert set(pd.read_csv(folder / "jobs.csv")["status"]) == {"done"}
    assert sorted(path.name for path in (folder / "predictions").iterdir()) == [
        "gears_gears_seed0.h5ad",
        "gears_mse_seed0.h5ad",
        "gears_wmse_seed0.h5ad",
    ]


@pytest.mark.skipif(not WITH_GEARS, reason="the packages for training are not installed")
def test_training_leaves_a_combination_of_three_out_by_name(screen, tmp_path):
    cells = ad.read_h5ad(screen)
    cells.obs["guide"] = cells.obs["guide"].cat.rename_categories({"P0+P1": "P2+P1+P0"})
    cells.write_h5ad(tmp_path / "own.h5ad")
    options = (*graph_of(screen), "--losses", "mse", *SMALL_TRAINING)
    done = run("4_train_gears", tmp_path / "own.h5ad", tmp_path, *options)
    assert done.returncode == 0, done.stderr
    assert re.search(naming("GEARS", 2, "P0+P1+P2"), done.stdout)
    splits = pd.read_csv(tmp_path / "own" / "4_train_gears" / "splits.csv").set_index(["half", "perturbation"])
    assert splits["role"].xs("P0+P1+P2", level="perturbation").tolist() == ["left_out", "left_out"]

    # A split that asks for it is refused before anything is trained.
    for half, test, validation in ((0, ["P4", "P5"], "P3"), (1, ["P0", "P1", "P2"], "P3")):
        splits.loc[half, "role"] = "train"
        splits.loc[(half, [*test, validation, "P6"]), "role"] = [*["test"] * len(test), "validation", "not_covered"]
    splits.loc[(1, "P0+P1+P2"), "role"] = "left_out"
    splits.to_csv(tmp_path / "mine.csv")
    done = run("4_train_gears", tmp_path / "own.h5ad", tmp_path, *options, "--split", str(tmp_path / "mine.csv"))
    assert done.returncode == 2, done.stderr
    assert re.search(naming("half 0", "GEARS", 2, "P0+P1+P2", "left_out"), done.stderr)


@pytest.mark.skipif(not WITH_GEARS, reason="the packages for training are not installed")
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], ["data/gene_ontology/get_data.py", "--graph"]),
        (["--losses", "mse,rmse"], ["rmse", "gears"]),
        (["--losses", "gears", "--pseudobulk"], ["GEARS", "mse", "wmse"]),
        (["--task", "combinations", "--graph", "GRAPH"], ["combinations", 4, 1]),
        (["--device", "tpu"], ["tpu", "cpu", "cuda"]),
        (["--graph", "GRAPH", "--split", "GRAPH"], ["edges.csv", "perturbation", "role"]),
    ],
)
def test_bad_options_of_training_are_explained(arguments, named, screen, tmp_path):
    graph = graph_of(screen)[1]
    found = run("4_train_gears", screen, tmp_path, *[graph if one == "GRAPH" else one for one in arguments])
    assert found.returncode == 2, found.stderr
    assert "Traceback" not in found.stderr
    assert re.search(naming(*named), found.stderr)


@pytest.mark.skipif(not WITH_GEARS, reason="the packages for training are not installed")
def test_predictions_stay_until_those_of_another_training_are_complete(screen, finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "own" / "4_train_gears"
    before = contents(folder / "predictions")
    options = (*graph_of(screen), "--losses", "mse", "--seeds", "1", "--workers", "1")
    # A training that is killed while it is at it.
    command = command_of("4_train_gears", screen, tmp_path, *options, "--epochs", "2000")
    with subprocess.Popen(**command) as training:
        assert wait_until(lambda: len(list((folder / "checkpoints").iterdir())) > 6, 120)
        training.kill()
    assert (folder / ".unfinished" / "splits.csv").exists()
    assert contents(folder / "predictions") == before
    assert json.loads((folder / "run.json").read_text())["complete"]

    assert run("4_train_gears", screen, tmp_path, *options, "--epochs", "1").returncode == 0
    assert contents(folder / "predictions") == {"gears_mse_seed0.h5ad": before["gears_mse_seed0.h5ad"]}
    assert sorted(contents(folder / "models")) == [f"gears_mse_half{half}_seed0.safetensors" for half in (0, 1)]
    assert not (folder / ".unfinished").exists()


def test_sweeps_go_on_after_an_interruption_with_the_same_result(screen, finished, tmp_path):
    """A run that lost some sweeps and all figures ends with the files of one that was not interrupted."""
    whole = finished / "own" / "2_real_data_sweeps"
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "own" / "2_real_data_sweeps"
    record = json.loads((folder / "run.json").read_text())
    kept = record["tables"][:3]
    for results in (record["tables"][3:], record["figures"]):
        for result in results:
            for file in [result.get("file"), result.get("png"), result.get("pdf"), *result.get("data", [])]:
                if file:
                    (folder / file).unlink()
    (folder / "run.json").write_text(json.dumps(record | {"complete": False, "tables": kept, "figures": []}))
    times = {table["file"]: (folder / table["file"]).stat().st_mtime_ns for table in kept}
    assert run("2_real_data_sweeps", screen, tmp_path, "--workers", "1").returncode == 0
    assert contents(folder) == contents(whole)
    assert {file: (folder / file).stat().st_mtime_ns for file in times} == times, "finished sweeps are not run again"


def test_table_3_and_sweeps_are_tidy(finished):
    folder = finished / "own" / "2_real_data_sweeps"
    table = pd.read_csv(folder / "table3.csv")
    assert list(table.columns[:7]) == ["parameter", "metric", "ours", "low", "high", "paper", "n"]
    assert sorted(table["parameter"].unique()) == sorted(PARAMETERS)
    simulated = pd.read_csv(finished / "own" / "1_synthetic_sweep" / "table3.csv").set_index(["metric", "parameter"])
    expected = [simulated["ours"][row.metric, row.parameter] for row in table.itertuples()]
    assert table["simulation"].tolist() == pytest.approx(expected)
    for parameter in PARAMETERS:
        sweep = pd.read_csv(folder / f"sweep_{parameter}.csv")
        assert {"parameter", "value", "replicate", "perturbation", "pearson_delta_all", "mse_all"} <= set(sweep.columns)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--perturbation-key", "gene"], ["gene", "guide"]),
        (["--control-label", "NT"], ["NT", "guide", "P0"]),
        (["--dataset", "norman20"], ["norman20", "demo", "norman19", "replogle22", "papalexi21"]),
        (["--dataset", "missing.h5ad"], ["missing.h5ad"]),
        (["--min-genes-per-cell", "4000"], [4000]),
    ],
)
def test_bad_input_is_explained_without_a_traceback(arguments, named, screen, tmp_path):
    found = run("3_niche_sensitivity", screen, tmp_path, *arguments)
    assert found.returncode == 2
    assert "Traceback" not in found.stderr
    assert found.stderr.strip().splitlines()[-1].startswith("error: ")
    assert re.search(naming(*named), found.stderr)


def test_output_that_cannot_be_written(screen, tmp_path):
    (tmp_path / "taken").write_text("a file where a folder should be")
    found = run("3_niche_sensitivity", screen, tmp_path, "--output", str(tmp_path / "taken"))
    assert found.returncode == 2
    assert "Traceback" not in found.stderr
    assert str(tmp_path / "taken") in found.stderr
