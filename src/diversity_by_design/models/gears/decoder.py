"""The part of GEARS in which nearly all of its arithmetic is: one small network for each perturbation and gene.

For group d (equal cells of one perturbation) and gene g, with batch normalisations N1 and N2 over all rows (d, g),

    h = relu(base[g] + shift[d]);  z1 = W1 h;  r = relu(N1(z1 + b1));  z2 = W2 r;  out = readout[g] . N2(z2 + b2)

Rows pass in blocks that stay in a processor's cache, and what is cheap to compute again is not stored; the gradient
is written out for that. A normalisation's own gradient needs sums over all rows, hence three passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diversity_by_design.models.gears.batch_norm import Moments

# Rows of a block on a CPU: of 64 to 128 features they fit the cache; fewer cost more in getting started than they save.
CPU_ROWS = 4096
_ARRAYS_OF_A_STEP = 3


class Layer(NamedTuple):
    """A linear layer and the batch normalisation after it."""

    weight: Tensor
    bias: Tensor
    scale: Tensor
    shift: Tensor


class Spare:
    """Memory of large arrays that is used again at the next step.

    On a CPU every new array of such a size is new memory to the system too, which costs a fifth of the time of a step.
    """

    def __init__(self) -> None:
        self._free: list[Tensor] = []

    def take(self, like: Tensor, *shape: int) -> Tensor:
        """An array with arbitrary content, of the type and device of another one."""
        if like.device.type != "cpu":
            return like.new_empty(shape)
        size = math.prod(shape)
        fitting = [number for number, free in enumerate(self._free) if len(free) >= size and free.dtype == like.dtype]
        flat = self._free.pop(fitting[0]) if fitting else like.new_empty(size)
        return flat[:size].view(shape)

    def give_back(self, *arrays: Tensor) -> None:
        """Take back arrays that are not used any more; of the smallest, no more are kept than a step needs."""
        whole = [array._base for array in arrays if array.device.type == "cpu" and array._base is not None]
        self._free = sorted([*self._free, *whole], key=len)[-_ARRAYS_OF_A_STEP:]


def decode(
    base: Tensor,
    shift: Tensor,
    kinds: Sequence[int],
    share: Tensor,
    layers: tuple[Layer, Layer],
    readout: Tensor,
    eps: float,
    fixed: tuple[Moments, Moments] | None,
    spare: Spare,
) -> tuple[Tensor, Moments, Moments]:
    """Output (groups, genes), and the moments of both layers' outputs.

    A gene contributes `base` (kinds, genes, features), `kinds` (groups,) saying which of it a group's cells have, and a
    group's perturbation `shift` (groups, features); `share` (groups,) of the batch's cells are in each group, `readout`
    is (genes, features) and `eps` is added to variances. The normalisations apply `fixed`, or by default the moments
    of this batch, which the gradient then goes through. The memory `spare` is free again after the gradient.
    """
    # Within a function of its own torch does not say any more whether it will be asked for a gradient.
    keep = torch.is_grad_enabled()
    out, *moments = _Decoder.apply(
        base, shift, *layers[0], *layers[1], readout, share, tuple(kinds), eps, fixed, spare, keep
    )
    return out, Moments(*moments[:2]), Moments(*moments[2:])


def _blocks(n_groups: int, n_genes: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """Groups and genes that are computed together: whole groups, or a part of one."""
    if device.type != "cpu":
        yield slice(0, n_groups), slice(0, n_genes)
        return
    groups = max(1, CPU_ROWS // n_genes)
    # Parts of equal size, since a short one takes as long to get started.
    genes = math.ceil(n_genes / math.ceil(n_genes / CPU_ROWS))
    for group in range(0, n_groups, groups):
        for gene in range(0, n_genes, genes):
            yield slice(group, min(group + groups, n_groups)), slice(gene, min(gene + genes, n_genes))


class _Normalisation:
    """Batch normalisation of outputs of a linear layer from which its bias was left out."""

    def __init__(self, layer: Layer, moments: Moments, eps: float, depends: bool) -> None:
        self.inverse = torch.rsqrt(moments.variance + eps)
        self.centre = moments.mean - layer.bias
        self.factor = layer.scale * self.inverse
        self.summand = layer.shift - self.centre * self.factor
        self._depends = depends

    def rectified(self, z: Tensor, groups: slice, genes: slice) -> Tensor:
        """The normalised outputs of a block, those below zero set to zero."""
        return torch.addcmul(self.summand, z[groups, genes], self.factor).relu_()

    def scale_gradient(self, gradient_times_z: Tensor, gradient: Tensor) -> Tensor:
        """Gradient of `Layer.scale` from sums over rows of (gradient of the output x z), and of the gradient."""
        return self.inverse * (gradient_times_z - self.centre * gradient)

    def statistics_gradient(
        self, scale_gradient: Tensor, shift_gradient: Tensor, row_share: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Factor of z, and summand, each (groups, 1, features), of the gradient through mean and variance."""
        share = row_share[:, None, None] * float(self._depends)
        of_z = -self.factor * self.inverse * scale_gradient
        return share * of_z, share * (-self.factor * shift_gradient - self.centre * of_z)

    def bias_gradient(self, shift_gradient: Tensor) -> Tensor:
        """Gradient of `Layer.bias`; a batch's own mean takes every bias away again."""
        return torch.zeros_like(self.factor) if self._depends else self.factor * shift_gradient


