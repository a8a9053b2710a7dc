"""The script that runs all analyses, with small stand-ins for them."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from messages import naming
from processes import another_has, running, wait_until

from diversity_by_design.datasets.script import Preparation
from diversity_by_design.errors import InputError
from diversity_by_design.running import records

SCRIPT = Path(__file__).parents[2] / "analyses" / "reproduce.py"


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reproduce", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["reproduce"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


reproduce = load_script()


@pytest.fixture
def scripts(tmp_path) -> Path:
    """Folder with a stand-in for each analysis, which writes its arguments to a file named after it."""
    folder = tmp_path / "analyses"
    folder.mkdir()
    for name in reproduce.ANALYSES:
        (folder / f"{name}.py").write_text(
            "import pathlib, sys\npathlib.Path(__file__).with_suffix('.ran').write_text(' '.join(sys.argv[1:]))\n"
        )
    return folder


def ran(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.ran"))


def test_steps_are_the_scripts_that_exist_in_order(scripts):
    assert [step.name for step in reproduce.steps(scripts)] == list(reproduce.ANALYSES)
    (scripts / "3_niche_sensitivity.py").unlink()
    assert "3_niche_sensitivity" not in [step.name for step in reproduce.steps(scripts)]


def test_only_selects_by_number(scripts):
    names = [step.name for step in reproduce.steps(scripts, only="3, 2")]
    assert names == ["2_real_data_sweeps", "3_niche_sensitivity"]


@pytest.mark.parametrize("only", ["9", "2,9", "", "2_real_data_sweeps"])
def test_unknown_number_is_refused_with_those_that_exist(scripts, only):
    with pytest.raises(InputError, match=naming("--only", 1, "Synthetic sweep", 2)):
        reproduce.steps(scripts, only=only)


def test_every_script_gets_the_same_arguments(scripts):
    assert reproduce.run_steps(reproduce.steps(scripts), ["--dataset", "demo", "--seed", "3"]) == {}
    assert ran(scripts) == sorted(reproduce.ANALYSES)
    assert {path.read_text() for path in scripts.glob("*.ran")} == {"--dataset demo --seed 3"}


def test_options_of_one_script_reach_it_alone(scripts):
    options = {"1_synthetic_sweep": ["--n-datasets", "4"]}
    assert reproduce.run_steps(reproduce.steps(scripts, options=options), ["--seed", "3"]) == {}
    assert (scripts / "1_synthetic_sweep.ran").read_text() == "--seed 3 --n-datasets 4"
    assert (scripts / "2_real_data_sweeps.ran").read_text() == "--seed 3"


@pytest.mark.parametrize(
    ("complete", "parameters", "reduced", "stays"),
    [
        (True, {"n_datasets": 10_000, "max_entries": None}, reproduce.REDUCED, True),
        (True, {"n_datasets": 400, "max_entries": None}, reproduce.REDUCED, True),
        (False, {"n_datasets": 10_000, "max_entries": None}, reproduce.REDUCED, False),
        (True, reproduce.REDUCED, reproduce.REDUCED, False),
        (True, {"epochs": 10, "training_cells": None}, reproduce.REDUCED_TRAINING, True),
        (True, reproduce.REDUCED_TRAINING, reproduce.REDUCED_TRAINING, False),
    ],
)
def test_a_finished_run_of_another_size_is_recognised(tmp_path, complete, parameters, reduced, stays):
    assert not reproduce.has_another(tmp_path, reduced)
    record = dict.fromkeys(records.FIELDS) | {
        "complete": complete,
        "parameters": parameters,
        "tables": [],
        "figures": [],
    }
    (tmp_path / records.RECORD).write_text(json.dumps(record))
    assert reproduce.has_another(tmp_path, reduced) == stays


def test_failure_is_reported_and_the_others_go_on(scripts, capfd):
    (scripts / "2_real_data_sweeps.py").write_text("raise SystemExit(2)")
    assert reproduce.run_steps(reproduce.steps(scripts), []) == {"2_real_data_sweeps": 2}
    assert ran(scripts) == [
        "1_synthetic_sweep",
        "3_niche_sensitivity",
        "4_train_gears",
        "5_compare_models",
    ]
    assert re.search(naming("2_real_data_sweeps", 2), capfd.readouterr().err)


def test_unknown_data_set_runs_nothing(tmp_path):
    command = [sys.executable, str(SCRIPT), "--dataset", "norman", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "norman19" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


INTERRUPTED = """
import importlib.util, signal, sys
from pathlib import Path
# A test suite that runs in the background may hand down a Ctrl-C that is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
spec = importlib.util.spec_from_file_location("reproduce", sys.argv[1])
reproduce = sys.modules["reproduce"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reproduce)
with reproduce.cli.exit_on_error():
    reproduce.run_steps(reproduce.steps(Path(sys.argv[2])), [])
