"""What the scripts share: their options, where results are, and how errors reach the reader.

A script declares its options with the types of this module and hands its function to `script`::

    def main(dataset: cli.DatasetOption = cli.DATASET, seed: cli.SeedOption = 0,
             output: cli.OutputOption = cli.RESULTS, workers: cli.WorkersOption = cli.CORES,
             force: cli.ForceOption = False) -> None:
        '''One line that --help shows.'''

    if __name__ == "__main__":
        cli.script(main)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from diversity_by_design.errors import InputError
from diversity_by_design.running.project import project_root
from diversity_by_design.threads import available_cores

BAD_INPUT = 2
INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended


# Defaults of the options below.
DATASET = "demo"
RESULTS = project_root() / "results"
CORES = available_cores()

PREPARATION = "How the data are prepared"

DatasetOption = Annotated[
    str,
    typer.Option(
        "--dataset",
        metavar="NAME|FILE",
        help="Name of a data set (demo, which is synthetic; norman19; replogle22; papalexi21) or an .h5ad file.",
    ),
]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, help="Seed of every random choice; the same seed gives the same results.")
]
OutputOption = Annotated[
    Path,
    typer.Option(
        "--output",
        file_okay=False,
        metavar="FOLDER",
        show_default="results/ in the project's folder",
        help="Folder of the results; they go to FOLDER/<dataset>/<analysis>/.",
    ),
]
WorkersOption = Annotated[
    int,
    typer.Option(
        "--workers",
        min=1,
        show_default="all cores",
        help="Threads or processes that share the work; results do not depend on it.",
    ),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        show_default=False,
        help="Work on the Dask cluster whose scheduler has this address, such as tcp://10.0.0.1:8786, instead of on "
        "this machine.",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device", metavar="cpu|cuda", help="What computes; both agree in distribution, not in every number."
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Start anew, even where the work is done or half done.")]
PreparationSeedOption = Annotated[
    int,
    typer.Option(
        "--preparation-seed",
        min=0,
        rich_help_panel=PREPARATION,
        help="Seed that decides which cells are drawn; each seed has a prepared file of its own.",
    ),
]
PerturbationKeyOption = Annotated[
    str | None,
    typer.Option(
        "--perturbation-key",
        metavar="COLUMN",
        show_default=False,
        rich_help_panel=PREPARATION,
        help="Column of obs that names each cell's perturbation.",
    ),
]
ControlLabelOption = Annotated[
    str | None,
    typer.Option(
        "--control-label",
        metavar="LABEL",
        show_default=False,
        rich_help_panel=PREPARATION,
        help="Label of unperturbed cells in that column.",
    ),
]
CellsPerPerturbationOption = Annotated[
    int | None,
    typer.Option(
        "--cells-per-perturbation",
        min=2,
        metavar="N",
        show_default=False,
        rich_help_panel=PREPARATION,
        help="Take exactly N cells of each perturbation, at random; perturbations with fewer are left out and listed.",
    ),
]
GenesOption = Annotated[
    int | None,
    typer.Option(
        "--genes",
        min=1,
        metavar="N",
        show_default=False,
        rich_help_panel=PREPARATION,
        help="Keep the N most variable genes.",
    ),
]
MinGenesPerCellOption = Annotated[
    int | None,
    typer.Option(
        "--min-genes-per-cell",
        min=0,
        metavar="N",
        show_default=False,
        rich_help_panel=PREPARATION,
        help="Leave out cells in which fewer than N genes were detected.",
    ),
]


@contextmanager
def exit_on_error() -> Iterator[None]:
    """End the program with a message instead of a traceback where what was given is at fault.

    InputError prints ``error: <message>`` to stderr and exits with code 2. Ctrl-C says that the work goes on later, and
    exits with code 130. Any other exception is a mistake in the program and keeps its traceback. Works as a decorator
    too.
    """
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from error
    except KeyboardInterrupt as error:
        print("\nstopped: the same command goes on where it was", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from error


def script(main: Callable[..., None]) -> None:
    """Run `main` as a command-line program: its parameters become options, its docstring the help text."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(exit_on_error()(main))
    app()
