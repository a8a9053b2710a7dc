"""How a metric moves with a parameter: the correlations of tables 2 and 3."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from diversity_by_design.sweeps import LOGARITHMIC, SWEEPS

# Rows of table 3, and the columns of the sweeps' tables that they are about.
TABLE_3_METRICS = {"pearson_delta": "pearson_delta_all", "mse": "mse_all"}
_COMPARED_WITH = "norman19"


def correlation(sweep: pd.DataFrame, column: str) -> tuple[float, float, int]:
    """Pearson correlation of a metric with the swept parameter, over perturbations and settings.

    Parameters
    ----------
    sweep : DataFrame
        Result of `diversity_by_design.sweeps.run_sweep`. Cell, gene and perturbation numbers enter as logarithms.
    column : str
        Metric.

    Returns
    -------
    r, p, n
        Correlation, its p value and the number of points. Points where the metric is undefined are left out.
        r and p are NaN where the metric does not vary along the sweep for any perturbation.
    """
    used = sweep.dropna(subset=column)
    varies = used.groupby("perturbation")[column].nunique() > 1
    if not varies.any():
        return np.nan, np.nan, len(used)
    parameter = sweep["parameter"].iat[0]
    values = np.log2(used["value"]) if parameter in LOGARITHMIC else used["value"]
    result = stats.pearsonr(values, used[column])
    return float(result.statistic), float(result.pvalue), len(used)


def table_3(sweeps: Mapping[str, pd.DataFrame], dataset: str, paper: pd.DataFrame) -> pd.DataFrame:
    """Table 3 for a data set, beside the paper's.

    Parameters
    ----------
    sweeps : mapping from parameter to the result of its sweep
    dataset : str
        Compared with the paper's numbers for the same data set, or for norman19 where the paper has none.
    paper : DataFrame
        ``analyses/paper_reference/correlations.csv``.

    Returns
    -------
    DataFrame
        `parameter`, `metric`, `ours`, `paper`, `n` (points correlated), `p` and `paper_dataset`. `ours` is NaN where
        the metric cannot depend on the parameter, `paper` where the paper gives no number.
    """
    reported = paper[(paper["table"] == 3) & (paper["dataset"] != "simulation")]
    compared_with = dataset if (reported["dataset"] == dataset).any() else _COMPARED_WITH
    numbers = reported[reported["dataset"] == compared_with].set_index(["metric", "parameter"])["r"]
    rows = []
    for metric, column in TABLE_3_METRICS.items():
        for parameter in SWEEPS:
            if parameter not in sweeps:
                continue
            r, p, n = correlation(sweeps[parameter], column)
            rows.append(
                {
                    "parameter": parameter,
                    "metric": metric,
                    "ours": r,
                    "paper": numbers.get((metric, parameter), np.nan),
                    "n": n,
                    "p": p,
                    "paper_dataset": compared_with,
                }
            )
    return pd.DataFrame(rows)
