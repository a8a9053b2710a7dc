"""Weights of genes from differential expression (section 3.3.3)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from diversity_by_design.degs import DegScores
from diversity_by_design.statistics import FloatArray


def deg_weights(degs: DegScores | npt.ArrayLike) -> FloatArray:
    """Turn DEG scores into weights: abs t -> min-max per perturbation -> square -> sum to one.

    Parameters
    ----------
    degs : DegScores or array (labels, genes)
        Scores of every perturbation, by the paper's choice against the rest of the perturbed
        cells. An array of t scores works too; a single vector (genes,) as well.

    Returns
    -------
    float64 array, of the shape of the scores
        Rows sum to one. Undefined, hence NaN, for a perturbation whose absolute scores are all
        equal or contain NaN. Where scores are infinite (a difference without any variance), these genes
        share the weight and the others have none, which is the limit of the definition.

    Examples
    --------
    >>> deg_weights([[0.0, -1.0, 2.0]])
    array([[0. , 0.2, 0.8]])
    """
    squared = squared_scores(degs)
    return squared / squared.sum(axis=-1, keepdims=True)


def squared_scores(degs: DegScores | npt.ArrayLike) -> FloatArray:
    """Square of the absolute scores after min-max per perturbation: `deg_weights` before they are scaled to sum to one.

    Parameters
    ----------
    degs : as for `deg_weights`

    Returns
    -------
    float64 array, of the shape of the scores
        From 0 to 1, both of which occur in each row. Undefined (NaN) where `deg_weights` is; where scores are infinite,
        1 for these genes and 0 for the others.

    Examples
    --------
    >>> squared_scores([[0.0, -1.0, 2.0]])
    array([[0.  , 0.25, 1.  ]])
    """
    scores = np.abs(np.asarray(degs.t if isinstance(degs, DegScores) else degs, dtype=float))
    infinite = np.isinf(scores)
    limit = infinite.any(axis=-1, keepdims=True) & ~np.isnan(scores).any(axis=-1, keepdims=True)
    scores = np.where(limit, infinite, scores)
    low = scores.min(axis=-1, keepdims=True)
    spread = scores.max(axis=-1, keepdims=True) - low
    return ((scores - low) / np.where(spread > 0, spread, np.nan)) ** 2
