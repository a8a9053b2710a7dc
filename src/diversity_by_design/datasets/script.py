"""How scripts ask for a data set: the options of its preparation, and the ``data/<name>/get_data.py`` scripts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diversity_by_design import cli, datasets
from diversity_by_design.datasets import registry
from diversity_by_design.running import project

if TYPE_CHECKING:
    from diversity_by_design.datasets import PreparedDataset


def _option(flag: str, metavar: str, text: str, **settings: Any) -> Any:
    settings = {"show_default": False, "rich_help_panel": "How the data are prepared", **settings}
    return typer.Option(flag, metavar=metavar, help=text, **settings)


@dataclass(frozen=True)
class Selection:
    """Options that say which cells and genes are kept."""

    cells_per_perturbation: Annotated[
        int | None,
        _option(
            "--cells-per-perturbation",
            "N",
            "Take exactly N cells of each perturbation, at random; perturbations with fewer are left out and listed.",
            min=2,
        ),
    ] = None
    genes: Annotated[int | None, _option("--genes", "N", "Keep the N most variable genes.", min=1)] = None
    min_genes_per_cell: Annotated[
        int | None,
        _option("--min-genes-per-cell", "N", "Leave out cells in which fewer than N genes were detected.", min=0),
    ] = None


@dataclass(frozen=True)
class Preparation(Selection):
    """Options that say what is analysed, and how it is prepared."""

    dataset: Annotated[
        str,
        typer.Option(
            "--dataset",
            metavar="NAME|FILE",
            help="Name of a data set (demo, which is synthetic; norman19; replogle22; papalexi21) or an .h5ad file.",
        ),
    ] = "demo"
    perturbation_key: Annotated[
        str | None, _option("--perturbation-key", "COLUMN", "Column of obs that names each cell's perturbation.")
    ] = None
    control_label: Annotated[
        str | None, _option("--control-label", "LABEL", "Label of unperturbed cells in that column.")
    ] = None
    preparation_seed: Annotated[
        int,
        _option(
            "--preparation-seed",
            "N",
            "Seed that decides which cells are drawn; each seed has a prepared file of its own.",
            min=0,
            show_default=True,
        ),
    ] = 0

    def __post_init__(self) -> None:
        # Before anything heavy is imported.
        if not self.dataset.lower().endswith(".h5ad"):
            registry.get(self.dataset)

    def load(self) -> PreparedDataset:
        """The prepared data set, prepared first if need be; see `diversity_by_design.datasets.load`."""
        options = asdict(self)
        return datasets.load(options.pop("dataset"), seed=options.pop("preparation_seed"), **options)


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
        selection: Selection, source: FromOption = None, seed: SeedOption = 0, force: cli.ForceOption = False
    ) -> None:
        from diversity_by_design.datasets.loading import prepare_named

        options = asdict(selection)
        options["n_genes"] = options.pop("genes")
        prepared = prepare_named(name, project.data_dir(), options, seed, source=source, force=force)
        print(f"{prepared.report.cells:,} cells x {prepared.report.genes:,} genes are in {prepared.path}")

    main.__doc__ = f"Get and prepare the data set {name}: {registry.get(name).title}."
    cli.script(main)
