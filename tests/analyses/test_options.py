"""Scripts answer --help, and refuse what cannot be, before anything heavy is imported."""

import inspect
import re
import runpy
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from conftest import ROOT
from messages import naming

from diversity_by_design.models.gears.options import GEARSOptions
from diversity_by_design.simulator.ranges import SweepRanges
from diversity_by_design.simulator.simulation import DEVICES

HEAVY = {"numpy", "pandas", "scipy", "torch", "scanpy", "anndata", "matplotlib", "numba", "jinja2", "requests", "h5py"}
SCRIPTS = [*sorted((ROOT / "analyses").glob("*.py")), *sorted((ROOT / "data").glob("*/get_data.py"))]
# Runs a script, and says on its last line what it imported.
RUN = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("\\n" + " ".join(name for name in sys.modules if "." not in name))
"""


def run(script: Path, *arguments: str) -> tuple[int, str, set[str]]:
    """Exit code, what was printed, and the heavy packages that were imported."""
    command = [sys.executable, "-c", RUN, str(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return done.returncode, done.stdout + done.stderr, HEAVY & set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_help_imports_nothing_heavy(script):
    code, shown, heavy = run(script, "--help")
    assert code == 0 and "--force" in shown
    assert heavy == set()


@pytest.mark.parametrize(
    ("script", "arguments", "named", "allowed"),
    [
        ("3_niche_sensitivity", ["--colour", "red"], ["--colour"], set()),
        ("3_niche_sensitivity", ["--dataset", "norman20"], ["norman20", "norman19"], set()),
        ("1_synthetic_sweep", ["--epsilon-scale", "cubic"], ["cubic", "linear", "log"], set()),
        ("1_synthetic_sweep", ["--parameters", "missing.csv"], ["--parameters", "missing.csv", "fit"], set()),
        ("1_synthetic_sweep", ["--device", "tpu"], ["--device", "tpu", "cpu", "cuda"], set()),
        ("1_synthetic_sweep", ["--device", "cuda:1"], ["--device", "cuda:1", "cpu", "cuda"], set()),
        ("1_synthetic_sweep", ["--k", "9", "3"], ["k", 9, 3], {"numpy"}),
        ("4_train_gears", ["--task", "all"], ["--task", "all", "unseen"], set()),
        ("4_train_gears", ["--losses", "mse,rmse"], ["rmse", "gears"], {"numpy"}),
        ("4_train_gears", ["--losses", "gears", "--pseudobulk"], ["GEARS"], {"numpy"}),
        ("reproduce", ["--only", "9"], ["--only", 9, 1], set()),
    ],
)
def test_what_cannot_be_is_refused_before_data_are_loaded(script, arguments, named, allowed):
    code, shown, heavy = run(ROOT / "analyses" / f"{script}.py", *arguments)
    assert code == 2
    assert "Traceback" not in shown
    assert all(re.search(naming(name), shown) for name in named), shown
    assert heavy <= allowed


def test_defaults_of_training_are_those_of_gears():
    training = runpy.run_path(str(ROOT / "analyses" / "4_train_gears.py"))["Training"]
    ours, theirs = training(), GEARSOptions()
    assert {field.name for field in fields(training)} == {field.name for field in fields(theirs)} - {"loss", "seed"}
    assert all(getattr(ours, field.name) == getattr(theirs, field.name) for field in fields(training))


def test_ranges_that_help_shows_are_those_of_table_1():
    script = runpy.run_path(str(ROOT / "analyses" / "1_synthetic_sweep.py"))
    options = inspect.get_annotations(script["Ranges"], globals=script, eval_str=True)
    assert script["Ranges"]().chosen() == SweepRanges()
    for field in fields(script["Ranges"]):
        if field.name != "epsilon_scale":
            [option] = options[field.name].__metadata__
            expected = getattr(SweepRanges(), field.name)
            assert option.show_default == f"{expected.low:g} {expected.high:g}"
            assert expected.scale in option.help or "--epsilon-scale" in option.help
    assert script["DEVICES"] == DEVICES
