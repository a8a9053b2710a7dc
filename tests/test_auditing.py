"""Any metric of any predictor on simulated data sets, and what the resulting table shows."""

import pickle

import numpy as np
import pandas as pd
import pytest
from diversity_by_design.simulator.predictors import PREDICTORS, Predictor, dial

from diversity_by_design import audit_summary, deg_scores, deg_weights
from diversity_by_design.auditing import METRICS, Metric, sweep
from diversity_by_design.errors import InputError
from diversity_by_design.paper import comparison
from diversity_by_design.simulator import GeneParameters
from diversity_by_design.simulator.config import SIMULATION_PARAMETERS
from diversity_by_design.simulator.ranges import SweepRanges, simulation_seed
from diversity_by_design.simulator.simulation import simulate_statistics

SMALL = SweepRanges(g=(60, 120), n_0=(20, 60), n_p=(11, 31), k=(6, 15))
GENES = GeneParameters.default(500)


def small_sweep(n_datasets: int = 2, **options) -> pd.DataFrame:
    return sweep(
        n_datasets, **{"parameters": GENES, "ranges": SMALL, "workers": 1, "seed": 3, "progress": False} | options
    )


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return small_sweep(5)


def values(table: pd.DataFrame, metric: str, predictor: str) -> np.ndarray:
    return table.query("metric == @metric and predictor == @predictor")["value"].to_numpy()


def undefined(table: pd.DataFrame, metric: str, predictor: str) -> list[int]:
    return table.query("metric == @metric and predictor == @predictor")["n_undefined"].tolist()


def test_table_has_a_row_per_dataset_metric_and_predictor(table):
    assert not table.duplicated(["dataset", "metric", "predictor"]).any()
    assert len(table) == 5 * len(METRICS) * len(PREDICTORS)
    assert table["dataset"].is_monotonic_increasing and (table["error"] == "").all() and (table["n_redrawn"] == 0).all()
    config, _ = SMALL.draw(3, 4)
    last = table.iloc[-1]
    assert {name: last[name] for name in SIMULATION_PARAMETERS} == {
        name: getattr(config, name) for name in SIMULATION_PARAMETERS
    }
    directions = table.drop_duplicates("metric").set_index("metric")["higher_is_better"]
    assert directions.index.tolist() == list(METRICS)
    assert set(directions.index[~directions]) == {"mse", "mae", "wmse"}


def test_scores_are_those_of_analysis_5_on_the_same_cells(table):
    config, _ = SMALL.draw(3, 2)
    # All cells in one part: statistics that owe nothing to the sum of the halves.
    whole = simulate_statistics(config, GENES, simulation_seed(3, 2)).statistics[0]
    halves = simulate_statistics(config, GENES, simulation_seed(3, 2), parts=2).statistics
    degs = deg_scores(whole)
    expected = comparison.summarise(comparison.baseline_scores(whole, halves, degs, deg_weights(degs)))
    found = table[table["dataset"] == 2].set_index(["metric", "predictor"])
    assert 0 < (degs.n_degs >= 2).sum() < config.k
    assert len(expected) == 3 * len(comparison.METRICS)
    for row in expected.itertuples():
        assert found.loc[(row.metric, row.predictor), "value"] == pytest.approx(row.median, rel=1e-9, nan_ok=True)
        assert found.loc[(row.metric, row.predictor), "n_undefined"] == row.n_undefined
    errors = np.abs(whole.mean - whole.control_mean).mean(axis=1)
    assert found.loc[("mae", "control_mean"), "value"] == pytest.approx(np.median(errors))


def test_errors_along_the_dial_are_powers_of_alpha(table):
    for metric, power in {"mse": 2, "wmse": 2, "mae": 1}.items():
        worst = values(table, metric, "dial_1")
        assert (worst > 0).all()
        np.testing.assert_array_equal(worst, values(table, metric, "perturbed_mean"))
        for alpha in (0, 0.25, 0.5, 0.75):
            along = values(table, metric, f"dial_{alpha:g}")
            np.testing.assert_allclose(along, alpha**power * worst, rtol=1e-9)


