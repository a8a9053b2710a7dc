"""Metrics: axioms that all of the registry obey, agreement with plain implementations, and the paper's appendix B."""

import numpy as np
import pandas as pd
import pytest
from examples import make_expression
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from messages import naming
from scipy import stats as scipy_stats

from diversity_by_design import PerturbationStatistics, Truth, deg_scores, deg_weights, metrics
from diversity_by_design.errors import InputError
from diversity_by_design.metrics import METRICS, Metric
from diversity_by_design.scoring import score_target
from diversity_by_design.truth import Target

N, G = 5, 12


@pytest.fixture(scope="module")
def target() -> Target:
    """Halves of cells, of which every perturbation has DEGs and weights."""
    return Truth.from_anndata(make_expression(seed=3, n_labels=9, n_genes=60, effect=2.0), halvings=1).target(0)


@pytest.fixture(scope="module")
def prediction(target: Target) -> np.ndarray:
    return target.duplicate


def scored(name: str, target: Target, prediction: np.ndarray) -> np.ndarray:
    """Scores of a metric as they are computed for a prediction of some perturbations."""
    [values] = score_target(target, np.broadcast_to(prediction, target.mean.shape), [METRICS[name]])
    return values


def changed(target: Target, rows=slice(None), genes=slice(None), **others) -> Target:
    """The same target with its perturbations or genes in another order, or with other arrays."""
    part = {
        "mean": target.mean[rows][:, genes],
        "perturbed_mean": target.perturbed_mean[genes],
        "control_mean": target.control_mean[genes],
        "weights": target.weights[rows][:, genes],
        "is_deg": target.is_deg[rows][:, genes],
        "duplicate": target.duplicate[rows][:, genes],
    }
    return Target(target.labels[rows], target.genes[genes], **part | others)


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.needs == "means"])
class TestAxioms:
    def test_one_score_per_perturbation(self, name, target, prediction):
        values = METRICS[name].score(target, prediction)
        assert values.shape == (len(target.labels),)
        assert np.isfinite(values).sum() >= 3

    def test_a_perfect_prediction_has_the_perfect_score(self, name, target):
        values = scored(name, target, target.mean)
        assert not np.isnan(METRICS[name].perfect)
        np.testing.assert_allclose(values[~np.isnan(values)], METRICS[name].perfect, atol=1e-12)

    def test_no_prediction_scores_better(self, name, target, prediction):
        metric, rng = METRICS[name], np.random.default_rng(0)
        for other in (
            prediction,
            target.perturbed_mean,
            target.control_mean,
            target.perturbed_mean + 3 * (target.mean - target.perturbed_mean),
            np.zeros(len(target.genes)),
            rng.uniform(0, 5, target.mean.shape),
            rng.permuted(target.mean, axis=1),
        ):
            values = scored(name, target, other)
            assert np.nanmax(metric.sign * (values - metric.perfect), initial=-np.inf) <= 1e-12

    def test_an_imperfect_prediction_scores_worse(self, name, target, prediction):
        gap = METRICS[name].sign * (METRICS[name].perfect - scored(name, target, prediction))
        assert np.nanmin(gap) > 1e-6

    def test_order_of_genes_does_not_matter(self, name, target, prediction):
        order = np.random.default_rng(1).permutation(len(target.genes))
        found = scored(name, changed(target, genes=order), prediction[:, order])
        np.testing.assert_allclose(found, scored(name, target, prediction), rtol=1e-11)

    def test_order_of_perturbations_does_not_matter(self, name, target, prediction):
        order = np.random.default_rng(1).permutation(len(target.labels))
        found = scored(name, changed(target, rows=order), prediction[order])
        np.testing.assert_allclose(found, scored(name, target, prediction)[order], rtol=1e-12)

    def test_rows_do_not_influence_each_other_where_a_metric_says_so(self, name, target, prediction):
        if METRICS[name].by_row:
            found = scored(name, target.rows(np.array([4, 1])), prediction[[4, 1]])
            np.testing.assert_allclose(found, scored(name, target, prediction)[[4, 1]], rtol=1e-12)

    def test_a_row_of_nan_stays_nan_and_alone(self, name, target, prediction):
        lacking = prediction.copy()
        lacking[2] = np.nan
        values = METRICS[name].score(target, lacking)
        assert np.isnan(values[2])
        assert np.isnan(scored(name, target, lacking)[2])
        if METRICS[name].by_row:
            np.testing.assert_array_equal(np.delete(values, 2), np.delete(scored(name, target, prediction), 2))

    def test_nan_never_becomes_a_number(self, name, target, prediction):
        # A gene that counts whatever the mask.
        gene = int(np.flatnonzero(target.is_deg[2])[0])
        for array in ("prediction", "mean", "perturbed_mean", "control_mean"):
            values = prediction if array == "prediction" else getattr(target, array)
            lacking = values.copy()
            lacking[..., gene] = np.nan
            before, after = (
                (METRICS[name].score(target, values), METRICS[name].score(target, lacking))
                if array == "prediction"
                else (scored(name, target, prediction), scored(name, changed(target, **{array: lacking}), prediction))
            )
            # What does not look at the array stays the same.
            assert np.isnan(after[2]) or (array.endswith("_mean") and np.array_equal(after, before, equal_nan=True))

    def test_without_weights_or_degs_a_score_is_undefined_or_the_same(self, name, target, prediction):
        before = scored(name, target, prediction)
        for array, nothing in (("weights", np.full(target.mean.shape, np.nan)), ("is_deg", target.is_deg & False)):
            after = scored(name, changed(target, **{array: nothing}), prediction)
            assert np.isnan(after).all() or np.array_equal(after, before, equal_nan=True)

    def test_the_mean_of_all_perturbations_is_never_informative(self, name, target):
        values = scored(name, target, target.perturbed_mean)
        defined = values[~np.isnan(values)]
        assert (METRICS[name].sign * (METRICS[name].perfect - defined) > 1e-6).all()
        if METRICS[name].perfect == 0:
            assert (defined > 0).all() and len(defined)
        elif "r2" in name:
            assert (values <= 0).all()
        elif "control" not in name:
            assert np.isnan(values).all()

    def test_one_prediction_for_all(self, name, target, prediction):
        repeated = np.tile(prediction[0], (len(target.labels), 1))
        np.testing.assert_array_equal(scored(name, target, prediction[0]), scored(name, target, repeated))

    def test_precision_of_the_prediction_hardly_matters(self, name, target, prediction):
        found = scored(name, target, prediction.astype(np.float32).astype(float))
        np.testing.assert_allclose(found, scored(name, target, prediction), rtol=1e-5, atol=1e-6)

    def test_arrays_are_left_as_they_are(self, name, target, prediction):
        given = prediction.copy()
        given.flags.writeable = False
        METRICS[name].score(target, given)


