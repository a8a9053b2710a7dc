"""How often each count occurs in each gene: all that a fit of count distributions needs of the cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numba
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from diversity_by_design.cells import LARGEST_COUNT, read_blocks

Array = npt.NDArray[Any]
Cells = Literal["control", "perturbed", "all_cells"]
GROUPS: tuple[Cells, ...] = ("control", "perturbed", "all_cells")

# Counts below this are tallied in a dense table; the few from here on are sorted.
_SMALL = 256


@dataclass(frozen=True, eq=False)
class CountHistograms:
    """How often each count occurs in each gene, and each cell's total: all that is needed of the cells.

    Histograms are int64 (genes, largest count + 1); counts of 0 are not stored, being the other cells.
    """

    control: sparse.csr_matrix
    perturbed: sparse.csr_matrix
    is_control: npt.NDArray[np.bool_]  # (cells,)
    total_counts: npt.NDArray[np.float64]  # (cells,), of the genes here

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
    """Tally the counts of every gene in one pass; `where` is what messages call the counts."""
    n_cells, n_genes = counts.shape
    group = np.where(is_control, 0, 1)
    table = np.zeros((2, n_genes, _SMALL), np.int64)
    large = [sparse.csr_matrix((n_genes, LARGEST_COUNT + 1), dtype=np.int64) for _ in range(2)]
    totals = np.zeros(n_cells)
    for block in read_blocks(counts, pd.RangeIndex(n_cells), genes, where, "counts", as_csr=True):
        values, groups, first_gene = block.values, group[block.cells], block.genes.start
        totals[block.cells] += values @ np.ones(values.shape[1])
        # Counts up to the largest are exact in float32, so that one kernel is enough.
        data = values.data.astype(np.float32, copy=False)
        _tally(values.indptr, values.indices, data, groups, first_gene, table)
        if data.max(initial=0) >= _SMALL:
            at = np.flatnonzero(data >= _SMALL)
            of_group = groups[np.searchsorted(values.indptr, at, side="right") - 1]
            for which in range(2):
                part = at[of_group == which]
                pairs = values.indices[part] + first_gene, data[part].astype(np.int64)
                large[which] += sparse.csr_matrix((np.ones(len(part), np.int64), pairs), shape=large[which].shape)
    control, perturbed = (_histograms(small, rest) for small, rest in zip(table, large, strict=True))
    return CountHistograms(control, perturbed, is_control, totals)


def _histograms(small: npt.NDArray[np.int64], large: sparse.csr_matrix) -> sparse.csr_matrix:
    """Both parts as one matrix, counts in ascending order within each gene, without counts of 0."""
    small[:, 0] = 0
    gene, count = np.nonzero(small)
    whole = sparse.csr_matrix((small[gene, count], (gene, count)), shape=large.shape, dtype=np.int64) + large
    whole.sort_indices()
    return whole


@numba.njit(nogil=True, cache=True)
def _tally(indptr: Array, indices: Array, data: Array, group: Array, first_gene: int, table: Array) -> None:
    """Add the small counts of a block to `table` (groups, genes, counts)."""
    for row in range(len(group)):
        of_group = table[group[row]]
        for position in range(indptr[row], indptr[row + 1]):
            value = np.int64(data[position])
            if value < _SMALL:
                of_group[first_gene + indices[position], value] += 1
