"""Correlations with bootstrap intervals, against scipy and a slow bootstrap."""

import numpy as np
import pytest
from messages import naming
from scipy import stats

from diversity_by_design.correlation import correlations
from diversity_by_design.errors import InputError


@pytest.fixture
def made() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two quantities x, three y of which one is undefined in places, and the unit of each of 60 rows."""
    rng = np.random.default_rng(0)
    units = rng.integers(12, size=60)
    x = rng.normal(size=(60, 2)) + 0.3 * units[:, None]
    y = np.column_stack([x @ [1.0, -2.0], x[:, 0] ** 3, rng.normal(size=60)]) + rng.normal(size=(60, 3))
    y[rng.random(60) < 0.3, 1] = np.nan
    return x, y, units


def plain(x: np.ndarray, y: np.ndarray, rows=slice(None)) -> float:
    x, y = x[rows], y[rows]
    defined = ~np.isnan(y)
    return stats.pearsonr(x[defined], y[defined]).statistic


def test_every_correlation_is_scipys(made):
    x, y, _ = made
    found = correlations(x, y, resamples=1)
    assert found.r.shape == found.low.shape == found.high.shape == (3, 2)
    assert found.n.tolist() == (~np.isnan(y)).sum(axis=0).tolist()
    for row in range(3):
        for column in range(2):
            assert found.r[row, column] == pytest.approx(plain(x[:, column], y[:, row]), abs=1e-12)


# More resamples than are made at a time.
@pytest.mark.parametrize("resamples", [30, 150])
@pytest.mark.parametrize("clustered", [False, True])
def test_intervals_are_those_of_resampling_units_one_by_one(clustered, resamples, made):
    x, y, units = made
    found = correlations(x, y, units if clustered else None, resamples=resamples, seed=5)
    names = np.unique(units) if clustered else np.arange(60)
    members = [np.flatnonzero(units == name) if clustered else np.array([name]) for name in names]
    rng = np.random.default_rng(np.random.SeedSequence(5))
    drawn = [
        row
        for start in range(0, resamples, 64)
        for row in rng.integers(len(names), size=(min(64, resamples - start), len(names)))
    ]
    for row in range(3):
        for column in range(2):
            values = [
                plain(x[:, column], y[:, row], np.concatenate([members[unit] for unit in chosen])) for chosen in drawn
            ]
            low, high = np.quantile(values, [0.025, 0.975])
            assert (found.low[row, column], found.high[row, column]) == (
                pytest.approx(low, abs=1e-12),
                pytest.approx(high, abs=1e-12),
            )


def test_names_and_order_of_the_units_do_not_matter(made):
    x, y, units = made
    expected = correlations(x, y, units, seed=1)
    named = correlations(x, y, [f"unit {unit:02d}" for unit in units], seed=1)
    np.testing.assert_array_equal([named.r, named.low], [expected.r, expected.low])
    order = np.random.default_rng(2).permutation(60)
    shuffled = correlations(x[order], y[order], units[order], seed=1)
    np.testing.assert_allclose(shuffled.r, expected.r, rtol=1e-12)
    np.testing.assert_allclose([shuffled.low, shuffled.high], [expected.low, expected.high], rtol=1e-10)


def test_a_unit_repeated_many_times_adds_no_certainty(made):
    """Ten copies of every row, resampled together: the interval of the rows themselves."""
    x, y, _ = made
    once = correlations(x, y[:, [0]], seed=3)
    copies = correlations(
        np.repeat(x, 10, axis=0), np.repeat(y[:, [0]], 10, axis=0), np.repeat(np.arange(60), 10), seed=3
    )
    np.testing.assert_allclose([copies.r, copies.low, copies.high], [once.r, once.low, once.high], rtol=1e-9)
    alone = correlations(np.repeat(x, 10, axis=0), np.repeat(y[:, [0]], 10, axis=0), seed=3)
    assert (alone.high - alone.low < 0.5 * (once.high - once.low)).all()


def test_the_seed_decides_the_intervals(made):
    first, again, other = (correlations(*made, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.low, again.low)
    assert not np.array_equal(first.low, other.low)
    np.testing.assert_array_equal(first.r, other.r)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 + 0.1])
def test_what_does_not_vary_has_no_correlation(value, made):
    x, y, _ = made
    x[:, 1], y[:, 2] = value, value
    found = correlations(x, y)
    constant = np.array([[False, True], [False, True], [True, True]])
    for numbers in (found.r, found.low, found.high):
        np.testing.assert_array_equal(np.isnan(numbers), constant)


@pytest.mark.parametrize("defined", [0, 1, 2, 3])
def test_few_points(defined, made):
    x, y, _ = made
    y[defined:, 0] = np.nan
    found = correlations(x, y)
    assert found.n[0] == defined
    for numbers in (found.r[0], found.low[0], found.high[0]):
        assert np.isnan(numbers).tolist() == [defined < 3] * 2


def test_two_units_have_no_interval(made):
    x, y, _ = made
    found = correlations(x, y, np.arange(60) % 2)
    assert np.isfinite(found.r).all()
    assert np.isnan(found.low).all() and np.isnan(found.high).all()


def test_size_and_offset_do_not_matter(made):
    x, y, units = made
    expected, moved = correlations(x, y, units), correlations(1e6 + 1e-3 * x, 1e6 + 1e3 * y, units)
    np.testing.assert_allclose([moved.r, moved.low, moved.high], [expected.r, expected.low, expected.high], atol=1e-5)


def test_a_perfect_correlation_is_one_and_no_more():
    x = np.random.default_rng(0).normal(size=(20, 1)) * 1e3
    found = correlations(x, np.column_stack([3 * x + 1, -x]))
    assert (np.abs([found.r, found.low, found.high]) <= 1).all()
    np.testing.assert_allclose(found.r[:, 0], [1, -1])


def test_x_must_be_known():
    x = np.array([[0.0, 1.0, np.nan, 3.0, np.inf]]).T
    with pytest.raises(InputError, match=naming("x", 2)):
        correlations(x, np.arange(5.0)[:, None])


def test_nothing_to_correlate(made):
    x, y, _ = made
    with pytest.raises(InputError):
        correlations(x[:0], y[:0])
    with pytest.raises(InputError, match=naming("resamples", 0)):
        correlations(x, y, resamples=0)
