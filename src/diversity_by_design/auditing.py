"""Audit of metrics: any metric of any predictor over many simulated data sets.

A sound metric does not move with what a mean baseline cannot know of, and falls as a prediction is shrunken from the
truth to the mean of all perturbed cells.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from diversity_by_design.arrays import BoolArray, read_only
from diversity_by_design.baselines import ALPHAS, BASELINES, Predictor, dial
from diversity_by_design.errors import InputError, of_type, whole_number
from diversity_by_design.halves import Halvings
from diversity_by_design.metrics import METRICS, Metric
from diversity_by_design.registry import Registry
from diversity_by_design.running.executors import Outcome, executor
from diversity_by_design.scoring import target_scores
from diversity_by_design.simulator.config import SIMULATION_PARAMETERS, SimulationConfig
from diversity_by_design.simulator.parameters import GeneParameters
from diversity_by_design.simulator.ranges import SweepRanges, simulation_seed
from diversity_by_design.simulator.simulation import SimulatedData, simulate_statistics
from diversity_by_design.simulator.truth import Effects
from diversity_by_design.statistics import PerturbationStatistics
from diversity_by_design.truth import Target, Truth


@dataclass(frozen=True, eq=False)
class Simulation:
    """What metrics and predictors may know of how a target was simulated: its `simulation`.

    Attributes
    ----------
    config : SimulationConfig
    effects : Effects
        Genes that the simulation let each perturbation affect.
    seed : SeedSequence
        Of the data set, for metrics and predictors that draw random numbers.
    """

    config: SimulationConfig
    effects: Effects
    seed: np.random.SeedSequence

    @cached_property
    def affected(self) -> BoolArray:
        """Whether the simulation let the perturbation affect the gene (perturbations, genes)."""
        return read_only(self.effects.directions(self.config.g) != 0)


class SimulatedTruth(Truth):
    """Truth of a simulated data set, in the mode "paper"; its targets have a `simulation`."""

    def __init__(self, data: SimulatedData, seed: np.random.SeedSequence) -> None:
        first, second = data.statistics
        # Not `merge`: control cells are in both parts.
        whole = PerturbationStatistics(
            labels=first.labels,
            genes=first.genes,
            n_cells=first.n_cells + second.n_cells,
            sum=first.sum + second.sum,
            sum_sq=first.sum_sq + second.sum_sq,
            control=first.control,
            n_control=first.n_control,
            control_sum=first.control_sum,
            control_sum_sq=first.control_sum_sq,
        )
        sums = np.stack([first.sum, first.sum_sq])
        halves = Halvings(first.labels, first.genes, whole.n_cells, first.n_cells, [sums], [])
        super().__init__(whole, halves=halves, mode="paper", workers=1)
        self.simulation = Simulation(data.truth.config, data.truth.effects, seed)

    def target(self, number: int, *, half: bool = False) -> Target:
        """See `Truth.target`."""
        target = super().target(number, half=half)
        target.simulation = self.simulation
        return target


def audit(
    n_datasets: int,
    *,
    parameters: GeneParameters,
    ranges: SweepRanges | None = None,
    metrics: str | Metric | Iterable[str | Metric] | None = None,
    predictors: str | Predictor | Iterable[str | Predictor] | None = None,
    seed: int = 0,
    max_entries: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Simulate data sets with random parameters, and apply every metric to every predictor on each of them.

    Weights and DEGs are those of all simulated cells, against the rest. The truth of a perturbation is the mean of all
    its observed cells; that of the technical duplicate, which is the mean of their first half, is the mean of the
    second (as in analysis 5, see `diversity_by_design.paper.comparison.paper_scores`).

    Parameters
    ----------
    n_datasets : int
    parameters : GeneParameters
        Table that the genes are drawn from.
    ranges : SweepRanges, optional
        What configurations are drawn from (default: table 1). Data set i has the same configuration as in the
        synthetic sweep of the same seed, and the same cells.
    metrics : names of `diversity_by_design.metrics.METRICS`, or `Metric`, optional
        Default: all of them.
    predictors : names of `diversity_by_design.baselines.BASELINES`, or `Predictor`, optional
        Default: all baselines and settings of the dial from the truth (``dial_0``) to mode collapse (``dial_1``);
        `dial` makes further settings.
    seed : int
    max_entries : int, optional
        Data sets with more entries (cells x genes) are drawn again.
    workers : int, optional
        Processes (default: as many as cores); they do not change the result. Each holds one data set at a time, as
        arrays of k x g: 2.4 GB for the largest of table 1. A script must start its work under
        ``if __name__ == "__main__":``.
    scheduler : str, optional
        Address of a Dask cluster that does the work instead.
    progress : bool
        Show a bar on a terminal.

    Returns
    -------
    DataFrame
        One row per data set, metric and predictor: `dataset`, the eight parameters, `n_redrawn` (configurations that
        were too large), `metric`, `higher_is_better`, `predictor`, `value` (median over the perturbations for which
        the metric is defined, NaN if there are none), `n_undefined` (the other perturbations) and `error` (why the
        data set could not be simulated, which makes its values NaN; else empty). `audit_summary` makes sense of it.

    Raises
    ------
    InputError
        No such metric or predictor. A name occurs twice; there are none; the ranges allow a single perturbation, or
        more genes than there are parameters; or a metric or predictor raises an error or returns another shape, which
        ends the sweep: the message names it and the data set.
    RuntimeError
        No data set could be simulated.

    Warns
    -----
    UserWarning
        Some data sets could not be simulated.

    Examples
    --------
    >>> def largest_error(target, prediction):
    ...     return np.abs(target.mean - prediction).max(axis=1)
    >>> table = audit(
    ...     2,
    ...     parameters=GeneParameters.default(),
    ...     ranges=SweepRanges(g=(50, 100), n_0=(10, 20), n_p=(10, 20), k=(5, 10)),
    ...     metrics=["weighted_r2_delta", Metric("largest_error", largest_error, higher_is_better=False)],
    ...     predictors=["dial_0", Predictor("zero", lambda target: np.zeros(len(target.genes)))],
    ...     workers=1,
    ...     progress=False,
    ... )
    >>> table.loc[table["predictor"] == "dial_0", ["dataset", "metric", "value"]].to_dict("split", index=False)["data"]
    [[0, 'weighted_r2_delta', 1.0], [0, 'largest_error', 0.0], [1, 'weighted_r2_delta', 1.0], [1, 'largest_error', 0.0]]
    """
    ranges = SweepRanges() if ranges is None else ranges
    plan = _Plan(
        parameters,
        seed,
        tuple(METRICS.chosen(metrics)),
        tuple(_predictors(predictors)),
    )
    _check(n_datasets, ranges, parameters, max_entries)
    drawn = [ranges.draw(seed, number, max_entries) for number in range(n_datasets)]
    tasks = [(number, config) for number, (config, _) in enumerate(drawn)]
    outcomes: dict[int, Outcome] = {}
    with (
        executor(workers, scheduler) as place,
        tqdm(total=n_datasets, desc="metric audit", unit="data set", disable=None if progress else True) as bar,
    ):
        for number, outcome in place.run(audit_dataset, tasks, shared=(plan,)):
            if isinstance(outcome.value, _Mistake):
                error = InputError(outcome.value.message)
                error.add_note(outcome.value.traceback)
                raise error
            outcomes[number] = outcome
            bar.update()
    _report_failures(outcomes)
    return pd.concat(
        [_rows(number, *drawn[number], outcomes[number], plan) for number in range(n_datasets)], ignore_index=True
    )


