"""Scores of baselines and models on the paper's metrics, and how they depend on the strength of a perturbation.

Everything here is computed from grouped statistics and returned as tidy tables (section 4.4; figures 6, 7 and 9).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType, SimpleNamespace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from diversity_by_design import baselines, metrics
from diversity_by_design.degs import DegScores
from diversity_by_design.errors import InputError, listed
from diversity_by_design.labels import is_combination
from diversity_by_design.statistics import FloatArray, PerturbationStatistics

Truth = Literal["paper", "second_half"]
Halves = tuple[PerturbationStatistics, PerturbationStatistics]

# Metrics of figure 6, in its order: functions of truth and prediction, and of an object with the other arguments of
# `metric_values` as attributes.
DEFINITIONS: Mapping[str, Callable[[FloatArray, FloatArray, Any], FloatArray]] = MappingProxyType(
    {
        "mse": lambda truth, prediction, _: metrics.mse(truth, prediction),
        "wmse": lambda truth, prediction, known: metrics.wmse(truth, prediction, known.weights),
        "r2_delta": lambda truth, prediction, known: metrics.r2_delta(truth, prediction, known.perturbed_mean),
        "weighted_r2_delta": lambda truth, prediction, known: metrics.r2_delta(
            truth, prediction, known.perturbed_mean, known.weights
        ),
        "pearson_delta": lambda truth, prediction, known: metrics.pearson_delta(
            truth, prediction, known.perturbed_mean
        ),
        "pearson_delta_degs": lambda truth, prediction, known: metrics.pearson_delta(
            truth, prediction, known.perturbed_mean, known.is_deg
        ),
        "pearson_delta_control": lambda truth, prediction, known: metrics.pearson_delta(
            truth, prediction, known.control_mean
        ),
    }
)
METRICS = tuple(DEFINITIONS)
DUPLICATE = "technical_duplicate"

# Quantile ranges of the number of DEGs (figure 9).
DEG_QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)
DEG_GROUPS = tuple(f"{100 * low:.0f}-{100 * high:.0f} %" for low, high in pairwise(DEG_QUANTILES))

# Perturbations that figure 7 shows.
PAPER_EXAMPLES = ("MRPL23", "CDC16", "GINS4", "STX5")


def baseline_scores(
    statistics: PerturbationStatistics,
    halves: Halves,
    degs: DegScores,
    weights: FloatArray,
    *,
    predictions: Mapping[str, npt.ArrayLike] | None = None,
    truth: Truth = "paper",
) -> pd.DataFrame:
    """Score the baselines, and models beside them, on every metric of figure 6.

    Changes are measured from mu_all, the mean of all perturbed cells, except for
    ``pearson_delta_control`` (from mu_c). References, DEGs and weights are those of all cells.

    Parameters
    ----------
    statistics : PerturbationStatistics
        Of all cells.
    halves : pair of PerturbationStatistics
        Of the first and of the second half of each perturbation's cells (see
        `diversity_by_design.technical_duplicate`), with the same labels and genes.
    degs : DegScores
        Of `statistics`, against the rest.
    weights : float array (labels, genes)
        See `diversity_by_design.deg_weights`; a row of NaN makes the weighted metrics of its perturbation undefined.
    predictions : mapping of name to array (labels, genes), optional
        Mean expression that models predict. A row of NaN says that the model predicts nothing for
        this perturbation.
    truth : "paper" or "second_half"
        "paper": the technical duplicate is measured against the mean of the second half, which it
        predicts, everything else against the mean of all cells of a perturbation. "second_half":
        everything against the mean of the second half.

    Returns
    -------
    DataFrame
        One row per perturbation, predictor and metric, with the columns `perturbation`, `predictor`,
        `metric`, `value`, `n_degs`, `is_combination`. Predictors are in the order ``control_mean``,
        ``perturbed_mean``, ``additive`` (where combinations can be predicted), models, ``technical_duplicate``. There
        are no rows for what a predictor does not predict; an undefined value is NaN, such as every
        Pearson correlation of the perturbed mean with mu_all as the reference.

    Raises
    ------
    InputError
        Labels, genes or shapes do not agree, `truth` is unknown, a model has the name of a baseline, or a prediction is
        NaN for some genes only.
    """
    if truth not in get_args(Truth):
        raise InputError(f"truth is {truth!r}; it must be one of: {listed(get_args(Truth))}")
    _require_same(statistics, halves, degs)
    tables = []
    is_deg = degs.is_deg
    for name, target, prediction in _predictors(statistics, halves, predictions or {}, truth):
        rows = _predicted_rows(name, prediction, statistics)
        values = metric_values(
            target[rows],
            prediction[rows],
            perturbed_mean=statistics.perturbed_mean,
            control_mean=statistics.control_mean,
            weights=weights[rows],
            is_deg=is_deg[rows],
        )
        labels = statistics.labels[rows]
        about = pd.DataFrame({"perturbation": labels, "predictor": name, "n_degs": degs.n_degs[rows]})
        about["is_combination"] = is_combination(labels)
        tables += [about.assign(metric=metric, value=value) for metric, value in values.items()]
    columns = ["perturbation", "predictor", "metric", "value", "n_degs", "is_combination"]
    return pd.concat(tables, ignore_index=True)[columns]


def metric_values(
    truth: FloatArray,
    prediction: FloatArray,
    *,
    perturbed_mean: FloatArray,
    control_mean: FloatArray,
    weights: FloatArray,
    is_deg: npt.NDArray[np.bool_],
) -> dict[str, FloatArray]:
    """Value of each of `METRICS` for every perturbation.

    Parameters
    ----------
    truth, prediction : (perturbations, genes)
    perturbed_mean, control_mean : (genes,)
        The references mu_all and mu_c.
    weights, is_deg : (perturbations, genes)

    Returns
    -------
    dict of metric to array (perturbations,)
        Pearson on DEGs is NaN with fewer than two of them; see `diversity_by_design.metrics` for the others.
    """
    known = SimpleNamespace(perturbed_mean=perturbed_mean, control_mean=control_mean, weights=weights, is_deg=is_deg)
    return {name: define(truth, prediction, known) for name, define in DEFINITIONS.items()}


def summarise(scores: pd.DataFrame, by: Sequence[str] = ("predictor", "metric")) -> pd.DataFrame:
    """Distribution of the scores of each group, in the order in which groups first occur.

    Parameters
    ----------
    scores : DataFrame
        As from `baseline_scores`.
    by : column names

    Returns
    -------
    DataFrame
        The columns `by`, `n` (defined values), `n_undefined`, `median`, `mean`, `q25`, `q75`, `min`, `max`.

    Examples
    --------
    >>> scores = pd.DataFrame({"predictor": ["a", "a", "a"], "metric": "mse", "value": [1.0, 3.0, np.nan]})
    >>> summarise(scores)[["n", "n_undefined", "median"]].to_dict("records")
    [{'n': 2, 'n_undefined': 1, 'median': 2.0}]
    """
    groups = scores.groupby(list(by), sort=False, observed=True)["value"]
    table = pd.DataFrame({"n": groups.count(), "n_undefined": groups.size() - groups.count()})
    for name in ("median", "mean"):
        table[name] = groups.agg(name)
    for name, quantile in (("q25", 0.25), ("q75", 0.75), ("min", 0.0), ("max", 1.0)):
        table[name] = groups.quantile(quantile)
    return table.reset_index()


def strength_table(statistics: PerturbationStatistics, scores: pd.DataFrame) -> pd.DataFrame:
    """How strong each perturbation is, and how well its technical duplicate does (figure 7).

    Parameters
    ----------
    statistics : PerturbationStatistics
        Of all cells.
    scores : DataFrame
        As from `baseline_scores`.

    Returns
    -------
    DataFrame
        One row per perturbation with the columns `perturbation`, `n_cells`, `n_degs`, `deg_group` (one of
        `DEG_GROUPS`), `is_combination`, `weighted_r2_delta` (of the technical duplicate).
    """
    table = scores[(scores["predictor"] == DUPLICATE) & (scores["metric"] == "weighted_r2_delta")]
    table = table.rename(columns={"value": "weighted_r2_delta"}).reset_index(drop=True)
    table["n_cells"] = statistics.n_cells[statistics.labels.get_indexer(pd.Index(table["perturbation"]))]
    table["deg_group"] = deg_groups(table["n_degs"])
    return table[["perturbation", "n_cells", "n_degs", "deg_group", "is_combination", "weighted_r2_delta"]]


def strength_correlation(strength: pd.DataFrame) -> pd.DataFrame:
    """Spearman correlation of the number of DEGs with weighted R2 of the technical duplicate.

    Returns
    -------
    DataFrame
        One row: `n` (perturbations with a defined value), `n_undefined`, `spearman_r`, `p`; the last two
        are NaN with fewer than three perturbations or where either quantity does not vary.
    """
    defined = strength.dropna(subset=["weighted_r2_delta"])
    r = p = np.nan
    if len(defined) > 2 and defined["n_degs"].nunique() > 1 and defined["weighted_r2_delta"].nunique() > 1:
        r, p = stats.spearmanr(defined["n_degs"], defined["weighted_r2_delta"])
    return pd.DataFrame(
        {"n": [len(defined)], "n_undefined": [len(strength) - len(defined)], "spearman_r": [r], "p": [p]}
    )


def deg_groups(n_degs: npt.ArrayLike) -> pd.Categorical[str]:
    """Group perturbations by quantile range of their number of DEGs (figure 9).

    A perturbation is in the first range whose upper quantile it does not exceed. Perturbations with equally many
    DEGs are therefore in one group, and a range is empty where its two quantiles are equal.

    Returns
    -------
    pandas.Categorical (perturbations,)
        With the categories `DEG_GROUPS`.

    Examples
    --------
    >>> list(deg_groups([0, 0, 0, 5, 9]))
    ['0-25 %', '0-25 %', '0-25 %', '50-75 %', '95-100 %']
    """
    counts = np.asarray(n_degs)
    upper = np.quantile(counts, DEG_QUANTILES[1:])
    return pd.Categorical.from_codes(np.searchsorted(upper, counts, side="left"), categories=pd.Index(DEG_GROUPS))


def group_ranges(strength: pd.DataFrame) -> pd.DataFrame:
    """Size of each group of figure 9, empty ones included.

    Returns
    -------
    DataFrame
        `deg_group`, `n` (perturbations), `fewest_degs`, `most_degs` (missing for an empty group).
    """
    counts = strength.groupby("deg_group", observed=False)["n_degs"]
    table = pd.DataFrame({"n": counts.size(), "fewest_degs": counts.min(), "most_degs": counts.max()})
    table.index = table.index.astype(str)
    return table.astype({"fewest_degs": "Int64", "most_degs": "Int64"}).reset_index()


def spread_by_strength(labels: Sequence[str] | pd.Index, n_degs: npt.ArrayLike, count: int) -> list[str]:
    """Perturbations evenly spread from the one with fewest to the one with most DEGs; all of them if there are fewer.

    Those with equally many are in the order of their names.

    Examples
    --------
    >>> spread_by_strength(["a", "b", "c", "d", "e"], [9, 0, 4, 3, 7], 3)
    ['b', 'c', 'a']
    """
    counts = np.asarray(n_degs)
    ordered = sorted(zip(counts.tolist(), map(str, labels), strict=True))
    positions = np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int)
    return [ordered[position][1] for position in positions]


def example_labels(strength: pd.DataFrame, count: int = 4) -> list[str]:
    """Perturbations for the example panels of figure 7.

    The paper's (`PAPER_EXAMPLES`) that the data have; the others are spread over the quantiles of the
    number of DEGs, among those with at least three, over which a correlation says something (among all
    where fewer have that many).
    """
    present = [label for label in PAPER_EXAMPLES if label in set(strength["perturbation"])][:count]
    others = strength[~strength["perturbation"].isin(present)]
    enough = others[others["n_degs"] >= 3]
    missing = count - len(present)
    chosen = enough if len(enough) >= missing else others
    return present + spread_by_strength(chosen["perturbation"].tolist(), chosen["n_degs"], missing)


def duplicate_genes(
    statistics: PerturbationStatistics, halves: Halves, degs: DegScores, weights: FloatArray, labels: Sequence[str]
) -> pd.DataFrame:
    """Change of every gene in both halves of a perturbation's cells (scatter plots of figure 7).

    Returns
    -------
    DataFrame
        `perturbation`, `gene`, `delta_first`, `delta_second` (mean of a half minus mu_all of all cells),
        `weight`, `is_deg`.
    """
    _require_same(statistics, halves, degs)
    tables = []
    for label in labels:
        row = statistics.labels.get_loc(label)
        first, second = (half.mean[row] - statistics.perturbed_mean for half in halves)
        columns = {"perturbation": label, "gene": statistics.genes, "delta_first": first, "delta_second": second}
        tables.append(pd.DataFrame(columns).assign(weight=weights[row], is_deg=degs.is_deg[row]))
    return pd.concat(tables, ignore_index=True)


def duplicate_agreement(genes: pd.DataFrame) -> pd.DataFrame:
    """Agreement of both halves over all genes and over DEGs only (annotations of figure 7).

    Parameters
    ----------
    genes : DataFrame
        As from `duplicate_genes`.

    Returns
    -------
    DataFrame
        `perturbation`, `genes` ("all" or "DEGs"), `n_genes`, `r2`, `weighted_r2`, `pearson`: the first half
        as the prediction, the second as the truth. Over DEGs the weights are scaled to sum to one. NaN with
        fewer than two genes.
    """
    rows = []
    for label, table in genes.groupby("perturbation", sort=False):
        for which, part in (("all", table), ("DEGs", table[table["is_deg"]])):
            row = {"perturbation": label, "genes": which, "n_genes": len(part)}
            rows.append(row | _agreement(part))
    return pd.DataFrame(rows)


def _agreement(genes: pd.DataFrame) -> dict[str, float]:
    if len(genes) < 2:
        return {"r2": np.nan, "weighted_r2": np.nan, "pearson": np.nan}
    first, second, weight = (genes[name].to_numpy() for name in ("delta_first", "delta_second", "weight"))
    total = weight.sum()
    scaled = weight / total if total > 0 else np.full_like(weight, np.nan)
    # Changes are given, so that what they are measured from is zero.
    reference = np.zeros_like(first)
    return {
        "r2": float(metrics.r2_delta(second, first, reference)),
        "weighted_r2": float(metrics.r2_delta(second, first, reference, scaled)),
        "pearson": float(metrics.pearson_delta(second, first, reference)),
    }


def _predictors(
    statistics: PerturbationStatistics, halves: Halves, predictions: Mapping[str, npt.ArrayLike], truth: Truth
) -> Iterator[tuple[str, FloatArray, FloatArray]]:
    """Name, truth and prediction of each predictor, the latter two (labels, genes)."""
    first, second = halves
    own = {"control_mean": baselines.control_mean(statistics), "perturbed_mean": baselines.perturbed_mean(statistics)}
    additive = baselines.additive(statistics)
    if not np.isnan(additive).all():
        own["additive"] = additive
    taken = (set(own) | {"additive", DUPLICATE}) & set(predictions)
    if taken:
        raise InputError(f"{listed(sorted(taken))} is the name of a baseline; give the model another name")
    target = statistics.mean if truth == "paper" else second.mean
    for name, prediction in {**own, **predictions}.items():
        yield name, target, np.asarray(prediction, dtype=float)
    yield DUPLICATE, second.mean, first.mean


def _predicted_rows(name: str, prediction: FloatArray, statistics: PerturbationStatistics) -> npt.NDArray[np.bool_]:
    """Which perturbations are predicted; raise InputError for a prediction that is incomplete or of another shape."""
    if prediction.shape != statistics.mean.shape:
        raise InputError(
            f"predictions of {name!r} have shape {prediction.shape}; expected {statistics.mean.shape}, a row per "
            "perturbation and a column per gene of the statistics (NaN in a row without a prediction)"
        )
    missing = np.isnan(prediction)
    absent: npt.NDArray[np.bool_] = np.all(missing, axis=1)
    partial = np.flatnonzero(missing.any(axis=1) & ~absent)
    if len(partial):
        raise InputError(
            f"{name!r} predicts NaN for {int(missing[partial[0]].sum())} of {missing.shape[1]} genes of "
            f"{statistics.labels[partial[0]]!r} ({len(partial)} such perturbation(s)); predict all genes or none"
        )
    return ~absent


def _require_same(statistics: PerturbationStatistics, halves: Halves, degs: DegScores) -> None:
    for name, other in (("the first half", halves[0]), ("the second half", halves[1]), ("DEG scores", degs)):
        for what, found, expected in (
            ("labels", other.labels, statistics.labels),
            ("genes", other.genes, statistics.genes),
        ):
            if not found.equals(expected):
                raise InputError(
                    f"{what} of {name} ({len(found)}: {listed(found, 3)}) are not those of the statistics "
                    f"({len(expected)}: {listed(expected, 3)}) in the same order; make both from the same cells"
                )
