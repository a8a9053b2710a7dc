"""Arrays and what is known about them in one file, without pickle."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diversity_by_design.errors import InputError
from diversity_by_design.running.files import atomic_path

Arrays = dict[str, npt.NDArray[Any]]

_ABOUT, _CHECKSUM = "about", "checksum"


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]], about: Mapping[str, Any]) -> None:
    """Write a safetensors file, whole or not at all, with plain values (as JSON has them) `about` it in its header."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    whole = {name: np.asarray(values, order="C") for name, values in arrays.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(whole, temporary, metadata={_ABOUT: json.dumps(dict(about)), _CHECKSUM: _of_arrays(whole)})
        except SafetensorError as error:
            # It does not say which file, and is no OSError, such as for a full disk.
            raise OSError(errno.EIO, str(error), str(path)) from error


def read_arrays(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Arrays of a file of `write_arrays`, and what is known about them; InputError if it is none."""
    from safetensors import SafetensorError, safe_open

    if path.is_dir():
        raise InputError(f"{path} is a folder; expected a file")
    if not path.is_file():
        raise InputError(f"no file {path}")
    try:
        with safe_open(path, framework="np") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = json.loads(header[_ABOUT])
            if header[_CHECKSUM] != _of_arrays(arrays):
                raise InputError("its content is not what was written")
    except (SafetensorError, KeyError, ValueError) as error:
        why = "it does not say what it is" if isinstance(error, KeyError) else error
        raise InputError(f"{path} is no model or checkpoint of this program, or is damaged ({why})") from error
    return arrays, about


def checksum(*parts: bytes | npt.NDArray[Any]) -> str:
    """SHA-256 of texts and arrays after each other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.tobytes())
    return digest.hexdigest()


def _of_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    return checksum(*(part for name in sorted(arrays) for part in (name.encode(), arrays[name])))
