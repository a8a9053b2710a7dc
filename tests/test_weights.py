"""Weights of section 3.3.3."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diversity_by_design import PerturbationStatistics, deg_scores, deg_weights
from diversity_by_design.degs import squared_scores

SCORES = hnp.arrays(float, st.tuples(st.integers(1, 4), st.integers(2, 12)), elements=st.floats(-50, 50, width=16))


@given(SCORES)
def test_are_weights(scores):
    weights = deg_weights(scores)
    assert weights.shape == scores.shape
    flat = np.ptp(np.abs(scores), axis=1) == 0
    assert np.isnan(weights[flat]).all()
    np.testing.assert_allclose(weights[~flat].sum(axis=1), 1)
    assert (weights[~flat] >= 0).all()
    assert (weights[~flat].min(axis=1) == 0).all()


def test_follow_the_definition_step_by_step(expression):
    degs = deg_scores(PerturbationStatistics.from_anndata(expression))
    expected = []
    for t in degs.t:
        scaled = (np.abs(t) - np.abs(t).min()) / (np.abs(t).max() - np.abs(t).min())
        expected.append(scaled**2 / (scaled**2).sum())
    np.testing.assert_allclose(deg_weights(degs), expected, rtol=1e-12)


def test_undefined_and_infinite_scores():
    weights = deg_weights([[0.0, 0.0, 0.0], [1.0, np.nan, 2.0], [np.inf, 3.0, -np.inf]])
    assert np.isnan(weights[:2]).all()
    np.testing.assert_array_equal(weights[2], [0.5, 0.0, 0.5])
    assert np.isnan(deg_weights([np.inf, np.nan, 1.0])).all()


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 2, 0]])
def test_do_not_depend_on_gene_order(order):
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
