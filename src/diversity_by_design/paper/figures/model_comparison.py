"""GEARS trained with different losses beside the baselines: figures 4 and 8, and the dose curve of the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import offset_copy

from diversity_by_design.paper.figures.baseline_metrics import (
    draw_box,
    in_order,
    metric_title,
    name_boxes,
    p_text,
    panel_width,
    predictor_colours,
    set_view,
    write_median,
)
from diversity_by_design.paper.figures.style import POINTS, TREND, metric_label, style
from diversity_by_design.paper.figures.variance_ranks import draw_variance_ranks
from diversity_by_design.paper.model_comparison import MSE, PREFIX, VARIANCE_RATIO, WMSE, seed_intervals

PANELS = ("wmse", "weighted_r2_delta", "pearson_delta_degs")

# Where the seeds of a model stand, to the right of its box.
_BESIDE = 0.42
# Room above a panel, in points: for medians, and for a test above these.
_ABOVE_MEDIANS, _ABOVE_TEST = 14, 42
_SEED_MARK: Any = {"marker": "D", "markersize": 3.5, "markeredgecolor": "black", "markeredgewidth": 0.5}
_INTERVAL: Any = {"color": "black", "linewidth": 1.1}

_UNITS = "(squared log1p expression)"
_DOSE_LABELS = {
    "wmse": f"median WMSE\n{_UNITS}",
    "weighted_r2_delta": f"median {metric_label('weighted_r2_delta')}",
    "mse": f"median MSE\n{_UNITS}",
    VARIANCE_RATIO: "median gene variance,\nratio to the truth's",
}
# What a collapsed model gets, and what the truth does.
_DOSE_LEVELS = {"weighted_r2_delta": 0.0, VARIANCE_RATIO: 1.0}
_DOSE_NAMES = {0.0: "MSE", 1.0: "WMSE"}


@style()
def draw_model_comparison(
    scores: pd.DataFrame,
    medians: pd.DataFrame,
    tests: pd.DataFrame,
    profiles: pd.DataFrame,
    ratios: pd.DataFrame,
) -> Figure:
    """Panels A to C: boxes per predictor on three metrics; D: variance of genes (figures 4 and 8)."""
    predictors = in_order(scores["predictor"])
    colours = predictor_colours(predictors)
    several = medians[medians.groupby(["loss", "metric"])["seed"].transform("nunique") > 1]
    tests = tests[(tests["first"] == MSE) & (tests["second"] == WMSE)]
    pad = _ABOVE_TEST if len(tests) else _ABOVE_MEDIANS
    figure, panels = plt.subplots(2, 2, figsize=(2 * max(4.6, panel_width(len(predictors))), 8.8))
    for axes, metric in zip(panels.flat, PANELS, strict=False):
        of_metric = scores[scores["metric"] == metric]
        for position, predictor in enumerate(predictors):
            values = of_metric.loc[of_metric["predictor"] == predictor, "value"]
            draw_box(axes, position, values, colours[predictor])
            write_median(axes, position, values, metric)
        _draw_seeds(axes, several[several["metric"] == metric], predictors, colours)
        set_view(axes, of_metric["value"], metric)
        name_boxes(axes, of_metric, predictors)
        for _, test in tests[tests["metric"] == metric].iterrows():
            _write_test(axes, test, predictors.index(MSE), predictors.index(WMSE))
        axes.set_title(metric_title(metric), pad=pad)
    draw_variance_ranks(panels[1, 1], profiles, ratios, colours, pad)
    for axes, letter in zip(panels.flat, "ABCD", strict=True):
        axes.set_title(letter, loc="left", fontweight="bold", fontsize=11, pad=pad)
    figure.legend(
        *panels[1, 1].get_legend_handles_labels(),
        loc="outside lower right",
        ncols=2,
        fontsize=7,
        title="(D) median variance, ratio to the truth's",
        title_fontsize=7,
    )
    if len(several):
        _explain_seeds(figure)
    return figure


@style()
def draw_loss_dose(dose: pd.DataFrame) -> Figure:
    """Four quantities along the power that the weights of WMSE are raised to, 0 for MSE and 1 for WMSE."""
    intervals = seed_intervals(dose, by=("power", "metric"), value="value")
    powers = sorted(dose["power"].unique())
    names = [f"{power:g}\n{_DOSE_NAMES.get(power, '')}" for power in powers]
    figure, panels = plt.subplots(1, len(_DOSE_LABELS), figsize=(2.9 * len(_DOSE_LABELS), 3.1))
    for axes, (metric, label) in zip(panels, _DOSE_LABELS.items(), strict=True):
        seeds, means = (table[table["metric"] == metric] for table in (dose, intervals))
        axes.plot(seeds["power"], seeds["value"], "o", color=POINTS, markersize=4, zorder=3)
        reach = np.nan_to_num((means["high"] - means["mean"]).to_numpy(float))
        axes.errorbar(means["power"], means["mean"], yerr=reach, color=TREND, linewidth=1.3, capsize=3)
        if metric in _DOSE_LEVELS:
            axes.axhline(_DOSE_LEVELS[metric], color="0.7", linewidth=0.8, linestyle=":", zorder=0)
        axes.set_xticks(powers, names, fontsize=8)
        axes.set_title(f"{len(seeds)} models of {len(powers)} powers", fontsize=7, loc="right")
        axes.set_xlabel("power of the weights in the loss")
        axes.set_ylabel(label)
    return figure


def _draw_seeds(axes: Axes, medians: pd.DataFrame, predictors: list[str], colours: dict[str, str]) -> None:
    """Median of each seed, and the interval of their mean, beside the box of each model."""
    for _, interval in seed_intervals(medians).iterrows():
        predictor = f"{PREFIX}{interval['loss']}"
        position = predictors.index(predictor) + _BESIDE
        of_seeds = medians.loc[medians["loss"] == interval["loss"], "median"].dropna()
        # Of two seeds an interval is wider than most axes.
        if interval["n_seeds"] > 2:
            axes.errorbar(
                position, interval["mean"], yerr=interval["high"] - interval["mean"], capsize=2, zorder=4, **_INTERVAL
            )
        axes.plot([position] * len(of_seeds), of_seeds, linewidth=0, color=colours[predictor], zorder=5, **_SEED_MARK)


def _explain_seeds(figure: Figure) -> None:
    marks = [
        Line2D([], [], linewidth=0, color="white", label="median over perturbations, one seed", **_SEED_MARK),
        Line2D(
            [],
            [],
            marker="|",
            markersize=9,
            label="95 % t interval of the mean of these medians (3 seeds or more)",
            **_INTERVAL,
        ),
    ]
    figure.legend(handles=marks, loc="outside lower left", fontsize=7)


def _write_test(axes: Axes, test: pd.Series, first: int, second: int) -> None:
    """Bracket from one box to the other, above the medians, with both tests above it."""
    # In points above the panel, so that it fits whatever the panel's height.
    height = _ABOVE_MEDIANS + 2
    above = offset_copy(axes.get_xaxis_transform(), axes.get_figure(root=True), y=height, units="points")
    bracket = Line2D([first, second], [1, 1], transform=above, marker="|", markersize=5, clip_on=False, **_INTERVAL)
    bracket.set_in_layout(False)
    axes.add_artist(bracket)
    n = int(test["n"])
    axes.annotate(
        f"paired t = {test['t']:.2f}, {p_text(test['t_p'])}\nWilcoxon {p_text(test['wilcoxon_p'])}, n = {n:,} pairs"
        if np.isfinite(test["t"])
        else f"no test: {n} pair{'' if n == 1 else 's'}",
        ((first + second) / 2, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(0, height + 3),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=6.5,
    )
