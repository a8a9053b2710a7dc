"""Correlations of scores with the parameters of simulated data sets: tables 2 and 3."""

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from messages import naming
from scipy import stats
from small_sweep import small_sweep

from diversity_by_design.errors import InputError
from diversity_by_design.paper import correlations, sweeps
from diversity_by_design.paper.correlations import (
    GENE_GROUPS,
    SIMULATION_LOGARITHMIC,
    SIMULATION_METRICS,
    SIMULATION_PARAMETERS,
    sweep_correlations,
    table_2,
    table_2_as_printed,
    table_3,
    table_3_simulation,
)

PAPER = pd.read_csv(ROOT / "analyses" / "paper_reference" / "correlations.csv")
KEYS = ["metric", "gene_group", "parameter"]


@pytest.fixture
def sweep() -> pd.DataFrame:
    """A sweep in which some values are undefined."""
    table = small_sweep().copy()
    table.loc[[3, 8, 21], "pearson_delta_affected"] = np.nan
    return table


def plain_r(sweep: pd.DataFrame, parameter: str, column: str, logarithmic=SIMULATION_LOGARITHMIC) -> float:
    used = sweep[[parameter, column]].dropna()
    x = np.log(used[parameter]) if parameter in logarithmic else used[parameter]
    return stats.pearsonr(x, used[column]).statistic


def test_every_correlation_is_scipys(sweep):
    table = table_2(sweep, PAPER, n_bootstrap=8)
    expected = [(m, s, p) for m in SIMULATION_METRICS for s in GENE_GROUPS for p in SIMULATION_PARAMETERS]
    assert list(table[KEYS].itertuples(index=False, name=None)) == expected
    for row in table.itertuples():
        column = f"{row.metric}_{row.gene_group}"
        assert row.ours == pytest.approx(plain_r(sweep, row.parameter, column), abs=1e-12)
        assert row.n == sweep[column].notna().sum()
        assert row.n + row.n_undefined == len(sweep)
    assert table.loc[table["n_undefined"] > 0, "gene_group"].unique().tolist() == ["affected"]


def test_parameters_enter_on_the_scale_that_is_named(sweep):
    linear, log = (
        table_2(sweep, PAPER, 1, logarithmic=names).query("metric == 'mse' and gene_group == 'affected'")
        for names in ([], ["epsilon", "k"])
    )
    linear, log = (table.set_index("parameter")["ours"] for table in (linear, log))
    assert (linear.drop(["epsilon", "k"]) == log.drop(["epsilon", "k"])).all()
    for name in ("epsilon", "k"):
        assert log[name] == pytest.approx(plain_r(sweep, name, "mse_affected", ["epsilon", "k"]))
        assert linear[name] == pytest.approx(plain_r(sweep, name, "mse_affected", []))
        assert linear[name] != pytest.approx(log[name])


def test_intervals_are_those_of_resampling_data_sets_one_by_one(sweep):
    n_bootstrap = 50  # within one part, which is drawn at once
    table = table_2(sweep, PAPER, n_bootstrap, seed=5).set_index(KEYS)
    drawn = np.random.default_rng(np.random.SeedSequence(5)).integers(len(sweep), size=(n_bootstrap, len(sweep)))
    for parameter, metric, group in (("beta", "pearson_delta", "all"), ("k", "pearson_delta", "affected")):
        found = [plain_r(sweep.iloc[rows], parameter, f"{metric}_{group}") for rows in drawn]
        row = table.loc[metric, group, parameter]
        assert (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(found, [0.025, 0.975])), abs=1e-12)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """Of data sets in which r is 0.5, and for resamples drawn in several parts."""
    rng = np.random.default_rng(0)
    columns = [f"{metric}_{group}" for metric in SIMULATION_METRICS for group in GENE_GROUPS]
    hits = []
    for repeat in range(12):
        x = rng.normal(size=(200, len(SIMULATION_PARAMETERS)))
        y = 0.5 * x[:, :1] + np.sqrt(0.75) * rng.normal(size=(200, len(columns)))
        made = pd.DataFrame(np.hstack([x, y]), columns=[*SIMULATION_PARAMETERS, *columns])
        table = table_2(made, PAPER, n_bootstrap=200, seed=repeat, logarithmic=[]).set_index("parameter")
        first = table.loc[SIMULATION_PARAMETERS[0]]
        hits.extend(first["low"].le(0.5) & first["high"].ge(0.5))
    assert 0.85 < np.mean(hits) <= 1.0


