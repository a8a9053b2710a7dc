"""What a folder of results records of itself in run.json: its files, and how they were made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from diversity_by_design.errors import InputError

RECORD = "run.json"
DPI = 150  # of every PNG
PACKAGE = "diversity-by-design"
# Of run.json, besides the tables and figures.
FIELDS = (
    "analysis",
    "title",
    "complete",
    "command",
    "seed",
    "parameters",
    "input",
    "versions",
    "started",
    "finished",
    "seconds",
    "fingerprint",
    "notes",
)
LIBRARIES = ("numpy", "scipy", "pandas", "anndata", "scanpy")


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
    raise InputError(f"{value!r} is a {type(value).__name__}; records hold text, numbers, lists and mappings only")


def portable(argument: str, root: Path | None = None) -> str:
    """Return a command-line argument without the machine's folders.

    A path inside `root` (default: the current folder) becomes relative to it; of any other absolute path only the
    file name stays. All else is returned unchanged.

    Examples
    --------
    >>> portable("--output=/projects/screen/results", Path("/projects/screen"))
    '--output=results'
    >>> portable("/data/screen.h5ad", Path("/projects/screen"))
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


def code_hash() -> str:
    """Hash of this package's modules and of the running script: an analysis that was edited is another analysis."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    if script is not None and Path(script).is_file():
        sources.append(Path(script))
    return hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()


def fingerprint(analysis: str, checksum: str, seed: int, parameters: Mapping[str, object]) -> str:
    """Hash of all that decides the results; a run with another fingerprint starts anew."""
    decisive = {
        "analysis": analysis,
        "input": checksum,
        "seed": seed,
        "parameters": parameters,
        "code": code_hash(),
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=plain).encode()).hexdigest()


def read_record(folder: Path) -> dict[str, Any] | None:
    """Content of a folder's run.json; None if there is none.

    Raises
    ------
    InputError
        The file is there but is no record of results.
    """
    path = folder / RECORD
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {
            **{key: record[key] for key in FIELDS},
            "tables": [TableRecord(**table) for table in record["tables"]],
            "figures": [FigureRecord(**figure) for figure in record["figures"]],
        }
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not a record of results ({type(error).__name__}: {error}); move it away, or run the analysis "
            "again into another folder"
        ) from error


def files_of(records: Iterable[TableRecord | FigureRecord]) -> list[str]:
    """Names of all files of some results."""
    return [file for record in records for file in record.files]


def now() -> str:
    """Time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
