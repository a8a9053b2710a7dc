"""Where a sweep takes its genes from: a data set, stated hyper-parameters, or a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diversity_by_design.datasets.prepare import LIBRARY_SIZE
from diversity_by_design.datasets.reading import CellFile
from diversity_by_design.errors import InputError
from diversity_by_design.simulator.config import SIGMA_L
from diversity_by_design.simulator.estimation import ParameterEstimates, estimate, is_control_cell
from diversity_by_design.simulator.parameters import GeneParameters

if TYPE_CHECKING:
    from diversity_by_design.datasets import PreparedDataset


@dataclass(frozen=True, eq=False)
class GeneSource:
    """Gene parameters to simulate from, and where they come from.

    `name`: "default", "fit", or that of the file. `sigma_l`: spread of the log library factors, that of the data set if
    its genes are taken, else the paper's. `note`: what a reader of the results must know. `estimates`: of the data set,
    if they were needed to choose.
    """

    name: str
    parameters: GeneParameters
    sigma_l: float
    note: str
    estimates: ParameterEstimates | None = None


def gene_source(
    wanted: str | None, prepared: PreparedDataset, largest_g: int, workers: int | None = None
) -> GeneSource:
    """Choose the gene parameters of a sweep.

    `wanted`: "fit" (estimated from the data set), "default" (drawn from stated hyper-parameters), or the path of a
    table that `GeneParameters.from_csv` reads; None: "fit" if the data set has at least `largest_g` genes with counts,
    the most that a simulated data set can have, else "default".
    """
    if wanted not in (None, "default", "fit"):
        path = Path(wanted)
        note = f"Simulated genes are those of {path.name}."
        return GeneSource(path.name, GeneParameters.from_csv(path), SIGMA_L, note)
    drawn = (
        "Simulated genes are drawn from stated hyper-parameters (GeneParameters.default), which resemble those of a "
        f"K562 screen, not taken from {prepared.name}"
    )
    estimates, n_genes = None, prepared.report.genes
    if wanted == "fit" or (wanted is None and n_genes >= largest_g):
        estimates = estimate_from_file(prepared.path, workers=workers)
        fitted = GeneParameters.from_table(estimates.gene_table())
        n_genes = len(fitted)
        if wanted == "fit" or n_genes >= largest_g:
            note = f"Simulated genes are those of {prepared.name}, with parameters estimated from its counts."
            return GeneSource("fit", fitted, estimates.sigma_l, note, estimates)
    if wanted is None:
        drawn += f": it has {n_genes:,} genes with counts, and data sets of up to {largest_g:,} are simulated"
    return GeneSource("default", GeneParameters.default(), SIGMA_L, f"{drawn}.", estimates)


def estimate_from_file(
    path: Path | str, *, perturbation: str = "condition", control: str = "control", workers: int | None = None
) -> ParameterEstimates:
    """Estimate from a prepared data set, whose counts are read block by block.

    `path`: an h5ad file with raw counts in the layer ``counts``; total counts are those in ``obs["ncounts"]`` where
    that exists, since they count genes that preparation left out. `perturbation`, `control`: the column of `obs` that
    labels cells, and the label of unperturbed ones. InputError: it lacks one of these, or is damaged.
    """
    with CellFile(Path(path)) as file:
        if "layers/counts" not in file.matrices:
            raise InputError(f"{path} has no layer 'counts'; it is no prepared data set (its get_data.py makes one)")
        return estimate(
            file.matrix("layers/counts"),
            is_control_cell(file.obs, perturbation, control),
            file.var.index,
            file.obs[LIBRARY_SIZE].to_numpy() if LIBRARY_SIZE in file.obs else None,
            workers,
            where=f"{path}: layers['counts']",
        )
