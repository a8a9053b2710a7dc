"""The file of a sweep: nothing stored is lost, whenever the program ends."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from messages import naming

from diversity_by_design.errors import InputError
from diversity_by_design.simulator.store import open_store

SCHEMA = {"dataset": int, "g": int, "mse": float, "error": str}
SETTINGS = {"seed": 1, "ranges": {"g": {"low": 10, "high": 20}}, "max_entries": None}
OTHER = {**SETTINGS, "seed": 2, "ranges": {"g": {"low": 10, "high": 30}}}


def row(dataset: int, error: str = "") -> dict:
    return {
        "dataset": dataset,
        "g": np.int64(7),
        "mse": np.nan if error else np.float64(1 / (dataset + 3)),
        "error": error,
    }


def fill(path: Path, datasets) -> None:
    with open_store(path, SCHEMA, SETTINGS) as store:
        for dataset in datasets:
            store.append(row(dataset))


def finished(path: Path) -> set[int]:
    with open_store(path, SCHEMA, SETTINGS) as store:
        return store.finished


def table(path: Path) -> pd.DataFrame:
    with open_store(path, SCHEMA, SETTINGS) as store:
        return store.table()


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "new" / "simulations.sqlite"


def test_rows_come_back_sorted_and_typed(path):
    expected = pd.DataFrame(
        {
            "dataset": [0, 1, 2, 2**53 + 1],
            "g": [7] * 4,
            "mse": [np.nan, 0.1 + 0.2, np.inf, -5e-324],
            "error": ["ValueError: two\nlines, Δ", "", "", ""],
        }
    )
    with open_store(path, SCHEMA, SETTINGS) as store:
        for kept in expected.iloc[[3, 1, 0, 2]].to_dict("records"):
            store.append({**kept, "g": np.int64(kept["g"]), "mse": np.float64(kept["mse"])})
        pd.testing.assert_frame_equal(store.table(), expected, check_exact=True)
    pd.testing.assert_frame_equal(table(path), expected, check_exact=True)
    assert list(path.parent.iterdir()) == [path]


def test_columns_keep_their_types_where_every_value_is_undefined(path):
    with open_store(path, SCHEMA, SETTINGS) as store:
        assert [kind.kind for kind in store.table().dtypes[:3]] == list("iif")
        store.append(row(0, "MemoryError"))
        assert [kind.kind for kind in store.table().dtypes[:3]] == list("iif")


KILLED = """
import signal
from pathlib import Path
from test_store import *
with open_store(Path({path!r}), SCHEMA, SETTINGS) as store:
    for dataset in range(1_000_000):
        if dataset not in store.finished:
            store.append(row(dataset))
            print(dataset, flush=True)
"""


def test_a_program_killed_at_any_moment_loses_nothing(path):
    """Again and again: what it said it had stored is there, whole, and the next one goes on."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, Path(__file__).parents[:2]))}
    said = set()
    moment = random.Random(0)
    for _ in range(3):
        command = [sys.executable, "-c", KILLED.format(path=str(path))]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as program:
            said.add(int(program.stdout.readline()))
            for _ in range(moment.randrange(300)):
                said.add(int(program.stdout.readline()))
            program.send_signal(signal.SIGKILL)
            said.update(int(line) for line in program.stdout if line.endswith("\n"))
        kept = table(path)
        assert said <= set(kept["dataset"])
        pd.testing.assert_frame_equal(kept, pd.DataFrame(map(row, kept["dataset"])), check_exact=True)
        assert len(set(kept["dataset"]) - said) <= 1  # what was stored and not yet said
        said.update(kept["dataset"])


def test_an_error_inside_keeps_the_rows(path):
    with pytest.raises(KeyboardInterrupt), open_store(path, SCHEMA, SETTINGS) as store:
        store.append(row(0))
        raise KeyboardInterrupt
    assert finished(path) == {0}


def test_failed_rows_are_not_finished_and_are_replaced(path):
    with open_store(path, SCHEMA, SETTINGS) as store:
        store.append(row(0, "MemoryError"))
        store.append(row(1))
        assert store.finished == {1}
    with open_store(path, SCHEMA, SETTINGS) as store:
        assert store.finished == {1}
        store.append(row(0))
    assert finished(path) == {0, 1}
    assert len(table(path)) == 2


def test_other_settings_are_refused(path):
    fill(path, [0, 3])
    content = path.read_bytes()
    message = naming(path, "ranges.g.high", 20, 30, "seed", 1, 2, "--force")
    with pytest.raises(InputError, match=message), open_store(path, SCHEMA, OTHER):
        pass
    assert path.read_bytes() == content
    with (
        pytest.raises(InputError, match=naming("columns", "mse", "mae")),
        open_store(path, {**SCHEMA, "mae": float}, SETTINGS),
    ):
        pass
    assert finished(path) == {0, 3}


def test_settings_without_rows_do_not_stand_in_the_way(path):
    fill(path, [])
    with open_store(path, {**SCHEMA, "mae": float}, OTHER) as store:
        store.append({**row(0), "mae": 1.0})
    with pytest.raises(InputError, match=naming("seed", 2, 1)):
        finished(path)


def test_force_starts_anew(path):
    fill(path, [5, 0])
    with open_store(path, SCHEMA, OTHER, force=True) as store:
        assert store.finished == set()
        store.append(row(9))
    with open_store(path, SCHEMA, OTHER) as store:
        assert store.finished == {9}


def of_somebody_else(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE addresses (name TEXT)")
    connection.close()


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("make", [of_somebody_else, lambda path: path.write_text("dataset,mse\n" * 100)])
def test_a_file_of_another_kind_is_refused(path, make, force):
    path.parent.mkdir()
    make(path)
    content = path.read_bytes()
    with (
        pytest.raises(InputError, match=naming("simulations.sqlite")),
        open_store(path, SCHEMA, SETTINGS, force=force),
    ):
        pass
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_cut_short_is_refused(path):
    fill(path, range(2000))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=naming("simulations.sqlite", "damaged")):
        fill(path, [2001])
    path.write_bytes(content[:8192] + bytes(len(content) - 8192))
    with pytest.raises(InputError, match=naming("simulations.sqlite", "damaged")):
        table(path)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match=naming(tmp_path)):
        fill(tmp_path, [0])


def test_two_programs_at_once_are_refused(path):
    with open_store(path, SCHEMA, SETTINGS) as store:
        store.append(row(0))
        for force in (False, True):
            with (
                pytest.raises(InputError, match=naming("simulations.sqlite", "in use")),
                open_store(path, SCHEMA, SETTINGS, force=force),
            ):
                pass
        store.append(row(2))
    assert finished(path) == {0, 2}


def test_the_file_says_what_it_was_made_with(path):
    fill(path, [0])
    connection = sqlite3.connect(path)
    [(text,)] = connection.execute("SELECT settings FROM made_with")
    connection.close()
    assert json.loads(text) == {**SETTINGS, "columns": list(SCHEMA)}