# Functions of arrays.


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    truth, prediction = rng.uniform(0, 3, (2, N, G))
    weights = rng.random((N, G)) ** 2
    return {
        "truth": truth,
        "prediction": prediction,
        "reference": truth.mean(axis=0),
        "weights": weights / weights.sum(axis=1, keepdims=True),
    }


FUNCTIONS = {
    "mse": lambda a: metrics.mse(a["truth"], a["prediction"]),
    "mae": lambda a: metrics.mae(a["truth"], a["prediction"]),
    "wmse": lambda a: metrics.wmse(a["truth"], a["prediction"], a["weights"]),
    "pearson_delta": lambda a: metrics.pearson_delta(a["truth"], a["prediction"], a["reference"]),
    "r2_delta": lambda a: metrics.r2_delta(a["truth"], a["prediction"], a["reference"]),
    "weighted_r2_delta": lambda a: metrics.r2_delta(a["truth"], a["prediction"], a["reference"], a["weights"]),
}
every_function = pytest.mark.parametrize("name", FUNCTIONS)


@every_function
class TestArguments:
    def test_a_pair_of_vectors_gives_the_row_of_the_matrix(self, name, arrays):
        row = {key: value[3] if value.ndim == 2 else value for key, value in arrays.items()}
        assert np.ndim(FUNCTIONS[name](row)) == 0
        np.testing.assert_allclose(FUNCTIONS[name](row), FUNCTIONS[name](arrays)[3], rtol=1e-12)

    def test_function_and_registered_metric_agree(self, name, arrays):
        target = Target(
            pd.RangeIndex(N),
            pd.RangeIndex(G),
            arrays["truth"],
            perturbed_mean=arrays["reference"],
            weights=arrays["weights"],
        )
        np.testing.assert_array_equal(METRICS[name].score(target, arrays["prediction"]), FUNCTIONS[name](arrays))

    def test_shapes_that_do_not_fit(self, name, arrays):
        with pytest.raises(InputError, match=naming("prediction", (5, 11), (5, 12))):
            FUNCTIONS[name](arrays | {"prediction": arrays["prediction"][:, 1:]})

    def test_tables_are_aligned_by_name(self, name, arrays):
        labels, genes = [*"ABC", "D+E", "F"], [f"g{i}" for i in range(G)]
        tables = {
            key: pd.DataFrame(value, labels, genes) if value.ndim == 2 else pd.Series(value, genes)
            for key, value in arrays.items()
        }
        rng = np.random.default_rng(1)
        shuffled = {
            key: table.iloc[rng.permutation(len(table))].rename(index={"D+E": "E+D"}) for key, table in tables.items()
        }
        shuffled = {
            key: table[rng.permutation(genes)] if isinstance(table, pd.DataFrame) else table
            for key, table in shuffled.items()
        }
        shuffled["truth"] = tables["truth"]
        np.testing.assert_array_equal(FUNCTIONS[name](shuffled), FUNCTIONS[name](arrays))

    def test_a_table_beside_a_bare_array_is_refused(self, name, arrays):
        table = pd.DataFrame(arrays["prediction"], list("ABCDE"))
        with pytest.raises(InputError, match=naming("prediction", "truth")):
            FUNCTIONS[name](arrays | {"prediction": table})


