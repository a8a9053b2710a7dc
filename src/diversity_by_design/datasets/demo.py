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
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse, special

from diversity_by_design.simulator.parameters import GeneDistribution

if TYPE_CHECKING:
    import anndata

CONTROL = "control"
DESCRIPTION = (
    "Purely synthetic: negative binomial counts drawn from the stated parameters. No cell, gene or effect was measured."
)

# Expected counts per cell of a silent gene: few enough that the filter for genes seen in 3 cells removes it.
_SILENT_MEAN = 1e-4
# Library size of a low-quality cell relative to a good one: too few counts to show 200 genes.
_LOW_QUALITY_DEPTH = 0.03
# Perturbed cells that the preparation can choose from, beyond those it keeps: at least 2, so that it has to choose.
_LEAST_SPARE_CELLS = 2
# Share of expressed genes, the highest, that no perturbation moves: a strong change of one of them would, through
# the common total, change the relative expression of every other gene.
_HOUSEKEEPING_SHARE = 0.05
# First shape parameter of the beta distribution of strengths: near 1, so that weak ones are common.
_STRENGTH_ALPHA = 1.2
# Share of a module's genes that move against the others (repressed where they are activated).
_OPPOSED_SHARE = 0.2

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DemoParameters:
    """What the demo data set is made of.

    "K562" figures were estimated from public K562 screens (13,500 counts per cell, the 8,192 highest genes);
    "chosen" ones are set so that the number of differentially expressed genes per perturbation spreads as it does in
    real data with as many cells. Log means the natural logarithm.

    Attributes
    ----------
    n_singles, n_doubles : int
        Perturbations of one gene, and of two of these genes. Chosen.
    cells_per_perturbation : int
        Good cells that every single and double perturbation has at least (replogle22 is prepared with 64).
    spare_cells : int
        Most good cells a perturbation has beyond that; at least 2 are always there. Chosen.
    n_rare : int
        Further single perturbations with between a quarter and half of `cells_per_perturbation`, which a
        preparation with an equal number of cells leaves out. Chosen.
    n_control_cells : int
        Good unperturbed cells. Chosen.
    n_low_quality_cells : int
        Further cells with 3 % of the usual counts, among all labels in proportion to their cells. Chosen.
    n_genes, n_silent_genes : int
        Genes that are expressed, and further ones with 0.0001 counts per cell. Chosen.
    counts_per_cell : float
        Mean library size (counts, or UMI, per good cell). Chosen.
    library_sd : float
        Standard deviation of the log library size (0.17 to 0.3 in K562).
    log_mean_sd, log_mean_skewness : float
        Standard deviation and skewness over genes of the log mean expression of control cells, drawn from a shifted
        gamma distribution (1.05 and 1.5 in K562).
    log_theta_mean, log_theta_sd, log_theta_slope : float
        Log of the negative binomial size theta: mean and standard deviation over genes, and slope on the log mean
        (1.0, 0.69 and -0.1 in K562).
    shift_sd, shift_slope : float
        Log fold change of all perturbed against control cells: standard deviation over genes (0.2 in K562) and slope
        on the log mean. Since expression sums to one, the slope also sets the mean of the shift over genes; the one
        chosen gives about that of K562, 0.05.
    n_modules, smallest_module, largest_module : int
        Sets of co-regulated genes and their number of genes; modules overlap, being drawn independently. Chosen.
    null_share : float
        Share of single perturbations without any effect, not even on their target. Chosen.
    strength_mean, strength_max : float
        Strength of the others: mean and upper bound of a beta distribution that reaches down to nearly none. It is the
        absolute log fold change that a perturbation gives the typical gene of the module it moves most. Chosen.
    private_genes : int
        Genes that each perturbation moves besides modules, with a standard deviation of its strength. Chosen.
    target_log_fold_change : float
        Mean log fold change of the activated target itself (CRISPR activation), spread by a fifth. Chosen.
    additivity : float
        Effect of a double perturbation relative to the sum of the effects of its singles. Chosen.
    interaction : float
        Standard deviation of the log fold change that a double adds to one module and to as many private genes as a
        single has, relative to the mean strength of its singles. Chosen.

    Raises
    ------
    ValueError
        A number is out of its range, or more is asked for than there are genes or pairs.
    """

    n_singles: int = 40
    n_doubles: int = 20
    cells_per_perturbation: int = 64
    spare_cells: int = 16
    n_rare: int = 2
    n_control_cells: int = 1_100
    n_low_quality_cells: int = 60
    n_genes: int = 1_000
    n_silent_genes: int = 40
    counts_per_cell: float = 5_000.0
    library_sd: float = 0.25
    log_mean_sd: float = 1.05
    log_mean_skewness: float = 1.5
    log_theta_mean: float = 1.0
    log_theta_sd: float = 0.69
    log_theta_slope: float = -0.1
    shift_sd: float = 0.2
    shift_slope: float = -0.02
    n_modules: int = 12
    smallest_module: int = 30
    largest_module: int = 60
    null_share: float = 0.1
    strength_mean: float = 0.65
    strength_max: float = 2.0
    private_genes: int = 50
    target_log_fold_change: float = 1.0
    additivity: float = 0.85
    interaction: float = 0.5

    def __post_init__(self) -> None:
        least = {
            "n_singles": 2,
            "n_doubles": 0,
            "cells_per_perturbation": 4,
            "spare_cells": _LEAST_SPARE_CELLS,
            "n_rare": 0,
            "n_control_cells": 1,
            "n_low_quality_cells": 0,
            "n_genes": 2,
            "n_silent_genes": 0,
            "n_modules": 1,
            "smallest_module": 1,
            "private_genes": 0,
            "library_sd": 0,
            "log_theta_sd": 0,
            "shift_sd": 0,
            "null_share": 0,
            "interaction": 0,
        }
        for name, value in asdict(self).items():
            if not np.isfinite(value):
                raise ValueError(f"DemoParameters: {name} is {value}; it must be a finite number")
            if name in least and value < least[name]:
                raise ValueError(f"DemoParameters: {name} is {value}; it must be at least {least[name]}")
        for name in ("counts_per_cell", "log_mean_sd", "log_mean_skewness", "strength_mean"):
            if getattr(self, name) <= 0:
                raise ValueError(f"DemoParameters: {name} is {getattr(self, name)}; it must be greater than 0")
        if self.null_share > 1:
            raise ValueError(f"DemoParameters: null_share is {self.null_share}; it must be between 0 and 1")
        if self.strength_mean >= self.strength_max:
            raise ValueError(
                f"DemoParameters: strength_mean is {self.strength_mean}; "
                f"it must be less than strength_max ({self.strength_max})"
            )
        pairs = self.n_singles * (self.n_singles - 1) // 2
        if self.n_doubles > pairs:
            raise ValueError(
                f"DemoParameters: n_doubles is {self.n_doubles}, but {self.n_singles} singles make only {pairs} pairs; "
                "ask for fewer doubles or more singles"
            )
        if self.smallest_module > self.largest_module:
            raise ValueError(
                f"DemoParameters: smallest_module is {self.smallest_module}; "
                f"it must not exceed largest_module ({self.largest_module})"
            )
        for name, needed in (
            ("n_singles + n_rare", self.n_singles + self.n_rare),
            ("largest_module", self.largest_module),
            ("private_genes", self.private_genes),
        ):
            responsive = int(self.n_genes * (1 - _HOUSEKEEPING_SHARE))
            if needed > responsive:
                raise ValueError(
                    f"DemoParameters: {name} is {needed}, more than the {responsive} genes that perturbations can move "
                    f"({1 - _HOUSEKEEPING_SHARE:.0%} of n_genes)"
                )


