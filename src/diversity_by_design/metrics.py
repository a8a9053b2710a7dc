"""Metrics of predicted against true mean expression, vectorised over perturbations.

Every function takes arrays ``(perturbations, genes)`` and returns ``(perturbations,)``;
a single pair of vectors ``(genes,)`` works too and gives a number. A prediction or a
reference of shape ``(genes,)`` is the same for all perturbations, as baselines are. What is
undefined is NaN. NaN in the input gives NaN for its perturbation. Tables of pandas must have the
same rows and columns in the same order, since values are compared by position.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design.errors import InputError
from diversity_by_design.statistics import FloatArray

# How far the weights of a perturbation may be from summing to one.
_WEIGHT_TOLERANCE = 1e-6


def mse(truth: npt.ArrayLike, prediction: npt.ArrayLike, mask: npt.ArrayLike | None = None) -> FloatArray:
    """Mean squared error over genes.

    Parameters
    ----------
    truth : (perturbations, genes) or (genes,)
        True mean expression, mu_p.
    prediction : the same, or (genes,)
    mask : bool, of the shape of `truth`, optional
        Genes to use; NaN for a perturbation without any.

    Examples
    --------
    >>> mse([[1.0, 2.0], [0.0, 4.0]], [1.0, 4.0])
    array([2. , 0.5])
    """
    truth, prediction = _arrays(truth, prediction=prediction)
    return _mean((truth - prediction) ** 2, _mask(mask, truth))


def mae(truth: npt.ArrayLike, prediction: npt.ArrayLike, mask: npt.ArrayLike | None = None) -> FloatArray:
    """Mean absolute error over genes; parameters as for `mse`.

    Examples
    --------
    >>> mae([1.0, 2.0], [1.0, 4.0])
    np.float64(1.0)
    """
    truth, prediction = _arrays(truth, prediction=prediction)
    return _mean(np.abs(truth - prediction), _mask(mask, truth))


def wmse(truth: npt.ArrayLike, prediction: npt.ArrayLike, weights: npt.ArrayLike) -> FloatArray:
    """Weighted mean squared error (equation 8).

    Parameters
    ----------
    truth, prediction : as for `mse`
    weights : (perturbations, genes) or (genes,)
        Non-negative, each row summing to one (see `diversity_by_design.deg_weights`). A row of NaN gives NaN.

    Raises
    ------
    InputError
        Weights are negative or a row does not sum to one.

    Examples
    --------
    >>> wmse([1.0, 2.0], [1.0, 4.0], weights=[0.75, 0.25])
    np.float64(1.0)
    """
    truth, prediction = _arrays(truth, prediction=prediction)
    return _sum(_weights(weights, truth) * (truth - prediction) ** 2)


def pearson_delta(
    truth: npt.ArrayLike,
    prediction: npt.ArrayLike,
    reference: npt.ArrayLike,
    mask: npt.ArrayLike | None = None,
) -> FloatArray:
    """Pearson correlation over genes of true and predicted change from a reference (section 2.3).

    Parameters
    ----------
    truth, prediction : as for `mse`
    reference : (genes,) or (perturbations, genes)
        What changes are measured from: mu_c for the usual metric, mu_all for the unbiased one.
    mask : bool, of the shape of `truth`, optional
        Genes to use, such as the DEGs of each perturbation.

    Returns
    -------
    (perturbations,)
        NaN where fewer than two genes are used or a change is the same for all genes (up to rounding),
        as that of the reference itself is.

    Examples
    --------
    >>> float(pearson_delta([1.0, 2.0, 4.0], [1.0, 3.0, 7.0], reference=[1.0, 1.0, 1.0]).round(6))
    1.0
    """
    coarsest = max(_epsilon(truth), _epsilon(prediction), _epsilon(reference))
    truth, prediction, reference = _arrays(truth, prediction=prediction, reference=reference)
    used = _mask(mask, truth)
    # Rounding of a mean is proportional to its size: a change below that is none.
    scale = np.maximum(np.abs(truth), np.maximum(np.abs(prediction), np.abs(reference)))
    scale = scale if used is None else np.where(used, scale, 0.0)
    noise = 8.0 * coarsest * np.sqrt(_sum(scale**2))
    n_used = truth.shape[-1] if used is None else _sum(used)
    true_delta = _centred(truth - reference, used)
    predicted_delta = _centred(prediction - reference, used)
    true_norm, predicted_norm = np.sqrt(_sum(true_delta**2)), np.sqrt(_sum(predicted_delta**2))
    # Stated positively, so that NaN in the input gives NaN.
    defined = (true_norm > noise) & (predicted_norm > noise) & (n_used >= 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = _sum(true_delta * predicted_delta) / true_norm / predicted_norm
    return np.where(defined, np.clip(r, -1.0, 1.0), np.nan)[()]


def r2_delta(
    truth: npt.ArrayLike,
    prediction: npt.ArrayLike,
    reference: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
) -> FloatArray:
    """Coefficient of determination of predicted changes from a reference (equations 6 and 7).

    Parameters
    ----------
    truth, prediction : as for `mse`
    reference : (genes,) or (perturbations, genes)
        By the paper's choice mu_all, the mean of all perturbed cells.
    weights : as for `wmse`, optional
        Without them every gene counts the same.

    Returns
    -------
    (perturbations,)
        1 for a perfect prediction. Where the prediction is the reference itself it is never positive
        (appendix B). NaN where the true change is the same for all genes that have weight.

    Examples
    --------
    >>> r2_delta([1.0, 2.0, 6.0], [1.0, 2.0, 6.0], reference=[1.0, 1.0, 1.0])
    np.float64(1.0)
    """
    coarsest = max(_epsilon(truth), _epsilon(reference))
    truth, prediction, reference = _arrays(truth, prediction=prediction, reference=reference)
    w = np.full(truth.shape, 1.0 / truth.shape[-1]) if weights is None else _weights(weights, truth)
    delta = truth - reference
    residual = _sum(w * (truth - prediction) ** 2)
    centre = _sum(w * delta)
    total = _sum(w * (delta - centre[..., None]) ** 2)
    noise = (8.0 * coarsest) ** 2 * _sum(w * np.maximum(np.abs(truth), np.abs(reference)) ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > noise, 1.0 - residual / total, np.nan)[()]


def _epsilon(values: npt.ArrayLike) -> float:
    dtype = np.asarray(values).dtype
    return float(np.finfo(dtype).eps) if dtype.kind == "f" else float(np.finfo(float).eps)


def _arrays(truth: npt.ArrayLike, **others: npt.ArrayLike) -> tuple[FloatArray, ...]:
    """As float64; the others must have the shape of `truth` or be one vector for all perturbations."""
    for name, values in others.items():
        _require_same_labels(truth, values, name)
    first = np.asarray(truth, dtype=float)
    if first.ndim not in (1, 2) or first.shape[-1] == 0:
        raise InputError(f"truth has shape {first.shape}; expected (perturbations, genes) or (genes,)")
    arrays = [first]
    for name, values in others.items():
        array = np.asarray(values, dtype=float)
        _require_shape(array, first, name)
        arrays.append(array)
    return tuple(arrays)


def _require_same_labels(truth: Any, values: Any, name: str) -> None:
    """Raise InputError for pandas objects whose rows or columns are not those of `truth`: values go by position."""
    for axis in ("index", "columns"):
        ours, theirs = getattr(truth, axis, None), getattr(values, axis, None)
        if type(truth) is not type(values) or not isinstance(ours, pd.Index) or not isinstance(theirs, pd.Index):
            continue
        if not ours.equals(theirs):
            raise InputError(
                f"{axis} of {name} and truth differ or are in another order; align them first: "
                f"{name}.reindex_like(truth)"
            )


def _require_shape(array: npt.NDArray[Any], truth: FloatArray, name: str) -> None:
    if array.shape not in (truth.shape, truth.shape[-1:]):
        expected = " or ".join(str(shape) for shape in dict.fromkeys((truth.shape, truth.shape[-1:])))
        raise InputError(f"{name} has shape {array.shape}, but truth has shape {truth.shape}: expected {expected}")


def _weights(weights: npt.ArrayLike, truth: FloatArray) -> FloatArray:
    array = np.asarray(weights, dtype=float)
    _require_shape(array, truth, "weights")
    if (array < 0).any():
        raise InputError(f"weights must not be negative; the smallest is {np.nanmin(array):g}")
    totals = np.atleast_1d(array.sum(axis=-1))
    wrong = np.flatnonzero(np.abs(totals - 1.0) > _WEIGHT_TOLERANCE)
    if len(wrong):
        raise InputError(
            f"weights of each perturbation must sum to one; row {wrong[0]} sums to {totals[wrong[0]]:g} "
            f"({len(wrong)} such row(s)): divide each row by its sum, or use deg_weights"
        )
    return array


def _mask(mask: npt.ArrayLike | None, truth: FloatArray) -> npt.NDArray[np.bool_] | None:
    if mask is None:
        return None
    array = np.asarray(mask)
    if array.dtype != bool:
        raise InputError(f"mask must be boolean (True for genes to use), not {array.dtype}")
    _require_shape(array, truth, "mask")
    return array


def _sum(values: npt.NDArray[Any]) -> FloatArray:
    return values.sum(axis=-1)


def _mean(values: FloatArray, used: npt.NDArray[np.bool_] | None) -> FloatArray:
    """Mean over the genes used; NaN without any."""
    if used is None:
        return values.mean(axis=-1)
    with np.errstate(invalid="ignore"):
        return _sum(np.where(used, values, 0.0)) / _sum(used)


def _centred(delta: FloatArray, used: npt.NDArray[np.bool_] | None) -> FloatArray:
    """Minus the mean over the genes used; zero elsewhere."""
    centred = delta - _mean(delta, used)[..., None]
    return centred if used is None else np.where(used, centred, 0.0)
