"""Predictors compared among perturbations of similar strength: figure 9."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from diversity_by_design.figures.baseline_metrics import (
    draw_box,
    in_order,
    metric_title,
    predictor_colours,
    predictor_label,
    set_view,
    write_median,
)
from diversity_by_design.figures.style import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = ("wmse", "weighted_r2_delta", "pearson_delta_degs")
# Part of the distance between two groups that their boxes fill.
_FILLED = 0.86
# With more boxes than these in a group, medians are written upwards.
_MOST_UPRIGHT = 5


def draw_deg_count_groups(scores: pd.DataFrame, ranges: pd.DataFrame) -> Figure:
    """Three panels with the groups side by side, one box per predictor in each (figure 9).

    Parameters
    ----------
    scores : DataFrame
        As from `comparison.baseline_scores`, with the column `deg_group`.
    ranges : DataFrame
        Size of each group, as from `comparison.group_ranges`.
    """
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    predictors = in_order(scores["predictor"])
    colours = predictor_colours(predictors)
    width = _FILLED / len(predictors)
    rotation = 0 if len(predictors) <= _MOST_UPRIGHT else 90
    with style():
        figure, panels = plt.subplots(len(PANELS), 1, figsize=(max(9.0, 2.0 * len(predictors)), 8.6))
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
            axes.set_title(metric_title(metric), pad=14 if rotation == 0 else 30)
        figure.legend(
            handles=[
                Patch(color=colour, label=predictor_label(predictor).replace("\n", " "))
                for predictor, colour in colours.items()
            ],
            loc="outside upper center",
            ncols=len(predictors),
        )
        panels[-1].set_xlabel("quantile range of perturbations by number of DEGs vs rest")
    return figure


def _group_label(group: pd.Series, undefined: int) -> str:
    if group["n"] == 0:
        return f"{group['deg_group']}\nempty: same number\nof DEGs as its neighbour"
    fewest, most = group["fewest_degs"], group["most_degs"]
    degs = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
    missing = f", {undefined:,} undefined" if undefined else ""
    return f"{group['deg_group']}\n{degs} DEGs\nn = {group['n']:,}{missing}"
