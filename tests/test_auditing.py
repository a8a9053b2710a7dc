"""Any metric of any predictor on simulated data sets."""

import numpy as np
import pandas as pd
import pytest
from messages import naming

from diversity_by_design import audit, auditing, deg_scores, deg_weights, simulator
from diversity_by_design.audit_summary import dial_summary
from diversity_by_design.baselines import Predictor, dial
from diversity_by_design.errors import InputError
from diversity_by_design.halves import Halvings
from diversity_by_design.metrics import METRICS, Metric
from diversity_by_design.paper import comparison
from diversity_by_design.simulator import GeneParameters
from diversity_by_design.simulator.config import SIMULATION_PARAMETERS
from diversity_by_design.simulator.ranges import SweepRanges, simulation_seed
from diversity_by_design.simulator.simulation import simulate_statistics
from diversity_by_design.truth import Truth

SMALL = SweepRanges(g=(60, 120), n_0=(20, 60), n_p=(11, 31), k=(6, 15))
GENES = GeneParameters.default(500)
PREDICTORS = [
    "control_mean",
    "perturbed_mean",
    "technical_duplicate",
    *(f"dial_{a:g}" for a in (0, 0.25, 0.5, 0.75, 1)),
]


def small_sweep(n_datasets: int = 2, **options) -> pd.DataFrame:
    return audit(
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
    assert directions.to_dict() == {name: metric.higher_is_better for name, metric in METRICS.items()}
    assert list(dict.fromkeys(table["predictor"])) == PREDICTORS


def test_scores_are_those_of_analysis_5_on_the_same_cells(table):
    config, _ = SMALL.draw(3, 2)
    # All cells in one part: statistics that owe nothing to the sum of the halves.
    whole = simulate_statistics(config, GENES, simulation_seed(3, 2)).statistics[0]
    first, _ = simulate_statistics(config, GENES, simulation_seed(3, 2), parts=2).statistics
    sums = [np.stack([first.sum, first.sum_sq])]
    halves = Halvings(whole.labels, whole.genes, whole.n_cells, first.n_cells, sums, [])
    truth = Truth(whole, halves=halves, mode="paper")
    expected = comparison.summarise(comparison.paper_scores(truth, metrics=list(METRICS)))
    found = table[table["dataset"] == 2].set_index(["metric", "predictor"])
    degs = deg_scores(whole)
    assert 0 < (degs.n_degs >= 3).sum() < config.k
    assert len(expected) == 3 * len(METRICS)
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
    summary = dial_summary(table).set_index("metric")
    assert not summary.loc["pearson_delta_control", "n_duplicate_better"]
    assert summary.loc["weighted_r2_delta", "n_duplicate_better"] == 1


def test_functions_of_a_user_see_the_data_set():
    seen = []

    def metric(target, prediction):
        seen.append(target)
        return np.where(np.arange(len(target.labels)) < 3, np.nan, prediction[:, 0])

    def predictor(target):
        return np.arange(target.simulation.config.g) + np.zeros((target.simulation.config.k, 1)) + 7

    table = small_sweep(1, metrics=[Metric("own", metric, True)], predictors=[Predictor("mine", predictor)])
    (target,) = seen
    config = target.simulation.config
    # Control cells are in both halves, and count once.
    assert target.training.n_control == config.n_0
    assert (target.training.n_cells == config.n_p).all()
    np.testing.assert_array_equal(target.mean, target.training.mean)
    shape = (config.k, config.g)
    assert table[["value", "n_undefined"]].values.tolist() == [[7, 3]]
    assert target.weights.shape == target.degs.t.shape == target.simulation.affected.shape == shape
    assert target.control_mean.shape == target.perturbed_mean.shape == shape[1:]
    effects = simulate_statistics(config, GENES, simulation_seed(3, 0)).truth.effects
    np.testing.assert_array_equal(target.simulation.affected, effects.directions(shape[1]) != 0)
    np.testing.assert_array_equal(target.weights, deg_weights(deg_scores(target.training)))


def test_what_learns_from_one_half_meets_the_other():
    seen = {}

    def metric(target, prediction):
        seen[len(seen)] = target.mean
        return np.square(target.mean - prediction).mean(axis=1)

    duplicate = Predictor("mine", lambda target: target.duplicate, half=True)
    table = small_sweep(1, metrics=[Metric("own", metric, False), "mse"], predictors=[duplicate, "dial_0"])
    first, second = simulate_statistics(SMALL.draw(3, 0)[0], GENES, simulation_seed(3, 0), parts=2).statistics
    np.testing.assert_array_equal(seen[0], second.mean)
    np.testing.assert_allclose(seen[1], (first.sum + second.sum) / (first.n_cells + second.n_cells)[:, None])
    expected = np.median(np.square(first.mean - second.mean).mean(axis=1))
    assert values(table, "own", "mine") == values(table, "mse", "mine") == pytest.approx(expected)


def test_earlier_names_still_work():
    import diversity_by_design as dbd

    assert dbd.audit is simulator.sweep is audit
    assert simulator.Predictor is Predictor and simulator.dial is dial


def test_one_prediction_of_all_perturbations_is_enough():
    means = Predictor("means", lambda target: target.perturbed_mean)
    table = small_sweep(metrics="mse", predictors=["perturbed_mean", means])
    np.testing.assert_array_equal(values(table, "mse", "means"), values(table, "mse", "perturbed_mean"))


def test_undefined_everywhere_is_nan():
    nowhere = Metric("nowhere", lambda target, prediction: np.full(len(target.labels), np.nan), True)
    table = small_sweep(1, metrics=[nowhere], predictors=["dial_0"])
    assert np.isnan(table["value"].item()) and table["n_undefined"].item() == table["k"].item()


def test_result_does_not_depend_on_workers():
    # A function without a name, which plain pickling cannot send to another process.
    noise = Predictor("noise", lambda target: np.random.default_rng(target.simulation.seed).random(len(target.genes)))
    first = Metric("first", lambda target, prediction: prediction[:, 0], True)
    tables = [
        small_sweep(3, workers=workers, metrics=["wmse", "pearson_delta_degs", first], predictors=[noise, "dial_0.5"])
        for workers in (1, 2)
    ]
    pd.testing.assert_frame_equal(*tables)
    assert len(set(values(tables[0], "first", "noise"))) == 3


def test_a_mistake_in_a_function_ends_the_audit_and_is_named():
    called = []

    def wrong(target, prediction):
        called.append(target.simulation.config)
        raise ZeroDivisionError("no scale")

    with pytest.raises(
        InputError, match=naming("wrong", "data set 0", "n_0=", "ZeroDivisionError", "no scale")
    ) as caught:
        small_sweep(4, metrics=["mse", Metric("wrong", wrong, True)], predictors=["dial_0"])
    assert len(called) == 1
    assert "in wrong" in caught.value.__notes__[0]
    with pytest.raises(InputError, match=naming("lost", "data set 0", "KeyError")):
        small_sweep(predictors=[Predictor("lost", lambda target: {}["key"])])


def test_wrong_shapes_are_named():
    config, _ = SMALL.draw(3, 0)
    k, g = config.k, config.g
    with pytest.raises(InputError, match=naming("turned", (g, k), (k, g), (g,))):
        small_sweep(predictors=[Predictor("turned", lambda target: target.mean.T)])
    with pytest.raises(InputError, match=naming("every_gene", (k, g), (k,))):
        small_sweep(metrics=[Metric("every_gene", lambda target, prediction: target.mean - prediction, True)])


def test_arrays_cannot_be_changed_by_mistake():
    def careless(target, prediction):
        truth = target.mean
        truth -= target.control_mean
        return truth.sum(axis=1)

    with pytest.raises(InputError, match=naming("careless", "read-only")):
        small_sweep(metrics=[Metric("careless", careless, True)])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metrics": ["mse", "rmse"]}, ("rmse", "mse", "mae")),
        ({"predictors": ["additive"]}, ("additive", "control_mean", "dial_0.25")),
        ({"metrics": [np.mean]}, ("metric", "Metric")),
        ({"predictors": METRICS["mse"]}, ("predictor", "Predictor")),
        ({"metrics": []}, ("metrics", "mse")),
        ({"metrics": ["mse", Metric("mse", np.mean, True)]}, ("mse",)),
        ({"predictors": ["dial_0.5", dial(0.5)]}, ("dial_0.5",)),
        ({"ranges": SMALL.replace(k=(1, 10))}, ("k", 1, 2)),
        ({"ranges": SMALL.replace(g=(60, 501))}, ("g", 501, 500)),
        ({"max_entries": 100}, ("max_entries", 100)),
        ({"n_datasets": 0}, ("n_datasets", 0, 1)),
        ({"n_datasets": "2"}, ("n_datasets", "'2'", 1)),
        ({"n_datasets": 1.5}, ("n_datasets", 1.5, 1)),
        ({"max_entries": "many"}, ("max_entries", "'many'")),
        ({"parameters": None}, ("parameters", "NoneType", "GeneParameters")),
        ({"ranges": {"g": (40, 50)}}, ("ranges", "dict", "SweepRanges")),
        ({"workers": 0}, ("workers", 0)),
    ],
)
def test_bad_input(options, said):
    with pytest.raises(InputError, match=naming(*said)):
        small_sweep(**options)


