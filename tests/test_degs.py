"""deg_scores against scanpy, on every gene and group of real sets, and its own properties."""

import warnings

import anndata as ad
import numpy as np
import pytest
from examples import make_expression
from scipy import stats as scipy_stats

from diversity_by_design import PerturbationStatistics, deg_scores
from diversity_by_design.errors import InputError


def scanpy_scores(adata: ad.AnnData, reference: str, labels, genes):
    """scanpy's scores, p values, adjusted p values and log fold changes, each labels x genes (reference: NaN)."""
    import scanpy as sc

    used = adata if reference == "control" else adata[adata.obs["condition"] != "control"]
    used = used.copy()
    used.uns["log1p"] = {"base": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.tl.rank_genes_groups(used, "condition", method="t-test_overestim_var", reference=reference)
    tables = np.full((4, len(labels), len(genes)), np.nan)
    for row, label in enumerate(labels):
        if label == reference:
            continue
        table = sc.get.rank_genes_groups_df(used, label).set_index("names").loc[genes]
        tables[:, row] = table[["scores", "pvals", "pvals_adj", "logfoldchanges"]].to_numpy().T
    return tables


@pytest.mark.parametrize("reference", ["rest", "control", "a perturbation"])
def test_equals_scanpy(real_expression, reference):
    stats = PerturbationStatistics.from_anndata(real_expression)
    named = stats.labels[0] if reference == "a perturbation" else reference
    ours = deg_scores(stats, reference=[named] if reference == "a perturbation" else named)
    t, p, adjusted, log_fold_change = scanpy_scores(real_expression, named, stats.labels, stats.genes)
    # scanpy stores its scores and fold changes as float32.
    np.testing.assert_allclose(ours.t, t, rtol=1e-5)
    np.testing.assert_allclose(ours.pvals, p, rtol=1e-6, atol=1e-300)
    np.testing.assert_allclose(ours.pvals_adj, adjusted, rtol=1e-6, atol=1e-300)
    np.testing.assert_allclose(ours.log_fold_change, log_fold_change, rtol=1e-5, atol=1e-6)


def test_zero_variance_as_scanpy_treats_it():
    """Genes that nobody, only one perturbation, only the rest, or every cell alike expresses."""
    adata = make_expression(seed=4, dtype=np.float64)
    dense = adata.X.toarray()
    own = (adata.obs["condition"] == "P0").to_numpy()
    dense[:, 1] = 0
    dense[~own, 2] = 0
    dense[own, 3] = 0
    dense[:, 4] = 0.5
    dense[:, 5] = np.where(own, 0.5, 0.25)
    adata.X = dense
    stats = PerturbationStatistics.from_anndata(adata)
    ours = deg_scores(stats)
    row = stats.labels.get_loc("P0")
    t, p, _, _ = scanpy_scores(adata, "rest", stats.labels, stats.genes)
    np.testing.assert_allclose(ours.t[row, 1:4], t[row, 1:4], rtol=1e-5)
    np.testing.assert_allclose(ours.pvals[row, 1:4], p[row, 1:4], rtol=1e-6)
    assert ours.t[row, 1] == 0
    assert ours.pvals[row, 1] == 1
    assert ours.t[row, 4] == 0
    assert ours.t[row, 5] == np.inf
    assert ours.pvals[row, 5] == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("constant", [0.3, 0.7, np.log1p(3.7)])
def test_rounding_is_no_variance_and_no_difference(dtype, constant):
    """Constants that no sum of theirs represents exactly: the gene neither differs nor varies."""
    adata = make_expression(seed=4, dtype=dtype)
    dense = adata.X.toarray()
    dense[:, 1] = constant
    own = (adata.obs["condition"] == "P0").to_numpy()
    dense[:, 2] = np.where(own, constant, 0.5)
    adata.X = dense
    stats = PerturbationStatistics.from_anndata(adata)
    for reference in ("rest", "control"):
        degs = deg_scores(stats, reference)
        assert (degs.t[:, 1] == 0).all()
        assert (degs.pvals[:, 1] == 1).all()
        assert np.abs(degs.t[stats.labels.get_loc("P0"), 2]) == np.inf
        assert (stats.var[:, 1:3] == 0).all()


def test_is_welch_with_the_reference_counted_as_the_group(expression):
    stats = PerturbationStatistics.from_anndata(expression)
    ours = deg_scores(stats, reference="control")
    expected = scipy_stats.ttest_ind_from_stats(
        stats.mean[2], np.sqrt(stats.var[2]), stats.n_cells[2],
        stats.control_mean, np.sqrt(stats.control_var), stats.n_cells[2], equal_var=False,
    )  # fmt: skip
    np.testing.assert_allclose(ours.t[2], np.nan_to_num(expected.statistic), rtol=1e-9)


def test_given_perturbations(expression):
    stats = PerturbationStatistics.from_anndata(expression)
    everyone = deg_scores(stats, reference=list(stats.labels))
    np.testing.assert_array_equal(everyone.t, deg_scores(stats).t)
    some = deg_scores(stats, reference=["P1", "P2"])
    rest = deg_scores(stats.select(labels=["P0", "P1", "P2"]))
    np.testing.assert_allclose(some.t[stats.labels.get_loc("P0")], rest.t[0], rtol=1e-9)


def test_does_not_depend_on_workers_or_gene_order(expression):
    stats = PerturbationStatistics.from_anndata(expression)
    expected = deg_scores(stats, workers=1)
    reordered = deg_scores(stats.select(genes=stats.genes[::-1], labels=stats.labels[::-1]), workers=3)
    for name in ("t", "pvals", "pvals_adj", "log_fold_change"):
        np.testing.assert_allclose(
            getattr(reordered, name)[::-1, ::-1], getattr(expected, name), rtol=1e-9, err_msg=name
        )


def test_top_genes_and_counts(expression):
    degs = deg_scores(PerturbationStatistics.from_anndata(expression))
    top = degs.top(5)
    assert (top.sum(axis=1) == 5).all()
    for row in range(len(degs.labels)):
        assert np.abs(degs.t[row][top[row]]).min() >= np.abs(degs.t[row][~top[row]]).max()
    np.testing.assert_array_equal(degs.n_degs, (degs.pvals_adj < 0.05).sum(axis=1))
    with pytest.raises(InputError, match="top 41 of 40 genes"):
        degs.top(41)


class TestBadInput:
    def test_one_cell(self):
        stats = PerturbationStatistics.from_matrix(
            np.full((5, 2), 0.5), ["A", "A", "B", "control", "control"], ["g1", "g2"]
        )
        with pytest.raises(InputError, match=r"1 perturbation\(s\) with fewer than two cells have no variance: B"):
            deg_scores(stats)

    def test_one_control_cell(self):
        stats = PerturbationStatistics.from_matrix(np.full((5, 1), 0.5), ["A", "A", "B", "B", "control"], ["g"])
        with pytest.raises(InputError, match=r"reference 'control' has 1 cell"):
            deg_scores(stats, reference="control")

    def test_one_perturbation(self, expression):
        stats = PerturbationStatistics.from_anndata(expression).select(labels=["P0"])
        with pytest.raises(InputError, match="at least 2 are needed"):
            deg_scores(stats)

    def test_no_control(self, expression):
        stats = PerturbationStatistics.from_anndata(expression[expression.obs["condition"] != "control"], control=None)
        with pytest.raises(InputError, match="no control cells"):
            deg_scores(stats, reference="control")

    def test_unknown_reference(self, expression):
        with pytest.raises(InputError, match="no perturbation called others"):
            deg_scores(PerturbationStatistics.from_anndata(expression), reference="others")