_DEFAULTS = DemoParameters()


def generate_demo(seed: int = 0, parameters: DemoParameters = _DEFAULTS) -> anndata.AnnData:
    """Draw the synthetic demo data set: raw counts that still need the preparation every data set gets.

    Parameters
    ----------
    seed : int
        Non-negative; with `parameters`, all that the result depends on.
    parameters : DemoParameters

    Returns
    -------
    anndata.AnnData
        ``X`` : raw counts, CSR float32 (cells, genes), cells in random order.
        ``obs["perturbation"]`` : categorical, ``A``, ``A+B`` (sorted) or ``control``; ``obs["ncounts"]`` : counts per
        cell. Perturbations are named after genes of the set.
        ``var["control_mean"]`` : expected counts in a control cell; ``var["theta"]``; ``var["shift"]`` : log fold
        change of perturbed against control cells; ``var["expressed"]`` : False for silent genes.
        ``varm["effects"]`` : true log fold changes (genes, perturbations), shift excluded, before expression is
        rescaled to sum to one; ``uns["demo"]["effect_labels"]`` names its columns.
        ``uns["demo"]`` : that the set is synthetic, the seed and the parameters.

    Raises
    ------
    ValueError
        `seed` is negative.

    Examples
    --------
    >>> adata = generate_demo(seed=1, parameters=DemoParameters(n_singles=3, n_doubles=1, n_rare=0, n_control_cells=20))
    >>> adata.obs["perturbation"].nunique(), bool(adata.uns["demo"]["synthetic"])
    (5, True)
    """
    import anndata

    if seed < 0:
        raise ValueError(f"seed is {seed}; it must be a whole number, 0 or greater")
    gene_rng, effect_rng, cell_rng = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3))

    genes = _draw_genes(gene_rng, parameters)
    labels, effects = _draw_effects(effect_rng, parameters, genes.index, _responsive(genes))
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