@pytest.mark.parametrize("argument", ["truth", "prediction", "reference", "weights"])
def test_every_argument_is_checked_for_other_labels_and_genes(argument, arrays):
    genes = [f"g{i}" for i in range(G)]
    tables = {
        key: pd.DataFrame(value, list("ABCDE"), genes) if value.ndim == 2 else pd.Series(value, genes)
        for key, value in arrays.items()
    }
    own = tables[argument]
    wrong = [own.rename(columns={"g3": "other"}) if own.ndim == 2 else own.rename(index={"g3": "other"})]
    if own.ndim == 2:
        wrong.append(own.rename(index={"C": "other"}))
    for table in wrong:
        with pytest.raises(InputError, match=naming("other", "g3" if "C" in table.index or own.ndim == 1 else "C", 1)):
            FUNCTIONS["weighted_r2_delta"](tables | {argument: table})


def test_agree_with_plain_implementations(arrays):
    truth, prediction, reference, weights = arrays.values()
    for i in range(N):
        x, y = truth[i] - reference, prediction[i] - reference
        w = weights[i]
        assert metrics.mse(truth, prediction)[i] == pytest.approx(np.mean((x - y) ** 2))
        assert metrics.mae(truth, prediction)[i] == pytest.approx(np.mean(np.abs(x - y)))
        assert metrics.wmse(truth, prediction, weights)[i] == pytest.approx(sum(w * (x - y) ** 2))
        assert metrics.pearson_delta(truth, prediction, reference)[i] == pytest.approx(scipy_stats.pearsonr(x, y)[0])
        centre = sum(w * x)
        expected = 1 - sum(w * (x - y) ** 2) / sum(w * (x - centre) ** 2)
        assert metrics.r2_delta(truth, prediction, reference, weights)[i] == pytest.approx(expected)
        expected = 1 - sum((x - y) ** 2) / sum((x - x.mean()) ** 2)
        assert metrics.r2_delta(truth, prediction, reference)[i] == pytest.approx(expected)


def test_agree_with_scikit_learn(arrays):
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    truth, prediction, reference, weights = arrays.values()
    for i in range(N):
        x, y, w = truth[i] - reference, prediction[i] - reference, weights[i]
        assert metrics.mse(truth, prediction)[i] == pytest.approx(sklearn_metrics.mean_squared_error(x, y))
        assert metrics.mae(truth, prediction)[i] == pytest.approx(sklearn_metrics.mean_absolute_error(x, y))
        expected = sklearn_metrics.mean_squared_error(x, y, sample_weight=w)
        assert metrics.wmse(truth, prediction, weights)[i] == pytest.approx(expected)
        assert metrics.r2_delta(truth, prediction, reference)[i] == pytest.approx(sklearn_metrics.r2_score(x, y))
        expected = sklearn_metrics.r2_score(x, y, sample_weight=w)
        assert metrics.r2_delta(truth, prediction, reference, weights)[i] == pytest.approx(expected)


