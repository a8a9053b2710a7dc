"""What a folder of results records of itself in run.json: its files, and how they were made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from diversity_by_design.errors import InputError
from diversity_by_design.running.files import write_text
from diversity_by_design.running.imports import closure, source
from diversity_by_design.running.project import NAME, running_script

RECORD = "run.json"
DPI = 150  # of every PNG
# Of run.json, besides the tables, figures and other files.
FIELDS = (
    *("analysis", "title", "complete", "command", "seed", "parameters", "input", "versions"),
    *("started", "finished", "seconds", "fingerprint", "notes"),
)
LIBRARIES = ("numpy", "scipy", "pandas", "anndata", "scanpy")


@dataclass(frozen=True)
class TableRecord:
    """A finished table: its file, its caption, whether the report shows it, and the types of its columns."""

    kind: ClassVar[str] = "tables"
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

    kind: ClassVar[str] = "figures"
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


@dataclass(frozen=True)
class FileRecord:
    """Any other finished file: its path in the folder, such as ``predictions/mse.h5ad``, which is its name too."""

    kind: ClassVar[str] = "files"
    name: str

    @property
    def files(self) -> list[str]:
        """Path of the file, in the folder."""
        return [self.name]


Result = TableRecord | FigureRecord | FileRecord
# By the name of their list in run.json.
KINDS: dict[str, type[Result]] = {make.kind: make for make in (TableRecord, FigureRecord, FileRecord)}


def plain(value: object) -> object:
    """Convert what JSON has no type for: numpy scalars and arrays, paths, dataclasses.

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
        "diversity_by_design": installed_version(NAME),
        **{library: installed_version(library) for library in LIBRARIES},
    }


def code_hash(program: Path | None = None) -> str:
    """Hash of a program (default: the running script) and of the modules of this package that it uses.

    Where there is no script, or one that uses none, as if it used all modules.
    """
    program = program or running_script()
    modules = closure(program) if program else set()
    files = [file for module in modules if (file := source(module))] or [*Path(__file__).parents[1].rglob("*.py")]
    sources = [*sorted(files), *([program] if program else [])]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in sources)).hexdigest()


def fingerprint(
    analysis: str, checksum: str, seed: int, parameters: Mapping[str, object], reads: Mapping[str, str]
) -> str:
    """Hash of all that decides the results; a run with another fingerprint starts anew."""
    decisive = {"analysis": analysis, "input": checksum, "seed": seed, "parameters": parameters, "reads": reads}
    text = json.dumps({**decisive, "code": code_hash()}, sort_keys=True, default=plain)
    return hashlib.sha256(text.encode()).hexdigest()


def read_record(folder: Path) -> dict[str, Any] | None:
    """Content of a folder's run.json; None if there is none."""
    path = folder / RECORD
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        record = {
            **{key: content[key] for key in FIELDS},
            # Absent from records of earlier versions.
            "reads": content.get("reads", {}),
            "obsolete": content.get("obsolete", []),
            **{kind: [make(**fields) for fields in content.get(kind, [])] for kind, make in KINDS.items()},
        }
        for file in [*files_of(record), *record["obsolete"]]:
            if Path(file).is_absolute() or ".." in Path(file).parts:
                raise ValueError(f"it names {file}, which is outside the folder")
        return record
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not a record of results ({type(error).__name__}: {error}); move it away, or run the analysis "
            "again into another folder"
        ) from error


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write a folder's run.json; `record` is as `read_record` returns it."""
    write_text(folder / RECORD, json.dumps(record, indent=2, default=plain, ensure_ascii=False) + "\n")


def files_of(record: Mapping[str, Any]) -> list[str]:
    """Names of all files of the results that a folder's record lists."""
    return [file for kind in KINDS for result in record[kind] for file in result.files]


def now() -> str:
    """Time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
