"""deg_scores against scanpy's rank_genes_groups, on the same data, in one run.

    uv run benchmarks/deg_scores.py                # 24,000 cells x 4,096 genes, 20 % not zero, 175 groups
    uv run benchmarks/deg_scores.py --cells 4000   # a quick look

Prints seconds of either, their ratio, and the largest difference between the scores: for the
scores alone, which is what weights need, and with p values, adjusted p values and fold
changes, all of which scanpy computes. The first call includes the compilation (or, later,
loading) of the kernels; it is shown apart.
"""

from __future__ import annotations

import argparse
import time
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from scipy import sparse

import diversity_by_design as dbd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=24_000)
    parser.add_argument("--genes", type=int, default=4_096)
    parser.add_argument("--groups", type=int, default=175)
    parser.add_argument("--density", type=float, default=0.2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    matrix = sparse.random(options.cells, options.genes, options.density, "csr", dtype=np.float32, random_state=rng)
    matrix.data = np.log1p(20 * matrix.data)
    labels = np.array([f"P{i:03d}" for i in rng.permutation(np.arange(options.cells) % options.groups)])
    adata = ad.AnnData(
        matrix,
        obs=pd.DataFrame({"condition": pd.Categorical(labels)}, index=[str(i) for i in range(options.cells)]),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(options.genes)]),
    )

    def ours() -> tuple[float, float, dbd.DegScores]:
        """Seconds to the scores, seconds until p values, adjusted p and fold changes are there too, and the result."""
        start = time.perf_counter()
        stats = dbd.PerturbationStatistics.from_anndata(adata, control=None, workers=options.workers)
        degs = dbd.deg_scores(stats, "rest", workers=options.workers)
        scored = time.perf_counter() - start
        # These are computed when first asked for.
        _ = degs.pvals_adj, degs.log_fold_change
        return scored, time.perf_counter() - start, degs

    _, first, degs = ours()
    # Only the times are kept: each result would hold 40 MB.
    repeated = [ours()[:2] for _ in range(options.repeats)]
    scanpys = []
    for _ in range(options.repeats):
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sc.tl.rank_genes_groups(adata, "condition", method="t-test_overestim_var", reference="rest")
        scanpys.append(time.perf_counter() - start)

    difference = 0.0
    for row, label in enumerate(degs.labels):
        table = sc.get.rank_genes_groups_df(adata, label).set_index("names").loc[degs.genes]
        difference = max(difference, float(np.abs(degs.t[row] - table["scores"].to_numpy()).max()))
    print(f"{options.cells:,} cells x {options.genes:,} genes, {options.density:.0%}, {options.groups} groups, float32")
    peer = float(np.median(scanpys))
    print(f"scanpy {sc.__version__:10}               {peer:7.3f} s ({min(scanpys):.3f} to {max(scanpys):.3f})")
    print(f"ours, first call, everything    {first:7.2f} s (compiling or loading the kernels included)")
    for name, position in (("scores", 0), ("everything", 1)):
        seconds = sorted(result[position] for result in repeated)
        median = seconds[len(seconds) // 2]
        spread = f"{seconds[0]:.3f} to {seconds[-1]:.3f}"
        print(f"ours, {name:10}                {median:7.3f} s ({spread}): {peer / median:.1f} times as fast")
    print(f"largest difference of a score: {difference:.1e}")


if __name__ == "__main__":
    main()
