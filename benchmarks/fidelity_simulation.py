"""What choices of the simulation that the paper leaves open change: the numbers in docs/fidelity.md.

    uv run benchmarks/fidelity_simulation.py                  500 data sets for each choice: minutes on 2 cores
    uv run benchmarks/fidelity_simulation.py --n-datasets 100

Every choice is tried on the same data sets otherwise: a parameter that is not changed is drawn the same.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from diversity_by_design.paper.correlations import table_2
from diversity_by_design.running.project import project_root
from diversity_by_design.simulator import GeneParameters, Range, SweepRanges, run_random_sweep
from diversity_by_design.simulator.config import SIMULATION_LOGARITHMIC

LOGARITHMIC = sorted(SIMULATION_LOGARITHMIC)


def choices() -> dict[str, tuple[SweepRanges, list[str]]]:
    """Ranges of each choice, and the parameters that are correlated as logarithms."""
    here = SweepRanges()
    return {
        "here": (here, LOGARITHMIC),
        "epsilon on the log scale": (
            here.replace(epsilon=replace(here.epsilon, scale="log")),
            [*LOGARITHMIC, "epsilon"],
        ),
        "mu_l as the factor itself": (
            here.replace(mu_l=Range(np.log(0.2), np.log(5.0))),
            [name for name in LOGARITHMIC if name != "mu_l"],
        ),
        "library factors all equal": (here.replace(sigma_l=0.0), LOGARITHMIC),
    }


def main(
    n_datasets: Annotated[int, typer.Option(help="Data sets for each choice.")] = 500,
    max_entries: Annotated[int, typer.Option(help="Larger data sets are drawn anew.")] = 20_000_000,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    paper = pd.read_csv(project_root() / "analyses" / "paper_reference" / "correlations.csv")
    parameters = GeneParameters.default()
    tables = {}
    for name, (ranges, logarithmic) in choices().items():
        with tempfile.TemporaryDirectory() as folder:
            sweep = run_random_sweep(
                n_datasets,
                seed=seed,
                parameters=parameters,
                ranges=ranges,
                max_entries=max_entries,
                path=Path(folder) / "simulations.sqlite",
            )
        table = table_2(sweep, paper, logarithmic=logarithmic).set_index(["metric", "gene_group", "parameter"])
        tables[name] = table
        compared = table.dropna(subset=["ours", "paper"])
        difference, signs = (compared["ours"] - compared["paper"]).abs().mean(), compared["same_sign"].dropna()
        print(f"{name}: mean absolute difference from the paper's table 2 {difference:.3f}; where the paper's")
        print(f"    number is at least 0.2 in size, {int(signs.sum())} of {len(signs)} signs agree")
    combined = pd.DataFrame(
        {"paper": tables["here"]["paper"], **{name: table["ours"] for name, table in tables.items()}}
    )
    moved = combined.drop(columns="paper").sub(combined["here"], axis=0).abs().max(axis=1)
    print(combined[moved > 0.1].round(2).to_string())


if __name__ == "__main__":
    typer.run(main)
