"""Batch normalisation in which a row stands for several equal ones."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Moments(NamedTuple):
    """Mean and variance, each (features,)."""

    mean: Tensor
    variance: Tensor

    @classmethod
    def of_all(cls, means: Tensor, variances: Tensor, shares: Tensor) -> Moments:
        """Of all rows, from those of groups of rows (groups, features), which have these `shares` (groups,) of them."""
        shares = shares[:, None]
        mean = (shares * means).sum(0)
        return cls(mean, (shares * (variances + (means - mean).square())).sum(0))

    @classmethod
    def of_rows(cls, rows: Tensor) -> Moments:
        """Of each group's rows (groups, rows, features), with the number of rows in the variance's denominator."""
        means = rows.mean(1)
        return cls(means, (rows - means[:, None]).square_().mean(1))


def moments(norm: nn.BatchNorm1d, of_groups: Moments, n_cells: Tensor, total: int, rows: int) -> Moments:
    """What a batch normalisation applies: the running moments in evaluation, the batch's in training.

    In training the running ones are updated as `torch.nn.BatchNorm1d` does when it sees every row. `of_groups` are
    moments (groups, features) over the rows of a cell of each group of `n_cells` (groups,) equal cells; there are
    `total` cells, and so many rows of all cells.
    """
    if not norm.training:
        return running(norm)
    of_batch = Moments.of_all(*of_groups, n_cells / total)
    update(norm, of_batch, rows)
    return of_batch


def running(norm: nn.BatchNorm1d) -> Moments:
    """Running mean and variance."""
    assert norm.running_mean is not None and norm.running_var is not None
    return Moments(norm.running_mean, norm.running_var)


@torch.no_grad()
def update(norm: nn.BatchNorm1d, of_batch: Moments, rows: int) -> None:
    """Let the running statistics follow those of a batch of so many rows."""
    assert norm.num_batches_tracked is not None and norm.momentum is not None
    mean, variance = running(norm)
    norm.num_batches_tracked += 1
    mean.lerp_(of_batch.mean, norm.momentum)
    variance.lerp_(of_batch.variance * (rows / (rows - 1)), norm.momentum)


def affine(norm: nn.BatchNorm1d, applied: Moments) -> tuple[Tensor, Tensor]:
    """Factor and summand, each (features,), that normalise, scale and shift."""
    factor = norm.weight * torch.rsqrt(applied.variance + norm.eps)
    return factor, norm.bias - applied.mean * factor


def normalise(norm: nn.BatchNorm1d, values: Tensor, n_cells: Tensor, total: int) -> Tensor:
    """Batch normalisation of `values` (groups, features) or (groups, genes, features); see `moments`."""
    single = values.dim() == 2
    of_groups = Moments(values, torch.zeros_like(values)) if single else Moments.of_rows(values)
    applied = moments(norm, of_groups, n_cells, total, total if single else total * values.shape[1])
    factor, summand = affine(norm, applied)
    return torch.addcmul(summand, values, factor)
