"""Raw counts of a file: looked through once, then gathered for the cells that are kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from diversity_by_design.cells import Block, sample_cells, sample_genes
from diversity_by_design.datasets.reading import CellFile
from diversity_by_design.errors import InputError, listed
from diversity_by_design.scales import Scale, likely_scale

# Cells handed on at a time: 16,384 values a cell make this 64 MiB of float32.
CELLS_AT_A_TIME = 1024
# Bytes of an array beyond which it lies in a temporary file.
LARGEST_IN_MEMORY = 2**31


@dataclass(frozen=True)
class CountScan:
    """What looking through all counts tells."""

    genes_per_cell: npt.NDArray[np.int64]  # (cells,): number of detected genes
    totals: npt.NDArray[np.float64]  # (cells,): total counts
    eligible: npt.NDArray[np.bool_]  # (cells,): cells that may be chosen
    cells_per_gene: npt.NDArray[np.int64]  # (genes,): number of these cells in which the gene was detected


def scan(file: CellFile, name: str, called: npt.NDArray[np.bool_], least: int, *, fractions: bool = False) -> CountScan:
    """Look through the matrix called `name`: once, or twice where it is stored by gene in several blocks.

    `called` (cells,) says which cells have a condition; those of them with `least` detected genes, and any counts, are
    eligible.
    """
    n_genes = len(file.genes(name))
    genes_per_cell = np.zeros(len(file.obs), np.int64)
    totals = np.zeros(len(file.obs))
    eligible = np.zeros(len(file.obs), bool)
    cells_per_gene = np.zeros(n_genes, np.int64)

    def count_genes(block: Block) -> None:
        values = block.values
        stored = np.repeat(eligible[block.cells], np.diff(values.indptr))
        cells_per_gene[block.genes] += np.bincount(values.indices[stored], minlength=values.shape[1])

    in_parts = False
    for block in file.counts(name, fractions=fractions):
        values = block.values
        genes_per_cell[block.cells] += np.diff(values.indptr)
        totals[block.cells] += values @ np.ones(values.shape[1])
        eligible[block.cells] = called[block.cells] & (genes_per_cell[block.cells] >= least) & (totals[block.cells] > 0)
        if values.shape[1] == n_genes:
            count_genes(block)
        else:
            in_parts = True
    if in_parts:
        for block in file.counts(name, fractions=fractions):
            count_genes(block)
    return CountScan(genes_per_cell, totals, eligible, cells_per_gene)


@dataclass(frozen=True)
class MatrixSample:
    """What some cells of a matrix tell of it."""

    cells: sparse.csr_matrix | None  # some whole cells; None of a large matrix that is stored by gene
    values: npt.NDArray[Any]  # those stored of these cells, or of some genes
    scale: Scale


def sample(file: CellFile, name: str) -> MatrixSample:
    """Look at some cells of a matrix, or at some genes where it is large and stored by gene."""
    matrix, where = file.matrix(name), f"{file.path.name}: {name}"
    cells = sample_cells(matrix, where)
    if cells is not None:
        return MatrixSample(cells, cells.data, likely_scale(cells))
    values = sample_genes(matrix, where)
    return MatrixSample(None, values, _scale_of_genes(values))


def _scale_of_genes(values: npt.NDArray[Any]) -> Scale:
    """What stored values of some genes tell, where no whole cell was looked at."""
    text = f"{{}} from {values.min(initial=0):g} to {values.max(initial=0):g} in some genes (stored by gene)"
    if not (values == np.floor(values)).all():
        return Scale("unknown", text.format("fractions"), None)
    return Scale("counts" if values.min(initial=0) >= 0 else "scaled", text.format("whole numbers"), None)


def find_counts(file: CellFile, matrix: str | None, rounded: bool) -> tuple[str, list[str]]:
    """Name of the matrix with raw counts, and what to say of the choice.

    Without a `matrix` that was asked for, the one that holds whole numbers, by a sample of its cells; several that
    hold the same are one. `rounded` says whether fractions of counts are meant. A single matrix is not judged here.

    Raises
    ------
    InputError
        There is no such matrix, none holds counts (what each is likely to hold is said), or several do.
    """
    names = file.matrices
    if not names:
        raise InputError(f"{file.path} has no matrix of counts: neither X, nor layers, nor raw")
    if matrix is not None and matrix not in names:
        raise InputError(f"{file.path} has no matrix {matrix!r}; choose one with --matrix: {listed(names)}")
    samples = {name: sample(file, name) for name in ([matrix] if matrix else names)}
    said = "; ".join(f"{name}: {part.scale.text}" for name, part in samples.items())
    wanted = ("counts", "fractional counts") if rounded else ("counts",)
    found = [name for name, part in samples.items() if part.scale.kind in wanted]
    if not found and len(samples) == 1:
        # Looking at all of it tells more, down to the cell and gene.
        return next(iter(samples)), []
    if not found:
        fractional = [name for name, part in samples.items() if part.scale.kind == "fractional counts"]
        hint = "--round rounds fractions of counts" if fractional and not rounded else "raw counts are needed"
        raise InputError(f"{file.path} holds no raw counts: {said}; {hint}")
    name, *others = found
    same = [other for other in others if hold_the_same(file, samples, name, other)]
    if len(same) < len(others):
        raise InputError(f"{file.path}: several matrices may hold counts ({said}); choose one with --matrix")
    notes = [f"counts are those of {name}"] if len(names) > 1 else []
    if same:
        notes = [f"counts are those of {name}; {listed(same)}: the same, in the cells that were compared"]
    return name, notes


def hold_the_same(file: CellFile, samples: Mapping[str, MatrixSample], name: str, other: str) -> bool:
    """Whether two matrices are of the same genes, with the same values in all cells that were looked at."""
    first, second = samples[name].cells, samples[other].cells
    if first is None or second is None or not file.genes(name).index.equals(file.genes(other).index):
        return False
    return first.shape == second.shape and (first != second).nnz == 0


@dataclass(frozen=True)
class CellCounts:
    """Counts of some cells in memory, row by row.

    Kept as plain arrays, since scipy would widen the indices to 64 bits with more than 2**31 values.
    """

    data: npt.NDArray[np.float32]  # (values,)
    indices: npt.NDArray[np.int32]  # (values,): gene of each value
    indptr: npt.NDArray[np.int64]  # (cells + 1,): where each cell's values start
    n_genes: int

    def cells_per_gene(self, cells: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.int64]:
        """Number of these cells, or of some, in which each gene was detected."""
        total = np.zeros(self.n_genes, np.int64)
        # In parts, since bincount widens all it is given to 64 bits.
        for start in range(0, len(self.indptr) - 1, CELLS_AT_A_TIME):
            indptr = self.indptr[start : start + CELLS_AT_A_TIME + 1]
            genes = self.indices[indptr[0] : indptr[-1]]
            if cells is not None:
                genes = genes[np.repeat(cells[start : start + CELLS_AT_A_TIME], np.diff(indptr))]
            total += np.bincount(genes, minlength=self.n_genes)
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


def gather(
    file: CellFile,
    name: str,
    cells: npt.NDArray[np.intp],
    genes_per_cell: npt.NDArray[np.int64],
    *,
    fractions: bool = False,
) -> CellCounts:
    """Read the counts of some cells, 8 bytes per detected gene and cell; into a temporary file where these are many.

    `cells` are sorted row numbers; `genes_per_cell` (all cells,) is from `scan`.
    """
    indptr = np.concatenate([[0], np.cumsum(genes_per_cell[cells])]).astype(np.int64)
    data = _room(indptr[-1], np.float32)
    indices = _room(indptr[-1], np.int32)
    place = np.full(len(file.obs), -1)
    place[cells] = np.arange(len(cells))
    # Where the next value of each cell goes; a CSC file brings a cell's values in several blocks.
    cursor = indptr[:-1].copy()
    for block in file.counts(name, cells, fractions=fractions):
        values, rows = block.values, place[block.cells]
        lengths = np.diff(values.indptr)
        target = np.repeat(cursor[rows] - values.indptr[:-1], lengths) + np.arange(values.nnz)
        data[target] = values.data
        indices[target] = values.indices + block.genes.start
        cursor[rows] += lengths
    return CellCounts(data, indices, indptr, len(file.genes(name)))


def _room(n: int, dtype: Any) -> npt.NDArray[Any]:
    """Array of `n` values, in a temporary file of the system's folder for these (TMPDIR) where it is large."""
    size = int(n) * np.dtype(dtype).itemsize
    if size <= LARGEST_IN_MEMORY:
        return np.empty(n, dtype)
    with tempfile.TemporaryFile() as file:
        try:
            # Else a full disk would end the program where the array is written to.
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise InputError(
                f"no room for {size:,} bytes in {tempfile.gettempdir()} ({error.strerror}); name another folder with "
                "TMPDIR, or ask for fewer cells"
            ) from error
        return np.memmap(file, dtype, "r+", shape=(n,))


def select_genes(values: sparse.csr_matrix, genes: npt.NDArray[np.bool_]) -> sparse.csr_matrix:
    """Columns of a CSR matrix where `genes` is True; always a copy, several times faster than indexing."""
    stored = genes[values.indices]
    new_column = np.cumsum(genes, dtype=np.int32) - np.int32(1)
    indptr = np.concatenate([[0], np.cumsum(stored)])[values.indptr]
    return sparse.csr_matrix(
        (values.data[stored], new_column[values.indices[stored]], indptr), shape=(values.shape[0], int(genes.sum()))
    )
