"""The one reader of matrices of cells x genes: in blocks, wherever they are stored, and checked on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from diversity_by_design.errors import InputError
from diversity_by_design.scales import Kind, Scale, likely_scale
from diversity_by_design.threads import one_ahead

# Cells x genes of a block: 64 MiB of float32 where it is dense.
BLOCK_VALUES = 2**24
# log1p(1e6), the most that counts per million can reach, is 13.8: what exceeds this is no logarithm.
LARGEST_LOG1P = 15.0
# Whole numbers up to this are exact in float32.
LARGEST_COUNT = 2**24

# Cells, or genes, by which the likely scale of a matrix is told.
SAMPLED = 300

# Values looked at together when only a few may be needed.
_PART = 2**16
_NORMALISE = "sc.pp.normalize_total(adata, target_sum=1e4), then sc.pp.log1p(adata)"
# How values of each scale become expression; of others it is not known.
_TO_EXPRESSION: dict[Kind, str] = {
    "counts": _NORMALISE,
    "fractional counts": f"if these are counts, {_NORMALISE}",
    "normalised": "sc.pp.log1p(adata), once",
    "log1p": f"undo the logarithm (np.expm1), then {_NORMALISE}",
    "log2": "adata.X = adata.X * np.log(2), since ln(1 + x) = log2(1 + x) * ln 2",
}
_FIND_COUNTS = "look for raw counts in X, layers or raw (dbd inspect FILE shows them)"
_ROUND = "corrected or estimated counts are rounded at preparation with --round (round=True)"

Positions = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Block:
    """Some cells x some genes of a matrix, all genes or all cells of it."""

    cells: slice | Positions  # which rows of the matrix these are
    genes: slice  # which columns
    values: Any  # array, CSR or CSC; in the machine's byte order, never float16, no entry stored twice

    @property
    def by_gene(self) -> bool:
        """Whether `values` is CSC."""
        return getattr(self.values, "format", None) == "csc"


def read_blocks(
    matrix: Any,
    cells: pd.Index,
    genes: pd.Index,
    where: str,
    scale: Literal["expression", "counts", "fractions"],
    *,
    rows: Positions | None = None,
    as_csr: bool = False,
) -> Iterator[Block]:
    """Yield a matrix in blocks along the axis in which it is stored, each entry once.

    Of what is stored in a file, one block is held at a time; what is in memory is not copied if that can be avoided.

    `matrix` (cells, genes) is an array or sparse matrix, an h5py, zarr or dask array, or a sparse dataset of anndata;
    messages call it `where`, and its rows and columns by the names `cells` and `genes`. Values must be on the `scale`:
    log1p expression, whole numbers up to 16,777,216 (counts), or any up to that, which are rounded (fractions, as CSR
    only). With `rows` (sorted positions) only these cells are read. With `as_csr` values are CSR without explicit
    zeros, and blocks are small even if the matrix is in memory; otherwise they are dense, CSR or CSC as the matrix is,
    and a matrix in memory is one block.

    Raises InputError for values that are no real numbers, NaN, infinite or negative, or not on the scale, as soon as
    they are met; after the last block, where all expression is whole numbers; and where a stored matrix is damaged.
    """
    if matrix.dtype.kind not in "biuf":
        raise InputError(f"{where} holds values of type {matrix.dtype}; expected whole or floating-point numbers")
    largest, whole_numbers = 0.0, True
    for block in _blocks(matrix, where, rows, as_csr):
        values = _stored(block.values)
        if values.size:
            highest = float(values.max())
            # Stated positively: NaN is in no range.
            if not (values.min() >= 0 and highest < np.inf):
                raise _impossible_value(block, cells, genes, where)
            largest = max(largest, highest)
            whole_numbers = whole_numbers and _are_whole(values)
            if scale == "expression" and highest > LARGEST_LOG1P:
                raise _no_expression(block, len(genes), where)
            if scale == "counts" and not whole_numbers:
                raise _no_counts(block, len(genes), where)
            if scale != "expression" and highest > LARGEST_COUNT:
                raise InputError(f"{where} has values up to {highest:g}; no gene has so many counts in a cell")
        if scale == "fractions":
            block = replace(block, values=_rounded(block.values))
        yield block
    if scale == "expression" and largest > 0 and whole_numbers:
        raise InputError(
            f"{where} holds whole numbers only (up to {largest:g}), so these are raw counts; expected log1p of counts "
            f"normalised to 10,000 per cell: {_NORMALISE}"
        )


@contextmanager
def readable(place: str) -> Iterator[None]:
    """Raise InputError that names `place` where HDF5, zarr or SciPy say that what is stored there makes no sense."""
    try:
        yield
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(f"{place} cannot be read: permission denied") from error
    except MemoryError as error:
        raise InputError(
            f"{place} cannot be read: it asks for more memory than there is ({error}), as large or damaged files do"
        ) from error
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        # Of zarr 3 and of numcodecs.
        if type(error).__name__ == "UnknownCodecError":
            raise InputError(
                f"{place} is compressed with a codec that is not installed ({said_by(error)}); install the package "
                "that has it, or write the data again with zarr's own"
            ) from error
        raise InputError(
            f"{place} cannot be read: it was cut short or damaged, perhaps by a transfer that broke off "
            f"({said_by(error)}); fetch or write it again"
        ) from error


def said_by(error: Exception) -> str:
    """First line of what an error says, or else its name."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return next(iter(text.splitlines()), type(error).__name__)


