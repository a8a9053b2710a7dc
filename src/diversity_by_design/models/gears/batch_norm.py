"""Batch normalisation in which a row stands for several equal ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def moments(
    norm: nn.BatchNorm1d, means: Tensor, variances: Tensor, n_cells: Tensor, total: int, rows: int
) -> tuple[Tensor, Tensor]:
    """Mean and variance that a batch normalisation applies, each (features,).

    In evaluation these are the running ones. In training they are those of the batch, and the running ones are
    updated as `torch.nn.BatchNorm1d` does when it sees every row.

    Parameters
    ----------
    norm : BatchNorm1d
    means, variances : (groups, features)
        Over the rows of a cell of each group; variances with the number of rows in the denominator.
    n_cells : (groups,)
        Equal cells in each group.
    total : int
        All cells.
    rows : int
        Rows of all cells.
    """
    if not norm.training:
        return running(norm)
    share = (n_cells / total)[:, None]
    mean = (share * means).sum(0)
    variance = (share * (variances + (means - mean).square())).sum(0)
    update(norm, mean, variance, rows)
    return mean, variance


def running(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Running mean and variance (features,)."""
    assert norm.running_mean is not None and norm.running_var is not None
    return norm.running_mean, norm.running_var


@torch.no_grad()
def update(norm: nn.BatchNorm1d, mean: Tensor, variance: Tensor, rows: int) -> None:
    """Let the running statistics follow those of a batch of so many rows."""
    assert norm.num_batches_tracked is not None and norm.momentum is not None
    running_mean, running_variance = running(norm)
    norm.num_batches_tracked += 1
    running_mean.lerp_(mean, norm.momentum)
    running_variance.lerp_(variance * (rows / (rows - 1)), norm.momentum)


def affine(norm: nn.BatchNorm1d, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Factor and summand, each (features,), that normalise, scale and shift."""
    factor = norm.weight * torch.rsqrt(variance + norm.eps)
    return factor, norm.bias - mean * factor


def normalise(norm: nn.BatchNorm1d, values: Tensor, n_cells: Tensor, total: int) -> Tensor:
    """Batch normalisation of `values` (groups, features) or (groups, genes, features).

    Parameters
    ----------
    norm : BatchNorm1d
    values : tensor
    n_cells : (groups,)
        Equal cells in each group.
    total : int
        All cells.
    """
    if values.dim() == 2:
        mean, variance = moments(norm, values, torch.zeros_like(values), n_cells, total, total)
    else:
        means = values.mean(1)
        variances = (values - means[:, None]).square().mean(1)
        mean, variance = moments(norm, means, variances, n_cells, total, total * values.shape[1])
    factor, summand = affine(norm, mean, variance)
    return torch.addcmul(summand, values, factor)
