"""Highly variable genes, as ``scanpy.pp.highly_variable_genes`` chooses them by default, from blocks of cells.

scanpy copies the matrix twice to get at each gene's mean and variance. Here the two are gathered block by block; what
follows from them is scanpy's definition (flavour "seurat", Satija et al. 2015), and tests compare the two on whole
data sets.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from diversity_by_design.statistics import sample_variance

FloatArray = npt.NDArray[np.float64]

N_BINS = 20
# scanpy's mean of a gene without counts, whose dispersion is undefined and which is never chosen.
TINY = 1e-12


def mean_and_variance(blocks: Iterable[sparse.csr_matrix], n_genes: int) -> tuple[FloatArray, FloatArray]:
    """Mean and variance (n - 1) of normalised counts, from blocks of log1p expression in float32.

    Parameters
    ----------
    blocks : iterable of CSR matrix (cells, genes)
        log1p expression; each block is used once.
    n_genes : int
    """
    total, total_sq = np.zeros((2, n_genes))
    n_cells = 0
    for block in blocks:
        values = np.expm1(block.data)
        # The square of a float32 is rounded to float32, as scanpy does; in float64 the last genes could be others.
        total += np.bincount(block.indices, weights=values, minlength=n_genes)
        total_sq += np.bincount(block.indices, weights=values * values, minlength=n_genes)
        n_cells += block.shape[0]
    return total / n_cells, sample_variance(n_cells, total, total_sq)


def normalised_dispersions(mean: FloatArray, variance: FloatArray) -> FloatArray:
    """Dispersion of each gene relative to genes of similar mean.

    The log of variance over mean is standardised within 20 bins of equal width of log1p(mean); a gene that is alone
    in its bin gets 1, a gene without variance NaN.

    Parameters
    ----------
    mean, variance : float64 array (genes,)
        Of normalised counts, not of their logarithm.
    """
    mean = np.where(mean == 0, TINY, mean)
    dispersion = variance / mean
    log_dispersion = pd.Series(np.log(np.where(dispersion == 0, np.nan, dispersion)))
    by_bin = log_dispersion.groupby(pd.cut(np.log1p(mean), bins=N_BINS, labels=False))
    centre, spread = by_bin.transform("mean"), by_bin.transform("std")
    alone = spread.isna()
    return ((log_dispersion - centre.mask(alone, 0.0)) / spread.mask(alone, centre)).to_numpy()


def most_variable(dispersions: FloatArray, n_top: int) -> npt.NDArray[np.bool_]:
    """Whether each gene is among the `n_top` with the highest dispersion; genes that tie with the last are too.

    Examples
    --------
    >>> most_variable(np.array([0.5, np.nan, 2.0, 1.0]), 2)
    array([False, False,  True,  True])
    """
    defined = np.sort(dispersions[~np.isnan(dispersions)])
    if not len(defined):
        raise ValueError("no gene varies among the chosen cells; is this a matrix of counts?")
    return dispersions >= defined[-min(n_top, len(defined))]
