"""Names of training losses, what they stand for, and their weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from diversity_by_design.degs import DegScores, deg_scores
from diversity_by_design.errors import InputError, listed
from diversity_by_design.labels import label_index
from diversity_by_design.statistics import FloatArray, PerturbationStatistics
from diversity_by_design.weights import deg_weights, squared_scores

if TYPE_CHECKING:
    from diversity_by_design.models.losses import GEARSLoss, WMSELoss

ALLOWED = (
    "gears (GEARS' own)",
    "mse",
    "wmse (weights from training perturbations)",
    "wmse_all_cells (weights from all cells, those of test perturbations included)",
    "wmse_released (the paper's scripts: from all cells, not scaled to sum to one)",
    "wmse^POWER and wmse_all_cells^POWER (weights raised to a power of 0 or more and scaled to sum to one again)",
)

# What the paper's scripts multiply squared scores by.
_RELEASED_FACTOR = 100.0


@dataclass(frozen=True)
class LossChoice:
    """A training loss by name; made by `LossChoice.parse`.

    Attributes
    ----------
    name : str
        As in tables and on the command line; the same for every spelling of a power.
    kind : "gears", "mse" or "wmse"
    weights_from : "training", "all_cells" or None
        Which perturbations the DEG scores are computed among; None for a loss without weights.
    released : bool
        Whether weights follow the paper's scripts, see `released_weights`.
    power : float
        What weights are raised to, see `powered`.
    """

    name: str
    kind: Literal["gears", "mse", "wmse"]
    weights_from: Literal["training", "all_cells"] | None = None
    released: bool = False
    power: float = 1.0

    @classmethod
    def parse(cls, name: str) -> LossChoice:
        """The loss of that name.

        Raises
        ------
        InputError
            There is none; the message lists those that there are.

        Examples
        --------
        >>> LossChoice.parse("wmse^0.50")
        LossChoice(name='wmse^0.5', kind='wmse', weights_from='training', released=False, power=0.5)
        """
        base, caret, exponent = name.partition("^")
        choice = _BY_NAME.get(base)
        if choice is None:
            raise InputError(f"no loss called {name!r}; the losses are: {listed(ALLOWED)}")
        if not caret:
            return choice
        if choice.kind != "wmse":
            raise InputError(
                f"{name!r}: the loss {base!r} has no weights to raise to a power; the losses are: {listed(ALLOWED)}"
            )
        if choice.released:
            raise InputError(
                f"{name!r}: scaled to sum to one again, powers of the released weights are those of "
                f"'wmse_all_cells^{exponent}'; use that name"
            )
        power = _power(exponent, name)
        if power == 1.0:
            return choice
        shown = np.format_float_positional(power, trim="-")
        return cls(f"{base}^{shown}", choice.kind, choice.weights_from, power=power)


_BY_NAME = {
    choice.name: choice
    for choice in (
        LossChoice("gears", "gears"),
        LossChoice("mse", "mse"),
        LossChoice("wmse", "wmse", "training"),
        LossChoice("wmse_all_cells", "wmse", "all_cells"),
        LossChoice("wmse_released", "wmse", "all_cells", released=True),
    )
}


def powered(weights: npt.ArrayLike, power: float) -> FloatArray:
    """Weights raised to a power and scaled to sum to one again.

    Parameters
    ----------
    weights : array (labels, genes) or (genes,)
    power : float
        0: equal weights, also for genes of weight zero; 1: the weights themselves; more: more weight for fewer genes.

    Returns
    -------
    float64 array, of the shape of `weights`
        A row with NaN stays undefined, whatever the power.

    Examples
    --------
    >>> powered([0.0, 0.2, 0.8], 0.5)
    array([0.        , 0.33333333, 0.66666667])
    >>> powered([0.0, 0.2, 0.3, 0.5], 0)
    array([0.25, 0.25, 0.25, 0.25])
    """
    weights = np.asarray(weights, dtype=float)
    # Relative to the largest, a high power of small weights does not vanish altogether.
    raised = (weights / weights.max(axis=-1, keepdims=True)) ** power
    # To NumPy, NaN to the power of 0 is 1.
    raised[np.isnan(weights)] = np.nan
    return raised / raised.sum(axis=-1, keepdims=True)


def released_weights(degs: DegScores | npt.ArrayLike) -> FloatArray:
    """Weights as the paper's scripts train with: 100 x squared scores / number of genes.

    They do not sum to one, as equation 8 has it: a perturbation counts the more, the more genes have a score near its
    largest.

    Parameters
    ----------
    degs : as for `diversity_by_design.deg_weights`

    Examples
    --------
    >>> released_weights([[0.0, -1.0, 2.0, 2.0]])
    array([[ 0.  ,  6.25, 25.  , 25.  ]])
    """
    squared = squared_scores(degs)
    return _RELEASED_FACTOR * squared / squared.shape[-1]


def training_weights(
    choice: LossChoice, statistics: PerturbationStatistics, training_labels: Iterable[str]
) -> FloatArray:
    """Weights that a model is trained with.

    Parameters
    ----------
    choice : LossChoice
        One with weights.
    statistics : PerturbationStatistics
        Of all cells. With ``weights_from="training"`` only the training perturbations are looked at, so that no test
        perturbation is part of the "rest" that they are compared with.
    training_labels : names
        Training perturbations, at least two for scores against the rest.

    Returns
    -------
    float64 array (training labels + 1, genes)
        In the order given, whose choice changes no weight. The last row is that of control cells, which have no DEGs:
        equal weights, 1 / genes.

    Raises
    ------
    InputError
        A perturbation is not in `statistics`. The loss has no weights, those of a perturbation are undefined, a label
        occurs twice, or too few perturbations or cells are left for scores.
    """
    if choice.weights_from is None:
        raise InputError(f"the loss {choice.name!r} has no weights; those that have: {listed(ALLOWED[2:])}")
    labels = label_index(training_labels, "training labels")
    # Sums are rounded in the order of the labels; sorted, they are the same for every order.
    training = statistics.select(labels=sorted(labels))
    degs = deg_scores(training if choice.weights_from == "training" else statistics)
    weights = released_weights(degs) if choice.released else deg_weights(degs)
    if choice.power != 1.0:
        weights = powered(weights, choice.power)
    weights = weights[degs.labels.get_indexer(labels)]
    undefined = labels[np.flatnonzero(np.isnan(weights).any(axis=1))]
    if len(undefined):
        raise InputError(
            f"the weights of {len(undefined)} training perturbation(s) are undefined, since all their DEG scores are "
            f"equal: {listed(undefined)}; leave them out of the training perturbations, or train with the loss 'mse'"
        )
    n_genes = len(statistics.genes)
    return np.vstack([weights, np.full(n_genes, 1.0 / n_genes)])


def build_loss(
    choice: LossChoice,
    statistics: PerturbationStatistics,
    training_labels: Iterable[str],
    *,
    direction_lambda: float = 0.1,
) -> WMSELoss | GEARSLoss:
    """The loss as a torch module, whose labels are the training perturbations, in the order given, and control.

    Parameters
    ----------
    choice : LossChoice
    statistics : PerturbationStatistics
        Of all cells, control among them. Nothing of test perturbations is looked at unless the choice says so.
    training_labels : names
    direction_lambda : float
        Of `diversity_by_design.models.losses.GEARSLoss`.

    Raises
    ------
    InputError
        As `training_weights`; there are no control cells.
    """
    from diversity_by_design.models.losses import GEARSLoss, WMSELoss

    statistics.require_control()
    index = label_index(training_labels, "training labels")
    training = statistics.select(labels=index)
    labels = [*index, str(statistics.control)]
    n_genes = len(statistics.genes)
    if choice.kind == "gears":
        is_expressed = np.vstack([training.sum > 0, np.ones(n_genes, bool)])
        return GEARSLoss(is_expressed, statistics.control_mean, labels, direction_lambda=direction_lambda)
    if choice.kind == "mse":
        return WMSELoss.mse(n_genes, labels)
    weights = training_weights(choice, statistics, index)
    return WMSELoss(weights, labels, normalised=not choice.released)


def _power(exponent: str, name: str) -> float:
    try:
        power = float(exponent)
    except ValueError:
        power = np.nan
    if not 0 <= power < np.inf:
        raise InputError(f"{name!r}: the power is {exponent!r}; expected a number of 0 or more, as in 'wmse^0.5'")
    return power
