"""P values of very many t scores, each with degrees of freedom of its own, and their adjustment."""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt
from scipy import special

# Squared scores up to this are summed as a series; beyond, p is too small to be one minus a probability.
_SERIES = 12.0
# From so many degrees of freedom on, the expansion of the ratio of gamma functions is exact to rounding.
_ENOUGH = 60.0


def two_sided(t: npt.NDArray[np.float64], freedom: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Probability of a score at least as far from zero as `t` (infinite ones too), with `freedom` degrees of freedom.

    Within 1e-11 of the exact value, relatively; NaN where a score is.

    >>> two_sided(np.array([0.0, 2.0]), np.array([10.0, 10.0])).round(4)
    array([1.    , 0.0734])
    """
    p = np.empty(t.shape)
    _central(np.ascontiguousarray(t).reshape(-1), np.ascontiguousarray(freedom).reshape(-1), p.reshape(-1))
    far = p < 0.0
    p[far] = 2.0 * special.stdtr(freedom[far], -np.abs(t[far]))
    return p


def adjusted(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """P values (rows, tests) adjusted within each row by Benjamini and Hochberg's method.

    NaN stays NaN, and counts as a test.

    >>> adjusted(np.array([[0.01, 0.04, 0.03]]))
    array([[0.03, 0.04, 0.04]])
    """
    result = np.empty(p.shape)
    _adjust(p, np.argsort(p, axis=1), result)
    return result


@numba.njit(nogil=True, cache=True)
def _adjust(p: npt.NDArray[np.float64], order: npt.NDArray[np.int64], result: npt.NDArray[np.float64]) -> None:
    """Fill in the adjusted p values; `order` sorts each row, NaN last."""
    n_tests = p.shape[1]
    for row in range(len(p)):
        least = 1.0
        for rank in range(n_tests, 0, -1):
            test = order[row, rank - 1]
            value = p[row, test]
            least = min(least, value * n_tests / rank) if value == value else least
            result[row, test] = least if value == value else np.nan


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _central(t: npt.NDArray[np.float64], freedom: npt.NDArray[np.float64], p: npt.NDArray[np.float64]) -> None:
    """Fill in p where the score is near zero; -1 elsewhere."""
    for i in range(len(t)):
        square = t[i] * t[i]
        v = freedom[i]
        if not square <= _SERIES:
            p[i] = -1.0 if square > 0.0 else np.nan
            continue
        # P(|T| < t) is a regularised incomplete beta function of y, whose series has positive terms only.
        y = square / (v + square)
        term = total = 1.0
        k = 0.0
        while term > 1e-17 * total:
            term *= y * (0.5 * (v + 1.0) + k) / (1.5 + k)
            total += term
            k += 1.0
        density = _gamma_ratio(v) / math.sqrt(math.pi) * math.exp(-0.5 * v * math.log1p(square / v))
        p[i] = 1.0 - 2.0 * math.sqrt(y) * density * total


@numba.njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _gamma_ratio(v: float) -> float:
    """Gamma((v + 1) / 2) / Gamma(v / 2)."""
    factor = 1.0
    while v < _ENOUGH:
        factor *= v / (v + 1.0)
        v += 2.0
    u = 1.0 / v
    series = 1.0 + u * (
        -1 / 4
        + u * (1 / 32 + u * (5 / 128 + u * (-21 / 2048 + u * (-399 / 8192 + u * (869 / 65536 + u * (39325 / 262144))))))
    )
    return factor * math.sqrt(0.5 * v) * series
