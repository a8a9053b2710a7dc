"""Analysis 3: does a metric notice when the few genes that a perturbation changes become right? (section 4.3).

Writes figure 3, the distribution of the weights and their tables into <output>/<dataset>/3_niche_sensitivity/.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from diversity_by_design.weights import deg_weights
from tqdm import tqdm

from diversity_by_design.datasets.expression import read_expression
from diversity_by_design.degs import deg_scores
from diversity_by_design.errors import listed
from diversity_by_design.paper import niche
from diversity_by_design.paper.analysis import Run, script
from diversity_by_design.paper.comparison import spread_by_strength
from diversity_by_design.paper.figures import niche_sensitivity
from diversity_by_design.running.results import ResultFolder
from diversity_by_design.statistics import PerturbationStatistics


def analyse(run: Run) -> None:
    """Measure how far MSE and WMSE fall when the top DEGs of the mean baseline are set to the truth."""
    folder = run.folder
    with tqdm(total=4, desc="niche sensitivity", unit="step") as bar:
        statistics = PerturbationStatistics.from_anndata(read_expression(run.prepared.path), workers=run.workers)
        bar.update()
        degs = deg_scores(statistics, workers=run.workers)
        weights = deg_weights(degs)
        undefined = statistics.labels[np.flatnonzero(np.isnan(weights).any(axis=1))]
        if len(undefined):
            folder.note(
                f"The weights of {len(undefined)} of {len(statistics.labels)} perturbations are undefined (all genes "
                f"have the same absolute t score), and so is their WMSE: {listed(undefined)}."
            )
        bar.update()
        write_sensitivity(folder, niche.niche_scores(statistics, workers=run.workers), len(statistics.genes))
        bar.update()
        examples = spread_by_strength(degs.labels, degs.n_degs, 3)
        write_weights(
            folder,
            niche.weight_histogram(degs.labels, weights, examples),
            niche.weight_summary(degs, weights),
            examples,
        )
        bar.update()


def write_sensitivity(folder: ResultFolder, scores: pd.DataFrame, n_genes: int) -> None:
    """Figure 3 and its statistics."""
    summary = niche.niche_summary(scores)
    n_top = niche.n_top_degs(n_genes)
    if n_top < niche.TOP_DEGS:
        folder.note(
            f"The top {n_top} DEGs were set to the truth instead of {niche.TOP_DEGS}: there are only {n_genes} genes."
        )
    folder.table(
        "summary",
        summary,
        caption=(
            "Errors of the mean of all perturbed cells (mu_all) and of mu_all*, in which the top DEGs of each "
            "perturbation are right: medians, means, fold reductions, paired t test and Wilcoxon's signed-rank test. "
            "fold_wilcoxon_p compares the fold reduction with that of MSE, perturbation by perturbation."
        ),
        show=True,
    )
    mse, wmse = summary.to_dict("records")
    folder.figure(
        "niche_sensitivity",
        niche_sensitivity.draw_niche_sensitivity(scores, summary),
        {"perturbations": scores, "summary": summary},
        title="MSE and WMSE of the mean baseline, with and without its top DEGs right",
        caption=(
            f"Error of the mean of all perturbed cells for {wmse['n']:,} perturbations, as it is (mu_all) and with the "
            f"top {n_top} of {n_genes:,} genes of each perturbation by absolute t vs rest set to the truth (mu_all*). "
            f"The median of WMSE falls {wmse['fold_of_medians']:.3g} times, that of MSE {mse['fold_of_medians']:.3g} "
            "times: the larger the fall, the more the metric depends on the genes that set a perturbation apart. p "
            "values are of two-sided paired tests; where the t test's is much the larger, a few perturbations with "
            "large errors dominate the mean. Violins are densities of the logarithms."
        ),
        paper="3",
    )


def write_weights(
    folder: ResultFolder, histogram: pd.DataFrame, concentration: pd.DataFrame, examples: list[str]
) -> None:
    """Distribution of the weights, and the number of genes over which they are spread."""
    effective = concentration["effective_genes"]
    folder.figure(
        "weights",
        niche_sensitivity.draw_weight_histograms(histogram, concentration),
        {"histogram": histogram, "concentration": concentration},
        title="Distribution of the weights",
        caption=(
            f"Weights of all genes in all perturbations, and in the perturbations with fewest, median and most DEGs "
            f"({listed(examples)}). Right: the number of genes over which equal weights would be as spread, median "
            f"{effective.median():.3g} for {int(effective.notna().sum()):,} perturbations. The fewer, the more a "
            "metric depends on the perturbation's own genes."
        ),
        paper="",
    )


if __name__ == "__main__":
    script(analyse, name="3_niche_sensitivity", title="Niche sensitivity", parameters={"top_degs": niche.TOP_DEGS})
