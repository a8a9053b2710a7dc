"""Genes of the demo data set, its modules of co-regulated genes, and what every perturbation does to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from diversity_by_design.simulator.parameters import GeneDistribution

if TYPE_CHECKING:
    from diversity_by_design.datasets.demo import DemoParameters

# Expected counts per cell of a silent gene: few enough that the filter for genes seen in 3 cells removes it.
_SILENT_MEAN = 1e-4
# Share of expressed genes, the highest, that no perturbation moves: a strong change of one of them would, through
# the common total, change the relative expression of every other gene.
HOUSEKEEPING_SHARE = 0.05
# First shape parameter of the beta distribution of strengths: near 1, so that weak ones are common.
_STRENGTH_ALPHA = 1.2
# Share of a module's genes that move against the others (repressed where they are activated).
_OPPOSED_SHARE = 0.2

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DemoEffects:
    """What the perturbations of the demo data set do."""

    labels: list[str]  # all perturbations: singles, doubles, rare singles
    log_fold_changes: Floats  # (labels, genes)
    modules: Floats  # (modules, genes): loadings, about 1 for most members, about -1 for the opposed ones, 0 elsewhere
    # Of every targeted gene: module -> log fold change of its typical member. Empty for those without effect.
    moves: dict[str, dict[int, float]]


def draw_genes(rng: np.random.Generator, p: DemoParameters) -> pd.DataFrame:
    """Parameters of all genes, as in the result's ``var``; silent genes lie anywhere among the expressed."""
    n_all = p.n_genes + p.n_silent_genes
    expressed = rng.permutation(n_all) < p.n_genes
    # Means are made relative below, so that their centre and their largest are of no concern.
    distribution = GeneDistribution(
        log_mean=0.0,
        log_mean_sd=p.log_mean_sd,
        log_mean_skewness=p.log_mean_skewness,
        largest_mean=np.inf,
        log_theta_mean=p.log_theta_mean,
        log_theta_sd=p.log_theta_sd,
        log_theta_slope=p.log_theta_slope,
        log_shift_mean=0.0,
        log_shift_sd=p.shift_sd,
        log_shift_slope=p.shift_slope,
    )
    log_mean, log_theta, shift = distribution.draw(rng, expressed)
    relative = np.exp(log_mean[expressed])
    mean = np.full(n_all, _SILENT_MEAN)
    mean[expressed] = relative / relative.sum() * p.counts_per_cell
    return pd.DataFrame(
        {"control_mean": mean, "theta": np.exp(log_theta), "shift": shift, "expressed": expressed},
        index=pd.Index([f"GENE{number:04d}" for number in range(1, n_all + 1)]),
    )


def _responsive(genes: pd.DataFrame) -> npt.NDArray[np.intp]:
    """Positions of the genes that perturbations can target and move: neither silent nor housekeeping."""
    mean, expressed = genes["control_mean"].to_numpy(), genes["expressed"].to_numpy()
    return np.flatnonzero(expressed & (mean <= np.quantile(mean[expressed], 1 - HOUSEKEEPING_SHARE)))


def draw_effects(rng: np.random.Generator, p: DemoParameters, table: pd.DataFrame) -> DemoEffects:
    """Draw the effects of all perturbations on the genes of `draw_genes`."""
    genes, responsive = table.index, _responsive(table)
    modules = _draw_modules(rng, p, len(genes), responsive)
    targets = rng.choice(responsive, p.n_singles + p.n_rare, replace=False)
    beta = _STRENGTH_ALPHA * (p.strength_max / p.strength_mean - 1)
    # One draw from each of as many equal parts of the distribution, so that every seed has weak and strong ones.
    parts = (rng.permutation(len(targets)) + rng.random(len(targets))) / len(targets)
    strengths = p.strength_max * special.betaincinv(_STRENGTH_ALPHA, beta, parts)
    strengths[rng.permutation(p.n_singles)[: round(p.null_share * p.n_singles)]] = 0.0
    names = [str(genes[target]) for target in targets]
    moves: dict[str, dict[int, float]] = {name: {} for name in names}
    singles = np.zeros((len(targets), len(genes)))
    for effect, name, target, strength in zip(singles, names, targets, strengths, strict=True):
        if strength == 0:
            continue
        moved = rng.choice(p.n_modules, size=min(int(rng.integers(1, 4)), p.n_modules), replace=False)
        # The first module moves by the full strength, the others by less; each up or down.
        share = np.concatenate([[1.0], rng.uniform(0.3, 0.8, size=len(moved) - 1)])
        change = strength * share * rng.choice([-1.0, 1.0], size=len(moved))
        moves[name] = dict(zip(moved.tolist(), change.tolist(), strict=True))
        effect += change @ modules[moved]
        effect += _private_effect(rng, p, len(genes), responsive, strength)
        effect[target] = p.target_log_fold_change * rng.normal(1.0, 0.2)

    first, second = np.triu_indices(p.n_singles, k=1)
    doubles = np.zeros((p.n_doubles, len(genes)))
    pairs: list[tuple[int, int]] = []
    for effect, pair in zip(doubles, rng.choice(len(first), p.n_doubles, replace=False), strict=True):
        a, b = int(first[pair]), int(second[pair])
        scale = p.interaction * (strengths[a] + strengths[b]) / 2
        effect += p.additivity * (singles[a] + singles[b])
        effect += rng.normal(0.0, scale) * modules[rng.integers(p.n_modules)]
        effect += _private_effect(rng, p, len(genes), responsive, scale)
        pairs.append((a, b))

    combined = ["+".join(sorted((names[a], names[b]))) for a, b in pairs]
    labels = [*names[: p.n_singles], *combined, *names[p.n_singles :]]
    effects = np.vstack([singles[: p.n_singles], doubles, singles[p.n_singles :]])
    return DemoEffects(labels, effects, modules, moves)


def _draw_modules(rng: np.random.Generator, p: DemoParameters, n_all: int, responsive: npt.NDArray[np.intp]) -> Floats:
    """Loadings (modules, genes): about 1 for most members, about -1 for the opposed ones, 0 elsewhere."""
    loadings = np.zeros((p.n_modules, n_all))
    for module in loadings:
        size = rng.integers(p.smallest_module, p.largest_module + 1)
        sign = np.where(rng.random(size) < _OPPOSED_SHARE, -1.0, 1.0)
        module[rng.choice(responsive, size, replace=False)] = sign * rng.gamma(8.0, 1 / 8, size=size)
    return loadings


def _private_effect(
    rng: np.random.Generator, p: DemoParameters, n_all: int, responsive: npt.NDArray[np.intp], sd: float
) -> Floats:
    """Log fold changes (genes) of a few random genes, 0 for the others."""
    effect = np.zeros(n_all)
    effect[rng.choice(responsive, p.private_genes, replace=False)] = rng.normal(0.0, sd, size=p.private_genes)
    return effect
