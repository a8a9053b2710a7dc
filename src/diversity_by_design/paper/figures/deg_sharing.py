"""Shared DEGs: the trinary cluster map (2A, 5A), their frequency (5B, 5C) and number (5D, 5E)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from diversity_by_design.paper.figures.style import DOWN, HIGHLIGHT, POINTS, TREND, UNCHANGED, UP, say_n, style

_NAMED_GENES = 8


@style()
def draw_trinary(matrix: pd.DataFrame) -> Figure:
    """Cluster map of up, down and unchanged (figure 2A, 5A); `matrix` from `deg_sharing.trinary_matrix`."""
    figure, axes = plt.subplots(figsize=(6.5, 4.2))
    if matrix.empty:
        _say_none(axes)
        return figure
    axes.imshow(
        matrix.to_numpy(),
        cmap=ListedColormap([DOWN, UNCHANGED, UP]),
        vmin=-1,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
        rasterized=True,
    )
    axes.set_xlabel(f"{matrix.shape[1]:,} genes")
    axes.set_ylabel(f"{matrix.shape[0]:,} perturbations")
    if len(matrix) <= 40:
        axes.set_yticks(range(len(matrix)), matrix.index, fontsize=5)
    else:
        axes.set_yticks([])
    axes.set_xticks([])
    axes.legend(
        handles=[
            Patch(color=UP, label="up"),
            Patch(color=DOWN, label="down"),
            Patch(facecolor=UNCHANGED, edgecolor="0.6", label="unchanged"),
        ],
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=3,
    )
    axes.spines[["top", "right"]].set_visible(True)
    return figure


@style()
def draw_frequency_rank(frequencies: pd.DataFrame) -> Figure:
    """Percentage of perturbations in which each gene is a DEG against control, by rank (figure 5B)."""
    found = frequencies[frequencies["n_vs_control"] > 0]
    most_shared = int((frequencies["percent_vs_control"] > 50).sum())
    figure, axes = plt.subplots(figsize=(4.6, 3.4))
    axes.set(xlabel="rank of gene", ylabel="perturbations with this DEG vs control (%)", ylim=(0, 105))
    if found.empty:
        _say_none(axes)
        return figure
    axes.plot(found["rank"], found["percent_vs_control"], color=TREND, marker=".", markersize=3)
    axes.axhline(50, color="0.6", linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    top = found.head(_NAMED_GENES)["gene"]
    axes.annotate(
        f"genes in more than half\nof the perturbations: {most_shared:,}\n\nmost shared:\n" + "\n".join(top),
        (0.98, 0.97),
        xycoords="axes fraction",
        ha="right",
        va="top",
        fontsize=7,
    )
    say_n(axes, len(found), "genes that are ever a DEG")
    return figure


@style()
def draw_frequency_comparison(frequencies: pd.DataFrame) -> Figure:
    """Percentage of perturbations with each DEG, against control and against the rest (figure 5C)."""
    figure = plt.figure(figsize=(4.2, 4.2))
    grid = figure.add_gridspec(2, 2, width_ratios=(4, 1), height_ratios=(1, 4))
    axes = figure.add_subplot(grid[1, 0])
    above = figure.add_subplot(grid[0, 0], sharex=axes)
    beside = figure.add_subplot(grid[1, 1], sharey=axes)
    x, y = frequencies["percent_vs_control"], frequencies["percent_vs_rest"]
    axes.scatter(x, y, s=6, color=POINTS, alpha=0.5, linewidths=0, rasterized=True)
    axes.plot([0, 100], [0, 100], color="0.6", linewidth=0.8, linestyle=":")
    axes.set(xlabel="perturbations with this DEG vs control (%)", ylabel="perturbations with this DEG vs rest (%)")
    bins = np.linspace(0, 100, 41).tolist()
    above.hist(x, bins=bins, color=POINTS, log=True)
    beside.hist(y, bins=bins, color=POINTS, log=True, orientation="horizontal")
    above.set_ylabel("genes")
    beside.set_xlabel("genes")
    above.tick_params(labelbottom=False)
    beside.tick_params(labelleft=False)
    say_n(above, len(frequencies), "genes")
    return figure


@style()
def draw_count_histogram(counts: pd.Series, reference: str, n_genes: int) -> Figure:
    """Distribution of the number of DEGs per perturbation (figure 5D against control, 5E against the rest)."""
    figure, axes = plt.subplots(figsize=(4.2, 3.0))
    axes.hist(counts, bins=min(40, max(10, len(counts) // 4)), color=POINTS)
    axes.axvline(counts.median(), color=HIGHLIGHT, linewidth=1.2, label=f"median {counts.median():g}")
    axes.set(xlabel=f"DEGs per perturbation vs {reference} (of {n_genes:,} genes)", ylabel="perturbations")
    axes.legend()
    say_n(axes, len(counts))
    return figure


def _say_none(axes: Axes) -> None:
    axes.text(0.5, 0.5, "no perturbation has a DEG vs control", transform=axes.transAxes, ha="center", va="center")