def test_r2_along_the_dial_falls_with_the_square_of_alpha(table):
    for metric in ("r2_delta", "weighted_r2_delta"):
        loss = 1 - values(table, metric, "dial_1")
        assert (loss >= 1).all()
        for alpha in (0, 0.25, 0.5, 0.75):
            np.testing.assert_allclose(values(table, metric, f"dial_{alpha:g}"), 1 - alpha**2 * loss, rtol=1e-9)


def test_pearson_does_not_notice_shrinking_until_nothing_is_left(table):
    n_perturbations = table.drop_duplicates("dataset")["k"].tolist()
    for alpha in (0, 0.25, 0.5, 0.75):
        np.testing.assert_allclose(values(table, "pearson_delta", f"dial_{alpha:g}"), 1)
    assert np.isnan(values(table, "pearson_delta", "dial_1")).all()
    assert undefined(table, "pearson_delta", "dial_1") == n_perturbations
    assert undefined(table, "pearson_delta", "dial_0.75") == [0] * 5


def test_pearson_from_a_biased_control_hardly_notices_mode_collapse():
    biased = SweepRanges(
        g=(300, 300), n_0=(400, 400), n_p=(60, 60), k=(20, 20), beta=(2, 2), delta=(0.01, 0.01), epsilon=(2, 2),
        mu_l=(1, 1),
    )  # fmt: skip
    table = small_sweep(1, ranges=biased)
    assert values(table, "pearson_delta_control", "dial_1") > 0.9
    assert values(table, "weighted_r2_delta", "dial_1") <= 0
    summary = audit_summary.dial_summary(table).set_index("metric")
    assert not summary.loc["pearson_delta_control", "n_duplicate_better"]
    assert summary.loc["weighted_r2_delta", "n_duplicate_better"] == 1


def test_functions_of_a_user_see_the_data_set():
    seen = []

    def metric(truth, prediction, context):
        seen.append(context)
        np.testing.assert_array_equal(truth, context.statistics.mean)
        return np.where(np.arange(len(truth)) < 3, np.nan, prediction[:, 0])

    def predictor(context):
        return np.arange(context.config.g) + np.zeros((context.config.k, 1)) + 7

    table = small_sweep(1, metrics=[Metric("own", metric, True)], predictors=[Predictor("mine", predictor)])
    (context,) = seen
    # Control cells are in both halves, and count once.
    assert context.statistics.n_control == context.config.n_0
    assert (context.statistics.n_cells == context.config.n_p).all()
    shape = (context.config.k, context.config.g)
    assert table[["value", "n_undefined"]].values.tolist() == [[7, 3]]
    assert context.weights.shape == context.degs.t.shape == context.affected.shape == context.first_half.shape == shape
    assert context.control_mean.shape == context.perturbed_mean.shape == shape[1:]
    effects = simulate_statistics(context.config, GENES, simulation_seed(3, 0)).truth.effects
    np.testing.assert_array_equal(context.affected, effects.directions(shape[1]) != 0)


def test_one_prediction_of_all_perturbations_is_enough():
    means = Predictor("means", lambda context: context.perturbed_mean)
    table = small_sweep(metrics="mse", predictors=["perturbed_mean", means])
    np.testing.assert_array_equal(values(table, "mse", "means"), values(table, "mse", "perturbed_mean"))


def test_truth_of_a_predictor_can_be_the_second_half():
    own = Predictor("own", lambda context: context.second_half, against="second_half")
    table = small_sweep(1, metrics=["mse"], predictors=[own])
    assert values(table, "mse", "own") == [0]


def test_undefined_everywhere_is_nan():
    nowhere = Metric("nowhere", lambda truth, prediction, context: np.full(len(truth), np.nan), True)
    table = small_sweep(1, metrics=[nowhere], predictors=["dial_0"])
    assert np.isnan(table["value"].item()) and table["n_undefined"].item() == table["k"].item()


