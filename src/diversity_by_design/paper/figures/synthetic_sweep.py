"""How well the mean baseline does in simulated data sets: figures 2C, 5G and 5K, and table 2 as a heat map.

Each figure has a function that gives the numbers it shows as a table, to be written beside it.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diversity_by_design.paper.correlations import (
    GENE_GROUPS,
    SIMULATION_LOGARITHMIC,
    SIMULATION_PARAMETERS,
    on_scale,
)
from diversity_by_design.paper.figures.style import (
    POINTS,
    TREND,
    draw_correlations,
    make_logarithmic,
    metric_label,
    say_n,
    style,
)

PARAMETER_LABELS = {
    "epsilon": r"$\epsilon$: factor of an effect",
    "g": r"$g$: genes",
    "n_p": r"$n_p$: cells per perturbation",
    "beta": r"$\beta$: control bias",
    "delta": r"$\delta$: share of genes affected",
    "n_0": r"$n_0$: control cells",
    "k": r"$k$: perturbations",
    "mu_l": r"$\mu_l$: mean log library factor",
}
GENE_GROUP_LABELS = {
    "all": "all genes",
    "affected": "affected genes",
    "degs_vs_control": "DEGs vs control",
    "degs_vs_rest": "DEGs vs rest",
}
# Of the data sets, that one point of a moving average is the mean of; at least so many.
_SHARE_IN_WINDOW, _LEAST_IN_WINDOW = 0.1, 10
# An axis of an overview ends at this quantile of the metric if the largest value is that many times as large: single
# points far above would flatten all others.
_SHOWN, _FAR_ABOVE = 0.99, 1.5


def column_label(column: str) -> str:
    """Label of a metric's column, such as ``mse_all``."""
    group = next(group for group in GENE_GROUPS if column.endswith(f"_{group}"))
    return f"{metric_label(column.removesuffix(f'_{group}'))}, {GENE_GROUP_LABELS[group]}"


def points(sweep: pd.DataFrame, parameter: str, column: str) -> pd.DataFrame:
    """Data sets in which a metric is defined: `dataset`, parameter and metric, by ascending parameter."""
    defined = sweep[["dataset", parameter, column]].dropna()
    return defined.sort_values([parameter, "dataset"], ignore_index=True)


def moving_average(
    sweep: pd.DataFrame, parameter: str, column: str, logarithmic: Collection[str] = SIMULATION_LOGARITHMIC
) -> pd.DataFrame:
    """Means of neighbouring data sets, by ascending parameter.

    A window holds a tenth of the data sets, at least ten; only full windows count.

    `sweep`: one row per data set. `parameter, column`: parameter and metric. `logarithmic`: parameters whose mean in a
    window is the geometric one. Parameter and metric: their means in each window; `n`, its number of data sets. Empty
    with fewer than ten.
    """
    ordered = points(sweep, parameter, column)
    window = max(_LEAST_IN_WINDOW, round(_SHARE_IN_WINDOW * len(ordered)))
    x = pd.Series(on_scale(ordered[parameter], parameter, logarithmic)).rolling(window).mean().iloc[window - 1 :]
    y = ordered[column].rolling(window).mean().iloc[window - 1 :]
    x = np.exp(x) if parameter in logarithmic else x
    return pd.DataFrame({parameter: x, column: y, "n": window}).reset_index(drop=True)


def draw_trend(
    axes: Axes, sweep: pd.DataFrame, parameter: str, column: str, logarithmic: Collection[str] = SIMULATION_LOGARITHMIC
) -> None:
    """Draw every data set as a point and their moving average as a line, and say how many there are."""
    shown = points(sweep, parameter, column)
    axes.set(xlabel=PARAMETER_LABELS[parameter], ylabel=column_label(column))
    say_n(axes, len(shown), "data sets")
    if not len(shown):
        axes.text(0.5, 0.5, "undefined everywhere", transform=axes.transAxes, ha="center", va="center")
        return
    # Points of a large sweep would cover each other.
    alpha = float(np.clip(30 / np.sqrt(len(shown)), 0.15, 0.8))
    axes.scatter(shown[parameter], shown[column], s=5, color=POINTS, alpha=alpha, linewidths=0, rasterized=True)
    average = moving_average(sweep, parameter, column, logarithmic)
    if len(average):
        label = f"moving average of {average['n'].iat[0]:,} data sets"
        axes.plot(average[parameter], average[column], color=TREND, label=label)
    if parameter in logarithmic:
        make_logarithmic(axes, shown[parameter])


