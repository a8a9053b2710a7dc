"""Peak memory of training GEARS, for growing numbers of cells; norman19's prepared size with ``--whole``.

    uv run benchmarks/gears_memory.py            2,048 genes, 8,000 to 32,000 cells
    uv run benchmarks/gears_memory.py --whole    8,192 genes, 236 perturbations x 256 cells: minutes

Each size is trained on, a few steps, by a process of its own. A graph per cell, as cell-gears makes it, holds two dense
rows of expression per cell; the last column is what these alone would take.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import Annotated

import typer

MIB = 2**20
# So few cells of each perturbation that an epoch has some steps only; all cells are held, and in the statistics.
TRAINING_CELLS = 1


def train_one(n_genes: int, n_perturbations: int, n_cells: int) -> None:
    import anndata as ad
    import numpy as np
    import pandas as pd
    from generated import counts
    from scipy import sparse

    from diversity_by_design.gears import Graph, fit, make_splits

    rng = np.random.default_rng(0)
    names = [f"gene{number:05d}" for number in range(n_genes)]
    labels = np.repeat(["control", *names[:n_perturbations]], n_cells)
    expression = counts(len(labels), n_genes, rng)
    np.log1p(expression.data, out=expression.data)
    adata = ad.AnnData(
        sparse.csr_matrix(expression),
        obs=pd.DataFrame({"condition": pd.Categorical(labels)}, index=[f"cell{i}" for i in range(len(labels))]),
        var=pd.DataFrame(index=names),
    )
    target = np.repeat(np.arange(n_genes), 20)
    source = (target + np.tile(np.arange(1, 21), n_genes)) % n_genes
    graph = Graph(pd.Index(names, dtype=object), source, target, np.full(len(target), 0.5, np.float32))
    split = make_splits("unseen", names[:n_perturbations], seed=0)[0]
    held = sum(part.nbytes for part in (expression.data, expression.indices, expression.indptr)) / MIB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    fit(adata, split, graph, coexpression=graph, epochs=1, training_cells=TRAINING_CELLS)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    dense = 2 * 4 * len(labels) * n_genes / MIB
    print(
        f"{len(labels):,} cells x {n_genes:,} genes, {n_perturbations} perturbations: expression in CSR {held:,.0f} "
        f"MiB; peak before training {before:,.0f}, with it {peak:,.0f} MiB; two dense rows per cell {dense:,.0f} MiB"
    )


def main(
    whole: Annotated[bool, typer.Option("--whole", help="norman19's prepared size.")] = False,
    one: Annotated[tuple[int, int, int] | None, typer.Option(hidden=True)] = None,
) -> None:
    if one is not None:
        train_one(*one)
        return
    sizes = [(8192, 236, 256)] if whole else [(2048, 80, 100), (2048, 80, 200), (2048, 80, 400)]
    for size in sizes:
        subprocess.run([sys.executable, "-W", "ignore", __file__, "--one", *map(str, size)], check=True)


if __name__ == "__main__":
    typer.run(main)
