"""Gene parameters by maximum likelihood against statsmodels' NegativeBinomial (nb2), on the same counts, in one run.

    uv run benchmarks/parameter_estimation.py                # 50,000 cells x 8,192 genes, 42 % not zero
    uv run benchmarks/parameter_estimation.py --cells 8000   # a quick look

All genes are fitted in control, perturbed and all cells: from CSR and CSC counts in memory, and from a prepared file.
statsmodels gets some of the genes, each as an array, and its seconds are multiplied up to all of them. Prints seconds,
their ratio, and the memory that reading the file took (Linux only); then the largest relative differences of mu and
alpha, from statsmodels' own settings, which end the search early, and from a search to a gradient of 1e-9.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from generated import counts
from scipy import sparse

from diversity_by_design.paper.gene_source import estimate_from_file
from diversity_by_design.simulator.estimation import ParameterEstimates, estimate

DIFFERENT_CELLS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=50_000)
    parser.add_argument("--genes", type=int, default=8_192)
    parser.add_argument("--compared", type=int, default=24, help="genes that statsmodels fits")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.file:
        return fit_file(options.file, options.workers)

    block = counts(DIFFERENT_CELLS, options.genes, np.random.default_rng(0), scale=1.0)
    copies = options.cells // DIFFERENT_CELLS
    matrix = sparse.vstack([block] * copies, format="csr")
    is_control = np.arange(matrix.shape[0]) % 10 == 0
    genes = pd.Index([f"gene{i}" for i in range(options.genes)])
    print(f"{matrix.shape[0]:,} cells x {options.genes:,} genes, {matrix.nnz / np.prod(matrix.shape):.0%} not zero")

    estimates = estimate(block, is_control[:DIFFERENT_CELLS], genes)  # compiles the kernels
    ours = np.inf
    for layout in ("csr", "csc"):
        stored = matrix.asformat(layout)
        seconds = []
        for _ in range(options.repeats):
            start = time.perf_counter()
            estimates = estimate(stored, is_control, genes, workers=options.workers)
            seconds.append(time.perf_counter() - start)
        ours = min(ours, float(np.median(seconds)))
        print(f"ours, {layout} in memory    {np.median(seconds):9.2f} s ({min(seconds):.2f} to {max(seconds):.2f})")
    with tempfile.TemporaryDirectory() as name:
        write(Path(name) / "x.h5ad", block, copies, is_control, genes)
        command = [sys.executable, __file__, "--file", f"{name}/x.h5ad", "--workers", str(options.workers)]
        print(
            "ours, prepared file    ",
            subprocess.run(command, capture_output=True, text=True, check=True).stdout.rstrip(),
        )
    compare(matrix, is_control, estimates, options.compared, ours)


def compare(
    matrix: sparse.csr_matrix, is_control: np.ndarray, estimates: ParameterEstimates, n_compared: int, ours: float
) -> None:
    """Fit some overdispersed genes with statsmodels, and print how it compares."""
    import statsmodels.api as sm

    fitted = np.flatnonzero((estimates.table.filter(like="fit_") == "converged").all(axis=1))
    chosen = fitted[np.linspace(0, len(fitted) - 1, n_compared).astype(int)]
    columns = matrix[:, chosen].toarray().astype(float)
    elapsed = 0.0
    differences: dict[str, list[tuple[float, float]]] = {"own settings": [], "gradient of 1e-9": []}
    for gene, column in zip(chosen, columns.T, strict=True):
        for cells, rows in (("control", is_control), ("perturbed", ~is_control), ("all_cells", slice(None))):
            values = column[rows]
            mu, theta = estimates.table.loc[gene, [f"mu_{cells}", f"theta_{cells}"]]
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                start = time.perf_counter()
                model = sm.NegativeBinomial(values, np.ones_like(values), loglike_method="nb2")
                own = model.fit(disp=0)
                elapsed += time.perf_counter() - start
                far = model.fit(start_params=own.params, disp=0, maxiter=1000, gtol=1e-9)
            for (log_mean, alpha), kept in zip((own.params, far.params), differences.values(), strict=True):
                kept.append((abs(np.exp(log_mean) / mu - 1), abs(alpha * theta - 1)))
    everything = elapsed / n_compared * matrix.shape[1]
    print(
        f"statsmodels             {elapsed:9.2f} s for {n_compared} genes, {everything:,.0f} s for all: "
        f"ours is {everything / ours:,.0f} times as fast"
    )
    for settings, found in differences.items():
        mu, alpha = np.max(found, axis=0)
        print(f"largest relative difference over {len(found)} fits, {settings}: mu {mu:.1e}, alpha {alpha:.1e}")


def write(path: Path, block: sparse.csr_matrix, copies: int, is_control: np.ndarray, genes: pd.Index) -> None:
    """Write `copies` of `block` as the layer of counts of an otherwise empty prepared file."""
    import anndata as ad
    import h5py

    from diversity_by_design.datasets.writing import CsrWriter

    labels = pd.Categorical(np.where(is_control, "control", "A"))
    obs = pd.DataFrame({"condition": labels}, index=np.arange(len(labels)).astype(str))
    ad.AnnData(obs=obs, var=pd.DataFrame(index=genes)).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        writer = CsrWriter(file["layers"], "counts", (len(labels), len(genes)), block.nnz * copies)
        for _ in range(copies):
            writer.append(block)


def fit_file(path: Path, workers: int) -> None:
    """Fit a prepared file in this process, and print seconds and memory."""
    estimate(np.zeros((4, 1)), np.arange(4) < 2, pd.Index(["gene"]))  # loads the kernels
    before = peak_memory()
    start = time.perf_counter()
    estimate_from_file(path, workers=workers)
    seconds = time.perf_counter() - start
    print(f"{seconds:9.2f} s, {peak_memory() - before:,.0f} MiB beyond the start")


def peak_memory() -> float:
    """MiB; unlike getrusage, without what the parent process had."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    main()
