"""Highly variable genes by scanpy, of a matrix that is never in memory as a whole.

scanpy copies the matrix it is given twice; given a dask array it asks for one block of cells after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from diversity_by_design.errors import InputError
from diversity_by_design.threads import available_cores


def highly_variable_genes(
    block: Callable[[slice], sparse.csr_matrix], cells: Sequence[slice], n_genes: int, n_top: int
) -> npt.NDArray[np.bool_]:
    """Whether each gene is one of the `n_top` most variable (flavour "seurat", scanpy's default).

    `block` gives the log1p expression of some cells, CSR (cells, genes); `cells` are consecutive spans of all cells, to
    be asked for one at a time. Genes that tie with the last are chosen too; those without any variance never are.
    """
    import anndata
    import dask
    import scanpy as sc
    from dask import array

    nothing = sparse.csr_matrix((0, 0), dtype=np.float32)
    blocks = [
        array.from_delayed(dask.delayed(block)(span), shape=(span.stop - span.start, n_genes), meta=nothing)
        for span in cells
    ]
    adata = anndata.AnnData(array.concatenate(blocks))
    # As many blocks as threads are in memory at once.
    with dask.config.set(scheduler="threads", num_workers=available_cores()):
        try:
            table = sc.pp.highly_variable_genes(adata, n_top_genes=n_top, inplace=False)
        except IndexError as error:
            # What scanpy raises when it looks for the last gene of an empty list.
            raise InputError("no gene varies among the chosen cells; is this a matrix of counts?") from error
    return table["highly_variable"].to_numpy(bool)
