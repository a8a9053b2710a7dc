"""P values of many t scores, and their adjustment."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from diversity_by_design.significance import adjusted, two_sided

T = np.concatenate([[0.0], np.geomspace(1e-12, 60, 240), np.sqrt(12) + np.array([-1e-9, 0, 1e-9]), -np.arange(1, 9)])
FREEDOM = np.concatenate([np.geomspace(1, 1e6, 80), [1, 2, 3, 59.9, 60, 60.1, 61.7, 1.0001, 1e9]])


def test_equals_fifty_digits_over_a_wide_grid():
    """Relatively, where scores are small, and where they are large."""
    mp = pytest.importorskip("mpmath")
    t, freedom = T[::9], FREEDOM[::4]
    found = two_sided(*np.meshgrid(t, freedom))
    with mp.workdps(50):
        for row, v in enumerate(freedom):
            for column, score in enumerate(t):
                square, v50 = mp.mpf(float(score)) ** 2, mp.mpf(float(v))
                exact = mp.betainc(v50 / 2, mp.mpf(1) / 2, 0, v50 / (v50 + square), regularized=True)
                assert abs(found[row, column] / exact - 1) < 1e-11, (score, v)


def test_equals_scipy():
    # Below, scipy's own values are wrong in the ninth digit.
    t, freedom = np.meshgrid(T[np.abs(T) > 1e-5], FREEDOM)
    np.testing.assert_allclose(two_sided(t, freedom), 2 * stats.t.sf(np.abs(t), freedom), rtol=1e-11, atol=1e-300)


def test_ends_and_undefined_scores():
    found = two_sided(np.array([0.0, np.inf, -np.inf, np.nan]), np.full(4, 7.0))
    assert found[:3].tolist() == [1, 0, 0] and np.isnan(found[3])
    assert two_sided(np.zeros((0, 3)), np.zeros((0, 3))).shape == (0, 3)


def test_sign_and_layout_do_not_matter():
    rng = np.random.default_rng(0)
    t, freedom = rng.normal(0, 3, (7, 9)), rng.uniform(1, 80, (7, 9))
    expected = two_sided(t, freedom)
    np.testing.assert_array_equal(two_sided(-t, freedom), expected)
    np.testing.assert_array_equal(two_sided(np.asfortranarray(t), freedom[::1]), expected)
    np.testing.assert_array_equal(two_sided(t[::2, ::2], freedom[::2, ::2]), expected[::2, ::2])


def test_falls_where_the_series_ends():
    t = np.sqrt(12) * (1 + np.linspace(-1e-6, 1e-6, 41))
    for freedom in (1.0, 5.5, 200.0):
        assert (np.diff(two_sided(t, np.full(41, freedom))) < 0).all()


P = hnp.arrays(float, st.tuples(st.integers(1, 4), st.integers(1, 12)), elements=st.floats(0, 1, width=32))


@given(P)
def test_adjusted_equals_scipy(p):
    np.testing.assert_allclose(adjusted(p), stats.false_discovery_control(p, axis=1), rtol=1e-12)


def test_adjusted_with_equal_and_undefined_p_values():
    p = np.array([[0.02, 0.02, 0.5, 0.02], [0.01, np.nan, 0.04, 0.03]])
    found = adjusted(p)
    np.testing.assert_allclose(found[0], stats.false_discovery_control(p[0]))
    # What is undefined stays so, and counts as a test.
    assert np.isnan(found[1, 1])
    np.testing.assert_allclose(found[1, [0, 2, 3]], [0.04, 0.16 / 3, 0.16 / 3])
