"""The graph of genes whose expression goes together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from diversity_by_design.errors import InputError, listed
from diversity_by_design.graphs.graph import N_NEIGHBOURS, Graph, Ints, check_options, joined, strongest

if TYPE_CHECKING:
    import torch

LEAST_CORRELATION = 0.4

# Cells, and genes, multiplied together.
_CELLS = 2_048
_GENES = 1_024
# Decimals of a correlation: those beyond differ between devices, and would decide between genes that are equal.
_DECIMALS = 5


def coexpression_graph(
    matrix: Any,
    genes: Iterable[str],
    *,
    rows: npt.ArrayLike | None = None,
    n_neighbours: int = N_NEIGHBOURS,
    threshold: float = LEAST_CORRELATION,
    device: str | torch.device = "cpu",
) -> Graph:
    """Join genes whose expression goes up and down together over cells.

    The weight of two genes is the absolute value of Pearson's correlation, to five decimals. Cells are read block by
    block, twice; what is held is one float32 matrix of genes by genes.

    Parameters
    ----------
    matrix : CSR matrix or array (cells, genes)
        Expression.
    genes : names (genes,)
    rows : int or bool array, optional
        Cells to use, by position or as a mask: those that the model is trained on (default: all).
    n_neighbours : int
        Most sources of a target: those of largest weight, and of these the first in the order of `genes`.
    threshold : float
        Weights must be greater.
    device : str or torch.device
        Where torch multiplies.

    Returns
    -------
    Graph
        With all genes in their order. Genes that do not vary have no edge.

    Raises
    ------
    InputError
        A name occurs twice, there are fewer than two cells, a value is not finite, or an option is out of its range.
    """
    import torch

    check_options(n_neighbours, threshold)
    index = pd.Index(genes)
    if matrix.shape[1] != len(index):
        raise InputError(f"the matrix has {matrix.shape[1]} columns, but {len(index)} genes are named")
    cells = np.arange(matrix.shape[0])
    cells = cells if rows is None else cells[np.asarray(rows)]
    if len(cells) < 2:
        raise InputError(f"co-expression needs at least 2 cells, but there are {len(cells)}")
    product = _centred_product(matrix, index, cells, torch.device(device))
    # A gene that does not vary has deviations of exactly 0: the mean of equal numbers is that number.
    variation = product.diagonal().clone()
    scale = torch.where(variation > 0, variation.rsqrt(), 0.0)
    found = []
    for part in _parts(len(index), _GENES):
        # Only blocks on and above the diagonal were computed.
        whole = torch.cat([product[: part.start, part].T, product[part, part.start :]], dim=1)
        weight = (whole * scale[part, None] * scale).abs_().clamp_(max=1.0).round_(decimals=_DECIMALS)
        found.append(_strongest_of(weight.cpu().numpy(), part.start, n_neighbours, threshold))
    return joined(index, found)


def _strongest_of(
    weight: npt.NDArray[np.float32], start: int, n: int, threshold: float
) -> tuple[Ints, Ints, npt.NDArray]:
    """Keep the strongest edges of the targets from position `start` on; `weight` is (targets, genes)."""
    rows = np.arange(len(weight))
    weight[rows, start + rows] = 0.0
    least = min(n, weight.shape[1])
    # Ranking all pairs would take far longer than finding the least weight that can be among the strongest.
    bound = -np.partition(-weight, least - 1, axis=1)[:, least - 1]
    target, source = np.nonzero((weight > threshold) & (weight >= bound[:, None]))
    return strongest(source, target + start, weight[target, source], n)


def _parts(length: int, step: int) -> Iterator[slice]:
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def _centred_product(matrix: Any, genes: pd.Index, cells: Ints, device: torch.device) -> torch.Tensor:
    """Sums over cells of the products of two genes' deviations from their means: float32 (genes, genes).

    Only blocks on and above the diagonal are computed.
    """
    import torch

    def blocks() -> Iterator[npt.NDArray[np.float32]]:
        for part in _parts(len(cells), _CELLS):
            block = matrix[cells[part]]
            yield np.asarray(block.toarray() if sparse.issparse(block) else block, dtype=np.float32)

    total = np.zeros(len(genes))
    for block in blocks():
        total += block.sum(axis=0, dtype=np.float64)
    if not np.isfinite(total).all():
        raise InputError(f"expression is not finite for the genes {listed(genes[~np.isfinite(total)])}")
    mean = torch.as_tensor((total / len(cells)).astype(np.float32), device=device)
    product = torch.zeros(len(genes), len(genes), device=device)
    for block in blocks():
        deviation = torch.as_tensor(block, device=device) - mean
        for part in _parts(len(genes), _GENES):
            product[part, part.start :].addmm_(deviation[:, part].T, deviation[:, part.start :])
    return product
