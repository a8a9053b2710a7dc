"""Baselines: control mean, perturbed mean, additive, technical duplicate."""

import numpy as np
import pytest
from examples import make_expression

from diversity_by_design import PerturbationStatistics, baselines, technical_duplicate
from diversity_by_design.errors import InputError


def test_means_are_the_same_for_all(expression):
    stats = PerturbationStatistics.from_anndata(expression)
    for prediction, expected in (
        (baselines.control_mean(stats), stats.control_mean),
        (baselines.perturbed_mean(stats), stats.perturbed_mean),
    ):
        assert prediction.shape == stats.mean.shape
        assert (prediction == expected).all()


def test_additive(expression):
    stats = PerturbationStatistics.from_anndata(expression)
    prediction = baselines.additive(stats)
    combination = stats.labels == "P0+P1"
    expected = stats.mean[stats.labels.get_loc("P0")] + stats.mean[stats.labels.get_loc("P1")] - stats.control_mean
    np.testing.assert_allclose(prediction[combination][0], expected)
    assert np.isnan(prediction[~combination]).all()


def test_additive_without_one_of_the_parts(expression):
    stats = PerturbationStatistics.from_anndata(expression)
    assert np.isnan(baselines.additive(stats.select(labels=["P0", "P0+P1"]))).all()


def test_duplicates_share_no_cell_and_leave_none_out(expression):
    first, second = technical_duplicate(expression, seed=1)
    whole = PerturbationStatistics.from_anndata(expression)
    np.testing.assert_array_equal(first.n_cells, whole.n_cells // 2)
    merged = first.merge(second)
    np.testing.assert_array_equal(merged.n_cells, whole.n_cells)
    np.testing.assert_array_equal(merged.sum, whole.sum)
    assert (first.n_control, second.n_control) == (15, 15)
    assert not np.array_equal(first.sum, second.sum)


def test_duplicates_depend_on_seed_and_names_only(expression):
    first, _ = technical_duplicate(expression, seed=1)
    again, _ = technical_duplicate(expression[::-1].copy(), seed=1, workers=3)
    np.testing.assert_array_equal(first.sum, again.sum)
    other, _ = technical_duplicate(expression, seed=2)
    assert not np.array_equal(first.sum, other.sum)
    fewer, _ = technical_duplicate(expression[~expression.obs["condition"].isin(["P0", "P3"])], seed=1)
    np.testing.assert_array_equal(fewer.sum, first.select(labels=fewer.labels).sum)


def test_duplicate_of_a_backed_file(tmp_path, expression):
    import anndata as ad

    expression.write_h5ad(tmp_path / "x.h5ad")
    backed, _ = technical_duplicate(ad.read_h5ad(tmp_path / "x.h5ad", backed="r"), seed=1)
    np.testing.assert_array_equal(backed.sum, technical_duplicate(expression, seed=1)[0].sum)


class TestBadInput:
    def test_one_cell(self):
        adata = make_expression()
        keep = np.flatnonzero((adata.obs["condition"] != "P0").to_numpy())
        one = np.flatnonzero((adata.obs["condition"] == "P0").to_numpy())[:1]
        with pytest.raises(InputError, match="'P0' has one cell"):
            technical_duplicate(adata[np.concatenate([keep, one])])

    def test_repeated_cell_names(self, expression):
        expression.obs_names = ["cell1", *expression.obs_names[1:]]
        with pytest.raises(InputError, match=r"1 cell name\(s\) occur more than once: cell1"):
            technical_duplicate(expression)

    def test_no_such_column(self, expression):
        with pytest.raises(InputError, match="no column 'guide'"):
            technical_duplicate(expression, perturbation="guide")

    def test_no_control(self, expression):
        with pytest.raises(InputError, match="control label 'ctrl' does not occur"):
            technical_duplicate(expression, control="ctrl")