def test_the_seed_decides_the_intervals(sweep):
    first, second, other = (table_2(sweep, PAPER, 100, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, second)
    assert not first["low"].equals(other["low"])
    assert first["ours"].equals(other["ours"])


def test_size_and_offset_of_the_values_do_not_matter(sweep):
    moved = sweep.assign(mse_all=1e6 + 1e-3 * sweep["mse_all"], beta=1e6 + sweep["beta"])
    before, after = (table_2(table, PAPER, 20).set_index(KEYS)[["ours", "low", "high"]] for table in (sweep, moved))
    np.testing.assert_allclose(after, before, atol=1e-4)


@pytest.mark.parametrize("value", [0.1, 1e6 + 0.1])
def test_what_does_not_vary_has_no_correlation(sweep, value):
    table = table_2(sweep.assign(mse_all=value, beta=value), PAPER, 20).set_index(KEYS)
    constant = (table.index.get_level_values("parameter") == "beta") | (
        (table.index.get_level_values("metric") == "mse") & (table.index.get_level_values("gene_group") == "all")
    )
    assert table.loc[constant, ["ours", "low", "high"]].isna().all(axis=None)
    assert table.loc[constant, ["paper_in_interval", "same_sign"]].isna().all(axis=None)
    assert table.loc[~constant, ["ours", "low", "high"]].notna().all(axis=None)
    assert (table.loc[~constant, "low"] < table.loc[~constant, "high"]).all()


@pytest.mark.parametrize("defined", [0, 1, 2, 3])
def test_few_data_sets(sweep, defined):
    few = sweep.head(10).assign(mae_all=sweep["mae_all"].where(sweep.index < defined))
    row = table_2(few, PAPER, 50).set_index(KEYS).loc["mae", "all", "beta"]
    assert (row["n"], row["n_undefined"]) == (defined, 10 - defined)
    assert np.isnan(row["ours"]) == np.isnan(row["low"]) == (defined < 3)


def test_comparison_with_the_paper(sweep):
    table = table_2(sweep, PAPER, 200).set_index(KEYS)
    assert table["paper"].notna().sum() == 64
    assert table.loc["pearson_delta", "all", "beta"]["paper"] == 0.54
    assert table.loc["mse", "degs_vs_rest", "g"]["paper"] == -0.48
    assert table.loc["mae", ["paper", "paper_in_interval", "same_sign"]].isna().all(axis=None)
    compared = table.loc[["pearson_delta", "mse"]]
    for row in compared.itertuples():
        inside = row.low - 0.005 <= row.paper <= row.high + 0.005
        assert row.paper_in_interval == inside
        if abs(row.paper) < 0.2:
            assert row.same_sign is pd.NA
        else:
            assert row.same_sign == (row.ours * row.paper > 0)
    assert compared["paper_in_interval"].nunique() == compared["same_sign"].dropna().nunique() == 2


def test_table_2_as_printed(sweep):
    table = table_2(sweep, PAPER, 1)
    printed = table_2_as_printed(table)
    assert list(printed) == ["metric", "gene_group", *SIMULATION_PARAMETERS, "n"]
    assert len(printed) == 12
    assert printed["n"].tolist() == [40, 37, *[40] * 10]
    r = plain_r(sweep, "beta", "pearson_delta_all")
    assert printed.loc[0, "beta"] == f"{r:.2f} (0.54)"
    assert printed.loc[8, "g"] == f"{plain_r(sweep, 'g', 'mae_all'):.2f}"
    assert table_2_as_printed(table.assign(ours=np.nan)).loc[[0, 8], "g"].tolist() == ["– (0.00)", "–"]


def test_rows_of_table_3(sweep):
    table = table_2(sweep, PAPER, 1)
    rows = table_3_simulation(table)
    assert len(rows) == 16
    reported = PAPER[(PAPER["table"] == 3) & (PAPER["dataset"] == "simulation")].set_index(["metric", "parameter"])["r"]
    assert [reported[row.metric, row.parameter] for row in rows.itertuples()] == rows["paper"].tolist()


def test_table_3_of_a_data_set_shows_simulations(sweep):
    values = np.linspace(0, 1, 8)
    made = pd.DataFrame({"parameter": "beta", "value": values, "perturbation": [*"AABBCCDD"]})
    made = made.assign(pearson_delta_all=values, mse_all=-values)
    made = sweep_correlations({"beta": made}, ["pearson_delta_all", "mse_all"])
    without = table_3(made, "norman19", PAPER).set_index("metric")
    assert without["simulation"].isna().all()
    assert without["paper_simulation"].to_dict() == {"pearson_delta": 0.54, "mse": 0.04}
    simulated = table_2(sweep, PAPER, 1)
    found = table_3(made, "norman19", PAPER, simulated).set_index("metric")
    assert found["simulation"]["mse"] == pytest.approx(plain_r(sweep, "beta", "mse_all"))
    assert found["ours"].to_dict() == pytest.approx({"pearson_delta": 1, "mse": -1})
    assert found.loc["mse", ["low", "high"]].tolist() == pytest.approx([-1, -1])


def test_parameters_of_both_kinds_of_sweep_have_the_same_names():
    assert set(SIMULATION_PARAMETERS) == set(sweeps.SWEEPS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda sweep: sweep.drop(columns=["mse_all", "k"]), ("k", "mse_all")),
        (lambda sweep: sweep.head(0), ()),
        (lambda sweep: sweep.assign(mu_l=sweep["mu_l"].where(sweep.index > 1, 0)), ("mu_l", 0, 2)),
    ],
)
def test_what_cannot_be_correlated_is_refused(sweep, change, said):
    with pytest.raises(InputError, match=naming(*said)):
        table_2(change(sweep), PAPER)


def test_resamples_are_needed(sweep):
    with pytest.raises(InputError, match=naming("resamples", 0)):
        correlations.table_2(sweep, PAPER, n_bootstrap=0)
