"""Writing a prepared data set block by block, so that it is never in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from diversity_by_design.running.hdf5 import new_hdf5

# A fifth of the size for three times the time of writing plain arrays; read faster than from many disks. Other than
# lzf, every program that reads HDF5 knows it.
COMPRESSION = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
CHUNK = 2**18


class CsrWriter:
    """A CSR matrix in an open h5ad file, of `n_values` stored values, filled from top to bottom."""

    def __init__(self, parent: Any, name: str, shape: tuple[int, int], n_values: int) -> None:
        group = parent.create_group(name)
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": shape})
        chunks = (max(1, min(CHUNK, n_values)),)
        self._data = group.create_dataset("data", (n_values,), np.float32, chunks=chunks, **COMPRESSION)
        # One type for both: scipy cannot take rows of a matrix in which they differ.
        integer = np.int32 if n_values <= np.iinfo(np.int32).max else np.int64
        self._indices = group.create_dataset("indices", (n_values,), integer, chunks=chunks, **COMPRESSION)
        self._indptr = group.create_dataset("indptr", (shape[0] + 1,), integer)
        self._row = self._value = 0

    def append(self, rows: sparse.csr_matrix) -> None:
        """Write the next rows."""
        stop = self._value + rows.nnz
        self._data[self._value : stop] = rows.data
        self._indices[self._value : stop] = rows.indices
        self._indptr[self._row + 1 : self._row + rows.shape[0] + 1] = self._value + rows.indptr[1:].astype(np.int64)
        self._value, self._row = stop, self._row + rows.shape[0]


def write_prepared(
    path: Path,
    obs: pd.DataFrame,
    var: pd.DataFrame,
    uns: Mapping[str, Any],
    blocks: Iterable[tuple[sparse.csr_matrix, sparse.csr_matrix]],
    n_values: int,
) -> None:
    """Write an h5ad file whose `X` is log1p expression and whose layer ``counts`` holds the raw counts.

    It is replaced in one step once everything is written. `blocks` are pairs of expression and counts, CSR matrices of
    consecutive cells with the same values stored; each of the two matrices has `n_values` of these as a whole.
    """
    import anndata
    from anndata.io import write_elem

    shape = (len(obs), len(var))
    with new_hdf5(path) as (file, target):
        write_elem(file, "/", anndata.AnnData(obs=obs, var=var, uns=dict(uns)))
        expression = CsrWriter(file, "X", shape, n_values)
        counts = CsrWriter(file["layers"], "counts", shape, n_values)
        for x, raw in blocks:
            expression.append(x)
            counts.append(raw)
            target.check()
