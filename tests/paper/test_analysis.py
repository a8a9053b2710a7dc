"""What the numbered scripts have in common: options, the prepared data set, what other analyses left."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from conftest import ROOT

from diversity_by_design import cli, datasets
from diversity_by_design.datasets.script import Preparation
from diversity_by_design.paper.analysis import Run, script
from diversity_by_design.running import results as running_results
from diversity_by_design.running.results import ResultFolder

NAME = "2_real_data_sweeps"
DATASET = SimpleNamespace(name="demo", path=Path("demo.h5ad"), checksum="sha256:0123", report=None)
DATASET.by_context = lambda: [DATASET]


@pytest.fixture
def analyse(tmp_path, monkeypatch):
    """Run an analysis that copies what analysis 1 left; what it did, and what was asked of the preparation."""
    asked = []

    def load(dataset, **options):
        asked.append(options)
        return DATASET

    def copy(run: Run) -> None:
        """What it does."""
        rows = [path.read_text() for path in run.reads]
        run.folder.table("copy", pd.DataFrame({"row": rows}, dtype=object))
        done.append(len(rows))

    def reads(results: Path) -> list[Path]:
        return list((results / "1_first").glob("*.csv"))

    done: list[int] = []
    monkeypatch.setattr(datasets, "load", load)

    monkeypatch.setattr(running_results, "read_captions", lambda analysis: {"copy": {"caption": analysis}})

    def run(preparation_seed: int = 0, **options) -> list[int]:
        data = Preparation(preparation_seed=preparation_seed)
        monkeypatch.setattr(cli, "script", lambda main: main(data, cli.Common(output=tmp_path), **options))
        script(copy, NAME, reads=reads)
        return done

    run.asked = asked
    return run


def test_a_file_of_another_analysis_that_changes_makes_the_analysis_again(analyse, tmp_path):
    folder = tmp_path / "demo" / "1_first"
    assert analyse() == [0]
    assert analyse() == [0]
    folder.mkdir()
    (folder / "r.csv").write_text("0.5")
    assert analyse() == [0, 1]
    assert analyse() == [0, 1]
    (folder / "r.csv").write_text("0.6")
    assert analyse() == [0, 1, 1]
    record = json.loads((tmp_path / "demo" / NAME / "run.json").read_text())
    assert list(record["reads"]) == ["1_first/r.csv"]
    assert (tmp_path / "demo" / NAME / "copy.csv").read_text().split() == ["row", "0.6"]


def test_each_context_has_results_of_its_own(analyse, tmp_path, monkeypatch):
    parts = [SimpleNamespace(**{**vars(DATASET), "name": f"demo/{context}"}) for context in ("K562", "RPE1")]
    monkeypatch.setattr(datasets, "load", lambda dataset, **options: SimpleNamespace(by_context=lambda: parts))
    assert analyse() == [0, 0]
    for context in ("K562", "RPE1"):
        record = json.loads((tmp_path / "demo" / context / NAME / "run.json").read_text())
        assert record["complete"] and record["input"]["name"] == f"demo/{context}"


def test_the_seed_of_an_analysis_is_not_that_of_the_preparation(analyse):
    analyse(seed=1)
    analyse(seed=2, preparation_seed=3)
    assert [options["seed"] for options in analyse.asked] == [0, 3]


def test_simulations_are_read_once_analysis_1_is_complete(tmp_path):
    spec = importlib.util.spec_from_file_location("real_data_sweeps", ROOT / "analyses" / "2_real_data_sweeps.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.reads(tmp_path) == []
    name = "1_synthetic_sweep"
    folder = ResultFolder(tmp_path / name, analysis=name, title="Sweep", dataset=DATASET, seed=0, parameters={})
    path = folder.table("correlations", pd.DataFrame({"ours": [0.5]}))
    assert module.reads(tmp_path) == []
    folder.finish()
    assert module.reads(tmp_path) == [path]
