"""Scoring any predictors with any metrics against a truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from diversity_by_design.arrays import BoolArray, FloatArray, as_array
from diversity_by_design.baselines import BASELINES, DUPLICATE, Predictor, by_name
from diversity_by_design.errors import InputError, listed, of_type
from diversity_by_design.labels import label_index
from diversity_by_design.metrics import METRICS, Metric
from diversity_by_design.scorecard import PERFECT, CardOptions, Scorecard
from diversity_by_design.threads import map_threads, row_blocks
from diversity_by_design.truth import Target, Truth

# Perturbations scored at a time by metrics that look at rows only: the arrays of some thousand genes stay in the cache.
BLOCK_ROWS = 32


def score(
    truth: Truth | Mapping[str, Truth] | Sequence[Truth],
    predictors: Mapping[str, Any] | Iterable[Predictor] | None = None,
    metrics: str | Metric | Iterable[str | Metric] | None = None,
    *,
    aggregate: str = "median",
    resamples: int = 1000,
    seed: int = 0,
    workers: int | None = None,
) -> Scorecard:
    """Score predictors, and all baselines beside them, with metrics.

    Parameters
    ----------
    truth : Truth, mapping of context to Truth, or sequence of Truth
        A sequence scores different perturbations of one context, such as the two halves of a split, each against its
        own training perturbations.
    predictors : mapping of name to prediction, or iterable of Predictor, optional
        A prediction is a table (perturbations x genes) of pandas, matched by name (perturbations in any form and order;
        those that are not in the table are not scored); an array or tensor with the truth's perturbations and genes in
        its order, or (genes,); a function of a `Target`; a fitted model (with `predict`); or a mapping of seed to one
        of these. With several contexts, tables may be mappings of context to table.
    metrics : names or Metric, optional
        Default: all of `diversity_by_design.metrics.METRICS`.
    aggregate : "median" or "mean"
        Over perturbations, for summaries and calibration.
    resamples : int
        Of the perturbations, for intervals.
    seed : int
        Of the resampling.
    workers : int, optional
        Threads (default: as many as cores). The result does not depend on it.

    Returns
    -------
    Scorecard

    Raises
    ------
    InputError
        A prediction lacks genes, is of another shape, or holds values that are no real numbers; a predictor has the
        name of a baseline, or no metric or predictor has the name.

    Examples
    --------
    >>> from diversity_by_design import PerturbationStatistics
    >>> rng = np.random.default_rng(0)
    >>> labels = np.repeat(["A", "B", "control"], 8)
    >>> cells = rng.random((24, 5)) + np.where(labels == "A", 1.0, 0.0)[:, None]
    >>> truth = Truth(PerturbationStatistics.from_matrix(cells, labels, list("vwxyz")))
    >>> card = score(truth, {"zero": np.zeros(5)}, "mse")
    >>> card.table[["perturbation", "predictor", "value"]].round(2).to_dict("split", index=False)["data"][-2:]
    [['A', 'zero', 2.37], ['B', 'zero', 0.25]]
    """
    chosen = METRICS.chosen(metrics)
    options = CardOptions(aggregate, resamples, seed)
    tables, left_out, notes = [], [], []
    truths = _truths(truth)
    predictors = list(predictors) if isinstance(predictors, Iterator) else predictors
    scored = {(context, label) for context, part in truths for label in part.labels}
    for context, part in truths:
        own = _predictors(predictors, context)
        table, unused = score_targets(part, [*BASELINES.values(), *own], chosen, workers)
        tables.append(table.assign(context=context))
        left_out += [(context, label, "truth", reason) for label, reason in part.left_out.items()]
        left_out += [(context, *row) for row in unused if (context, row[0]) not in scored]
        predicted = set(zip(table["predictor"], table["perturbation"], strict=True))
        lacking = [
            (label, name) for name in dict.fromkeys(predictor.name for predictor in own) for label in part.labels
        ]
        left_out += [(context, *pair, "not predicted") for pair in lacking if pair[::-1] not in predicted]
        notes += _notes(part, context)
    return Scorecard(
        pd.concat(tables, ignore_index=True),
        metrics=chosen,
        predictors=list({predictor.name: predictor for predictor in [*BASELINES.values(), *own]}.values()),
        left_out=pd.DataFrame(
            list(dict.fromkeys(left_out)), columns=["context", "perturbation", "predictor", "reason"]
        ),
        notes=tuple(dict.fromkeys(notes)),
        options=options,
    )


def score_targets(
    truth: Truth, predictors: Sequence[Predictor], metrics: Sequence[Metric], workers: int | None = None
) -> tuple[pd.DataFrame, list[tuple[str, str, str]]]:
    """Scores of every predictor on all targets of one truth.

    Returns
    -------
    DataFrame
        One row per predictor, metric and perturbation that is predicted: `perturbation`, `predictor`, `seed`, `metric`,
        `value` (mean over the targets on which it is defined), `spread` (their standard deviation), `n_targets`; of the
        predictor `PERFECT` what a perfect prediction would score, where the targets have quarters.
    list of tuple
        Perturbation, predictor and reason of what a predictor has beyond the truth's perturbations.
    """
    quarters = [Predictor(PERFECT, partial(_quarter, which=which)) for which in (0, 1)] if truth.has_quarters else []
    everyone = [*predictors, *quarters]
    values, is_predicted = target_scores(truth, everyone, metrics, workers)
    names = [predictor.name for predictor in predictors]
    if quarters:
        # To first order a score is linear in one over the number of cells; twice as many remove as much again. The two
        # quarters of an odd half are not of one size, and count by their cells.
        share = np.array([truth.first_quarter_share(number) for number in truth.numbers()])[:, None]
        duplicate, first, second = (values[:, row] for row in (names.index(DUPLICATE), len(names), len(names) + 1))
        values[:, len(names)] = 2.0 * duplicate - share * first - (1.0 - share) * second
    n_targets = (~np.isnan(values)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(values, axis=0) / np.where(n_targets > 0, n_targets, np.nan)
        spread = np.sqrt(np.nansum((values - mean) ** 2, axis=0) / np.where(n_targets > 1, n_targets - 1, np.nan))
    tables = []
    for row, predictor in enumerate(everyone[: len(names) + bool(quarters)]):
        kept = is_predicted[row]
        for column, metric in enumerate(metrics):
            tables.append(
                pd.DataFrame(
                    {
                        "perturbation": truth.labels[kept],
                        "predictor": predictor.name,
                        "seed": predictor.seed,
                        "metric": metric.name,
                        "value": mean[row, column, kept],
                        "spread": spread[row, column, kept] if row < len(names) else np.nan,
                        "n_targets": n_targets[row, column, kept],
                    }
                ).astype({"seed": "Int64"})
            )
    unused = [
        (str(label), predictor.name, "not among the perturbations that are scored")
        for predictor in predictors
        if isinstance(predictor.function, _Named)
        for label in label_index(predictor.function.labels, predictor.name, truth.statistics.control)
        if label not in truth.labels
    ]
    return pd.concat(tables, ignore_index=True), unused


def target_scores(
    truth: Truth, predictors: Sequence[Predictor], metrics: Sequence[Metric], workers: int | None = None
) -> tuple[FloatArray, BoolArray]:
    """Scores on every target of a truth, and which perturbations each predictor predicts.

    Returns
    -------
    scores : float64 array (targets, predictors, metrics, labels)
    is_predicted : bool array (predictors, labels)
    """
    scores, predicted = [], []
    for number in truth.numbers():
        targets = {half: truth.target(number, half=half) for half in {predictor.half for predictor in predictors}}
        if truth.mode == "calibrated":
            targets = dict.fromkeys(targets, next(iter(targets.values())))
        predictions = [predictor.predict(targets[predictor.half]) for predictor in predictors]
        scores.append(
            [
                score_target(targets[predictor.half], prediction, metrics, workers)
                for predictor, prediction in zip(predictors, predictions, strict=True)
            ]
        )
        predicted.append([~np.isnan(prediction[:, 0]) for prediction in predictions])
    return np.array(scores), np.array(np.all(predicted, axis=0))


def score_target(
    target: Target, prediction: FloatArray, metrics: Sequence[Metric], workers: int | None = None
) -> FloatArray:
    """Scores (metrics, labels) of a prediction (labels, genes); NaN for perturbations that are not predicted."""
    values = np.full((len(metrics), len(target.labels)), np.nan)
    rows = np.flatnonzero(~np.isnan(prediction[:, 0]))
    if not len(rows):
        return values
    if len(rows) < len(target.labels):
        values[:, rows] = score_target(target.rows(rows), prediction[rows], metrics, workers)
        return values

    def fill(block: slice) -> None:
        part = target.rows(block)
        for row, metric in enumerate(metrics):
            if metric.by_row:
                values[row, block] = metric.score(part, prediction[block])

    blocks = row_blocks(len(rows), BLOCK_ROWS)
    # The first block asks the target for what all need, which it computes once.
    fill(blocks[0])
    map_threads(fill, blocks[1:], workers)
    for row, metric in enumerate(metrics):
        if not metric.by_row:
            values[row] = metric.score(target, prediction)
    return values


def _quarter(target: Target, which: int) -> FloatArray:
    return target.quarters[which]


class _Named:
    """Predictions by name, which are matched once for all targets of a truth: a table, or those of a fitted model."""

    def __init__(self, name: str, predict: Callable[[list[str]], Any]) -> None:
        self._name, self._predict = name, predict
        self._matched: pd.Index | None = None
        self._values = np.empty((0, 0))
        self.labels = pd.Index([])

    def __call__(self, target: Target) -> FloatArray:
        # All targets of a truth have the same labels and genes.
        if self._matched is not target.labels:
            table = self._predict(list(target.labels))
            if not isinstance(table, pd.DataFrame | pd.Series):
                raise InputError(
                    f"predictions of {self._name!r} are of type {type(table).__name__}; expected a table of pandas "
                    "(perturbations x genes)"
                )
            self._values = by_name(table, target, f"prediction of {self._name!r}")
            self._matched = target.labels
            if isinstance(table, pd.DataFrame):
                self.labels = table.index
        return self._values


def _truths(truth: Any) -> list[tuple[str, Truth]]:
    """Truths with their contexts."""
    if isinstance(truth, Truth):
        truths = [("", truth)]
    elif isinstance(truth, Mapping):
        truths = [(str(context), part) for context, part in truth.items()]
    else:
        truths = [("", part) for part in truth] if isinstance(truth, Iterable) else [("", truth)]
    for _, part in truths:
        of_type(part, Truth, "truth", "Truth.from_anndata(adata, train=labels), or Truth(statistics)")
    if not truths:
        raise InputError("no truth was given")
    places = pd.Series([(context, label) for context, part in truths for label in part.labels])
    twice = places[places.duplicated()]
    if len(twice):
        raise InputError(
            f"{len(twice)} perturbation(s) are scored by several of the truths: {listed(label for _, label in twice)}; "
            "give different labels= to each"
        )
    return truths


def _predictors(given: Any, context: str) -> list[Predictor]:
    """Predictors from what a user gave, for one context."""
    if given is None:
        return []
    if not isinstance(given, Mapping):
        predictors = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
        wrong = [predictor for predictor in predictors if not isinstance(predictor, Predictor)]
        if wrong:
            raise InputError(
                f"predictors: {type(wrong[0]).__name__} is no Predictor; give a mapping of name to prediction, such as "
                '{"mine": table}'
            )
    else:
        predictors = [one for name, value in given.items() for one in _named(str(name), value, context)]
    taken = sorted({predictor.name for predictor in predictors} & {*BASELINES, PERFECT})
    if taken:
        raise InputError(f"{listed(taken)} is the name of a baseline; give the prediction another name")
    keys = [(predictor.name, predictor.seed) for predictor in predictors]
    if len(set(keys)) < len(keys):
        raise InputError(f"two predictors have the same name and seed: {listed(sorted({k[0] for k in keys}))}")
    return predictors


def _named(name: str, value: Any, context: str) -> list[Predictor]:
    """Predictors of one name: several if there is one for each seed."""
    if isinstance(value, Predictor):
        return [replace(value, name=name)]
    if isinstance(value, Mapping):
        if value and all(isinstance(key, int | np.integer) for key in value):
            if context in map(str, value):
                raise InputError(
                    f"predictions of {name!r}: {listed(value)} may be seeds or contexts; contexts are texts, as "
                    f"{context!r}, seeds are given within them"
                )
            return [
                replace(predictor, seed=int(seed))
                for seed, part in value.items()
                for predictor in _named(name, part, context)
            ]
        if context not in value:
            raise InputError(
                f"predictions of {name!r} have no context {context!r}; they have: {listed(value)} (a mapping is of "
                "contexts, or of seeds, which are whole numbers)"
            )
        return _named(name, value[context], "")
    if isinstance(value, pd.DataFrame | pd.Series):
        return [Predictor(name, _Named(name, lambda labels: value), name)]
    if hasattr(value, "predict"):
        return [Predictor(name, _Named(name, value.predict), name)]
    if callable(value) and not hasattr(value, "detach"):
        return [Predictor(name, value, name)]
    array = as_array(value, f"predictions of {name!r}")
    return [Predictor(name, lambda target: array, name)]


def _notes(truth: Truth, context: str) -> list[str]:
    """What a reader of the scores must know of a truth."""
    where = f"{context}: " if context else ""
    notes = []
    if truth.train is None and truth.mode == "calibrated":
        notes.append(
            f"{where}no training perturbations were named: mu_all, the rest and the baselines are of all "
            "perturbations, those scored among them."
        )
    if truth.halves is None:
        notes.append(
            f"{where}the truth has no halves of cells, hence no technical duplicate: nothing is calibrated "
            "(Truth.from_anndata makes them)."
        )
    if truth.left_out:
        notes.append(f"{where}not scored, with too few cells: {listed(truth.left_out, 30)}.")
    return notes