def test_result_does_not_depend_on_workers():
    # A function without a name, which plain pickling cannot send to another process.
    noise = Predictor("noise", lambda context: np.random.default_rng(context.seed).random(context.config.g))
    first = Metric("first", lambda truth, prediction, context: prediction[:, 0], True)
    tables = [
        small_sweep(3, workers=workers, metrics=["wmse", "pearson_delta_degs", first], predictors=[noise, "dial_0.5"])
        for workers in (1, 2)
    ]
    pd.testing.assert_frame_equal(*tables)
    assert len(set(values(tables[0], "first", "noise"))) == 3


def test_a_setting_of_the_dial_reaches_other_processes():
    plan = audit._Plan(GENES, 1, (METRICS["mae"],), (dial(0.9),))
    copy = pickle.loads(pickle.dumps(plan))
    assert copy.predictors == plan.predictors and copy.metrics[0].name == "mae"


def test_a_mistake_in_a_function_ends_the_sweep_and_is_named():
    called = []

    def wrong(truth, prediction, context):
        called.append(context.config)
        raise ZeroDivisionError("no scale")

    message = r"metric 'wrong', applied to 'dial_0', failed on data set 0 \(.*n_0=.*\): ZeroDivisionError: no scale"
    with pytest.raises(InputError, match=message) as caught:
        small_sweep(4, metrics=["mse", Metric("wrong", wrong, True)], predictors=["dial_0"])
    assert len(called) == 1
    assert "in wrong" in caught.value.__notes__[0]
    with pytest.raises(InputError, match="predictor 'lost' failed on data set 0 .* KeyError: 'lost'"):
        small_sweep(predictors=[Predictor("lost", lambda context: {}["lost"])])


def test_wrong_shapes_are_named():
    config, _ = SMALL.draw(3, 0)
    k, g = config.k, config.g
    with pytest.raises(InputError, match=rf"returned shape \({g}, {k}\); expected \({k}, {g}\) .* or \({g},\)"):
        small_sweep(predictors=[Predictor("turned", lambda context: context.truth.T)])
    with pytest.raises(InputError, match=rf"'every_gene', .* returned shape \({k}, {g}\); expected \({k},\)"):
        small_sweep(metrics=[Metric("every_gene", lambda truth, prediction, context: truth - prediction, True)])


def test_arrays_cannot_be_changed_by_mistake():
    def careless(truth, prediction, context):
        truth -= context.control_mean
        return truth.sum(axis=1)

    with pytest.raises(InputError, match="'careless', .* read-only"):
        small_sweep(metrics=[Metric("careless", careless, True)])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"metrics": ["mse", "rmse"]}, InputError, "no metric is called 'rmse'; give a name .mse, mae, .* as Metric"),
        ({"predictors": ["additive"]}, InputError, "no predictor is called 'additive'; .*control_mean, .*dial_0.25"),
        ({"metrics": [np.mean]}, InputError, "is no metric; .*Metric"),
        ({"predictors": METRICS["mse"]}, InputError, "is no predictor"),
        ({"metrics": []}, ValueError, "no metric was given"),
        ({"metrics": ["mse", Metric("mse", np.mean, True)]}, ValueError, "metrics must have .*names; mse occurs"),
        ({"predictors": ["dial_0.5", dial(0.5)]}, ValueError, "dial_0.5 occurs more than once"),
        ({"ranges": SMALL.replace(k=(1, 10))}, ValueError, "range of k begins at 1; at least 2"),
        ({"ranges": SMALL.replace(g=(60, 501))}, ValueError, "ends at 501, but the gene parameters hold only 500"),
        ({"max_entries": 100}, ValueError, "max_entries is 100"),
        ({"n_datasets": 0}, ValueError, "n_datasets is 0"),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        small_sweep(**options)


def test_bad_metrics_and_predictors():
    with pytest.raises(InputError, match="metric 'm': 3 is no function of truth, prediction and context"):
        Metric("m", 3, True)
    with pytest.raises(InputError, match="predictor 'p': None is no function"):
        Predictor("p", None)
    with pytest.raises(InputError, match="against is 'first_half'; it must be 'all_cells' or 'second_half'"):
        Predictor("p", np.mean, against="first_half")
    with pytest.raises(InputError, match="names with 'dial_' are for dial"):
        Predictor("dial_up", np.mean)
    with pytest.raises(InputError, match=r"alpha is 1.5; it must be in \[0, 1\]"):
        dial(1.5)