class _Decoder(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        base, shift, w1, b1, g1, s1, w2, b2, g2, s2, readout, share, kinds, eps, fixed, spare, keep = arguments
        layers = Layer(w1, b1, g1, s1), Layer(w2, b2, g2, s2)
        n_groups, n_genes = len(kinds), base.shape[1]
        blocks = list(_blocks(n_groups, n_genes, base.device))
        row_share = share / n_genes

        z1 = spare.take(base, n_groups, n_genes, len(b1))
        inputs = partial(_first_input, base, shift, kinds)
        moments1 = _outputs(inputs, layers[0], z1, blocks, row_share, fixed and fixed[0])
        norm1 = _Normalisation(layers[0], moments1, eps, fixed is None)

        z2 = spare.take(base, n_groups, n_genes, len(b2))
        moments2 = _outputs(partial(norm1.rectified, z1), layers[1], z2, blocks, row_share, fixed and fixed[1])
        norm2 = _Normalisation(layers[1], moments2, eps, fixed is None)

        scaled = readout * norm2.factor
        out = base.new_empty(n_groups, n_genes)
        for groups, genes in blocks:
            torch.sum(z2[groups, genes] * scaled[genes], 2, out=out[groups, genes])
        out += readout @ norm2.summand

        if not keep:
            spare.give_back(z1, z2)
        ctx.save_for_backward(base, shift, w1, w2, g2, s2, readout, row_share, z1, z2)
        ctx.constants = kinds, blocks, norm1, norm2, spare
        results = (out, *moments1, *moments2)
        ctx.mark_non_differentiable(*results[1:])
        return results

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.constants is None:
            raise RuntimeError(
                "the gradient can be computed once only; compute the output again (no retain_graph=True)"
            )
        base, shift, w1, w2, g2, s2, readout, row_share, z1, z2 = ctx.saved_tensors
        kinds, blocks, norm1, norm2, spare = ctx.constants

        # Sums over all rows that the gradient through the second normalisation needs.
        of_gene = gradient.sum(0)[:, None]
        gradient_times_z2 = torch.zeros_like(readout)
        for groups, genes in blocks:
            gradient_times_z2[genes] += torch.sum(z2[groups, genes] * gradient[groups, genes, None], 0)
        normalised = norm2.inverse * (gradient_times_z2 - norm2.centre * of_gene)
        d_readout = g2 * normalised + s2 * of_gene
        d_g2, d_s2 = (readout * normalised).sum(0), (readout * of_gene).sum(0)

        # Through the second layer.
        scaled = readout * norm2.factor
        of_z, summand = norm2.statistics_gradient(d_g2, d_s2, row_share)
        d_w2 = torch.zeros_like(w2)
        d_y1 = spare.take(z1, *z1.shape)
        d_s1, gradient_times_z1 = torch.zeros_like(norm1.factor), torch.zeros_like(norm1.factor)
        for groups, genes in blocks:
            r = norm1.rectified(z1, groups, genes)
            d_z2 = torch.addcmul(summand[groups], z2[groups, genes], of_z[groups])
            d_z2.addcmul_(gradient[groups, genes, None], scaled[genes])
            d_w2.addmm_(_rows(d_z2).t(), _rows(r))
            d_r = torch.mm(_rows(d_z2), w2).view_as(r)
            part = d_y1[groups, genes]
            torch.ops.aten.threshold_backward(d_r, r, 0.0, grad_input=part)
            d_s1 += part.sum((0, 1))
            gradient_times_z1 += torch.mul(part, z1[groups, genes], out=d_r).sum((0, 1))
        d_g1 = norm1.scale_gradient(gradient_times_z1, d_s1)

        # Through the first layer.
        of_z, summand = norm1.statistics_gradient(d_g1, d_s1, row_share)
        d_w1, d_base, d_shift = torch.zeros_like(w1), torch.zeros_like(base), torch.zeros_like(shift)
        for groups, genes in blocks:
            h = _first_input(base, shift, kinds, groups, genes)
            d_z1 = torch.addcmul(summand[groups], z1[groups, genes], of_z[groups])
            d_z1.addcmul_(d_y1[groups, genes], norm1.factor)
            d_w1.addmm_(_rows(d_z1).t(), _rows(h))
            d_h = torch.mm(_rows(d_z1), w1).view_as(h)
            torch.ops.aten.threshold_backward(d_h, h, 0.0, grad_input=d_h)
            d_shift[groups] += d_h.sum(1)
            for kind, members in _by_kind(kinds[groups]):
                d_base[kind, genes] += d_h[members].sum(0)

        ctx.constants = None
        spare.give_back(z1, z2, d_y1)
        d_b1, d_b2 = norm1.bias_gradient(d_s1), norm2.bias_gradient(d_s2)
        layers = (d_w1, d_b1, d_g1, d_s1, d_w2, d_b2, d_g2, d_s2)
        return (d_base, d_shift, *layers, d_readout, None, None, None, None, None, None)


def _first_input(base: Tensor, shift: Tensor, kinds: tuple[int, ...], groups: slice, genes: slice) -> Tensor:
    """Input of the first layer (groups, genes, features)."""
    h = base.new_empty(groups.stop - groups.start, genes.stop - genes.start, base.shape[2])
    for kind, members in _by_kind(kinds[groups]):
        torch.add(base[kind, genes], shift[groups][members, None], out=h[members])
    return h.relu_()


def _by_kind(kinds: tuple[int, ...]) -> Iterator[tuple[int, slice]]:
    """Each kind with the groups that have it; groups of one kind follow each other."""
    stop = 0
    for kind, members in groupby(kinds):
        start, stop = stop, stop + len(list(members))
        yield kind, slice(start, stop)


def _outputs(
    inputs: Callable[[slice, slice], Tensor],
    layer: Layer,
    z: Tensor,
    blocks: list[tuple[slice, slice]],
    row_share: Tensor,
    fixed: Moments | None,
) -> Moments:
    """Put a layer's outputs, but for the bias, into `z`; their moments, unless these are given."""
    parts = []
    for groups, genes in blocks:
        part = z[groups, genes]
        torch.mm(_rows(inputs(groups, genes)), layer.weight.t(), out=_rows(part))
        if fixed is None:
            parts.append((*Moments.of_rows(part), row_share[groups] * part.shape[1]))
    if fixed is not None:
        return fixed
    mean, variance = Moments.of_all(*(torch.cat(each) for each in zip(*parts, strict=True)))
    return Moments(mean + layer.bias, variance)


def _rows(values: Tensor) -> Tensor:
    return values.view(-1, values.shape[2])
