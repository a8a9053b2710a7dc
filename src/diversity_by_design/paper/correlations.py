"""How a metric moves with a parameter: the correlations of tables 2 and 3."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from diversity_by_design.errors import InputError
from diversity_by_design.paper.sweeps import LOGARITHMIC, SWEEPS
from diversity_by_design.simulator.config import SIMULATION_LOGARITHMIC, SIMULATION_PARAMETERS
from diversity_by_design.simulator.evaluation import GENE_GROUPS

Floats = npt.NDArray[np.float64]

# Rows of table 3, and the columns of the sweeps' tables that they are about.
TABLE_3_METRICS = {"pearson_delta": "pearson_delta_all", "mse": "mse_all"}
_COMPARED_WITH = "norman19"

# Rows and columns of table 2; the paper has no numbers for the MAE.
SIMULATION_METRICS = ("pearson_delta", "mse", "mae")
# Correlations of at least this size are coloured in the paper's tables.
NOTEWORTHY = 0.2

# Half a unit of the last digit that the paper gives.
_PAPER_ROUNDING = 0.005

# Resamples made at a time, so that their weights take little memory.
_RESAMPLES_AT_A_TIME = 64
# What is below this part of the numbers that it is the difference of is rounding.
_ROUNDING = 1e-12


def correlation(sweep: pd.DataFrame, column: str) -> tuple[float, float, int]:
    """Pearson correlation of a metric with the swept parameter, over perturbations and settings.

    Parameters
    ----------
    sweep : DataFrame
        Result of `diversity_by_design.paper.sweeps.run_sweep`. Cell, gene and perturbation numbers enter as logarithms.
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


