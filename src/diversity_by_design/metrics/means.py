"""Metrics of predicted against true mean expression, vectorised over perturbations.

Every function takes arrays ``(perturbations, genes)`` and returns ``(perturbations,)``; a single pair of vectors
``(genes,)`` works too and gives a number. A prediction or a reference of shape ``(genes,)`` is the same for all
perturbations, as baselines are. What is undefined is NaN. NaN in the input gives NaN for its perturbation. Tables of
pandas are aligned by name; a mixture of arguments with and without names is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from diversity_by_design.arrays import BoolArray, FloatArray, aligned, as_array, precision
from diversity_by_design.errors import InputError
from diversity_by_design.metrics.registry import METRICS

# How far the weights of a perturbation may be from summing to one.
_WEIGHT_TOLERANCE = 1e-6
# Over two genes a correlation is always 1 or -1, so of chosen genes, such as DEGs, it takes three.
FEWEST_CHOSEN = 3
# A change of so many times the spacing of numbers is rounding.
_ROUNDINGS = 8.0
_FLOAT32_NOISE = _ROUNDINGS * float(np.finfo(np.float32).eps)


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
    return _mse(*_checked(truth, mask=mask, prediction=prediction))


def mae(truth: npt.ArrayLike, prediction: npt.ArrayLike, mask: npt.ArrayLike | None = None) -> FloatArray:
    """Mean absolute error over genes; parameters as for `mse`.

    Examples
    --------
    >>> mae([1.0, 2.0], [1.0, 4.0])
    np.float64(1.0)
    """
    return _mae(*_checked(truth, mask=mask, prediction=prediction))


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
    return _wmse(*_checked(truth, weights=weights, prediction=prediction))


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
        NaN where a mask leaves fewer than three genes (over two it is always 1 or -1), there are fewer than two, or a
        change is the same for all genes up to rounding (that of float32 for numbers of float32), as that of the
        reference itself is.

    Examples
    --------
    >>> float(pearson_delta([1.0, 2.0, 4.0], [1.0, 3.0, 7.0], reference=[1.0, 1.0, 1.0]).round(6))
    1.0
    """
    return _pearson(*_checked(truth, mask=mask, prediction=prediction, reference=reference))


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
    return _r2(*_checked(truth, weights=weights, prediction=prediction, reference=reference))


def _mse(truth: FloatArray, prediction: FloatArray, mask: BoolArray | None = None) -> FloatArray:
    return _mean((truth - prediction) ** 2, mask)


def _mae(truth: FloatArray, prediction: FloatArray, mask: BoolArray | None = None) -> FloatArray:
    return _mean(np.abs(truth - prediction), mask)


def _wmse(truth: FloatArray, prediction: FloatArray, weights: FloatArray) -> FloatArray:
    return _sum(weights * (truth - prediction) ** 2)


def _pearson(
    truth: FloatArray, prediction: FloatArray, reference: FloatArray, mask: BoolArray | None = None
) -> FloatArray:
    if prediction.ndim == 2 and prediction.strides[0] == 0:
        prediction = prediction[0]  # one prediction of all perturbations is looked at once
    true_delta = _centred(truth - reference, mask)
    predicted_delta = _centred(prediction - reference, mask)
    true_norm, predicted_norm = np.sqrt(_dot(true_delta, true_delta)), np.sqrt(_dot(predicted_delta, predicted_delta))
    least = np.minimum(true_norm, predicted_norm)
    # Stated positively, so that NaN in the input gives NaN.
    defined = least > _FLOAT32_NOISE * np.sqrt(sum(_dot(values, values) for values in (truth, prediction, reference)))
    if not np.all(defined):
        # Few are near zero: only then is it worth knowing how near rounding can bring them.
        defined = least > _noise(truth, prediction, reference, mask)
    enough = truth.shape[-1] >= 2 if mask is None else _sum(mask) >= FEWEST_CHOSEN
    with np.errstate(divide="ignore", invalid="ignore"):
        r = _dot(true_delta, predicted_delta) / true_norm / predicted_norm
    return np.where(defined & enough, np.clip(r, -1.0, 1.0), np.nan)[()]


def _noise(truth: FloatArray, prediction: FloatArray, reference: FloatArray, mask: BoolArray | None) -> FloatArray:
    """Length of a change that rounding alone may bring about, which is proportional to the size of the means."""
    coarsest = np.maximum(np.maximum(precision(truth), precision(prediction)), precision(reference))
    scale = np.maximum(np.abs(truth), np.maximum(np.abs(prediction), np.abs(reference)))
    scale = scale if mask is None else np.where(mask, scale, 0.0)
    return _ROUNDINGS * coarsest * np.sqrt(_dot(scale, scale))


def _r2(
    truth: FloatArray, prediction: FloatArray, reference: FloatArray, weights: FloatArray | None = None
) -> FloatArray:
    coarsest = np.maximum(precision(truth), precision(reference))
    w = np.full(truth.shape, 1.0 / truth.shape[-1]) if weights is None else weights
    delta = truth - reference
    residual = _sum(w * (truth - prediction) ** 2)
    centre = _sum(w * delta)
    total = _sum(w * (delta - centre[..., None]) ** 2)
    noise = (_ROUNDINGS * coarsest) ** 2 * _sum(w * np.maximum(np.abs(truth), np.abs(reference)) ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > noise, 1.0 - residual / total, np.nan)[()]


