"""Sensitivity of MSE and WMSE to the few genes that a perturbation changes (section 4.3, figure 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design.arrays import FloatArray
from diversity_by_design.baselines import BASELINES, top_degs_right
from diversity_by_design.degs import DegScores
from diversity_by_design.metrics import METRICS
from diversity_by_design.paired import paired_tests
from diversity_by_design.scoring import target_scores
from diversity_by_design.statistics import PerturbationStatistics
from diversity_by_design.truth import Truth

ERRORS = ("mse", "wmse")

# How many DEGs of each perturbation the paper sets to the truth.
TOP_DEGS = 25

# Weights below the first edge, zero among them, are counted in one bin.
_SMALLEST_WEIGHT = 1e-10
_BINS_PER_DECADE = 5

OVERALL = "all perturbations"


def n_top_degs(n_genes: int) -> int:
    """How many DEGs to set to the truth: 25 as in the paper, but never more than half of the genes.

    Examples
    --------
    >>> n_top_degs(8192), n_top_degs(20)
    (25, 10)
    """
    return min(TOP_DEGS, max(1, n_genes // 2))


def niche_scores(
    statistics: PerturbationStatistics, n_top: int | None = None, workers: int | None = None
) -> pd.DataFrame:
    """MSE and WMSE of mu_all, and of mu_all* in which each perturbation's top DEGs are right (figure 3).

    `n_top`: how many genes of largest absolute t take their true value in mu_all* (default: `n_top_degs`). One row per
    perturbation and metric ("mse", "wmse") with the columns `perturbation`, `n_degs`, `n_top`, `metric`,
    `perturbed_mean`, `perturbed_mean_star` (the errors of mu_all and of mu_all*) and `fold_reduction`, the former
    divided by the latter: infinite where mu_all* has no error left. WMSE is NaN where weights are.
    """
    n_top = n_top_degs(len(statistics.genes)) if n_top is None else n_top
    truth = Truth(statistics, mode="paper", workers=workers)
    predictors = [BASELINES["perturbed_mean"], top_degs_right(n_top)]
    scores, _ = target_scores(truth, predictors, [METRICS[name] for name in ERRORS], workers)
    tables = []
    for metric, (before, after) in zip(ERRORS, scores[0].swapaxes(0, 1), strict=True):
        table = pd.DataFrame({"perturbation": truth.labels, "n_degs": truth.target(0).degs.n_degs, "n_top": n_top})
        tables.append(
            table.assign(
                metric=metric, perturbed_mean=before, perturbed_mean_star=after, fold_reduction=_fold(before, after)
            )
        )
    return pd.concat(tables, ignore_index=True)


def niche_summary(scores: pd.DataFrame) -> pd.DataFrame:
    """Paired comparison of mu_all with mu_all*, for each metric.

    One row per metric: `n` (perturbations with both values), `n_undefined`, `n_top`, median and mean of both errors,
    `fold_of_medians`, `fold_of_means`, `median_fold`, the paired t test (`t`, `t_p`) and Wilcoxon's signed-rank test
    (`wilcoxon`, `wilcoxon_p`) of the errors, and `fold_wilcoxon_p`, Wilcoxon's test of the finite fold reductions
    against those of MSE for the same perturbations (NaN for MSE itself). What needs three perturbations or a difference
    is NaN without.
    """
    of_mse = scores[scores["metric"] == "mse"].set_index("perturbation")["fold_reduction"]
    rows = []
    for metric, table in scores.groupby("metric", sort=False):
        defined = table.dropna(subset=["perturbed_mean", "perturbed_mean_star"])
        before, after = defined["perturbed_mean"], defined["perturbed_mean_star"]
        # A positive t says that mu_all has the larger error.
        tests = paired_tests(after.to_numpy(), before.to_numpy())
        folds = defined.set_index("perturbation")["fold_reduction"].replace(np.inf, np.nan)
        both = pd.DataFrame({"mse": of_mse.replace(np.inf, np.nan), "own": folds})
        rows.append(
            {
                "metric": metric,
                "n": len(defined),
                "n_undefined": len(table) - len(defined),
                "n_top": table["n_top"].iloc[0],
                "median_perturbed_mean": before.median(),
                "median_perturbed_mean_star": after.median(),
                "mean_perturbed_mean": before.mean(),
                "mean_perturbed_mean_star": after.mean(),
                "fold_of_medians": _fold(before.median(), after.median()),
                "fold_of_means": _fold(before.mean(), after.mean()),
                "median_fold": defined["fold_reduction"].median(),
                **{name: tests[name] for name in ("t", "t_p", "wilcoxon", "wilcoxon_p")},
                "fold_wilcoxon_p": paired_tests(both["mse"].to_numpy(), both["own"].to_numpy())["wilcoxon_p"],
            }
        )
    return pd.DataFrame(rows)


def weight_summary(degs: DegScores, weights: FloatArray) -> pd.DataFrame:
    """How concentrated each perturbation's weights are.

    Columns: `perturbation`, `n_degs`, `effective_genes` (one over the sum of squared weights: the number of genes that
    equal weights would be spread over), `largest_weight`, `degs_weight` (sum over its DEGs). NaN where the weights are.

    >>> 1 / np.square([0.5, 0.5, 0.0]).sum()  # weight shared by two genes
    np.float64(2.0)
    """
    return pd.DataFrame(
        {
            "perturbation": degs.labels,
            "n_degs": degs.n_degs,
            "effective_genes": 1.0 / np.square(weights).sum(axis=1),
            "largest_weight": weights.max(axis=1),
            "degs_weight": np.where(degs.is_deg, weights, 0.0 * weights).sum(axis=1),
        }
    )


def weight_histogram(labels: pd.Index, weights: FloatArray, examples: Sequence[str]) -> pd.DataFrame:
    """Histograms of the weights, on a logarithmic axis, of all perturbations and of some.

    `examples`: perturbations to show one by one. Columns: `group` (`OVERALL` or a perturbation), `bin_left`,
    `bin_right`, `count` (genes; of `OVERALL`: genes of all perturbations), `fraction` of the group's. The first bin
    begins at zero. Perturbations with undefined weights are not counted.
    """
    decades = -int(np.log10(_SMALLEST_WEIGHT))
    edges = np.concatenate([[0.0], np.logspace(-decades, 0, decades * _BINS_PER_DECADE + 1)])
    groups = {OVERALL: weights} | {label: weights[labels.get_loc(label)] for label in examples}
    tables = []
    for group, values in groups.items():
        counts, _ = np.histogram(values[~np.isnan(values)], edges)
        table = pd.DataFrame({"bin_left": edges[:-1], "bin_right": edges[1:], "count": counts})
        table["fraction"] = counts / counts.sum() if counts.any() else np.nan
        table.insert(0, "group", group)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _fold(before: npt.ArrayLike, after: npt.ArrayLike) -> FloatArray:
    """How many times larger `before` is; infinite if `after` is zero, NaN if both are."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(before, after)
