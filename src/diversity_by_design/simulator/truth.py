"""What a simulated data set is before any cell is drawn: its genes, their means, and which of them are affected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design.errors import InputError, whole_number
from diversity_by_design.simulator.config import SimulationConfig
from diversity_by_design.simulator.parameters import GeneParameters

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Seed = int | np.random.SeedSequence

# What each stream of random numbers of a data set is for; a stream depends on the seed and its number alone.
_GENES, _EFFECTS, _CONTROL_FACTORS, _FACTORS, CONTROL_COUNTS, COUNTS = range(6)


class Effects(NamedTuple):
    """Which genes each perturbation affects (equation 4), as pairs of a perturbation and a gene.

    A tuple, which compiled kernels take as one argument.
    """

    starts: Integers  # (perturbations + 1,): elements starts[p] to starts[p + 1] of the others are those of p
    genes: Integers  # (pairs,): positions, ascending within a perturbation
    upward: npt.NDArray[np.bool_]  # (pairs,): whether the gene's mean is multiplied by epsilon, or else divided

    @property
    def n_affected(self) -> Integers:
        """Number of affected genes (perturbations,)."""
        return np.diff(self.starts)

    def directions(self, n_genes: int) -> npt.NDArray[np.int8]:
        """Matrix (perturbations, genes): 1 where a gene goes up, -1 where it goes down, else 0."""
        matrix = np.zeros((len(self.starts) - 1, n_genes), np.int8)
        rows = np.repeat(np.arange(len(matrix)), self.n_affected)
        matrix[rows, self.genes] = np.where(self.upward, 1, -1)
        return matrix


@dataclass(frozen=True, eq=False)
class Truth:
    """A simulated data set before any cell is drawn; means are counts of a cell at library factor 1."""

    config: SimulationConfig
    genes: pd.Index
    mean_control: Floats  # (g,): mu_c
    mean_base: Floats  # (g,): mu_c + beta (mu_all - mu_c), at least 0: of perturbed cells before effects
    dispersion: Floats  # (g,): 1 / theta; 0 for a gene without overdispersion
    effects: Effects
    control_factors: Floats  # (n_0,): library factors of the control cells (equation 5)
    factors: Floats  # (k * n_p,): those of the perturbed cells, by perturbation
    n_clipped: int  # genes whose base mean would be negative, and is 0 instead


def child(seed: Seed, *key: int) -> np.random.SeedSequence:
    """Seed that depends on `seed` and the numbers of `key` alone (unlike `spawn`, which counts its calls)."""
    root = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(whole_number(seed, "seed", 0))
    return np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, *key))


def draw_truth(config: SimulationConfig, parameters: GeneParameters, seed: Seed) -> Truth:
    """Draw the genes, effects and library factors of a data set (equations 2 to 5)."""
    for given, kind in ((config, SimulationConfig), (parameters, GeneParameters)):
        if not isinstance(given, kind):
            raise InputError(f"expected a {kind.__name__}, got a {type(given).__name__}")
    rng = {number: np.random.default_rng(child(seed, number)) for number in range(CONTROL_COUNTS)}
    chosen = parameters.draw(config.g, rng[_GENES])
    mean_control = parameters.mu_control[chosen]
    shifted = mean_control + config.beta * (parameters.mu_perturbed[chosen] - mean_control)
    with np.errstate(over="ignore"):  # what overflows is refused below
        dispersion = 1.0 / parameters.theta[chosen]
    truth = Truth(
        config=config,
        genes=parameters.genes[chosen],
        mean_control=mean_control,
        mean_base=np.maximum(shifted, 0.0),
        dispersion=dispersion,
        effects=_draw_effects(config, rng[_EFFECTS]),
        control_factors=rng[_CONTROL_FACTORS].lognormal(config.mu_l, config.sigma_l, config.n_0),
        factors=rng[_FACTORS].lognormal(config.mu_l, config.sigma_l, config.k * config.n_p),
        n_clipped=int((shifted < 0.0).sum()),
    )
    _check_counts(truth)
    return truth


def _check_counts(truth: Truth) -> None:
    """Raise InputError if counts might not fit into 32 bits; chances of about e**-50 are none."""
    factor = max(truth.control_factors.max(), truth.factors.max())
    means = factor * np.maximum(truth.mean_control, truth.config.epsilon * truth.mean_base)
    with np.errstate(over="ignore"):
        spread = 10.0 * np.sqrt(means + truth.dispersion * means**2)
        largest = means * (1.0 + 50.0 * truth.dispersion) + spread
    gene = int(np.argmax(largest))
    if not largest[gene] < 2.0**32:
        raise InputError(
            f"gene {truth.genes[gene]}: mean {means[gene]:.3g} with dispersion {truth.dispersion[gene]:.3g} "
            f"may give counts of more than 32 bits; lower mu_l (it is {truth.config.mu_l}, and cells have up to "
            f"{factor:.3g} times the counts of the gene parameters) or leave the gene out of the gene parameters"
        )


def _draw_effects(config: SimulationConfig, rng: np.random.Generator) -> Effects:
    pairs = _successes(config.k * config.g, config.delta, rng)
    starts = np.searchsorted(pairs, config.g * np.arange(config.k + 1))
    return Effects(starts, pairs % config.g, rng.random(len(pairs)) < 0.5)


def _successes(n: int, probability: float, rng: np.random.Generator) -> Integers:
    """Return which of `n` independent trials succeed, drawn by the gaps between successes."""
    if probability == 0.0:
        return np.empty(0, np.int64)
    found, last = [], -1
    while last < n:
        gaps = rng.geometric(probability, size=int(1.1 * (n - last) * probability) + 16)
        positions = last + np.cumsum(np.minimum(gaps, n + 1))
        found.append(positions)
        last = positions[-1]
    positions = np.concatenate(found)
    return positions[positions < n]