def table_3(
    sweeps: Mapping[str, pd.DataFrame], dataset: str, paper: pd.DataFrame, simulated: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Table 3 for a data set, beside the paper's.

    Parameters
    ----------
    sweeps : mapping from parameter to the result of its sweep
    dataset : str
        Compared with the paper's numbers for the same data set, or for norman19 where the paper has none.
    paper : DataFrame
        ``analyses/paper_reference/correlations.csv``.
    simulated : DataFrame, optional
        Our correlations in simulated data, as from `table_2`.

    Returns
    -------
    DataFrame
        `parameter`, `metric`, `ours`, `paper`, `n` (points correlated), `p`, `paper_dataset`, and of simulated data
        `simulation` (ours) and `paper_simulation`. `ours` is NaN where the metric cannot depend on the parameter,
        `paper` where the paper gives no number, `simulation` without `simulated`.
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
    table = pd.DataFrame(rows)
    keys = pd.MultiIndex.from_frame(table[["metric", "parameter"]])
    in_simulations = table_3_simulation(simulated) if simulated is not None else None
    table["simulation"] = np.nan if in_simulations is None else _look_up(in_simulations, keys, "ours")
    table["paper_simulation"] = _look_up(paper[(paper["table"] == 3) & (paper["dataset"] == "simulation")], keys, "r")
    return table


def simulation_correlation(
    sweep: pd.DataFrame, parameter: str, column: str, logarithmic: Collection[str] = SIMULATION_LOGARITHMIC
) -> tuple[float, float, int]:
    """Pearson correlation of a metric with a parameter, over simulated data sets.

    Parameters
    ----------
    sweep : DataFrame
        One row per data set, with a column for each parameter and metric.
    parameter, column : str
        Parameter and metric.
    logarithmic : collection of str
        Parameters that enter as logarithms.

    Returns
    -------
    r, p, n
        Correlation, its p value and the number of data sets; those where the metric is undefined are left out.
        r and p are NaN with fewer than three data sets, or where one of the two does not vary.
    """
    used = sweep[[parameter, column]].dropna()
    if len(used) < 3 or (used.nunique() < 2).any():
        return np.nan, np.nan, len(used)
    result = stats.pearsonr(on_scale(used[parameter], parameter, logarithmic), used[column])
    return float(result.statistic), float(result.pvalue), len(used)


def on_scale(values: pd.Series, parameter: str, logarithmic: Collection[str] = SIMULATION_LOGARITHMIC) -> Floats:
    """Values of a parameter as they enter correlations: their natural logarithms where it is among `logarithmic`."""
    numbers = values.to_numpy(np.float64)
    return np.log(numbers) if parameter in logarithmic else numbers


def table_2(
    sweep: pd.DataFrame,
    paper: pd.DataFrame,
    n_bootstrap: int = 1000,
    seed: int = 0,
    *,
    logarithmic: Collection[str] = SIMULATION_LOGARITHMIC,
) -> pd.DataFrame:
    """Correlations of the mean baseline's scores with the parameters of simulated data sets, beside the paper's.

    Parameters
    ----------
    sweep : DataFrame
        One row per data set: the eight parameters, and the metrics ``{metric}_{gene group}``.
    paper : DataFrame
        ``analyses/paper_reference/correlations.csv``.
    n_bootstrap : int
        Resamples of the data sets, for the intervals.
    seed : int
        Of the resampling.
    logarithmic : collection of str
        Parameters that enter as logarithms: those that were drawn on that scale.

    Returns
    -------
    DataFrame
        One row per metric, gene group and parameter, in the order of table 2, the MAE last: `metric`, `gene_group`,
        `parameter`, `ours` (Pearson r), `low` and `high` (95 % percentile interval of the bootstrap), `n` (data sets
        correlated), `n_undefined` (left out since the metric is undefined there), `paper`, `paper_in_interval`
        (whether what rounds to the paper's number lies in our interval; the paper's own sampling error is not
        considered), and `same_sign`, for numbers of the paper of at least 0.2 in size. `ours` and the interval are NaN
        with fewer than three data sets, or where the metric or the parameter does not vary; `paper` is NaN, and the
        last two columns are missing, where there is nothing to compare.

    Raises
    ------
    InputError
        A column is missing. There are no data sets, a parameter that enters as a logarithm is not positive, or
        `n_bootstrap` is less than 1.
    """
    columns = [f"{metric}_{group}" for metric in SIMULATION_METRICS for group in GENE_GROUPS]
    missing = [name for name in (*SIMULATION_PARAMETERS, *columns) if name not in sweep.columns]
    if missing:
        raise InputError(f"the table of the sweep has no column {', '.join(missing)}")
    if not len(sweep):
        raise InputError("the table of the sweep has no data sets; there is nothing to correlate")
    if n_bootstrap < 1:
        raise InputError(f"n_bootstrap is {n_bootstrap}; it must be at least 1")
    for name in set(logarithmic) & set(SIMULATION_PARAMETERS):
        if (sweep[name] <= 0).any():
            raise InputError(f"{name} is 0 or less in {int((sweep[name] <= 0).sum())} data sets; it has no logarithm")
    parameters = np.column_stack([on_scale(sweep[name], name, logarithmic) for name in SIMULATION_PARAMETERS])
    terms = _Terms.of(parameters, sweep[columns].to_numpy(np.float64))
    n_defined = terms.n.sum(axis=0).astype(np.int64)
    ours = _correlations(np.ones((1, len(sweep))), terms)[0]
    ours[n_defined < 3] = np.nan
    low, high = _intervals(terms, n_defined, n_bootstrap, seed)

    index = pd.MultiIndex.from_product(
        [SIMULATION_METRICS, GENE_GROUPS, SIMULATION_PARAMETERS], names=["metric", "gene_group", "parameter"]
    )
    numbers = _look_up(paper[paper["table"] == 2], index, "r")
    table = index.to_frame(index=False).assign(ours=ours.ravel(), low=low.ravel(), high=high.ravel())
    table["n"] = np.repeat(n_defined, len(SIMULATION_PARAMETERS))
    table["n_undefined"] = len(sweep) - table["n"]
    table["paper"] = numbers
    comparable = table["paper"].notna() & table["low"].notna()
    within = table["paper"].between(table["low"] - _PAPER_ROUNDING, table["high"] + _PAPER_ROUNDING)
    table["paper_in_interval"] = within.astype("boolean").where(comparable)
    noteworthy = (table["paper"].abs() >= NOTEWORTHY) & table["ours"].notna()
    agree = np.sign(table["ours"]) == np.sign(table["paper"])
    table["same_sign"] = agree.astype("boolean").where(noteworthy)
    return table


def table_2_as_printed(table: pd.DataFrame) -> pd.DataFrame:
    """Table 2 laid out as in the paper: a column for each parameter, our correlation and the paper's in brackets.

    Parameters
    ----------
    table : DataFrame
        From `table_2`.

    Returns
    -------
    DataFrame
        `metric`, `gene_group`, a column of text for each parameter, and `n` (data sets).

    Examples
    --------
    >>> row = {"metric": "mse", "gene_group": "all", "n": 9, "parameter": "beta"}
    >>> table_2_as_printed(pd.DataFrame([row | {"ours": 0.061, "paper": 0.04}]))
      metric gene_group           beta  n
    0    mse        all  0.06 (0.04)  9
    """
    rows = []
    for (metric, group), part in table.groupby(["metric", "gene_group"], sort=False):
        cells = [_cell(ours, reported) for ours, reported in zip(part["ours"], part["paper"], strict=True)]
        numbers = dict(zip(part["parameter"], cells, strict=True))
        rows.append({"metric": metric, "gene_group": group, **numbers, "n": part["n"].iat[0]})
    return pd.DataFrame(rows)


def table_3_simulation(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of table 3 that are about simulated data: those of `table_2` about all genes, without the MAE."""
    return table[table["metric"].isin(TABLE_3_METRICS) & (table["gene_group"] == "all")].reset_index(drop=True)


def _look_up(table: pd.DataFrame, keys: pd.MultiIndex, column: str) -> Floats:
    """Values of a column at some keys, NaN where there is none."""
    return table.set_index(list(keys.names))[column].reindex(keys).to_numpy(np.float64)


def _cell(ours: float, paper: float) -> str:
    own = "–" if np.isnan(ours) else f"{ours:z.2f}"
    return own if np.isnan(paper) else f"{own} ({paper:z.2f})"


def _intervals(terms: _Terms, n_defined: npt.NDArray[np.int64], n_bootstrap: int, seed: int) -> tuple[Floats, Floats]:
    """Ends of the 95 % percentile intervals of `_correlations` over resampled data sets, each (metrics, parameters).

    Resamples in which a correlation is undefined, since nothing varies there, do not count for it.
    """
    n = len(terms.n)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    found = []
    for start in range(0, n_bootstrap, _RESAMPLES_AT_A_TIME):
        size = min(_RESAMPLES_AT_A_TIME, n_bootstrap - start)
        drawn = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)
        found.append(_correlations(weights, terms))
    resampled = np.concatenate(found)
    resampled[:, n_defined < 3] = np.nan
    ends = np.full((2, *resampled.shape[1:]), np.nan)
    varies = np.isfinite(resampled).any(axis=0)
    ends[:, varies] = np.nanquantile(resampled[:, varies], [0.025, 0.975], axis=0)
    return ends[0], ends[1]


@dataclass(frozen=True, eq=False)
class _Terms:
    """What sums over data sets are made of, for all pairs of a metric y and a parameter x at once.

    Data sets in which a metric is undefined are zeros. `n`, `y` and `yy` are (data sets, metrics); `x`, `xx` and `xy`
    are (data sets, metrics, parameters).
    """

    n: Floats
    y: Floats
    yy: Floats
    x: Floats
    xx: Floats
    xy: Floats

    @classmethod
    def of(cls, parameters: Floats, values: Floats) -> _Terms:
        defined = np.isfinite(values).astype(np.float64)
        y = _standardised(values)
        x = defined[:, :, None] * _standardised(parameters)[:, None]
        return cls(defined, y, y * y, x, x * x, x * y[:, :, None])


def _correlations(weights: Floats, terms: _Terms) -> Floats:
    """Pearson correlations of every metric with every parameter, data sets counted as often as `weights` says.

    Parameters
    ----------
    weights : (resamples, data sets)
    terms : _Terms

    Returns
    -------
    (resamples, metrics, parameters)
        NaN where one of the two does not vary.
    """
    n, y, yy = (weights @ term for term in (terms.n, terms.y, terms.yy))
    # One matrix product each, which tensordot is too.
    x, xx, xy = (np.tensordot(weights, term, axes=1) for term in (terms.x, terms.xx, terms.xy))
    n, y, yy = n[:, :, None], y[:, :, None], yy[:, :, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        spread_x, spread_y = xx - x * x / n, yy - y * y / n
        spread_x[~(spread_x > _ROUNDING * xx)] = np.nan
        spread_y[~(spread_y > _ROUNDING * yy)] = np.nan
        r = (xy - x * y / n) / np.sqrt(spread_x * spread_y)
    return np.clip(r, -1.0, 1.0)


def _standardised(values: Floats) -> Floats:
    """Columns with mean 0 and standard deviation 1; 0 where a value is undefined, or nothing varies."""
    defined = np.isfinite(values)
    n = np.maximum(defined.sum(axis=0), 1)
    filled = np.where(defined, values, 0.0)
    centred = np.where(defined, filled - filled.sum(axis=0) / n, 0.0)
    sd = np.sqrt((centred**2).sum(axis=0) / n)
    constant = sd <= _ROUNDING * np.abs(filled).max(axis=0)
    return np.where(constant, 0.0, centred / np.where(constant, 1.0, sd))
