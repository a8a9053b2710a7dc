"""Analysis 5: baselines, and models beside them, on metrics with a calibrated scale (sections 4.4 and 4.5).

Writes figures 6, 7 and 9 and their tables into <output>/<dataset>/5_compare_models/; with predictions that analysis 4
has left, also figure 4 or 8, and the paper's claims beside ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from diversity_by_design.baselines import DUPLICATE
from diversity_by_design.datasets.expression import read_expression
from diversity_by_design.errors import listed
from diversity_by_design.metrics.means import FEWEST_CHOSEN
from diversity_by_design.paired import FEWEST_PAIRS
from diversity_by_design.paper import comparison, model_comparison
from diversity_by_design.paper.analysis import Run, script
from diversity_by_design.paper.claims import Evidence, check_claims
from diversity_by_design.paper.figures import baseline_metrics, deg_count_groups, duplicate_strength
from diversity_by_design.paper.figures import model_comparison as model_figures
from diversity_by_design.paper.model_comparison import MSE, PREFIX, WMSE
from diversity_by_design.predictions import (
    FOLDER,
    Prediction,
    predicted_by_all,
    read_predictions,
)
from diversity_by_design.running.files import read_csv
from diversity_by_design.running.project import project_root
from diversity_by_design.running.results import ResultFolder
from diversity_by_design.statistics import PerturbationStatistics
from diversity_by_design.truth import Truth

HOW_MEASURED = (
    "The technical duplicate is one half of a perturbation's cells predicting the mean of the other half; all else is "
    "measured against the mean of all its cells. Changes are measured from mu_all; DEGs and weights are of all cells."
)
HOW_PREDICTED = (
    "GEARS predicts a perturbation by the model that was not trained on it; its score is the mean of the scores of all "
    "seeds."
)
PAPER_FIGURES = {"combinations": "4", "unseen": "8"}


def analyse(run: Run) -> None:
    """Score the baselines, and trained models if there are any, also by strength of the perturbations."""
    folder = run.folder
    with tqdm(total=7, desc="comparison", unit="step") as bar:
        cells = read_expression(run.prepared.path)
        statistics = PerturbationStatistics.from_anndata(cells, workers=run.workers)
        predictions = read_predictions(folder.path.parent / FOLDER, statistics, run.prepared.checksum)
        if not predictions:
            tqdm.write(f"no predictions in {folder.path.parent / FOLDER}: baselines only; analysis 4 trains models")
        bar.update()
        truth = Truth.from_anndata(cells, mode="paper", seed=run.seed, workers=run.workers)
        bar.update()
        of_seeds = model_comparison.seed_scores(truth, predictions)
        everything = model_comparison.mean_over_seeds(of_seeds)
        compared = note_compared(folder, statistics.labels, predictions)
        of_seeds, scores = (table[table["perturbation"].isin(compared)] for table in (of_seeds, everything))
        write_scores(folder, scores)
        bar.update()
        strength = comparison.strength_table(statistics, scores)
        write_groups(folder, scores, strength)
        bar.update()
        if predictions:
            profiles = model_comparison.variance_profiles(truth, predictions, compared)
            ratios = model_comparison.variance_ratios(profiles, len(compared))
            write_models(folder, scores, of_seeds, profiles, ratios, predictions[0].task)
            evidence = Evidence(scores.merge(strength[["perturbation", "deg_group"]], on="perturbation"), ratios)
            write_claims(folder, evidence, dataset=run.prepared.name, task=predictions[0].task)
        bar.update()
        strength = comparison.strength_table(statistics, everything)
        examples = comparison.example_labels(strength)
        genes_of_examples = comparison.duplicate_genes(truth, examples)
        bar.update()
        write_strength(folder, strength, genes_of_examples)
        bar.update()


def reads(results: Path) -> Sequence[Path]:
    """Predictions of models; those that are being written have names that begin with a dot."""
    return sorted((results / FOLDER).glob("[!.]*.h5ad"))


def note_compared(folder: ResultFolder, labels: pd.Index, predictions: Sequence[Prediction]) -> pd.Index:
    """Perturbations that every predictor is scored on: all, or those that every model predicts."""
    if not predictions:
        return labels
    compared = predicted_by_all(predictions, labels)
    folder.note(
        f"Models are compared on {len(compared):,} of {len(labels):,} perturbations, those that every model predicts "
        f"(task: {predictions[0].task}); the baselines are restricted to these as well, except in figure 7."
    )
    fewer = [one for one in predictions if len(one.labels) < max(len(other.labels) for other in predictions)]
    if fewer:
        folder.note(
            "Some models predict fewer perturbations than others: "
            f"{listed(f'{one.predictor} of seed {one.seed} {len(one.labels):,}' for one in fewer)}."
        )
    seeds = pd.Series([one.predictor for one in predictions]).value_counts(sort=False)
    if seeds.nunique() > 1:
        folder.note(f"Models have different numbers of seeds: {listed(f'{name} {n}' for name, n in seeds.items())}.")
    return compared


def write_scores(folder: ResultFolder, scores: pd.DataFrame) -> None:
    """Figure 6 and its summary."""
    models = model_names(scores)
    how = f"{HOW_MEASURED} {HOW_PREDICTED}" if models else HOW_MEASURED
    summary = comparison.summarise(scores)
    folder.table(
        "summary",
        summary,
        caption=f"Every predictor on every metric, over perturbations. {how}",
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
    few = int((perturbations["n_degs"] < FEWEST_CHOSEN).sum())
    if few:
        folder.note(
            f"{few:,} of {len(perturbations):,} perturbations have fewer than {FEWEST_CHOSEN} DEGs vs rest: Pearson on "
            "DEGs is undefined for them."
        )
    medians = summary.set_index(["metric", "predictor"])["median"]
    caption = (
        f"{len(perturbations):,} perturbations, medians written above the boxes. {how} The Pearson "
        "correlation of the perturbed mean is undefined, since its change from itself is zero. A metric is "
        "calibrated if the perturbed mean scores about nothing and the technical duplicate clearly more. Here the "
        f"medians of R2 are {medians['r2_delta', 'perturbed_mean']:.2g} and "
        f"{medians['r2_delta', 'technical_duplicate']:.2g}, those of weighted R2 "
        f"{medians['weighted_r2_delta', 'perturbed_mean']:.2g} and "
        f"{medians['weighted_r2_delta', 'technical_duplicate']:.2g}."
    )
    if models:
        if added < len(perturbations) and added:
            caption += f" The additive baseline predicts {added:,} of these only: its medians are of fewer."
        caption += f" Weighted R2 of models: {medians_of(medians, 'weighted_r2_delta', models)}."
    folder.figure(
        "baseline_metrics",
        baseline_metrics.draw_baseline_metrics(scores),
        scores,
        title=f"{'Models and baselines' if models else 'Baselines'} on plain and on DEG-aware metrics",
        caption=caption,
        paper="6",
    )


def write_groups(folder: ResultFolder, scores: pd.DataFrame, strength: pd.DataFrame) -> None:
    """Figure 9: the same scores among perturbations of similar strength."""
    models = model_names(scores)
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
    caption = (
        f"{len(strength):,} perturbations grouped by quantile range of their number of DEGs vs rest, medians above "
        "the boxes (perturbations with equally many DEGs stay together, so a group may hold more or fewer than its "
        "name says); the additive baseline, if there is one, predicts combinations only. Compare from group to "
        "group how far the technical duplicate is ahead of the perturbed mean: that is the room which a model has."
    )
    tests = None
    if {MSE, WMSE} <= set(models):
        tests = model_comparison.group_tests(grouped, ranges["deg_group"])
        folder.table(
            "group_tests",
            tests,
            caption=(
                "GEARS trained with MSE (first) and with WMSE (second) in each group, as in model_tests; none with "
                f"fewer than {FEWEST_PAIRS} pairs."
            ),
        )
        caption += (
            " Above them the paired t test of GEARS trained with MSE against GEARS trained with WMSE; a positive t "
            "says that the latter has the higher value, which is the worse one for WMSE."
        )
    folder.figure(
        "deg_count_groups",
        deg_count_groups.draw_deg_count_groups(grouped, ranges, tests),
        {"scores": grouped[grouped["metric"].isin(deg_count_groups.PANELS)], "groups": ranges},
        title=f"{'Models and baselines' if models else 'Baselines'} by strength of the perturbation",
        caption=f"{caption} {HOW_PREDICTED}" if models else caption,
        paper="9",
    )


def write_models(
    folder: ResultFolder,
    scores: pd.DataFrame,
    of_seeds: pd.DataFrame,
    profiles: pd.DataFrame,
    ratios: pd.DataFrame,
    task: str,
) -> None:
    """Figure 4 or 8 and the tables of the comparison of models."""
    lost = int(scores["value"].isna().sum() - model_comparison.undefined_always(of_seeds))
    if lost:
        folder.note(f"{lost:,} scores of models are undefined since they are for some of the seeds only.")
    medians = model_comparison.seed_medians(of_seeds)
    tests = model_comparison.model_tests(scores)
    folder.table(
        "model_tests",
        tests,
        caption=(
            "Models against each other and against the perturbed mean: paired t test and Wilcoxon's signed-rank test "
            "over perturbations, which count as independent though they share their training data. A positive t or "
            "mean difference says that the second has the higher value."
        ),
        show=True,
    )
    folder.table("seed_spread", medians, caption="Median over perturbations, seed by seed.")
    folder.table(
        "seed_intervals",
        model_comparison.seed_intervals(medians),
        caption="Mean over seeds of these medians with its 95 % t interval; none for a single seed.",
    )
    folder.table(
        "variance_ratio",
        ratios,
        caption=(
            "Median over genes of the variance over perturbations, and its ratio to the truth's. The perturbed mean "
            "and the control mean would have none."
        ),
    )
    folder.figure(
        "model_comparison",
        model_figures.draw_model_comparison(scores, medians, tests, profiles, ratios),
        {
            "scores": scores[scores["metric"].isin(model_figures.PANELS)],
            "seeds": medians[medians["metric"].isin(model_figures.PANELS)],
            "tests": tests[tests["metric"].isin(model_figures.PANELS)],
            "variances": profiles,
        },
        title="GEARS trained with different losses",
        caption=(
            f"{scores['perturbation'].nunique():,} perturbations that every model predicts (task: {task}), medians "
            f"above the boxes. {HOW_MEASURED} {HOW_PREDICTED} {said_of_seeds(medians)} {said_of_models(scores, ratios)}"
        ),
        paper=PAPER_FIGURES[task],
    )
    write_dose(folder, model_comparison.loss_dose(medians, ratios))


def said_of_seeds(medians: pd.DataFrame) -> str:
    """What the figure shows of the spread over seeds."""
    n_seeds = medians.groupby("loss")["seed"].nunique().max()
    if n_seeds == 1:
        return "There is one seed per loss, so that these results do not tell how much training varies."
    return f"Diamonds: medians of single seeds (up to {n_seeds}), with the 95 % t interval of their mean."


def said_of_models(scores: pd.DataFrame, ratios: pd.DataFrame) -> str:
    """What the four panels show, in numbers."""
    models = model_names(scores)
    medians = scores.groupby(["metric", "predictor"])["value"].median()
    share = ratios.groupby("predictor")["ratio"].mean()
    added = scores.loc[scores["predictor"] == "additive", "perturbation"].nunique()
    fewer = (
        f" The additive baseline predicts {added:,} of these perturbations only: its medians are of fewer."
        if 0 < added < scores["perturbation"].nunique()
        else ""
    )
    brackets = " Brackets: MSE against WMSE training." if {MSE, WMSE} <= set(models) else ""
    return (
        f"(A) Median WMSE: {medians_of(medians, 'wmse', models)}. (B) Median weighted R2: "
        f"{medians_of(medians, 'weighted_r2_delta', models)}; the technical duplicate has "
        f"{number(medians['weighted_r2_delta', DUPLICATE])}. (C) Median Pearson on DEGs, in which no "
        f"weights are: {medians_of(medians, 'pearson_delta_degs', models)}.{brackets} (D) Variance of each gene over "
        "these perturbations, dots for genes (mean over seeds) and lines for their running median. Median variance as "
        f"a part of the truth's: {listed(f'{label(name)} {number(share[name])}' for name in models)}; 1 is as diverse "
        "as the truth, 0 is mode collapse. The truth's and the duplicate's variance also hold the sampling noise of "
        f"their cells (the duplicate, of half as many, has {number(share[DUPLICATE])}).{fewer}"
    )


def write_dose(folder: ResultFolder, dose: pd.DataFrame) -> None:
    """What the power of the weights does, if models were trained with several."""
    if dose.empty:
        return
    folder.table("loss_dose", dose, caption="Medians by power of the weights in the loss, seed by seed.")
    means = dose.groupby(["metric", "power"])["value"].mean()
    course = {
        name: ", ".join(f"{number(value)} at {power:g}" for power, value in means[metric].items())
        for name, metric in (("WMSE", "wmse"), ("variance ratio", model_comparison.VARIANCE_RATIO))
    }
    folder.figure(
        "loss_dose_curve",
        model_figures.draw_loss_dose(dose),
        dose,
        title="Power of the weights in the loss",
        caption=(
            "Models trained with the weights raised to a power and scaled to sum to one again: 0 is MSE, 1 is WMSE. "
            "Points are seeds (medians over perturbations), lines their mean, bars its 95 % t interval where there are "
            f"several seeds. Median WMSE: {course['WMSE']}. Variance as a part of the truth's: "
            f"{course['variance ratio']}."
        ),
        paper="",
    )


def write_claims(folder: ResultFolder, evidence: Evidence, *, dataset: str, task: str) -> None:
    """The paper's claims about models beside our numbers."""
    paper = read_csv(project_root() / "analyses" / "paper_reference" / "claims.csv")
    claims = check_claims(paper, evidence, dataset=dataset, task=task)
    judged = claims["holds"].dropna()
    folder.table(
        "claims",
        claims,
        caption=(
            f"What the paper says, and what these results say: {int(judged.sum())} of {len(judged)} claims hold here, "
            f"{len(claims) - len(judged)} cannot be judged. A claim holds if its direction or inequality does, however "
            "far our number is from the paper's."
        ),
        show=True,
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


def model_names(scores: pd.DataFrame) -> list[str]:
    """Predictors that are trained models, in their order."""
    return [name for name in scores["predictor"].unique() if name.startswith(PREFIX)]


def label(predictor: str) -> str:
    """Name of a predictor in a sentence."""
    return baseline_metrics.on_one_line(predictor)


def medians_of(medians: pd.Series, metric: str, models: Sequence[str]) -> str:
    """Each model with its median."""
    return listed(f"{label(name)} {number(medians[metric, name])}" for name in models)


def number(value: float) -> str:
    """Three digits, or the word "undefined"."""
    return f"{value:.3g}" if np.isfinite(value) else "undefined"


if __name__ == "__main__":
    script(
        analyse,
        name="5_compare_models",
        title="Comparison of models and baselines",
        parameters={"truth": "paper"},
        reads=reads,
    )
