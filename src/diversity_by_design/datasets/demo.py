"""A purely synthetic Perturb-seq data set, made in seconds from a few stated parameters.

It stands in where nothing can be downloaded. No cell, gene or effect in it was measured; only the shapes of the
distributions (`DemoParameters` says which) follow real data. Counts of gene i in cell j of perturbation p are

    X_ij ~ NegativeBinomial(mean = l_j * rho_ip, size = theta_i),    Var X = mean + mean^2 / theta_i
    rho_ip proportional to rho_i,control * exp(shift_i + effect_ip), summing to one over genes

with l_j the log-normal library size of the cell. The shift is the same for all perturbed cells: it is the systematic
difference from control cells that reference-dependent metrics fall for. The effects of single perturbations are sums
of a few modules of co-regulated genes, which perturbations share, and of private genes; those of double perturbations
are nearly the sums of their two singles.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from diversity_by_design.datasets.demo_effects import HOUSEKEEPING_SHARE, Floats, draw_effects, draw_genes
from diversity_by_design.errors import InputError, whole_number
from diversity_by_design.labels import CONTROL

if TYPE_CHECKING:
    import anndata

DESCRIPTION = (
    "Purely synthetic: negative binomial counts drawn from the stated parameters. No cell, gene or effect was measured."
)

# Library size of a low-quality cell relative to a good one: too few counts to show 200 genes.
_LOW_QUALITY_DEPTH = 0.03
# Perturbed cells that the preparation can choose from, beyond those it keeps: at least 2, so that it has to choose.
_LEAST_SPARE_CELLS = 2
_LEAST = {
    **dict.fromkeys(("n_doubles", "n_rare", "n_low_quality_cells", "n_silent_genes", "private_genes"), 0),
    **dict.fromkeys(("library_sd", "log_theta_sd", "shift_sd", "null_share", "interaction"), 0),
    **dict.fromkeys(("n_control_cells", "n_modules", "smallest_module"), 1),
    **{"n_singles": 2, "n_genes": 2, "spare_cells": _LEAST_SPARE_CELLS, "cells_per_perturbation": 4},
}
_POSITIVE = ("counts_per_cell", "log_mean_sd", "log_mean_skewness", "strength_mean")


@dataclass(frozen=True)
class DemoParameters:
    """What the demo data set is made of.

    "K562" figures were estimated from public K562 screens (13,500 counts per cell, the 8,192 highest genes); "chosen"
    ones are set so that the number of differentially expressed genes per perturbation spreads as it does in real data
    with as many cells. Log means the natural logarithm.
    """

    # Perturbations of one gene, and of two of these genes. Chosen.
    n_singles: int = 40
    n_doubles: int = 20
    # Good cells that every single and double perturbation has at least (replogle22 is prepared with 64).
    cells_per_perturbation: int = 64
    spare_cells: int = 16  # most good cells a perturbation has beyond that; at least 2 are always there. Chosen.
    # Further single perturbations with between a quarter and half of `cells_per_perturbation`, which a preparation with
    # an equal number of cells leaves out. Chosen.
    n_rare: int = 2
    n_control_cells: int = 1_100  # good unperturbed cells. Chosen.
    # Further cells with 3 % of the usual counts, among all labels in proportion to their cells. Chosen.
    n_low_quality_cells: int = 60
    # Genes that are expressed, and further ones with 0.0001 counts per cell. Chosen.
    n_genes: int = 1_000
    n_silent_genes: int = 40
    counts_per_cell: float = 5_000.0  # mean library size (counts, or UMI, per good cell). Chosen.
    library_sd: float = 0.25  # standard deviation of the log library size (0.17 to 0.3 in K562)
    # Standard deviation and skewness over genes of the log mean expression of control cells, drawn from a shifted gamma
    # distribution (1.05 and 1.5 in K562).
    log_mean_sd: float = 1.05
    log_mean_skewness: float = 1.5
    # Log of the negative binomial size theta: mean and standard deviation over genes, and slope on the log mean (1.0,
    # 0.69 and -0.1 in K562).
    log_theta_mean: float = 1.0
    log_theta_sd: float = 0.69
    log_theta_slope: float = -0.1
    # Log fold change of all perturbed against control cells: standard deviation over genes (0.2 in K562) and slope on
    # the log mean. As expression sums to one, the slope also sets the mean over genes; this gives that of K562, 0.05.
    shift_sd: float = 0.2
    shift_slope: float = -0.02
    # Sets of co-regulated genes and their number of genes; modules overlap, being drawn independently. Chosen.
    n_modules: int = 12
    smallest_module: int = 30
    largest_module: int = 60
    null_share: float = 0.1  # share of single perturbations without any effect, not even on their target. Chosen.
    # Strength of the others: mean and upper bound of a beta distribution that reaches down to nearly none. It is the
    # absolute log fold change that a perturbation gives the typical gene of the module it moves most. Chosen.
    strength_mean: float = 0.65
    strength_max: float = 2.0
    # Genes that each perturbation moves besides modules, with a standard deviation of its strength. Chosen.
    private_genes: int = 50
    # Mean log fold change of the activated target itself (CRISPR activation), spread by a fifth. Chosen.
    target_log_fold_change: float = 1.0
    # Effect of a double perturbation relative to the sum of the effects of its singles. Chosen.
    additivity: float = 0.85
    # Standard deviation of the log fold change that a double adds to one module and to as many private genes as a
    # single has, relative to the mean strength of its singles. Chosen.
    interaction: float = 0.5

    def __post_init__(self) -> None:
        values = asdict(self)
        for name, value in values.items():
            if not np.isfinite(value):
                raise InputError(f"DemoParameters: {name} is {value}; it must be a finite number")
        pairs = self.n_singles * (self.n_singles - 1) // 2
        movable = int(self.n_genes * (1 - HOUSEKEEPING_SHARE))
        as_movable = f"at most {movable}, the genes that perturbations move ({1 - HOUSEKEEPING_SHARE:.0%} of n_genes)"
        for name, passes, right in (
            *((name, values[name] >= least, f"at least {least}") for name, least in _LEAST.items()),
            *((name, values[name] > 0, "greater than 0") for name in _POSITIVE),
            ("null_share", self.null_share <= 1, "between 0 and 1"),
            ("strength_mean", self.strength_mean < self.strength_max, f"less than strength_max ({self.strength_max})"),
            ("n_doubles", self.n_doubles <= pairs, f"at most {pairs}, the pairs of {self.n_singles} singles"),
            ("largest_module", self.largest_module >= self.smallest_module, f"at least {self.smallest_module}"),
            ("n_singles", self.n_singles + self.n_rare <= movable, f"with n_rare ({self.n_rare}) {as_movable}"),
            *((name, values[name] <= movable, as_movable) for name in ("largest_module", "private_genes")),
        ):
            if not passes:
                raise InputError(f"DemoParameters: {name} is {values[name]}; it must be {right}")


_DEFAULTS = DemoParameters()


def of_seed(path: Path, seed: int) -> Path:
    """File of the demo data set that depends on its seed; `path` is the one of the default seed, 0."""
    return path.with_name(path.name.replace(".", f"-seed{seed}.", 1)) if seed else path


def generate_demo(seed: int = 0, parameters: DemoParameters = _DEFAULTS) -> anndata.AnnData:
    """Draw the synthetic demo data set: raw counts that still need the preparation every data set gets.

    `X` (cells, genes) is CSR float32, cells in random order. `obs`: ``perturbation`` (``A``, ``A+B`` or ``control``;
    named after genes of the set) and ``ncounts``. `var`: ``control_mean`` (expected counts in a control cell),
    ``theta``, ``shift`` (log fold change of perturbed against control cells) and ``expressed`` (False for silent
    genes). ``varm["effects"]``: true log fold changes (genes, perturbations), shift excluded, before expression is
    rescaled to sum to one; ``uns["demo"]["effect_labels"]`` names its columns. ``uns["demo"]`` also holds the seed and
    the parameters, and says that the set is synthetic.
    """
    import anndata

    whole_number(seed, "seed", 0)
    gene_rng, effect_rng, cell_rng = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3))

    genes = draw_genes(gene_rng, parameters)
    drawn = draw_effects(effect_rng, parameters, genes)
    labels, effects = drawn.labels, drawn.log_fold_changes
    control_mean = genes["control_mean"].to_numpy()
    expression = np.vstack([control_mean, control_mean * np.exp(genes["shift"].to_numpy() + effects)])
    expression /= expression.sum(axis=1, keepdims=True)

    group, depth = _draw_cells(cell_rng, parameters)
    counts = _draw_counts(cell_rng, expression, genes["theta"].to_numpy(), group, depth)
    order = cell_rng.permutation(len(group))
    counts, group = counts[order], group[order]
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical.from_codes(group, categories=pd.Index([CONTROL, *labels])),
            "ncounts": np.asarray(counts.sum(axis=1)).ravel().astype(np.int64),
        },
        index=pd.Index([f"CELL{number:05d}" for number in range(1, len(group) + 1)]),
    )
    return anndata.AnnData(
        X=counts,
        obs=obs,
        var=genes,
        varm={"effects": effects.T.astype(np.float32)},
        uns={
            "demo": {
                "synthetic": True,
                "description": DESCRIPTION,
                "seed": int(seed),
                "parameters": asdict(parameters),
                "effect_labels": np.array(labels, dtype=object),
            }
        },
    )


def _draw_cells(rng: np.random.Generator, p: DemoParameters) -> tuple[npt.NDArray[np.intp], Floats]:
    """Group (0 for control, else 1 + the perturbation's row) and library size of every cell."""
    common = p.cells_per_perturbation + rng.integers(
        _LEAST_SPARE_CELLS, p.spare_cells + 1, size=p.n_singles + p.n_doubles
    )
    rare = rng.integers(p.cells_per_perturbation // 4, p.cells_per_perturbation // 2 + 1, size=p.n_rare)
    sizes = np.concatenate([[p.n_control_cells], common, rare])
    good = np.repeat(np.arange(len(sizes)), sizes)
    poor = rng.choice(good, size=p.n_low_quality_cells)
    group = np.concatenate([good, poor])
    # The mean of a log-normal variable is exp(m + sd^2 / 2): this m makes it counts_per_cell.
    depth = p.counts_per_cell * rng.lognormal(-(p.library_sd**2) / 2, p.library_sd, size=len(group))
    depth[len(good) :] *= _LOW_QUALITY_DEPTH
    return group, depth


def _draw_counts(
    rng: np.random.Generator, expression: Floats, theta: Floats, group: npt.NDArray[np.intp], depth: Floats
) -> sparse.csr_matrix:
    """Negative binomial counts (cells, genes), float32, as a gamma mixture of Poisson draws.

    Drawn in blocks of cells, so that memory is that of the sparse result.
    """
    blocks = []
    for start in range(0, len(group), 512):
        block = slice(start, start + 512)
        mean = expression[group[block]] * depth[block, None]
        rate = rng.gamma(theta, mean / theta)
        blocks.append(sparse.csr_matrix(rng.poisson(rate).astype(np.float32)))
    return sparse.vstack(blocks, format="csr")
