"""The calibrated scale: 0 is the best uninformative baseline, 1 the technical duplicate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from diversity_by_design.arrays import FloatArray

# How sure intervals are.
CONFIDENCE = 0.95
# With fewer perturbations there is no interval worth the name.
FEWEST = 3

# Numbers of resampled scores held at a time.
_AT_A_TIME = 2**22


@dataclass(frozen=True)
class Calibrated:
    """A calibrated score; NaN where a metric is not informative."""

    value: float = np.nan  # the calibrated score
    low: float = np.nan  # its interval
    high: float = np.nan
    n: int = 0  # perturbations that predictor, baselines and duplicate all have
    zero: float = np.nan  # aggregate of the best uninformative baseline over these
    one: float = np.nan  # of the technical duplicate
    which_zero: int = -1  # which baseline is the best; -1 without any
    perfect: float = np.nan  # of what a perfect prediction would score
    perfect_calibrated: float = np.nan
    informative: bool = False  # the duplicate is better than the best baseline beyond the interval of their difference


def calibrate(
    scores: FloatArray,
    one: FloatArray,
    zeros: FloatArray,
    perfect: FloatArray,
    *,
    sign: int,
    aggregate: str,
    resamples: int,
    seed: int,
) -> list[Calibrated]:
    """Calibrate the scores of several predictors on one metric.

    `scores` (predictors, perturbations) are NaN where a perturbation is not predicted or a score undefined; `one`
    (perturbations,) are those of the technical duplicate, `zeros` (baselines, perturbations) of the uninformative
    baselines, of which one that is undefined everywhere is none, `perfect` (perturbations,) what a perfect prediction
    would score. `sign` is 1 where higher is better, else -1.

    Perturbations are resampled jointly: the same ones for all predictors that have the same perturbations. The best
    baseline is chosen anew in each resample. Resamples in which the duplicate is not better do not count for intervals
    of calibrated scores.
    """
    mean_or_median: Callable[..., Any] = np.median if aggregate == "median" else np.mean
    usable = np.flatnonzero(~np.isnan(zeros).all(axis=1))
    anchors = np.vstack([one, zeros[usable]])
    is_complete = ~np.isnan(anchors).any(axis=0)
    results = [Calibrated()] * len(scores)
    common = is_complete & ~np.isnan(scores)
    for mask in np.unique(common, axis=0):
        members = np.flatnonzero((common == mask).all(axis=1))
        n = int(mask.sum())
        if n == 0 or not len(usable):
            continue
        stacked = np.vstack([anchors, perfect, scores[members]])[:, mask]
        point = mean_or_median(stacked, axis=1)
        resampled = _resampled(stacked, mean_or_median, resamples, seed)
        n_anchors = len(anchors)

        def scaled(totals: FloatArray, n_anchors: int = n_anchors) -> tuple[FloatArray, FloatArray, FloatArray]:
            """Zero, the duplicate's lead over it, and the calibrated scores of perfect and members."""
            zero = sign * (sign * totals[1:n_anchors]).max(axis=0)
            lead = sign * (totals[0] - zero)
            with np.errstate(divide="ignore", invalid="ignore"):
                span = np.where(lead > 0, totals[0] - zero, np.nan)
                return zero, lead, (totals[n_anchors:] - zero) / span + 0.0  # no -0.0

        zero, lead, values = scaled(point)
        _, leads, draws = scaled(resampled)
        ends = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
        informative = bool(n >= FEWEST and lead > 0 and np.quantile(leads, ends[0]) > 0)
        low, high = np.quantile(draws[:, leads > 0], ends, axis=1) if informative else np.full((2, len(values)), np.nan)
        which = int(usable[int(np.argmax(sign * point[1:n_anchors]))])
        for place, member in enumerate(members, start=1):
            results[member] = Calibrated(
                value=float(values[place]) if informative else np.nan,
                low=float(low[place]),
                high=float(high[place]),
                n=n,
                zero=float(zero),
                one=float(point[0]),
                which_zero=which,
                perfect=float(point[n_anchors]),
                perfect_calibrated=float(values[0]) if informative else np.nan,
                informative=informative,
            )
    return results


def _resampled(values: FloatArray, aggregate: Callable[..., Any], resamples: int, seed: int) -> FloatArray:
    """Aggregates of resampled columns (rows, resamples)."""
    n = values.shape[1]
    drawn = np.random.default_rng(np.random.SeedSequence([seed, n])).integers(n, size=(resamples, n))
    step = max(1, _AT_A_TIME // values.size)
    return np.concatenate(
        [aggregate(values[:, drawn[start : start + step]], axis=-1) for start in range(0, resamples, step)], axis=1
    )
