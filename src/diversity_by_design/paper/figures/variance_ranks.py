"""Variance of genes over perturbations, in the truth and in predictions: figures 4D and 8D."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from diversity_by_design.paper.comparison import DUPLICATE
from diversity_by_design.paper.figures.baseline_metrics import in_order, on_one_line
from diversity_by_design.paper.figures.style import TRUTH_COLOUR, say_n
from diversity_by_design.paper.model_comparison import TRUTH

# Genes of neighbouring rank of which a smooth line shows the median: so many, but no more than a part of all.
_WINDOW, _PARTS = 51, 10


def draw_variance_ranks(
    axes: Axes, profiles: pd.DataFrame, ratios: pd.DataFrame, colours: Mapping[str, str], pad: float = 14
) -> None:
    """Draw the variance of each gene over its rank in the truth (figures 4D and 8D).

    Faint: every gene (mean over seeds). Lines: running median; their labels, for a legend, hold the ratios.

    `pad`: room below the title, in points.
    """
    hidden = 0
    for predictor in drawing_order(profiles["predictor"]):
        variance = profiles[profiles["predictor"] == predictor].groupby("rank")["variance"].mean()
        shown = variance.where(variance > 0)
        hidden += int(shown.isna().sum())
        colour = TRUTH_COLOUR if predictor == TRUTH else colours[predictor]
        label = _label(predictor, ratios[ratios["predictor"] == predictor])
        axes.plot(shown, ".", color=colour, markersize=1.5, alpha=0.2, rasterized=True, zorder=1)
        window = max(1, min(_WINDOW, len(shown) // _PARTS))
        running = shown.rolling(window, center=True, min_periods=1).median()
        width, above = (2.2, 4) if predictor == TRUTH else (1.6, 3)
        axes.plot(running, color=colour, linewidth=width, label=label, zorder=above)
    if (profiles["variance"] > 0).any():
        axes.set_yscale("log")
    axes.set_xlim(1, max(2, profiles["rank"].max()))
    axes.set_xlabel("gene, ranked by its variance in the truth")
    axes.set_ylabel("variance over perturbations\n(squared log1p expression)")
    n_genes, n_perturbations = (int(ratios[column].max()) for column in ("n_genes", "n_perturbations"))
    axes.set_title(f"Top {n_genes:,} genes by variance of the truth", pad=pad)
    say_n(axes, n_perturbations)
    if hidden:
        axes.text(0.02, 0.02, f"{hidden:,} of value 0 not shown", transform=axes.transAxes, fontsize=6, color="0.4")


def drawing_order(predictors: Iterable[str]) -> list[str]:
    """The truth first, the technical duplicate next, then models as they come."""
    names = in_order(predictors)
    return [name for name in (TRUTH, DUPLICATE) if name in names] + [
        name for name in names if name not in (TRUTH, DUPLICATE)
    ]


def _label(predictor: str, ratios: pd.DataFrame) -> str:
    if predictor == TRUTH:
        return "Truth: 1"
    ratio = ratios["ratio"]
    text = f"{on_one_line(predictor)}: {_number(ratio.mean())}"
    if len(ratio) > 1:
        text += f" ({_number(ratio.min())} to {_number(ratio.max())}, {len(ratio)} seeds)"
    return text


def _number(ratio: float) -> str:
    return f"{ratio:.2g}" if np.isfinite(ratio) else "undefined"
