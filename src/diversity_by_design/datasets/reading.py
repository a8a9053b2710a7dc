"""Reading h5ad files of any size: the tables whole, the counts in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from diversity_by_design.errors import InputError, listed

if TYPE_CHECKING:
    import h5py

# Values read at a time: 64 MiB of float32, or half as many bytes again with their indices in a sparse file.
BLOCK_VALUES = 2**24
SPARSE_BLOCK_VALUES = 2**23


@dataclass(frozen=True)
class Block:
    """Some values of a matrix: some cells x some consecutive genes.

    Attributes
    ----------
    cells : int array
        Which rows of the matrix these are.
    first_gene : int
        Which column of the matrix is the first here.
    values : scipy.sparse.csr_matrix (cells, genes)
        Without explicit zeros or duplicates.
    """

    cells: npt.NDArray[np.intp]
    first_gene: int
    values: sparse.csr_matrix


@contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """Turn what HDF5 says of a damaged file into a ValueError that names the file."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: it was cut short or damaged, perhaps by a transfer that broke off "
            f"(HDF5 says: {error}); fetch or write it again"
        ) from error


class StoredMatrix:
    """A matrix in an h5ad file: dense, CSR or CSC.

    Parameters
    ----------
    path : Path
        The file, for messages.
    node : h5py.Dataset or h5py.Group
    name : str
        What messages call the matrix, such as ``X``.
    shape : (int, int)
        Cells and genes that the tables of the file list.

    Raises
    ------
    InputError
        The matrix has another shape, or is stored in a way that is not known.
    """

    def __init__(self, path: Path, node: Any, name: str, shape: tuple[int, int]) -> None:
        self.path = path
        self.name = name
        self.shape = shape
        self._node = node
        self.layout = _layout(node)
        if self.layout is None:
            raise InputError(
                f"{path}: {name} is stored in an unknown way; expected a dense, CSR or CSC matrix "
                "(read the file with anndata and write it again)"
            )
        found = tuple(int(n) for n in (node.shape if self.layout == "dense" else _sparse_shape(node)))
        if found != shape:
            raise InputError(
                f"{path}: {name} has shape {found}, but obs and var list {shape[0]} cells, {shape[1]} genes"
            )

    def blocks(self, cells: npt.NDArray[np.intp] | None = None) -> Iterator[Block]:
        """Yield the matrix block by block, or only the given cells (sorted row numbers).

        Dense and CSR matrices come as consecutive cells with all genes, a CSC matrix as consecutive genes with all
        cells. Only one block is held at a time.
        """
        from tqdm import tqdm

        wanted = np.arange(self.shape[0]) if cells is None else cells
        spans = list(self._spans())
        for start, stop in tqdm(spans, desc=f"reading {self.name} of {self.path.name}", disable=None, leave=False):
            if self.layout == "csc":
                with translated_errors(self.path):
                    part = self._compressed(start, stop)
                columns = sparse.csc_matrix(part, shape=(self.shape[0], stop - start)).tocsr()
                yield Block(wanted, start, _canonical(columns if cells is None else columns[wanted]))
                continue
            rows = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, stop)]
            if not len(rows):
                continue
            within = slice(None) if len(rows) == stop - start else rows - start
            with translated_errors(self.path):
                if self.layout == "dense":
                    values = _dense_to_csr(self._node[start:stop][within])
                else:
                    part = self._compressed(start, stop)
                    values = sparse.csr_matrix(part, shape=(stop - start, self.shape[1]))[within]
            yield Block(rows, 0, _canonical(values))

    def _spans(self) -> Iterator[tuple[int, int]]:
        """First and last row (of a CSC matrix: column) of every block."""
        if self.layout == "dense":
            step = max(1, BLOCK_VALUES // self.shape[1])
            for start in range(0, self.shape[0], step):
                yield start, min(start + step, self.shape[0])
            return
        indptr = self._indptr
        start, length = 0, len(indptr) - 1
        while start < length:
            stop = int(np.searchsorted(indptr, indptr[start] + SPARSE_BLOCK_VALUES, side="right")) - 1
            stop = min(max(stop, start + 1), length)
            yield start, stop
            start = stop

    @property
    def _indptr(self) -> npt.NDArray[np.int64]:
        with translated_errors(self.path):
            indptr = self._node["indptr"][:].astype(np.int64)
        across = self.shape[1] if self.layout == "csc" else self.shape[0]
        stored = len(self._node["data"])
        if len(indptr) != across + 1 or indptr[0] != 0 or indptr[-1] != stored or (np.diff(indptr) < 0).any():
            raise InputError(
                f"{self.path}: the index pointers of {self.name} contradict its shape; the file is damaged"
            )
        return indptr

    def _compressed(self, start: int, stop: int) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray]:
        """Values, indices and index pointers of the rows (of a CSC matrix: columns) from `start` to `stop`."""
        first, last = self._node["indptr"][start], self._node["indptr"][stop]
        data, indices = self._node["data"][first:last], self._node["indices"][first:last]
        across = self.shape[0] if self.layout == "csc" else self.shape[1]
        # scipy does not check indices, and reads or writes out of bounds with wrong ones.
        if len(indices) and (indices.min() < 0 or indices.max() >= across):
            raise InputError(f"{self.path}: {self.name} has indices beyond its shape {self.shape}; the file is damaged")
        return data, indices, self._node["indptr"][start : stop + 1] - first


