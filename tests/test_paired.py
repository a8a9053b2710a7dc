"""Paired tests against scipy, and Holm's adjustment."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from diversity_by_design.paired import holm, paired_tests

TESTS = ("t", "t_p", "wilcoxon", "wilcoxon_p")


@pytest.mark.parametrize("n", [3, 4, 20, 80])
@pytest.mark.parametrize("rounded", [False, True])
def test_tests_are_scipys(n, rounded):
    first, second = np.random.default_rng(n).lognormal(size=(2, n))
    if rounded:
        # Ties, and pairs without a difference.
        first, second = first.round(), second.round()
    found = paired_tests(first, second)
    t, wilcoxon = stats.ttest_rel(second, first), stats.wilcoxon(first, second)
    assert (found["t"], found["t_p"]) == (pytest.approx(t.statistic), pytest.approx(t.pvalue, rel=1e-9))
    assert (found["wilcoxon"], found["wilcoxon_p"]) == (wilcoxon.statistic, pytest.approx(wilcoxon.pvalue))
    assert (found["n"], found["mean_difference"]) == (n, pytest.approx((second - first).mean()))
    assert (found["median_first"], found["median_second"]) == (np.median(first), np.median(second))


def test_only_pairs_of_which_both_are_defined_count():
    first, second = np.random.default_rng(0).normal(size=(2, 12))
    lacking = first.copy(), second.copy()
    lacking[0][[2, 7]], lacking[1][[7, 9]] = np.nan, np.nan
    kept = np.delete(np.arange(12), [2, 7, 9])
    assert paired_tests(*lacking) == paired_tests(first[kept], second[kept])


@pytest.mark.parametrize(
    ("first", "second", "t_defined", "wilcoxon_defined"),
    [
        ([], [], False, False),
        ([1.0, 2.0], [2.0, 5.0], False, False),
        ([1.0, 2.0, np.nan], [2.0, 5.0, 1.0], False, False),
        ([1.0, 2.0, 3.0], [2.0, 5.0, 7.0], True, True),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], False, False),
        ([1.0, 2.0, 3.0], [2.0, 3.0, 4.0], False, True),
    ],
)
def test_no_test_without_pairs_or_differences(first, second, t_defined, wilcoxon_defined):
    found = paired_tests(np.array(first), np.array(second))
    assert [np.isfinite(found[name]) for name in TESTS] == [t_defined] * 2 + [wilcoxon_defined] * 2
    assert np.isnan(found["mean_difference"]) == (found["n"] == 0)


def slow_holm(p: np.ndarray) -> list[float]:
    """Step down from the least p value: each times the number of those not yet passed, never falling."""
    result, least = {}, 0.0
    for place, position in enumerate(np.argsort(p, kind="stable")):
        least = max(least, min(1.0, (len(p) - place) * p[position]))
        result[position] = least
    return [result[position] for position in range(len(p))]


@given(st.lists(st.floats(0, 1, width=32), max_size=12))
def test_holm_is_the_step_down_procedure(p):
    np.testing.assert_allclose(holm(np.array(p)), slow_holm(np.array(p)))


def test_holm_is_that_of_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).random(40) ** 4
    np.testing.assert_allclose(holm(p), multitest.multipletests(p, method="holm")[1])


def test_undefined_p_values_do_not_count():
    found = holm(np.array([np.nan, 0.02, np.nan, 0.01]))
    assert np.isnan(found).tolist() == [True, False, True, False]
    assert found[[1, 3]].tolist() == [0.02, 0.02]


def test_rounding_to_float32_is_no_difference():
    scores = np.linspace(0.1, 2.0, 15)
    rounded = np.maximum(scores, scores.astype(np.float32).astype(float))
    assert (rounded > scores).any()
    tests = paired_tests(scores, rounded)
    assert tests["n"] == 15 and tests["mean_difference"] == 0
    assert np.isnan(tests["t_p"]) and np.isnan(tests["wilcoxon_p"])
