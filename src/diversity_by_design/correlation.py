"""Pearson correlations with bootstrap intervals, many at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diversity_by_design.arrays import ROUNDING, FloatArray
from diversity_by_design.errors import InputError, whole_number

# With fewer points, or units to resample, a correlation says nothing.
FEWEST = 3

# Resamples made at a time, so that their weights take little memory.
_AT_A_TIME = 64


@dataclass(frozen=True, eq=False)
class Correlations:
    """Correlations of quantities y with quantities x, each array (y, x)."""

    r: FloatArray  # NaN where one of the two does not vary, or with fewer than three points
    low: FloatArray  # ends of the 95 % percentile interval over resampled units; NaN where r is,
    high: FloatArray  # or with fewer than three units
    n: npt.NDArray[np.int64]  # (y,): rows in which y is defined


def correlations(
    x: FloatArray, y: FloatArray, units: npt.ArrayLike | None = None, *, resamples: int = 1000, seed: int = 0
) -> Correlations:
    """Correlate every column of `y` with every column of `x`, over the rows in which the former is defined.

    `x` and `y` are (rows, quantities); of `units` (rows,), such as the perturbation of each row, all rows of one are
    resampled together (default: each row alone).

    >>> x, y = np.arange(6.0)[:, None], np.array([[0.0, 1.0, 1.0, 3.0, 4.0, 6.0]]).T
    >>> correlations(x, y).r.round(2)
    array([[0.97]])
    """
    if not len(x):
        raise InputError("there are no rows to correlate")
    if not np.isfinite(x).all():
        raise InputError(
            f"x holds {int((~np.isfinite(x)).sum())} value(s) that are not finite; only y may be undefined"
        )
    resamples, seed = whole_number(resamples, "resamples", 1), whole_number(seed, "seed", 0)
    codes = np.arange(len(x)) if units is None else np.unique(np.asarray(units), return_inverse=True)[1]
    terms = _Terms.of(x, y, codes.reshape(-1))
    n = terms.n.sum(axis=0).astype(np.int64)
    r = _pearson(np.ones((1, len(terms.n))), terms)[0]
    r[n < FEWEST] = np.nan
    low, high = _intervals(terms, resamples, seed)
    low[np.isnan(r)] = high[np.isnan(r)] = np.nan
    return Correlations(r, low, high, n)


@dataclass(frozen=True, eq=False)
class _Terms:
    """What correlations are made of, added up within units, for all pairs of y and x at once.

    `n`, `y` and `yy` are (units, y); `x`, `xx` and `xy` are (units, y, x). Rows in which y is undefined are zeros.
    """

    n: FloatArray
    y: FloatArray
    yy: FloatArray
    x: FloatArray
    xx: FloatArray
    xy: FloatArray

    @classmethod
    def of(cls, x: FloatArray, y: FloatArray, codes: npt.NDArray[np.intp]) -> _Terms:
        defined = np.isfinite(y).astype(np.float64)
        ys = _standardised(y)
        xs = defined[:, :, None] * _standardised(x)[:, None]
        order = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
        return cls(
            *(
                np.add.reduceat(term[order], starts, axis=0)
                for term in (defined, ys, ys * ys, xs, xs * xs, xs * ys[:, :, None])
            )
        )


def _pearson(weights: FloatArray, terms: _Terms) -> FloatArray:
    """Correlations (resamples, y, x) with units counted as often as `weights` (resamples, units) says."""
    n, y, yy = (weights @ term for term in (terms.n, terms.y, terms.yy))
    # One matrix product each, which tensordot is too.
    x, xx, xy = (np.tensordot(weights, term, axes=1) for term in (terms.x, terms.xx, terms.xy))
    n, y, yy = n[:, :, None], y[:, :, None], yy[:, :, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        spread_x, spread_y = xx - x * x / n, yy - y * y / n
        spread_x[~(spread_x > ROUNDING * xx)] = np.nan
        spread_y[~(spread_y > ROUNDING * yy)] = np.nan
        r = (xy - x * y / n) / np.sqrt(spread_x * spread_y)
    return np.clip(r, -1.0, 1.0)


def _intervals(terms: _Terms, resamples: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Ends of the intervals; resamples in which a correlation is undefined do not count for it."""
    n = len(terms.n)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    parts = []
    for start in range(0, resamples, _AT_A_TIME):
        size = min(_AT_A_TIME, resamples - start)
        drawn = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)
        parts.append(_pearson(weights, terms))
    resampled = np.concatenate(parts)
    ends = np.full((2, *resampled.shape[1:]), np.nan)
    enough = np.isfinite(resampled).any(axis=0) & ((terms.n > 0).sum(axis=0) >= FEWEST)[:, None]
    ends[:, enough] = np.nanquantile(resampled[:, enough], [0.025, 0.975], axis=0)
    return ends[0], ends[1]


def _standardised(values: FloatArray) -> FloatArray:
    """Columns with mean 0 and standard deviation 1; 0 where a value is undefined, or nothing varies."""
    defined = np.isfinite(values)
    n = np.maximum(defined.sum(axis=0), 1)
    filled = np.where(defined, values, 0.0)
    centred = np.where(defined, filled - filled.sum(axis=0) / n, 0.0)
    sd = np.sqrt((centred**2).sum(axis=0) / n)
    constant = sd <= ROUNDING * np.abs(filled).max(axis=0)
    return np.where(constant, 0.0, centred / np.where(constant, 1.0, sd))
