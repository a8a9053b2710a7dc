"""A folder of results: tables, figures with the data they were drawn from, and the record of how they were made.

`run.json` in the folder lists every file that was finished, so that an interrupted analysis goes on where it was and
a figure can be traced to its command, seed, versions and input. It is rewritten after each file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from diversity_by_design.checks import listed
from diversity_by_design.files import atomic_path, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECORD = "run.json"
DPI = 150
FLOAT_FORMAT = "%.10g"
PACKAGE = "diversity-by-design"
LIBRARIES = ("numpy", "scipy", "pandas", "anndata", "scanpy")
# The date and the version of the drawing library would make two runs of the same command differ.
NO_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


class Input(Protocol):
    """The prepared data set that an analysis ran on."""

    @property
    def name(self) -> str:
        """Name of the data set."""

    @property
    def path(self) -> Path:
        """Prepared file."""

    @property
    def checksum(self) -> str:
        """Checksum of the prepared file."""

    @property
    def report(self) -> Any:
        """What preparation kept and left out: a mapping or a dataclass of plain values, or None."""


@dataclass(frozen=True)
class TableRecord:
    """A finished table: its file, its caption, whether the report shows it, and the types of its columns."""

    name: str
    file: str
    caption: str
    shown: bool
    rows: int
    dtypes: dict[str, str]

    @property
    def files(self) -> list[str]:
        """Names of the files, all in the folder."""
        return [self.file]


@dataclass(frozen=True)
class FigureRecord:
    """A finished figure: its files, and what a reader should know of it; `paper` is the paper's figure, as ``"2D"``."""

    name: str
    png: str
    pdf: str
    data: list[str]
    title: str
    caption: str
    paper: str

    @property
    def files(self) -> list[str]:
        """Names of the files, all in the folder."""
        return [self.png, self.pdf, *self.data]