class H5adFile:
    """An h5ad file open for reading; use it in a ``with`` statement.

    Attributes
    ----------
    obs, var : pandas.DataFrame
        With names as text.

    Raises
    ------
    InputError
        There is no such file. The file is empty, cut short, of another format, or has no cells or no genes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _open(path)
        try:
            self.obs = self._table("obs")
            self.var = self._table("var")
            if not len(self.obs):
                raise InputError(f"{path} holds no cells")
            if not len(self.var):
                raise InputError(f"{path} holds no genes")
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> H5adFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def matrix(self, name: str) -> StoredMatrix | None:
        """Return ``X`` or a layer (``layers/counts``); None if the file has none of that name."""
        node = self._file.get(name)
        return None if node is None else StoredMatrix(self.path, node, name, (len(self.obs), len(self.var)))

    def other_content(self, used: str) -> list[str]:
        """Names of what the file holds besides `used` and the tables: further layers, embeddings and the like."""
        found = [
            f"{part}/{key}" for part in ("layers", "obsm", "varm", "obsp", "varp") for key in self._file.get(part, ())
        ]
        found += [name for name in ("X", "raw") if name in self._file]
        return [name for name in found if name != used]

    def _table(self, name: str) -> pd.DataFrame:
        import h5py
        from anndata.io import read_elem

        node = self._file.get(name)
        if not isinstance(node, h5py.Group):
            raise InputError(
                f"{self.path} is no h5ad file as anndata 0.7 and later write it: it has no table {name!r} "
                f"(it holds: {listed(self._file)}); read it with anndata and write it again"
            )
        with translated_errors(self.path):
            table = read_elem(node)
        table.index = table.index.astype(str)
        return table


def _open(path: Path) -> h5py.File:
    import h5py

    if not path.exists():
        raise InputError(f"no file {path}")
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected an .h5ad file")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); fetch or write it again")
    try:
        if not h5py.is_hdf5(path):
            raise InputError(
                f"{path} is not an HDF5 file, which every .h5ad file is; is it another format, or compressed?"
            )
        return h5py.File(path, "r")
    except PermissionError as error:
        raise InputError(f"{path} may not be read: permission denied") from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be opened: it was cut short or damaged, perhaps by a transfer that broke off "
            f"(HDF5 says: {error}); fetch or write it again"
        ) from error


def _layout(node: Any) -> str | None:
    import h5py

    if isinstance(node, h5py.Dataset):
        return "dense" if node.ndim == 2 else None
    kind = str(node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", "")))
    return {"csr_matrix": "csr", "csc_matrix": "csc", "csr": "csr", "csc": "csc"}.get(kind)


def _sparse_shape(node: Any) -> npt.NDArray:
    return node.attrs["shape"] if "shape" in node.attrs else node.attrs["h5sparse_shape"]


def _dense_to_csr(values: npt.NDArray) -> sparse.csr_matrix:
    # Half the time and a quarter of the memory of sparse.csr_matrix(values). NaN is not zero and stays.
    stored = values != 0
    columns = np.broadcast_to(np.arange(values.shape[1], dtype=np.int32), values.shape)[stored]
    indptr = np.concatenate([[0], np.cumsum(stored.sum(axis=1))])
    return sparse.csr_matrix((values[stored], columns, indptr), shape=values.shape)


def _canonical(values: sparse.csr_matrix) -> sparse.csr_matrix:
    """Remove explicit zeros and sum duplicates, which a file may hold, so that stored values are detected genes."""
    values.sum_duplicates()
    if not values.data.all():
        values.eliminate_zeros()
    return values
