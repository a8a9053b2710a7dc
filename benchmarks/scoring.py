"""Time and peak memory of `Truth` and `score()` with all metrics, on a generated set of norman19's prepared size.

    uv run benchmarks/scoring.py               # 175 x 256 + 8,192 control cells x 8,192 genes, backed by a file
    uv run benchmarks/scoring.py --scale 0.1   # a quick look

Ten halvings, five predictors besides the baselines. The file is written to a temporary folder first; the truth is made
in one pass over it, in a process of its own whose largest resident size is printed.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd


def write(path: Path, scale: float) -> None:
    """Write log1p expression of a generated screen."""
    import anndata as ad
    import scanpy as sc
    from generated import counts

    n_labels, n_control, n_genes = (max(20, int(n * scale)) for n in (175, 8192, 8192))
    labels = np.concatenate([np.repeat([f"P{i:03d}" for i in range(n_labels)], 256), np.repeat("control", n_control)])
    rng = np.random.default_rng(0)
    adata = ad.AnnData(
        counts(len(labels), n_genes, rng),
        obs=pd.DataFrame({"condition": pd.Categorical(labels)}, index=[f"cell{i}" for i in range(len(labels))]),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)]),
    )
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata.write_h5ad(path)


def measure(path: Path, halvings: int, workers: int) -> None:
    """Make the truth, score, summarise, test; print seconds of each."""
    import anndata as ad

    import diversity_by_design as dbd

    adata = ad.read_h5ad(path, backed="r")
    start = time.perf_counter()
    truth = dbd.Truth.from_anndata(adata, halvings=halvings, seed=0, workers=workers)
    made = time.perf_counter()
    statistics, rng = truth.statistics, np.random.default_rng(1)
    models = {
        f"model_{i}": pd.DataFrame(
            statistics.perturbed_mean + 0.2 * i * (statistics.mean - statistics.perturbed_mean)
            + rng.normal(0, 0.01, statistics.mean.shape),
            statistics.labels,
            statistics.genes,
        )
        for i in range(5)
    }  # fmt: skip
    ready = time.perf_counter()
    card = dbd.score(truth, models, workers=workers)
    scored = time.perf_counter()
    n_rows = len(card.summary), len(card.tests), len(card.table)
    summarised = time.perf_counter()
    dbd.score(truth, models, workers=workers)
    again = time.perf_counter()
    print(f"{adata.n_obs:,} cells x {adata.n_vars:,} genes (backed), {truth}, {len(dbd.metrics.METRICS)} metrics")
    print(f"Truth {made - start:.1f} s, score {scored - ready:.1f} s, tables {summarised - scored:.1f} s")
    print(f"together {made - start + summarised - ready:.1f} s; the same predictors again {again - summarised:.1f} s")
    print(f"rows of summary, tests, table: {n_rows}")
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the perturbations, control cells, genes")
    parser.add_argument("--halvings", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.file is not None:
        measure(options.file, options.halvings, options.workers)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "screen.h5ad"
        write(file, options.scale)
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--file", str(file)], env=os.environ, check=True)


if __name__ == "__main__":
    main()