def test_mask_means_only_these_genes(arrays):
    truth, prediction, reference, _ = arrays.values()
    mask = np.random.default_rng(2).random((N, G)) < 0.5
    mask[0] = False
    mask[1] = np.arange(G) == 4
    pearson = metrics.pearson_delta(truth, prediction, reference, mask)
    mse, mae = metrics.mse(truth, prediction, mask), metrics.mae(truth, prediction, mask)
    assert np.isnan(pearson[:2]).all()
    assert np.isnan(mse[0])
    assert np.isnan(mae[0])
    for i in range(2, N):
        genes = mask[i]
        chosen = truth[i, genes], prediction[i, genes], reference[genes]
        assert pearson[i] == pytest.approx(metrics.pearson_delta(*chosen))
        assert mse[i] == pytest.approx(metrics.mse(*chosen[:2]))
        assert mae[i] == pytest.approx(metrics.mae(*chosen[:2]))


def test_pearson_over_chosen_genes_takes_three(arrays):
    truth, prediction, reference, _ = arrays.values()
    mask = np.arange(G) < np.arange(1, N + 1)[:, None]
    pearson = metrics.pearson_delta(truth, prediction, reference, mask)
    assert np.isnan(pearson).tolist() == [True, True, False, False, False]
    # Without a choice two genes are all that there are.
    assert abs(metrics.pearson_delta(truth[:, :2], prediction[:, :2], reference[:2])) == pytest.approx(np.ones(N))
    assert np.isnan(metrics.pearson_delta(truth[:, :1], prediction[:, :1], reference[:1])).all()


def test_uniform_weights_give_the_unweighted_metrics(arrays):
    truth, prediction, reference, _ = arrays.values()
    uniform = np.full(G, 1 / G)
    np.testing.assert_allclose(metrics.wmse(truth, prediction, uniform), metrics.mse(truth, prediction))
    np.testing.assert_allclose(
        metrics.r2_delta(truth, prediction, reference, uniform), metrics.r2_delta(truth, prediction, reference)
    )


@given(data=st.data(), shape=st.tuples(st.integers(1, 6), st.integers(2, 30)))
def test_perturbed_mean_never_scores_above_zero(data, shape):
    """Appendix B, for any means, any reference that is also the prediction, and any weights."""
    values = st.floats(0, 9, width=32)
    truth = data.draw(hnp.arrays(float, shape, elements=values))
    centre = data.draw(hnp.arrays(float, shape[1:], elements=values))
    raw = data.draw(hnp.arrays(float, shape, elements=st.floats(0, 1, width=16)))
    raw[:, 0] += 1.0
    score = metrics.r2_delta(truth, centre, centre, raw / raw.sum(axis=1, keepdims=True))
    assert (np.isnan(score) | (score <= 1e-9)).all()


@given(seed=st.integers(0, 50))
def test_perturbed_mean_never_scores_above_zero_with_deg_weights(seed):
    stats = PerturbationStatistics.from_anndata(make_expression(seed))
    centre = stats.perturbed_mean
    score = metrics.r2_delta(stats.mean, centre, centre, deg_weights(deg_scores(stats)))
    assert (score <= 1e-12).all()


def test_perturbed_mean_on_a_screen(screen_expression):
    stats = PerturbationStatistics.from_anndata(screen_expression)
    centre = stats.perturbed_mean
    score = metrics.r2_delta(stats.mean, centre, centre, deg_weights(deg_scores(stats)))
    assert len(score) == len(stats.labels)
    assert (score <= 1e-12).all()
    assert score.min() < -1e-3


def test_change_made_of_rounding_only_is_none(arrays):
    truth, _, reference, _ = arrays.values()
    summed_otherwise = (reference * 3 + 0.1 - 0.1) / 3
    assert not np.array_equal(summed_otherwise, reference)
    assert np.isnan(metrics.pearson_delta(truth, summed_otherwise, reference)).all()
    for rounded in (reference.astype(np.float32), reference.astype(np.float32).astype(float)):
        assert np.isnan(metrics.pearson_delta(truth, rounded, reference)).all()
    assert np.isnan(metrics.r2_delta(np.tile(summed_otherwise, (N, 1)), truth, reference)).all()


def test_rounding_of_a_row_is_its_own(arrays):
    """A row of float64 beside rows that were rounded to float32 leaves these as they are."""
    truth, _, reference, _ = arrays.values()
    rounded = np.tile(reference.astype(np.float32).astype(float), (N, 1))
    rounded[1] = truth[1]
    assert np.isnan(metrics.pearson_delta(truth, rounded, reference)).tolist() == [row != 1 for row in range(N)]
    assert np.isnan(metrics.r2_delta(rounded, truth, reference)).tolist() == [row != 1 for row in range(N)]