def plain(value: object) -> object:
    """Convert what JSON has no type for: numpy scalars and arrays, paths, dataclasses.

    Examples
    --------
    >>> plain(np.float64(0.5))
    0.5
    """
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return portable(str(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{value!r} is a {type(value).__name__}; records hold text, numbers, lists and mappings only")


def portable(argument: str, root: Path | None = None) -> str:
    """Return a command-line argument without the machine's folders.

    A path inside `root` (default: the current folder) becomes relative to it; of any other absolute path only the
    file name stays. All else is returned unchanged.

    Examples
    --------
    >>> portable("--output=/home/ana/project/results", Path("/home/ana/project"))
    '--output=results'
    >>> portable("/data/screen.h5ad", Path("/home/ana/project"))
    'screen.h5ad'
    """
    option, equals, value = argument.partition("=") if argument.startswith("-") else ("", "", argument)
    path = Path(value)
    if not path.is_absolute():
        return argument
    root = Path.cwd() if root is None else root
    return f"{option}{equals}{path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name}"


def installed_version(package: str) -> str | None:
    """Version of an installed package; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str | None]:
    """Versions of Python, of this package and of the libraries that results may depend on."""
    return {
        "python": platform.python_version(),
        "diversity_by_design": installed_version(PACKAGE),
        **{library: installed_version(library) for library in LIBRARIES},
    }


def fingerprint(analysis: str, checksum: str, seed: int, parameters: Mapping[str, object]) -> str:
    """Hash of all that decides the results; a run with another fingerprint starts anew."""
    decisive = {
        "analysis": analysis,
        "input": checksum,
        "seed": seed,
        "parameters": parameters,
        "version": installed_version(PACKAGE),
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=plain).encode()).hexdigest()


def read_record(folder: Path) -> dict[str, Any] | None:
    """Content of a folder's run.json; None if there is none.

    Raises
    ------
    ValueError
        The file is there but is no record of results.
    """
    path = folder / RECORD
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {
            **record,
            "tables": [TableRecord(**table) for table in record["tables"]],
            "figures": [FigureRecord(**figure) for figure in record["figures"]],
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a record of results ({type(error).__name__}: {error}); move it away, or run the analysis "
            "again into another folder"
        ) from error


def checked_name(name: str) -> str:
    """Return `name` if it can be part of a file name on every system, else raise ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ValueError(f"{name!r} cannot name a result: use letters, digits, '_' and '-' only")
    return name


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a table without its index, floats to ten significant digits, undefined values empty.

    Raises
    ------
    ValueError
        The index holds information, which would be lost, or a column name occurs twice.
    """
    if frame.index.nlevels > 1 or frame.index.name is not None or not pd.api.types.is_integer_dtype(frame.index.dtype):
        raise ValueError(
            f"{path.name}: the table's index ({frame.index.names}) would be lost; make it columns with reset_index()"
        )
    if not frame.columns.is_unique:
        raise ValueError(
            f"{path.name}: column names occur twice: {listed(frame.columns[frame.columns.duplicated()].unique())}"
        )
    with atomic_path(path) as temporary:
        frame.to_csv(temporary, index=False, float_format=FLOAT_FORMAT, lineterminator="\n")


def read_csv(path: Path, dtypes: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Read a table as `write_csv` wrote it; only empty fields are undefined, so a gene may be called ``NA``."""
    return pd.read_csv(
        path,
        dtype=dict(dtypes) if dtypes else None,  # type: ignore[arg-type]
        keep_default_na=False,
        na_values=[""],
        float_precision="round_trip",
    )


class ResultFolder:
    """Results of one analysis of one data set.

    Opening the folder of an earlier run with the same fingerprint goes on where that run was; any other run, or
    `force`, starts anew and removes the files that the earlier run recorded, nothing else.

    Parameters
    ----------
    path : Path
        The folder, made if needed.
    analysis : str
        Name of the analysis, that of its script.
    title : str
        What the analysis is, for the report.
    dataset : Input
        The prepared data set; its name and checksum are recorded.
    seed : int
        Seed of the run.
    parameters : mapping of str to plain values
        All else that the results depend on (not the number of workers).
    force : bool
        Start anew in any case.

    Raises
    ------
    ValueError
        The folder holds the results of another analysis, or a run.json of something else.
    OSError
        The folder cannot be written to.
    """

    def __init__(
        self,
        path: Path,
        *,
        analysis: str,
        title: str,
        dataset: Input,
        seed: int,
        parameters: Mapping[str, object],
        force: bool = False,
    ) -> None:
        self.path = path
        self._began = time.perf_counter()
        self._tables: dict[str, TableRecord] = {}
        self._figures: dict[str, FigureRecord] = {}
        earlier = read_record(path)
        if earlier and earlier["analysis"] != analysis:
            raise ValueError(
                f"{path} holds results of the analysis {earlier['analysis']!r}, not of {analysis!r}; "
                "choose another folder with --output"
            )
        self._record: dict[str, Any] = {
            "analysis": analysis,
            "title": title,
            "complete": False,
            "command": [portable(argument) for argument in sys.argv],
            "seed": seed,
            "parameters": dict(parameters),
            "input": {"name": dataset.name, "checksum": dataset.checksum, "report": getattr(dataset, "report", None)},
            "versions": versions(),
            "started": now(),
            "finished": None,
            "seconds": 0.0,
            "fingerprint": fingerprint(analysis, dataset.checksum, seed, parameters),
            "notes": [],
        }
        if earlier and not force and earlier["fingerprint"] == self._record["fingerprint"]:
            self._resume(earlier)
        else:
            if earlier:
                self._remove(earlier)
            self._save()

    @property
    def complete(self) -> bool:
        """Whether the analysis was finished and all its files are still there."""
        return self._record["complete"] and all(self._present(record) for record in self._records())

    def table(self, name: str, frame: pd.DataFrame, *, caption: str = "", show: bool = False) -> Path:
        """Write `frame` as ``<name>.csv`` and return its path; with `show` the report shows it, not just links it."""
        dtypes = {str(column): str(dtype) for column, dtype in frame.dtypes.items()}
        record = TableRecord(checked_name(name), f"{name}.csv", caption, show, len(frame), dtypes)
        self._claim(record)
        path = self.path / record.file
        write_csv(path, frame)
        self._tables[name] = record
        self._save()
        return path

    def cached_table(
        self, name: str, make: Callable[[], pd.DataFrame], *, caption: str = "", show: bool = False
    ) -> pd.DataFrame:
        """Return the table `name` of an interrupted run, or else make and write it.

        The table is read back from its file in both cases, so that what is computed from it does not depend on
        whether the run was interrupted. Text in a column of mixed type comes back as text.
        """
        finished = self._tables.get(name)
        if finished is None or not self._present(finished):
            self.table(name, make(), caption=caption, show=show)
        record = self._tables[name]
        return read_csv(self.path / record.file, record.dtypes)

    def figure(
        self,
        name: str,
        figure: Figure,
        data: pd.DataFrame | Mapping[str, pd.DataFrame],
        *,
        title: str,
        caption: str,
        paper: str,
    ) -> Path:
        """Write a figure as ``<name>.png`` and ``<name>.pdf``, and beside them the data it was drawn from.

        Parameters
        ----------
        name : str
            Name of the files, without ending.
        figure : matplotlib Figure
            Is closed, whether it could be written or not.
        data : DataFrame, or mapping of str to DataFrame
            Written as ``<name>.csv``, or as ``<name>_<key>.csv`` each.
        title, caption : str
            What the figure is, and what to see in it.
        paper : str
            The paper's figure it corresponds to, such as ``"2D/E"``; empty if none.

        Returns
        -------
        Path
            Path of the PNG file.
        """
        import matplotlib.pyplot as plt

        frames = (
            {f"{name}.csv": data}
            if isinstance(data, pd.DataFrame)
            else {f"{name}_{checked_name(key)}.csv": frame for key, frame in data.items()}
        )
        record = FigureRecord(checked_name(name), f"{name}.png", f"{name}.pdf", list(frames), title, caption, paper)
        self._claim(record)
        try:
            for file, frame in frames.items():
                write_csv(self.path / file, frame)
            for kind, nothing in NO_METADATA.items():
                with atomic_path(self.path / f"{name}.{kind}") as temporary:
                    figure.savefig(temporary, dpi=DPI, metadata=nothing)
        finally:
            plt.close(figure)
        self._figures[name] = record
        self._save()
        return self.path / record.png

    def note(self, text: str) -> None:
        """Record what a reader of the results must know (such as which perturbations were left out)."""
        if text not in self._record["notes"]:
            self._record["notes"].append(text)
            self._save()

    def finish(self) -> None:
        """Record that the analysis is complete."""
        self._record["complete"] = True
        self._record["finished"] = now()
        self._save()

    def _records(self) -> list[TableRecord | FigureRecord]:
        return [*self._tables.values(), *self._figures.values()]

    def _present(self, record: TableRecord | FigureRecord) -> bool:
        return all((self.path / file).is_file() for file in record.files)

    def _claim(self, record: TableRecord | FigureRecord) -> None:
        """Raise ValueError if another result of this folder has a file of the same name."""
        for other in self._records():
            shared = set(record.files) & set(other.files)
            if shared and (type(other), other.name) != (type(record), record.name):
                raise ValueError(f"{self.path}: two results would be written to {listed(sorted(shared))}; rename one")

    def _resume(self, earlier: dict[str, Any]) -> None:
        self._record.update({key: earlier[key] for key in ("complete", "started", "finished", "seconds", "notes")})
        self._tables = {record.name: record for record in earlier["tables"]}
        self._figures = {record.name: record for record in earlier["figures"]}
        if self.complete:
            # What is finished stays as it is, the command that made it included.
            self._record["command"] = earlier["command"]
        else:
            self._record["complete"] = False

    def _remove(self, earlier: dict[str, Any]) -> None:
        for file in files_of([*earlier["tables"], *earlier["figures"]]):
            # A record that was tampered with must not reach files elsewhere.
            if Path(file).name == file:
                (self.path / file).unlink(missing_ok=True)

    def _save(self) -> None:
        record = {
            **self._record,
            "seconds": round(self._record["seconds"] + time.perf_counter() - self._began, 3),
            "tables": [dataclasses.asdict(table) for table in self._tables.values()],
            "figures": [dataclasses.asdict(figure) for figure in self._figures.values()],
        }
        write_text(self.path / RECORD, json.dumps(record, indent=2, default=plain, ensure_ascii=False) + "\n")


def files_of(records: Iterable[TableRecord | FigureRecord]) -> list[str]:
    """Names of all files of some results."""
    return [file for record in records for file in record.files]


def now() -> str:
    """Time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
