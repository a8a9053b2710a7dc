"""Tensors and what is known about them in one file, without pickle."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diversity_by_design.errors import InputError, listed
from diversity_by_design.running.files import atomic_path

if TYPE_CHECKING:
    from torch import Tensor

_ABOUT, _CHECKSUM = "about", "checksum"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write a safetensors file, whole or not at all.

    Parameters
    ----------
    path : Path
    tensors : mapping of name to tensor
    about : mapping
        Plain values (as JSON has them), which are written into the file's header.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # Parameters may share memory with each other, which the format does not know.
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(own, temporary, metadata={_ABOUT: json.dumps(dict(about)), _CHECKSUM: _checksum(own)})
        except SafetensorError as error:
            # It does not say which file, and is no OSError, such as for a full disk.
            raise OSError(errno.EIO, str(error), str(path)) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of a file of `write_tensors`, on the CPU, and what is known about them.

    Raises
    ------
    InputError
        There is no such file. It is not such a file.
    """
    from safetensors import SafetensorError, safe_open

    if path.is_dir():
        raise InputError(f"{path} is a folder; expected a file")
    if not path.is_file():
        raise InputError(f"no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            known = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = json.loads(known[_ABOUT])
            if known[_CHECKSUM] != _checksum(tensors):
                raise InputError("its content is not what was written")
    except (SafetensorError, KeyError, ValueError) as error:
        why = "it does not say what it is" if isinstance(error, KeyError) else error
        raise InputError(f"{path} is no model or checkpoint of this program, or is damaged ({why})") from error
    return tensors, about


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def require_same(path: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise InputError, naming what differs, unless a checkpoint is of the training that is asked for."""
    different = [
        f"{name} is {found.get(name, 'unknown')!r} there and {expected.get(name, 'unknown')!r} here"
        for name in dict.fromkeys([*expected, *found])
        if found.get(name) != expected.get(name)
    ]
    if different:
        raise InputError(
            f"{path} is the checkpoint of another training: {listed(different, 5)}; choose another file, or remove it"
        )
