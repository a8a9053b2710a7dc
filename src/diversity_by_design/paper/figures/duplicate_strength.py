"""How far a technical duplicate agrees with its other half, by strength of the perturbation: figure 7."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diversity_by_design.paper.figures.baseline_metrics import in_order, set_deg_axis, set_r2_view, short
from diversity_by_design.paper.figures.style import (
    HIGHLIGHT,
    POINTS,
    PREDICTOR_COLOURS,
    metric_label,
    say_n,
    style,
)


@style()
def draw_duplicate_strength(
    strength: pd.DataFrame, correlation: pd.DataFrame, genes: pd.DataFrame, agreement: pd.DataFrame
) -> Figure:
    """Number of DEGs against weighted R2 of the duplicate, and both halves of a few perturbations (figure 7)."""
    examples = in_order(genes["perturbation"])
    figure = plt.figure(figsize=(4.0 + 2.1 * len(examples), 4.8))
    grid = figure.add_gridspec(2, 1 + len(examples), width_ratios=(2.0, *[1.0] * len(examples)))
    _draw_relation(figure.add_subplot(grid[:, 0]), strength, correlation.iloc[0], examples)
    for row, which in enumerate(("all genes", "DEGs only")):
        for column, label in enumerate(examples):
            own = genes[genes["perturbation"] == label]
            axes = figure.add_subplot(grid[row, 1 + column])
            numbers = agreement[agreement["perturbation"] == label].iloc[row]
            _draw_halves(axes, own[own["is_deg"]] if row else own, numbers)
            axes.set_title("" if row else short(label))
            axes.set_xlabel(r"$\Delta$ in the first half" if row else "", fontsize=8)
            axes.set_ylabel("" if column else f"{which}\n" r"$\Delta$ in the second half", fontsize=8)
    return figure


def _draw_relation(axes: Axes, strength: pd.DataFrame, correlation: pd.Series, examples: list[str]) -> None:
    colour = PREDICTOR_COLOURS["technical_duplicate"]
    shown = strength[strength["perturbation"].isin(examples)]
    axes.scatter(strength["n_degs"], strength["weighted_r2_delta"], s=14, color=colour, alpha=0.6, linewidths=0)
    axes.scatter(
        shown["n_degs"],
        shown["weighted_r2_delta"],
        s=24,
        facecolors="none",
        edgecolors="black",
        label="examples on the right",
    )
    axes.axhline(0, color="0.7", linewidth=0.8, linestyle=":", zorder=0)
    set_deg_axis(axes, strength["n_degs"])
    set_r2_view(axes, strength["weighted_r2_delta"].dropna())
    axes.set_ylabel(f"{metric_label('weighted_r2_delta')} of the technical duplicate")
    r, p = correlation["spearman_r"], correlation["p"]
    axes.set_title(
        f"Spearman r = {r:.2f}, p = {p:.2g}" if np.isfinite(r) else "Spearman r undefined", loc="left", pad=14
    )
    missing = int(correlation["n_undefined"])
    axes.legend(loc="lower right", fontsize=7, title=f"{missing:,} undefined, not shown" if missing else None)
    say_n(axes, int(correlation["n"]))


def _draw_halves(axes: Axes, genes: pd.DataFrame, numbers: pd.Series) -> None:
    colours = np.where(genes["is_deg"], HIGHLIGHT, POINTS)
    # DEGs are drawn last: they are few.
    order = np.argsort(genes["is_deg"].to_numpy(), kind="stable")
    first, second = genes["delta_first"].to_numpy()[order], genes["delta_second"].to_numpy()[order]
    axes.scatter(first, second, s=7, color=colours[order], alpha=0.6, linewidths=0, rasterized=True)
    reach = 1.1 * max(np.abs(first).max(initial=0.0), np.abs(second).max(initial=0.0)) or 1.0
    axes.plot([-reach, reach], [-reach, reach], color="0.6", linewidth=0.8, linestyle=":", zorder=0)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), box_aspect=1)
    axes.locator_params(nbins=5)
    axes.tick_params(labelsize=6)
    text = "\n".join(
        (
            rf"$R^2$ = {_number(numbers['r2'])}",
            rf"$R^2_w$ = {_number(numbers['weighted_r2'])}",
            f"r = {_number(numbers['pearson'])}",
        )
    )
    axes.annotate(text, (0.04, 0.97), xycoords="axes fraction", va="top", fontsize=7)
    axes.annotate(
        f"{int(numbers['n_genes']):,} {'genes' if numbers['genes'] == 'all' else 'DEGs'}",
        (0.97, 0.03),
        xycoords="axes fraction",
        ha="right",
        fontsize=7,
    )


def _number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "undefined"
