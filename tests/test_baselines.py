"""Predictors that nothing is trained for, and what makes a predictor."""

import numpy as np
import pandas as pd
import pytest
from examples import make_expression
from messages import naming

from diversity_by_design import PerturbationStatistics, Truth, baselines, score
from diversity_by_design.baselines import BASELINES, Predictor, dial, dial_alpha, top_degs_right
from diversity_by_design.errors import InputError
from diversity_by_design.truth import Target


@pytest.fixture(scope="module")
def truth() -> Truth:
    cells = make_expression(seed=3, n_labels=9, n_genes=60, effect=1.0)
    return Truth.from_anndata(cells, train=["P0", "P1", "P2", "P3"], halvings=2)


@pytest.fixture(scope="module")
def target(truth) -> Target:
    return truth.target(1)


def test_all_baselines_are_registered_and_the_uninformative_ones_marked():
    assert list(BASELINES) == ["control_mean", "perturbed_mean", "additive", "technical_duplicate"]
    marked = {name: (row.uninformative, row.half) for name, row in BASELINES.items()}
    assert marked == {
        "control_mean": (True, False),
        "perturbed_mean": (True, False),
        "additive": (False, False),
        "technical_duplicate": (False, True),
    }
    assert BASELINES["technical_duplicate"].label == "technical duplicate"


def test_means_are_the_same_for_all(truth, target):
    whole = truth.statistics
    seen = whole.select(labels=["P0", "P1", "P2", "P3"])
    for name, expected in (("control_mean", whole.control_mean), ("perturbed_mean", seen.perturbed_mean)):
        prediction = BASELINES[name].predict(target)
        assert prediction.shape == target.mean.shape
        assert (prediction == expected).all()


def test_additive_adds_what_was_measured_of_the_parts_in_training(truth, target):
    prediction = BASELINES["additive"].predict(target)
    combination = target.labels == "P0+P1"
    means = pd.DataFrame(truth.statistics.mean, truth.statistics.labels)
    expected = means.loc["P0"] + means.loc["P1"] - truth.statistics.control_mean
    np.testing.assert_allclose(prediction[combination][0], expected)
    assert np.isnan(prediction[~combination]).all()


def test_additive_of_statistics(expression):
    stats = PerturbationStatistics.from_anndata(expression)
    prediction = baselines.additive(stats)
    combination = stats.labels == "P0+P1"
    expected = stats.mean[stats.labels.get_loc("P0")] + stats.mean[stats.labels.get_loc("P1")] - stats.control_mean
    np.testing.assert_allclose(prediction[combination][0], expected)
    assert np.isnan(prediction[~combination]).all()


@pytest.mark.parametrize(("mode", "train"), [("paper", None), ("calibrated", ["P0", "P1", "P2", "P5"])])
def test_a_combination_of_three_is_the_sum_of_its_parts_and_is_scored(mode, train):
    cells = make_expression(seed=3, n_labels=9, n_genes=60, effect=1.0)
    cells.obs["condition"] = cells.obs["condition"].cat.rename_categories({"P3": "P2+P0+P1", "P4": "P0+P1+P0"})
    truth = Truth.from_anndata(cells, mode=mode, train=train)
    means = pd.DataFrame(truth.statistics.mean, truth.statistics.labels, truth.statistics.genes)
    expected = means.loc[["P0", "P1", "P2"]].sum() - 2 * truth.statistics.control_mean
    np.testing.assert_allclose(baselines.additive(truth.target(0))[truth.labels == "P0+P1+P2"], [expected])
    card = score(truth, {"mine": expected.to_frame("P1+P0+P2").T}, metrics=["mse", "wmse"])
    scores = card.table.query("perturbation == 'P0+P1+P2'").pivot_table("value", "metric", "predictor")
    assert scores.shape == (2, 5) and np.isfinite(scores).all(axis=None)
    np.testing.assert_allclose(scores["additive"], scores["mine"])
    # One part twice is that part once.
    assert truth.statistics.n_cells[truth.statistics.labels == "P0+P1"] == [
        cells.obs["condition"].isin(["P0+P1", "P0+P1+P0"]).sum()
    ]


