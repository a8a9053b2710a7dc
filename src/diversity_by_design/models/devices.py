"""Which GPUs there are, and one job at a time on each of them."""

from __future__ import annotations

import os
import re
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diversity_by_design.errors import InputError

if TYPE_CHECKING:
    from filelock import FileLock

# Seconds between two looks at whether a GPU has become free.
_PAUSE = 0.2
# Seconds of waiting for a GPU after which that is worth a warning.
PATIENCE = 10.0


@dataclass(frozen=True)
class _Gpu:
    device: str  # in this process, such as "cuda:0"
    uuid: str  # the same in all processes, whatever part of the machine's GPUs they see
    name: str


def available_devices(kind: str) -> list[str]:
    """Devices of a kind, "cpu", "cuda" (all GPUs that torch sees) or "cuda:1", by their names for torch; at least one.

    >>> available_devices("cpu")
    ['cpu']
    """
    return ["cpu"] if kind == "cpu" else [gpu.device for gpu in _gpus(kind)]


@contextmanager
def claim(kind: str, folder: Path | str | None = None) -> Iterator[str]:
    """Have a device to oneself: of the GPUs of a kind, the first that is free, waiting until one is.

    Processes and threads of this machine that claim GPUs agree by locked files, one for each GPU. The lock ends with
    the block or with the process, however that ends. Programs that do not ask this function are not noticed. The lock
    files are in `folder` (default: the machine's for temporary files). The CPU is shared, never waited for.

    >>> with claim("cpu") as device:
    ...     device
    'cpu'
    """
    if kind == "cpu":
        yield kind
        return
    gpus = _gpus(kind)
    from filelock import FileLock

    folder = Path(folder or tempfile.gettempdir())
    folder.mkdir(parents=True, exist_ok=True)
    # Anybody on the machine may lock a GPU.
    locks = {gpu.device: FileLock(folder / f"diversity_by_design_gpu_{gpu.uuid}.lock", mode=0o666) for gpu in gpus}
    device = _first_free(locks, folder)
    try:
        yield device
    finally:
        locks[device].release()


def _first_free(locks: dict[str, FileLock], folder: Path) -> str:
    """First device whose lock can be had; it is now held."""
    from filelock import Timeout

    start, warned = time.monotonic(), False
    while True:
        for device, lock in locks.items():
            with suppress(Timeout):
                lock.acquire(blocking=False)
                return device
        if not warned and time.monotonic() - start > PATIENCE:
            warned = True
            warnings.warn(
                f"{', '.join(locks)}: in use by other jobs (locks in {folder}); waiting until one is free", stacklevel=4
            )
        time.sleep(_PAUSE)


def _gpus(kind: str) -> list[_Gpu]:
    """GPUs of a kind; at least one."""
    match = re.fullmatch("cuda(?::([0-9]+))?", kind)
    if match is None:
        raise InputError(f"device is {kind!r}; it must be 'cpu', 'cuda' (all GPUs) or one GPU such as 'cuda:0'")
    gpus = _visible_gpus()
    chosen = gpus if match[1] is None else gpus[int(match[1]) :][:1]
    if not chosen:
        raise InputError(f"device {kind!r} was asked for, but {_what_torch_sees(gpus)}; --device cpu needs none")
    return chosen


def _visible_gpus() -> list[_Gpu]:
    import torch

    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    properties = [torch.cuda.get_device_properties(number) for number in range(n_gpus)]
    return [_Gpu(f"cuda:{number}", str(gpu.uuid), gpu.name) for number, gpu in enumerate(properties)]


def _what_torch_sees(gpus: list[_Gpu]) -> str:
    if gpus:
        return "torch sees only " + ", ".join(f"{gpu.device} ({gpu.name})" for gpu in gpus)
    import torch

    built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    limit = "" if visible is None else f", CUDA_VISIBLE_DEVICES is {visible!r}"
    return (
        f"torch sees no GPU (torch {torch.__version__}, built {built}{limit}; `nvidia-smi` shows what the driver sees)"
    )
