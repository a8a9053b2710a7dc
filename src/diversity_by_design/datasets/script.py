"""How scripts ask for a data set: the options of its preparation, and the ``data/<name>/get_data.py`` scripts."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diversity_by_design import cli, datasets
from diversity_by_design.datasets import registry
from diversity_by_design.datasets.formats import form_of, resolved
from diversity_by_design.datasets.settings import FEATURES, PreparationSettings
from diversity_by_design.errors import InputError
from diversity_by_design.running import project

if TYPE_CHECKING:
    from diversity_by_design.datasets import PreparedDataset


def _option(flag: str, metavar: str | None, text: str, **settings: Any) -> Any:
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
class Reading(Selection):
    """Options that say what a file holds, and what its labels mean."""

    perturbation_key: Annotated[
        str | None,
        _option(
            "--perturbation-key",
            "COLUMN",
            "Column of obs, or of the table of --calls, that names each cell's perturbation (default: perturbation).",
        ),
    ] = None
    control_label: Annotated[
        list[str] | None,
        _option(
            "--control-label",
            "LABEL",
            "Label of unperturbed cells in that column, or a pattern such as 'NT-*'; may be given several times "
            "(default: control).",
        ),
    ] = None
    combination_separator: Annotated[
        str | None,
        _option(
            "--combination-separator",
            "TEXT",
            "What joins the parts of a combination, such as _ in A_B (default: +, where a part is a label of its own).",
        ),
    ] = None
    guide_suffix: Annotated[
        str | None,
        _option(
            "--guide-suffix",
            "PATTERN",
            "Ending by which the guides of one target differ, a regular expression such as '_[0-9]+$'; without it "
            "their cells share a label.",
        ),
    ] = None
    target_key: Annotated[
        str | None,
        _option(
            "--target-key",
            "COLUMN",
            "Column with the target of each guide, beside the column of guides; guides of one target share a label.",
        ),
    ] = None
    no_call: Annotated[
        list[str] | None,
        _option(
            "--no-call",
            "LABEL",
            "Label (or pattern) of cells whose perturbation is not known, besides nan, NA, None, unassigned and the "
            "like; may be given several times. These cells are left out and counted.",
        ),
    ] = None
    keep_label: Annotated[
        list[str] | None,
        _option("--keep-label", "LABEL", "Label that is a perturbation though it looks like one of these."),
    ] = None
    drop_labels: Annotated[
        list[str] | None,
        _option("--drop-labels", "LABEL", "Leave out the cells of this label, or pattern; may be given several times."),
    ] = None
    context_key: Annotated[
        list[str] | None,
        _option(
            "--context-key",
            "COLUMN",
            "Column of obs that names each cell's context, such as its cell line; may be given several times. Contexts "
            "are analysed one by one, each with its own control.",
        ),
    ] = None
    batch_key: Annotated[
        str | None,
        _option("--batch-key", "COLUMN", "Column of obs over whose values a perturbation's cells are drawn evenly."),
    ] = None
    calls: Annotated[
        str | None,
        _option(
            "--calls",
            f"FILE|{FEATURES}",
            "Table of the guides of each cell (Cell Ranger's protospacer_calls_per_cell.csv, Replogle's, or columns of "
            f"cell and guide); or {FEATURES}, to call guides from the guide features of the matrix.",
        ),
    ] = None
    guide_umis: Annotated[
        int | None,
        _option("--guide-umis", "N", f"Counts by which --calls {FEATURES} calls a guide (default: 5).", min=1),
    ] = None
    modality: Annotated[str | None, _option("--modality", "NAME", "Modality of a MuData file, such as rna.")] = None
    matrix: Annotated[
        str | None,
        _option("--matrix", "X|raw|layers/NAME", "Matrix with the counts (default: the one with whole numbers)."),
    ] = None
    round: Annotated[
        bool | None, _option("--round", None, "Round fractions of counts, as EM or ambient correction leave them.")
    ] = None
    gene_names: Annotated[
        str | None, _option("--gene-names", "COLUMN", "Column of var with gene symbols (default: the index of var).")
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
        PreparationSettings().changed(self.options)
        if self.calls not in (None, FEATURES) and not Path(str(self.calls)).is_file():
            raise InputError(f"--calls: no file {self.calls}; it must be a table, or {FEATURES}")

    @property
    def options(self) -> dict[str, Any]:
        """Those of `PreparationSettings` that were given."""
        given = {field.name: getattr(self, field.name) for field in fields(Reading)}
        if self.calls not in (None, FEATURES):
            given["calls"] = os.path.abspath(str(self.calls))  # wherever it is read
        return {
            name: value
            for name, value in given.items()
            if value is not None and value is not False and value != [] and name != "preparation_seed"
        }


@dataclass(frozen=True)
class Preparation(Reading):
    """Options that say what is analysed, and how it is prepared."""

    dataset: Annotated[
        str,
        typer.Option(
            "--dataset",
            metavar="NAME|FILE",
            help="Name of a data set (demo, which is synthetic; norman19; replogle22; papalexi21), or a file or folder "
            "of counts: .h5ad, zarr, .h5mu, Cell Ranger's .h5 or matrix.mtx (dbd inspect FILE tells what is in it).",
        ),
    ] = "demo"

    def __post_init__(self) -> None:
        super().__post_init__()
        if registry.is_path(self.dataset):
            form_of(resolved(Path(self.dataset)))
        else:
            registry.get(self.dataset)

    def load(self) -> PreparedDataset:
        """The prepared data set, prepared first if need be; see `diversity_by_design.datasets.load`."""
        return datasets.load(self.dataset, seed=self.preparation_seed, **self.options)


FromOption = Annotated[
    Path | None,
    typer.Option("--from", metavar="FILE", show_default=False, help="Prepare this raw file instead of getting one."),
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

        prepared = prepare_named(name, project.data_dir(), asdict(selection), seed, source=source, force=force)
        print(f"{prepared.report.cells:,} cells x {prepared.report.genes:,} genes are in {prepared.path}")

    main.__doc__ = f"Get and prepare the data set {name}: {registry.get(name).title}."
    cli.script(main)