@pytest.mark.parametrize("train", [["P0", "P2"], ["P2", "P3"]])
def test_additive_without_one_of_the_parts(expression, train):
    stats = PerturbationStatistics.from_anndata(expression)
    assert np.isnan(baselines.additive(stats.select(labels=[*train, "P0+P1"]))).all()
    assert np.isnan(BASELINES["additive"].predict(Truth(stats, train=train).target(0))).all()


def test_duplicate_is_the_mean_of_the_other_half_or_nothing(target):
    np.testing.assert_array_equal(BASELINES["technical_duplicate"].predict(target), target.duplicate)
    without = Target(target.labels, target.genes, target.mean, perturbed_mean=target.perturbed_mean)
    assert np.isnan(BASELINES["technical_duplicate"].predict(without)).all()


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_the_dial_goes_from_the_truth_to_mu_all(alpha, target):
    predictor = dial(alpha)
    assert dial_alpha(predictor.name) == alpha
    prediction = predictor.predict(target)
    if alpha in (0.0, 1.0):
        np.testing.assert_array_equal(prediction, [target.perturbed_mean] * 5 if alpha else target.mean)
    np.testing.assert_allclose(prediction, (1 - alpha) * target.mean + alpha * target.perturbed_mean)


@pytest.mark.parametrize("alpha", [-0.1, 1.5, np.nan])
def test_settings_of_the_dial_out_of_range(alpha):
    with pytest.raises(InputError, match=naming("alpha", alpha, "[0, 1]")):
        dial(alpha)


def test_alpha_of_other_names_is_unknown():
    assert np.isnan(dial_alpha("perturbed_mean"))


def test_top_degs_right(target):
    prediction = top_degs_right(3).predict(target)
    right = target.degs.top(3)
    np.testing.assert_array_equal(prediction[right], target.mean[right])
    np.testing.assert_array_equal(prediction, np.where(right, target.mean, target.perturbed_mean))


class TestPredictor:
    def test_one_prediction_of_all_perturbations_is_enough(self, target):
        values = np.arange(len(target.genes))
        prediction = Predictor("mine", lambda target: values).predict(target)
        np.testing.assert_array_equal(prediction, np.tile(values, (len(target.labels), 1)))

    def test_prediction_cannot_be_written_to(self, target):
        given = np.zeros(target.mean.shape)
        prediction = Predictor("mine", lambda target: given).predict(target)
        with pytest.raises(ValueError, match="read-only"):
            prediction[:] = 1
        given[:] = 0

    def test_a_row_of_nan_is_not_predicted(self, target):
        values = target.mean.copy()
        values[1] = np.nan
        assert np.isnan(Predictor("mine", lambda target: values).predict(target)[:, 0]).tolist() == [
            False, True, False, False, False,
        ]  # fmt: skip

    def test_nan_for_some_genes_is_refused(self, target):
        values = target.mean.copy()
        values[1, 4:6] = np.nan
        values[3, 0] = np.nan
        with pytest.raises(InputError, match=naming("mine", 2, 60, target.labels[1])):
            Predictor("mine", lambda target: values).predict(target)
        with pytest.raises(InputError, match=naming("mine", 1, 60)):
            Predictor("mine", lambda target: values[3]).predict(target)

    @pytest.mark.parametrize("shape", [(60, 5), (4, 60), (5,), (59,), (1, 5, 60), ()])
    def test_other_shapes_are_refused(self, shape, target):
        with pytest.raises(InputError, match=naming("mine", shape, (5, 60), (60,))):
            Predictor("mine", lambda target: np.zeros(shape)).predict(target)

    def test_a_fault_inside_says_which_predictor(self, target):
        with pytest.raises(KeyError) as caught:
            Predictor("broken", lambda target: {}["lost"]).predict(target)
        assert "broken" in caught.value.__notes__[0]

    def test_names_what_is_no_function(self):
        with pytest.raises(InputError, match=naming("p", "None")):
            Predictor("p", None)
