"""Metrics: axioms that all of them obey, agreement with plain implementations, and the paper's appendix B."""

import numpy as np
import pytest
from examples import make_expression
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats as scipy_stats

from diversity_by_design import PerturbationStatistics, deg_scores, deg_weights, metrics
from diversity_by_design.errors import InputError

N, G = 5, 12


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


# Each metric as a function of the arrays above, and its value for a perfect prediction.
METRICS = {
    "mse": (lambda a: metrics.mse(a["truth"], a["prediction"]), 0),
    "mae": (lambda a: metrics.mae(a["truth"], a["prediction"]), 0),
    "wmse": (lambda a: metrics.wmse(a["truth"], a["prediction"], a["weights"]), 0),
    "pearson_delta": (lambda a: metrics.pearson_delta(a["truth"], a["prediction"], a["reference"]), 1),
    "r2_delta": (lambda a: metrics.r2_delta(a["truth"], a["prediction"], a["reference"]), 1),
    "weighted_r2_delta": (
        lambda a: metrics.r2_delta(a["truth"], a["prediction"], a["reference"], a["weights"]),
        1,
    ),
}
every_metric = pytest.mark.parametrize("name", METRICS)


@every_metric
class TestAxioms:
    def test_one_value_per_perturbation(self, name, arrays):
        assert METRICS[name][0](arrays).shape == (N,)

    def test_a_pair_of_vectors_gives_the_row_of_the_matrix(self, name, arrays):
        metric, _ = METRICS[name]
        row = {key: value[3] if value.ndim == 2 else value for key, value in arrays.items()}
        assert np.ndim(metric(row)) == 0
        np.testing.assert_allclose(metric(row), metric(arrays)[3], rtol=1e-12)

    def test_perfect_prediction(self, name, arrays):
        metric, best = METRICS[name]
        np.testing.assert_allclose(metric(arrays | {"prediction": arrays["truth"]}), best, atol=1e-12)

    def test_imperfect_prediction_is_worse(self, name, arrays):
        metric, best = METRICS[name]
        assert (np.abs(metric(arrays) - best) > 1e-3).all()

    def test_gene_order_does_not_matter(self, name, arrays):
        metric, _ = METRICS[name]
        order = np.random.default_rng(1).permutation(G)
        shuffled = {key: value[..., order] for key, value in arrays.items()}
        np.testing.assert_allclose(metric(shuffled), metric(arrays), rtol=1e-12)

    def test_perturbations_do_not_influence_each_other(self, name, arrays):
        metric, _ = METRICS[name]
        part = {key: value[[4, 1]] if value.ndim == 2 else value for key, value in arrays.items()}
        np.testing.assert_allclose(metric(part), metric(arrays)[[4, 1]], rtol=1e-12)

    def test_one_prediction_for_all(self, name, arrays):
        metric, _ = METRICS[name]
        constant = arrays["prediction"][0]
        repeated = np.tile(constant, (N, 1))
        np.testing.assert_array_equal(
            metric(arrays | {"prediction": constant}), metric(arrays | {"prediction": repeated})
        )

    def test_nan_stays_in_its_perturbation(self, name, arrays):
        metric, _ = METRICS[name]
        prediction = arrays["prediction"].copy()
        prediction[2, 3] = np.nan
        found = metric(arrays | {"prediction": prediction})
        assert np.isnan(found[2])
        np.testing.assert_array_equal(np.delete(found, 2), np.delete(metric(arrays), 2))

    def test_shapes_that_do_not_fit(self, name, arrays):
        metric, _ = METRICS[name]
        with pytest.raises(InputError, match=r"prediction has shape \(5, 11\), but truth has shape \(5, 12\)"):
            metric(arrays | {"prediction": arrays["prediction"][:, 1:]})


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


def test_perturbed_mean_on_real_data(real_expression):
    stats = PerturbationStatistics.from_anndata(real_expression)
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
    assert np.isnan(metrics.pearson_delta(truth, reference.astype(np.float32), reference)).all()
    assert np.isnan(metrics.r2_delta(np.tile(summed_otherwise, (N, 1)), truth, reference)).all()


def test_leave_one_out_centre_is_not_a_reference_for_the_mean(arrays):
    """With a reference that leaves the perturbation out, the mean of all is proportional to the truth: score 1."""
    truth, *_ = arrays.values()
    overall = truth.mean(axis=0)
    left_out = (truth.sum(axis=0) - truth) / (N - 1)
    np.testing.assert_allclose(metrics.pearson_delta(truth, overall, left_out), 1)
    assert np.isnan(metrics.pearson_delta(truth, overall, overall)).all()


def test_tables_are_not_compared_by_position_in_another_order(arrays):
    import pandas as pd

    truth = pd.DataFrame(arrays["truth"], index=list("ABCDE"))
    np.testing.assert_array_equal(metrics.mse(truth, truth + 1), np.ones(N))
    with pytest.raises(InputError, match="index of prediction and truth differ or are in another order"):
        metrics.mse(truth, truth[::-1])
    with pytest.raises(InputError, match="columns of prediction and truth differ"):
        metrics.mse(truth, truth[truth.columns[::-1]])


class TestBadWeights:
    def test_all_zero_weights_are_not_uniform_weights(self, arrays):
        arrays["weights"][1] = 0
        for name in ("wmse", "weighted_r2_delta"):
            with pytest.raises(InputError, match="row 1 sums to 0"):
                METRICS[name][0](arrays)

    def test_not_normalised(self, arrays):
        with pytest.raises(InputError, match=r"row 0 sums to 100 \(5 such row"):
            METRICS["wmse"][0](arrays | {"weights": arrays["weights"] * 100})

    def test_negative(self, arrays):
        arrays["weights"][0, 0] -= 1
        with pytest.raises(InputError, match="weights must not be negative"):
            METRICS["wmse"][0](arrays)

    def test_undefined_weights_give_an_undefined_score(self, arrays):
        arrays["weights"][1] = np.nan
        for name in ("wmse", "weighted_r2_delta"):
            found = METRICS[name][0](arrays)
            assert np.isnan(found[1])
            assert np.isfinite(np.delete(found, 1)).all()

    def test_mask_must_be_boolean(self, arrays):
        with pytest.raises(InputError, match="mask must be boolean"):
            metrics.mse(arrays["truth"], arrays["prediction"], mask=arrays["weights"])
