"""Predictors that nothing has to be trained for: the ends of the scale, and settings between them (section 3.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design.arrays import FloatArray, as_array, read_only
from diversity_by_design.errors import InputError, listed, unique_names
from diversity_by_design.labels import CONTROL, label_index, parts
from diversity_by_design.registry import Registry
from diversity_by_design.statistics import PerturbationStatistics
from diversity_by_design.truth import Target

DUPLICATE = "technical_duplicate"
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
_DIAL = "dial_"


@dataclass(frozen=True)
class Predictor:
    """A way to predict the mean expression of every perturbation.

    Attributes
    ----------
    name : str
    function : callable
        From a `diversity_by_design.truth.Target` to an array (labels, genes), or (genes,) for the same prediction of
        all; tables and series of pandas are matched by name. A row of NaN says that nothing is predicted. What it may
        look at is the target's `training`, `perturbed_mean` and `control_mean`; some diagnostic predictors look at the
        truth itself.
    label : str
        For figures and tables (default: the name in words).
    seed : int or None
        Of a model, of which there may be several under one name.
    half : bool
        Whether it learns from one half of each perturbation's cells, the target's `duplicate`.
    uninformative : bool
        Whether it tells nothing about any one perturbation: the best such baseline is the zero of the calibrated scale.

    Examples
    --------
    >>> nothing = Predictor("zero", lambda target: np.zeros(len(target.genes)))
    """

    name: str
    function: Callable[[Target], npt.ArrayLike]
    label: str = ""
    seed: int | None = None
    half: bool = False
    uninformative: bool = False

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise InputError(f"predictor {self.name!r}: {self.function!r} is no function of a target")
        if not self.label:
            object.__setattr__(self, "label", self.name.replace("_", " "))

    def predict(self, target: Target) -> FloatArray:
        """Prediction (labels, genes); a row of NaN for each perturbation that is not predicted.

        Raises
        ------
        InputError
            The function returns an array of another shape, a table of other perturbations or genes, infinite values, or
            NaN for some genes only.
        """
        shape = target.mean.shape
        try:
            given = self.function(target)
        except Exception as error:
            error.add_note(f"in the predictor {self.name!r}")
            raise
        what = f"prediction of {self.name!r}"
        values = as_array(by_name(given, target, what), what)
        if values.shape not in (shape, shape[1:]):
            raise InputError(
                f"{self.name!r} predicts an array of shape {values.shape}; expected {shape} (perturbations, genes), or "
                f"{shape[1:]} for the same prediction of all perturbations"
            )
        missing = np.isnan(values)
        partial = np.flatnonzero(np.atleast_1d(missing.any(axis=-1) & ~missing.all(axis=-1)))
        if len(partial):
            raise InputError(
                f"{self.name!r} predicts NaN for {int(np.atleast_2d(missing)[partial[0]].sum())} of {shape[1]} genes "
                f"of {target.labels[partial[0]]!r} ({len(partial)} such perturbation(s)); predict all genes or none"
            )
        return read_only(np.broadcast_to(values, shape))


def by_name(given: Any, target: Target, what: str) -> Any:
    """Tables (perturbations x genes) and series (genes) of pandas as arrays in a target's order; all else as it is.

    A row is NaN for a perturbation that a table does not have.

    Raises
    ------
    InputError
        Names occur twice, genes are lacking, or there is none of the perturbations.
    """
    if not isinstance(given, pd.DataFrame | pd.Series):
        return given
    genes = given.columns if isinstance(given, pd.DataFrame) else given.index
    values = as_array(given, what)
    if isinstance(given, pd.DataFrame):
        control = CONTROL if target.training is None else target.training.control
        labels = label_index(given.index, what, control)
        rows = labels.get_indexer(target.labels)
        if (rows < 0).all():
            raise InputError(
                f"{what} is of none of the {len(target.labels)} perturbations that are scored "
                f"({listed(target.labels, 3)}); it is of {listed(labels, 3)}"
            )
        values = np.where(rows[:, None] < 0, np.nan, values[rows])
    unique_names(genes, "gene", what)
    columns = genes.get_indexer(target.genes)
    missing = target.genes[columns < 0]
    if len(missing):
        raise InputError(
            f"{what} lacks {len(missing)} of the truth's {len(target.genes)} genes ({listed(missing, 3)}); it has "
            f"{len(genes)} ({listed(genes, 3)})"
        )
    return np.take(values, columns, axis=-1)


def control_mean(target: Target) -> FloatArray:
    """Predict mu_c for every perturbation (genes,): nothing changes; NaN without control cells."""
    return target.control_mean if target.has_control else np.full(len(target.genes), np.nan)


def perturbed_mean(target: Target) -> FloatArray:
    """Predict mu_all for every perturbation (genes,): all perturbations do the same."""
    return target.perturbed_mean


def additive(target: Target | PerturbationStatistics) -> FloatArray:
    """Predict a combination by adding the effects of its parts, measured from control.

    ``mu_c + sum over parts s of (mu_s - mu_c)``.

    Parameters
    ----------
    target : Target, or PerturbationStatistics
        Of a target, parts are looked up among its training perturbations.

    Returns
    -------
    float64 array (labels, genes)
        NaN for single perturbations, and for combinations of which a part was not measured alone.
    """
    known = target if isinstance(target, PerturbationStatistics) else target.training
    prediction = np.full((len(target.labels), len(target.genes)), np.nan)
    if known is None or not known.n_control:
        return prediction
    for row, label in enumerate(target.labels):
        positions = known.labels.get_indexer(pd.Index(parts(label)))
        if len(positions) > 1 and (positions >= 0).all():
            effects = known.mean[positions] - known.control_mean
            prediction[row] = known.control_mean + effects.sum(axis=0)
    return prediction


def _duplicate(target: Target) -> FloatArray:
    """Mean of other cells of the same perturbations (labels, genes); NaN where the target has none."""
    return np.full(target.mean.shape, np.nan) if target.duplicate is None else target.duplicate


@dataclass(frozen=True)
class _Shrunken:
    alpha: float

    def __call__(self, target: Target) -> FloatArray:
        # Exact at both ends.
        return (1.0 - self.alpha) * target.mean + self.alpha * target.perturbed_mean


def dial(alpha: float) -> Predictor:
    """Truth shrunken towards mu_all: from a perfect prediction (0) to complete mode collapse (1).

    ``(1 - alpha) mu_p + alpha mu_all``

    Raises
    ------
    InputError
        `alpha` is outside [0, 1].

    Examples
    --------
    >>> dial(0.9).name
    'dial_0.9'
    """
    if not 0.0 <= alpha <= 1.0:
        raise InputError(f"alpha is {alpha}; it must be in [0, 1]")
    return Predictor(f"{_DIAL}{alpha:g}", _Shrunken(float(alpha)))


def dial_alpha(name: str) -> float:
    """Alpha of the predictor `name` of a table; NaN for one that is no setting of the dial.

    Examples
    --------
    >>> dial_alpha("dial_0.25"), dial_alpha("perturbed_mean")
    (0.25, nan)
    """
    return float(name.removeprefix(_DIAL)) if name.startswith(_DIAL) else np.nan


def top_degs_right(n: int) -> Predictor:
    """mu_all in which each perturbation's `n` genes of largest absolute t are right: mu_all* of section 4.3."""
    return Predictor(
        "perturbed_mean_star", lambda target: np.where(target.degs.top(n), target.mean, target.perturbed_mean)
    )


BASELINES: Registry[Predictor] = Registry("baseline", Predictor)
BASELINES.register("control_mean", control_mean, uninformative=True)
BASELINES.register("perturbed_mean", perturbed_mean, uninformative=True)
BASELINES.register("additive", additive)
BASELINES.register(DUPLICATE, _duplicate, half=True)
register = BASELINES.register