def sample_cells(matrix: Any, where: str, n_cells: int = SAMPLED) -> sparse.csr_matrix | None:
    """About so many whole cells from the start, the middle and the end of a matrix, unchecked.

    None if the matrix is stored by gene and too large to be read whole.
    """
    n_all, n_genes = matrix.shape
    with readable(_place(matrix, where)):
        if _is_by_gene(matrix):
            stored = matrix.nnz if hasattr(matrix, "nnz") else matrix.group["indptr"][-1]
            if stored > BLOCK_VALUES:
                return None
            rows = np.unique(np.linspace(0, n_all - 1, min(n_all, n_cells)).astype(int))
            return sparse.csr_matrix(native(_reader(matrix, True)(slice(0, n_genes))))[rows]
        read, length = _reader(matrix, False), max(1, min(n_cells // 3, BLOCK_VALUES // max(1, n_genes)))
        starts = range(0, n_all, length) if n_all <= 3 * length else (0, (n_all - length) // 2, n_all - length)
        parts = [native(read(slice(start, min(start + length, n_all)))) for start in starts]
    return sparse.vstack([sparse.csr_matrix(part) for part in parts], format="csr")


def sample_genes(matrix: Any, where: str, n_genes: int = SAMPLED) -> npt.NDArray[Any]:
    """Stored values of some genes of a matrix that is stored by gene."""
    with readable(_place(matrix, where)):
        read, start = _reader(matrix, True), max(0, (matrix.shape[1] - n_genes) // 2)
        return native(read(slice(start, min(start + n_genes, matrix.shape[1])))).data


def _blocks(matrix: Any, where: str, rows: Positions | None, as_csr: bool) -> Iterator[Block]:
    by_gene = _is_by_gene(matrix)
    if sparse.issparse(matrix):
        matrix = native(matrix.asformat("csc" if by_gene else "csr"))
    length, across = matrix.shape[::-1] if by_gene else matrix.shape
    whole = not as_csr and (isinstance(matrix, np.ndarray) or sparse.issparse(matrix))
    step = max(1, length if whole else BLOCK_VALUES // max(1, across))
    with readable(_place(matrix, where)):
        read = _reader(matrix, by_gene)

    def block(span: slice) -> Block | None:
        cells, genes = (slice(0, across), span) if by_gene else (span, slice(0, across))
        chosen = None if rows is None else rows[slice(*np.searchsorted(rows, (cells.start, cells.stop)))]
        if chosen is not None and not len(chosen):
            return None
        with readable(_place(matrix, where)):
            values = native(matrix if whole else read(span))
        if chosen is not None:
            values = values[chosen - cells.start]
        return Block(cells if chosen is None else chosen, genes, _canonical(values, as_csr))

    spans = [slice(start, min(start + step, length)) for start in range(0, length, step)]
    yield from filter(None, one_ahead(block, spans))


def _is_by_gene(matrix: Any) -> bool:
    # scipy says "csc" in `format`, and so do anndata's datasets; of a dask array, what it is made of.
    return getattr(getattr(matrix, "_meta", matrix), "format", None) == "csc"


def _place(matrix: Any, where: str) -> str:
    """What to call a matrix that cannot be read: its file and its place in there."""
    node = getattr(matrix, "group", matrix)
    return f"{node.file.filename}: {node.name}" if hasattr(node, "file") else str(getattr(node, "store_path", where))


def _reader(matrix: Any, by_gene: bool) -> Callable[[slice], Any]:
    """Function that reads some rows of a matrix, or some columns of one that is CSC."""
    if not hasattr(matrix, "group"):
        return lambda span: _computed(matrix[:, span] if by_gene else matrix[span], by_gene)
    # anndata's sparse dataset. Its own slices refuse float16 and the other byte order, and trust damaged pointers.
    layout = sparse.csc_matrix if by_gene else sparse.csr_matrix
    length, across = matrix.shape[::-1] if by_gene else matrix.shape
    data, indices, indptr = matrix.group["data"], matrix.group["indices"], matrix.group["indptr"][:]
    # A chunk of zarr that is missing is read as zeros; there may be one of indices, at their end, but none of values.
    for part, missing, allowed in ((data, _missing_chunks(data), 0), (indices, _missing_chunks(indices), 1)):
        if missing > allowed:
            raise ValueError(f"{missing} of {part.nchunks} chunks of {part.name} are missing")
    if {indptr.dtype.kind, indices.dtype.kind} - {"i", "u"}:
        raise ValueError(f"indices of type {indices.dtype} and {indptr.dtype} instead of whole numbers")
    if (
        indptr.shape != (length + 1,)
        or indptr[0] != 0
        or (indptr[1:] < indptr[:-1]).any()
        or not data.shape == indices.shape == (indptr[-1],)
    ):
        raise ValueError(f"index pointers contradict the shape {matrix.shape}")

    def read(span: slice) -> Any:
        first, last = indptr[span.start], indptr[span.stop]
        shape = (across, span.stop - span.start) if by_gene else (span.stop - span.start, across)
        part = layout((data[first:last], indices[first:last], indptr[span.start : span.stop + 1] - first), shape)
        # Kernels read out of bounds where indices are wrong.
        part.check_format(full_check=True)
        return part

    return read


def _missing_chunks(array: Any) -> int:
    """Number of chunks of an array of zarr that are not there; of one of h5py, none."""
    return array.nchunks - array.nchunks_initialized if hasattr(array, "nchunks_initialized") else 0


def _computed(values: Any, by_gene: bool) -> Any:
    """Values of a dask array, whose sparse parts may be of either layout; others as they are."""
    if not hasattr(values, "compute"):
        return values
    values = values.compute()
    return values.asformat("csc" if by_gene else "csr") if sparse.issparse(values) else values


def native(values: Any) -> Any:
    """Values in the machine's byte order, and of the float types only 32 and 64 bits: all that the kernels take."""
    if sparse.issparse(values):
        data = native(values.data)
        return values if data is values.data else type(values)((data, values.indices, values.indptr), values.shape)
    values = np.asarray(values)
    other = {"e": np.dtype(np.float32), "g": np.dtype(np.float64)}
    return values.astype(other.get(values.dtype.char, values.dtype.newbyteorder("=")), copy=False)


def _canonical(values: Any, as_csr: bool) -> Any:
    """Values with no entry stored twice; as CSR, without explicit zeros. What is given stays as it is."""
    if not sparse.issparse(values):
        return _dense_to_csr(values) if as_csr else values
    if not values.has_canonical_format:
        # A value stored in two parts is one value, whose square is not the sum of theirs.
        values = values.copy()
        values.sum_duplicates()
    if as_csr:
        values = values.tocsr()
        if not values.data.all():
            values = values.copy()
            values.eliminate_zeros()
    return values


def _rounded(values: sparse.csr_matrix) -> sparse.csr_matrix:
    values = sparse.csr_matrix((np.rint(values.data), values.indices, values.indptr), values.shape)
    values.eliminate_zeros()
    return values


def _dense_to_csr(values: npt.NDArray) -> sparse.csr_matrix:
    # Half the time and a quarter of the memory of sparse.csr_matrix(values). NaN is not zero and stays.
    stored = values != 0
    columns = np.broadcast_to(np.arange(values.shape[1], dtype=np.int32), values.shape)[stored]
    indptr = np.concatenate([[0], np.cumsum(stored.sum(axis=1))])
    return sparse.csr_matrix((values[stored], columns, indptr), shape=values.shape)


def _are_whole(values: npt.NDArray) -> bool:
    if values.dtype.kind != "f":
        return True
    # Most often the first few values decide.
    flat = values.ravel(order="K")
    parts = (flat[start : start + _PART] for start in range(0, flat.size, _PART))
    return all((part == np.floor(part)).all() for part in parts)


def _impossible_value(block: Block, cells: pd.Index, genes: pd.Index, where: str) -> InputError:
    """Error that names the first cell and gene whose value is NaN, infinite or negative."""
    values = _stored(block.values)
    first = int(np.flatnonzero(~(np.isfinite(values) & (values >= 0)))[0])
    row, column = _position(block.values, first)
    value = values.flat[first]
    return InputError(
        f"{where} holds values that are {'negative' if np.isfinite(value) else 'not finite'}: {value} for cell "
        f"{cells[block.cells][row]!r}, gene {genes[block.genes][column]!r}; counts and log1p expression are finite and "
        "never negative (scaled or batch-corrected values are neither)"
    )


def _no_expression(block: Block, n_genes: int, where: str) -> InputError:
    """Error that says what values too large for expression are likely to be, and how they become it."""
    values = _stored(block.values)
    largest = int(values.argmax())
    scale = _likely_scale(block, n_genes, largest)
    advice = f": {_TO_EXPRESSION[scale.kind]}" if scale.kind in _TO_EXPRESSION else ""
    return InputError(
        f"{where} has values up to {values.flat[largest]:g}, more than a log1p of normalised counts can reach "
        f"({LARGEST_LOG1P:g}); they are {_said(scale)}; expected log1p of counts normalised to 10,000 per "
        f"cell{advice}"
    )


def _no_counts(block: Block, n_genes: int, where: str) -> InputError:
    """Error that says what values that are not whole numbers are likely to be, and where counts may come from."""
    values = _stored(block.values)
    flat = values.ravel()
    parts = ((start, flat[start : start + _PART]) for start in range(0, flat.size, _PART))
    first = next(start + int((part != np.floor(part)).argmax()) for start, part in parts if not _are_whole(part))
    scale = _likely_scale(block, n_genes, first)
    advice = {"fractional counts": _ROUND, "unknown": f"{_FIND_COUNTS}; {_ROUND}"}
    return InputError(
        f"{where} holds values that are not whole numbers (up to {values.max():g}); they are {_said(scale)}; "
        f"expected raw counts: {advice.get(scale.kind, _FIND_COUNTS)}"
    )


def _said(scale: Scale) -> str:
    return scale.text if scale.kind == "unknown" else f"likely {scale.text}"


def _likely_scale(block: Block, n_genes: int, number: int) -> Scale:
    """The likely scale of some cells of a block, that of the stored value with a `number` among them."""
    n_cells, n_present = block.values.shape
    if n_present < n_genes:
        if _are_whole(_stored(block.values)):
            return Scale("counts", "counts (whole numbers)", None)
        return Scale("unknown", "unclear (genes were read one after the other, so no cells can be compared)", None)
    rows = np.linspace(0, n_cells - 1, min(n_cells, SAMPLED)).astype(int)
    return likely_scale(block.values[np.union1d(rows, _position(block.values, number)[0])])


def _stored(matrix: Any) -> npt.NDArray:
    return matrix.data if sparse.issparse(matrix) else matrix


def _position(matrix: Any, number: int) -> tuple[int, int]:
    """Row and column of the stored value with a number."""
    if not sparse.issparse(matrix):
        row, column = divmod(number, matrix.shape[1])
        return row, column
    major = int(np.searchsorted(matrix.indptr, number, side="right")) - 1
    minor = int(matrix.indices[number])
    return (minor, major) if matrix.format == "csc" else (major, minor)
