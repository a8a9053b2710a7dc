"""Names of training losses, what they stand for, and their weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from diversity_by_design.errors import InputError, listed
from diversity_by_design.loss_names import LOSSES, loss_power

if TYPE_CHECKING:
    import numpy.typing as npt

    from diversity_by_design.arrays import FloatArray
    from diversity_by_design.degs import DegScores
    from diversity_by_design.models.losses import GEARSLoss, WMSELoss
    from diversity_by_design.statistics import PerturbationStatistics

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
    """A training loss by name; made by `LossChoice.parse`."""

    base: str  # one of `LOSSES`
    power: float = 1.0  # what weights are raised to, see `powered`

    @property
    def name(self) -> str:
        """As in tables and on the command line; the same for every spelling of a power."""
        return self.base if self.power == 1.0 else f"{self.base}^{np.format_float_positional(self.power, trim='-')}"

    @classmethod
    def parse(cls, name: str) -> LossChoice:
        """The loss of that name.

        >>> LossChoice.parse("wmse^0.50").name
        'wmse^0.5'
        """
        base, power = loss_power(name)
        if base not in LOSSES:
            raise InputError(f"no loss called {name!r}; the losses are: {listed(ALLOWED)}")
        if power is None:
            return cls(base)
        if base not in ("wmse", "wmse_all_cells"):
            raise InputError(f"{name!r}: {base!r} has no powers; the losses are: {listed(ALLOWED)}")
        if not 0 <= power < np.inf:
            raise InputError(f"{name!r}: the power is {power}; expected a number of 0 or more, as in 'wmse^0.5'")
        return cls(base, power)


def powered(weights: npt.ArrayLike, power: float) -> FloatArray:
    """Weights (labels, genes) or (genes,) raised to a power and scaled to sum to one again, NaN where they are NaN.

    Power 0 gives equal weights, also to genes of weight zero; more than 1, more weight to fewer genes.

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

    >>> released_weights([[0.0, -1.0, 2.0, 2.0]])
    array([[ 0.  ,  6.25, 25.  , 25.  ]])
    """
    from diversity_by_design.degs import squared_scores

    squared = squared_scores(degs)
    return _RELEASED_FACTOR * squared / squared.shape[-1]


def training_weights(
    choice: LossChoice, statistics: PerturbationStatistics, training_labels: Iterable[str]
) -> FloatArray:
    """Weights (training labels + 1, genes) that a model is trained with, in the order given, which changes no weight.

    The last row is that of control cells, which have no DEGs: equal weights, 1 / genes. For "wmse" only the training
    perturbations in `statistics`, at least two, are looked at, so that no test perturbation is part of the "rest" that
    they are compared with.
    """
    from diversity_by_design.degs import deg_scores, deg_weights
    from diversity_by_design.labels import label_index

    if not choice.base.startswith("wmse"):
        raise InputError(f"the loss {choice.name!r} has no weights; those that have: {listed(ALLOWED[2:])}")
    labels = label_index(training_labels, "training labels", statistics.control)
    # Sums are rounded in the order of the labels; sorted, they are the same for every order.
    training = statistics.select(labels=sorted(labels))
    degs = deg_scores(training if choice.base == "wmse" else statistics)
    weights = released_weights(degs) if choice.base == "wmse_released" else deg_weights(degs)
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

    In `statistics`, which have control cells, nothing of test perturbations is looked at unless the choice says so.
    """
    from diversity_by_design.models.losses import GEARSLoss, WMSELoss

    statistics.require_control()
    training = statistics.select(labels=training_labels)
    labels = [*training.labels, str(statistics.control)]
    n_genes = len(statistics.genes)
    if choice.base == "gears":
        is_expressed = np.vstack([training.sum > 0, np.ones(n_genes, bool)])
        return GEARSLoss(is_expressed, statistics.control_mean, labels, direction_lambda=direction_lambda)
    if choice.base == "mse":
        return WMSELoss.mse(n_genes, labels)
    weights = training_weights(choice, statistics, training.labels)
    return WMSELoss(weights, labels, normalised=choice.base != "wmse_released")
