"""The file of a sweep: a SQLite database to which rows are added one by one; none is lost if the program is killed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diversity_by_design.errors import InputError
from diversity_by_design.running.files import writing
from diversity_by_design.running.records import plain

if TYPE_CHECKING:
    import pandas as pd

_TYPES = {int: "INTEGER", float: "REAL", str: "TEXT"}
_ANOTHER = "is no store of a sweep, or is damaged; move it away, or give another output"
# What a user can mend, by SQLite's code of the error.
_ADVICE = {
    sqlite3.SQLITE_BUSY: "is in use by another run; wait until that has ended, or stop it",
    sqlite3.SQLITE_NOTADB: _ANOTHER,
    sqlite3.SQLITE_CORRUPT: _ANOTHER,
    **dict.fromkeys(
        (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN),
        "cannot be written; what was stored before is kept: make room or allow writing there, and run again",
    ),
}


class SweepStore:
    """Rows of a sweep on disk; made by `open_store`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, schema: Mapping[str, type]) -> None:
        self._path, self._connection, self._schema = path, connection, schema

    @property
    def finished(self) -> set[int]:
        """Data sets that have a row without an error."""
        return {dataset for (dataset,) in self._execute("SELECT dataset FROM sweep WHERE error = ''")}

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row, or replace that of the same data set; once this returns, it outlives the program."""
        values = [kind(row[name]) for name, kind in self._schema.items()]
        self._execute(f"INSERT OR REPLACE INTO sweep VALUES ({', '.join('?' * len(values))})", values)

    def table(self) -> pd.DataFrame:
        """All rows, sorted by data set."""
        import pandas as pd

        rows = self._execute("SELECT * FROM sweep ORDER BY dataset")
        numbers = {name: kind for name, kind in self._schema.items() if kind is not str}
        return pd.DataFrame(rows, columns=list(self._schema)).astype(numbers)

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple]:
        with _explained(self._path):
            return self._connection.execute(statement, values).fetchall()


@contextmanager
def open_store(
    path: Path, schema: Mapping[str, type], made_with: Mapping[str, Any], *, force: bool = False
) -> Iterator[SweepStore]:
    """Open the database at `path` for adding rows, or start it; only one program at a time has it.

    The schema holds the type of each column, int, float or str; among them are `dataset` (int), which tells rows apart,
    and `error` (str). `made_with`, all that decides the rows, is kept in the file. `force` starts anew.
    """
    # As it comes back from the file: tuples are lists, numpy numbers are numbers.
    made_with = json.loads(json.dumps({**made_with, "columns": list(schema)}, default=plain))
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with _explained(path):
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    with closing(connection):
        with _explained(path):
            # Locked until the connection is closed, by the end of the program at the latest.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
            _prepare(path, connection, schema, made_with, force)
            connection.execute("COMMIT")
        yield SweepStore(path, connection, schema)


def _prepare(
    path: Path, connection: sqlite3.Connection, schema: Mapping[str, type], made_with: Mapping[str, Any], force: bool
) -> None:
    """Make the tables, unless there are those of the same sweep."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables - {"made_with", "sweep"}:
        raise InputError(f"{path} {_ANOTHER}")
    if tables and not force:
        [(text,)] = connection.execute("SELECT settings FROM made_with")
        there = json.loads(text)
        if there == made_with:
            return
        if connection.execute("SELECT count(*) FROM sweep").fetchone()[0]:
            raise InputError(
                f"{path} was made with other settings ({_differences(there, made_with)}); give another output, or "
                "--force (force=True) to start anew"
            )
    for name in tables:
        connection.execute(f"DROP TABLE {name}")
    columns = ", ".join(f'"{name}" {_TYPES[kind]}' for name, kind in schema.items())
    connection.execute(f"CREATE TABLE sweep ({columns}, PRIMARY KEY (dataset))")
    connection.execute("CREATE TABLE made_with (settings TEXT)")
    connection.execute("INSERT INTO made_with VALUES (?)", [json.dumps(made_with)])


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Raise InputError for what a user can mend of SQLite's errors."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        # The last byte tells the kind, the others more about it.
        advice = _ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        if advice is None:
            raise
        raise InputError(f"{path} {advice} ({error})") from error


def _differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two settings, such as ``seed: 1 there, 2 now``."""
    import pandas as pd

    earlier, later = (pd.json_normalize(dict(settings)).to_dict("records")[0] for settings in (there, now))
    return "; ".join(
        f"{name}: {earlier.get(name, 'nothing')} there, {later.get(name, 'nothing')} now"
        for name in sorted({*map(str, earlier), *map(str, later)})
        if earlier.get(name) != later.get(name)
    )
