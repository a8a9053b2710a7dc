"""Raw counts of a file: looked through once, then gathered for the cells that are kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from diversity_by_design.datasets.reading import H5adFile
from diversity_by_design.errors import InputError

# Cells handed on at a time: 16,384 values a cell make this 64 MiB of float32.
CELLS_AT_A_TIME = 1024
# Values counted at a time.
_PART = 2**23


@dataclass(frozen=True)
class CountScan:
    """What one pass over all counts tells."""

    genes_per_cell: npt.NDArray[np.int64]  # (cells,): number of detected genes
    totals: npt.NDArray[np.float64]  # (cells,): total counts
    cells_per_gene: npt.NDArray[np.int64]  # (genes,): number of cells in which the gene was detected


def scan(file: H5adFile, name: str) -> CountScan:
    """Count detected genes and totals per cell, and cells per gene, in one pass over the matrix called `name`."""
    genes_per_cell = np.zeros(len(file.obs), np.int64)
    totals = np.zeros(len(file.obs))
    cells_per_gene = np.zeros(len(file.var), np.int64)
    for block in file.counts(name):
        values = block.values
        genes_per_cell[block.cells] += np.diff(values.indptr)
        totals[block.cells] += values @ np.ones(values.shape[1])
        cells_per_gene[block.genes] += np.bincount(values.indices, minlength=values.shape[1])
    return CountScan(genes_per_cell, totals, cells_per_gene)


def find_counts(file: H5adFile) -> tuple[str, CountScan, list[str]]:
    """Name and scan of the raw counts of a file (`X`, else the layer ``counts``), and why `X` was passed over."""
    candidates = [name for name in ("X", "layers/counts") if file.matrix(name) is not None]
    if not candidates:
        raise InputError(f"{file.path} has neither X nor layers['counts']; raw counts are needed")
    notes: list[str] = []
    for name in candidates[:-1]:
        try:
            return name, scan(file, name), notes
        except InputError as error:
            notes.append(f"counts were taken from {candidates[-1]}, since {error}")
    return candidates[-1], scan(file, candidates[-1]), notes


@dataclass(frozen=True)
class CellCounts:
    """Counts of some cells in memory, row by row.

    Kept as plain arrays, since scipy would widen the indices to 64 bits with more than 2**31 values.
    """

    data: npt.NDArray[np.float32]  # (values,)
    indices: npt.NDArray[np.int32]  # (values,): gene of each value
    indptr: npt.NDArray[np.int64]  # (cells + 1,): where each cell's values start
    n_genes: int

    def cells_per_gene(self) -> npt.NDArray[np.int64]:
        """Number of these cells in which each gene was detected."""
        total = np.zeros(self.n_genes, np.int64)
        # In parts, since bincount widens all it is given to 64 bits.
        for start in range(0, len(self.indices), _PART):
            total += np.bincount(self.indices[start : start + _PART], minlength=self.n_genes)
        return total

    def spans(self) -> list[slice]:
        """Consecutive cells, to be handed on block by block."""
        n_cells = len(self.indptr) - 1
        return [slice(start, min(start + CELLS_AT_A_TIME, n_cells)) for start in range(0, n_cells, CELLS_AT_A_TIME)]

    def block(self, cells: slice, genes: npt.NDArray[np.bool_]) -> sparse.csr_matrix:
        """Counts of consecutive cells and the kept `genes`, as a copy that may be changed."""
        part = slice(self.indptr[cells.start], self.indptr[cells.stop])
        indptr = self.indptr[cells.start : cells.stop + 1] - self.indptr[cells.start]
        whole = sparse.csr_matrix(
            (self.data[part], self.indices[part], indptr), shape=(cells.stop - cells.start, self.n_genes), copy=False
        )
        return select_genes(whole, genes)


def gather(file: H5adFile, name: str, cells: npt.NDArray[np.intp], genes_per_cell: npt.NDArray[np.int64]) -> CellCounts:
    """Read the counts of some cells into memory, which needs 8 bytes per detected gene and cell.

    `cells` are sorted row numbers; `genes_per_cell` (all cells,) is from `scan`.
    """
    indptr = np.concatenate([[0], np.cumsum(genes_per_cell[cells])]).astype(np.int64)
    data = np.empty(indptr[-1], np.float32)
    indices = np.empty(indptr[-1], np.int32)
    place = np.full(len(file.obs), -1)
    place[cells] = np.arange(len(cells))
    # Where the next value of each cell goes; a CSC file brings a cell's values in several blocks.
    cursor = indptr[:-1].copy()
    for block in file.counts(name, cells):
        values, rows = block.values, place[block.cells]
        lengths = np.diff(values.indptr)
        target = np.repeat(cursor[rows] - values.indptr[:-1], lengths) + np.arange(values.nnz)
        data[target] = values.data
        indices[target] = values.indices + block.genes.start
        cursor[rows] += lengths
    return CellCounts(data, indices, indptr, len(file.var))


def select_genes(values: sparse.csr_matrix, genes: npt.NDArray[np.bool_]) -> sparse.csr_matrix:
    """Columns of a CSR matrix where `genes` is True; always a copy, several times faster than indexing."""
    stored = genes[values.indices]
    new_column = np.cumsum(genes, dtype=np.int32) - np.int32(1)
    indptr = np.concatenate([[0], np.cumsum(stored)])[values.indptr]
    return sparse.csr_matrix(
        (values.data[stored], new_column[values.indices[stored]], indptr), shape=(values.shape[0], int(genes.sum()))
    )
