"""Generated count matrices of a given size, with the sparsity of a Perturb-seq experiment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse


def counts(n_cells: int, n_genes: int, rng: np.random.Generator, scale: float = 0.35) -> sparse.csr_matrix:
    """Gamma-Poisson counts (cells, genes) around heavy-tailed gene means; about 20 % are not zero."""
    means = scale * rng.lognormal(-0.6, 1.05, n_genes)
    size = rng.lognormal(1.0, 0.69, n_genes)
    blocks = []
    for start in range(0, n_cells, 2000):
        n = min(2000, n_cells - start)
        rates = rng.gamma(size, means / size, (n, n_genes)) * rng.lognormal(0, 0.17, (n, 1))
        blocks.append(sparse.csr_matrix(rng.poisson(rates).astype(np.float32)))
    return sparse.vstack(blocks, format="csr")


def write_screen(path: Path, labels: np.ndarray, n_genes: int, seed: int = 0) -> None:
    """Write raw counts as an .h5ad, chunk by chunk; each perturbation changes 50 genes.

    Parameters
    ----------
    path : Path
    labels : str array (cells,)
        ``obs["perturbation"]``.
    n_genes : int
    seed : int
    """
    import anndata as ad

    rng = np.random.default_rng(np.random.SeedSequence(seed))
    matrix = counts(len(labels), n_genes, rng)
    codes, names = pd.factorize(labels)
    changed = rng.integers(0, n_genes, (len(names), 50))
    factors = rng.lognormal(0, 0.7, (len(names), 50))
    effects = np.ones((len(names), n_genes), np.float32)
    np.put_along_axis(effects, changed, factors.astype(np.float32), axis=1)
    effects[names == "control"] = 1.0
    for start in range(0, len(labels), 2000):
        values = matrix.data[matrix.indptr[start] : matrix.indptr[min(start + 2000, len(labels))]]
        rows = np.repeat(codes[start : start + 2000], np.diff(matrix.indptr[start : start + 2001]))
        columns = matrix.indices[matrix.indptr[start] : matrix.indptr[start] + len(values)]
        values[:] = np.ceil(values * effects[rows, columns])
    ad.AnnData(
        matrix,
        obs=pd.DataFrame({"perturbation": pd.Categorical(labels)}, index=[f"cell{i}" for i in range(len(labels))]),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)]),
    ).write_h5ad(path)
