"""Writing HDF5 files, whole or not at all, also where the disk runs full."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diversity_by_design.running.files import atomic_path

if TYPE_CHECKING:
    import h5py
    from anndata import AnnData

# Room for the chunk that is being filled, per dataset; without it, it would be written and read again every time.
CHUNK_CACHE = 2**23


class PatientFile(io.FileIO):
    """A file that keeps the first error of writing to itself until it is asked.

    HDF5 cannot close a file that it failed to write to, and takes the whole program down at its end (segmentation
    fault). So it is told that all went well, and the error is raised once it has let go of the file.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all that the system takes; the number of bytes that were asked for, in any case."""
        view = memoryview(data).cast("B")
        size, end = len(view), self.tell() + len(view)
        try:
            while len(view) and self.error is None:
                view = view[self.put(view) :]
        except OSError as error:
            self.error = error
        if self.error is not None:
            # HDF5 asks for the length: what is missing becomes a hole, which takes no room.
            with suppress(OSError):
                self.truncate(max(end, os.fstat(self.fileno()).st_size))
            self.seek(end)
        return size

    def put(self, view: memoryview) -> int:
        """Write some bytes, as many as the system takes."""
        return super().write(view)

    def check(self) -> None:
        """Raise the error if there was one."""
        if self.error is not None:
            raise self.error


@contextmanager
def new_hdf5(path: Path) -> Iterator[tuple[h5py.File, PatientFile]]:
    """An HDF5 file to be written, whole or not at all, and what says whether the disk took it."""
    import h5py

    with atomic_path(path) as temporary, PatientFile(temporary, "w+") as target:
        with h5py.File(target, "w", rdcc_nbytes=CHUNK_CACHE) as file:
            yield file, target
        target.check()


def write_anndata(path: Path, adata: AnnData) -> None:
    """Write `adata` as an h5ad file, whole or not at all."""
    from anndata.io import write_elem

    with new_hdf5(path) as (file, _):
        write_elem(file, "/", adata)