"""

WAITING = """
import os, pathlib, time
here = pathlib.Path(__file__)
try:
    here.with_suffix(".started").write_text(str(os.getpid()))
    time.sleep(60)
except KeyboardInterrupt:
    here.with_suffix(".tidied").touch()
    raise SystemExit(130)
"""


@pytest.fixture
def waiting(scripts):
    """A program that runs the stand-ins, of which the first waits; it is there once that has begun."""
    (scripts / "1_synthetic_sweep.py").write_text(WAITING)
    command = [sys.executable, "-c", INTERRUPTED, str(SCRIPT), str(scripts)]
    # A group of its own, so that the signal reaches parent and child as Ctrl-C in a terminal does.
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        started = scripts / "1_synthetic_sweep.started"
        assert wait_until(lambda: started.exists() and started.read_text() != "", 60)
        process.child = int(started.read_text())
        yield process


def test_interruption_lets_the_analysis_tidy_up_and_runs_no_other(waiting, scripts):
    os.killpg(waiting.pid, signal.SIGINT)
    printed = waiting.communicate(timeout=60)[1]
    assert waiting.returncode == 130
    assert "Traceback" not in printed
    assert (scripts / "1_synthetic_sweep.tidied").exists()
    assert ran(scripts) == []


def test_nothing_is_left_of_a_program_that_is_killed(waiting, scripts):
    assert running(waiting.child)
    waiting.kill()
    waiting.wait()
    assert wait_until(lambda: not running(waiting.child))
    assert ran(scripts) == []


@pytest.fixture
def reproduce_here(tmp_path, monkeypatch):
    """Run the script's function in this process, on a data set that needs no preparation; what it would run."""
    asked = {}

    def load(dataset, **options):
        asked["prepared"] = options
        contexts = ["a", "b"] if options.get("context_key") else []
        parts = [SimpleNamespace(name=f"{dataset}/{context}") for context in contexts]
        whole = SimpleNamespace(name=dataset, report=SimpleNamespace(seed=0))
        whole.by_context = lambda: parts or [whole]
        return whole

    def run_steps(steps, arguments):
        asked["arguments"] = {step.name: [*arguments, *step.options] for step in steps}
        return {}

    monkeypatch.setattr("diversity_by_design.datasets.load", load)
    monkeypatch.setattr(reproduce, "run_steps", run_steps)

    monkeypatch.setenv("DBD_DATA_DIR", str(tmp_path / "data"))

    def run(seed=0, graph=tmp_path / "edges.csv", **options):
        size = reproduce.Size(graph=graph)
        reproduce.main(Preparation(**options), reproduce.cli.Common(output=tmp_path), reproduce.cli.Place(), size, seed)
        return asked

    return run


def test_the_seed_of_the_preparation_is_that_of_all_analyses(reproduce_here):
    asked = reproduce_here(seed=4, preparation_seed=3)
    assert asked["prepared"]["seed"] == 3
    assert list(asked["arguments"]) == list(reproduce.ANALYSES)
    for arguments in asked["arguments"].values():
        options = dict(pairwise(arguments))
        assert (options["--seed"], options["--preparation-seed"]) == ("4", "3")
        assert arguments.count("--preparation-seed") == 1


def test_without_a_graph_of_genes_all_but_the_training_is_run(reproduce_here, capsys):
    arguments = reproduce_here(graph=None)["arguments"]
    assert list(arguments) == [name for name in reproduce.ANALYSES if name != reproduce.TRAINING]
    assert re.search(naming(reproduce.TRAINING, "get_data.py", "--graph"), capsys.readouterr().out)


def test_every_context_has_a_page_and_options_of_several_values_are_handed_on(reproduce_here, tmp_path):
    asked = reproduce_here(context_key=["line", "day"], control_label=["NT-*", "-"])
    for arguments in asked["arguments"].values():
        given = [argument for argument in arguments if argument.startswith(("--context-key=", "--control-label="))]
        assert given == ["--control-label=NT-*", "--control-label=-", "--context-key=line", "--context-key=day"]
    assert all((tmp_path / "demo" / context / "index.html").is_file() for context in "ab")


def test_a_second_start_on_the_same_results_is_refused(reproduce_here, tmp_path):
    with another_has(tmp_path / "demo") as process:
        with pytest.raises(InputError, match=naming(tmp_path / "demo", process)):
            reproduce_here()
        assert reproduce_here(dataset="norman19")["arguments"]
    assert reproduce_here()["arguments"]
