"""Checksums of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from diversity_by_design.errors import InputError


def digest(path: Path, algorithm: str) -> str:
    """Checksum of a file's content by an algorithm of hashlib, in hexadecimal digits; see `sha256`."""
    if not path.is_file():
        raise InputError(f"{path} is a folder; expected a file" if path.is_dir() else f"no file {path}")
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits; of a folder that of its files' names and SHA-256.

    Raises
    ------
    InputError
        There is no such file or folder.
    """
    if not path.is_dir():
        return digest(path, "sha256")
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = [f"{digest(file, 'sha256')}  {file.relative_to(path).as_posix()}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
