"""Predictors compared among perturbations of similar strength: figure 9."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from diversity_by_design.paper.figures.baseline_metrics import (
    draw_box,
    in_order,
    metric_title,
    on_one_line,
    p_text,
    predictor_colours,
    set_view,
    write_median,
)
from diversity_by_design.paper.figures.style import style

PANELS = ("wmse", "weighted_r2_delta", "pearson_delta_degs")
# What the tests compare; a positive t says that the second has the higher score.
TESTED = "MSE vs WMSE"
# Part of the distance between two groups that their boxes fill.
_FILLED = 0.86
# With more boxes than these in a group, medians are written upwards.
_MOST_UPRIGHT = 5


@style()
def draw_deg_count_groups(scores: pd.DataFrame, ranges: pd.DataFrame, tests: pd.DataFrame | None = None) -> Figure:
    """Three panels with the groups side by side, one box per predictor in each (figure 9).

    `ranges`: size of each group, as from `comparison.group_ranges`.
    """
    predictors = in_order(scores["predictor"])
    colours = predictor_colours(predictors)
    width = _FILLED / len(predictors)
    rotation = 0 if len(predictors) <= _MOST_UPRIGHT else 90
    # Room above a panel, in points: for medians, and for tests above these.
    above_medians = 14 if rotation == 0 else 30
    above = above_medians + (0 if tests is None else 13)
    figure, panels = plt.subplots(len(PANELS), 1, figsize=(max(9.0, 2.0 * len(predictors)), 8.6 + (above - 14) / 24))
    for axes, metric in zip(panels, PANELS, strict=True):
        of_metric = scores[scores["metric"] == metric]
        for centre, group in enumerate(ranges["deg_group"]):
            in_group = of_metric[of_metric["deg_group"] == group]
            for number, predictor in enumerate(predictors):
                position = centre + (number - (len(predictors) - 1) / 2) * width
                values = in_group.loc[in_group["predictor"] == predictor, "value"]
                draw_box(axes, position, values, colours[predictor], width)
                write_median(axes, position, values, metric, rotation)
            if centre:
                axes.axvline(centre - 0.5, color="0.85", linewidth=0.8)
        set_view(axes, of_metric["value"], metric)
        axes.set_xlim(-0.5, len(ranges) - 0.5)
        defined = of_metric.groupby("perturbation")["value"].transform("count") > 0
        undefined = of_metric[~defined].groupby("deg_group", observed=True)["perturbation"].nunique()
        axes.set_xticks(
            range(len(ranges)),
            [_group_label(row, undefined.get(row["deg_group"], 0)) for _, row in ranges.iterrows()],
            fontsize=8,
        )
        axes.tick_params(axis="x", length=0)
        axes.set_title(metric_title(metric), pad=above)
        if tests is not None:
            _write_tests(axes, tests[tests["metric"] == metric], ranges, above_medians)
    figure.legend(
        handles=[Patch(color=colour, label=on_one_line(predictor)) for predictor, colour in colours.items()],
        loc="outside upper center",
        ncols=len(predictors),
    )
    panels[-1].set_xlabel("quantile range of perturbations by number of DEGs vs rest")
    return figure


def _write_tests(axes: Axes, tests: pd.DataFrame, ranges: pd.DataFrame, height: float) -> None:
    """Write the paired t test of each group that is not empty, so many points above the panel."""
    by_group = tests.set_index("deg_group")
    for centre, group in enumerate(ranges.loc[ranges["n"] > 0, "deg_group"].reindex(ranges.index)):
        if pd.isna(group):
            continue
        test = by_group.loc[group]
        n = int(test["n"])
        axes.annotate(
            f"{TESTED}: t = {test['t']:.2f}, {p_text(test['t_p'])}"
            if np.isfinite(test["t"])
            else f"{TESTED}: no test, {n} pair{'' if n == 1 else 's'}",
            (centre, 1),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, height),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=7,
        )


def _group_label(group: pd.Series, undefined: int) -> str:
    if group["n"] == 0:
        return f"{group['deg_group']}\nempty: same number\nof DEGs as its neighbour"
    fewest, most = group["fewest_degs"], group["most_degs"]
    degs = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
    missing = f", {undefined:,} undefined" if undefined else ""
    return f"{group['deg_group']}\n{degs} DEGs\nn = {group['n']:,}{missing}"
