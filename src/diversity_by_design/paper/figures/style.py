"""What all figures share: one look, and one colour for one thing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from diversity_by_design.metrics import METRICS

# Okabe and Ito's palette, which people with any colour vision can tell apart.
PREDICTOR_COLOURS = {
    "control_mean": "#999999",
    "perturbed_mean": "#D55E00",
    "additive": "#56B4E9",
    "technical_duplicate": "#009E73",
    "perturbed_mean_star": "#F0E442",
    "gears_gears": "#CC79A7",
    "gears_mse": "#E69F00",
    "gears_wmse": "#0072B2",
}
PREDICTOR_LABELS = {
    "control_mean": "Control\n" r"mean $\mu^c$",
    "perturbed_mean": "Perturbed\n" r"mean $\mu^{all}$",
    "additive": "Additive",
    "technical_duplicate": "Technical\nduplicate",
    "perturbed_mean_star": "Top DEGs true\n" r"$\mu^{all*}$",
    "gears_gears": "GEARS\nown loss",
}
# Of Paul Tol's palette: for predictors that have no colour above, in turn.
OTHER_PREDICTOR_COLOURS = ("#882255", "#999933", "#332288", "#DDCC77")
TRUTH_COLOUR = "#000000"
# Of Okabe and Ito's: for example perturbations.
EXAMPLE_COLOURS = ("#56B4E9", "#E69F00", "#000000", "#CC79A7")
UP, DOWN, UNCHANGED = "#B2182B", "#2166AC", "#F7F7F7"
POINTS, TREND, HIGHLIGHT = "#7F9DB9", "#0072B2", "#D55E00"

_RC: Any = {
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    # Element names in PDF and SVG files are hashes; a fixed salt makes the files reproducible.
    "svg.hashsalt": "diversity-by-design",
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the project's style within a block, or within a function that this decorates: ``@style()``."""
    with mpl.rc_context(_RC):
        yield


def metric_label(metric: str) -> str:
    """Label of a metric; of one that is not registered (any more), its name."""
    return METRICS[metric].label if metric in METRICS else metric


def direction(higher_is_better: bool) -> str:
    """Which end of a metric is the good one, for titles."""
    return f"{'higher' if higher_is_better else 'lower'} is better"


def say_n(axes: Axes, n: int, what: str = "perturbations") -> None:
    """Write the number of things shown into the upper right corner, above the axes."""
    axes.annotate(f"n = {n:,} {what}", (1, 1.01), xycoords="axes fraction", ha="right", va="bottom", fontsize=7)


def draw_correlations(axes: Axes, r: pd.DataFrame, rows: Sequence[str], columns: Sequence[str]) -> ScalarMappable:
    """Heat map of correlations with their numbers, a dash where one is undefined; what a colour bar is drawn from."""
    colours = sns.blend_palette([DOWN, UNCHANGED, UP], as_cmap=True)
    labels: dict[str, Any] = {"yticklabels": rows, "xticklabels": columns}
    text: dict[str, Any] = {"annot": r.map("{:z.2f}".format), "fmt": "", "annot_kws": {"fontsize": 7}}
    sns.heatmap(r, ax=axes, cmap=colours, vmin=-1, vmax=1, cbar=False, **labels, **text)
    for row, column in np.argwhere(r.isna().to_numpy()):
        axes.text(column + 0.5, row + 0.5, "–", ha="center", va="center", fontsize=7)
    axes.set(xlabel="", ylabel="")
    axes.tick_params(length=0, rotation=0)
    return axes.collections[0]


def make_logarithmic(axes: Axes, values: npt.ArrayLike) -> None:
    """Scale the x axis for these positive values; ticks are plain numbers, also where it spans hardly a decade."""
    axes.set_xscale("log")
    decades = np.log10(np.asarray(values).max() / np.asarray(values).min())
    steps = (1.0, 2.0, 5.0) if decades < 1.7 else (1.0,)
    wide = LogLocator(subs=steps, numticks=8 if decades >= 1.7 else None)
    axes.xaxis.set_major_locator(wide if decades > 0.7 else MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
