"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import errno
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from diversity_by_design.errors import InputError, listed

FLOAT_FORMAT = "%.10g"
# From version 3.1 on pandas reads floats exactly unless told otherwise, and warns where it is told to.
_PANDAS = tuple(int(part) for part in pd.__version__.split(".")[:2])
_EXACTLY: dict[str, Any] = {} if _PANDAS >= (3, 1) else {"float_precision": "round_trip"}

# What a disk reports without naming a file: full, over quota, file too large, read-only, broken.
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


@contextmanager
def writing(path: Path, *temporary: Path) -> Iterator[None]:
    """Raise InputError, naming `path`, if within the block the disk is full or does not let it be written.

    Errors about other files than `path`, its folders and the `temporary` ones pass through unchanged.
    """
    try:
        yield
    except OSError as error:
        named = None if error.filename is None else Path(os.fsdecode(error.filename))
        if named not in (path, *temporary, *path.parents) and error.errno not in DISK_ERRORS:
            raise
        raise InputError(
            f"cannot write {path} ({error.strerror}); what was finished before is kept: make room or allow writing "
            "there, or choose another folder, and run the same command again"
        ) from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; what is written there becomes `path` once the block has ended well.

    The folder is made if needed. If the block raises, the temporary file is removed and an earlier `path` stays as it
    was. The temporary name ends as `path` does, since many writers choose their format by it.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}.tmp.{path.name}")
    with writing(path, temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def file_name(text: str) -> str:
    """Any text as a name of a file or folder: letters, digits and ``._-``, other signs as ``_``.

    >>> file_name("K562 | day 3"), file_name("..")
    ('K562_day_3', '_..')
    """
    name = re.sub(r"[^\w.-]+", "_", text)[:100] or "_"
    return f"_{name}" if name.startswith(".") else name


def distinct(names: Iterable[str]) -> list[str]:
    """Names of which each that occurred before, in upper or lower case, has a number.

    >>> distinct(["a", "A", "b"])
    ['a', 'A-2', 'b']
    """
    given: list[str] = []
    for name in names:
        number, new = 1, name
        while new.casefold() in {earlier.casefold() for earlier in given}:
            number += 1
            new = f"{name}-{number}"
        given.append(new)
    return given


def half_written(folder: Path) -> list[Path]:
    """Temporary files that a killed program left in a folder, or that another one is writing."""
    return list(folder.glob(".????????.tmp.*"))


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all (see `atomic_path`)."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a table without its index, floats to ten significant digits, undefined values empty."""
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


def read_note(path: Path, key: str, advice: str) -> dict[str, str]:
    """Content of a JSON file that holds something called `key`; empty if there is no file."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {**content, key: str(content[key])}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} holds no {key}; {advice}") from error


def read_csv(path: Path, dtypes: dict[str, str] | None = None) -> pd.DataFrame:
    """Read a table as `write_csv` wrote it; only empty fields are undefined, so a gene may be called ``NA``."""
    return pd.read_csv(path, dtype=dtypes, keep_default_na=False, na_values=[""], **_EXACTLY)
