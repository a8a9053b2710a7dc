"""One program at a time in a folder."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from diversity_by_design.errors import InputError
from diversity_by_design.running.files import half_written, writing

if TYPE_CHECKING:
    from filelock import AcquireReturnProxy

LOCK = ".lock"


def hold(folder: Path) -> AcquireReturnProxy:
    """Have a folder, made if needed, to this process until the block ends: ``with hold(folder):``.

    Without a block, until ``.lock.release()`` is called on what is returned, or nothing refers to it any more. The lock
    ends with the process, however that ends. The same process may hold a folder several times. What an earlier process
    that was killed had half written there is removed.
    """
    from filelock import FileLock, SoftFileLock, Timeout

    path = folder / LOCK
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, is_singleton=True, thread_local=False)
        try:
            held = lock.acquire(blocking=False)
        except Timeout:
            raise InputError(
                f"{folder} is in use by another program{_holder(path)}; wait until that has ended, or stop it"
            ) from None
        if lock.lock_counter == 1:
            for file in half_written(folder):
                file.unlink(missing_ok=True)
    # Where files cannot be locked, the content of this one is what the lock is made of; elsewhere it is free.
    if not isinstance(lock, SoftFileLock):
        with suppress(OSError):  # Windows lets nobody read or write a locked file
            path.write_text(str(os.getpid()))
    return held


def _holder(path: Path) -> str:
    with suppress(OSError):
        return f" (process {path.read_text()})"
    return ""
