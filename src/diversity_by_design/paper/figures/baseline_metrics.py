"""Every predictor on every metric: figure 6, and the boxes that figure 9 shares with it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diversity_by_design.labels import shortened
from diversity_by_design.metrics import METRICS
from diversity_by_design.paper.figures.style import (
    OTHER_PREDICTOR_COLOURS,
    PREDICTOR_COLOURS,
    PREDICTOR_LABELS,
    direction,
    metric_label,
    style,
)

PANELS = ("mse", "wmse", "r2_delta", "weighted_r2_delta", "pearson_delta", "pearson_delta_degs")

# A coefficient of determination below this is drawn on a logarithmic axis, so that none has to be cut off.
_LOGARITHMIC_BELOW = -1.0
# Width of a box relative to the distance of its neighbours.
_BOX = 0.62
# With more boxes than these in a panel, each has less room.
_WIDE_BOXES = 4

# Losses whose names are abbreviations.
_ABBREVIATIONS = ("mse", "wmse")


@style()
def draw_baseline_metrics(scores: pd.DataFrame) -> Figure:
    """Six panels, one box per predictor in each (figure 6); `scores` from `comparison.paper_scores`."""
    predictors = in_order(scores["predictor"])
    colours = predictor_colours(predictors)
    figure, panels = plt.subplots(2, 3, figsize=(3 * panel_width(len(predictors)), 6.4))
    # Errors above each other, then R2, then Pearson: plain on top, focused on DEGs below.
    for axes, metric in zip(panels.T.flat, PANELS, strict=True):
        of_metric = scores[scores["metric"] == metric]
        for position, predictor in enumerate(predictors):
            values = of_metric.loc[of_metric["predictor"] == predictor, "value"]
            draw_box(axes, position, values, colours[predictor])
            write_median(axes, position, values, metric)
        set_view(axes, of_metric["value"], metric)
        name_boxes(axes, of_metric, predictors)
        axes.set_title(metric_title(metric), pad=14)
    return figure


def panel_width(n_boxes: int) -> float:
    """Width in inches of a panel with so many boxes, each with its name below it."""
    return max(3.0, 0.95 * min(n_boxes, _WIDE_BOXES) + 0.6 * max(0, n_boxes - _WIDE_BOXES))


def name_boxes(axes: Axes, scores: pd.DataFrame, predictors: list[str]) -> None:
    """Write each predictor's name and its number of scores below its box."""
    narrow = len(predictors) > _WIDE_BOXES
    axes.set_xlim(-0.6, len(predictors) - 0.4)
    axes.set_xticks(
        range(len(predictors)),
        [
            f"{predictor_label(predictor)}\n{_counts(scores[scores['predictor'] == predictor], narrow)}"
            for predictor in predictors
        ],
        fontsize=6.5,
    )


def draw_box(axes: Axes, position: float, values: pd.Series, colour: str, width: float = 1.0) -> None:
    """Box (quartiles, whiskers to 1.5 times their distance) over points; the word "undefined" where no value is."""
    defined = values.dropna().to_numpy()
    if len(values) and not len(defined):
        axes.text(
            position,
            0.5,
            "undefined",
            transform=axes.get_xaxis_transform(),
            rotation=90,
            ha="center",
            va="center",
            color="0.4",
            fontsize=7,
        )
    if not len(defined):
        return
    # Points are spread sideways by a fixed pattern so that they do not hide each other.
    spread = (np.arange(len(defined)) * 0.618034 % 1 - 0.5) * _BOX * width
    axes.scatter(position + spread, defined, s=5, color=colour, alpha=0.45, linewidths=0, rasterized=True)
    line = {"color": "0.2", "linewidth": 0.9}
    axes.boxplot(
        [defined],
        positions=[position],
        widths=[_BOX * width],
        showfliers=False,
        manage_ticks=False,
        patch_artist=True,
        boxprops={"edgecolor": "0.2", "facecolor": (colour, 0.25), "linewidth": 0.9},
        whiskerprops=line,
        capprops=line,
        medianprops={"color": "black", "linewidth": 1.6},
    )


def write_median(axes: Axes, position: float, values: pd.Series, metric: str, rotation: float = 0.0) -> None:
    """Write the median of `values` above the axes."""
    if values.notna().any():
        axes.text(
            position,
            1.01,
            _median_text(values.median(), metric),
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=7,
            rotation=rotation,
        )


def _median_text(median: float, metric: str) -> str:
    if not METRICS[metric].higher_is_better:
        return f"{median:#.2g}".rstrip(".")
    # The sign of a small value matters: the perturbed mean never has a positive R2.
    return f"{median:.2f}" if abs(median) >= 0.005 else f"{median:.1g}"


def set_view(axes: Axes, values: pd.Series, metric: str) -> None:
    """Choose an axis on which all values can be seen; values that have no place on it are counted in the panel."""
    defined = values.dropna()
    is_error = not METRICS[metric].higher_is_better
    if is_error and (defined > 0).any():
        set_log_axis(axes)
        zero = int((defined <= 0).sum())
        if zero:
            axes.text(0.02, 0.02, f"{zero} of value 0 not shown", transform=axes.transAxes, fontsize=6, color="0.4")
    elif not is_error:
        axes.axhline(0, color="0.7", linewidth=0.8, linestyle=":", zorder=0)
        set_r2_view(axes, defined)
    axes.set_ylabel(metric_label(metric) + ("\n(squared log1p expression)" if is_error else ""))


