"""How often each count occurs in each gene: all that a fit of count distributions needs of the cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numba
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from diversity_by_design import errors
from diversity_by_design.cells import CHUNK_VALUES
from diversity_by_design.datasets.counts import LARGEST_COUNT
from diversity_by_design.datasets.reading import StoredMatrix
from diversity_by_design.errors import InputError

Cells = Literal["control", "perturbed", "all_cells"]
GROUPS: tuple[Cells, ...] = ("control", "perturbed", "all_cells")

# Counts below this are tallied in a dense table; the few from here on are sorted.
_SMALL = 256


@dataclass(frozen=True, eq=False)
class CountHistograms:
    """How often each count occurs in each gene, and each cell's total: all that is needed of the cells.

    Attributes
    ----------
    control, perturbed : scipy.sparse.csr_matrix of int64 (genes, largest count + 1)
        Number of cells of each count; counts of 0 are not stored, being the other cells.
    is_control : bool array (cells,)
    total_counts : float64 array (cells,)
        Of the genes here.
    """

    control: sparse.csr_matrix
    perturbed: sparse.csr_matrix
    is_control: npt.NDArray[np.bool_]
    total_counts: npt.NDArray[np.float64]

    def of(self, cells: Cells) -> tuple[sparse.csr_matrix, int]:
        """Histograms and number of some cells."""
        if cells == "control":
            return self.control, int(self.is_control.sum())
        if cells == "perturbed":
            return self.perturbed, int((~self.is_control).sum())
        return self.control + self.perturbed, len(self.is_control)


def count_histograms(
    counts: Any, is_control: npt.NDArray[np.bool_], genes: pd.Index, where: str = "counts"
) -> CountHistograms:
    """Tally the counts of every gene in one pass; parameters and errors as of `estimate`."""
    n_cells, n_genes = counts.shape
    cells = pd.RangeIndex(n_cells)
    group = np.where(is_control, 0, 1)
    table = np.zeros((2, n_genes, _SMALL), np.int64)
    large = [sparse.csr_matrix((n_genes, LARGEST_COUNT + 1), dtype=np.int64) for _ in range(2)]
    totals = np.zeros(n_cells)
    for rows, first_gene, values in _blocks(counts):
        span = slice(first_gene, first_gene + values.shape[1])
        errors.finite_nonnegative(values, cells[rows], genes[span], where)
        summary = errors.summarise_values(values.data)
        errors.is_raw_counts(summary, where)
        if summary.maximum > LARGEST_COUNT:
            raise InputError(f"{where} has values up to {summary.maximum:g}; no gene has so many counts in a cell")
        totals[rows] += values @ np.ones(values.shape[1])
        # Counts up to the largest are exact in float32, so that one kernel is enough.
        data = values.data.astype(np.float32, copy=False)
        _tally(values.indptr, values.indices, data, group[rows], first_gene, table)
        if summary.maximum >= _SMALL:
            for which, found in enumerate(_large_counts(values, group[rows], first_gene, large[0].shape)):
                large[which] = large[which] + found
    control, perturbed = (_histograms(small, rest) for small, rest in zip(table, large, strict=True))
    return CountHistograms(control, perturbed, is_control, totals)


def _blocks(counts: Any) -> Iterator[tuple[npt.NDArray[np.intp] | slice, int, sparse.csr_matrix]]:
    """Yield rows, first gene and CSR values of parts of a matrix, wherever it is stored."""
    if isinstance(counts, StoredMatrix):
        for block in counts.blocks():
            yield block.cells, block.first_gene, block.values
        return
    by_gene = getattr(counts, "format", None) == "csc"
    length, across = counts.shape[::-1] if by_gene else counts.shape
    step = max(1, CHUNK_VALUES // max(1, across))
    for start in range(0, length, step):
        span = slice(start, min(start + step, length))
        values = sparse.csr_matrix(counts[:, span] if by_gene else counts[span])
        if not values.has_canonical_format:
            values = values.copy()
            values.sum_duplicates()
        yield (slice(0, across), start, values) if by_gene else (span, 0, values)


def _large_counts(
    values: sparse.csr_matrix, group: npt.NDArray[np.intp], first_gene: int, shape: tuple[int, int]
) -> Iterator[sparse.csr_matrix]:
    """Histograms of the counts of a block that are too large for the table, of control and of perturbed cells."""
    at = np.flatnonzero(values.data >= _SMALL)
    of_group = group[np.searchsorted(values.indptr, at, side="right") - 1]
    for which in range(2):
        part = at[of_group == which]
        gene, count = values.indices[part] + first_gene, values.data[part].astype(np.int64)
        yield sparse.csr_matrix((np.ones(len(part), np.int64), (gene, count)), shape=shape)


def _histograms(small: npt.NDArray[np.int64], large: sparse.csr_matrix) -> sparse.csr_matrix:
    """Both parts as one matrix, counts in ascending order within each gene, without counts of 0."""
    small[:, 0] = 0
    gene, count = np.nonzero(small)
    whole = sparse.csr_matrix((small[gene, count], (gene, count)), shape=large.shape, dtype=np.int64) + large
    whole.sort_indices()
    return whole


@numba.njit(nogil=True, cache=True)
def _tally(
    indptr: npt.NDArray,
    indices: npt.NDArray,
    data: npt.NDArray,
    group: npt.NDArray,
    first_gene: int,
    table: npt.NDArray,
) -> None:
    """Add the small counts of a block to `table` (groups, genes, counts)."""
    for row in range(len(group)):
        of_group = table[group[row]]
        for position in range(indptr[row], indptr[row + 1]):
            value = np.int64(data[position])
            if value < _SMALL:
                of_group[first_gene + indices[position], value] += 1
