"""Losses as torch modules: against plain loops, in every type of number, compiled, on a GPU; bad input."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import naming

from diversity_by_design import metrics
from diversity_by_design.degs import DegScores
from diversity_by_design.errors import InputError

torch = pytest.importorskip("torch")

from diversity_by_design.models.losses import GEARSLoss, WMSELoss  # noqa: E402 - needs torch

LABELS = ["B", "A+B", "control", "A"]
N_GENES = 7
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def make_weights(rng: np.random.Generator) -> np.ndarray:
    return rng.dirichlet(np.full(N_GENES, 0.3), len(LABELS))


def make_losses(seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    is_expressed = rng.random((len(LABELS), N_GENES)) < 0.6
    is_expressed[:, 3] = True
    is_expressed[LABELS.index("control")] = True
    return {
        "wmse": WMSELoss(make_weights(rng), LABELS),
        "mse": WMSELoss.mse(N_GENES, LABELS),
        "gears": GEARSLoss(is_expressed, rng.random(N_GENES), LABELS),
    }


KINDS = list(make_losses())


def make_batch(seed: int = 0, n_cells: int = 11, dtype: torch.dtype = torch.float32) -> tuple:
    rng = np.random.default_rng(seed)
    prediction, target = torch.tensor(rng.exponential(1, (2, n_cells, N_GENES)), dtype=dtype)
    return prediction, target, torch.tensor(rng.integers(0, len(LABELS), n_cells))


def error_cell_by_cell(weights: np.ndarray, prediction, target, rows) -> np.ndarray:
    error = (prediction.double().numpy() - target.double().numpy()) ** 2
    return np.array([weights[row] @ cell for row, cell in zip(rows.tolist(), error, strict=True)])


def gears_loss_by_perturbation(loss: GEARSLoss, prediction, target, rows) -> float:
    control = loss.control_mean.double().numpy()
    prediction, target, rows = prediction.double().numpy(), target.double().numpy(), rows.numpy()
    terms = []
    for row in np.unique(rows):
        genes = loss.is_expressed[row].numpy()
        p, y, c = prediction[rows == row][:, genes], target[rows == row][:, genes], control[genes]
        terms.append(((p - y) ** 4).mean() + loss.direction_lambda * ((np.sign(y - c) - np.sign(p - c)) ** 2).mean())
    return np.mean(terms)


@given(st.integers(0, 2**32), st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_wmse_is_equation_8_averaged_over_cells(seed, n_cells):
    weights = make_weights(np.random.default_rng(seed))
    prediction, target, rows = make_batch(seed, n_cells)
    loss = WMSELoss(weights, LABELS)
    expected = error_cell_by_cell(weights, prediction, target, rows)
    np.testing.assert_allclose(loss(prediction, target, rows, reduction="none").numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(loss(prediction, target, rows).item(), expected.mean(), rtol=1e-5)
    of_metric = metrics.wmse(target.numpy(), prediction.numpy(), weights[rows])
    np.testing.assert_allclose(expected, of_metric, rtol=1e-6)


@given(st.integers(0, 2**32), st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_gears_loss_perturbation_by_perturbation(seed, n_cells):
    loss = make_losses(seed)["gears"]
    batch = make_batch(seed, n_cells)
    assert loss(*batch).item() == pytest.approx(gears_loss_by_perturbation(loss, *batch), rel=1e-5)


@pytest.mark.parametrize("n_genes", [1, 7, 500])
def test_equal_weights_are_mse(n_genes):
    torch.manual_seed(n_genes)
    prediction, target = torch.randn(2, 13, n_genes)
    expected = torch.nn.functional.mse_loss(prediction, target)
    loss = WMSELoss.mse(n_genes)
    torch.testing.assert_close(loss(prediction, target), expected)
    torch.testing.assert_close(loss(prediction, target, ["whatever"] * 13), expected)
    per_cell = torch.nn.functional.mse_loss(prediction, target, reduction="none").mean(dim=1)
    torch.testing.assert_close(loss(prediction, target, reduction="none"), per_cell)
    of_table = WMSELoss(np.full((3, n_genes), 1 / n_genes))
    torch.testing.assert_close(of_table(prediction, target, torch.arange(13) % 3), expected)
    assert loss.weights.numel() == n_genes


def test_gradient_of_wmse():
    weights = make_weights(np.random.default_rng(0))
    prediction, target, rows = make_batch()
    prediction.requires_grad_()
    WMSELoss(weights)(prediction, target, rows).backward()
    expected = 2 * weights[rows] * (prediction - target).detach().numpy() / len(rows)
    np.testing.assert_allclose(prediction.grad.numpy(), expected, rtol=1e-5)


def test_gradient_of_gears_loss_is_exact_and_nothing_where_a_gene_is_not_expressed():
    loss = make_losses()["gears"]
    prediction, target, rows = make_batch(dtype=torch.float64)
    prediction.requires_grad_()
    # By finite differences: the penalty is constant but for jumps, which such small steps do not meet.
    assert torch.autograd.gradcheck(lambda values: loss(values, target, rows), prediction)
    loss(prediction, target, rows).backward()
    assert (prediction.grad[~loss.is_expressed[rows]] == 0).all()
    assert (prediction.grad[loss.is_expressed[rows]] != 0).all()
    # Not even where such a gene's values are no numbers.
    spoilt = torch.where(loss.is_expressed[rows], target, torch.nan)
    assert loss(prediction, spoilt, rows) == loss(prediction, target, rows)


def test_direction_lambda_and_ties_with_control():
    loss = GEARSLoss([[True, True]], [1.0, 0.0], direction_lambda=0.5)
    target = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    prediction = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # A value that is control's has the sign 0, which is one off up and down.
    expected = torch.tensor([0.0, (2**4 + 0.5 * 4 + 1 + 0.5 * 1) / 2])
    torch.testing.assert_close(loss(prediction, target, torch.tensor([0, 0]), reduction="none"), expected)
    without = GEARSLoss([[True, True]], [1.0, 0.0], direction_lambda=0)
    assert without(prediction, target, torch.tensor([0, 0])).item() == pytest.approx((2**4 + 1) / 4)


@pytest.mark.parametrize("kind", KINDS)
def test_contributions_of_cells_average_to_the_loss(kind):
    loss, batch = make_losses()[kind], make_batch()
    per_cell = loss(*batch, reduction="none")
    assert per_cell.shape == (11,)
    torch.testing.assert_close(per_cell.mean(), loss(*batch))


@pytest.mark.parametrize("kind", KINDS)
def test_names_rows_and_order_of_cells(kind):
    loss = make_losses()[kind]
    prediction, target, rows = make_batch()
    names = [LABELS[row] for row in rows]
    assert loss.rows(names).tolist() == rows.tolist()
    assert loss.rows(names).dtype == torch.long
    assert loss.rows([]).shape == (0,)
    expected = loss(prediction, target, rows)
    assert loss(prediction, target, names) == expected
    assert loss(prediction, target, np.array(names)) == expected
    assert loss(prediction, target, rows.int()) == expected
    torch.testing.assert_close(loss(prediction.flip(0), target.flip(0), rows.flip(0)), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(kind, dtype):
    loss = make_losses()[kind]
    prediction, target, rows = make_batch(dtype=dtype)
    prediction.requires_grad_()
    found = loss(prediction, target, rows)
    assert found.dtype == torch.float32
    assert found == loss(prediction.float(), target.float(), rows)
    assert loss(prediction, target.float(), rows) == found
    found.backward()
    assert prediction.grad.dtype == dtype
    assert loss(prediction.double(), target.double(), rows).dtype == torch.float64


def test_many_small_errors_in_bfloat16_do_not_vanish():
    n_genes = 8192
    prediction = torch.full((2, n_genes), 1.0, dtype=torch.bfloat16)
    found = WMSELoss.mse(n_genes)(prediction, torch.full((2, n_genes), 1.5, dtype=torch.bfloat16))
    assert found.item() == pytest.approx(0.25, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_compiles_without_a_break(kind):
    torch.compiler.reset()
    loss = make_losses()[kind]
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for dtype, n_cells in ((torch.float32, 11), (torch.bfloat16, 5)):
        prediction, target, rows = make_batch(n_cells=n_cells, dtype=dtype)
        gradients = []
        for function in (loss, compiled):
            leaf = prediction.clone().requires_grad_()
            value = function(leaf, target, rows)
            value.backward()
            gradients.append((value.detach(), leaf.grad))
        torch.testing.assert_close(gradients[0], gradients[1])


@needs_cuda
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu(kind, dtype):
    loss, batch = make_losses()[kind], make_batch(dtype=dtype)
    expected = loss(*batch)
    loss = loss.cuda()
    prediction, target, rows = (values.cuda() for values in batch)
    assert loss.rows(["A"]).is_cuda
    torch.testing.assert_close(loss(prediction, target, rows).cpu(), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_is_a_module_without_parameters_or_state(kind):
    loss = make_losses()[kind]
    assert not list(loss.parameters())
    assert not loss.state_dict()
    assert loss.labels == tuple(LABELS)


def test_weights_are_a_copy_in_float32():
    weights = make_weights(np.random.default_rng(0))
    tensor = torch.tensor(weights)
    losses = WMSELoss(weights), WMSELoss(tensor), WMSELoss(weights.astype(np.float32))
    weights[0], tensor[0] = 0, 0
    for loss in losses:
        assert loss.weights.dtype == torch.float32
        assert loss.weights[0].sum().item() == pytest.approx(1)


def test_weights_of_the_scripts_need_to_be_meant():
    weights = make_weights(np.random.default_rng(0))
    prediction, target, rows = make_batch()
    with pytest.raises(InputError, match=naming("A+B", "A", 3, "normalised=False")):
        WMSELoss(weights * [[1], [3], [1], [2]], LABELS)
    found = WMSELoss(weights * 3, LABELS, normalised=False)(prediction, target, rows)
    torch.testing.assert_close(found, 3 * WMSELoss(weights, LABELS)(prediction, target, rows))


HALF = [0.5, 0.5]


@pytest.mark.parametrize(
    ("weights", "labels", "said"),
    [
        ([HALF, [np.nan, np.nan]], ["A", "B"], ("B", "NaN")),
        ([HALF, [np.nan, np.nan]], None, ("row 1", "NaN")),
        ([np.nan, np.nan], None, ("all cells", "NaN")),
        ([[1.5, -0.5], HALF], ["A", "B"], ("A", "negative")),
        ([[np.inf, 0], HALF], ["A", "B"], ("A", "finite")),
        ([[0.0, 0.0], HALF], ["A", "B"], ("A", "sum to one", 0)),
        ([HALF, HALF], ["A"], ("1 labels", "2 rows")),
        ([HALF, HALF], ["A", "A"], ("labels", "A", "more than once")),
        ([[HALF]], None, ("weights", (1, 1, 2))),
        (np.ones((0, 2)), None, ("weights", (0, 2))),
        ([[1j, 0]], None, ("weights", "complex128")),
        (DegScores.__new__(DegScores), None, ("weights", "DegScores", "deg_weights")),
    ],
)
def test_refuses_weights(weights, labels, said):
    with pytest.raises(InputError, match=naming(*said)):
        WMSELoss(weights, labels)


@pytest.mark.parametrize(
    ("is_expressed", "control_mean", "options", "said"),
    [
        ([[1, 0]], [1.0, 1.0], {}, ("is_expressed", "torch.bool")),
        ([True, False], [1.0, 1.0], {}, ("is_expressed", (2,))),
        ([[True, False]], [1.0], {}, ("control_mean", (1,), (2,))),
        ([[True, False]], [1.0, np.nan], {}, ("control_mean", "1 value")),
        ([[True, False], [False, False]], [1.0, 1.0], {"labels": ["A", "B"]}, ("B", "expressed")),
        ([[True, False]], [1.0, 1.0], {"direction_lambda": -1}, ("direction_lambda", -1)),
        ([[True, False]], [1.0, 1.0], {"direction_lambda": np.nan}, ("direction_lambda", "nan")),
    ],
)
def test_gears_loss_refuses(is_expressed, control_mean, options, said):
    with pytest.raises(InputError, match=naming(*said)):
        GEARSLoss(is_expressed, control_mean, **options)


@pytest.mark.parametrize("kind", ["wmse", "gears"])
def test_refuses_a_batch(kind):
    loss = make_losses()[kind]
    prediction, target, rows = make_batch()
    for arguments, said in (
        ((prediction, target[:-1], rows), ((11, 7), (10, 7))),
        ((prediction[:, :-1], target[:, :-1], rows), ((11, 6), 7)),
        ((prediction[0], target[0], rows[:1]), ((7,), "cells")),
        ((prediction[:0], target[:0], rows[:0]), ((0, 7),)),
        ((prediction, target, rows[:-1]), ("labels", (10,), 11)),
        ((prediction, target, ["A"] * 10), ("labels", (10,), 11)),
        ((prediction, target, rows.double()), ("labels", "torch.float64")),
        ((prediction, target, rows + 1), ("labels", "1 to 4", "0 to 3")),
        ((prediction, target, rows - 1), ("labels", "-1 to 2", "0 to 3")),
        ((prediction, target), ("labels",)),
        ((prediction, target, rows, "sum"), ("reduction", "'sum'", "mean", "none")),
    ):
        with pytest.raises(InputError, match=naming(*said)):
            loss(*arguments)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_may_be_written_in_any_form(kind):
    loss = make_losses()[kind]
    assert loss.rows(["B+A", "A+ctrl", "control+B", "A+B"]).tolist() == [1, 3, 0, 1]
    prediction, target, _ = make_batch(n_cells=2)
    expected = loss(prediction, target, torch.tensor([1, 3]))
    assert loss(prediction, target, ["B+A", "A+ctrl"]) == expected
    assert loss(prediction, target, pd.Series(["B+A", "ctrl+A"], index=[7, 8])) == expected


def test_labels_of_a_loss_are_canonical():
    loss = WMSELoss([HALF, [0.25, 0.75]], ["B+A", "A+ctrl"])
    assert loss.labels == ("A+B", "A")
    assert loss.rows(["A", "B+A"]).tolist() == [1, 0]
    with pytest.raises(InputError, match=naming("labels", "more than once", "A+B")):
        WMSELoss([HALF, HALF], ["A+B", "B+A"])


def test_rows_of_labelled_weights_are_found_by_name():
    rows = make_weights(np.random.default_rng(0))
    frame = pd.DataFrame(rows, index=["B+ctrl", "B+A", "control", "A"])
    assert WMSELoss(frame).labels == tuple(LABELS)
    loss = WMSELoss(frame, ["A", "control", "A+B"])
    np.testing.assert_allclose(loss.weights.numpy(), rows[[3, 2, 1]], rtol=1e-6)
    with pytest.raises(InputError, match=naming("weights", "C", "D", 4, "B", "A+B")):
        WMSELoss(frame, ["A", "C", "D"])
    with pytest.raises(InputError, match=naming("weights", "A", "B", 2, "0, 1")):
        WMSELoss(pd.DataFrame([HALF, HALF]), ["A", "B"])


def test_labelled_arguments_of_the_gears_loss_are_found_by_name():
    expressed = pd.DataFrame([[True, False], [True, True]], index=["A", "control"], columns=["g", "h"])
    loss = GEARSLoss(expressed, pd.Series([2.0, 1.0], index=["h", "g"]), ["control", "A"])
    assert loss.is_expressed.tolist() == [[True, True], [True, False]]
    assert loss.control_mean.tolist() == [1.0, 2.0]
    with pytest.raises(InputError, match=naming("control_mean", "h", 1, "g")):
        GEARSLoss(expressed, pd.Series([1.0], index=["g"]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_weights_may_be_any_tensor(dtype):
    weights = torch.tensor([[0.5, 0.5], [0.25, 0.75]], dtype=dtype, requires_grad=True)
    assert WMSELoss(weights, ["A", "B"]).weights.tolist() == [[0.5, 0.5], [0.25, 0.75]]


def test_unknown_names():
    with pytest.raises(InputError, match=naming("C", "D", 4, *LABELS)):
        make_losses()["wmse"].rows(["D", "A", "C", "D"])
    with pytest.raises(InputError, match=naming("labels=")):
        WMSELoss([HALF]).rows(["A"])
