"""What an audit of metrics shows: how scores move with the parameters, and whether they notice mode collapse."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd

from diversity_by_design.arrays import FloatArray
from diversity_by_design.baselines import DUPLICATE, dial_alpha
from diversity_by_design.correlation import correlations
from diversity_by_design.errors import InputError, listed
from diversity_by_design.simulator.config import SIMULATION_LOGARITHMIC, SIMULATION_PARAMETERS

BASELINE = "perturbed_mean"

# Scores that differ by less than this part of their size are the same.
_ROUNDING = 1e-9


def parameter_correlations(table: pd.DataFrame, predictor: str = BASELINE) -> pd.DataFrame:
    """How the score of a predictor moves with each of the eight parameters, by Pearson correlation (as in table 2).

    One row per metric and parameter of the table of `diversity_by_design.audit`: `metric`, `higher_is_better`,
    `predictor`, `parameter`, `scale` ("log" for n_p, n_0, k and mu_l, unless a value has no logarithm), `r`, `low`,
    `high` (95 % interval, data sets resampled), `n` (data sets in which the score is defined), `n_undefined`. r is NaN
    with fewer than three data sets, and where score or parameter do not vary. Raises InputError without the predictor.
    """
    own = _of_predictor(table, predictor)
    scores = own.pivot_table("value", "dataset", "metric", sort=False, dropna=False, observed=True)
    parameters = own.drop_duplicates("dataset").set_index("dataset").loc[scores.index, list(SIMULATION_PARAMETERS)]
    logarithmic = [
        name for name in SIMULATION_PARAMETERS if name in SIMULATION_LOGARITHMIC and (parameters[name] > 0).all()
    ]
    x = np.column_stack([np.log(column) if name in logarithmic else column for name, column in parameters.items()])
    result = correlations(x, scores.to_numpy())
    keys = pd.MultiIndex.from_product([scores.columns, SIMULATION_PARAMETERS], names=["metric", "parameter"])
    numbers = {name: getattr(result, name).ravel() for name in ("r", "low", "high")}
    correlated = keys.to_frame(index=False).assign(**numbers, predictor=predictor)
    correlated["n"] = np.repeat(result.n, len(SIMULATION_PARAMETERS))
    correlated["n_undefined"] = len(scores) - correlated["n"]
    correlated["scale"] = np.where(correlated["parameter"].isin(logarithmic), "log", "linear")
    correlated["higher_is_better"] = correlated["metric"].map(own.groupby("metric")["higher_is_better"].first())
    columns = ["metric", "higher_is_better", "predictor", "parameter", "scale", "r", "low", "high", "n", "n_undefined"]
    return correlated[columns]


def scaled_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Score of every predictor over data sets, on a scale that data sets share.

    Where higher is better, a score is taken as it is. Where lower is better, it is divided by that of the mean baseline
    on the same data set, so that 0 is perfect and 1 as good as the mean baseline.

    One row per metric and predictor: `metric`, `higher_is_better`, `predictor`, `alpha` (NaN unless it is a setting of
    the dial), `q25`, `median`, `q75` over data sets, `n` (those in which it is defined), `n_undefined`. Raises
    InputError without the mean baseline.
    """
    _of_predictor(table, BASELINE)
    rows = []
    for metric, higher_is_better, values in _by_metric(table):
        # The quotient with nothing is undefined.
        scaled = values if higher_is_better else values.div(values[BASELINE].replace(0.0, np.nan), axis=0)
        for predictor in values:
            quartiles = scaled[predictor].quantile([0.25, 0.5, 0.75])
            rows.append(
                {
                    "metric": metric,
                    "higher_is_better": higher_is_better,
                    "predictor": predictor,
                    "alpha": dial_alpha(str(predictor)),
                    **dict(zip(("q25", "median", "q75"), quartiles, strict=True)),
                    "n": int(scaled[predictor].notna().sum()),
                    "n_undefined": int(scaled[predictor].isna().sum()),
                }
            )
    return pd.DataFrame(rows)


def dial_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Whether each metric notices mode collapse, and ranks the technical duplicate above the mean baseline.

    One row per metric: `metric`, `higher_is_better`; of the dial: `n` (data sets with a score at two settings or more),
    `n_falling` (those in which every defined score is worse than the one before, by more than rounding),
    `share_falling`, `n_undefined` (data sets without a score at some setting), `undefined_at` (these settings); of the
    technical duplicate: `n_compared` (data sets with a score of it and of the mean baseline), `n_duplicate_better`,
    `share_duplicate_better`. Shares are NaN without any data set. Raises InputError with fewer than two settings of the
    dial.
    """
    alphas = {name: dial_alpha(name) for name in table["predictor"].unique()}
    dial = sorted((name for name, alpha in alphas.items() if np.isfinite(alpha)), key=lambda name: alphas[name])
    if len(dial) < 2:
        raise InputError(
            f"{len(dial)} setting(s) of the dial are in the table, whose predictors are {listed(alphas)}; sweep with "
            "at least two, such as dial(0) and dial(1)"
        )
    rows = []
    for metric, higher_is_better, values in _by_metric(table):
        goodness = values if higher_is_better else -values
        undefined = goodness[dial].isna().to_numpy()
        courses = [row[~np.isnan(row)] for row in goodness[dial].to_numpy()]
        falling = [_falls(course) for course in courses if len(course) >= 2]
        better = []
        if {DUPLICATE, BASELINE} <= set(values):
            better = [_falls(pair) for pair in goodness[[DUPLICATE, BASELINE]].dropna().to_numpy()]
        rows.append(
            {
                "metric": metric,
                "higher_is_better": higher_is_better,
                "n": len(falling),
                "n_falling": sum(falling),
                "share_falling": _share(falling),
                "n_undefined": int(undefined.any(axis=1).sum()),
                "undefined_at": ", ".join(f"{alphas[name]:g}" for name in np.array(dial)[undefined.any(axis=0)]),
                "n_compared": len(better),
                "n_duplicate_better": sum(better),
                "share_duplicate_better": _share(better),
            }
        )
    return pd.DataFrame(rows)


def _of_predictor(table: pd.DataFrame, predictor: str) -> pd.DataFrame:
    scores = table[table["predictor"] == predictor]
    if scores.empty:
        raise InputError(
            f"no predictor {predictor!r} in the table; there are: {listed(table['predictor'].unique(), 30)}"
        )
    return scores


def _by_metric(table: pd.DataFrame) -> list[tuple[str, bool, pd.DataFrame]]:
    """Each metric, whether higher is better, and its values (data sets, predictors)."""
    return [
        (
            str(metric),
            bool(scores["higher_is_better"].iat[0]),
            pd.DataFrame(
                {
                    predictor: own.set_index("dataset")["value"]
                    for predictor, own in scores.groupby("predictor", sort=False)
                }
            ),
        )
        for metric, scores in table.groupby("metric", sort=False)
    ]


def _falls(values: FloatArray) -> bool:
    """Whether each value is below the one before, by more than rounding."""
    return all(now < before - _ROUNDING * max(abs(before), abs(now)) for before, now in pairwise(values))


def _share(flags: list[bool]) -> float:
    return float(np.mean(flags)) if flags else np.nan
