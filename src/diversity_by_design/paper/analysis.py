"""What the numbered scripts have in common: their names, the folder of results, how they begin and end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diversity_by_design import cli
from diversity_by_design.datasets.script import Preparation

if TYPE_CHECKING:
    from diversity_by_design.datasets import PreparedDataset
    from diversity_by_design.running.results import ResultFolder

# In the order in which they run: the name, that of the script and of its folder of results, and the title.
ANALYSES = {
    "1_synthetic_sweep": "Synthetic sweep",
    "2_real_data_sweeps": "Real-data sweeps",
    "3_niche_sensitivity": "Sensitivity to niche signals",
    "4_train_gears": "Training of GEARS",
    "5_compare_models": "Comparison of models and baselines",
}


@dataclass(frozen=True)
class Run:
    """What an analysis works with."""

    prepared: PreparedDataset
    folder: ResultFolder  # where tables and figures go
    reads: Sequence[Path]  # files of other analyses that it is made of
    seed: int
    workers: int


def open_folder(
    name: str,
    prepared: PreparedDataset,
    common: cli.Common,
    seed: int,
    parameters: Mapping[str, object],
    reads: Sequence[Path] = (),
) -> ResultFolder | None:
    """Folder of the results of an analysis of `ANALYSES`; None, once that is said, where it is complete already."""
    from diversity_by_design.running.results import ResultFolder

    folder = ResultFolder(
        common.output / prepared.name / name,
        analysis=name,
        title=ANALYSES[name],
        dataset=prepared,
        seed=seed,
        parameters=parameters,
        reads=reads,
        force=common.force,
    )
    if folder.complete:
        print(f"{folder.path}: already complete; --force runs it anew")
        return None
    return folder


def script(
    analyse: Callable[[Run], None],
    name: str,
    parameters: Mapping[str, object] | None = None,
    reads: Callable[[Path], Sequence[Path]] = lambda results: (),
) -> None:
    """Run an analysis as a command-line program.

    The data set is prepared if need be, the folder ``<output>/<data set>/<name>`` (of each context, with
    ``--context-key``: ``<output>/<data set>/<context>/<name>``) opened, and `analyse` called, unless the folder is
    complete already.

    Parameters
    ----------
    analyse : callable
        Does the work; its docstring is the help text.
    name : str
        One of `ANALYSES`.
    parameters : mapping, optional
        What else the results depend on.
    reads : callable
        Given the folder of all results of the data set, returns the files of other analyses that this one is made of:
        those that are there. When they change, the analysis is made again.
    """

    def main(data: Preparation, common: cli.Common, seed: cli.SeedOption = 0) -> None:
        for prepared in data.load().by_context():
            others = reads(common.output / prepared.name)
            folder = open_folder(name, prepared, common, seed, parameters or {}, others)
            if folder is not None:
                analyse(Run(prepared, folder, others, seed, common.workers))
                folder.finish()
                print(f"results: {folder.path}")

    main.__doc__ = analyse.__doc__
    cli.script(main)