def test_size_can_be_bounded():
    free = small_sweep(3, metrics="mse", predictors="dial_1")
    entries = (free["n_0"] + free["k"] * free["n_p"]) * free["g"]
    bound = int(entries.max()) - 1
    bounded = small_sweep(3, metrics="mse", predictors="dial_1", max_entries=bound)
    assert ((bounded["n_0"] + bounded["k"] * bounded["n_p"]) * bounded["g"]).max() <= bound
    assert (bounded["n_redrawn"] > 0).tolist() == (entries > bound).tolist()


def test_a_data_set_that_fails_is_reported_and_the_others_go_on(monkeypatch):
    simulated = audit.simulate_statistics

    def fails_once(config, parameters, seed, **options):
        if seed.spawn_key == (1, 1):
            raise MemoryError("too large")
        return simulated(config, parameters, seed, **options)

    monkeypatch.setattr(audit, "simulate_statistics", fails_once)
    with pytest.warns(UserWarning, match="1 of 3 data sets could not be simulated; data set 1: MemoryError: too large"):
        table = small_sweep(3, metrics=["mse"], predictors=["dial_0", "dial_1", "perturbed_mean"])
    failed = table[table["dataset"] == 1]
    assert failed["value"].isna().all() and (failed["n_undefined"] == failed["k"]).all()
    assert failed["error"].tolist() == ["MemoryError: too large"] * 3
    assert (table["error"] == "").sum() == table["value"].notna().sum() == 6
    assert audit_summary.dial_summary(table)[["n", "n_falling", "n_undefined"]].values.tolist() == [[2, 2, 1]]
    monkeypatch.setattr(audit, "simulate_statistics", lambda *_, **__: 1 / 0)
    with pytest.raises(RuntimeError, match="2 of 2 data sets could not be simulated; data set 0: ZeroDivisionError"):
        small_sweep(2)


def test_a_function_that_runs_out_of_memory_is_no_mistake():
    def greedy(context):
        raise MemoryError("no room")

    with pytest.raises(RuntimeError, match="2 of 2 data sets could not be simulated; data set 0: MemoryError: no room"):
        small_sweep(2, predictors=[Predictor("greedy", greedy)])


def made_up(scores: dict[str, list[float]], higher_is_better: bool = True, **parameters: list[float]) -> pd.DataFrame:
    """Table of a sweep with the given scores of each predictor in every data set."""
    n = len(next(iter(scores.values())))
    settings = {name: parameters.get(name, [1.0] * n) for name in SIMULATION_PARAMETERS}
    about = {"dataset": range(n), "metric": "m", "higher_is_better": higher_is_better}
    parts = [
        pd.DataFrame({**about, **settings, "predictor": predictor, "value": value})
        for predictor, value in scores.items()
    ]
    return pd.concat(parts, ignore_index=True)


def test_correlations_take_the_logarithm_of_what_table_2_does():
    n_p, beta = [10, 20, 40, 80, 160], [0.0, 2.0, 1.0, 0.5, 1.5]
    table = made_up({"perturbed_mean": [1.0, 2.0, 3.0, 4.0, 5.0]}, n_p=n_p, g=n_p, beta=beta, mu_l=[-1, 0, 1, 2, 3])
    found = audit_summary.parameter_correlations(table).set_index("parameter")
    assert found.index.tolist() == list(SIMULATION_PARAMETERS)
    assert found.loc["n_p", "r"] == pytest.approx(1)
    assert found.loc["n_p", "p"] < 1e-6
    assert found.loc["g", "r"] == pytest.approx(np.corrcoef(n_p, range(5))[0, 1])
    assert found.loc["beta", "r"] == pytest.approx(np.corrcoef(beta, range(5))[0, 1])
    # No logarithm of a range of one's own.
    assert found.loc["mu_l", ["scale", "r"]].tolist() == ["linear", pytest.approx(1)]
    assert found["scale"].to_dict() == dict.fromkeys(SIMULATION_PARAMETERS, "linear") | dict.fromkeys(
        ("n_p", "n_0", "k"), "log"
    )
    assert np.isnan(found.loc["k", "r"])
    assert (found["n"] == 5).all() and (found["n_undefined"] == 0).all()


