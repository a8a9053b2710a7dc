"""Every predictor on every metric, on the scale from the best uninformative baseline to the technical duplicate."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diversity_by_design.baselines import DUPLICATE
from diversity_by_design.paper.figures.baseline_metrics import in_order, on_one_line, predictor_colours
from diversity_by_design.paper.figures.style import metric_label, style

PERFECT = "a perfect prediction (estimate)"
# Ends of the axis, at most; what is beyond is drawn as an arrow at its edge. A part of a row that the predictors fill.
_LOWEST, _HIGHEST, _FILLED = -1.5, 4.0, 0.8


@style()
def draw_calibrated_scores(summary: pd.DataFrame) -> Figure:
    """A row for each metric, a point with its interval for each predictor; `summary` of a `Scorecard`."""
    metrics, predictors = in_order(summary["metric"]), in_order(summary["predictor"])
    colours = {**predictor_colours(predictors), PERFECT: "black"}
    places = dict(zip(colours, np.linspace(-_FILLED / 2, _FILLED / 2, len(colours)), strict=True))
    largest = np.nanmax(summary[["calibrated", "perfect_calibrated"]].to_numpy(float), initial=1.1)
    limits = (_LOWEST, min(1.1 * float(largest), _HIGHEST))
    figure, axes = plt.subplots(figsize=(7.5, 1.2 + len(metrics) * max(0.4, 0.1 * len(colours))))
    for level in (0, 1):
        axes.axvline(level, color="0.6", linewidth=0.9, zorder=0)
    for row, metric in enumerate(metrics):
        table = summary[summary["metric"] == metric].set_index("predictor")
        if row:
            axes.axhline(row - 0.5, color="0.9", linewidth=0.8, zorder=0)
        if not table.loc[DUPLICATE, "informative"]:
            axes.text(0.5, row, "not informative here", ha="center", va="center", fontsize=7, color="0.4")
            continue
        for predictor in predictors:
            value, low, high = map(float, table.loc[predictor, ["calibrated", "ci_low", "ci_high"]])
            height = row + places[predictor]
            axes.plot([low, high], [height, height], color=colours[predictor], linewidth=1.2)
            _draw_point(axes, value, height, limits, colours[predictor])
        perfect = table.loc[[DUPLICATE], "perfect_calibrated"].to_numpy(float).item()
        _draw_point(axes, perfect, row + places[PERFECT], limits, colours[PERFECT], "d")
    for name, colour in colours.items():
        label = name if name == PERFECT else on_one_line(name)
        axes.plot([], [], "d" if name == PERFECT else "o", color=colour, label=label)
    axes.set_xlim(limits)
    axes.set_ylim(len(metrics) - 0.5, -0.5)
    axes.set_yticks(range(len(metrics)), [metric_label(metric) for metric in metrics])
    axes.set_xlabel("calibrated score: 0 the best of control mean and perturbed mean, 1 the technical duplicate")
    figure.legend(loc="outside right upper", fontsize=7)
    return figure


def _draw_point(
    axes: Axes, value: float, height: float, limits: tuple[float, float], colour: str, marker: str = "o"
) -> None:
    """A point, or an arrow at the edge of the axis that it is beyond."""
    shown = np.clip(value, *limits)
    marker = "<" if value < limits[0] else ">" if value > limits[1] else marker
    axes.plot(shown, height, marker, color=colour, markersize=3.5)
