"""The random sweep: data sets of table 1's ranges, simulated wherever there are cores, in a table that grows safely."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from diversity_by_design.errors import InputError, listed, whole_number
from diversity_by_design.running.executors import Executor, Outcome, executor
from diversity_by_design.simulator.config import SimulationConfig
from diversity_by_design.simulator.evaluation import METRICS
from diversity_by_design.simulator.parameters import GeneParameters
from diversity_by_design.simulator.ranges import SweepRanges, simulation_seed
from diversity_by_design.simulator.store import open_store

if TYPE_CHECKING:
    import pandas as pd

# Raise it when a change of the simulator changes results: tables made before are then not continued.
MODEL_VERSION = 2

RESULTS = (*METRICS, "fraction_affected", "n_empty_cells", "n_clipped_genes")
_REMARKABLE = {
    "n_empty_cells": "Cells without a count, whose expression is 0",
    "n_clipped_genes": "Genes whose mean in perturbed cells would have been negative, and was 0 instead",
}
SCHEMA: dict[str, type] = {
    "dataset": int,
    **dict.fromkeys(("g", "n_0", "n_p", "k"), int),
    **dict.fromkeys(("beta", "delta", "epsilon", "mu_l", "sigma_l"), float),
    **dict.fromkeys(RESULTS, float),
    "error": str,
}


@dataclass(frozen=True)
class SweepTask:
    """One data set of a sweep: its position, what it is made of, and the seed of its simulation."""

    dataset: int
    config: SimulationConfig
    seed: np.random.SeedSequence


def simulate_row(task: SweepTask, parameters: GeneParameters, device: str) -> dict[str, float]:
    """Simulate one data set of a sweep on one core; its metrics."""
    from diversity_by_design.simulator.simulation import simulate

    result = simulate(task.config, parameters, task.seed, device=device, workers=1)
    return {**result.metrics, "n_empty_cells": result.n_empty_cells, "n_clipped_genes": result.n_clipped_genes}


def run_random_sweep(
    n_datasets: int,
    *,
    seed: int,
    parameters: GeneParameters,
    path: Path,
    ranges: SweepRanges | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    max_entries: int | None = None,
    device: str = "cpu",
    force: bool = False,
    progress: bool = True,
    simulate_one: Callable[[SweepTask, GeneParameters, str], Mapping[str, float]] = simulate_row,
) -> pd.DataFrame:
    """Simulate data sets of random parameters and score the perturbed mean on each (section 3.1).

    A data set depends on the seed and its position alone. So a sweep that was stopped or killed goes on where it was,
    one of more data sets keeps those of one of fewer, and the table is the same in the end, wherever it was made.

    Parameters
    ----------
    n_datasets : int
    seed : int
    parameters : GeneParameters
        Table that the genes of every data set are drawn from.
    path : Path
        SQLite file of the results, see `store.open_store`; the largest data sets come first.
    ranges : SweepRanges, optional
        Default: table 1.
    workers : int, optional
        Processes of this machine (default: as many as cores).
    scheduler : str, optional
        Address of a Dask scheduler, whose workers are used instead.
    max_entries : int, optional
        Bound on the size (cells x genes) of a data set, see `SweepRanges.draw`.
    device : "cpu" or "cuda"
        With "cuda" and no `scheduler`, `workers` is not used: the GPU of this machine has many data sets at a time.
    force : bool
        Start anew, whatever is at `path`.
    progress : bool
        Show a bar on a terminal.
    simulate_one : callable
        What is done with a data set: a function of a module, of a `SweepTask`, the gene parameters and the device,
        that returns the metrics.

    Returns
    -------
    DataFrame
        One row per data set: `dataset`, `g`, `n_0`, `n_p`, `k`, `beta`, `delta`, `epsilon`, `mu_l`, `sigma_l`;
        ``{pearson_delta,mse,mae}_{all,affected,degs_vs_control,degs_vs_rest}``, medians over perturbations;
        `fraction_affected`; `n_empty_cells` (cells without a count, whose expression is 0); `n_clipped_genes` (genes
        whose mean in perturbed cells would have been negative, and was 0 instead); and `error`, which is empty unless
        the data set failed. Then its metrics are NaN, and the next run tries it again. `sweep_notes` says what a
        reader of the table must know.

    Raises
    ------
    InputError
        The ranges ask for more genes than `parameters` has; no data set is within `max_entries`; or `path` holds a
        sweep of another seed, ranges, gene parameters, bound, device or version of the simulator, or is in use. The
        scheduler cannot be reached.
    """
    tasks, made_with = _plan(n_datasets, seed, parameters, ranges, max_entries, device)
    _check_store(path, made_with, force)
    # Before an earlier file is removed by force, since a place may not be reached.
    with _place(workers, scheduler, device) as place, open_store(Path(path), SCHEMA, made_with, force=force) as store:
        finished = store.finished
        missing = [task for task in tasks if task.dataset not in finished]
        # The largest first, so that no worker is left with one when the others are done.
        missing.sort(key=lambda task: task.config.n_entries, reverse=True)
        total = sum(task.config.n_entries for task in tasks)
        left = sum(task.config.n_entries for task in missing)
        n_failed = 0
        # By entries, since the time left depends on them.
        with tqdm(
            desc="sweep",
            total=total,
            initial=total - left,
            unit=" entries",
            unit_scale=True,
            smoothing=0.05,
            disable=None if progress and missing else True,
        ) as bar:
            outcomes = place.run(simulate_one, missing, shared=(parameters, device))
            for n_done, (index, outcome) in enumerate(outcomes, n_datasets - len(missing) + 1):
                task = missing[index]
                store.append(_row(task, outcome))
                n_failed += bool(outcome.error)
                failed = f", {n_failed} failed" if n_failed else ""
                bar.set_postfix_str(f"{n_done}/{n_datasets} data sets{failed}", refresh=False)
                bar.update(task.config.n_entries)
        table = store.table()
    return table[table["dataset"] < n_datasets].reset_index(drop=True)


def check_random_sweep(
    n_datasets: int,
    *,
    seed: int,
    parameters: GeneParameters,
    path: Path,
    ranges: SweepRanges | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    max_entries: int | None = None,
    device: str = "cpu",
    force: bool = False,
) -> None:
    """Raise what `run_random_sweep` would at its start, for a program that does something else first.

    Nothing is simulated, and nothing that is at `path` is lost.
    """
    _, made_with = _plan(n_datasets, seed, parameters, ranges, max_entries, device)
    with _place(workers, scheduler, device):
        pass
    _check_store(path, made_with, force)


def sweep_notes(
    table: pd.DataFrame, *, seed: int, ranges: SweepRanges | None = None, max_entries: int | None = None
) -> list[str]:
    """What a reader of a sweep's table must know: how the size was bounded, what failed, what is undefined.

    `seed`, `ranges` and `max_entries` are what `run_random_sweep` made the table with.
    """
    ranges = ranges or SweepRanges()
    notes = []
    if max_entries is not None:
        n_redrawn = sum(ranges.draw(seed, dataset, max_entries)[1] for dataset in table["dataset"])
        notes.append(
            f"Data sets have at most {max_entries:,} entries (cells x genes): {n_redrawn:,} larger ones were drawn "
            f"besides the {len(table):,} kept, so g, n_0, n_p and k are smaller than their ranges suggest, and not "
            "independent."
        )
    failed = table[table["error"] != ""]
    if len(failed):
        causes = failed["error"].value_counts()
        notes.append(
            f"{len(failed):,} of {len(table):,} data sets failed and are left out; the same command tries them again: "
            f"{listed(failed['dataset'])}. The most frequent error ({causes.iloc[0]:,} times): {causes.index[0]}"
        )
    undefined = table.loc[table["error"] == "", list(RESULTS)].isna().sum()
    undefined = undefined[undefined > 0]
    if len(undefined):
        counts = ", ".join(f"{name} {count:,}" for name, count in undefined.items())
        notes.append(f"Data sets in which a metric is undefined for every perturbation: {counts}.")
    for name, what in _REMARKABLE.items():
        affected = table.loc[table[name] > 0, name]
        if len(affected):
            notes.append(f"{what}: {int(affected.sum()):,}, in {len(affected):,} of {len(table):,} data sets.")
    return notes


def checksum(parameters: GeneParameters) -> str:
    """Hash of a table of gene parameters, names and order included."""
    digest = hashlib.sha256("\0".join(map(str, parameters.genes)).encode())
    for values in (parameters.mu_control, parameters.mu_perturbed, parameters.theta):
        digest.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
    return f"sha256:{digest.hexdigest()}"


def _place(workers: int | None, scheduler: str | None, device: str) -> Executor:
    """Return where the data sets are simulated: a GPU of this machine has many at a time."""
    if device == "cuda" and scheduler is None:
        from diversity_by_design.simulator.cuda import DataSetsInFlight

        return DataSetsInFlight()
    return executor(workers, scheduler)


def _check_store(path: Path, made_with: Mapping[str, Any], force: bool) -> None:
    """Refuse the file of another sweep before anything starts."""
    if Path(path).exists() and not force:
        with open_store(Path(path), SCHEMA, made_with):
            pass


def _plan(
    n_datasets: int,
    seed: int,
    parameters: GeneParameters,
    ranges: SweepRanges | None,
    max_entries: int | None,
    device: str,
) -> tuple[list[SweepTask], dict[str, Any]]:
    """Data sets of a sweep, and what its file records of how it was made."""
    ranges = ranges or SweepRanges()
    whole_number(n_datasets, "n_datasets", 1)
    if ranges.g.high > len(parameters):
        raise InputError(
            f"data sets have up to {ranges.g.high:,} genes, but there are parameters of {len(parameters):,} only; give "
            "a range of g that ends there, or parameters of more genes"
        )
    tasks = [
        SweepTask(dataset, ranges.draw(seed, dataset, max_entries)[0], simulation_seed(seed, dataset))
        for dataset in range(n_datasets)
    ]
    made_with = {
        "seed": seed,
        "ranges": dataclasses.asdict(ranges),
        "gene_parameters": checksum(parameters),
        "max_entries": max_entries,
        "device": device,
        "model_version": MODEL_VERSION,
    }
    return tasks, made_with


def _row(task: SweepTask, outcome: Outcome) -> dict[str, Any]:
    metrics = dict.fromkeys(RESULTS, np.nan) if outcome.error else outcome.value
    return {
        "dataset": task.dataset,
        **dataclasses.asdict(task.config),
        **{name: metrics[name] for name in RESULTS},
        "error": outcome.error,
    }
