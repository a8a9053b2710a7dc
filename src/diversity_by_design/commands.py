"""The `dbd` command; each of its commands imports what it needs when it runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diversity_by_design import cli
from diversity_by_design.datasets import registry
from diversity_by_design.datasets.formats import dataset_name, form_of, resolved
from diversity_by_design.datasets.script import Reading
from diversity_by_design.errors import InputError
from diversity_by_design.running.project import data_dir

if TYPE_CHECKING:
    from diversity_by_design.datasets import PreparedDataset

FILES = "Cells: .h5ad, .h5mu, Cell Ranger's .h5, or a folder: zarr, or Cell Ranger's"

app = typer.Typer(name="dbd", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Judge models that predict how cells respond to perturbations."""


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function a command of `dbd`; for its options and errors see `cli.script`."""
    app.command(function.__name__)(cli.exit_on_error()(cli.flat(function)))
    return function


@command
def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=f"{FILES}.", show_default=False)],
    modality: Annotated[
        str | None, typer.Option("--modality", metavar="NAME", help="Modality of a MuData file.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Say what is in a file: matrices, labels, contexts, gene names; and the command that would prepare it."""
    form_of(resolved(file))

    from diversity_by_design.datasets.inspection import inspect_file

    inspection = inspect_file(file, modality)
    print(inspection.to_json() if json else inspection.text())


@command
def prepare(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...", help=f"{FILES}; or names of data sets. Several are prepared alike.", show_default=False
        ),
    ],
    reading: Reading,
    workers: cli.WorkersOption = cli.CORES,
    scheduler: cli.SchedulerOption = None,
    force: cli.ForceOption = False,
) -> None:
    """Prepare raw counts for the analyses and for scoring models; say what was kept, merged and left out."""
    names: dict[str, str] = {}
    for file in files:
        if registry.is_path(file):
            form_of(resolved(Path(file)))
        name = dataset_name(Path(file)) if registry.is_path(file) else registry.get(file).name
        if name in names:
            raise InputError(
                f"{names[name]} and {file} would both be called {name}; rename one, or prepare one after the other"
            )
        names[name] = file
    # Elsewhere the current folder is another.
    files = [os.path.abspath(file) if registry.is_path(file) else file for file in files]
    shared = (reading, data_dir().absolute(), force)
    if len(files) == 1 and scheduler is None:
        _say(_load(files[0], *shared))
        return

    from diversity_by_design.running.executors import executor

    refused = faults = 0
    with executor(min(workers, len(files)), scheduler) as where:
        for number, outcome in where.run(_load, files, shared=shared):
            if not outcome.error:
                _say(outcome.value)
                continue
            refused += 1
            if not outcome.error.startswith("InputError: "):
                faults += 1
                print(outcome.traceback, end="", file=sys.stderr)
            print(f"error: {files[number]}: {outcome.error.removeprefix('InputError: ')}", file=sys.stderr)
    if refused:
        print(f"{refused} of {len(files)} files could not be prepared; the others are", file=sys.stderr)
        raise SystemExit(1 if faults else cli.BAD_INPUT)


def _load(file: str, reading: Reading, place: Path, force: bool) -> PreparedDataset:
    from diversity_by_design.datasets import load

    return load(file, data_dir=place, seed=reading.preparation_seed, force=force, **reading.options)


def _say(prepared: PreparedDataset) -> None:
    report = prepared.report
    print(f"{report.cells:,} cells x {report.genes:,} genes are in {prepared.path}")
