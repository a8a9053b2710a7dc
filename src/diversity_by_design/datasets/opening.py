"""Opening HDF5 files and zarr folders; what keeps them from being read, each with its own message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diversity_by_design.cells import readable, said_by
from diversity_by_design.errors import InputError, listed

# Numbers of filters as they are registered with The HDF Group, where the file does not name them.
FILTERS = {32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32013: "zfp", 32015: "zstd", 32026: "blosc2"}


def open_hdf5(path: Path) -> Any:
    """Open an HDF5 file; InputError that says whether it is locked, still written, cut short or damaged."""
    import h5py

    try:
        return h5py.File(path, "r")
    except BlockingIOError as error:
        raise InputError(
            f"{path} is locked: another program is writing to it; close it there (or copy the file)"
        ) from error
    except OSError as error:
        reason = str(error)
        if "unable to lock" in reason:
            raise InputError(
                f"{path} cannot be locked: the disk it is on has no locks ({reason}); set HDF5_USE_FILE_LOCKING=FALSE "
                "in the environment, or copy the file to another disk"
            ) from error
        if "already open for write" in reason:
            raise InputError(
                f"{path} is still being written, or the program that wrote it ended before it was closed; close it "
                f"there, write it again, or take what is there: h5clear --status {path}"
            ) from error
        if "truncated" in reason:
            raise InputError(
                f"{path} was cut short, perhaps by a transfer that broke off ({reason}); fetch or write it again"
            ) from error
        raise InputError(f"{path} cannot be read: it is damaged ({reason}); fetch or write it again") from error


def open_zarr(path: Path) -> Any:
    """Open a group of zarr, of version 2 or 3; InputError if it cannot be read."""
    try:
        import zarr
    except ImportError as error:
        raise InputError(f"{path} is of zarr, which is not installed (pip install zarr)") from error
    if (path / "zarr.json").exists() and zarr.__version__.startswith("2."):
        raise InputError(
            f"{path} is of zarr's format 3, which zarr {zarr.__version__} does not read (pip install 'zarr>=3', with "
            "anndata 0.12 or later)"
        )
    with damage(str(path)):
        try:
            return zarr.open_group(path, mode="r")
        except zarr.errors.ContainsArrayError as error:
            raise InputError(
                f"{path} is a single array of zarr; expected AnnData, a group of X, obs and var"
            ) from error


@contextmanager
def damage(place: str) -> Iterator[None]:
    """As `cells.readable`; a damaged file makes anndata, scanpy and zarr raise errors of any kind."""
    with readable(place):
        try:
            yield
        except (MemoryError, OSError, RuntimeError, KeyError, ValueError):
            raise
        except Exception as error:
            raise ValueError(f"{type(error).__name__}: {said_by(error)}") from error


def check_filters(node: Any, path: Path) -> None:
    """Raise InputError where HDF5 data are compressed with a filter that is not installed."""
    missing = _missing_filters(node)
    if missing and _import_filters():
        missing = _missing_filters(node)
    if missing:
        names = listed(f"{name} (number {code})" for code, name in missing.items())
        raise InputError(
            f"{path} is compressed with a filter that is not installed: {names}; the package hdf5plugin has the usual "
            "ones (pip install hdf5plugin), or write the file again with gzip"
        )


def _missing_filters(node: Any) -> dict[int, str]:
    """Names of filters that are not there, by number."""
    import h5py

    missing: dict[int, str] = {}

    def look(_: str, part: Any) -> None:
        if isinstance(part, h5py.Dataset):
            plist = part.id.get_create_plist()
            for number in range(plist.get_nfilters()):
                code, _, _, name = plist.get_filter(number)
                if not h5py.h5z.filter_avail(code):
                    missing[code] = name.decode(errors="replace") or FILTERS.get(code, "unnamed")

    look("", node)
    if isinstance(node, h5py.Group):
        node.visititems(look)
    return missing


def _import_filters() -> bool:
    try:
        import hdf5plugin  # noqa: F401 - importing it registers its filters
    except ImportError:
        return False
    return True