@dataclass(frozen=True)
class _Plan:
    """What all data sets of a sweep have in common."""

    parameters: GeneParameters
    seed: int
    metrics: tuple[Metric, ...]
    predictors: tuple[Predictor, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        # Functions of a notebook, and those without a name, reach other processes too.
        import cloudpickle

        fields = (self.parameters, self.seed, self.metrics, self.predictors)
        return _unpacked, (cloudpickle.dumps(fields),)


def _unpacked(fields: bytes) -> _Plan:
    import cloudpickle

    return _Plan(*cloudpickle.loads(fields))


@dataclass(frozen=True)
class _Mistake:
    """A metric or predictor failed, which is no fault of the data set."""

    message: str
    traceback: str


# Median and number of undefined perturbations, by metric and predictor.
_Scores = dict[tuple[str, str], tuple[float, int]]


def audit_dataset(task: tuple[int, SimulationConfig], plan: _Plan) -> _Scores | _Mistake:
    """Simulate one data set of an audit and score it.

    Parameters
    ----------
    task : position of the data set, and its configuration
    plan : what all data sets have in common
    """
    number, config = task
    data = simulate_statistics(config, plan.parameters, simulation_seed(plan.seed, number), parts=2, workers=1)
    truth = SimulatedTruth(data, np.random.SeedSequence(plan.seed, spawn_key=(number, 2)))
    try:
        values, _ = target_scores(truth, plan.predictors, plan.metrics, workers=1)
    except MemoryError:
        # The fault of the data set, which is too large.
        raise
    except Exception as error:
        said = "; ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])])
        return _Mistake(f"data set {number} ({config}): {said}", traceback.format_exc())
    scores: _Scores = {}
    for predictor, of_metrics in zip(plan.predictors, values[0], strict=True):
        for metric, own in zip(plan.metrics, of_metrics, strict=True):
            defined = own[~np.isnan(own)]
            median = float(np.median(defined)) if len(defined) else np.nan
            scores[metric.name, predictor.name] = median, len(own) - len(defined)
    return scores


def _predictors(given: str | Predictor | Iterable[str | Predictor] | None) -> list[Predictor]:
    """Predictors by name, settings of the dial among them."""
    known: Registry[Predictor] = Registry("predictor", Predictor)
    # Simulated perturbations are no combinations, which is all that the additive baseline predicts.
    for predictor in (*(row for name, row in BASELINES.items() if name != "additive"), *map(dial, ALPHAS)):
        known.register(predictor)
    return known.chosen(given)


def _check(n_datasets: int, ranges: SweepRanges, parameters: GeneParameters, max_entries: int | None) -> None:
    whole_number(n_datasets, "n_datasets", 1)
    if max_entries is not None:
        whole_number(max_entries, "max_entries", 1)
    of_type(ranges, SweepRanges, "ranges", "SweepRanges(g=(500, 1000), ...)")
    of_type(parameters, GeneParameters, "parameters", "GeneParameters.default()")
    if ranges.k.low < 2:
        raise InputError(
            f"the range of k begins at {ranges.k.low}; at least 2 perturbations are needed, since every one is "
            "compared with the others"
        )
    if ranges.g.high > len(parameters):
        raise InputError(
            f"the range of g ends at {ranges.g.high:,}, but the gene parameters hold only {len(parameters):,} genes; "
            "lower it or use parameters of more genes"
        )


def _report_failures(outcomes: Mapping[int, Outcome]) -> None:
    failed = sorted(number for number, outcome in outcomes.items() if outcome.error)
    if not failed:
        return
    text = f"{len(failed):,} of {len(outcomes):,} data sets could not be simulated; data set {failed[0]}: "
    text += outcomes[failed[0]].error
    if len(failed) == len(outcomes):
        raise RuntimeError(text)
    warnings.warn(f"{text}. Their values are NaN, see the column `error`", stacklevel=3)


def _rows(number: int, config: SimulationConfig, n_redrawn: int, outcome: Outcome, plan: _Plan) -> pd.DataFrame:
    keys = [(metric, predictor) for metric in plan.metrics for predictor in plan.predictors]
    scores = outcome.value or {}
    values = [scores.get((metric.name, predictor.name), (np.nan, config.k)) for metric, predictor in keys]
    return pd.DataFrame(
        {
            "dataset": number,
            **{parameter: getattr(config, parameter) for parameter in SIMULATION_PARAMETERS},
            "n_redrawn": n_redrawn,
            "metric": [metric.name for metric, _ in keys],
            "higher_is_better": [metric.higher_is_better for metric, _ in keys],
            "predictor": [predictor.name for _, predictor in keys],
            "value": [value for value, _ in values],
            "n_undefined": [n_undefined for _, n_undefined in values],
            "error": outcome.error,
        }
    )
