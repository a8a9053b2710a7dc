"""Which data sets a sweep simulates: the ranges of table 1, and configurations drawn from them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from diversity_by_design.errors import InputError
from diversity_by_design.simulator.config import SIGMA_L, SimulationConfig

# In a row, after which a bound on the size is taken for a mistake.
MAX_REDRAWN = 100_000


@dataclass(frozen=True)
class Range:
    """Values that a parameter takes, equally likely on a scale.

    Attributes
    ----------
    low, high : float
        Least and largest value, both included.
    scale : str
        ``"linear"``, or ``"log"``: the logarithm is uniform.
    integer : bool
        Whether values are whole numbers. On a log scale they are what a value is rounded to that lies between
        ``low - 1/2`` and ``high + 1/2``, so that both ends are as likely as their neighbours.

    Raises
    ------
    InputError
        `low` is above `high`, an end is not finite, is not whole though `integer`, or is not positive though on a log
        scale.

    Examples
    --------
    >>> sizes = Range(10, 1000, "log", integer=True)
    >>> sizes.at(0.0), sizes.at(0.5), sizes.at(0.999999)
    (10, 97, 1000)
    """

    low: float
    high: float
    scale: str = "linear"
    integer: bool = False

    def __post_init__(self) -> None:
        if self.scale not in ("linear", "log"):
            raise InputError(f"scale is {self.scale!r}; it must be 'linear' or 'log'")
        for end in (self.low, self.high):
            if isinstance(end, bool) or not isinstance(end, int | float | np.number) or not math.isfinite(end):
                raise InputError(f"an end of the range is {end!r}; it must be a finite number")
            if self.integer and end != int(end):
                raise InputError(f"an end of the range is {end}; it must be a whole number")
        if self.low > self.high:
            raise InputError(f"the least value, {self.low:g}, is above the largest, {self.high:g}")
        if self.scale == "log" and self.low <= 0:
            raise InputError(f"the least value is {self.low:g}; on a log scale it must be above 0")
        kind = int if self.integer else float
        object.__setattr__(self, "low", kind(self.low))
        object.__setattr__(self, "high", kind(self.high))

    def at(self, quantile: float) -> float:
        """Value, an int if `integer`, below which the fraction `quantile`, in [0, 1), of the values lies."""
        # Whole numbers own the interval that is rounded to them.
        low, high = (self.low - 0.5, self.high + 0.5) if self.integer else (self.low, self.high)
        if self.scale == "log":
            value = math.exp(math.log(low) + quantile * (math.log(high) - math.log(low)))
        else:
            value = low + quantile * (high - low)
        if self.integer:
            value = math.floor(value + 0.5)
        # Rounding errors must not lead outside.
        return min(max(value, self.low), self.high)


@dataclass(frozen=True, kw_only=True)
class SweepRanges:
    """Ranges of the eight parameters of a sweep; the defaults are those of table 1.

    Each range is a `Range`, or a pair ``(low, high)`` on the default's scale. Table 1 calls the scale of epsilon
    logarithmic; the paper's released scripts draw it on a linear one, which is the default here. For the table's, give
    ``epsilon=Range(1.2, 5, "log")``.

    Attributes
    ----------
    g, n_0, n_p, k, beta, delta, epsilon, mu_l : Range
        See `SimulationConfig`.
    sigma_l : float
        The same for all data sets.

    Raises
    ------
    InputError
        A range is none, or holds values that a `SimulationConfig` refuses; the message names the parameter.

    Examples
    --------
    >>> ranges = SweepRanges(k=(10, 200), n_p=(10, 64), g=(1000, 3000))
    >>> ranges.k
    Range(low=10, high=200, scale='log', integer=True)
    >>> config, n_redrawn = ranges.draw(seed=42, dataset_index=0)
    >>> config.k, n_redrawn
    (11, 0)
    """

    g: Range = Range(1000, 8192, integer=True)
    n_0: Range = Range(10, 8192, "log", integer=True)
    n_p: Range = Range(10, 256, "log", integer=True)
    k: Range = Range(10, 2000, "log", integer=True)
    beta: Range = Range(0, 2)
    delta: Range = Range(0.001, 0.1)
    epsilon: Range = Range(1.2, 5)
    mu_l: Range = Range(0.2, 5, "log")
    sigma_l: float = SIGMA_L

    def __post_init__(self) -> None:
        for name, default in _TABLE_1.items():
            object.__setattr__(self, name, _as_range(name, getattr(self, name), default))
        SimulationConfig(sigma_l=self.sigma_l)

    def replace(self, **ranges: Any) -> SweepRanges:
        """Ranges with some of them replaced; a pair is on the scale of the range that it replaces.

        Examples
        --------
        >>> SweepRanges().replace(n_0=(10, 500)).n_0
        Range(low=10, high=500, scale='log', integer=True)
        """
        for name in ranges.keys() & _TABLE_1.keys():
            ranges[name] = _as_range(name, ranges[name], getattr(self, name))
        return dataclasses.replace(self, **ranges)

    def draw(self, seed: int, dataset_index: int, max_entries: int | None = None) -> tuple[SimulationConfig, int]:
        """Configuration of one data set of a sweep, which depends on the seed and its position alone.

        A configuration of more than `max_entries` entries (cells x genes) is drawn anew as a whole: the parameters then
        follow their joint distribution among the data sets within the bound. Second comes how many were too large.
        """
        least = self._configuration({name: getattr(self, name).low for name in _TABLE_1}).n_entries
        if max_entries is not None and max_entries < least:
            raise InputError(
                f"max_entries is {max_entries:,}, but the smallest data set of these ranges has {least:,} entries "
                "(cells x genes); give at least that, or lower the least g, n_0, n_p or k"
            )
        from diversity_by_design.simulator.truth import child

        rng = np.random.default_rng(child(seed, dataset_index, 0))
        for n_redrawn in range(MAX_REDRAWN):
            quantiles = rng.random(len(_TABLE_1))
            config = self._configuration(
                {name: getattr(self, name).at(quantile) for name, quantile in zip(_TABLE_1, quantiles, strict=True)}
            )
            if max_entries is None or config.n_entries <= max_entries:
                return config, n_redrawn
        raise InputError(
            f"max_entries is {max_entries:,}, and {MAX_REDRAWN:,} data sets in a row had more entries (the smallest "
            f"possible has {least:,}); give a larger bound, or smaller ranges of g, n_0, n_p and k"
        )

    def _configuration(self, values: Mapping[str, Any]) -> SimulationConfig:
        return SimulationConfig(**values, sigma_l=self.sigma_l)


_TABLE_1: dict[str, Any] = {
    field.name: field.default for field in dataclasses.fields(SweepRanges) if field.name != "sigma_l"
}


def simulation_seed(seed: int, dataset_index: int) -> np.random.SeedSequence:
    """Seed of the simulation of one data set of a sweep; independent of what its configuration was drawn with."""
    from diversity_by_design.simulator.truth import child

    return child(seed, dataset_index, 1)


def _as_range(name: str, given: Any, default: Range) -> Range:
    """Range from what a user gave for the parameter `name`."""
    try:
        if not isinstance(given, Range):
            low, high = given
            given = dataclasses.replace(default, low=low, high=high)
        # A number of things stays whole, whatever else its range says.
        chosen = dataclasses.replace(given, integer=default.integer)
        # What a configuration refuses lies beyond one of the two ends.
        for end in (chosen.low, chosen.high):
            SimulationConfig(**{name: end})
        return chosen
    except TypeError:
        raise InputError(f"the range of {name} is {given!r}; it must be a pair (low, high) or a Range") from None
    except ValueError as error:
        raise InputError(f"the range of {name} cannot be used: {error}") from error
