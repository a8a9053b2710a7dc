"""What the numbered scripts have in common: their options, the prepared data set, and the folder of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diversity_by_design import cli, datasets
from diversity_by_design.datasets import PreparedDataset
from diversity_by_design.running.results import ResultFolder


@dataclass(frozen=True)
class Run:
    """What an analysis works with.

    Attributes
    ----------
    prepared : PreparedDataset
    folder : ResultFolder
        Where tables and figures go.
    reads : sequence of Path
        Files of other analyses that it is made of.
    seed, workers : int
    """

    prepared: PreparedDataset
    folder: ResultFolder
    reads: Sequence[Path]
    seed: int
    workers: int


def script(
    analyse: Callable[[Run], None],
    *,
    name: str,
    title: str,
    parameters: Mapping[str, object],
    reads: Callable[[Path], Sequence[Path]] = lambda results: (),
) -> None:
    """Run an analysis as a command-line program.

    The data set is prepared if need be, the folder ``<output>/<data set>/<name>`` opened, and `analyse` called,
    unless the folder is complete already.

    Parameters
    ----------
    analyse : callable
        Does the work; its docstring is the help text.
    name, title : str
        Of the analysis; `name` is that of its script.
    parameters : mapping
        What else the results depend on.
    reads : callable
        Given the folder of all results of the data set, returns the files of other analyses that this one is made of:
        those that are there. When they change, the analysis is made again.
    """

    def main(
        dataset: cli.DatasetOption = cli.DATASET,
        seed: cli.SeedOption = 0,
        output: cli.OutputOption = cli.RESULTS,
        workers: cli.WorkersOption = cli.CORES,
        force: cli.ForceOption = False,
        preparation_seed: cli.PreparationSeedOption = 0,
        perturbation_key: cli.PerturbationKeyOption = None,
        control_label: cli.ControlLabelOption = None,
        cells_per_perturbation: cli.CellsPerPerturbationOption = None,
        genes: cli.GenesOption = None,
        min_genes_per_cell: cli.MinGenesPerCellOption = None,
    ) -> None:
        prepared = datasets.load(
            dataset,
            perturbation_key=perturbation_key,
            control_label=control_label,
            cells_per_perturbation=cells_per_perturbation,
            genes=genes,
            min_genes_per_cell=min_genes_per_cell,
            seed=preparation_seed,
        )
        results = output / prepared.name
        others = reads(results)
        folder = ResultFolder(
            results / name,
            analysis=name,
            title=title,
            dataset=prepared,
            seed=seed,
            parameters=parameters,
            reads=others,
            force=force,
        )
        if folder.complete:
            print(f"{folder.path}: already complete; --force runs it anew")
            return
        analyse(Run(prepared, folder, others, seed, workers))
        folder.finish()
        print(f"results: {folder.path}")

    main.__doc__ = analyse.__doc__
    cli.script(main)
