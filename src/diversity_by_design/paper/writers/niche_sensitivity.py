"""Results of analysis 3: figure 3, and the distribution of the weights."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from diversity_by_design.errors import listed
from diversity_by_design.paper import niche
from diversity_by_design.paper.figures import niche_sensitivity as figures
from diversity_by_design.running.results import ResultFolder


def write_sensitivity(folder: ResultFolder, scores: pd.DataFrame, n_genes: int) -> None:
    """Figure 3 and its statistics."""
    summary = niche.niche_summary(scores)
    n_top = niche.n_top_degs(n_genes)
    if n_top < niche.TOP_DEGS:
        folder.note(
            f"The top {n_top} DEGs were set to the truth instead of {niche.TOP_DEGS}: there are only {n_genes} genes."
        )
    folder.table("summary", summary, show=True)
    mse, wmse = summary.to_dict("records")
    folder.figure(
        "niche_sensitivity",
        figures.draw_niche_sensitivity(scores, summary),
        {"perturbations": scores, "summary": summary},
        n=wmse["n"],
        n_top=n_top,
        n_genes=n_genes,
        wmse_fold=wmse["fold_of_medians"],
        mse_fold=mse["fold_of_medians"],
    )


def write_weights(
    folder: ResultFolder, histogram: pd.DataFrame, concentration: pd.DataFrame, examples: Sequence[str]
) -> None:
    """Distribution of the weights, and the number of genes over which they are spread."""
    effective = concentration["effective_genes"]
    folder.figure(
        "weights",
        figures.draw_weight_histograms(histogram, concentration),
        {"histogram": histogram, "concentration": concentration},
        examples=listed(examples),
        effective=effective.median(),
        n=int(effective.notna().sum()),
    )
