"""Genes chosen block by block are those that scanpy chooses from the whole matrix."""

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from scipy import sparse

from diversity_by_design.datasets.variable_genes import highly_variable_genes
from diversity_by_design.errors import InputError


def expression(seed, n_cells=300, n_genes=500):
    rng = np.random.default_rng(seed)
    mean = np.exp(rng.normal(-1, 1.5, n_genes))
    counts = rng.poisson(mean * rng.gamma(0.8, 1 / 0.8, (n_cells, n_genes))).astype(np.float32)
    counts[:, 0] = 0
    adata = ad.AnnData(sparse.csr_matrix(counts))
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


SPANS = [slice(start, min(start + 64, 300)) for start in range(0, 300, 64)]


@pytest.mark.parametrize("n_top", [1, 20, 250, 499])
@pytest.mark.parametrize("seed", range(3))
def test_equals_scanpy_on_the_whole_matrix(seed, n_top):
    adata = expression(seed)
    asked = []

    def block(span):
        asked.append(span)
        return adata.X[span]

    ours = highly_variable_genes(block, SPANS, adata.n_vars, n_top)
    expected = sc.pp.highly_variable_genes(adata, n_top_genes=n_top, inplace=False)
    np.testing.assert_array_equal(ours, expected["highly_variable"])
    assert sorted(asked, key=lambda span: span.start) == SPANS, "every block is made once"


def test_no_gene_varies():
    constant = sparse.csr_matrix(np.full((300, 5), 0.5, np.float32))
    with pytest.raises(InputError, match="no gene varies"):
        highly_variable_genes(lambda span: constant[span], SPANS, 5, 2)
