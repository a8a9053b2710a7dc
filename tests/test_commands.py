"""`dbd` with several files: what one of them does not give, the others do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from messages import naming
from typer.testing import CliRunner

from diversity_by_design import commands
from diversity_by_design.running.executors.interface import Outcome, attempt


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DBD_DATA_DIR", str(tmp_path / "data"))


@contextmanager
def here(*_: object) -> Iterator[SimpleNamespace]:
    """An executor that does the work in this process, one file after the other."""

    def run(task, files, shared) -> Iterator[tuple[int, Outcome]]:
        yield from enumerate(attempt(task, file, shared) for file in files)

    yield SimpleNamespace(run=run)


def write(path: Path) -> Path:
    labels = np.repeat(["A", "B", "control"], 8)
    obs = pd.DataFrame({"perturbation": labels}, index=[f"c{number}" for number in range(24)])
    ad.AnnData(np.random.default_rng(0).poisson(2.0, (24, 10)).astype(np.float32), obs=obs).write_h5ad(path)
    return path


def test_the_others_are_prepared(tmp_path, monkeypatch):
    monkeypatch.setattr("diversity_by_design.running.executors.executor", here)
    good, damaged = write(tmp_path / "good.h5ad"), write(tmp_path / "damaged.h5ad")
    damaged.write_bytes(damaged.read_bytes()[:2000])
    done = CliRunner().invoke(commands.app, ["prepare", str(damaged), str(good)])
    assert done.exit_code == 2 and "Traceback" not in done.output
    assert re.search(naming("damaged.h5ad", "cut short"), done.stderr)
    assert re.search(naming("1 of 2 files"), done.stderr)
    assert list((tmp_path / "data").glob("*/processed.h5ad")) == [tmp_path / "data" / "good" / "processed.h5ad"]


def test_a_fault_of_the_program_keeps_its_traceback(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("diversity_by_design.running.executors.executor", here)
    monkeypatch.setattr(commands, "_load", fail)
    done = CliRunner().invoke(commands.app, ["prepare", *(str(write(tmp_path / f"{name}.h5ad")) for name in "xy")])
    assert done.exit_code == 1
    assert "Traceback" in done.stderr and "y.h5ad: ZeroDivisionError: a fault" in done.stderr


def test_two_files_of_one_name(tmp_path):
    (tmp_path / "folder").mkdir()
    files = [write(tmp_path / "x.h5ad"), write(tmp_path / "folder" / "x.h5ad")]
    done = CliRunner().invoke(commands.app, ["prepare", *map(str, files)])
    assert done.exit_code == 2
    assert re.search(naming(*files), done.stderr)