def _draw_genes(rng: np.random.Generator, p: DemoParameters) -> pd.DataFrame:
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
    return np.flatnonzero(expressed & (mean <= np.quantile(mean[expressed], 1 - _HOUSEKEEPING_SHARE)))


def _draw_effects(
    rng: np.random.Generator, p: DemoParameters, genes: pd.Index, responsive: npt.NDArray[np.intp]
) -> tuple[list[str], Floats]:
    """Labels of all perturbations (singles, doubles, rare singles) and their log fold changes (labels, genes)."""
    modules = _draw_modules(rng, p, len(genes), responsive)
    targets = rng.choice(responsive, p.n_singles + p.n_rare, replace=False)
    beta = _STRENGTH_ALPHA * (p.strength_max / p.strength_mean - 1)
    # One draw from each of as many equal parts of the distribution, so that every seed has weak and strong ones.
    parts = (rng.permutation(len(targets)) + rng.random(len(targets))) / len(targets)
    strengths = p.strength_max * special.betaincinv(_STRENGTH_ALPHA, beta, parts)
    strengths[rng.permutation(p.n_singles)[: round(p.null_share * p.n_singles)]] = 0.0
    singles = np.zeros((len(targets), len(genes)))
    for effect, target, strength in zip(singles, targets, strengths, strict=True):
        if strength == 0:
            continue
        moved = rng.choice(p.n_modules, size=min(int(rng.integers(1, 4)), p.n_modules), replace=False)
        # The first module moves by the full strength, the others by less; each up or down.
        share = np.concatenate([[1.0], rng.uniform(0.3, 0.8, size=len(moved) - 1)])
        effect += (strength * share * rng.choice([-1.0, 1.0], size=len(moved))) @ modules[moved]
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

    names = [str(genes[target]) for target in targets]
    combined = ["+".join(sorted((names[a], names[b]))) for a, b in pairs]
    labels = [*names[: p.n_singles], *combined, *names[p.n_singles :]]
    return labels, np.vstack([singles[: p.n_singles], doubles, singles[p.n_singles :]])


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
