"""Names of losses, their weights, and that no test perturbation leaks into these."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from examples import make_expression
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import naming

from diversity_by_design import PerturbationStatistics, deg_scores, deg_weights
from diversity_by_design.errors import InputError
from diversity_by_design.models.loss_choice import LossChoice, build_loss, powered, released_weights, training_weights
from diversity_by_design.predictions import LOSSES

STATS = PerturbationStatistics.from_anndata(make_expression(seed=5, n_labels=8, effect=1.0))
TRAINING = ["P3", "P0", "P0+P1", "P1"]
TESTED = ["P2", "P4", "P5", "P6"]
N_GENES = len(STATS.genes)


def weights_of(name: str, statistics: PerturbationStatistics = STATS, labels: list = TRAINING) -> np.ndarray:
    return training_weights(LossChoice.parse(name), statistics, labels)


def with_other_test_cells(seed: int) -> PerturbationStatistics:
    """Other expression in the test perturbations, from other numbers of cells."""
    rng = np.random.default_rng(seed)
    n_cells, total, total_sq = STATS.n_cells.copy(), STATS.sum.copy(), STATS.sum_sq.copy()
    for row in STATS.labels.get_indexer(TESTED):
        cells = rng.exponential(rng.exponential(2, N_GENES), (rng.integers(2, 50), N_GENES))
        n_cells[row], total[row], total_sq[row] = len(cells), cells.sum(axis=0), (cells**2).sum(axis=0)
    return dataclasses.replace(STATS, n_cells=n_cells, sum=total, sum_sq=total_sq)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gears", ("gears", "gears", 1.0)),
        ("mse", ("mse", "mse", 1.0)),
        ("wmse", ("wmse", "wmse", 1.0)),
        ("wmse_all_cells", ("wmse_all_cells", "wmse_all_cells", 1.0)),
        ("wmse_released", ("wmse_released", "wmse_released", 1.0)),
        ("wmse^0", ("wmse^0", "wmse", 0.0)),
        ("wmse^0.50", ("wmse^0.5", "wmse", 0.5)),
        ("wmse^1.0", ("wmse", "wmse", 1.0)),
        ("wmse_all_cells^2", ("wmse_all_cells^2", "wmse_all_cells", 2.0)),
        ("wmse^1e-3", ("wmse^0.001", "wmse", 0.001)),
    ],
)
def test_names(name, expected):
    choice = LossChoice.parse(name)
    assert (choice.name, choice.base, choice.power) == expected
    assert LossChoice.parse(choice.name) == choice


@given(st.floats(0, 1e6))
@settings(deadline=None)
def test_every_power_keeps_its_value_and_a_name_of_its_own(power):
    choice = LossChoice.parse(f"wmse^{power}")
    assert choice.power == power
    assert LossChoice.parse(choice.name) == choice


@pytest.mark.parametrize("name", ["", "MSE", "wmse_", "huber", "^2", "wmse_train^2"])
def test_unknown_names_list_those_allowed(name):
    with pytest.raises(InputError, match=naming(repr(name), *LOSSES, "POWER")):
        LossChoice.parse(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wmse^", ("''",)),
        ("wmse^-1", (-1.0, 0)),
        ("wmse^inf", ("inf", 0)),
        ("wmse^nan", ("nan", 0)),
        ("wmse^two", ("'two'",)),
        ("wmse^2^3", ("'2^3'",)),
        ("mse^2", ("'mse'", "wmse^POWER")),
        ("gears^2", ("'gears'",)),
        ("wmse_released^2", ("'wmse_released'", "wmse_all_cells^POWER")),
    ],
)
def test_powers_that_are_none(name, said):
    with pytest.raises(InputError, match=naming(repr(name), *said)):
        LossChoice.parse(name)


def test_rows_are_the_training_perturbations_in_the_order_given_and_control():
    expected = deg_weights(deg_scores(STATS.select(labels=sorted(TRAINING))))
    found = weights_of("wmse")
    assert found.dtype == np.float64
    for row, label in enumerate(TRAINING):
        np.testing.assert_array_equal(found[row], expected[sorted(TRAINING).index(label)])
    np.testing.assert_array_equal(found[-1], np.full(N_GENES, 1 / N_GENES))
    assert len(found) == len(TRAINING) + 1


def test_training_weights_have_the_training_perturbations_as_the_rest():
    # By the other way there is to leave out test perturbations: a reference by name.
    of_all = deg_scores(STATS, reference=TRAINING)
    expected = deg_weights(of_all)[STATS.labels.get_indexer(TRAINING)]
    np.testing.assert_allclose(weights_of("wmse")[:-1], expected, rtol=1e-9, atol=1e-15)


def test_weights_of_all_cells():
    degs = deg_scores(STATS)
    rows = STATS.labels.get_indexer(TRAINING)
    np.testing.assert_array_equal(weights_of("wmse_all_cells")[:-1], deg_weights(degs)[rows])
    np.testing.assert_array_equal(weights_of("wmse_released")[:-1], released_weights(degs)[rows])
    np.testing.assert_array_equal(weights_of("wmse_released")[-1], np.full(N_GENES, 1 / N_GENES))
    assert not np.allclose(weights_of("wmse"), weights_of("wmse_all_cells"), rtol=0.01)


@given(st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_nothing_of_test_perturbations_leaks_into_the_weights(seed):
    other = with_other_test_cells(seed)
    for name in ("wmse", "wmse^0.5"):
        assert weights_of(name, other).tobytes() == weights_of(name).tobytes()
    for name in ("wmse_all_cells", "wmse_released"):
        assert (weights_of(name, other) != weights_of(name)).any()


def test_nor_do_weights_change_when_test_perturbations_are_not_there():
    assert weights_of("wmse", STATS.select(labels=TRAINING)).tobytes() == weights_of("wmse").tobytes()


@pytest.mark.parametrize("name", ["wmse", "wmse^2", "wmse_all_cells", "wmse_released"])
@given(order=st.permutations(range(len(TRAINING))))
@settings(max_examples=10, deadline=None)
def test_order_of_labels_changes_no_weight(name, order):
    found = weights_of(name, labels=[TRAINING[row] for row in order])
    np.testing.assert_array_equal(found, weights_of(name)[[*order, -1]])


@pytest.mark.parametrize("power", [0, 0.5, 1, 2])
def test_powers_step_by_step(power):
    weights = weights_of("wmse_all_cells")
    expected = np.array([row**power / (row**power).sum() for row in weights])
    np.testing.assert_allclose(powered(weights, power), expected, rtol=1e-12)
    np.testing.assert_allclose(weights_of(f"wmse_all_cells^{power}"), expected, rtol=1e-12)


def test_power_zero_is_equal_weights_and_high_powers_leave_the_largest():
    np.testing.assert_array_equal(weights_of("wmse^0"), np.full((len(TRAINING) + 1, N_GENES), 1 / N_GENES))
    np.testing.assert_array_equal(powered([1e-4, 2e-4, 0.0], 5000), [0.0, 1.0, 0.0])


@pytest.mark.parametrize("power", [0, 1, 2])
def test_undefined_weights_stay_undefined(power):
    found = powered([[np.nan, np.nan], [0.5, 0.5]], power)
    assert np.isnan(found[0]).all()
    np.testing.assert_array_equal(found[1], [0.5, 0.5])


def test_released_weights_step_by_step():
    degs = deg_scores(STATS)
    for t, found in zip(np.abs(degs.t), released_weights(degs), strict=True):
        scaled = (t - t.min()) / (t.max() - t.min())
        np.testing.assert_allclose(found, scaled**2 * 100 / N_GENES, rtol=1e-12)
        np.testing.assert_allclose(found / found.sum(), deg_weights(t), rtol=1e-12)


@pytest.mark.parametrize("name", ["wmse", "wmse^0", "wmse_all_cells", "wmse_released"])
def test_undefined_weights_name_their_perturbations(name):
    # Two perturbations that are the same in all genes, alone with each other.
    cells = np.repeat([[1.5, 2.5]], 6, axis=0)
    stats = PerturbationStatistics.from_matrix(cells, ["A", "A", "B", "B", "control", "control"], ["g1", "g2"])
    with pytest.raises(InputError, match=naming(2, "undefined", "B", "A", "'mse'")):
        weights_of(name, stats, ["B", "A"])


def test_bad_labels():
    with pytest.raises(InputError, match=naming("'mse'", "wmse")):
        weights_of("mse")
    with pytest.raises(InputError, match=naming("control")):
        weights_of("wmse_all_cells", labels=["P1", "control"])
    with pytest.raises(InputError, match=naming("more than once", "P1")):
        weights_of("wmse_all_cells", labels=["P1", "P1"])
    with pytest.raises(InputError, match=naming(1, "P1", 2)):
        weights_of("wmse", labels=["P1"])


@pytest.mark.parametrize("name", ["gears", "mse", "wmse", "wmse_all_cells", "wmse_released", "wmse^2"])
class TestModules:
    @pytest.fixture(autouse=True)
    def _needs_torch(self):
        pytest.importorskip("torch")

    def test_labels_are_training_perturbations_and_control(self, name):
        loss = build_loss(LossChoice.parse(name), STATS, TRAINING)
        assert loss.labels == (*TRAINING, "control")
        assert loss.rows(["control", "P0"]).tolist() == [4, 1]

    def test_labels_may_be_written_in_any_form(self, name):
        loss = build_loss(LossChoice.parse(name), STATS, ["P1+P0", "P3+ctrl", "P0", "P1"])
        expected = build_loss(LossChoice.parse(name), STATS, ["P0+P1", "P3", "P0", "P1"])
        assert loss.labels == expected.labels == ("P0+P1", "P3", "P0", "P1", "control")
        for ours, theirs in zip(loss.buffers(), expected.buffers(), strict=True):
            np.testing.assert_array_equal(ours, theirs)

    def test_nothing_of_test_perturbations_leaks_into_what_it_holds(self, name):
        held, other = (
            build_loss(LossChoice.parse(name), stats, TRAINING) for stats in (STATS, with_other_test_cells(0))
        )
        lets_in = name in ("wmse_all_cells", "wmse_released")
        for ours, theirs in zip(held.buffers(), other.buffers(), strict=True):
            assert np.array_equal(ours, theirs) != lets_in

    def test_value(self, name):
        import torch

        choice = LossChoice.parse(name)
        rng = np.random.default_rng(0)
        names = [*TRAINING, "control"] * 2
        prediction, target = rng.exponential(1, (2, len(names), N_GENES))
        weights = None if name in ("gears", "mse") else weights_of(name)
        if name == "gears":
            terms = []
            for label in dict.fromkeys(names):
                cells = [position for position, other in enumerate(names) if other == label]
                genes = np.full(N_GENES, True) if label == "control" else STATS.mean[STATS.labels.get_loc(label)] > 0
                p, y, c = prediction[cells][:, genes], target[cells][:, genes], STATS.control_mean[genes]
                terms.append(((p - y) ** 4 + 0.7 * (np.sign(y - c) - np.sign(p - c)) ** 2).mean())
            expected = np.mean(terms)
        else:
            weights = np.full((5, N_GENES), 1 / N_GENES) if weights is None else weights
            expected = (np.vstack([weights, weights]) * (prediction - target) ** 2).sum(axis=1).mean()
        loss = build_loss(choice, STATS, TRAINING, direction_lambda=0.7)
        found = loss(torch.tensor(prediction), torch.tensor(target), names).item()
        assert found == pytest.approx(expected, rel=1e-6)

    def test_needs_control(self, name):
        without = PerturbationStatistics.from_anndata(make_expression(), control=None)
        with pytest.raises(InputError, match=naming("control")):
            build_loss(LossChoice.parse(name), without, list(without.labels[:3]))

    def test_bad_labels(self, name):
        with pytest.raises(InputError, match=naming("P99")):
            build_loss(LossChoice.parse(name), STATS, ["P0", "P99"])
        with pytest.raises(InputError, match=naming("more than once", "P1")):
            build_loss(LossChoice.parse(name), STATS, ["P1", "P1"])


def test_gears_loss_leaves_out_what_a_perturbation_does_not_express():
    pytest.importorskip("torch")
    total = STATS.sum.copy()
    total[STATS.labels.get_loc("P0"), 7] = 0.0
    loss = build_loss(LossChoice.parse("gears"), dataclasses.replace(STATS, sum=total), TRAINING)
    expected = np.ones((5, N_GENES), bool)
    expected[:4] = total[STATS.labels.get_indexer(TRAINING)] > 0
    np.testing.assert_array_equal(loss.is_expressed.numpy(), expected)
    assert not expected[1, 7]


def test_names_and_weights_need_no_torch():
    code = (
        "import sys, diversity_by_design.models.loss_choice; print({'torch', 'scanpy', 'anndata'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"
