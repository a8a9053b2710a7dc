"""Messages between the nodes of a graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from diversity_by_design.graphs.graph import Graph


class Propagation(nn.Module):
    """Messages along a graph's edges: its adjacency matrix, normalised as in graph convolutional networks.

    `SGConv` computes this matrix anew at every call and passes messages edge by edge; as a constant sparse matrix it
    takes one product. The matrix is not part of the state dict.
    """

    matrix: Tensor
    transposed: Tensor

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._graph = graph
        n = len(graph.nodes)
        ends = torch.as_tensor(np.stack([graph.source, graph.target]))
        (source, target), weight = gcn_norm(ends, torch.tensor(graph.weight), n)
        for name, rows, columns in (("matrix", target, source), ("transposed", source, target)):
            matrix = torch.sparse_coo_tensor(torch.stack([rows, columns]), weight, (n, n), check_invariants=True)
            with warnings.catch_warnings():
                # torch calls matrices in this format new.
                warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
                self.register_buffer(name, matrix.coalesce().to_sparse_csr(), persistent=False)

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
