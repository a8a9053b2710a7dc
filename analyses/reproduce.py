"""Everything the paper computes for one data set: preparation, each analysis, and one page with all results.

Each analysis is a script of its own in this folder and runs in a process of its own, so that one that fails does not
keep the others from running. What is finished is not made again: after an interruption the same command goes on.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from diversity_by_design import cli, datasets
from diversity_by_design.errors import InputError, listed
from diversity_by_design.running.child import start
from diversity_by_design.running.index import write_index
from diversity_by_design.running.locks import hold
from diversity_by_design.running.records import read_record

# Every script that a data set is analysed with, in the order in which they run, and what the report calls it.
ANALYSES = {
    "1_synthetic_sweep": "Synthetic sweep",
    "2_real_data_sweeps": "Real-data sweeps",
    "3_niche_sensitivity": "Sensitivity to niche signals",
    "4_train_gears": "Training of GEARS",
    "5_compare_models": "Comparison of models and baselines",
}
SWEEP, TRAINING = "1_synthetic_sweep", "4_train_gears"
# A sweep of the paper's size takes hours on two cores, this one about a minute.
REDUCED: dict[str, int | None] = {"n_datasets": 400, "max_entries": 5_000_000}
N_AUDITED = 60
# So does training on all cells for ten epochs, where the data are those of the paper.
REDUCED_TRAINING: dict[str, int | None] = {"epochs": 3, "training_cells": 32}
SEEDS = 2
LOSSES = ["gears", "mse", "wmse"]
SECONDS_TO_STOP = 20

OnlyOption = Annotated[
    str | None,
    typer.Option("--only", metavar="N,N", show_default=False, help="Run only the analyses of these numbers, as 2,3."),
]
NDatasetsOption = Annotated[
    int | None,
    typer.Option(
        "--n-datasets",
        min=1,
        metavar="N",
        show_default=False,
        help=f"Data sets to simulate in analysis 1 (default: {REDUCED['n_datasets']}, of at most "
        f"{REDUCED['max_entries']:,} entries; the paper has 10000, of any size, which take hours on a small machine).",
    ),
]
MaxEntriesOption = Annotated[
    int | None,
    typer.Option(
        "--max-entries",
        min=1,
        metavar="N",
        show_default=False,
        help="Bound on the size (cells x genes) of simulated data sets; none by default where --n-datasets is given.",
    ),
]
EpochsOption = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        min=1,
        metavar="N",
        show_default=False,
        help=f"Epochs of training in analysis 4, on all cells (default: {REDUCED_TRAINING['epochs']}, on "
        f"{REDUCED_TRAINING['training_cells']} cells of each perturbation; GEARS takes 10 or 20, on all).",
    ),
]
SeedsOption = Annotated[
    int,
    typer.Option("--seeds", min=1, metavar="N", help="Models that analysis 4 trains with each loss."),
]
GraphOption = Annotated[
    Path | None,
    typer.Option(
        "--graph",
        metavar="FILE",
        show_default="what data/gene_ontology/get_data.py downloaded",
        help="Annotations or edges of which analysis 4 makes the graph of the perturbed genes.",
    ),
]


@dataclass(frozen=True)
class Step:
    """One analysis: its name (that of its script and of its folder of results), what it is, its script and options."""

    name: str
    title: str
    script: Path
    options: Sequence[str] = ()


def steps(folder: Path, only: str | None = None, options: Mapping[str, Sequence[str]] | None = None) -> list[Step]:
    """Analyses whose scripts are in `folder`; with `only` (such as ``"2,3"``) just those of these numbers.

    `options` are those that only the analysis of that name gets.

    Raises
    ------
    InputError
        `only` names a number that no script has.
    """
    options = options or {}
    found = [Step(name, title, folder / f"{name}.py", options.get(name, ())) for name, title in ANALYSES.items()]
    found = [step for step in found if step.script.is_file()]
    if only is None:
        return found
    by_number = {step.name.split("_")[0]: step for step in found}
    wanted = {number.strip() for number in only.split(",")}
    unknown = sorted(wanted - set(by_number))
    if unknown:
        raise InputError(
            f"--only {only}: no analysis has the number {listed(map(repr, unknown))}; there are "
            f"{listed(f'{number} ({step.title})' for number, step in by_number.items())}"
        )
    return [step for number, step in by_number.items() if number in wanted]


def run_script(script: Path, arguments: Sequence[str]) -> int:
    """Run a script to its end and return its exit code; it ends with this process, however that ends.

    Ctrl-C reaches the child too; it is given time to leave its files in order before this process goes.
    """
    with start(script, arguments) as child:
        try:
            return child.wait()
        except KeyboardInterrupt:
            try:
                child.wait(SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                child.terminate()
            raise


def run_steps(to_run: Sequence[Step], arguments: Sequence[str]) -> dict[str, int]:
    """Run each analysis with `arguments` and its own; return the exit codes of those that failed, by name."""
    failed = {}
    with tqdm(total=len(to_run), desc="reproduce", unit="analysis") as bar:
        for step in to_run:
            bar.set_postfix_str(step.name)
            print(file=sys.stderr)  # the analysis draws its own bar below this one
            exit_code = run_script(step.script, [*arguments, *step.options])
            if exit_code:
                failed[step.name] = exit_code
                tqdm.write(f"{step.name} failed with exit code {exit_code}; the others go on", file=sys.stderr)
            bar.update()
    return failed


def arguments_of(**options: object) -> list[str]:
    """Options as a script's command line has them; those that are None or False are left out.

    Examples
    --------
    >>> arguments_of(dataset="demo", seed=0, genes=None, force=True)
    ['--dataset', 'demo', '--seed', '0', '--force']
    """
    arguments = []
    for name, value in options.items():
        if value is None or value is False:
            continue
        arguments.append(f"--{name.replace('_', '-')}")
        if value is not True:
            arguments.append(str(value))
    return arguments


def has_another(folder: Path, chosen: Mapping[str, object]) -> bool:
    """Whether a finished analysis is in the folder that is not the one with these parameters."""
    record = read_record(folder)
    return bool(
        record and record["complete"] and any(record["parameters"][name] != size for name, size in chosen.items())
    )


def main(
    dataset: cli.DatasetOption = cli.DATASET,
    seed: cli.SeedOption = 0,
    output: cli.OutputOption = cli.RESULTS,
    workers: cli.WorkersOption = cli.CORES,
    scheduler: cli.SchedulerOption = None,
    device: cli.DeviceOption = "cpu",
    force: cli.ForceOption = False,
    only: OnlyOption = None,
    n_datasets: NDatasetsOption = None,
    max_entries: MaxEntriesOption = None,
    epochs: EpochsOption = None,
    seeds: SeedsOption = SEEDS,
    graph: GraphOption = None,
    preparation_seed: cli.PreparationSeedOption = 0,
    perturbation_key: cli.PerturbationKeyOption = None,
    control_label: cli.ControlLabelOption = None,
    cells_per_perturbation: cli.CellsPerPerturbationOption = None,
    genes: cli.GenesOption = None,
    min_genes_per_cell: cli.MinGenesPerCellOption = None,
) -> None:
    """Prepare a data set, run every analysis on it, and write one page with all figures and tables."""
    folder = Path(__file__).resolve().parent
    size = REDUCED if n_datasets is None else {"n_datasets": n_datasets, "max_entries": None}
    size = size | ({} if max_entries is None else {"max_entries": max_entries})
    n_audit = N_AUDITED if size == REDUCED else None
    training = REDUCED_TRAINING if epochs is None else {"epochs": epochs, "training_cells": None}
    # The other analyses take seconds on this machine's cores.
    elsewhere = {"scheduler": scheduler, "device": device}
    options = {
        SWEEP: arguments_of(**size, n_audit=n_audit, **elsewhere),
        TRAINING: arguments_of(**training, seeds=seeds, graph=graph, **elsewhere),
    }
    to_run = steps(folder, only, options)
    preparation: dict[str, Any] = {
        "perturbation_key": perturbation_key,
        "control_label": control_label,
        "cells_per_perturbation": cells_per_perturbation,
        "genes": genes,
        "min_genes_per_cell": min_genes_per_cell,
    }
    prepared = datasets.load(dataset, seed=preparation_seed, **preparation)
    results = output / prepared.name
    trained = training | {"seeds": seeds, "losses": LOSSES}
    with hold(results):  # a second start beside this one is refused
        for name, chosen, is_reduced in (
            (SWEEP, size, size == REDUCED),
            (TRAINING, trained, training == REDUCED_TRAINING),
        ):
            chosen_to_run = name in {step.name for step in to_run}
            if chosen_to_run and is_reduced and not force and has_another(results / name, chosen):
                print(f"{results / name}: holds another run, which stays as it is; --force makes the reduced one")
                to_run = [step for step in to_run if step.name != name]
        preparation["preparation_seed"] = preparation_seed
        failed = run_steps(
            to_run,
            arguments_of(dataset=dataset, seed=seed, output=output, workers=workers, force=force, **preparation),
        )
        index = write_index(results, expected={step.name: step.title for step in steps(folder)}, failed=failed)
    print(f"all results: {index}")
    if failed:
        print(f"failed: {listed(failed)}; what they printed is above", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    cli.script(main)
