"""What a file is, by its first bytes; told before anything heavy is imported."""

from __future__ import annotations

import os
import re
import zlib
from enum import StrEnum
from pathlib import Path

from diversity_by_design.errors import InputError, listed

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# An HDF5 file may begin with a block of another program's.
HDF5_OFFSETS = (0, 512, 1024, 2048)
GZIP, MATRIX_MARKET = b"\x1f\x8b", b"%%MatrixMarket"
# What other files begin with, what they are, and the way on.
OTHERS = {
    b"BZh": "compressed with bzip2; unpack it first (bunzip2 -k {path})",
    b"\xfd7zXZ\x00": "compressed with xz; unpack it first (unxz -k {path})",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it first (unzstd {path})",
    b"PK\x03\x04": "a zip archive (as .zip, .xlsx and .npz files are); unpack it first, or export the data",
    b"PAR1": "a parquet table; counts of cells are read from .h5ad, zarr, .h5mu and Cell Ranger's files",
    b"RDX": "R's workspace; write its object with zellkonverter::writeH5AD() or MuDataSeurat::WriteH5AD() in R",
    MATRIX_MARKET: "a single Matrix Market file; give the folder that also holds barcodes and features (genes)",
    b"version https://git-lfs": "a pointer of Git LFS instead of the file; fetch that with git lfs pull",
}
RDS = "R's file; write its object with zellkonverter::writeH5AD() or MuDataSeurat::WriteH5AD() in R"
PAGES = (b"<!doctype html", b"<html", b"<?xml")
EXPECTED = "expected .h5ad, .h5mu, Cell Ranger's .h5, or a folder: zarr, or Cell Ranger's matrix.mtx with its tables"
TABLE = (
    f"a table of text; {EXPECTED} (a table of the guides of each cell goes with --calls, beside the file of counts; "
    "counts as text are read by scanpy.read_text() and written by write_h5ad())"
)
# Cell Ranger's folders of one sample, and what in there are the cells.
BY_GENOME = "filtered_gene_bc_matrices"  # of version 2, with a folder for each genome
FILTERED = ("filtered_feature_bc_matrix", "sample_filtered_feature_bc_matrix", BY_GENOME)


class Form(StrEnum):
    """How cells are stored; what an HDF5 file holds is seen when it is opened."""

    HDF5 = "HDF5"
    ZARR = "zarr"
    MATRIX_MARKET = "Matrix Market"


def form_of(path: Path) -> Form:
    """What is at `path`.

    Raises
    ------
    InputError
        There is nothing, or nothing that can be read; the message says what it is instead, and the way on.
    """
    try:
        if path.is_dir():
            return _form_of_folder(path)
        if not path.is_file():
            raise InputError(f"no file {path}")
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes); fetch or write it again")
        with path.open("rb") as file:
            start = file.read(HDF5_OFFSETS[-1] + len(HDF5_SIGNATURE))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if any(start[offset:].startswith(HDF5_SIGNATURE) for offset in HDF5_OFFSETS):
        return Form.HDF5
    raise InputError(f"{path} is {_what(path, start)}")


def matrix_files(folder: Path) -> list[Path]:
    """Matrix Market files of a folder; Cell Ranger writes one, other programs put a prefix before its name."""
    packed = {file.with_suffix(""): file for file in folder.glob("*matrix.mtx.gz")}
    # Of a file that was unpacked, and kept, the unpacked one.
    return sorted((packed | {file: file for file in folder.glob("*matrix.mtx")}).values())


def resolved(path: Path) -> Path:
    """Where the cells are: of a folder of Cell Ranger's outputs the file of its filtered matrix, else `path`."""
    # Other than the methods of Path, these raise nothing where permissions are missing.
    if not os.path.isdir(path) or matrix_files(path):
        return path
    for name in FILTERED:
        for found in (path / f"{name}.h5", path / name):
            if os.path.exists(found):
                return resolved(found)
    genomes = {file.parent for file in path.glob("*/*matrix.mtx")} if path.name == BY_GENOME else set()
    return genomes.pop() if len(genomes) == 1 else path


def dataset_name(path: Path) -> str:
    """How a data set is called by its file; one of Cell Ranger's by the folder of the sample.

    >>> dataset_name(Path("data/screen.h5ad")), dataset_name(Path("run7/outs/filtered_feature_bc_matrix.h5"))
    ('screen', 'run7')
    """
    path = Path(os.path.abspath(path))
    names = path.parts
    if "outs" in names[1:]:
        return names[len(names) - 1 - names[::-1].index("outs") - 1]
    return path.stem


def _what(path: Path, start: bytes) -> str:
    """What a file is that is none of HDF5, by its beginning, and the way on."""
    if path.suffix.lower() in (".rds", ".rda", ".rdata", ".qs"):
        return RDS
    for signature, what in OTHERS.items():
        if start.startswith(signature):
            return what.format(path=path)
    if start.startswith(GZIP):
        return _what_is_packed(path, start)
    if start[257:262] == b"ustar":
        return f"a tar archive; unpack it first (tar -xf {path})"
    if start.lstrip().lower().startswith(PAGES):
        return "a web page, or what a server answered, instead of the file; fetch it again"
    if _is_text(start):
        return TABLE
    return f"not an HDF5 file, as every .h5ad file is, or its beginning is damaged; {EXPECTED}"


def _what_is_packed(path: Path, start: bytes) -> str:
    try:
        inside = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(start)
    except zlib.error:
        inside = b""
    if inside.startswith(MATRIX_MARKET):
        return OTHERS[MATRIX_MARKET]
    if inside[257:262] == b"ustar":
        return f"a tar archive; unpack it first (tar -xzf {path})"
    return TABLE if _is_text(inside) else f"compressed with gzip; unpack it first (gunzip -k {path})"


def _is_text(start: bytes) -> bool:
    return b"\n" in start and re.fullmatch(rb"[\t\r\n\x20-\x7e\x80-\xff]*", start) is not None


def _form_of_folder(path: Path) -> Form:
    names = {entry.name for entry in path.iterdir()}
    if names & {".zgroup", ".zattrs", ".zarray", "zarr.json"}:
        return Form.ZARR
    matrices = matrix_files(path)
    if len(matrices) == 1:
        return Form.MATRIX_MARKET
    if matrices:
        raise InputError(
            f"{path} holds {len(matrices)} matrices ({listed(file.name for file in matrices)}); put each into a folder "
            "of its own, with its tables"
        )
    if {"obs", "var"} <= names:
        raise InputError(
            f"{path} looks like AnnData as zarr, but has neither zarr.json nor .zgroup: its copy is not complete; "
            "fetch or write it again"
        )
    raise InputError(
        f"{path} is a folder with neither a zarr group nor a matrix.mtx(.gz); it holds: {listed(sorted(names), 5)}; "
        f"{EXPECTED}"
    )
