"""Differential expression against scanpy, on every gene and group of whole screens; weights of section 3.3.3."""

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from examples import make_expression
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from messages import naming
from scipy import stats as scipy_stats

from diversity_by_design import PerturbationStatistics, deg_scores, deg_weights
from diversity_by_design.degs import squared_scores
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
def test_equals_scanpy(screen_expression, reference):
    stats = PerturbationStatistics.from_anndata(screen_expression)
    named = stats.labels[0] if reference == "a perturbation" else reference
    ours = deg_scores(stats, reference=[named] if reference == "a perturbation" else named)
    t, p, adjusted, log_fold_change = scanpy_scores(screen_expression, named, stats.labels, stats.genes)
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
    for n in (0, 41):
        with pytest.raises(InputError, match=naming(n, 40)):
            degs.top(n)


def test_names_decide_between_top_genes_of_equal_score():
    degs = deg_scores(
        PerturbationStatistics.from_matrix(
            np.tile([[0.5], [1.0], [0.25], [2.0], [0.3], [0.4]], (1, 3)),
            list("AABBCC"),
            ["g3", "g1", "g2"],
            control=None,
        )
    )
    assert degs.genes[degs.top(2)[0]].tolist() == ["g1", "g2"]


def test_a_perturbation_that_is_the_whole_reference_is_undefined(expression):
    stats = PerturbationStatistics.from_anndata(expression)
    degs = deg_scores(stats, reference="P2")
    row = stats.labels.get_loc("P2")
    assert degs.is_defined.tolist() == [label != "P2" for label in stats.labels]
    for array in (degs.t, degs.freedom, degs.reference_mean, degs.pvals, degs.pvals_adj):
        assert np.isnan(array[row]).all()
    assert np.isnan(degs.n_degs[row]) and np.isfinite(np.delete(degs.n_degs, row)).all()
    assert not degs.is_deg[row].any() and not degs.top(3)[row].any()
    assert (np.delete(degs.top(3), row, axis=0).sum(axis=1) == 3).all()
    assert np.isnan(deg_weights(degs)[row]).all()


@pytest.mark.parametrize("form", [list, tuple, pd.Index, np.array, pd.Series, set, lambda labels: iter(labels)])
def test_reference_labels_in_any_form(form, expression):
    stats = PerturbationStatistics.from_anndata(expression)
    expected = deg_scores(stats, reference=["P1", "P3", "P0+P1"])
    found = deg_scores(stats, reference=form(["P3", "P1+P0", "P1"]))
    np.testing.assert_array_equal(found.t, expected.t)
    assert "P0+P1" in found.reference and "P1" in found.reference


@pytest.mark.parametrize("name", ["rest", "control"])
def test_a_perturbation_may_be_called_as_a_reference_is(name, expression):
    expected = deg_scores(PerturbationStatistics.from_anndata(expression), reference=["P2"])
    labels = expression.obs["condition"].astype(str).replace({"control": "untreated"}).replace({"P2": name})
    expression.obs["condition"] = labels
    stats = PerturbationStatistics.from_anndata(expression, control="untreated")
    degs = deg_scores(stats, reference=[name])
    np.testing.assert_allclose(degs.t[degs.labels.get_loc("P0")], expected.t[expected.labels.get_loc("P0")], rtol=1e-9)
    assert not np.allclose(deg_scores(stats, reference=name).t[0], degs.t[0])


def test_halves_are_compared_with_the_cells_of_a_pool(expression):
    """Scores of some cells against all cells of the other perturbations, never their own."""
    labels = expression.obs["condition"].astype(str).to_numpy(object)
    some = labels.copy()
    some[1::2] = None
    pool = PerturbationStatistics.from_anndata(expression)
    part = PerturbationStatistics.from_matrix(expression.X, some, expression.var_names)
    degs = deg_scores(part, pool=pool)
    for row, label in enumerate(part.labels):
        # Half of one perturbation beside all cells of the others.
        beside = np.where((labels == label) & (np.arange(len(labels)) % 2 == 1), None, labels)
        expected = deg_scores(PerturbationStatistics.from_matrix(expression.X, beside, expression.var_names))
        np.testing.assert_allclose(degs.t[row], expected.t[row], rtol=1e-9)
    with pytest.raises(InputError, match=naming(40, 39)):
        deg_scores(part, pool=pool.select(genes=pool.genes[1:]))


