"""The decoder with its written-out gradient against PyTorch's own layers on every row."""

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from diversity_by_design.models.gears import decoder  # noqa: E402
from diversity_by_design.models.gears.decoder import Layer, Moments, Spare, decode  # noqa: E402

N_GENES, FEATURES = 7, 3
KINDS = (0, 1, 1, 1)
CELLS = torch.tensor([1, 3, 2, 1])
SPARE = Spare()


def parameters() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "base": (2, N_GENES, FEATURES),
        "shift": (len(KINDS), FEATURES),
        "weight1": (2 * FEATURES, FEATURES),
        "bias1": (2 * FEATURES,),
        "scale1": (2 * FEATURES,),
        "shift1": (2 * FEATURES,),
        "weight2": (FEATURES, 2 * FEATURES),
        "bias2": (FEATURES,),
        "scale2": (FEATURES,),
        "shift2": (FEATURES,),
        "readout": (N_GENES, FEATURES),
    }
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for name, shape in shapes.items()
    }


def ours(p: SimpleNamespace, fixed: tuple[Moments, Moments] | None) -> torch.Tensor:
    layers = (
        Layer(p.weight1, p.bias1, p.scale1, p.shift1),
        Layer(p.weight2, p.bias2, p.scale2, p.shift2),
    )
    share = CELLS.double() / CELLS.sum()
    return decode(p.base, p.shift, KINDS, share, layers, p.readout, 1e-5, fixed, SPARE)


def plain(p: SimpleNamespace, fixed: tuple[Moments, Moments] | None) -> torch.Tensor:
    """Every cell has its rows; the output of the first cell of each group."""
    group = torch.repeat_interleave(torch.arange(len(KINDS)), CELLS)
    h = (p.base[torch.tensor(KINDS)[group]] + p.shift[group][:, None]).relu()
    rows = h.reshape(-1, FEATURES)
    found = []
    for number, (weight, bias, scale, shift) in enumerate(
        [(p.weight1, p.bias1, p.scale1, p.shift1), (p.weight2, p.bias2, p.scale2, p.shift2)]
    ):
        rows = rows @ weight.t() + bias
        mean, variance = rows.mean(0), rows.var(0, correction=0)
        found.append((mean, variance))
        if fixed is None:
            rows = torch.nn.functional.batch_norm(rows, None, None, scale, shift, training=True)
        else:
            rows = torch.nn.functional.batch_norm(rows, *fixed[number], scale, shift)
        if number == 0:
            rows = rows.relu()
    every = (rows.view(len(group), N_GENES, FEATURES) * p.readout).sum(2)
    first = torch.cat([torch.zeros(1, dtype=torch.long), CELLS.cumsum(0)[:-1]])
    return every[first], found


FIXED = tuple(
    Moments(torch.linspace(-1, 1, n, dtype=torch.float64), torch.linspace(0.5, 2, n, dtype=torch.float64))
    for n in (2 * FEATURES, FEATURES)
)


@pytest.mark.parametrize("fixed", [None, FIXED], ids=["batch", "running"])
@pytest.mark.parametrize("rows", [1, 4, 15, 1000])
def test_agrees_with_layers_on_every_row(fixed, rows, monkeypatch):
    """Whatever the size of blocks, which may hold a part of a group's genes or several groups."""
    monkeypatch.setattr(decoder, "CPU_ROWS", rows)
    values = parameters()
    p = SimpleNamespace(**values)
    expected, found = plain(p, fixed)
    output, *moments = ours(p, fixed)
    torch.testing.assert_close(output, expected, rtol=1e-10, atol=1e-10)
    if fixed is None:
        for moment, (mean, variance) in zip(moments, found, strict=True):
            torch.testing.assert_close(moment.mean, mean)
            torch.testing.assert_close(moment.variance, variance)

    gradient = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wanted = torch.autograd.grad(expected, list(values.values()), gradient, allow_unused=True)
    got = torch.autograd.grad(output, list(values.values()), gradient)
    for name, ours_, theirs in zip(values, got, wanted, strict=True):
        torch.testing.assert_close(ours_, theirs, rtol=1e-8, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")


def test_memory_is_used_again_and_never_while_it_is_needed():
    """Two outputs before either's gradient have memory of their own; afterwards nothing new is taken."""
    values = parameters()
    p = SimpleNamespace(**values)
    spare = Spare()
    wanted = torch.autograd.grad(ours(p, None)[0].sum(), p.base)[0]
    layers = (Layer(p.weight1, p.bias1, p.scale1, p.shift1), Layer(p.weight2, p.bias2, p.scale2, p.shift2))
    share = CELLS.double() / CELLS.sum()

    def output() -> torch.Tensor:
        return decode(p.base, p.shift, KINDS, share, layers, p.readout, 1e-5, None, spare)[0]

    first, second = output(), output()
    for one in (first, second):
        torch.testing.assert_close(torch.autograd.grad(one.sum(), p.base)[0], wanted)
    kept = {part.data_ptr() for part in spare._free}
    third = output()
    torch.testing.assert_close(torch.autograd.grad(third.sum(), p.base, retain_graph=True)[0], wanted)
    assert {part.data_ptr() for part in spare._free} == kept
    with pytest.raises(RuntimeError, match="once only"):
        torch.autograd.grad(third.sum(), p.base)
