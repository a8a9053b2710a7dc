"""Simulated data sets: their statistics, how well the perturbed mean predicts them, and the cells themselves."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from diversity_by_design.errors import InputError
from diversity_by_design.labels import CONTROL
from diversity_by_design.simulator.cells import Sums, add_up, control_cells, draw, part_numbers, perturbed_cells
from diversity_by_design.simulator.config import SimulationConfig
from diversity_by_design.simulator.evaluation import METRICS, evaluate
from diversity_by_design.simulator.kernels import Counts
from diversity_by_design.simulator.parameters import GeneParameters
from diversity_by_design.simulator.truth import Floats, Integers, Seed, Truth, draw_truth
from diversity_by_design.statistics import PerturbationStatistics

if TYPE_CHECKING:
    from anndata import AnnData

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True, eq=False, repr=False)
class SimulationResult:
    """How well the perturbed mean predicts the perturbations of a simulated data set.

    Attributes
    ----------
    config : SimulationConfig
    table : DataFrame
        One row per perturbation: `perturbation`, `n_affected` (genes), then
        ``{pearson_delta,mse,mae}_{all,affected,degs_vs_control,degs_vs_rest}`` (see
        `diversity_by_design.simulator.evaluation.evaluate`).
    fraction_affected : float
        Share of the genes that at least one perturbation affects.
    n_empty_cells : int
        Cells without a count; their expression is 0.
    n_clipped_genes : int
        Genes whose mean in perturbed cells would have been negative, and was 0 instead.
    """

    config: SimulationConfig
    table: pd.DataFrame
    fraction_affected: float
    n_empty_cells: int
    n_clipped_genes: int

    def __repr__(self) -> str:
        return f"SimulationResult({self.config}, {len(self.table):,} perturbations)"

    @property
    def metrics(self) -> dict[str, float]:
        """Medians over the perturbations that a metric is defined for (NaN: none); the fraction of genes affected."""
        medians = {name: float(self.table[name].median()) for name in METRICS}
        return medians | {"fraction_affected": self.fraction_affected}

    @property
    def n_undefined(self) -> dict[str, int]:
        """Number of perturbations, of each metric, that its median leaves out because it is undefined for them."""
        return {name: int(self.table[name].isna().sum()) for name in METRICS}


@dataclass(frozen=True, eq=False, repr=False)
class SimulatedData:
    """Statistics of a simulated data set, and what they were made from."""

    statistics: tuple[PerturbationStatistics, ...]  # of the parts of each perturbation's cells; control is in all
    truth: Truth
    n_empty_cells: int


def simulate(
    config: SimulationConfig,
    parameters: GeneParameters,
    seed: Seed = 0,
    *,
    device: str = "cpu",
    workers: int | None = None,
) -> SimulationResult:
    """Simulate a data set and score the perturbed mean as the prediction of every perturbation (section 3.1).

    No matrix of cells x genes is ever held: cells are drawn a few at a time and added up.

    Parameters
    ----------
    config : SimulationConfig
    parameters : GeneParameters
        Table that the genes are drawn from.
    seed : int or SeedSequence
        The same seed gives the same result on the same device, whatever the number of workers.
    device : "cpu" or "cuda"
        Both draw from the same distributions, but not the same numbers.
    workers : int, optional
        Threads (default: as many as cores).

    Raises
    ------
    InputError
        There are fewer gene parameters than genes to simulate, or `device` is neither "cpu" nor "cuda".

    Examples
    --------
    >>> from diversity_by_design.simulator import GeneParameters, SimulationConfig
    >>> config = SimulationConfig(g=200, n_0=50, n_p=20, k=10, beta=2.0)
    >>> result = simulate(config, GeneParameters.default(), seed=1)
    >>> round(result.metrics["pearson_delta_all"], 1)
    0.8
    """
    _check_device(device)
    truth = draw_truth(config, parameters, seed)
    if device == "cuda":
        from diversity_by_design.simulator import cuda

        values, n_empty_cells = cuda.scores(truth, seed)
    else:
        sums = _sums(truth, seed, 1, workers)
        values, n_empty_cells = evaluate(_statistics(truth, 1, sums)[0], truth.effects, workers), sums.n_empty_cells
    table = pd.DataFrame(values, columns=list(METRICS))
    table.insert(0, "perturbation", perturbation_names(config.k))
    table.insert(1, "n_affected", truth.effects.n_affected)
    fraction_affected = np.count_nonzero(np.bincount(truth.effects.genes)) / config.g
    return SimulationResult(config, table, fraction_affected, n_empty_cells, truth.n_clipped)


def simulate_statistics(
    config: SimulationConfig,
    parameters: GeneParameters,
    seed: Seed = 0,
    *,
    parts: int = 1,
    device: str = "cpu",
    workers: int | None = None,
) -> SimulatedData:
    """Simulate a data set and return its sufficient statistics, for any metric and any predictor.

    Parameters
    ----------
    config, parameters, seed, device, workers
        As for `simulate`; the same seed gives the same cells.
    parts : int
        Split the cells of every perturbation into so many parts as equal as can be: with 2, the first predicting the
        second is the technical duplicate.

    Returns
    -------
    SimulatedData
        `statistics`: of each part, with all control cells; `truth`: what was simulated; `n_empty_cells`: cells without
        a count.

    Raises
    ------
    InputError
        As for `simulate`; or there are fewer cells than parts.
    """
    _check_device(device)
    if not 1 <= parts <= config.n_p:
        raise InputError(f"the {config.n_p} cells of a perturbation cannot be split into {parts} parts")
    truth = draw_truth(config, parameters, seed)
    if device == "cuda":
        from diversity_by_design.simulator import cuda

        sums = cuda.sums(truth, seed, parts)
    else:
        sums = _sums(truth, seed, parts, workers)
    return SimulatedData(_statistics(truth, parts, sums), truth, sums.n_empty_cells)


def _check_device(device: str) -> None:
    if device not in DEVICES:
        raise InputError(f"device is {device!r}; it must be one of {', '.join(map(repr, DEVICES))}")


def _sums(truth: Truth, seed: Seed, parts: int, workers: int | None) -> Sums:
    control, control_sq, empty_control = add_up(control_cells(truth, seed), workers)
    perturbed, perturbed_sq, empty = add_up(perturbed_cells(truth, seed, parts), workers)
    return Sums(perturbed, perturbed_sq, control.sum(axis=0), control_sq.sum(axis=0), empty_control + empty)


def perturbation_names(k: int) -> pd.Index:
    """Labels of simulated perturbations; in alphabetical order."""
    return pd.Index([f"perturbation{number:0{len(str(k))}d}" for number in range(1, k + 1)])


def _statistics(truth: Truth, parts: int, sums: Sums) -> tuple[PerturbationStatistics, ...]:
    """Statistics of every part of the perturbed cells, each with all control cells."""
    config = truth.config
    n_cells = np.bincount(part_numbers(config.n_p, parts), minlength=parts)
    return tuple(
        PerturbationStatistics(
            labels=perturbation_names(config.k),
            genes=truth.genes,
            n_cells=np.full(config.k, n_cells[part]),
            sum=sums.perturbed[part::parts],
            sum_sq=sums.perturbed_sq[part::parts],
            control=CONTROL,
            n_control=config.n_0,
            control_sum=sums.control,
            control_sum_sq=sums.control_sq,
        )
        for part in range(parts)
    )


def simulate_anndata(
    config: SimulationConfig, parameters: GeneParameters, seed: Seed = 0, *, workers: int | None = None
) -> AnnData:
    """Simulate a data set and return its cells.

    Parameters
    ----------
    config, parameters, seed, workers
        As for `simulate`; the same seed gives the same cells, on the CPU.

    Returns
    -------
    AnnData (n_0 + k * n_p, g)
        `X`: raw counts (CSR, float32). `obs`: ``condition`` (``control`` or the perturbation) and ``library_factor``.
        `var`: ``mean_control``, ``mean_base`` (perturbed cells before their perturbation's effects) and ``theta``.
        ``varm["effects"]``: genes x perturbations, 1 where a gene goes up, -1 where it goes down, else 0.
        ``uns["simulation"]``: the configuration, the seed, and the names of the perturbations.
    """
    import anndata
    from scipy import sparse

    truth = draw_truth(config, parameters, seed)
    with np.errstate(divide="ignore"):  # no overdispersion: theta is infinite
        theta = 1.0 / truth.dispersion
    rows: list[sparse.csr_matrix | None] = [None] * config.n_cells
    for first, population in ((0, control_cells(truth, seed)), (config.n_0, perturbed_cells(truth, seed))):

        def keep(cells: Integers, counts: Counts, totals: Floats, first: int = first) -> None:
            for cell, row in zip(cells, counts, strict=True):
                rows[first + cell] = sparse.csr_matrix(row[: config.g].astype(np.float32))

        draw(population, keep, workers)
    names = perturbation_names(config.k)
    factors = np.concatenate([truth.control_factors, truth.factors])
    condition = np.concatenate([np.repeat(CONTROL, config.n_0), np.repeat(names, config.n_p)])
    return anndata.AnnData(
        X=sparse.vstack(rows, format="csr"),
        obs=pd.DataFrame(
            {"condition": pd.Categorical(condition), "library_factor": factors},
            index=[f"cell{number:0{len(str(config.n_cells))}d}" for number in range(1, config.n_cells + 1)],
        ),
        var=pd.DataFrame(
            {"mean_control": truth.mean_control, "mean_base": truth.mean_base, "theta": theta},
            index=truth.genes.astype(str),
        ),
        varm={"effects": truth.effects.directions(config.g).T},
        uns={"simulation": {**asdict(config), "seed": str(seed), "perturbations": names.to_numpy(str)}},
    )
