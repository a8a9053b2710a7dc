"""Everything the paper computes for one data set: preparation, each analysis, and one page with all results.

Each analysis is a script of its own in this folder and runs in a process of its own, so that one that fails does not
keep the others from running. What is finished is not made again: after an interruption the same command goes on.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from diversity_by_design import cli
from diversity_by_design.datasets.script import Preparation
from diversity_by_design.errors import InputError, listed
from diversity_by_design.paper.analysis import ANALYSES
from diversity_by_design.running.child import start

SWEEP, TRAINING = "1_synthetic_sweep", "4_train_gears"
# A sweep of the paper's size takes hours on two cores, this one about a minute.
REDUCED: dict[str, int | None] = {"n_datasets": 400, "max_entries": 5_000_000}
N_AUDITED = 60
# So does training on all cells for ten epochs, where the data are those of the paper.
REDUCED_TRAINING: dict[str, int | None] = {"epochs": 3, "training_cells": 32}
LOSSES = ["gears", "mse", "wmse"]
SECONDS_TO_STOP = 20


def number(flag: str, text: str, **settings: Any) -> Any:
    """Declare an option that takes a number of at least one."""
    return typer.Option(flag, min=1, metavar="N", help=text, **settings)


@dataclass(frozen=True)
class Size:
    """Options of what is run, and how large."""

    only: Annotated[
        str | None,
        typer.Option(
            "--only", metavar="N,N", show_default=False, help="Run only the analyses of these numbers, as 2,3."
        ),
    ] = None
    n_datasets: Annotated[
        int | None,
        number(
            "--n-datasets",
            f"Data sets to simulate in analysis 1 (default: {REDUCED['n_datasets']}, of at most "
            f"{REDUCED['max_entries']:,} entries; the paper has 10000, of any size, which take hours on two cores).",
            show_default=False,
        ),
    ] = None
    max_entries: Annotated[
        int | None,
        number(
            "--max-entries",
            "Bound on the size (cells x genes) of simulated data sets; none by default where --n-datasets is given.",
            show_default=False,
        ),
    ] = None
    epochs: Annotated[
        int | None,
        number(
            "--epochs",
            f"Epochs of training in analysis 4, on all cells (default: {REDUCED_TRAINING['epochs']}, on "
            f"{REDUCED_TRAINING['training_cells']} cells of each perturbation; GEARS takes 10 or 20, on all).",
            show_default=False,
        ),
    ] = None
    seeds: Annotated[int, number("--seeds", "Models that analysis 4 trains with each loss.")] = 2
    graph: Annotated[
        Path | None,
        typer.Option(
            "--graph",
            metavar="FILE",
            show_default="what data/gene_ontology/get_data.py downloaded",
            help="Annotations or edges of which analysis 4 makes the graph of the perturbed genes.",
        ),
    ] = None

    @property
    def of_sweep(self) -> dict[str, int | None]:
        """How much analysis 1 simulates."""
        size = REDUCED if self.n_datasets is None else {"n_datasets": self.n_datasets, "max_entries": None}
        return size if self.max_entries is None else size | {"max_entries": self.max_entries}

    @property
    def of_training(self) -> dict[str, int | None]:
        """How long analysis 4 trains."""
        return REDUCED_TRAINING if self.epochs is None else {"epochs": self.epochs, "training_cells": None}


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
    every = [Step(name, title, folder / f"{name}.py", options.get(name, ())) for name, title in ANALYSES.items()]
    by_number = {step.name.split("_")[0]: step for step in every if step.script.is_file()}
    wanted = set(by_number) if only is None else {number.strip() for number in only.split(",")}
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


def arguments_of(options: Mapping[str, object]) -> list[str]:
    """Options as a script's command line has them; those that are None or False are left out.

    Examples
    --------
    >>> arguments_of({"dataset": "demo", "seed": 0, "genes": None, "force": True, "no_call": ["?", "-"]})
    ['--dataset', 'demo', '--seed', '0', '--force', '--no-call=?', '--no-call=-']
    """
    arguments = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, list):
            arguments += [f"{flag}={item}" for item in value]
        elif value is True:
            arguments.append(flag)
        elif value is not None and value is not False:
            arguments += [flag, str(value)]
    return arguments


def has_another(folder: Path, chosen: Mapping[str, object]) -> bool:
    """Whether a finished analysis is in the folder that is not the one with these parameters."""
    from diversity_by_design.running.records import read_record

    record = read_record(folder)
    return bool(
        record and record["complete"] and any(record["parameters"][name] != size for name, size in chosen.items())
    )


def main(data: Preparation, common: cli.Common, place: cli.Place, size: Size, seed: cli.SeedOption = 0) -> None:
    """Prepare a data set, run every analysis on it, and write one page with all figures and tables."""
    folder = Path(__file__).resolve().parent
    n_audit = N_AUDITED if size.of_sweep == REDUCED else None
    # The other analyses take seconds on this machine's cores.
    options = {
        SWEEP: arguments_of({**size.of_sweep, "n_audit": n_audit, **asdict(place)}),
        TRAINING: arguments_of({**size.of_training, "seeds": size.seeds, "graph": size.graph, **asdict(place)}),
    }
    to_run = steps(folder, size.only, options)

    from diversity_by_design.datasets.gene_ontology import NO_GRAPH, graph_source
    from diversity_by_design.running.index import write_index
    from diversity_by_design.running.locks import hold
    from diversity_by_design.running.project import data_dir

    prepared = data.load()
    parts = [common.output / part.name for part in prepared.by_context()]
    with hold(common.output / prepared.name):  # a second start beside this one is refused
        for name, chosen, reduced in (
            (SWEEP, size.of_sweep, REDUCED),
            (TRAINING, size.of_training | {"seeds": size.seeds, "losses": LOSSES}, REDUCED_TRAINING),
        ):
            runs = [step for step in to_run if step.name == name and reduced.items() <= chosen.items()]
            kept = [results / name for results in parts if has_another(results / name, chosen)]
            if runs and kept and not common.force:
                print(f"{listed(kept)}: holds another run, which stays as it is; --force makes the reduced one")
                to_run = [step for step in to_run if step.name != name]
        training = [step for step in to_run if step.name == TRAINING]
        if training and size.graph is None and graph_source(data_dir(), prepared.name, prepared.report.seed) is None:
            print(f"{TRAINING} is left out: {NO_GRAPH}")
            to_run = [step for step in to_run if step.name != TRAINING]
        failed = run_steps(to_run, arguments_of({**asdict(data), "seed": seed, **asdict(common)}))
        titles = {step.name: step.title for step in steps(folder)}
        for results in parts:
            print(f"all results: {write_index(results, expected=titles, failed=failed)}")
    if failed:
        print(f"failed: {listed(failed)}; what they printed is above", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    cli.script(main)