def test_correlations_leave_out_what_is_undefined():
    table = made_up({"dial_0": [3.0, np.nan, 1.0, 2.0]}, epsilon=[3.0, 9.0, 1.0, 2.0])
    found = audit_summary.parameter_correlations(table, "dial_0").iloc[0]
    assert found[["parameter", "r", "n", "n_undefined"]].tolist() == ["epsilon", pytest.approx(1), 3, 1]
    few = audit_summary.parameter_correlations(table[table["dataset"] < 3], "dial_0")
    assert few["r"].isna().all() and (few["n"] == 2).all()
    # Differences by rounding are none.
    level = made_up({"dial_0": [1.0, 1 - 1e-15, 1 + 1e-15]}, epsilon=[1.0, 2.0, 3.0])
    assert audit_summary.parameter_correlations(level, "dial_0")["r"].isna().all()
    with pytest.raises(InputError, match="no predictor 'perturbed_mean' in the table; there are: dial_0"):
        audit_summary.parameter_correlations(table)


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_a_fall_is_strict_and_in_the_direction_of_the_metric(higher_is_better):
    #        falls, level in between, by rounding, rises at the end, undefined at the end, undefined but once
    truth = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    middle = [0.5, 1.0, 1 - 1e-13, 0.5, 0.5, np.nan]
    collapse = [0.1, 0.1, 0.1, 0.6, np.nan, np.nan]
    duplicate = [0.2, 0.1, 0.0, 0.7, 0.5, 0.5]
    courses = {"dial_1": collapse, "dial_0": truth, "dial_0.5": middle}
    scores = courses | {"perturbed_mean": collapse, "technical_duplicate": duplicate}
    sign = 1 if higher_is_better else -1
    table = made_up({name: [sign * value for value in row] for name, row in scores.items()}, higher_is_better)
    (row,) = audit_summary.dial_summary(table).to_dict("records")
    assert (row["n"], row["n_falling"], row["share_falling"]) == (5, 2, 0.4)
    assert (row["n_undefined"], row["undefined_at"]) == (2, "0.5, 1")
    assert (row["n_compared"], row["n_duplicate_better"], row["share_duplicate_better"]) == (4, 2, 0.5)


def test_summary_without_a_duplicate_or_without_a_dial():
    (row,) = audit_summary.dial_summary(made_up({"dial_0": [np.nan], "dial_1": [np.nan]})).to_dict("records")
    assert (row["n"], row["n_undefined"], row["n_compared"]) == (0, 1, 0)
    assert np.isnan(row["share_falling"]) and np.isnan(row["share_duplicate_better"])
    with pytest.raises(InputError, match=r"1 setting\(s\) of the dial .* dial_0, perturbed_mean; sweep with at least"):
        audit_summary.dial_summary(made_up({"dial_0": [1.0], "perturbed_mean": [0.0]}))


def test_errors_are_scaled_by_the_mean_baseline_of_the_same_data_set():
    scores = {"perturbed_mean": [2.0, 10.0, 0.0], "dial_0.5": [0.5, 2.5, 0.0], "technical_duplicate": [1.0, 20.0, 0.0]}
    errors = audit_summary.scaled_scores(made_up(scores, higher_is_better=False)).set_index("predictor")
    assert errors["median"].tolist() == [1, 0.25, 1.25]
    assert errors["alpha"].tolist() == pytest.approx([np.nan, 0.5, np.nan], nan_ok=True)
    # Nothing is a multiple of an error of zero.
    assert errors[["n", "n_undefined"]].values.tolist() == [[2, 1]] * 3
    plain = audit_summary.scaled_scores(made_up(scores)).set_index("predictor")
    assert plain["median"].tolist() == [2, 0.5, 1]
    assert plain.loc["perturbed_mean", ["q25", "q75", "n"]].tolist() == [1, 6, 3]
    with pytest.raises(InputError, match="no predictor 'perturbed_mean'"):
        audit_summary.scaled_scores(made_up({"dial_0": [1.0]}))
