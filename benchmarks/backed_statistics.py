"""Peak memory of PerturbationStatistics.from_anndata on a backed file, as the number of cells grows.

    uv run benchmarks/backed_statistics.py

Each size runs in a process of its own; the memory is what the process needed beyond what it
had before reading the expression (the column of labels is read by then).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

CHILD = """
import resource, sys, time
import anndata as ad
import diversity_by_design as dbd
from diversity_by_design import moments
# The kernels are compiled before the measurement.
dbd.PerturbationStatistics.from_anndata(ad.read_h5ad(sys.argv[2], backed="r"), "perturbation", workers=2)
adata = ad.read_h5ad(sys.argv[1], backed="r")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
dbd.PerturbationStatistics.from_anndata(adata, "perturbation", workers=2)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def write(path: Path, n_cells: int, n_genes: int, layout: str) -> None:
    """Log-like expression of `n_cells` cells, tiled from 2,000 different ones, written without holding all of them."""
    import anndata as ad
    import h5py
    import pandas as pd
    from anndata.io import write_elem
    from generated import counts

    block = counts(2000, n_genes, np.random.default_rng(0)).log1p().astype(np.float32) * 0.9
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical.from_codes(
                np.arange(n_cells) % 101, [*map("P{}".format, range(100)), "control"]
            )
        },
        index=np.arange(n_cells).astype(str),
    )
    ad.AnnData(obs=obs, var=pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)])).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        if layout == "csr":
            write_elem(file, "X", block)
            stored = ad.io.sparse_dataset(file["X"])
            for _ in range(n_cells // 2000 - 1):
                stored.append(block)
        else:
            data = file.create_dataset("X", (n_cells, n_genes), np.float32, chunks=(100, n_genes))
            data.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
            for start in range(0, n_cells, 2000):
                data[start : start + 2000] = block.toarray()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[10_000, 40_000, 160_000])
    parser.add_argument("--genes", type=int, default=2_000)
    options = parser.parse_args()
    print("layout      cells   seconds   memory beyond the start (MiB)")
    with tempfile.TemporaryDirectory() as name:
        for layout in ("csr", "dense"):
            small = Path(name) / f"small_{layout}.h5ad"
            write(small, 2000, 50, layout)
            for n_cells in options.cells:
                path = Path(name) / "x.h5ad"
                write(path, n_cells, options.genes, layout)
                found = subprocess.run(
                    [sys.executable, "-c", CHILD, str(path), str(small)], capture_output=True, text=True, check=True
                )
                seconds, peak = found.stdout.split()
                print(f"{layout:7} {n_cells:9,} {float(seconds):9.2f} {int(peak) / 1024:12.0f}")


if __name__ == "__main__":
    main()