def test_size_can_be_bounded():
    free = small_sweep(3, metrics="mse", predictors="dial_1")
    entries = (free["n_0"] + free["k"] * free["n_p"]) * free["g"]
    bound = int(entries.max()) - 1
    bounded = small_sweep(3, metrics="mse", predictors="dial_1", max_entries=bound)
    assert ((bounded["n_0"] + bounded["k"] * bounded["n_p"]) * bounded["g"]).max() <= bound
    assert (bounded["n_redrawn"] > 0).tolist() == (entries > bound).tolist()


def test_a_data_set_that_fails_is_reported_and_the_others_go_on(monkeypatch):
    simulated = auditing.simulate_statistics

    def fails_once(config, parameters, seed, **options):
        if seed.spawn_key == (1, 1):
            raise MemoryError("too large")
        return simulated(config, parameters, seed, **options)

    monkeypatch.setattr(auditing, "simulate_statistics", fails_once)
    with pytest.warns(UserWarning, match=naming(1, 3, "data set 1", "MemoryError", "too large")):
        table = small_sweep(3, metrics=["mse"], predictors=["dial_0", "dial_1", "perturbed_mean"])
    failed = table[table["dataset"] == 1]
    assert failed["value"].isna().all() and (failed["n_undefined"] == failed["k"]).all()
    assert failed["error"].tolist() == ["MemoryError: too large"] * 3
    assert (table["error"] == "").sum() == table["value"].notna().sum() == 6
    assert dial_summary(table)[["n", "n_falling", "n_undefined"]].values.tolist() == [[2, 2, 1]]
    monkeypatch.setattr(auditing, "simulate_statistics", lambda *_, **__: 1 / 0)
    with pytest.raises(RuntimeError, match=naming(2, "data set 0", "ZeroDivisionError")):
        small_sweep(2)


def test_a_function_that_runs_out_of_memory_is_no_mistake():
    def greedy(target):
        raise MemoryError("no room")

    with pytest.raises(RuntimeError, match=naming(2, "data set 0", "MemoryError", "no room")):
        small_sweep(2, predictors=[Predictor("greedy", greedy)])
