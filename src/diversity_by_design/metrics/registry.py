"""What a metric is, and the registry of them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design.arrays import FloatArray, as_array
from diversity_by_design.errors import InputError
from diversity_by_design.registry import Registry


@dataclass(frozen=True)
class Metric:
    """A way to score the predictions of all perturbations.

    Attributes
    ----------
    name : str
    function : callable
        From what predictions are compared with (a `diversity_by_design.truth.Target`: `mean`, `perturbed_mean`,
        `control_mean`, `weights`, `is_deg`, ...) and a prediction (perturbations, genes) to a score of each
        perturbation (perturbations,); NaN where it is undefined. Arrays must be left as they are.
    higher_is_better : bool
    perfect : float
        Score of a prediction that equals the target; NaN if that depends on the data.
    label : str
        For figures and tables (default: the name).
    needs : "means" or "cells"
        What of the target it looks at.
    source : str
        Equation, section or publication that defines it.
    by_row : bool
        Whether a perturbation's score depends on its own row of target and prediction only; such metrics are computed
        in blocks of rows.

    Examples
    --------
    >>> def largest_error(target, prediction):
    ...     return np.abs(target.mean - prediction).max(axis=1)
    >>> metric = Metric("largest_error", largest_error, higher_is_better=False, perfect=0.0)
    """

    name: str
    function: Callable[[Any, FloatArray], npt.ArrayLike]
    higher_is_better: bool
    perfect: float = np.nan
    label: str = ""
    needs: Literal["means", "cells"] = "means"
    source: str = ""
    by_row: bool = False

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise InputError(f"metric {self.name!r}: {self.function!r} is no function of target and prediction")
        if self.higher_is_better not in (True, False):
            raise InputError(
                f"metric {self.name!r}: higher_is_better is {self.higher_is_better!r}; it must be True or False"
            )
        if not self.label:
            object.__setattr__(self, "label", self.name)

    @property
    def sign(self) -> int:
        """1 where higher is better, else -1."""
        return 1 if self.higher_is_better else -1

    def score(self, target: Any, prediction: FloatArray) -> FloatArray:
        """Score of each perturbation (perturbations,).

        Raises
        ------
        InputError
            The function returns an array of another shape, a series of other perturbations than the target's or in
            another order, or what are no real numbers.
        """
        expected = (len(target.labels),)
        try:
            values = self.function(target, prediction)
        except Exception as error:
            error.add_note(f"in the metric {self.name!r}")
            raise
        if isinstance(values, pd.Series) and not values.index.equals(target.labels):
            raise InputError(
                f"metric {self.name!r} returned a series whose index is not target.labels; put it into their order"
            )
        values = as_array(values, f"result of the metric {self.name!r}", infinite=True)
        if values.shape != expected:
            raise InputError(
                f"metric {self.name!r} returned shape {values.shape}; expected {expected}, a score per perturbation"
            )
        return values


METRICS: Registry[Metric] = Registry("metric", Metric)
