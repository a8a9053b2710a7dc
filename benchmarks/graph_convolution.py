"""A graph convolution with its gradient: ours against the ways that PyTorch Geometric has, in one process, one thread.

    uv run benchmarks/graph_convolution.py

All use the same `SGConv` layer and graph; the results of the first two rows must be the same to the bit.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import cell_gears
import numpy as np

N_NEIGHBOURS, FEATURES = 20, 64
REPEATS = 61


def seconds_and_results(function: Callable[[Any], Any], values: Any) -> tuple[float, Any, Any]:
    """What a convolution and its gradient take, and both."""
    leaf = values.clone().requires_grad_()
    began = time.perf_counter()
    out = function(leaf)
    out.square().sum().backward()
    return time.perf_counter() - began, out.detach(), leaf.grad


def compare(n_genes: int) -> None:
    import torch
    from torch_geometric.nn import SGConv
    from torch_geometric.nn.conv.gcn_conv import gcn_norm

    from diversity_by_design.models.gears.propagation import Propagation

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    graph = cell_gears.random_graph([f"gene{i}" for i in range(n_genes)], N_NEIGHBOURS, rng)
    values, layer, ours = torch.randn(n_genes, FEATURES), SGConv(FEATURES, FEATURES), Propagation(graph)
    edges, weight = cell_gears.edges(graph)
    normalised, normalised_weight = gcn_norm(edges, weight, n_genes)
    ways = {
        "ours": lambda x: layer.lin(ours(x)),
        "SGConv.propagate, normalised CSR matrix": lambda x: layer.lin(
            layer.propagate(ours.matrix, x=x, edge_weight=None)
        ),
        "SGConv.propagate, normalised edges": lambda x: layer.lin(
            layer.propagate(normalised, x=x, edge_weight=normalised_weight)
        ),
        "SGConv": lambda x: layer(x, edges, weight),
    }
    timed: dict[str, list[float]] = {name: [] for name in ways}
    results = {}
    # In turns, so that all meet the same load of the machine.
    for _ in range(REPEATS):
        for name, way in ways.items():
            seconds, *results[name] = seconds_and_results(way, values)
            timed[name].append(seconds)
    # The least: other programs only add to it.
    least = {name: min(seconds) for name, seconds in timed.items()}
    for name, seconds in least.items():
        same = all(torch.equal(*pair) for pair in zip(results[name], results["ours"], strict=True))
        print(
            f"{n_genes:6,} genes  {name:42}{1e3 * seconds:8.2f} ms {seconds / least['ours']:6.1f} times ours"
            f"{', same bits' if same else ''}"
        )


def main() -> None:
    import torch

    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    for n_genes in (1328, 8192):
        compare(n_genes)


if __name__ == "__main__":
    main()
