"""Predictors for simulated data sets, and what they may know: from mean baselines to the truth itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from diversity_by_design import baselines
from diversity_by_design.degs import DegScores, deg_scores
from diversity_by_design.errors import InputError
from diversity_by_design.simulator.config import SimulationConfig
from diversity_by_design.simulator.truth import Effects
from diversity_by_design.statistics import FloatArray, PerturbationStatistics
from diversity_by_design.weights import deg_weights

Against = Literal["all_cells", "second_half"]

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
_DIAL = "dial_"


@dataclass(frozen=True, eq=False)
class Context:
    """What metrics and predictors may know of a simulated data set.

    The true mean of a perturbation is that of all its observed cells, as everywhere in this library, not the mean that
    they were drawn from. Arrays cannot be written to.

    Attributes
    ----------
    config : SimulationConfig
    statistics : PerturbationStatistics
        Of all cells.
    first_half, second_half : float64 (perturbations, genes)
        Mean expression of the first and the second half of each perturbation's cells.
    effects : Effects
        Genes that the simulation let each perturbation affect.
    seed : SeedSequence
        Of the data set, for metrics and predictors that draw random numbers.
    """

    config: SimulationConfig
    statistics: PerturbationStatistics
    first_half: FloatArray
    second_half: FloatArray
    effects: Effects
    seed: np.random.SeedSequence

    @property
    def truth(self) -> FloatArray:
        """Mean expression of all cells of each perturbation, mu_p (perturbations, genes)."""
        return read_only(self.statistics.mean)

    @property
    def perturbed_mean(self) -> FloatArray:
        """Mean of all perturbed cells, mu_all (genes,)."""
        return read_only(self.statistics.perturbed_mean)

    @property
    def control_mean(self) -> FloatArray:
        """Mean of control cells, mu_c (genes,)."""
        return read_only(self.statistics.control_mean)

    @cached_property
    def degs(self) -> DegScores:
        """Scores of all cells, against the rest."""
        return deg_scores(self.statistics, workers=1)

    @property
    def is_deg(self) -> npt.NDArray[np.bool_]:
        """Whether a gene is differentially expressed (perturbations, genes)."""
        return read_only(self.degs.is_deg)

    @cached_property
    def weights(self) -> FloatArray:
        """Weights of genes from these scores (perturbations, genes), rows summing to one; see `deg_weights`."""
        return read_only(deg_weights(self.degs))

    @cached_property
    def affected(self) -> npt.NDArray[np.bool_]:
        """Whether the simulation let the perturbation affect the gene (perturbations, genes)."""
        return read_only(self.effects.directions(self.config.g) != 0)


@dataclass(frozen=True)
class Predictor:
    """A way to predict the mean expression of every perturbation of a simulated data set.

    Attributes
    ----------
    name : str
    function : callable
        From a `Context` to an array (perturbations, genes), or (genes,) for the same prediction of all. A row of NaN
        says that nothing is predicted. Random numbers must come from ``context.seed``.
    against : "all_cells" or "second_half"
        The cells whose mean is the truth. A predictor that learns from ``context.first_half`` should be measured
        against the second.

    Raises
    ------
    InputError
        `against` is neither; or the name is that of another dial setting. `function` cannot be called.

    Examples
    --------
    >>> nothing = Predictor("zero", lambda context: np.zeros(context.config.g))
    """

    name: str
    function: Callable[[Context], npt.ArrayLike]
    against: Against = "all_cells"

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise InputError(f"predictor {self.name!r}: {self.function!r} is no function of a context")
        if self.against not in get_args(Against):
            raise InputError(
                f"predictor {self.name!r}: against is {self.against!r}; it must be 'all_cells' or 'second_half'"
            )
        if self.name.startswith(_DIAL) and not isinstance(self.function, _Shrunken):
            raise InputError(f"predictor {self.name!r}: names with {_DIAL!r} are for dial(alpha); choose another")

    def predict(self, context: Context) -> FloatArray:
        """Prediction (perturbations, genes).

        Raises
        ------
        InputError
            The function returns an array of another shape.
        """
        shape = context.truth.shape
        values = np.asarray(self.function(context), dtype=float)
        if values.shape not in (shape, shape[1:]):
            raise InputError(
                f"it returned shape {values.shape}; expected {shape} (perturbations, genes), or {shape[1:]} for the "
                "same prediction of all perturbations"
            )
        return read_only(np.broadcast_to(values, shape))

    def target(self, context: Context) -> FloatArray:
        """Truth that the prediction is measured against (perturbations, genes)."""
        return context.truth if self.against == "all_cells" else read_only(context.second_half)


@dataclass(frozen=True)
class _Shrunken:
    alpha: float

    def __call__(self, context: Context) -> FloatArray:
        # Exact at both ends.
        return (1.0 - self.alpha) * context.truth + self.alpha * context.perturbed_mean


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


def read_only(array: npt.NDArray) -> npt.NDArray:
    """View of an array through which it cannot be changed."""
    view = array.view()
    view.flags.writeable = False
    return view


def _perturbed_mean(context: Context) -> FloatArray:
    return baselines.perturbed_mean(context.statistics)


def _control_mean(context: Context) -> FloatArray:
    return baselines.control_mean(context.statistics)


def _first_half(context: Context) -> FloatArray:
    return context.first_half


PREDICTORS: Mapping[str, Predictor] = MappingProxyType(
    {
        predictor.name: predictor
        for predictor in (
            Predictor("control_mean", _control_mean),
            Predictor("perturbed_mean", _perturbed_mean),
            Predictor("technical_duplicate", _first_half, against="second_half"),
            *map(dial, ALPHAS),
        )
    }
)