def set_r2_view(axes: Axes, values: pd.Series) -> None:
    """Draw values below -1 logarithmically where there are any, up to 1."""
    lowest = float(values.min()) if len(values) else 0.0
    if lowest >= 1.1 * _LOGARITHMIC_BELOW:
        axes.set_ylim(min(-0.1, lowest - 0.08), 1.08)
        return
    axes.set_yscale("symlog", linthresh=-_LOGARITHMIC_BELOW, linscale=1.5)
    bottom = 1.3 * lowest
    beyond = [-tick for tick in one_two_five(-2 * _LOGARITHMIC_BELOW, -bottom, most=4)]
    ticks = [*beyond[::-1], -1, -0.5, 0, 0.5, 1]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks([], minor=True)
    axes.axhline(_LOGARITHMIC_BELOW, color="0.85", linewidth=0.8, zorder=0)
    axes.text(0.99, 0.01, "logarithmic below -1", transform=axes.transAxes, ha="right", fontsize=6, color="0.4")
    axes.set_ylim(bottom, 1.08)


def set_log_axis(axes: Axes) -> None:
    """Make the vertical axis logarithmic, with plain numbers at it; to be called when all is drawn."""
    axes.set_yscale("log")
    ticks = one_two_five(*axes.get_ylim(), most=8)
    # A narrow range may lie between two of these numbers; matplotlib then finds finer ones.
    if len(ticks) > 1:
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_yticks([], minor=True)


def set_deg_axis(axes: Axes, n_degs: pd.Series) -> None:
    """Horizontal axis of numbers of DEGs: logarithmic, with a place for none."""
    most = max(1, int(n_degs.max()))
    axes.set_xscale("symlog", linthresh=1)
    ticks = [0, *one_two_five(1, most, most=5)]
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(-0.3, 1.4 * most)
    axes.set_xlabel("DEGs vs rest")


def one_two_five(low: float, high: float, most: int) -> list[float]:
    """Numbers 1, 2 and 5 times a power of ten from `low` to `high`; only these powers where that is more than `most`.

    Examples
    --------
    >>> one_two_five(1.5, 50, most=5), one_two_five(1.5, 50, most=4)
    ([2.0, 5.0, 10.0, 20.0, 50.0], [10.0])
    """
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    numbers = {float(f"{factor}e{power}"): factor for power in powers for factor in (1, 2, 5)}
    inside = [number for number in numbers if low <= number <= high]
    return inside if len(inside) <= most else [number for number in inside if numbers[number] == 1]


def metric_title(metric: str) -> str:
    """Name of the metric, and which end of it is the good one."""
    return f"{metric_label(metric)}, {direction(METRICS[metric].higher_is_better)}"


def in_order(names: Iterable[str]) -> list[str]:
    """Distinct names in the order of their first occurrence."""
    return list(dict.fromkeys(names))


def predictor_label(predictor: str) -> str:
    r"""Label for figures; a model that the style does not know keeps its name.

    Examples
    --------
    >>> predictor_label("gears_wmse_all_cells^0.5"), predictor_label("my_model")
    ('GEARS\nWMSE^0.5\nall cells', 'my model')
    """
    if predictor in PREDICTOR_LABELS:
        return PREDICTOR_LABELS[predictor]
    family, _, loss = predictor.partition("_")
    if family != "gears" or not loss:
        return short(predictor.replace("_", " "), longest=40)
    base, raised, power = loss.partition("^")
    kind, _, variant = base.partition("_")
    kind = kind.upper() if kind in _ABBREVIATIONS else kind
    return "\n".join(filter(None, ("GEARS", f"{kind}{raised}{power}", variant.replace("_", " "))))


def on_one_line(predictor: str) -> str:
    """Label for a legend."""
    return predictor_label(predictor).replace("\n", " ")


def p_text(p: float) -> str:
    """Write a p value; one too small for a number is said to be below it.

    Examples
    --------
    >>> p_text(0.0123), p_text(0.0), p_text(float("nan"))
    ('p = 0.012', 'p < 1e-300', 'p undefined')
    """
    if np.isnan(p):
        return "p undefined"
    return f"p = {p:.2g}" if p >= 1e-300 else "p < 1e-300"


def short(label: str, longest: int = 22) -> str:
    r"""A label as it fits above a small panel or into a legend, with no sign that matplotlib takes for mathematics.

    Examples
    --------
    >>> short("non-targeting_guide_0001_repeat_2", longest=12), short("a$b$")
    ('non-ta…eat_2', 'a\\$b\\$')
    """
    return shortened(label, longest).replace("$", r"\$")


def predictor_colours(predictors: Iterable[str]) -> dict[str, str]:
    """Colour of each predictor; those that the style does not know take the remaining colours in turn."""
    predictors = list(predictors)
    unknown = [predictor for predictor in predictors if predictor not in PREDICTOR_COLOURS]
    others = {
        predictor: OTHER_PREDICTOR_COLOURS[number % len(OTHER_PREDICTOR_COLOURS)]
        for number, predictor in enumerate(unknown)
    }
    return {predictor: PREDICTOR_COLOURS.get(predictor) or others[predictor] for predictor in predictors}


def _counts(scores: pd.DataFrame, narrow: bool) -> str:
    undefined = int(scores["value"].isna().sum())
    n = f"n = {len(scores) - undefined:,}"
    break_or_space = "\n" if narrow else " "
    return f"{n}\n{undefined:,}{break_or_space}undefined" if undefined else n
