"""The file of a sweep: rows are added one by one, and none is lost if the program is killed.

Rows go to a journal beside the file, one line each, as soon as they are known. The file itself, a parquet table, is
written whole: when the sweep ends or is stopped, every minute meanwhile, and when the next run finds a journal that a
killed one left.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from diversity_by_design.errors import InputError
from diversity_by_design.running.files import atomic_path
from diversity_by_design.running.records import plain

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# Seconds between two writings of the table while rows come in.
MERGE_EVERY = 60.0

KEY = "dataset"
ERROR = "error"
_METADATA = b"diversity_by_design_sweep"

Row = dict[str, Any]


class SweepStore:
    """Rows of a sweep, in memory and on disk; made by `open_store`."""

    def __init__(
        self,
        path: Path,
        schema: Mapping[str, type],
        made_with: Mapping[str, Any],
        journal: BinaryIO,
        *,
        merged: list[Row],
        unmerged: list[Row],
    ) -> None:
        self._path = path
        self._schema = schema
        self._made_with = made_with
        self._journal = journal
        self._rows = {row[KEY]: row for row in [*merged, *unmerged]}
        self._n_unmerged = len(unmerged)
        self.merge()

    @property
    def finished(self) -> set[int]:
        """Data sets that have a row without an error."""
        return {key for key, row in self._rows.items() if not row[ERROR]}

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row, or replace that of the same data set; once this returns, it outlives the program.

        Parameters
        ----------
        row : mapping
            A value for each column of the schema.
        """
        kept = {name: kind(row[name]) for name, kind in self._schema.items()}
        self._journal.write(_line(kept))
        self._journal.flush()
        self._rows[kept[KEY]] = kept
        self._n_unmerged += 1
        if time.monotonic() - self._merged_at > MERGE_EVERY:
            self.merge()

    def merge(self) -> None:
        """Write all rows to the table, and empty the journal."""
        import pyarrow.parquet as pq

        if self._n_unmerged:
            with atomic_path(self._path) as temporary:
                pq.write_table(self._arrow(), temporary)
        # Only now: what is in both when the program is killed in between is the same in both.
        self._journal.truncate(0)
        self._journal.write(_line({"made_with": self._made_with, "process": os.getpid(), "host": socket.gethostname()}))
        self._journal.flush()
        self._n_unmerged = 0
        self._merged_at = time.monotonic()

    def table(self) -> pd.DataFrame:
        """All rows, sorted by data set."""
        return self._arrow().to_pandas()

    def _arrow(self) -> pa.Table:
        import pyarrow as pa

        kinds = {int: pa.int64(), float: pa.float64(), str: pa.string()}
        schema = pa.schema(
            {name: kinds[kind] for name, kind in self._schema.items()}, {_METADATA: json.dumps(self._made_with)}
        )
        return pa.Table.from_pylist([self._rows[key] for key in sorted(self._rows)], schema=schema)


@contextmanager
def open_store(
    path: Path, schema: Mapping[str, type], made_with: Mapping[str, Any], *, force: bool = False
) -> Iterator[SweepStore]:
    """Open the table at `path` for adding rows, or start it; at the end, all rows are in that file.

    Only one program at a time can do so (where the file system knows no locks, nothing guards against two).

    Parameters
    ----------
    path : Path
        Ends in ``.parquet``. Meanwhile a file of the same name with ``.journal`` added is beside it.
    schema : mapping of str to type
        Columns, each int, float or str; among them `dataset` (int), which tells rows apart, and `error` (str).
    made_with : mapping
        All that decides the rows, as plain values; kept in the file.
    force : bool
        Start anew, whatever is there.

    Yields
    ------
    SweepStore

    Raises
    ------
    InputError
        The file was made with something else (the message says what), is no table of a sweep, or is in use. It cannot
        be written.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = Path(folder.name) / "rows.parquet"
    >>> with open_store(file, {"dataset": int, "mse": float, "error": str}, {"seed": 1}) as store:
    ...     store.append({"dataset": 3, "mse": 0.5, "error": ""})
    >>> with open_store(file, {"dataset": int, "mse": float, "error": str}, {"seed": 1}) as store:
    ...     store.finished
    {3}
    >>> folder.cleanup()
    """
    # As it comes back from a file: tuples are lists, numpy numbers are numbers.
    made_with = json.loads(json.dumps({**made_with, "columns": list(schema)}, default=plain))
    journal_path = path.with_name(f"{path.name}.journal")
    with _locked(journal_path, path) as journal:
        if force:
            path.unlink(missing_ok=True)
            journal.truncate(0)
        stored = _read_table(path)
        logged = _read_journal(journal, journal_path)
        for there, where in ((stored, path), (logged, journal_path)):
            if there is not None and there[0] != made_with:
                raise InputError(
                    f"{where} was made with other settings ({_differences(there[0], made_with)}); give another output, "
                    "or --force (force=True) to start anew"
                )
        store = SweepStore(
            path,
            schema,
            made_with,
            journal,
            merged=stored[1] if stored else [],
            unmerged=logged[1] if logged else [],
        )
        try:
            yield store
        finally:
            store.merge()
            journal.truncate(0)


@contextmanager
def _locked(path: Path, guarded: Path) -> Iterator[BinaryIO]:
    """Open `path` for appending, for this program alone, and remove it if it is empty in the end.

    The lock ends with the program, however that ends.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        fcntl = None  # type: ignore[assignment]
    path.parent.mkdir(parents=True, exist_ok=True)
    current = False
    while not current:
        with open(path, "a+b") as file:
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise InputError(
                        f"{guarded} is in use by another run{_owner(path)}; wait until it has ended, or stop it"
                    ) from None
                except OSError:
                    pass  # no locks on this file system
            # A run that has just ended may have removed what was opened here.
            current = path.exists() and os.path.samestat(os.stat(path), os.fstat(file.fileno()))
            if current:
                try:
                    yield file
                finally:
                    file.flush()
                    if os.fstat(file.fileno()).st_size == 0:
                        path.unlink()


def _owner(path: Path) -> str:
    with suppress(OSError, ValueError, KeyError, IndexError):
        header = json.loads(path.read_bytes().splitlines()[0])
        return f" (process {header['process']} on {header['host']})"
    return ""


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _read_journal(file: BinaryIO, path: Path) -> tuple[Mapping[str, Any], list[Row]] | None:
    """Settings and rows of a journal; None if it has no rows. A line that was not written to its end is none."""
    file.seek(0)
    lines = [line for line in file if line.endswith(b"\n")]
    if len(lines) < 2:
        return None
    try:
        header, *rows = map(json.loads, lines)
        return header["made_with"], [{**row, KEY: int(row[KEY])} for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not the journal of a sweep ({type(error).__name__}: {error}); move it away, or --force "
            "(force=True) to start anew"
        ) from error


def _read_table(path: Path) -> tuple[Mapping[str, Any], list[Row]] | None:
    """Settings and rows of a table; None if there is none."""
    if not path.exists():
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
        made_with = json.loads(table.schema.metadata[_METADATA])
    except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is not the table of a sweep; move it away, give another output, or --force (force=True) to "
            "overwrite it"
        ) from error
    return made_with, table.to_pylist()


def _differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two settings, such as ``seed: 1 there, 2 now``."""
    earlier, later = _flat(there), _flat(now)
    return "; ".join(
        f"{name}: {earlier.get(name, 'nothing')} there, {later.get(name, 'nothing')} now"
        for name in sorted(earlier.keys() | later.keys())
        if earlier.get(name) != later.get(name)
    )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
