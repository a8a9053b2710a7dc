"""GEARSLoss against the loss of cell-gears."""

import pytest

torch = pytest.importorskip("torch")

from diversity_by_design.models.losses import GEARSLoss  # noqa: E402 - needs torch

LABELS = ["A", "A+B", "B", "C", "ctrl"]
N_GENES = 60


@pytest.fixture(scope="module")
def loss_fct():
    # Takes up to a minute. Of the module, not of the package alone: this folder has that name as well.
    return pytest.importorskip("gears.utils", reason="cell-gears is not installed").loss_fct


def make_case(seed: int, n_cells: int, dtype: torch.dtype) -> tuple:
    """A batch of sparse expression with ties at control's mean, and what cell-gears calls its filter."""
    torch.manual_seed(seed)
    rows = torch.randint(0, len(LABELS), (n_cells,))
    is_expressed = torch.rand(len(LABELS), N_GENES) < 0.7
    is_expressed[-1] = True
    control = torch.rand(N_GENES) * (torch.rand(N_GENES) < 0.8)
    target = (torch.rand(n_cells, N_GENES) * 3 * (torch.rand(n_cells, N_GENES) < 0.4)).to(dtype)
    prediction = torch.where(torch.rand(n_cells, N_GENES) < 0.1, control, torch.rand(n_cells, N_GENES) * 2).to(dtype)
    return prediction, target, rows, is_expressed, control


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_cells", [1, 2, 32, 100])
@pytest.mark.parametrize("direction_lambda", [0.1, 0.0, 3.0])
def test_value_and_gradient(loss_fct, n_cells, dtype, direction_lambda):
    prediction, target, rows, is_expressed, control = make_case(n_cells, n_cells, dtype)
    ours, theirs = prediction.clone().requires_grad_(), prediction.clone().requires_grad_()
    found = GEARSLoss(is_expressed, control, LABELS, direction_lambda=direction_lambda)(ours, target, rows)
    expected = loss_fct(
        theirs,
        target,
        [LABELS[row] for row in rows],
        ctrl=control.to(dtype),
        direction_lambda=direction_lambda,
        dict_filter={label: is_expressed[row].nonzero().flatten() for row, label in enumerate(LABELS[:-1])},
    )
    torch.testing.assert_close(found.to(dtype), expected.to(dtype), rtol=1e-6, atol=0)
    found.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=0)
