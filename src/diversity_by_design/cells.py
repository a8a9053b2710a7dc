"""Going through a matrix of expression chunk by chunk, wherever it is stored, and checking it on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from diversity_by_design import errors

# Values held at a time when a matrix is read from disk: 64 MiB of float32, as much again for the indices.
CHUNK_VALUES = 2**24


@dataclass(frozen=True)
class Chunk:
    """All genes of some cells, or all cells of some genes.

    Attributes
    ----------
    values : array or CSR matrix of some cells; CSC matrix of some genes
    span : slice
        Which cells, or which genes.
    by_gene : bool
    """

    values: Any
    span: slice
    by_gene: bool


def checked_chunks(matrix: Any, cells: pd.Index, genes: pd.Index, where: str) -> Iterator[Chunk]:
    """Yield a matrix in chunks along the axis in which it is stored; one in memory is a single chunk.

    Parameters
    ----------
    matrix : array, sparse matrix, h5py.Dataset or anndata sparse dataset (cells, genes)
    cells, genes : pandas.Index
        Names, for error messages.
    where : str
        What to call the matrix in error messages.

    Raises
    ------
    InputError
        Values are NaN, infinite or negative, as soon as they are met; after the last chunk, that the values cannot be
        log1p expression.
    """
    summary = errors.ValueSummary()
    # scipy says "csc" in `format`, and so do anndata's datasets on disk.
    by_gene = getattr(matrix, "format", None) == "csc"
    for span in _spans(matrix, axis=1 if by_gene else 0):
        values = _read(matrix, span, by_gene)
        found = errors.summarise_values(values.data if sparse.issparse(values) else values)
        # Stated positively: NaN is in no range.
        if not (found.minimum >= 0 and found.maximum < np.inf):
            names = (cells, genes[span]) if by_gene else (cells[span], genes)
            errors.finite_nonnegative(values, *names, where)
        summary = summary.merge(found)
        yield Chunk(values, span, by_gene)
    errors.is_expression(summary, where)


def _in_memory(matrix: Any) -> bool:
    return isinstance(matrix, np.ndarray) or sparse.issparse(matrix)


def _spans(matrix: Any, axis: int) -> Iterator[slice]:
    length, across = matrix.shape[axis], matrix.shape[1 - axis]
    step = max(1, length if _in_memory(matrix) else CHUNK_VALUES // max(1, across))
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def _read(matrix: Any, span: slice, by_gene: bool) -> Any:
    if isinstance(matrix, np.ndarray):
        return matrix
    part = matrix if sparse.issparse(matrix) else matrix[:, span] if by_gene else matrix[span]
    if not sparse.issparse(part):
        return np.asarray(part)
    # The same object where possible: scipy remembers of it whether its format is canonical.
    part = part.asformat("csc" if by_gene else "csr")
    if not part.has_canonical_format:
        # A value stored in two parts is one value, whose square is not the sum of theirs. The user's stays as it is.
        part = part.copy()
        part.sum_duplicates()
    return part