@style()
def draw_sweep(
    sweep: pd.DataFrame,
    parameter: str,
    column: str,
    correlations: pd.DataFrame,
    logarithmic: Collection[str] = SIMULATION_LOGARITHMIC,
) -> Figure:
    """One panel, as in figures 2C, 5G and 5K, with r and its interval (from `correlations.table_2`) in its title."""
    row = correlation_of(correlations, parameter, column)
    figure, axes = plt.subplots(figsize=(4.2, 3.2))
    draw_trend(axes, sweep, parameter, column, logarithmic)
    interval = f" ({row['low']:z.2f} to {row['high']:z.2f})" if np.isfinite(row["low"]) else ""
    axes.set_title(f"{said(row['ours'])}{interval}", loc="left")
    if axes.lines:
        axes.legend(loc="best", fontsize=7)
    return figure


def overview(
    sweep: pd.DataFrame, columns: Collection[str], logarithmic: Collection[str] = SIMULATION_LOGARITHMIC
) -> pd.DataFrame:
    """Moving averages of some metrics along every parameter: `metric`, `parameter`, `value`, `mean`, `n`."""
    tables = [
        moving_average(sweep, parameter, column, logarithmic)
        .rename(columns={parameter: "value", column: "mean"})
        .assign(metric=column, parameter=parameter)
        for column in columns
        for parameter in SIMULATION_PARAMETERS
    ]
    return pd.concat(tables, ignore_index=True)[["metric", "parameter", "value", "mean", "n"]]


@style()
def draw_overview(
    sweep: pd.DataFrame,
    columns: Collection[str],
    correlations: pd.DataFrame,
    logarithmic: Collection[str] = SIMULATION_LOGARITHMIC,
) -> Figure:
    """Every parameter (columns of panels) by some metrics (rows of panels)."""
    size = (2.6 * len(SIMULATION_PARAMETERS), 2.3 * len(columns))
    figure, panels = plt.subplots(len(columns), len(SIMULATION_PARAMETERS), figsize=size, squeeze=False)
    for row, column in zip(panels, columns, strict=True):
        top = sweep[column].quantile(_SHOWN)
        beyond = int((sweep[column] > top).sum()) if sweep[column].max() > _FAR_ABOVE * top else 0
        for axes, parameter in zip(row, SIMULATION_PARAMETERS, strict=True):
            draw_trend(axes, sweep, parameter, column, logarithmic)
            axes.set_title(said(correlation_of(correlations, parameter, column)["ours"]), loc="left")
            if axes is not row[0]:
                axes.set_ylabel("")
            if beyond:
                axes.set_ylim(top=top)
                text = f"{beyond} above"
                axes.annotate(text, (0.99, 0.99), xycoords="axes fraction", ha="right", va="top", fontsize=6)
    return figure


@style()
def draw_table_2(table: pd.DataFrame) -> Figure:
    """Table 2 as a heat map, ours beside the paper's; `table` from `correlations.table_2`."""
    both = {f"ours (n = {_span(table['n'])} data sets)": "ours", "the paper's (n = 10,000)": "paper"}
    wide = {title: _matrix(table, column) for title, column in both.items()}
    widths = [matrix.shape[1] for matrix in wide.values()]
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), width_ratios=widths, sharey=True)
    for axes, (title, matrix) in zip(panels, wide.items(), strict=True):
        rows = [column_label(name) for name in matrix.index]
        image = draw_correlations(axes, matrix, rows, [PARAMETER_LABELS[n].split(":")[0] for n in matrix.columns])
        axes.set_title(title, loc="left")
    figure.colorbar(image, ax=panels, label="Pearson r", shrink=0.7)
    return figure


def said(r: float) -> str:
    """A correlation as text.

    Examples
    --------
    >>> said(0.123), said(float("nan"))
    ('r = 0.12', 'r is undefined')
    """
    return f"r = {r:z.2f}" if np.isfinite(r) else "r is undefined"


def correlation_of(correlations: pd.DataFrame, parameter: str, column: str) -> pd.Series:
    """Row of table 2 about a parameter and a metric's column."""
    columns = correlations["metric"] + "_" + correlations["gene_group"]
    return correlations[(columns == column) & (correlations["parameter"] == parameter)].iloc[0]


def _matrix(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """A column of table 2 as metrics x parameters, in the table's order."""
    named = table.assign(row=table["metric"] + "_" + table["gene_group"])
    return named.pivot_table(column, "row", "parameter", sort=False, dropna=False)


def _span(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
