"""The ``data/<name>/get_data.py`` scripts, which differ in the name of the data set only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diversity_by_design import cli
from diversity_by_design.datasets import registry
from diversity_by_design.datasets.loading import prepare_named
from diversity_by_design.running import project

FromOption = Annotated[
    Path | None,
    typer.Option(
        "--from", metavar="FILE", show_default=False, help="Prepare this raw .h5ad file instead of getting one."
    ),
]

SeedOption = Annotated[
    int, typer.Option("--seed", "--preparation-seed", min=0, help="Seed that decides which cells are drawn.")
]


def get_data_script(name: str) -> None:
    """Run the command-line program that gets (downloads or generates) and prepares the data set `name`."""

    def main(
        source: FromOption = None,
        seed: SeedOption = 0,
        cells_per_perturbation: cli.CellsPerPerturbationOption = None,
        genes: cli.GenesOption = None,
        min_genes_per_cell: cli.MinGenesPerCellOption = None,
        force: cli.ForceOption = False,
    ) -> None:
        options = {
            "cells_per_perturbation": cells_per_perturbation,
            "n_genes": genes,
            "min_genes_per_cell": min_genes_per_cell,
        }
        prepared = prepare_named(name, project.data_dir(), options, seed, source=source, force=force)
        print(f"{prepared.report.cells:,} cells x {prepared.report.genes:,} genes are in {prepared.path}")

    main.__doc__ = f"Get and prepare the data set {name}: {registry.get(name).title}."
    cli.script(main)
