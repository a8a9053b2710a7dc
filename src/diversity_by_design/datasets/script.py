"""The ``data/<name>/get_data.py`` scripts, which differ in the name of the data set only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diversity_by_design import cli
from diversity_by_design.datasets import registry
from diversity_by_design.datasets.loading import prepare_named

FromOption = Annotated[
    Path | None,
    typer.Option(
        "--from", metavar="FILE", show_default=False, help="Prepare this raw .h5ad file instead of getting one."
    ),
]
CellsOption = Annotated[
    int | None,
    typer.Option(
        "--cells-per-perturbation",
        min=2,
        metavar="N",
        show_default=False,
        help="Draw N cells from each perturbation, instead of the usual number for this data set.",
    ),
]
GenesOption = Annotated[
    int | None,
    typer.Option(
        "--genes",
        min=1,
        metavar="N",
        show_default=False,
        help="Keep the N most variable genes, instead of the usual number for this data set.",
    ),
]
MinGenesOption = Annotated[
    int | None,
    typer.Option(
        "--min-genes-per-cell",
        min=0,
        metavar="N",
        show_default=False,
        help="Leave out cells with fewer than N detected genes, instead of the usual number for this data set.",
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Prepare the data anew, even if that has been done.")]


def get_data_script(name: str) -> None:
    """Run the command-line program that gets (downloads or generates) and prepares the data set `name`."""

    def main(
        source: FromOption = None,
        seed: cli.SeedOption = 0,
        cells_per_perturbation: CellsOption = None,
        genes: GenesOption = None,
        min_genes_per_cell: MinGenesOption = None,
        force: ForceOption = False,
    ) -> None:
        options = {
            "cells_per_perturbation": cells_per_perturbation,
            "n_genes": genes,
            "min_genes_per_cell": min_genes_per_cell,
        }
        prepared = prepare_named(name, cli.data_dir(), options, seed, source=source, force=force)
        print(f"{prepared.report.cells:,} cells x {prepared.report.genes:,} genes are in {prepared.path}")

    main.__doc__ = f"Get and prepare the data set {name}: {registry.get(name).title}."
    cli.script(main)