def test_leave_one_out_centre_is_not_a_reference_for_the_mean(arrays):
    """With a reference that leaves the perturbation out, the mean of all is proportional to the truth: score 1."""
    truth, *_ = arrays.values()
    overall = truth.mean(axis=0)
    left_out = (truth.sum(axis=0) - truth) / (N - 1)
    np.testing.assert_allclose(metrics.pearson_delta(truth, overall, left_out), 1)
    assert np.isnan(metrics.pearson_delta(truth, overall, overall)).all()


class TestBadInput:
    def test_all_zero_weights_are_not_uniform_weights(self, arrays):
        arrays["weights"][1] = 0
        for name in ("wmse", "weighted_r2_delta"):
            with pytest.raises(InputError, match=naming("row 1", 0)):
                FUNCTIONS[name](arrays)

    def test_weights_that_do_not_sum_to_one(self, arrays):
        with pytest.raises(InputError, match=naming("row 0", 100, 5)):
            FUNCTIONS["wmse"](arrays | {"weights": arrays["weights"] * 100})

    def test_negative_weights(self, arrays):
        arrays["weights"][0, 0] = -0.25
        with pytest.raises(InputError, match=naming("weights", -0.25)):
            FUNCTIONS["wmse"](arrays)

    def test_undefined_weights_give_an_undefined_score(self, arrays):
        arrays["weights"][1] = np.nan
        for name in ("wmse", "weighted_r2_delta"):
            found = FUNCTIONS[name](arrays)
            assert np.isnan(found[1])
            assert np.isfinite(np.delete(found, 1)).all()

    def test_mask_must_be_boolean(self, arrays):
        with pytest.raises(InputError, match=naming("mask", "float64")):
            metrics.mse(arrays["truth"], arrays["prediction"], mask=arrays["weights"])

    def test_no_genes(self):
        with pytest.raises(InputError, match=naming("truth", (3, 0))):
            metrics.mse(np.zeros((3, 0)), np.zeros((3, 0)))


class TestMetric:
    def test_names_what_is_no_function(self):
        with pytest.raises(InputError, match=naming("m", 3)):
            Metric("m", 3, True)

    def test_label_is_the_name_where_none_is_given(self):
        metric = Metric("largest", np.max, higher_is_better=False)
        assert (metric.label, metric.sign, metric.by_row) == ("largest", -1, False)
        assert np.isnan(metric.perfect)

    def test_shape_of_the_scores_is_checked(self, target, prediction):
        n, g = target.mean.shape
        metric = Metric("every_gene", lambda target, prediction: target.mean - prediction, True)
        with pytest.raises(InputError, match=naming("every_gene", (n, g), (n,))):
            metric.score(target, prediction)

    def test_direction_is_true_or_false(self):
        with pytest.raises(InputError, match=naming("m", "'lower'", "True", "False")):
            Metric("m", np.max, "lower")

    @pytest.mark.parametrize(
        ("result", "said"),
        [
            (lambda target: pd.Series(target.mean[:, 0], target.labels)[::-1], "target.labels"),
            (lambda target: target.mean[:, 0] * 1j, "complex128"),
            (lambda target: ["good"] * len(target.labels), "U4"),
            (lambda target: None, "object"),
        ],
    )
    def test_results_that_are_no_scores(self, result, said, target, prediction):
        with pytest.raises(InputError, match=naming("m", said)):
            Metric("m", lambda target, prediction: result(target), True).score(target, prediction)

    def test_a_series_or_tensor_of_scores(self, target, prediction):
        torch = pytest.importorskip("torch")
        expected = target.mean[:, 0]
        for form in (lambda: pd.Series(expected, target.labels), lambda: torch.tensor(expected, requires_grad=True)):
            found = Metric("m", lambda target, prediction, form=form: form(), True).score(target, prediction)
            np.testing.assert_array_equal(found, expected)

    def test_a_fault_inside_says_which_metric(self, target, prediction):
        with pytest.raises(ZeroDivisionError) as caught:
            Metric("broken", lambda target, prediction: 1 / 0, True).score(target, prediction)
        assert "broken" in caught.value.__notes__[0]

    def test_arrays_of_a_target_cannot_be_changed(self, target, prediction):
        def careless(target, prediction):
            target.mean[:] = 0

        with pytest.raises(ValueError, match="read-only"):
            Metric("careless", careless, True).score(target, prediction)
