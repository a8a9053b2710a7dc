"""Sums and sums of squares per group of cells and gene, in one pass over the cells.

Every value and every square is split into a multiple of 2**-24 and a remainder, and
the two parts are summed apart. For log1p expression both sums are then free of
rounding, so that the result does not depend on the order of the cells, on how they
are stored, on the chunks they are read in, or on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from scipy import sparse

from diversity_by_design.threads import map_threads

# Adding and subtracting this rounds a double to a multiple of 2**-24.
_SPLIT = 1.5 * 2.0**28


@numba.njit(nogil=True, cache=True, inline="always")
def _add(cell: npt.NDArray, x: float) -> None:
    coarse = (x + _SPLIT) - _SPLIT
    cell[0] += coarse
    cell[1] += x - coarse
    if cell.shape[0] > 2:
        square = x * x
        coarse_square = (square + _SPLIT) - _SPLIT
        cell[2] += coarse_square
        cell[3] += square - coarse_square


@numba.njit(nogil=True, cache=True)
def _accumulate_csr(
    indptr: npt.NDArray,
    indices: npt.NDArray,
    data: npt.NDArray,
    rows: npt.NDArray,
    codes: npt.NDArray,
    first_gene: int,
    moments: npt.NDArray,
) -> None:
    for row in rows:
        group = moments[codes[row]]
        for position in range(indptr[row], indptr[row + 1]):
            gene = indices[position] - first_gene
            if 0 <= gene < moments.shape[1]:
                _add(group[gene], np.float64(data[position]))


@numba.njit(nogil=True, cache=True)
def _accumulate_csc(
    indptr: npt.NDArray,
    indices: npt.NDArray,
    data: npt.NDArray,
    columns: npt.NDArray,
    codes: npt.NDArray,
    moments: npt.NDArray,
) -> None:
    # One gene's sums for all groups stay in the cache.
    gene = np.empty((moments.shape[0], moments.shape[2]))
    for column in columns:
        gene[:] = 0.0
        for position in range(indptr[column], indptr[column + 1]):
            group = codes[indices[position]]
            if group >= 0:
                _add(gene[group], np.float64(data[position]))
        moments[:, column] += gene


@numba.njit(nogil=True, cache=True)
def _accumulate_dense(values: npt.NDArray, rows: npt.NDArray, codes: npt.NDArray, moments: npt.NDArray) -> None:
    for row in rows:
        group = moments[codes[row]]
        for column in range(values.shape[1]):
            x = np.float64(values[row, column])
            if x != 0.0:
                _add(group[column], x)


class GroupedMoments:
    """Running sums of groups of cells, to which blocks of a matrix are added; the same for any number of `workers`.

    `genes` are the columns of the matrix that are added up. An entry takes 32 bytes, 16 without `squares`.
    """

    def __init__(self, n_groups: int, genes: slice, workers: int, *, squares: bool = True) -> None:
        self._parts = np.zeros((n_groups, genes.stop - genes.start, 4 if squares else 2))
        self._genes = genes
        self._workers = workers

    def add_rows(self, block: Any, codes: npt.NDArray[np.intp]) -> None:
        """Add cells with all genes; `codes` (cells,) is each cell's group, -1 for a cell to leave out."""
        # Each thread owns some groups, hence rows of the sums that no other thread writes to.
        order = np.argsort(codes, kind="stable")
        order = order[np.searchsorted(codes[order], 0) :]
        if sparse.issparse(block):
            data = _as_float(block.data)

            def add(rows: npt.NDArray) -> None:
                _accumulate_csr(block.indptr, block.indices, data, rows, codes, self._genes.start, self._parts)

        else:
            values = np.ascontiguousarray(_as_float(block[:, self._genes]))

            def add(rows: npt.NDArray) -> None:
                _accumulate_dense(values, rows, codes, self._parts)

        map_threads(add, self._shares(order, codes), self._workers)

    def add_columns(self, block: sparse.csc_matrix, first_column: int, codes: npt.NDArray[np.intp]) -> None:
        """Add all cells' values of some genes, from the gene at `first_column` on; otherwise as `add_rows`."""
        start = max(self._genes.start, first_column)
        stop = min(self._genes.stop, first_column + block.shape[1])
        if start >= stop:
            return
        part = block if stop - start == block.shape[1] else block[:, start - first_column : stop - first_column]
        target = self._parts[:, start - self._genes.start : stop - self._genes.start]
        data = _as_float(part.data)

        def add(columns: npt.NDArray) -> None:
            _accumulate_csc(part.indptr, part.indices, data, columns, codes, target)

        map_threads(add, np.array_split(np.arange(part.shape[1]), self._workers), self._workers)

    def totals(self) -> npt.NDArray[np.float64]:
        """Sums, and sums of squares if these were asked for: (1 or 2, groups, genes)."""
        parts = self._parts
        return np.stack([parts[..., i] + parts[..., i + 1] for i in range(0, parts.shape[2], 2)])

    def _shares(self, order: npt.NDArray, codes: npt.NDArray) -> list[npt.NDArray]:
        """Cut cells sorted by group into one share a worker, never within a group."""
        cuts = np.linspace(0, len(order), self._workers + 1)[1:-1].astype(int)
        sorted_codes = codes[order]
        at_group = [int(np.searchsorted(sorted_codes, sorted_codes[cut])) for cut in cuts if len(order)]
        return [share for share in np.split(order, at_group) if len(share)]


def _as_float(values: npt.NDArray) -> npt.NDArray:
    """Float32 and float64 as they are, other types as float64, so that few kernels are compiled."""
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
