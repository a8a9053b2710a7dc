"""Scores of baselines and models on the paper's metrics, and how they depend on the strength of a perturbation.

Everything here is computed from grouped statistics and returned as tidy tables (section 4.4; figures 6, 7 and 9).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design import metrics
from diversity_by_design.baselines import BASELINES, DUPLICATE, Predictor
from diversity_by_design.labels import is_combination
from diversity_by_design.metrics import METRICS
from diversity_by_design.scoring import score_targets
from diversity_by_design.statistics import PerturbationStatistics
from diversity_by_design.truth import Truth

# In the order of its panels.
METRICS_OF_FIGURE_6 = (
    "mse",
    "wmse",
    "r2_delta",
    "weighted_r2_delta",
    "pearson_delta",
    "pearson_delta_degs",
    "pearson_delta_control",
)

# Quantile ranges of the number of DEGs (figure 9).
DEG_QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)
DEG_GROUPS = tuple(f"{100 * low:.0f}-{100 * high:.0f} %" for low, high in pairwise(DEG_QUANTILES))

# Perturbations that figure 7 shows.
PAPER_EXAMPLES = ("MRPL23", "CDC16", "GINS4", "STX5")


def paper_scores(
    truth: Truth, predictors: Iterable[Predictor] = (), metrics: Sequence[str] = METRICS_OF_FIGURE_6
) -> pd.DataFrame:
    """Score the baselines, and models beside them, on the metrics of figure 6.

    `truth`: in the mode "paper": the technical duplicate is measured against the mean of the second half, which it
    predicts, everything else against the mean of all cells of a perturbation; references, DEGs and weights are those of
    all cells. One row per perturbation, predictor, seed and metric, with the columns `perturbation`, `predictor`,
    `seed`, `metric`, `value`, `n_degs`, `is_combination`. Predictors are in the order ``control_mean``,
    ``perturbed_mean``, ``additive`` (where combinations can be predicted), models, ``technical_duplicate``. There are
    no rows for what a predictor does not predict; an undefined value is NaN, such as every Pearson correlation of the
    perturbed mean with mu_all as the reference.
    """
    duplicate = BASELINES[DUPLICATE]
    before = [baseline for baseline in BASELINES.values() if baseline is not duplicate]
    table, _ = score_targets(truth, [*before, *predictors, duplicate], METRICS.chosen(metrics), truth.workers)
    about = pd.DataFrame({"n_degs": truth.target(0).degs.n_degs, "is_combination": is_combination(truth.labels)})
    table = table.join(about.set_index(truth.labels), on="perturbation")
    return table[["perturbation", "predictor", "seed", "metric", "value", "n_degs", "is_combination"]]


def summarise(scores: pd.DataFrame, by: Sequence[str] = ("predictor", "metric")) -> pd.DataFrame:
    """Distribution of the scores of each group, in the order in which groups first occur.

    Columns: `by`, `n` (defined values), `n_undefined`, `median`, `mean`, `q25`, `q75`, `min`, `max`.

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


def n_additive(scores: pd.DataFrame) -> int:
    """Number of perturbations that the additive baseline predicts."""
    return scores.loc[scores["predictor"] == "additive", "perturbation"].nunique()


def strength_table(statistics: PerturbationStatistics, scores: pd.DataFrame) -> pd.DataFrame:
    """How strong each perturbation is, and how well its technical duplicate does (figure 7).

    `statistics`: of all cells. One row per perturbation with a known number of DEGs, with the columns `perturbation`,
    `n_cells`, `n_degs`, `deg_group` (one of `DEG_GROUPS`), `is_combination`, `weighted_r2_delta` (of the technical
    duplicate).
    """
    table = scores[(scores["predictor"] == DUPLICATE) & (scores["metric"] == "weighted_r2_delta")]
    table = table.rename(columns={"value": "weighted_r2_delta"}).reset_index(drop=True)
    table["n_cells"] = statistics.n_cells[statistics.labels.get_indexer(pd.Index(table["perturbation"]))]
    table["deg_group"] = deg_groups(table["n_degs"])
    return table[["perturbation", "n_cells", "n_degs", "deg_group", "is_combination", "weighted_r2_delta"]]


def strength_correlation(strength: pd.DataFrame) -> pd.DataFrame:
    """Spearman correlation of the number of DEGs with weighted R2 of the technical duplicate.

    One row: `n` (perturbations with a defined value), `n_undefined`, `spearman_r`, `p`; the last two are NaN with fewer
    than three perturbations or where either quantity does not vary.
    """
    from scipy import stats

    defined = strength.dropna(subset=["weighted_r2_delta", "n_degs"])
    r = p = np.nan
    if len(defined) > 2 and defined["n_degs"].nunique() > 1 and defined["weighted_r2_delta"].nunique() > 1:
        r, p = stats.spearmanr(defined["n_degs"], defined["weighted_r2_delta"])
    return pd.DataFrame(
        {"n": [len(defined)], "n_undefined": [len(strength) - len(defined)], "spearman_r": [r], "p": [p]}
    )


def deg_groups(n_degs: npt.ArrayLike) -> pd.Categorical[str]:
    """Group perturbations by quantile range of their number of DEGs (figure 9).

    A perturbation is in the first range whose upper quantile it does not exceed. Perturbations with equally many DEGs
    are therefore in one group, and a range is empty where its two quantiles are equal.

    With the categories `DEG_GROUPS`; missing where the number is unknown (NaN).

    >>> list(deg_groups([0, 0, 0, 5, 9]))
    ['0-25 %', '0-25 %', '0-25 %', '50-75 %', '95-100 %']
    """
    counts = np.asarray(n_degs, dtype=float)
    upper = np.nanquantile(counts, DEG_QUANTILES[1:])
    codes = np.where(np.isnan(counts), -1, np.searchsorted(upper, counts, side="left"))
    return pd.Categorical.from_codes(codes, categories=pd.Index(DEG_GROUPS))


def group_ranges(strength: pd.DataFrame) -> pd.DataFrame:
    """Size of each group of figure 9, empty ones included.

    Columns: `deg_group`, `n` (perturbations), `fewest_degs`, `most_degs` (missing for an empty group).
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


def duplicate_genes(truth: Truth, labels: Sequence[str]) -> pd.DataFrame:
    """Change of every gene in both halves of a perturbation's cells (scatter plots of figure 7).

    `truth`: in the mode "paper", with halves. Columns: `perturbation`, `gene`, `delta_first`, `delta_second` (mean of a
    half minus mu_all of all cells), `weight`, `is_deg`.
    """
    target = truth.target(0, half=True)
    assert target.duplicate is not None
    tables = []
    for label in labels:
        row = truth.labels.get_loc(label)
        first, second = (half[row] - target.perturbed_mean for half in (target.duplicate, target.mean))
        columns = {"perturbation": label, "gene": truth.genes, "delta_first": first, "delta_second": second}
        tables.append(pd.DataFrame(columns).assign(weight=target.weights[row], is_deg=target.is_deg[row]))
    return pd.concat(tables, ignore_index=True)


def duplicate_agreement(genes: pd.DataFrame) -> pd.DataFrame:
    """Agreement of both halves over all genes and over DEGs only (annotations of figure 7).

    Columns: `perturbation`, `genes` ("all" or "DEGs"), `n_genes`, `r2`, `weighted_r2`, `pearson`: the first half as the
    prediction, the second as the truth. Over DEGs the weights are scaled to sum to one. NaN with fewer than two genes.
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
