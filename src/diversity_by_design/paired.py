"""Paired tests of two predictors' scores, and their adjustment for many."""

from __future__ import annotations

import numpy as np
from scipy import special

from diversity_by_design.arrays import FloatArray

# With fewer pairs a test says nothing.
FEWEST_PAIRS = 3

# Scores that differ by less than this part of their size are equal: predictions of float32 are rounded so.
_ROUNDING = 1e-6


def paired_tests(first: FloatArray, second: FloatArray) -> dict[str, float]:
    """Paired t test and Wilcoxon's signed-rank test of scores (perturbations,), both two-sided; NaN is left out.

    `n` (pairs), `median_first`, `median_second`, `mean_difference` (second minus first), `t` (positive if the second is
    greater), `t_p`, `wilcoxon`, `wilcoxon_p`. Tests are NaN with fewer than three pairs or without any difference, the
    t test also where all differences are the same.

    >>> tests = paired_tests(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 2.5, 4.0, 6.0]))
    >>> tests["n"], round(tests["t"], 3), round(tests["t_p"], 3)
    (4, 3.576, 0.037)
    """
    both = ~(np.isnan(first) | np.isnan(second))
    first, second = first[both], second[both]
    differences = second - first
    differences[np.abs(differences) <= _ROUNDING * np.maximum(np.abs(first), np.abs(second))] = 0.0
    n = len(differences)
    result = {
        "n": n,
        "median_first": float(np.median(first)) if n else np.nan,
        "median_second": float(np.median(second)) if n else np.nan,
        "mean_difference": float(differences.mean()) if n else np.nan,
    }
    tests = dict.fromkeys(("t", "t_p", "wilcoxon", "wilcoxon_p"), np.nan)
    if n >= FEWEST_PAIRS and differences.any():
        from scipy.stats import wilcoxon

        statistic, p = wilcoxon(differences)
        tests |= {"wilcoxon": float(statistic), "wilcoxon_p": float(p)}
        if np.ptp(differences) > 0:
            t = differences.mean() / (differences.std(ddof=1) / np.sqrt(n))
            tests |= {"t": float(t), "t_p": float(2 * special.stdtr(n - 1, -abs(t)))}
    return result | tests


def holm(p: FloatArray) -> FloatArray:
    """P values adjusted for their number by Holm's method; NaN stays NaN and does not count.

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, np.nan, 0.03]))
    array([0.03, 0.06,  nan, 0.06])
    """
    result = np.full(len(p), np.nan)
    defined = np.flatnonzero(~np.isnan(p))
    order = defined[np.argsort(p[defined], kind="stable")]
    n = len(order)
    result[order] = np.minimum(np.maximum.accumulate(p[order] * (n - np.arange(n))), 1.0)
    return result
