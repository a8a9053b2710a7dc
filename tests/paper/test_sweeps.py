"""Sweeps of appendix A: what each degrades, and by how much."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from examples import make_expression
from messages import naming
from scipy import stats

from diversity_by_design import metrics
from diversity_by_design.errors import InputError
from diversity_by_design.paper import sweeps
from diversity_by_design.paper.correlations import sweep_correlations, table_3


@pytest.fixture(scope="module")
def data() -> sweeps.SweepData:
    return sweeps.SweepData.from_anndata(make_expression(seed=1, n_labels=12, n_genes=64), seed=5)


@pytest.mark.parametrize("parameter", sweeps.SWEEPS)
class TestEverySweep:
    def test_does_not_depend_on_order_or_workers(self, parameter, data):
        adata = make_expression(seed=1, n_labels=12, n_genes=64)
        rng = np.random.default_rng(0)
        shuffled = adata[rng.permutation(adata.n_obs)][:, rng.permutation(adata.n_vars)].copy()
        again = sweeps.run_sweep(parameter, sweeps.SweepData.from_anndata(shuffled, seed=5, workers=3))
        pd.testing.assert_frame_equal(again, sweeps.run_sweep(parameter, data), rtol=1e-9)

    def test_table(self, parameter, data):
        table = sweeps.run_sweep(parameter, data)
        assert not table.duplicated(["value", "replicate", "perturbation"]).any()
        assert set(table["perturbation"]) <= set(data.statistics.labels)
        assert (table["mse_all"].dropna() >= 0).all()
        assert (table["weighted_r2_delta"].dropna() <= 1e-12).all()
        assert table["mse_all"].notna().all()

    def test_seed_matters_where_something_is_drawn(self, parameter, data):
        other = sweeps.SweepData.from_anndata(make_expression(seed=1, n_labels=12, n_genes=64), seed=6)
        same = sweeps.run_sweep(parameter, other).equals(sweeps.run_sweep(parameter, data))
        assert same == (parameter in {"beta", "delta", "epsilon", "mu_l"})


def settings(parameter, data):
    return list(sweeps.SWEEPS[parameter](data))


@pytest.mark.parametrize(
    ("least", "most", "grid"),
    [(1, 8, [1, 2, 4, 8]), (2, 175, [2, 4, 8, 16, 32, 64, 128, 175]), (2, 2, [2]), (1, 1, [1])],
)
def test_log2_grid(least, most, grid):
    assert sweeps.log2_grid(least, most) == grid


@pytest.mark.parametrize("parameter", ["g", "n_0", "k", "beta"])
def test_undegraded_setting_is_the_data_set(parameter, data):
    """Where a sweep reaches the whole data set, its scores are those of the whole data set."""
    table = sweeps.run_sweep(parameter, data)
    whole = 1.0 if parameter == "beta" else table["value"].max()
    scores = table[table["value"] == whole].set_index("perturbation")
    stats = data.statistics.select(labels=scores.index)
    expected = metrics.pearson_delta(stats.mean, data.statistics.perturbed_mean, stats.control_mean)
    np.testing.assert_allclose(scores["pearson_delta_all"], expected, rtol=1e-9)


def test_g_takes_as_many_genes(data):
    for setting in settings("g", data):
        assert len(set(setting.columns)) == setting.value


def test_n_p_takes_as_many_cells(data):
    for setting in settings("n_p", data):
        assert (setting.statistics.n_cells == setting.value).all()
    smallest = data.statistics.n_cells.argmin()
    assert setting.value == data.statistics.n_cells[smallest]
    np.testing.assert_allclose(setting.statistics.mean[smallest], data.statistics.mean[smallest])


def test_n_0_takes_random_control_cells(data):
    control = data.matrix[data.members["control"]].toarray().astype(float)
    one, *_, whole = settings("n_0", data)
    assert np.isclose(control, one.control_mean).all(axis=1).sum() == 1
    np.testing.assert_allclose(whole.control_mean, data.statistics.control_mean)


def test_k_draws_ten_times(data):
    drawn = {}
    for setting in settings("k", data):
        assert len(setting.statistics.labels) == setting.value
        drawn.setdefault(setting.value, []).append(tuple(setting.statistics.labels))
    assert [len(sets) for sets in drawn.values()] == [10, 10, 10, 10, 1]
    assert len(set(drawn[4])) > 5
    alone = sweeps.run_sweep("k", data).query("value == 1")
    np.testing.assert_array_equal(alone["mse_all"], 0)


def test_beta_interpolates_control(data):
    by_value = {setting.value: setting.control_mean for setting in settings("beta", data)}
    assert len(by_value) == 21
    mu_all, mu_c = data.statistics.perturbed_mean, data.statistics.control_mean
    np.testing.assert_array_equal(by_value[0.0], mu_all)
    np.testing.assert_allclose(by_value[1.0], mu_c)
    np.testing.assert_allclose(by_value[2.0], mu_all + 2 * (mu_c - mu_all))
    table = sweeps.run_sweep("beta", data)
    assert table.loc[table["value"] == 0, "pearson_delta_all"].isna().all()


def test_delta_windows_cover_all_perturbations(data):
    found = settings("delta", data)
    assert [setting.value for setting in found] == pytest.approx(np.arange(0.1, 0.95, 0.1))
    counts = dict(zip(data.vs_rest.labels, data.vs_rest.n_degs, strict=True))
    assert set().union(*(setting.statistics.labels for setting in found)) == set(counts)
    weakest, strongest = found[0].statistics.labels, found[-1].statistics.labels
    assert max(counts.values()) in {counts[label] for label in strongest}
    assert max(counts[label] for label in weakest) <= min(counts[label] for label in strongest)


@pytest.mark.parametrize("strength", ["vs_rest", "vs_control"])
def test_epsilon_deciles_partition_each_perturbations_genes(data, strength):
    from dataclasses import replace

    chosen = replace(data, strength=strength)
    masks = np.array([setting.mask for setting in settings("epsilon", chosen)])
    assert (masks.sum(axis=0) == 1).all()
    t = np.abs(getattr(data, strength).t)
    for lower, upper in pairwise(masks):
        for row in range(len(t)):
            assert t[row][lower[row]].max() <= t[row][upper[row]].min()
    assert (np.where(masks[-1], t, -1).max(axis=1) == t.max(axis=1)).all(), "the top gene is in the last decile"


def test_mu_l_deciles_partition_each_labels_cells(data):
    found = settings("mu_l", data)
    assert sum(setting.statistics.n_perturbed for setting in found) == data.statistics.n_perturbed
    assert sum(setting.statistics.n_control for setting in found) == data.statistics.n_control
    control = data.members["control"]
    lowest = control[np.argsort(data.library_size[control], kind="stable")[:3]]
    np.testing.assert_allclose(found[0].control_mean, data.matrix[lowest].toarray().astype(float).mean(axis=0))


def test_scores_are_the_metrics_on_the_genes_used(data):
    setting = settings("epsilon", data)[9]
    row = 3
    table = sweeps.run_sweep("epsilon", data).query("value == 0.95").reset_index()
    genes = setting.mask[row]
    truth, centre = data.statistics.mean[row][genes], data.statistics.perturbed_mean[genes]
    weights = data.weights[row][genes] / data.weights[row][genes].sum()
    assert table["mse_all"][row] == pytest.approx(metrics.mse(truth, centre))
    assert table["mae_all"][row] == pytest.approx(metrics.mae(truth, centre))
    assert table["wmse"][row] == pytest.approx(metrics.wmse(truth, centre, weights))
    degs = genes & data.vs_rest.is_deg[row]
    expected = metrics.mse(data.statistics.mean[row], data.statistics.perturbed_mean, degs)
    assert table["mse_degs_vs_rest"][row] == pytest.approx(expected, nan_ok=True)


def test_unknown_sweep(data):
    with pytest.raises(InputError, match=naming("alpha", "epsilon", "g", "mu_l")):
        sweeps.run_sweep("alpha", data)


def one(sweep: pd.DataFrame, column: str) -> pd.Series:
    [parameter] = sweep["parameter"].unique()
    return sweep_correlations({parameter: sweep}, [column]).iloc[0]


class TestCorrelations:
    def test_logarithmic_parameters_are_correlated_on_the_log(self):
        sweep = pd.DataFrame(
            {"parameter": "g", "value": [2, 4, 8, 16], "perturbation": "A", "score": [1.0, 2.0, 3.0, 4.0]}
        )
        assert one(sweep, "score")["r"] == pytest.approx(1)
        linear = one(sweep.assign(parameter="beta"), "score")["r"]
        assert linear == pytest.approx(np.corrcoef(sweep["value"], sweep["score"])[0, 1])

    def test_undefined_points_and_constants(self):
        sweep = pd.DataFrame(
            {"parameter": "beta", "value": [0, 1, 2, 0, 1, 2], "perturbation": list("AAABBB"),
             "score": [np.nan, 1, 2, np.nan, 1, 2], "constant": [1.0, 1, 1, 5, 5, 5]}
        )  # fmt: skip
        found = one(sweep, "score")
        assert (found["r"], found["n"]) == (pytest.approx(1), 4)
        # What differs between perturbations only does not move with the parameter.
        assert one(sweep, "constant")[["r", "low", "high"]].isna().all()

    def test_perturbations_are_resampled_with_all_their_settings(self, data):
        sweep = sweeps.run_sweep("beta", data)
        found = one(sweep, "pearson_delta_all")
        assert found["low"] < found["r"] < found["high"]
        rows = dict(list(sweep.groupby("perturbation")))
        names = sorted(rows)
        rng = np.random.default_rng(np.random.SeedSequence(0))
        values = []
        for start in range(0, 1000, 64):
            for drawn in rng.integers(len(names), size=(min(64, 1000 - start), len(names))):
                chosen = pd.concat([rows[names[unit]] for unit in drawn])
                defined = chosen.dropna(subset="pearson_delta_all")
                values.append(stats.pearsonr(defined["value"], defined["pearson_delta_all"]).statistic)
        low, high = np.quantile(values, [0.025, 0.975])
        assert (found["low"], found["high"]) == (pytest.approx(low), pytest.approx(high))

    @pytest.mark.parametrize(("dataset", "compared_with"), [("replogle22", "replogle22"), ("mine", "norman19")])
    def test_table_3_beside_the_paper(self, data, dataset, compared_with):
        paper = pd.read_csv(ROOT / "analyses" / "paper_reference" / "correlations.csv")
        tables = {parameter: sweeps.run_sweep(parameter, data) for parameter in ("beta", "n_0")}
        ours = sweep_correlations(tables, ["pearson_delta_all", "mse_all", "wmse"])
        assert ours[["parameter", "column"]].values.tolist() == [
            [parameter, column] for parameter in tables for column in ("pearson_delta_all", "mse_all", "wmse")
        ]
        table = table_3(ours, dataset, paper).set_index(["metric", "parameter"])
        assert list(table.columns[:5]) == ["ours", "low", "high", "paper", "n"]
        assert len(table) == 4
        beta = table.loc[("pearson_delta", "beta")]
        assert beta["paper"] == {"replogle22": 0.58, "norman19": 0.63}[compared_with]
        assert beta["paper_dataset"] == compared_with
        expected = one(tables["beta"], "pearson_delta_all")[["r", "low", "high"]].tolist()
        assert beta[["ours", "low", "high"]].tolist() == pytest.approx(expected)
        assert table.loc[("mse", "n_0")][["ours", "low", "high", "paper"]].isna().all()
