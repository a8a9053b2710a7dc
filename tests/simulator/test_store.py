"""The file of a sweep: nothing stored is lost, whenever the program ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from messages import naming

from diversity_by_design.errors import InputError
from diversity_by_design.simulator import store as module
from diversity_by_design.simulator.store import open_store

SCHEMA = {"dataset": int, "g": int, "mse": float, "error": str}
SETTINGS = {"seed": 1, "ranges": {"g": {"low": 10, "high": 20}}, "max_entries": None}


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


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "new" / "simulations.parquet"


@pytest.fixture(scope="module")
def left_journal(tmp_path_factory) -> bytes:
    """What a program left that was killed after three rows."""
    path = tmp_path_factory.mktemp("killed") / "simulations.parquet"
    code = (
        "import os, signal\nfrom pathlib import Path\nfrom test_store import *\n"
        f"with open_store(Path({str(path)!r}), SCHEMA, SETTINGS) as store:\n"
        "    for dataset in (5, 0, 3): store.append(row(dataset))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    [journal] = path.parent.iterdir()
    assert journal.name == "simulations.parquet.journal"
    return journal.read_bytes()


@pytest.fixture
def killed(path, left_journal) -> tuple[Path, Path]:
    """Table (absent) and journal of that program."""
    journal = path.with_name("simulations.parquet.journal")
    journal.parent.mkdir()
    journal.write_bytes(left_journal)
    return path, journal


def test_rows_come_back_sorted_and_typed(path):
    with open_store(path, SCHEMA, SETTINGS) as store:
        store.append(row(2))
        store.append(row(0, "ValueError: two\nlines, Δ"))
        table = store.table()
    expected = pd.DataFrame(
        {"dataset": [0, 2], "g": [7, 7], "mse": [np.nan, 0.2], "error": ["ValueError: two\nlines, Δ", ""]}
    )
    pd.testing.assert_frame_equal(table, expected)
    pd.testing.assert_frame_equal(pd.read_parquet(path), expected)
    assert list(path.parent.iterdir()) == [path]


def test_a_killed_program_loses_nothing(killed, tmp_path):
    path, journal = killed
    assert not path.exists()
    assert finished(path) == {0, 3, 5}
    assert not journal.exists()
    fill(path, [1, 2, 4])
    uninterrupted = tmp_path / "simulations.parquet"
    fill(uninterrupted, range(6))
    assert path.read_bytes() == uninterrupted.read_bytes()


def test_a_journal_cut_off_anywhere_keeps_its_whole_rows(killed):
    path, journal = killed
    content = journal.read_bytes()
    ends = [i for i, byte in enumerate(content) if byte == ord("\n")]
    for size in {0, 1, 20, *ends, *(end + 1 for end in ends), ends[1] + 9, len(content) - 3}:
        path.unlink(missing_ok=True)
        journal.write_bytes(content[:size])
        n_rows = max(0, content[:size].count(b"\n") - 1)
        assert finished(path) == set([5, 0, 3][:n_rows])
        fill(path, [8])
        assert finished(path) == {8, *[5, 0, 3][:n_rows]}


def test_rows_in_both_files_count_once(killed):
    """As when the program is killed after the table was written, before the journal was emptied."""
    path, journal = killed
    content = journal.read_bytes()
    finished(path)
    table = path.read_bytes()
    journal.write_bytes(content)
    assert finished(path) == {0, 3, 5}
    assert path.read_bytes() == table


def test_the_table_is_written_meanwhile(path, monkeypatch):
    with open_store(path, SCHEMA, SETTINGS) as store:
        store.append(row(0))
        assert not path.exists()
        monkeypatch.setattr(module, "MERGE_EVERY", 0)
        store.append(row(1))
        assert pd.read_parquet(path)["dataset"].tolist() == [0, 1]
        monkeypatch.setattr(module, "MERGE_EVERY", 60)
        store.append(row(2))
    assert finished(path) == {0, 1, 2}


def test_an_error_inside_keeps_the_rows(path):
    with pytest.raises(KeyboardInterrupt), open_store(path, SCHEMA, SETTINGS) as store:
        store.append(row(0))
        raise KeyboardInterrupt
    assert pd.read_parquet(path)["dataset"].tolist() == [0]


def test_failed_rows_are_not_finished_and_are_replaced(path):
    with open_store(path, SCHEMA, SETTINGS) as store:
        store.append(row(0, "MemoryError"))
        store.append(row(1))
        assert store.finished == {1}
    with open_store(path, SCHEMA, SETTINGS) as store:
        assert store.finished == {1}
        store.append(row(0))
    assert finished(path) == {0, 1}
    assert len(pd.read_parquet(path)) == 2


def test_a_finished_table_is_not_written_again(path):
    fill(path, [0])
    before = path.stat()
    assert finished(path) == {0}
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_other_settings_are_refused(killed):
    path, journal = killed
    other = {**SETTINGS, "seed": 2, "ranges": {"g": {"low": 10, "high": 30}}}
    said = naming("ranges.g.high", 20, 30, "seed", 1, 2, "--force")
    content = journal.read_bytes()
    with pytest.raises(InputError, match=said), open_store(path, SCHEMA, other):
        pass
    assert journal.read_bytes() == content
    finished(path)
    with pytest.raises(InputError, match=said), open_store(path, SCHEMA, other):
        pass
    assert not journal.exists()
    with (
        pytest.raises(InputError, match=naming("columns", "mse", "mae")),
        open_store(path, {**SCHEMA, "mae": float}, SETTINGS),
    ):
        pass
    assert finished(path) == {0, 3, 5}


def test_force_starts_anew(killed):
    path, _ = killed
    other = {**SETTINGS, "seed": 2}
    with open_store(path, SCHEMA, other, force=True) as store:
        assert store.finished == set()
        store.append(row(9))
    with open_store(path, SCHEMA, SETTINGS, force=True) as store:
        assert store.finished == set()
    assert not path.exists()


@pytest.mark.parametrize("made_by", ["pandas", "an editor"])
def test_a_file_of_another_kind_is_refused(path, made_by):
    path.parent.mkdir()
    if made_by == "pandas":
        pd.DataFrame({"dataset": [1]}).to_parquet(path)
    else:
        path.write_text("dataset,mse\n")
    content = path.read_bytes()
    with pytest.raises(InputError, match=naming(path)):
        fill(path, [0])
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_a_damaged_journal_is_refused(killed):
    path, journal = killed
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], b"{what\n", *lines[2:]]))
    with pytest.raises(InputError, match=naming(journal, "--force")):
        fill(path, [0])


def test_two_programs_at_once_are_refused(path):
    with open_store(path, SCHEMA, SETTINGS) as store:
        store.append(row(0))
        with pytest.raises(InputError, match=naming(os.getpid())):
            fill(path, [1])
        with pytest.raises(InputError, match=naming(os.getpid())), open_store(path, SCHEMA, SETTINGS, force=True):
            pass
        store.append(row(2))
    assert finished(path) == {0, 2}


def test_the_table_says_what_it_was_made_with(path):
    import pyarrow.parquet as pq

    fill(path, [0])
    [made_with] = pq.read_schema(path).metadata.values()
    assert json.loads(made_with) == {**SETTINGS, "columns": list(SCHEMA)}
