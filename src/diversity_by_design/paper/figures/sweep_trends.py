"""How well the mean baseline does along a sweep: figures 2D/E, 5H/I and 5L/M."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diversity_by_design.paper.figures.style import POINTS, TREND, say_n, style
from diversity_by_design.paper.sweeps import LOGARITHMIC

PARAMETER_LABELS = {
    "epsilon": r"$\epsilon$: decile of genes by |t|",
    "g": r"$g$: genes",
    "n_p": r"$n_p$: cells per perturbation",
    "beta": r"$\beta$: control bias",
    "delta": r"$\delta$: window by number of DEGs",
    "n_0": r"$n_0$: control cells",
    "k": r"$k$: perturbations",
    "mu_l": r"$\mu_l$: decile of cells by library size",
}
# Standard normal quantile of a two-sided 95 % interval.
_Z = 1.96
# Below this a coefficient of determination says no more than "bad"; two genes can reach minus thousands.
_LOWEST_SHOWN = -2.0


def trend(sweep: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean over perturbations and replicates, and its 95 % interval, at each value of the parameter.

    Columns: `value`, `mean`, `low`, `high`, `median`, `n`, `n_undefined`. The interval is NaN for a single point.
    """
    groups = sweep.groupby("value")[column]
    table = groups.agg(["mean", "sem", "median", "count", "size"]).reset_index()
    table["low"] = table["mean"] - _Z * table["sem"]
    table["high"] = table["mean"] + _Z * table["sem"]
    table["n_undefined"] = table["size"] - table["count"]
    return table.rename(columns={"count": "n"})[["value", "mean", "low", "high", "median", "n", "n_undefined"]]


def draw_trend(axes: Axes, sweep: pd.DataFrame, column: str, ylabel: str, r: float) -> None:
    """Draw every perturbation as a point, the mean with its 95 % interval as a line, and write r into the panel.

    Draws no line where the metric is undefined everywhere, but says so.
    """
    parameter = str(sweep["parameter"].iat[0])
    axes.set_xlabel(PARAMETER_LABELS[parameter])
    axes.set_ylabel(ylabel)
    if sweep[column].isna().all():
        axes.text(0.5, 0.5, "undefined everywhere", transform=axes.transAxes, ha="center", va="center")
        return
    table = trend(sweep, column)
    logarithmic = parameter in LOGARITHMIC
    x = np.log2(sweep["value"]) if logarithmic else sweep["value"]
    gaps = np.diff(np.unique(x))
    # Points are spread sideways by a fixed pattern so that they do not hide each other; the tables hold true values.
    spread = (np.arange(len(sweep)) * 0.618034 % 1 - 0.5) * 0.5 * (gaps.min() if len(gaps) else 1.0)
    shown = x + spread
    axes.scatter(
        2.0**shown if logarithmic else shown, sweep[column], s=3, color=POINTS, alpha=0.3, linewidths=0, rasterized=True
    )
    axes.plot(table["value"], table["mean"], color=TREND, marker="o", markersize=3, label="mean, 95 % CI")
    axes.fill_between(table["value"], table["low"], table["high"], color=TREND, alpha=0.3, linewidth=0)
    if logarithmic:
        axes.set_xscale("log", base=2)
    axes.set_title(f"r = {r:.2f}" if np.isfinite(r) else "constant", loc="left")
    say_n(axes, sweep.loc[sweep[column].notna(), "perturbation"].nunique())


@style()
def draw_sweep(sweep: pd.DataFrame, column: str, ylabel: str, r: float) -> Figure:
    """One panel, as in figures 2D/E, 5H/I and 5L/M."""
    figure, axes = plt.subplots(figsize=(4.2, 3.2))
    draw_trend(axes, sweep, column, ylabel, r)
    if axes.lines:
        axes.legend(loc="best", fontsize=7)
    return figure


@style()
def draw_overview(sweeps: dict[str, pd.DataFrame], columns: dict[str, str], correlations: pd.DataFrame) -> Figure:
    """Every sweep (columns of panels) by every metric (rows of panels; a mapping from table column to axis label).

    `correlations` are those of `diversity_by_design.paper.correlations.sweep_correlations`.
    """
    figure, panels = plt.subplots(
        len(columns), len(sweeps), figsize=(2.7 * len(sweeps), 2.4 * len(columns)), squeeze=False
    )
    r = correlations.set_index(["parameter", "column"])["r"]
    for row, (column, label) in zip(panels, columns.items(), strict=True):
        for axes, (parameter, sweep) in zip(row, sweeps.items(), strict=True):
            draw_trend(axes, sweep, column, label if axes is row[0] else "", r[parameter, column])
            if axes.lines:
                _keep_in_view(axes, sweep[column])
    return figure


def _keep_in_view(axes: Axes, values: pd.Series) -> None:
    """Limit the axis to where 98 % of the points are, at most down to -2, and say how many lie beyond."""
    low, high = values.quantile([0.01, 0.99]).clip(lower=_LOWEST_SHOWN)
    margin = 0.05 * (high - low) or 0.05
    beyond = int(((values < low - margin) | (values > high + margin)).sum())
    axes.set_ylim(low - margin, high + margin)
    if beyond:
        axes.annotate(f"{beyond} points outside", (0.02, 0.02), xycoords="axes fraction", fontsize=6, color="0.4")
