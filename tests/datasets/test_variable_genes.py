"""The choice of highly variable genes equals scanpy's."""

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from scipy import sparse

from diversity_by_design.datasets.variable_genes import mean_and_variance, most_variable, normalised_dispersions


def expression(seed, n_cells=300, n_genes=500, spread=1.5):
    rng = np.random.default_rng(seed)
    mean = np.exp(rng.normal(-1, spread, n_genes))
    counts = rng.poisson(mean * rng.gamma(0.8, 1 / 0.8, (n_cells, n_genes))).astype(np.float32)
    counts[:, 0] = 0
    adata = ad.AnnData(sparse.csr_matrix(counts))
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def blocks(adata):
    return [adata.X[start : start + 64] for start in range(0, adata.n_obs, 64)]


@pytest.mark.filterwarnings("ignore:`n_top_genes` > number")
@pytest.mark.parametrize("n_top", [1, 20, 250, 499])
@pytest.mark.parametrize("seed", range(3))
def test_equals_scanpy(seed, n_top):
    adata = expression(seed)
    expected = sc.pp.highly_variable_genes(adata, n_top_genes=n_top, inplace=False)
    mean, variance = mean_and_variance(blocks(adata), adata.n_vars)
    ours = normalised_dispersions(mean, variance)
    np.testing.assert_allclose(np.log1p(mean), expected["means"], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(ours, expected["dispersions_norm"], rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(most_variable(ours, n_top), expected["highly_variable"])


def test_gene_alone_in_its_bin():
    adata = expression(3, n_genes=40, spread=2.5)
    expected = sc.pp.highly_variable_genes(adata, n_top_genes=10, inplace=False)
    ours = normalised_dispersions(*mean_and_variance(blocks(adata), adata.n_vars))
    assert (expected["dispersions_norm"] == 1).any()
    np.testing.assert_allclose(ours, expected["dispersions_norm"], rtol=1e-6, atol=1e-9)


def test_genes_that_tie_with_the_last_are_chosen_too():
    np.testing.assert_array_equal(most_variable(np.array([1.0, 2.0, 1.0, np.nan, 0.0]), 2), [1, 1, 1, 0, 0])


def test_no_gene_varies():
    with pytest.raises(ValueError, match="no gene varies"):
        most_variable(np.full(3, np.nan), 2)