def _checked(truth: Any, *, mask: Any = None, weights: Any = None, **others: Any) -> list[Any]:
    """All arguments as arrays of fitting shapes: the truth, the others, then the mask or the weights if given."""
    given = aligned(truth=truth, **others, mask=mask, weights=weights)
    first = as_array(given["truth"], "truth")
    if first.ndim not in (1, 2) or first.shape[-1] == 0:
        raise InputError(f"truth has shape {first.shape}; expected (perturbations, genes) or (genes,)")
    arrays: list[Any] = [first]
    for name in others:
        arrays.append(_of_shape(as_array(given[name], name), first, name))
    if mask is not None:
        array = np.asarray(given["mask"])
        if array.dtype != bool:
            raise InputError(f"mask must be boolean (True for genes to use), not {array.dtype}")
        arrays.append(_of_shape(array, first, "mask"))
    if weights is not None:
        arrays.append(_checked_weights(_of_shape(as_array(given["weights"], "weights"), first, "weights")))
    return arrays


def _of_shape(array: npt.NDArray, truth: FloatArray, name: str) -> npt.NDArray:
    if array.shape not in (truth.shape, truth.shape[-1:]):
        expected = " or ".join(str(shape) for shape in dict.fromkeys((truth.shape, truth.shape[-1:])))
        raise InputError(f"{name} has shape {array.shape}, but truth has shape {truth.shape}: expected {expected}")
    return array


def _checked_weights(weights: FloatArray) -> FloatArray:
    if (weights < 0).any():
        raise InputError(f"weights must not be negative; the smallest is {np.nanmin(weights):g}")
    totals = np.atleast_1d(weights.sum(axis=-1))
    wrong = np.flatnonzero(np.abs(totals - 1.0) > _WEIGHT_TOLERANCE)
    if len(wrong):
        raise InputError(
            f"weights of each perturbation must sum to one; row {wrong[0]} sums to {totals[wrong[0]]:g} "
            f"({len(wrong)} such row(s)): divide each row by its sum, or use deg_weights"
        )
    return weights


def _sum(values: npt.NDArray[Any]) -> FloatArray:
    return values.sum(axis=-1)


def _dot(first: FloatArray, second: FloatArray) -> FloatArray:
    return np.einsum("...i,...i->...", first, second)


def _mean(values: FloatArray, used: BoolArray | None) -> FloatArray:
    """Mean over the genes used; NaN without any."""
    if used is None:
        return values.mean(axis=-1)
    with np.errstate(invalid="ignore"):
        return _sum(np.where(used, values, 0.0)) / _sum(used)


def _centred(delta: FloatArray, used: BoolArray | None) -> FloatArray:
    """Minus the mean over the genes used; zero elsewhere."""
    centred = delta - _mean(delta, used)[..., None]
    return centred if used is None else np.where(used, centred, 0.0)


def _register(
    name: str,
    label: str,
    function: Callable[[Any, FloatArray], FloatArray],
    *,
    perfect: float,
    source: str,
) -> None:
    # Of these metrics the errors are those of which 0 is perfect.
    METRICS.register(name, function, perfect > 0, perfect=perfect, label=label, source=source, by_row=True)


# In the order of figure 6.
_register("mse", "MSE", lambda target, prediction: _mse(target.mean, prediction), perfect=0.0, source="section 2.3")
_register(
    "wmse",
    "WMSE",
    lambda target, prediction: _wmse(target.mean, prediction, target.weights),
    perfect=0.0,
    source="equation 8",
)
_register(
    "r2_delta",
    "R²(Δ)",
    lambda target, prediction: _r2(target.mean, prediction, target.perturbed_mean),
    perfect=1.0,
    source="equation 6 with equal weights",
)
_register(
    "weighted_r2_delta",
    "weighted R²(Δ)",
    lambda target, prediction: _r2(target.mean, prediction, target.perturbed_mean, target.weights),
    perfect=1.0,
    source="equations 6 and 7",
)
_register(
    "pearson_delta",
    "Pearson(Δ)",
    lambda target, prediction: _pearson(target.mean, prediction, target.perturbed_mean),
    perfect=1.0,
    source="section 2.3, changes from mu_all",
)
_register(
    "pearson_delta_degs",
    "Pearson(Δ), DEGs",
    lambda target, prediction: _pearson(target.mean, prediction, target.perturbed_mean, target.is_deg),
    perfect=1.0,
    source="section 4.4, changes from mu_all",
)
_register(
    "pearson_delta_control",
    "Pearson(Δ from control)",
    lambda target, prediction: _pearson(target.mean, prediction, target.control_mean),
    perfect=1.0,
    source="section 2.3, changes from mu_c",
)
_register(
    "pearson_delta_control_degs",
    "Pearson(Δ from control), DEGs",
    lambda target, prediction: _pearson(target.mean, prediction, target.control_mean, target.is_deg),
    perfect=1.0,
    source="section 3.1, changes from mu_c",
)
_register("mae", "MAE", lambda target, prediction: _mae(target.mean, prediction), perfect=0.0, source="section 2.3")
_register(
    "mse_degs",
    "MSE, DEGs",
    lambda target, prediction: _mse(target.mean, prediction, target.is_deg),
    perfect=0.0,
    source="section 3.1",
)
_register(
    "mae_degs",
    "MAE, DEGs",
    lambda target, prediction: _mae(target.mean, prediction, target.is_deg),
    perfect=0.0,
    source="section 3.1",
)
