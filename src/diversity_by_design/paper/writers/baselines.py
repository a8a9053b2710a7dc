"""Results of analysis 5 about all predictors: figures 6, 7 and 9."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from diversity_by_design.baselines import DUPLICATE
from diversity_by_design.errors import listed
from diversity_by_design.metrics.means import FEWEST_CHOSEN
from diversity_by_design.paired import FEWEST_PAIRS
from diversity_by_design.paper import comparison, model_comparison
from diversity_by_design.paper.figures.baseline_metrics import draw_baseline_metrics
from diversity_by_design.paper.figures.deg_count_groups import PANELS, draw_deg_count_groups
from diversity_by_design.paper.figures.duplicate_strength import draw_duplicate_strength
from diversity_by_design.paper.model_comparison import MSE, NULL, WMSE, model_names
from diversity_by_design.paper.writers.words import each, titled
from diversity_by_design.predictions import Prediction, predicted_by_all
from diversity_by_design.running.results import ResultFolder


def note_compared(folder: ResultFolder, labels: pd.Index, predictions: Sequence[Prediction]) -> pd.Index:
    """Perturbations that every predictor is scored on: all, or those that every model predicts."""
    if not predictions:
        return labels
    compared = predicted_by_all(predictions, labels)
    folder.note(
        f"Models are compared on {len(compared):,} of {len(labels):,} perturbations, those that every model predicts "
        f"(task: {predictions[0].task}); the baselines are restricted to these as well, except in figure 7."
    )
    most = max(len(prediction.labels) for prediction in predictions)
    fewer = [prediction for prediction in predictions if len(prediction.labels) < most]
    if fewer:
        sizes = listed(f"{model.predictor} of seed {model.seed} {len(model.labels):,}" for model in fewer)
        folder.note(f"Some models predict fewer perturbations than others: {sizes}.")
    seeds = pd.Series([prediction.predictor for prediction in predictions]).value_counts(sort=False)
    if seeds.nunique() > 1:
        folder.note(f"Models have different numbers of seeds: {listed(f'{name} {n}' for name, n in seeds.items())}.")
    return compared


def write_scores(folder: ResultFolder, scores: pd.DataFrame) -> None:
    """Figure 6 and its summary."""
    models = model_names(scores)
    summary = comparison.summarise(scores)
    folder.table("summary", summary, show=True)
    perturbations = scores.drop_duplicates("perturbation")
    combinations = int(perturbations["is_combination"].sum())
    added = comparison.n_additive(scores)
    if added < combinations:
        folder.note(
            f"The additive baseline predicts {added:,} of {combinations:,} combinations; of the others a part was not "
            "measured alone."
        )
    few = int((perturbations["n_degs"] < FEWEST_CHOSEN).sum())
    if few:
        folder.note(
            f"{few:,} of {len(perturbations):,} perturbations have fewer than {FEWEST_CHOSEN} DEGs vs rest: Pearson on "
            "DEGs is undefined for them."
        )
    medians = summary.set_index(["metric", "predictor"])["median"]
    folder.figure(
        "baseline_metrics",
        draw_baseline_metrics(scores),
        scores,
        predictors=titled(models),
        n=len(perturbations),
        r2_of_mean=medians["r2_delta", NULL],
        r2_of_duplicate=medians["r2_delta", DUPLICATE],
        weighted_r2_of_mean=medians["weighted_r2_delta", NULL],
        weighted_r2_of_duplicate=medians["weighted_r2_delta", DUPLICATE],
        added=added if models and 0 < added < len(perturbations) else None,
        weighted_r2_of_models=each(medians["weighted_r2_delta"], models) if models else None,
    )


def write_groups(folder: ResultFolder, scores: pd.DataFrame, strength: pd.DataFrame) -> None:
    """Figure 9: the same scores among perturbations of similar strength."""
    models = model_names(scores)
    ranges = comparison.group_ranges(strength)
    grouped = scores.merge(strength[["perturbation", "deg_group"]], on="perturbation")
    in_order = grouped.sort_values("deg_group", kind="stable")
    folder.table("deg_groups_summary", comparison.summarise(in_order, by=("deg_group", "predictor", "metric")))
    empty = ranges.loc[ranges["n"] == 0, "deg_group"]
    if len(empty):
        folder.note(
            f"No perturbation is in the range {listed(empty)} by number of DEGs: perturbations with equally many DEGs "
            "stay in one group."
        )
    tests = None
    if {MSE, WMSE} <= set(models):
        tests = model_comparison.group_tests(grouped, ranges["deg_group"])
        folder.table("group_tests", tests, fewest_pairs=FEWEST_PAIRS)
    folder.figure(
        "deg_count_groups",
        draw_deg_count_groups(grouped, ranges, tests),
        {"scores": grouped[grouped["metric"].isin(PANELS)], "groups": ranges},
        predictors=titled(models),
        n=len(strength),
    )


def write_strength(folder: ResultFolder, strength: pd.DataFrame, genes: pd.DataFrame) -> None:
    """Figure 7: the technical duplicate by strength of the perturbation, and four examples."""
    correlation = comparison.strength_correlation(strength)
    agreement = comparison.duplicate_agreement(genes)
    folder.figure(
        "duplicate_strength",
        draw_duplicate_strength(strength, correlation, genes, agreement),
        {"relation": strength, "correlation": correlation, "example_genes": genes, "example_agreement": agreement},
        n=strength["weighted_r2_delta"].count(),
        examples=listed(genes["perturbation"].unique()),
    )
