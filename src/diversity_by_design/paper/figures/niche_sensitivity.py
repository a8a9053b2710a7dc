"""MSE and WMSE of mu_all and mu_all*: figure 3; and the distribution of the weights."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diversity_by_design.paper.figures.baseline_metrics import in_order, set_deg_axis, set_log_axis, short
from diversity_by_design.paper.figures.style import (
    EXAMPLE_COLOURS,
    POINTS,
    PREDICTOR_COLOURS,
    PREDICTOR_LABELS,
    metric_label,
    say_n,
    style,
)
from diversity_by_design.paper.niche import OVERALL

PREDICTORS = ("perturbed_mean", "perturbed_mean_star")


@style()
def draw_niche_sensitivity(scores: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Violins of each metric for mu_all and mu_all*, on a logarithmic axis (figure 3)."""
    figure, panels = plt.subplots(1, len(summary), figsize=(3.4 * len(summary), 3.8), sharey=True)
    for axes, (_, numbers) in zip(np.atleast_1d(panels), summary.iterrows(), strict=True):
        of_metric = scores[scores["metric"] == numbers["metric"]].dropna(subset=list(PREDICTORS))
        _draw_violins(axes, of_metric)
        set_log_axis(axes)
        axes.set_ylabel("error (squared log1p expression)")
        axes.set_title(
            f"{metric_label(numbers['metric'])}: median {numbers['fold_of_medians']:.3g} times smaller\n"
            f"paired t test p = {_p(numbers['t_p'])}, Wilcoxon p = {_p(numbers['wilcoxon_p'])}",
            fontsize=8,
            pad=14,
        )
        say_n(axes, int(numbers["n"]))
    for axes in np.atleast_1d(panels)[1:]:
        axes.set_ylabel("")
    return figure


@style()
def draw_weight_histograms(histogram: pd.DataFrame, concentration: pd.DataFrame) -> Figure:
    """Distribution of the weights overall and of single perturbations, and how many genes they are spread over."""
    degs = concentration.set_index("perturbation")["n_degs"]
    overall = histogram[histogram["group"] == OVERALL]
    examples = in_order(histogram.loc[histogram["group"] != OVERALL, "group"])
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.4))
    _draw_steps(left, overall, POINTS, filled=True)
    left.set_title("all perturbations", loc="left")
    left.annotate(_near_zero(overall), (0.03, 0.97), xycoords="axes fraction", va="top", fontsize=7)
    say_n(left, int(overall["count"].sum()), "weights")
    for label, colour in zip(examples, cycle(EXAMPLE_COLOURS), strict=False):
        table = histogram[histogram["group"] == label]
        _draw_steps(middle, table, colour, label=f"{short(label)}: {degs[label]:,.0f} DEGs; {_near_zero(table)}")
    middle.set_title("single perturbations", loc="left")
    middle.legend(fontsize=7, loc="upper left")
    middle.set_ylim(top=1.5 * middle.get_ylim()[1])
    for axes in (left, middle):
        axes.set(xscale="log", xlabel="weight of a gene", ylabel="genes (%)")
    shown = concentration.dropna(subset="effective_genes")
    right.scatter(shown["n_degs"], shown["effective_genes"], s=12, color=POINTS, alpha=0.7, linewidths=0)
    right.set_ylabel(r"effective number of genes, $1/\Sigma w_i^2$")
    if len(shown):
        set_log_axis(right)
    set_deg_axis(right, concentration["n_degs"])
    undefined = len(concentration) - len(shown)
    if undefined:
        right.annotate(f"{undefined:,} undefined", (0.03, 0.03), xycoords="axes fraction", fontsize=7, color="0.4")
    say_n(right, len(shown))
    return figure


def _draw_violins(axes: Axes, scores: pd.DataFrame) -> None:
    """One violin per predictor, of the logarithms; errors of zero have no place on the axis and are counted."""
    values = scores[list(PREDICTORS)]
    positive = values.where(values > 0)
    look: dict[str, Any] = {"palette": PREDICTOR_COLOURS, "order": PREDICTORS}
    density: dict[str, Any] = {"log_scale": (False, True), "cut": 0, "inner": None, "linewidth": 0.8, "alpha": 0.55}
    several = positive.melt(var_name="predictor", value_name="error").dropna()
    several = several[several.groupby("predictor")["error"].transform("nunique") > 1]
    if len(several):
        sns.violinplot(several, x="predictor", y="error", hue="predictor", ax=axes, **look, **density)
    for position, predictor in enumerate(PREDICTORS):
        shown = positive[predictor].dropna()
        spread = (np.arange(len(shown)) * 0.618034 % 1 - 0.5) * 0.16
        axes.scatter(position + spread, shown, s=5, color="0.2", alpha=0.5, linewidths=0, rasterized=True)
        if len(shown):
            median = float(values[predictor].median())
            axes.plot([position - 0.2, position + 0.2], [median, median], color="black", linewidth=1.6)
            axes.annotate(f"{median:#.2g}".rstrip("."), (position + 0.42, median), fontsize=7, va="center")
    axes.set_xlim(-0.6, len(PREDICTORS) - 0.4)
    axes.set_xticks(range(len(PREDICTORS)), [PREDICTOR_LABELS[predictor] for predictor in PREDICTORS])
    axes.set_xlabel("")
    zeros = int((values == 0).to_numpy().sum())
    if zeros:
        axes.annotate(f"{zeros} of value 0 not shown", (0.02, 0.02), xycoords="axes fraction", fontsize=6, color="0.4")


def _draw_steps(axes: Axes, table: pd.DataFrame, colour: str, label: str | None = None, filled: bool = False) -> None:
    """Histogram of all but the first bin, which begins at zero and so has no place on a logarithmic axis."""
    bins = table.iloc[1:]
    bins = bins.loc[bins["count"].ne(0).idxmax() :]
    edges = np.append(bins["bin_left"].to_numpy(), bins["bin_right"].iloc[-1])
    axes.stairs(100 * bins["fraction"], edges, color=colour, fill=filled, label=label, linewidth=1.3)


def _near_zero(table: pd.DataFrame) -> str:
    first = table.iloc[0]
    return f"{first['fraction']:.1%} below {first['bin_right']:.0e}"


def _p(value: float) -> str:
    return f"{value:.2g}" if np.isfinite(value) else "undefined"
