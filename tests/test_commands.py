"""The `dbd` command: options and files that cannot be, several files at once, on this machine and on a cluster."""

import json
import re
import subprocess
import sys

import anndata as ad
import pytest
from dask_cluster import DaskProcesses
from inputs import cells_of
from messages import naming
from typer.testing import CliRunner

from diversity_by_design.commands import app

HEAVY = {"numpy", "pandas", "scipy", "torch", "scanpy", "anndata", "matplotlib", "numba", "jinja2", "requests", "h5py"}
# Runs `dbd`, and says on its last line what it imported.
RUN = """
import sys
from diversity_by_design.commands import app
try:
    app()
finally:
    print("\\n" + " ".join(name for name in sys.modules if "." not in name))
"""
LABELS = {"control": 20, "KLF1": 12, "BAK1": 12}


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("DBD_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def files(tmp_path):
    """Paths of three files, of which the second has control by another name."""
    paths = [tmp_path / f"screen{number}.h5ad" for number in range(3)]
    for number, path in enumerate(paths):
        labels = LABELS if number != 1 else {"NT": 20, "KLF1": 12, "BAK1": 12}
        cells_of(labels, seed=number).write_h5ad(path)
    return [str(path) for path in paths]


def run(*arguments: str) -> tuple[int, str, set[str]]:
    """Exit code, what was printed, and the heavy packages that were imported."""
    done = subprocess.run([sys.executable, "-c", RUN, *arguments], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr, HEAVY & set(done.stdout.splitlines()[-1].split())


def dbd(*arguments: str) -> tuple[int, str, str]:
    """Exit code, what was printed, and errors; in this process."""
    done = CliRunner().invoke(app, arguments)
    if not isinstance(done.exception, SystemExit | None):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["inspect", "--help"], ["prepare", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    code, shown, heavy = run(*arguments)
    assert code == 0 and "--help" in shown
    assert heavy == set()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["inspect", "missing.h5ad"], ["missing.h5ad"]),
        (["inspect", "table.csv"], ["table.csv", "text", ".h5ad"]),
        (["inspect", "table.csv", "--colour"], ["--colour"]),
        (["prepare", "missing.h5ad"], ["missing.h5ad"]),
        (["prepare", "table.csv"], ["table.csv", "text"]),
        (["prepare", "norman20"], ["norman20", "norman19"]),
        (["prepare", "demo", "--calls", "missing.csv"], ["--calls", "missing.csv"]),
        (["prepare", "demo", "--guide-suffix", "("], ["'('"]),
        (["prepare", "demo", "--cells-per-perturbation", "1"], ["--cells-per-perturbation", 2]),
        (["prepare", "demo", "--combination-separator", " "], ["' '"]),
    ],
)
def test_what_cannot_be_is_refused_before_anything_heavy_is_imported(tmp_path, monkeypatch, arguments, named):
    (tmp_path / "table.csv").write_text("cell,guide\na,b\n")
    monkeypatch.chdir(tmp_path)
    code, shown, heavy = run(*arguments)
    assert code == 2 and "Traceback" not in shown
    assert all(re.search(naming(name), shown) for name in named), shown
    assert heavy == set()


def test_inspect_prints_text_or_json(files):
    code, text, _ = dbd("inspect", files[0])
    assert code == 0 and f"dbd prepare {files[0]}" in text
    code, told, _ = dbd("inspect", files[0], "--json")
    assert code == 0 and json.loads(told)["command"] in text


def test_one_file(files, data_dir):
    code, out, _ = dbd("prepare", files[1], "--control-label", "NT", "--cells-per-perturbation", "8")
    assert code == 0 and "2 perturbations x 8 cells, 20 of 20 control cells" in out
    [path] = data_dir.rglob("processed*.h5ad")
    assert str(path) in out.splitlines()[-1] and ad.read_h5ad(path).n_obs == 36
    # What is prepared stays, unless told otherwise.
    before = path.stat().st_mtime_ns
    options = ["prepare", files[1], "--control-label", "NT", "--cells-per-perturbation", "8"]
    assert dbd(*options)[1] == f"{out.splitlines()[-1]}\n" and path.stat().st_mtime_ns == before
    assert "anew" in dbd(*options, "--force")[1] and path.stat().st_mtime_ns > before


def test_files_of_one_name_are_refused(files, tmp_path, data_dir):
    (tmp_path / "other").mkdir()
    copy = tmp_path / "other/screen0.h5ad"
    copy.write_bytes((tmp_path / "screen0.h5ad").read_bytes())
    code, _, errors = dbd("prepare", *files, str(copy))
    assert code == 2 and re.search(naming(files[0], copy, "screen0"), errors)
    assert not data_dir.exists()


def check_all_but_one(outcome, files, data_dir):
    code, out, errors = outcome
    assert code == 2
    assert re.search(naming(files[1], "'control'", "'NT'"), errors) and "1 of 3 files" in errors
    assert "Traceback" not in errors
    assert {path.parent.name for path in data_dir.rglob("processed*.h5ad")} == {"screen0", "screen2"}
    assert all(str(path) in out for path in data_dir.rglob("processed*.h5ad"))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_all_files_are_prepared_but_one_that_cannot_be(files, data_dir, workers):
    check_all_but_one(dbd("prepare", *files, "--workers", workers), files, data_dir)


def test_files_are_prepared_on_a_cluster(files, data_dir, tmp_path):
    with DaskProcesses(tmp_path, DBD_DATA_DIR=str(data_dir)) as cluster:
        cluster.add_worker()
        check_all_but_one(dbd("prepare", *files, "--scheduler", cluster.address), files, data_dir)


def test_a_fault_of_the_program_keeps_its_traceback(files, monkeypatch):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("diversity_by_design.commands._load", fail)
    code, _, errors = dbd("prepare", *files, "--workers", "1")
    assert code == 1
    assert "Traceback" in errors and f"{files[2]}: ZeroDivisionError: a fault" in errors
