"""What the scripts share: their options, where results are, and how errors reach the reader.

A script declares its options as parameters of a function, with the types of this module, and hands it to `script`.
Options that belong together are the fields of a dataclass, which the function gets whole::

    def main(common: cli.Common, seed: cli.SeedOption = 0) -> None:
        '''One line that --help shows.'''

    if __name__ == "__main__":
        cli.script(main)
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from diversity_by_design.errors import InputError
from diversity_by_design.running.project import project_root
from diversity_by_design.threads import available_cores

BAD_INPUT = 2
INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended

RESULTS = project_root() / "results"
CORES = available_cores()

SeedOption = Annotated[
    int, typer.Option("--seed", min=0, help="Seed of every random choice; the same seed gives the same results.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Start anew, even where the work is done or half done.")]


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


def _device(name: str) -> str:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise typer.BadParameter(f"{name!r} is no device; it must be cpu, cuda, or one GPU such as cuda:0")
    return name


@dataclass(frozen=True)
class Common:
    """Options of every analysis."""

    output: Annotated[
        Path,
        typer.Option(
            "--output",
            file_okay=False,
            metavar="FOLDER",
            show_default="results/ in the project's folder",
            help="Folder of the results; they go to FOLDER/<dataset>/<analysis>/.",
        ),
    ] = RESULTS
    workers: WorkersOption = CORES
    force: ForceOption = False


@dataclass(frozen=True)
class Place:
    """Options of an analysis whose work can be done elsewhere."""

    scheduler: SchedulerOption = None
    device: Annotated[
        str,
        typer.Option(
            "--device",
            metavar="cpu|cuda",
            parser=_device,
            help="What computes; both agree in distribution, not in every number.",
        ),
    ] = "cpu"


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


def flat(function: Callable[..., None]) -> Callable[..., None]:
    """The function with a parameter for each field of the dataclasses among its parameters.

    Examples
    --------
    >>> def main(common: Common, seed: SeedOption = 0) -> None:
    ...     '''Say where results go.'''
    >>> list(inspect.signature(flat(main)).parameters)
    ['output', 'workers', 'force', 'seed']
    """
    types = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters
    groups = {name: types[name] for name in parameters if is_dataclass(types[name])}
    options: dict[str, tuple[Any, Any]] = {}
    for name, parameter in parameters.items():
        if name in groups:
            hints = get_type_hints(groups[name], include_extras=True)
            options |= {field.name: (hints[field.name], field.default) for field in fields(groups[name])}
        else:
            options[name] = (types[name], parameter.default)

    def call(**given: Any) -> None:
        whole = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        function(**given, **whole)

    call.__doc__ = function.__doc__
    call.__annotations__ = {name: annotation for name, (annotation, _) in options.items()}
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in options.items()
        ]
    )
    return call


def script(main: Callable[..., None]) -> None:
    """Run `main` as a command-line program: its parameters become options, its docstring the help text."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(exit_on_error()(flat(main)))
    app()
