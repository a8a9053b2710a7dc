"""Results of analysis 5 about trained models: figures 4 and 8, the power of the weights, and the paper's claims."""

from __future__ import annotations

import pandas as pd

from diversity_by_design.baselines import DUPLICATE
from diversity_by_design.paper import comparison, model_comparison
from diversity_by_design.paper.claims import Evidence, check_claims
from diversity_by_design.paper.figures import model_comparison as figures
from diversity_by_design.paper.model_comparison import VARIANCE_RATIO, model_names
from diversity_by_design.paper.reference import paper_numbers
from diversity_by_design.paper.writers.words import each, number
from diversity_by_design.running.results import ResultFolder

PAPER_FIGURES = {"combinations": "4", "unseen": "8"}


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
    models = model_names(scores)
    medians = model_comparison.seed_medians(of_seeds)
    tests = model_comparison.model_tests(scores)
    folder.table("model_tests", tests, show=True)
    folder.table("seed_spread", medians)
    folder.table("seed_intervals", model_comparison.seed_intervals(medians))
    folder.table("variance_ratio", ratios)
    of_scores = scores.groupby(["metric", "predictor"])["value"].median()
    shares = ratios.groupby("predictor")["ratio"].mean()
    n, added = scores["perturbation"].nunique(), comparison.n_additive(scores)
    folder.figure(
        "model_comparison",
        figures.draw_model_comparison(scores, medians, tests, profiles, ratios),
        {
            "scores": scores[scores["metric"].isin(figures.PANELS)],
            "seeds": medians[medians["metric"].isin(figures.PANELS)],
            "tests": tests[tests["metric"].isin(figures.PANELS)],
            "variances": profiles,
        },
        paper_figure=PAPER_FIGURES[task],
        n=n,
        task=task,
        n_seeds=medians.groupby("loss")["seed"].nunique().max(),
        wmse=each(of_scores["wmse"], models),
        weighted_r2=each(of_scores["weighted_r2_delta"], models),
        weighted_r2_of_duplicate=number(of_scores["weighted_r2_delta", DUPLICATE]),
        pearson=each(of_scores["pearson_delta_degs"], models),
        shares=each(shares, models),
        share_of_duplicate=number(shares[DUPLICATE]),
        added=added if 0 < added < n else None,
    )
    dose = model_comparison.loss_dose(medians, ratios)
    if len(dose):
        write_dose(folder, dose)


def write_dose(folder: ResultFolder, dose: pd.DataFrame) -> None:
    """What the power of the weights does."""
    folder.table("loss_dose", dose)
    means = dose.groupby(["metric", "power"])["value"].mean()
    course = {
        metric: ", ".join(f"{number(value)} at {power:g}" for power, value in means[metric].items())
        for metric in ("wmse", VARIANCE_RATIO)
    }
    folder.figure("loss_dose_curve", figures.draw_loss_dose(dose), dose, **course)


def write_claims(folder: ResultFolder, evidence: Evidence, *, dataset: str, task: str) -> None:
    """The paper's claims about models beside our numbers."""
    claims = check_claims(paper_numbers("claims"), evidence, dataset=dataset, task=task)
    judged = claims["holds"].dropna()
    folder.table(
        "claims",
        claims,
        show=True,
        holding=int(judged.sum()),
        judged=len(judged),
        unjudged=len(claims) - len(judged),
    )
