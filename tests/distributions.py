"""Comparing drawn counts with the distribution they should have."""

import numpy as np
from scipy import stats


def negative_binomial(means, dispersion):
    """Distribution of mean `means` and variance means + dispersion * means**2; Poisson where the dispersion is 0."""
    if dispersion == 0.0:
        return stats.poisson(means)
    return stats.nbinom(1.0 / dispersion, 1.0 / (1.0 + dispersion * means))


def chi_square_p(observed, expected):
    """p value of counts per class against expected ones; neighbouring classes are joined until 25 are expected.

    What `expected` lacks to the number observed is expected beyond the last class.
    """
    _, number = np.unique(np.floor(np.cumsum(expected) / 25), return_inverse=True)
    observed, expected = np.bincount(number, observed), np.bincount(number, expected)
    expected[-1] += observed.sum() - expected.sum()
    return stats.chisquare(observed, expected).pvalue if len(expected) > 1 else 1.0


def assert_negative_binomial(counts, means, dispersion):
    """Mean, variance, share of zeros and whole distribution of counts, each of which has a mean of its own."""
    if np.max(means) == 0.0:
        assert not counts.any()
        return
    n, exact = len(counts), negative_binomial(means, dispersion)
    variance = means + dispersion * means**2
    assert abs(counts.mean() - np.mean(means)) < 5 * np.sqrt(np.mean(variance) / n)
    squares = (counts - means) ** 2
    assert abs(squares.mean() - np.mean(variance)) < 5 * max(squares.std(), np.mean(variance)) / np.sqrt(n)
    zero = exact.pmf(0)
    assert abs((counts == 0).sum() - zero.sum()) < 5 * np.sqrt((zero * (1 - zero)).sum()) + 3
    # Uniform if and only if every count has its own distribution.
    below = exact.cdf(counts - 1)
    uniform = below + np.random.default_rng(0).random(n) * (exact.cdf(counts) - below)
    assert stats.kstest(uniform, stats.uniform.cdf).pvalue > 1e-4
    assert chi_square_p(np.histogram(uniform, 50, (0, 1))[0], np.full(50, n / 50)) > 1e-4
