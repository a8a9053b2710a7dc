"""Audit of metrics on simulated data sets: what moves the mean baseline's score, and what mode collapse does to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from diversity_by_design.audit_summary import BASELINE
from diversity_by_design.paper.comparison import DUPLICATE
from diversity_by_design.paper.figures.style import (
    PREDICTOR_COLOURS,
    TREND,
    direction,
    draw_correlations,
    metric_label,
    style,
)
from diversity_by_design.simulator.config import SIMULATION_LOGARITHMIC, SIMULATION_PARAMETERS

PARAMETER_LABELS = {
    "epsilon": "$\\epsilon$\neffect size",
    "g": "$g$\ngenes",
    "n_p": "$n_p$\ncells per\npert.",
    "beta": "$\\beta$\ncontrol\nbias",
    "delta": "$\\delta$\nshare of\naffected",
    "n_0": "$n_0$\ncontrol\ncells",
    "k": "$k$\nperturba-\ntions",
    "mu_l": "$\\mu_l$\nlibrary\nsize",
}
_SYMBOLS = {"n_p": "$n_p$", "n_0": "$n_0$", "k": "$k$", "mu_l": r"$\mu_l$"}
_LEVELS: dict[str, Any] = {DUPLICATE: "--", BASELINE: ":"}


@style()
def draw_metric_audit(correlations: pd.DataFrame, scores: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """A row per metric: its correlations with the parameters, and the course along the dial."""
    n_metrics = len(summary)
    figure = plt.figure(figsize=(12.5, 1.9 + 0.85 * n_metrics))
    # Text beside the panels is wider at some resolutions than at that of the layout.
    figure.set_layout_engine("constrained", rect=(0, 0, 0.97, 1))
    grid = figure.add_gridspec(n_metrics, 2, width_ratios=(1.55, 1.0))
    _correlations(figure.add_subplot(grid[:, 0]), correlations, summary)
    for row, (_, of_metric) in enumerate(summary.iterrows()):
        panel = figure.add_subplot(grid[row, 1])
        _draw_dial(panel, scores[scores["metric"] == of_metric["metric"]], of_metric)
        panel.tick_params(labelbottom=row == n_metrics - 1)
        if row == 0:
            panel.set_title("Score as the truth is shrunken to the mean\n(better is up)")
    panel.set_xlabel(r"$\alpha$: 0 truth, 1 mean of all perturbed cells")
    handles = [
        Line2D([], [], color=TREND, marker="o", markersize=3, label=r"truth shrunken by $\alpha$ (quartiles)"),
        *(
            Line2D([], [], color=PREDICTOR_COLOURS[name], linestyle=line, label=name.replace("_", " "))
            for name, line in _LEVELS.items()
        ),
    ]
    labels = [str(handle.get_label()) for handle in handles]
    figure.legend(handles, labels, loc="outside lower right", ncols=3, fontsize=7)
    return figure


def _correlations(axes: Axes, correlations: pd.DataFrame, summary: pd.DataFrame) -> None:
    r = correlations.pivot_table(index="metric", columns="parameter", values="r", dropna=False, aggfunc="first")
    r = r.reindex(index=summary["metric"], columns=list(SIMULATION_PARAMETERS))
    n = correlations.drop_duplicates("metric").set_index("metric")["n"]
    rows = [
        f"{metric_label(metric)}\n{direction(higher)}\nn = {n[metric]:,} data sets"
        for metric, higher in zip(summary["metric"], summary["higher_is_better"], strict=True)
    ]
    image = draw_correlations(axes, r, rows, [PARAMETER_LABELS[name] for name in SIMULATION_PARAMETERS])
    axes.tick_params(axis="x", top=False, labeltop=True, labelbottom=False, labelsize=7)
    axes.set_title("Correlation of the mean baseline's score with the parameters of a data set", pad=6)
    logarithms = ", ".join(symbol for name, symbol in _SYMBOLS.items() if name in SIMULATION_LOGARITHMIC)
    label = f"Pearson r over data sets, with the logarithm of {logarithms}"
    axes.figure.colorbar(image, ax=axes, location="bottom", shrink=0.5, aspect=30, fraction=0.04, pad=0.02, label=label)


def _draw_dial(axes: Axes, scores: pd.DataFrame, summary: pd.Series) -> None:
    """Median and quartiles along the dial, and the levels of the technical duplicate and of the mean baseline."""
    dial = scores.dropna(subset="alpha").sort_values("alpha")
    higher = bool(summary["higher_is_better"])
    axes.set_ylabel("score" if higher else "error,\nmean = 1", fontsize=7)
    axes.set_xlim(-0.06, 1.06)
    axes.set_xticks(dial["alpha"], [f"{alpha:g}" for alpha in dial["alpha"]])
    axes.tick_params(labelsize=7)
    axes.locator_params(axis="y", nbins=4)
    medians = scores.set_index("predictor")["median"].reindex(list(_LEVELS))
    _write_findings(axes, dial, summary, medians)
    if dial["median"].isna().all():
        axes.text(0.5, 0.5, "undefined everywhere", transform=axes.transAxes, ha="center", va="center", fontsize=7)
        return
    axes.fill_between(dial["alpha"], dial["q25"], dial["q75"], color=TREND, alpha=0.3, linewidth=0)
    axes.plot(dial["alpha"], dial["median"], color=TREND, marker="o", markersize=3)
    low, high = dial["q25"].min(), dial["q75"].max()
    # Levels far from the dial would flatten it; their values are written beside it.
    reach = max(high - low, abs(high), abs(low))
    for name, level in medians.dropna().items():
        if low - 2 * reach <= level <= high + 2 * reach:
            axes.axhline(level, color=PREDICTOR_COLOURS[str(name)], linestyle=_LEVELS[str(name)], linewidth=1.2)
    # A fall is seen in proportion.
    axes.update_datalim([(0, 0)], updatex=False)
    axes.margins(y=0.12)
    axes.autoscale_view(scalex=False)
    if not higher:
        axes.invert_yaxis()


def _write_findings(axes: Axes, dial: pd.DataFrame, summary: pd.Series, medians: pd.Series) -> None:
    lines = [f"worse at each step: {_share(summary['n_falling'], summary['n'])}"]
    if summary["n_compared"]:
        lines.append(f"duplicate beats mean: {_share(summary['n_duplicate_better'], summary['n_compared'])}")
    levels = [f"{label} {_number(medians[name])}" for name, label in ((DUPLICATE, "duplicate"), (BASELINE, "mean"))]
    lines.append(f"median: {', '.join(levels)}")
    if dial["n_undefined"].any():
        lines.append(f"undefined along the dial: {', '.join(f'{n:,}' for n in dial['n_undefined'])}")
    axes.text(1.03, 0.5, "\n".join(lines), transform=axes.transAxes, va="center", fontsize=7, linespacing=1.4)


def _share(count: int, total: int) -> str:
    return f"{100 * count / total:.0f} % of {total:,}" if total else "undefined everywhere"


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "–"
    # The sign of a small value matters: the perturbed mean never has a positive R2.
    return f"{value:.2f}" if abs(value) >= 0.005 else f"{value:.1g}"
