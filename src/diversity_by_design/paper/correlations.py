"""How a metric moves with a parameter: the correlations of tables 2 and 3."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design.correlation import correlations
from diversity_by_design.errors import InputError
from diversity_by_design.paper.sweeps import LOGARITHMIC
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


def sweep_correlations(sweeps: Mapping[str, pd.DataFrame], columns: Collection[str]) -> pd.DataFrame:
    """Correlations of metrics with the swept parameters, over perturbations and settings; perturbations are resampled.

    `sweeps`: numbers of cells, genes and perturbations enter as logarithms. Columns: `parameter`, `column`, `r`, `low`,
    `high` (95 % interval), `n` (points). NaN where a metric does not vary along the sweep for any perturbation.
    """
    tables = []
    for parameter, sweep in sweeps.items():
        values = sweep["value"].to_numpy(np.float64)
        x = (np.log2(values) if parameter in LOGARITHMIC else values)[:, None]
        y = sweep[list(columns)]
        result = correlations(x, y.to_numpy(np.float64), sweep["perturbation"].to_numpy(str))
        varies = (y.groupby(sweep["perturbation"]).nunique() > 1).any().to_numpy()
        numbers = {name: np.where(varies, getattr(result, name)[:, 0], np.nan) for name in ("r", "low", "high")}
        tables.append(pd.DataFrame({"parameter": parameter, "column": list(columns), **numbers, "n": result.n}))
    return pd.concat(tables, ignore_index=True)


def table_3(
    ours: pd.DataFrame, dataset: str, paper: pd.DataFrame, simulated: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Table 3 for a data set, beside the paper's.

    `ours`: from `sweep_correlations`. `dataset`: compared with the paper's numbers for the same data set, or for
    norman19 where the paper has none. `paper`: ``analyses/paper_reference/correlations.csv``. `simulated`: our
    correlations in simulated data, as from `table_2`. Columns: `parameter`, `metric`, `ours`, `low`, `high` (95 %
    interval, perturbations resampled), `paper`, `n` (points correlated), `paper_dataset`, and of simulated data
    `simulation` (ours) and `paper_simulation`. `ours` is NaN where the metric cannot depend on the parameter, `paper`
    where the paper gives no number, `simulation` without `simulated`.
    """
    reported = paper[(paper["table"] == 3) & (paper["dataset"] != "simulation")]
    compared_with = dataset if (reported["dataset"] == dataset).any() else _COMPARED_WITH
    tables = [
        ours[ours["column"] == column].drop(columns="column").assign(metric=metric)
        for metric, column in TABLE_3_METRICS.items()
    ]
    table = pd.concat(tables, ignore_index=True).rename(columns={"r": "ours"})
    keys = pd.MultiIndex.from_frame(table[["metric", "parameter"]])
    table["paper"] = _look_up(reported[reported["dataset"] == compared_with], keys, "r")
    table["paper_dataset"] = compared_with
    in_simulations = table_3_simulation(simulated) if simulated is not None else None
    table["simulation"] = np.nan if in_simulations is None else _look_up(in_simulations, keys, "ours")
    table["paper_simulation"] = _look_up(paper[(paper["table"] == 3) & (paper["dataset"] == "simulation")], keys, "r")
    columns = ["parameter", "metric", "ours", "low", "high", "paper", "n", "paper_dataset", "simulation"]
    return table[[*columns, "paper_simulation"]]


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

    `sweep`: one row per data set, with the eight parameters and the metrics ``{metric}_{gene group}``. `paper`:
    ``analyses/paper_reference/correlations.csv``. `n_bootstrap`: resamples of the data sets. `logarithmic`: parameters
    that enter as logarithms. One row per metric, gene group and parameter, in the order of table 2, the MAE last, with
    `ours` (Pearson r; NaN with fewer than three data sets, or where it does not vary), `low`, `high` (95 % percentile
    interval), `n` (data sets), `n_undefined` (left out since the metric is undefined there), `paper`,
    `paper_in_interval` (whether what rounds to the paper's number lies in our interval) and `same_sign` (for numbers of
    the paper of at least 0.2 in size).
    """
    columns = [f"{metric}_{group}" for metric in SIMULATION_METRICS for group in GENE_GROUPS]
    missing = [name for name in (*SIMULATION_PARAMETERS, *columns) if name not in sweep.columns]
    if missing:
        raise InputError(f"the table of the sweep has no column {', '.join(missing)}")
    if not len(sweep):
        raise InputError("the table of the sweep has no data sets; there is nothing to correlate")
    for name in set(logarithmic) & set(SIMULATION_PARAMETERS):
        if (sweep[name] <= 0).any():
            raise InputError(f"{name} is 0 or less in {int((sweep[name] <= 0).sum())} data sets; it has no logarithm")
    parameters = np.column_stack([on_scale(sweep[name], name, logarithmic) for name in SIMULATION_PARAMETERS])
    result = correlations(parameters, sweep[columns].to_numpy(np.float64), resamples=n_bootstrap, seed=seed)

    index = pd.MultiIndex.from_product(
        [SIMULATION_METRICS, GENE_GROUPS, SIMULATION_PARAMETERS], names=["metric", "gene_group", "parameter"]
    )
    numbers = _look_up(paper[paper["table"] == 2], index, "r")
    table = index.to_frame(index=False)
    table = table.assign(ours=result.r.ravel(), low=result.low.ravel(), high=result.high.ravel())
    table["n"] = np.repeat(result.n, len(SIMULATION_PARAMETERS))
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

    `table`: from `table_2`. Columns: `metric`, `gene_group`, a column of text for each parameter, and `n` (data sets).

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