def test_some_rows_of_the_scores(expression):
    degs = deg_scores(PerturbationStatistics.from_anndata(expression))
    part = degs.select(np.array([4, 1]))
    assert part.labels.tolist() == degs.labels[[4, 1]].tolist()
    for name in ("t", "pvals_adj", "log_fold_change", "n_degs"):
        np.testing.assert_array_equal(getattr(part, name), getattr(degs, name)[[4, 1]])


class TestBadInput:
    def test_no_statistics_and_no_reference(self, expression):
        with pytest.raises(InputError, match=naming("AnnData", "PerturbationStatistics")):
            deg_scores(expression)
        with pytest.raises(InputError, match=naming("reference", "NoneType")):
            deg_scores(PerturbationStatistics.from_anndata(expression), None)

    def test_one_cell(self):
        stats = PerturbationStatistics.from_matrix(
            np.full((5, 2), 0.5), ["A", "A", "B", "control", "control"], ["g1", "g2"]
        )
        with pytest.raises(InputError, match=naming(1, "B")):
            deg_scores(stats)

    def test_one_control_cell(self):
        stats = PerturbationStatistics.from_matrix(np.full((5, 1), 0.5), ["A", "A", "B", "B", "control"], ["g"])
        with pytest.raises(InputError, match=naming("control", 1)):
            deg_scores(stats, reference="control")

    def test_one_perturbation(self, expression):
        stats = PerturbationStatistics.from_anndata(expression).select(labels=["P0"])
        with pytest.raises(InputError, match=naming("P0", 1, 2)):
            deg_scores(stats)

    def test_no_control(self, expression):
        stats = PerturbationStatistics.from_anndata(expression[expression.obs["condition"] != "control"], control=None)
        with pytest.raises(InputError, match=naming("control")):
            deg_scores(stats, reference="control")

    def test_unknown_reference(self, expression):
        with pytest.raises(InputError, match=naming("others", "P0", 6)):
            deg_scores(PerturbationStatistics.from_anndata(expression), reference="others")


# Weights.

SCORES = hnp.arrays(float, st.tuples(st.integers(1, 4), st.integers(2, 12)), elements=st.floats(-50, 50, width=16))


@given(SCORES)
def test_weights_sum_to_one_and_leave_the_least_gene_out(scores):
    weights = deg_weights(scores)
    assert weights.shape == scores.shape
    flat = np.ptp(np.abs(scores), axis=1) == 0
    assert np.isnan(weights[flat]).all()
    np.testing.assert_allclose(weights[~flat].sum(axis=1), 1)
    assert (weights[~flat] >= 0).all()
    assert (weights[~flat].min(axis=1) == 0).all()


def test_weights_follow_the_definition_step_by_step(expression):
    degs = deg_scores(PerturbationStatistics.from_anndata(expression))
    expected = []
    for t in degs.t:
        scaled = (np.abs(t) - np.abs(t).min()) / (np.abs(t).max() - np.abs(t).min())
        expected.append(scaled**2 / (scaled**2).sum())
    np.testing.assert_allclose(deg_weights(degs), expected, rtol=1e-12)


def test_weights_of_undefined_and_infinite_scores():
    weights = deg_weights([[0.0, 0.0, 0.0], [1.0, np.nan, 2.0], [np.inf, 3.0, -np.inf]])
    assert np.isnan(weights[:2]).all()
    np.testing.assert_array_equal(weights[2], [0.5, 0.0, 0.5])
    assert np.isnan(deg_weights([np.inf, np.nan, 1.0])).all()


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 2, 0]])
def test_weights_do_not_depend_on_gene_order(order):
    scores = np.array([[1.0, -4.0, 2.5]])
    np.testing.assert_array_equal(deg_weights(scores[:, order]), deg_weights(scores)[:, order])


@given(SCORES)
def test_squared_scores_are_the_weights_before_they_sum_to_one(scores):
    squared, weights = squared_scores(scores), deg_weights(scores)
    flat = np.ptp(np.abs(scores), axis=1) == 0
    assert np.isnan(squared[flat]).all()
    assert (squared[~flat].min(axis=1) == 0).all()
    assert (squared[~flat].max(axis=1) == 1).all()
    np.testing.assert_array_equal(squared / squared.sum(axis=1, keepdims=True), weights)


def test_squared_scores_step_by_step(expression):
    degs = deg_scores(PerturbationStatistics.from_anndata(expression))
    expected = [((np.abs(t) - np.abs(t).min()) / np.ptp(np.abs(t))) ** 2 for t in degs.t]
    np.testing.assert_allclose(squared_scores(degs), expected, rtol=1e-12)
    np.testing.assert_array_equal(squared_scores([-np.inf, 3.0, np.inf]), [1.0, 0.0, 1.0])
