"""What a program uses, told from its source."""

import importlib
import sys
from pathlib import Path

import pytest

from diversity_by_design.running import imports as module
from diversity_by_design.running.imports import closure, imports, source
from diversity_by_design.running.records import code_hash

ROOT = Path(module.__file__).parents[1]


@pytest.fixture
def program(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "program.py"
        path.write_text(text)
        return path

    return write


def names(modules: set[str]) -> set[str]:
    assert all(source(module) for module in modules)
    return {module.removeprefix("diversity_by_design.") for module in modules}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import os, numpy as np\nfrom pathlib import Path", set()),
        ("from diversity_by_design.errors import InputError", {"errors"}),
        ("from diversity_by_design import errors, threads", {"errors", "threads"}),
        ("import diversity_by_design.running.files as files", {"running.files"}),
        ("def f():\n    if f:\n        from diversity_by_design.threads import map_threads", {"threads"}),
        (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from diversity_by_design.degs import DegScores\n"
            "else:\n    from diversity_by_design.errors import InputError",
            {"errors"},
        ),
        # Names that façades give are taken from where they are made, also through two of them.
        ("from diversity_by_design import deg_scores", {"degs"}),
        ("from diversity_by_design import SimulationConfig as Config", {"simulator.config"}),
        ("from diversity_by_design.gears import Split, make_splits", {"models.splits"}),
    ],
)
def test_imports_are_those_that_the_program_runs(program, text, expected):
    assert names(imports(program(text))) == expected


@pytest.mark.parametrize(
    "text", ["import diversity_by_design as dbd", "from diversity_by_design import simulator, degs", "from "
             "diversity_by_design.simulator import *"]
)  # fmt: skip
def test_a_facade_as_a_whole_is_all_that_it_offers(program, text):
    other = "degs" if "degs" in text else "auditing"
    assert names(imports(program(text))) > {"simulator", "simulator.simulation", other}


@pytest.mark.parametrize(
    "facade", ["diversity_by_design", "diversity_by_design.gears", "diversity_by_design.simulator"]
)
def test_what_facades_are_said_to_offer_is_what_they_offer(program, facade):
    """The homes are read from the source, and looked up at run time."""
    if facade.endswith("gears"):
        pytest.importorskip("torch")
    loaded = importlib.import_module(facade)
    for name in loaded.__all__:
        [*homes] = names(imports(program(f"from {facade} import {name}")))
        thing = getattr(loaded, name)
        if isinstance(thing, type | type(names)):
            assert homes == [thing.__module__.removeprefix("diversity_by_design.")]


def test_closure_follows_imports_and_packages_but_not_facades(program):
    used = names(closure(program("from diversity_by_design.running.executors.local import LocalProcesses")))
    assert used == {"running", "running.executors", "running.executors.dask_cluster", "running.executors.interface",
                    "running.executors.local", "errors", "threads"}  # fmt: skip
    assert names(closure(program("from diversity_by_design import deg_scores"))) >= {"degs", "statistics", "errors"}
    assert "simulator" not in names(closure(program("from diversity_by_design.simulator.ranges import SweepRanges")))
    assert closure(program("x = 1")) == set()


def test_closure_ends_where_modules_import_each_other(tmp_path, monkeypatch, program):
    (tmp_path / "a.py").write_text("from diversity_by_design import b")
    (tmp_path / "b.py").write_text("from diversity_by_design.a import x\nfrom diversity_by_design.c.d import y")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "__init__.py").write_text("")
    (tmp_path / "c" / "d.py").write_text("")
    (tmp_path / "unused.py").write_text("")
    monkeypatch.setattr(module, "_ROOT", tmp_path)
    start = program("import diversity_by_design.a")
    assert names(closure(start)) == {"a", "b", "c", "c.d"}
    code = code_hash(start)
    (tmp_path / "unused.py").write_text("changed")
    assert code_hash(start) == code
    (tmp_path / "c" / "d.py").write_text("y = 1")
    assert code_hash(start) != code
    assert code_hash(program("import diversity_by_design.unused")) != code


def test_scripts_use_no_more_than_they_import():
    niche = names(closure(ROOT.parents[1] / "analyses" / "3_niche_sensitivity.py"))
    assert {"degs", "statistics", "paper.niche", "running.results", "datasets.prepare"} <= niche
    assert not niche & {"models.gears.fitting", "simulator.simulation", "paper.sweeps"}


def test_without_a_script_all_modules_count(program, monkeypatch):
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    assert len({code_hash(), code_hash(program("x = 1")), code_hash(program("x = 2"))}) == 3
