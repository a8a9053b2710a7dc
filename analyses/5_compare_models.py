"""Analysis 5: baselines (and models beside them) on metrics with a calibrated scale (section 4.4).

Writes figures 6, 7 and 9 and their tables into <output>/<dataset>/5_compare_models/.
"""

from __future__ import annotations

import pandas as pd
from tqdm import tqdm

from diversity_by_design import comparison, deg_scores, deg_weights, technical_duplicate
from diversity_by_design.analysis import Run, script
from diversity_by_design.checks import listed
from diversity_by_design.datasets.expression import read_expression
from diversity_by_design.figures import baseline_metrics, deg_count_groups, duplicate_strength
from diversity_by_design.results import ResultFolder
from diversity_by_design.statistics import PerturbationStatistics

HOW_MEASURED = (
    "The technical duplicate is one half of a perturbation's cells predicting the mean of the other half; all else is "
    "measured against the mean of all its cells. Changes are measured from mu_all; DEGs and weights are of all cells."
)


def analyse(run: Run) -> None:
    """Score the baselines on every metric, and relate the scores to the strength of the perturbations."""
    folder = run.folder
    with tqdm(total=6, desc="comparison of baselines", unit="step") as bar:
        cells = read_expression(run.prepared.path)
        statistics = PerturbationStatistics.from_anndata(cells, workers=run.workers)
        halves = technical_duplicate(cells, seed=run.seed, workers=run.workers)
        bar.update()
        degs = deg_scores(statistics, workers=run.workers)
        weights = deg_weights(degs)
        bar.update()
        scores = comparison.baseline_scores(statistics, halves, degs, weights)
        write_scores(folder, scores)
        bar.update()
        strength = comparison.strength_table(statistics, scores)
        write_groups(folder, scores, strength)
        bar.update()
        examples = comparison.example_labels(strength)
        genes_of_examples = comparison.duplicate_genes(statistics, halves, degs, weights, examples)
        bar.update()
        write_strength(folder, strength, genes_of_examples)
        bar.update()


def write_scores(folder: ResultFolder, scores: pd.DataFrame) -> None:
    """Figure 6 and its summary."""
    summary = comparison.summarise(scores)
    folder.table(
        "summary",
        summary,
        caption=f"Every predictor on every metric, over perturbations. {HOW_MEASURED}",
        show=True,
    )
    perturbations = scores.drop_duplicates("perturbation")
    combinations = int(perturbations["is_combination"].sum())
    added = scores.loc[scores["predictor"] == "additive", "perturbation"].nunique()
    if added < combinations:
        folder.note(
            f"The additive baseline predicts {added:,} of {combinations:,} combinations; of the others a part was not "
            "measured alone."
        )
    few = int((perturbations["n_degs"] < 2).sum())
    if few:
        folder.note(
            f"{few:,} of {len(perturbations):,} perturbations have fewer than two DEGs vs rest: Pearson on DEGs is "
            "undefined for them."
        )
    medians = summary.set_index(["metric", "predictor"])["median"]
    folder.figure(
        "baseline_metrics",
        baseline_metrics.draw_baseline_metrics(scores),
        scores,
        title="Baselines on plain and on DEG-aware metrics",
        caption=(
            f"{len(perturbations):,} perturbations, medians written above the boxes. {HOW_MEASURED} The Pearson "
            "correlation of the perturbed mean is undefined, since its change from itself is zero. A metric is "
            "calibrated if the perturbed mean scores about nothing and the technical duplicate clearly more. Here the "
            f"medians of R2 are {medians['r2_delta', 'perturbed_mean']:.2g} and "
            f"{medians['r2_delta', 'technical_duplicate']:.2g}, those of weighted R2 "
            f"{medians['weighted_r2_delta', 'perturbed_mean']:.2g} and "
            f"{medians['weighted_r2_delta', 'technical_duplicate']:.2g}."
        ),
        paper="6",
    )


def write_groups(folder: ResultFolder, scores: pd.DataFrame, strength: pd.DataFrame) -> None:
    """Figure 9: the same scores among perturbations of similar strength."""
    ranges = comparison.group_ranges(strength)
    grouped = scores.merge(strength[["perturbation", "deg_group"]], on="perturbation")
    folder.table(
        "deg_groups_summary",
        comparison.summarise(grouped.sort_values("deg_group", kind="stable"), by=("deg_group", "predictor", "metric")),
        caption="Scores by quantile range of the number of DEGs.",
    )
    empty = ranges.loc[ranges["n"] == 0, "deg_group"]
    if len(empty):
        folder.note(
            f"No perturbation is in the range {listed(empty)} by number of DEGs: perturbations with equally many DEGs "
            "stay in one group."
        )
    folder.figure(
        "deg_count_groups",
        deg_count_groups.draw_deg_count_groups(grouped, ranges),
        {"scores": grouped[grouped["metric"].isin(deg_count_groups.PANELS)], "groups": ranges},
        title="Baselines by strength of the perturbation",
        caption=(
            f"{len(strength):,} perturbations grouped by quantile range of their number of DEGs vs rest, medians above "
            "the boxes (perturbations with equally many DEGs stay together, so a group may hold more or fewer than its "
            "name says); the additive baseline, if there is one, predicts combinations only. Compare from group to "
            "group how far the technical duplicate is ahead of the perturbed mean: that is the room which a model has."
        ),
        paper="9",
    )


def write_strength(folder: ResultFolder, strength: pd.DataFrame, genes: pd.DataFrame) -> None:
    """Figure 7: the technical duplicate by strength of the perturbation, and four examples."""
    correlation = comparison.strength_correlation(strength)
    agreement = comparison.duplicate_agreement(genes)
    folder.figure(
        "duplicate_strength",
        duplicate_strength.draw_duplicate_strength(strength, correlation, genes, agreement),
        {"relation": strength, "correlation": correlation, "example_genes": genes, "example_agreement": agreement},
        title="Technical duplicate by strength of the perturbation",
        caption=(
            "Left: number of DEGs and weighted R2 of the technical duplicate for "
            f"{strength['weighted_r2_delta'].count():,} perturbations, with Spearman's correlation. "
            "Right: the change of each gene (log1p expression minus mu_all) in both halves of the cells, for "
            f"{listed(genes['perturbation'].unique())}; DEGs in orange, and below without the other genes, their "
            "weights scaled to sum to one. Compare both rows: where the halves agree better on the DEGs than on all "
            "genes, the noise of the others hides the effect; over a handful of DEGs none of these numbers says much."
        ),
        paper="7",
    )


if __name__ == "__main__":
    script(analyse, name="5_compare_models", title="Comparison of baselines", parameters={"truth": "paper"})
