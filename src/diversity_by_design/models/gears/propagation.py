"""Messages between the nodes of a graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import to_torch_csr_tensor

from diversity_by_design.graphs.graph import Graph


class Propagation(nn.Module):
    """Messages along a graph's edges: its adjacency matrix, normalised as in graph convolutional networks.

    PyTorch Geometric normalises the weights and makes the sparse matrix, and its `SGConv` layers hold the parameters of
    `convolve`. Their own way to pass messages is left out: `SGConv` normalises anew at every call and goes edge by
    edge, and the gradient through its product with a sparse matrix transposes that matrix anew at every step. The
    matrix here is constant, and its transposed is kept. For a convolution with its gradient on one core (20 neighbours,
    64 features; ``benchmarks/graph_convolution.py``) `SGConv` takes 4 to 7 times as long for 1,328 genes and 17 times
    for 8,192; given the sparse matrix it comes to the same bits in twice the time. Its batches of graphs are for graphs
    that differ from cell to cell; here all cells share one.

    The matrices are not part of the state dict.
    """

    matrix: Tensor
    transposed: Tensor

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._graph = graph
        n = len(graph.nodes)
        edges, weight = gcn_norm(torch.as_tensor(np.stack([graph.source, graph.target])), torch.tensor(graph.weight), n)
        with torch.sparse.check_sparse_tensor_invariants(), warnings.catch_warnings():
            # torch calls matrices in this format new.
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
            self.register_buffer("matrix", to_torch_csr_tensor(edges.flip(0), weight, (n, n)), persistent=False)
            self.register_buffer("transposed", to_torch_csr_tensor(edges, weight, (n, n)), persistent=False)

    def __deepcopy__(self, memo: dict[int, Any]) -> Propagation:
        # Sparse tensors cannot be copied deeply.
        return Propagation(self._graph).to(self.matrix.device, self.matrix.dtype)

    def forward(self, values: Tensor) -> Tensor:
        """What reaches each node (nodes, features)."""
        return _Product.apply(values, self.matrix, self.transposed)


class _Product(torch.autograd.Function):
    """A sparse matrix times a dense one, with the transposed matrix at hand for the gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.transposed @ gradients[0], None, None


def convolve(layers: nn.ModuleList, values: Tensor, propagate: Callable[[Tensor], Tensor] | None) -> Tensor:
    """Output (nodes, features) of `SGConv` layers, ReLU between them; without `propagate` no node has neighbours."""
    convolutions: list[Any] = list(layers)
    for number, layer in enumerate(convolutions):
        values = layer.lin(values if propagate is None else propagate(values))
        if number < len(layers) - 1:
            values = values.relu()
    return values
