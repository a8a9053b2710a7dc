"""How far a technical duplicate agrees with its other half, by strength of the perturbation: figure 7."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from diversity_by_design.figures.baseline_metrics import in_order, set_deg_axis, set_r2_view, short
from diversity_by_design.figures.style import (
    HIGHLIGHT,
    METRIC_LABELS,
    POINTS,
    PREDICTOR_COLOURS,
    say_n,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_duplicate_strength(
    strength: pd.DataFrame, correlation: pd.DataFrame, genes: pd.DataFrame, agreement: pd.DataFrame
) -> Figure:
    """Number of DEGs against weighted R2 of the duplicate, and both halves of a few perturbations (figure 7).

    Parameters
    ----------
    strength, correlation : DataFrame
        As from `comparison.strength_table` and `comparison.strength_correlation`.
    genes, agreement : DataFrame
        As from `comparison.duplicate_genes` and `comparison.duplicate_agreement`; a column of panels for each
        perturbation in them.
    """
    from matplotlib import pyplot as plt

    examples = in_order(genes["perturbation"])
    with style():
        figure = plt.figure(figsize=(4.4 + 2.1 * len(examples), 4.8))
        parts = figure.add_gridspec(1, 2, width_ratios=(4.4, 2.1 * len(examples)))
        left, right = figure.add_subfigure(parts[0]), figure.add_subfigure(parts[1])
        _draw_relation(left.subplots(), strength, correlation.iloc[0], examples)
        panels = right.subplots(2, len(examples), squeeze=False)
        for column, label in zip(panels.T, examples, strict=True):
            own = genes[genes["perturbation"] == label]
            numbers = agreement[agreement["perturbation"] == label]
            column[0].set_title(short(label))
            _draw_halves(column[0], own, numbers.iloc[0])
            _draw_halves(column[1], own[own["is_deg"]], numbers.iloc[1])
        for axes, which in zip(panels[:, 0], ("all genes", "DEGs only"), strict=True):
            axes.set_ylabel(f"{which}\n" r"$\Delta$ in the second half")
        right.supxlabel(r"$\Delta$ in the first half (difference of log1p expression from $\mu^{all}$)", fontsize=9)
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
    axes.set_ylabel(f"{METRIC_LABELS['weighted_r2_delta']} of the technical duplicate")
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
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
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
