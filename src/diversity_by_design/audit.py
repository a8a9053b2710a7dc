"""Audit of metrics: any metric of any predictor over many simulated data sets.

A sound metric does not move with what a mean baseline cannot know of, and falls as a prediction is shrunken from the
truth to the mean of all perturbed cells.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from diversity_by_design.errors import InputError, listed
from diversity_by_design.metrics import mae
from diversity_by_design.paper import comparison
from diversity_by_design.running.executors import Outcome, executor
from diversity_by_design.simulator.config import SIMULATION_PARAMETERS, SimulationConfig
from diversity_by_design.simulator.parameters import GeneParameters
from diversity_by_design.simulator.predictors import PREDICTORS, Context, Predictor, read_only
from diversity_by_design.simulator.ranges import SweepRanges, simulation_seed
from diversity_by_design.simulator.simulation import SimulatedData, simulate_statistics
from diversity_by_design.statistics import FloatArray, PerturbationStatistics


@dataclass(frozen=True)
class Metric:
    """A way to score the predictions of all perturbations of a simulated data set.

    Attributes
    ----------
    name : str
    function : callable
        From truth (perturbations, genes), prediction (perturbations, genes) and `Context` to a score of each
        perturbation (perturbations,); NaN where it is undefined. Arrays must be left as they are.
    higher_is_better : bool

    Raises
    ------
    InputError
        `function` cannot be called.

    Examples
    --------
    >>> def largest_error(truth, prediction, context):
    ...     return np.abs(truth - prediction).max(axis=1)
    >>> metric = Metric("largest_error", largest_error, higher_is_better=False)
    """

    name: str
    function: Callable[[FloatArray, FloatArray, Context], npt.ArrayLike]
    higher_is_better: bool

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise InputError(f"metric {self.name!r}: {self.function!r} is no function of truth, prediction and context")

    def score(self, truth: FloatArray, prediction: FloatArray, context: Context) -> FloatArray:
        """Score of each perturbation (perturbations,).

        Raises
        ------
        InputError
            The function returns an array of another shape.
        """
        values = np.asarray(self.function(truth, prediction, context), dtype=float)
        if values.shape != truth.shape[:1]:
            raise InputError(f"it returned shape {values.shape}; expected {truth.shape[:1]}, a score per perturbation")
        return values


_ERRORS = ("mse", "mae", "wmse")

METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        name: Metric(name, function, higher_is_better=name not in _ERRORS)
        for name, function in {
            "mse": comparison.DEFINITIONS["mse"],
            "mae": lambda truth, prediction, _: mae(truth, prediction),
            **comparison.DEFINITIONS,
        }.items()
    }
)


def sweep(
    n_datasets: int,
    *,
    parameters: GeneParameters,
    ranges: SweepRanges | None = None,
    metrics: Iterable[str | Metric] = tuple(METRICS),
    predictors: Iterable[str | Predictor] = tuple(PREDICTORS),
    seed: int = 0,
    max_entries: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Simulate data sets with random parameters, and apply every metric to every predictor on each of them.

    Weights and DEGs are those of all simulated cells, against the rest. The truth of a perturbation is the mean of all
    its observed cells; that of the technical duplicate, which is the mean of their first half, is the mean of the
    second (as in analysis 5, see `diversity_by_design.paper.comparison.baseline_scores`).

    Parameters
    ----------
    n_datasets : int
    parameters : GeneParameters
        Table that the genes are drawn from.
    ranges : SweepRanges, optional
        What configurations are drawn from (default: table 1). Data set i has the same configuration as in the
        synthetic sweep of the same seed, and the same cells.
    metrics : names of `METRICS`, or `Metric`
    predictors : names of `PREDICTORS`, or `Predictor`
        `dial` makes further settings of the dial.
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
    >>> def largest_error(truth, prediction, context):
    ...     return np.abs(truth - prediction).max(axis=1)
    >>> table = sweep(
    ...     2,
    ...     parameters=GeneParameters.default(),
    ...     ranges=SweepRanges(g=(50, 100), n_0=(10, 20), n_p=(10, 20), k=(5, 10)),
    ...     metrics=["weighted_r2_delta", Metric("largest_error", largest_error, higher_is_better=False)],
    ...     predictors=["dial_0", Predictor("zero", lambda context: np.zeros(context.config.g))],
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
        _chosen(metrics, METRICS, Metric, "metric"),
        _chosen(predictors, PREDICTORS, Predictor, "predictor"),
    )
    _check(n_datasets, ranges, parameters)
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


class _MistakeError(Exception):
    """Its message is that of a `_Mistake`."""


# Median and number of undefined perturbations, by metric and predictor.
_Scores = dict[tuple[str, str], tuple[float, int]]


def audit_dataset(task: tuple[int, SimulationConfig], plan: _Plan) -> _Scores | _Mistake:
    """Simulate one data set of a sweep and score it.

    Parameters
    ----------
    task : position of the data set, and its configuration
    plan : what all data sets have in common
    """
    number, config = task
    context = _context(
        simulate_statistics(config, plan.parameters, simulation_seed(plan.seed, number), parts=2, workers=1),
        np.random.SeedSequence(plan.seed, spawn_key=(number, 2)),
    )
    scores: _Scores = {}
    where = f"data set {number} ({config})"
    try:
        for predictor in plan.predictors:
            prediction = _called(f"predictor {predictor.name!r}", where, predictor.predict, context)
            for metric in plan.metrics:
                what = f"metric {metric.name!r}, applied to {predictor.name!r},"
                values = _called(what, where, metric.score, predictor.target(context), prediction, context)
                defined = values[~np.isnan(values)]
                median = float(np.median(defined)) if len(defined) else np.nan
                scores[metric.name, predictor.name] = median, len(values) - len(defined)
    except _MistakeError as mistake:
        return _Mistake(str(mistake), traceback.format_exc())
    return scores


def _context(data: SimulatedData, seed: np.random.SeedSequence) -> Context:
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
    return Context(data.truth.config, whole, read_only(first.mean), read_only(second.mean), data.truth.effects, seed)


def _called(what: str, where: str, function: Callable[..., FloatArray], *arguments: Any) -> FloatArray:
    try:
        return function(*arguments)
    except MemoryError:
        # The fault of the data set, which is too large.
        raise
    except Exception as error:
        raise _MistakeError(f"{what} failed on {where}: {type(error).__name__}: {error}") from error


Named = TypeVar("Named", Metric, Predictor)


def _chosen(
    given: str | Named | Iterable[str | Named], known: Mapping[str, Named], kind: type[Named], what: str
) -> tuple[Named, ...]:
    """Metrics or predictors from what a user gave."""
    right = f"give a name ({', '.join(known)}) or a function of your own as {kind.__name__}(name, function, ...)"
    chosen: list[Named] = []
    for item in given if isinstance(given, Iterable) and not isinstance(given, str) else [given]:
        if isinstance(item, str):
            if item not in known:
                raise InputError(f"no {what} is called {item!r}; {right}")
            item = known[item]
        if not isinstance(item, kind):
            raise InputError(f"{item!r} is no {what}; {right}")
        chosen.append(item)
    names = [item.name for item in chosen]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"{what}s must have different names; {listed(repeated)} occurs more than once")
    if not chosen:
        raise InputError(f"no {what} was given; {right}")
    return tuple(chosen)


def _check(n_datasets: int, ranges: SweepRanges, parameters: GeneParameters) -> None:
    if n_datasets < 1:
        raise InputError(f"n_datasets is {n_datasets}; at least 1 is needed")
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
