"""Numbers and names as captions have them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from diversity_by_design.errors import listed
from diversity_by_design.paper.figures.baseline_metrics import on_one_line


def number(value: float) -> str:
    """Three digits, or the word "undefined"."""
    return f"{value:.3g}" if np.isfinite(value) else "undefined"


def each(values: pd.Series, predictors: Iterable[str]) -> str:
    """Each predictor with its number; `values` by predictor."""
    return listed(f"{on_one_line(name)} {number(values[name])}" for name in predictors)


def titled(models: Iterable[str]) -> str:
    """What is compared, at the beginning of a title."""
    return "Models and baselines" if list(models) else "Baselines"
