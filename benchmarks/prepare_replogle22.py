"""Memory and time of preparing replogle22, shown with a generated file of its shape.

The file has the layout of the published one: a dense float32 matrix of 247,914 cells x 8,749 genes (8.7 GB), obs with
``gene`` and ``UMI_count``, var with Ensembl identifiers and ``gene_name``; 2,393 perturbations, of which about 1,334
have 64 cells or more, and non-targeting cells. Its counts are negative binomial, 40 % of them not zero; to make it in
a minute, cells are drawn from 4,096 generated ones.

    python benchmarks/prepare_replogle22.py                          # needs 10 GB of disk, removed afterwards
    python benchmarks/prepare_replogle22.py --scale 0.1 --compare    # a tenth of the cells, against plain scanpy

``--compare`` also prepares the file in the usual way (read it, make it sparse, filter, normalise, choose). At full
size the dense matrix, its sparse form and the copy of that in the layer are 23 GB together.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

N_CELLS, N_GENES = 247_914, 8_749
N_PERTURBATIONS, N_CONTROL = 2_393, 11_485
POOL = 4_096
CHUNK = 2_048
LIMIT_GIB = 6


def cells_per_perturbation(n_perturbed: int, n_perturbations: int) -> np.ndarray:
    """Cell numbers that are log-normal as in the published file: 56 % of perturbations have 64 or more."""
    from scipy.stats import norm

    share = (np.arange(n_perturbations) + 0.5) / n_perturbations
    sizes = np.exp(4.2739 + 0.799 * norm.ppf(share))
    sizes = np.maximum(1, np.floor(sizes * n_perturbed / sizes.sum())).astype(int)
    sizes[-1] += n_perturbed - sizes.sum()
    return sizes


def generate(path: Path, scale: float, seed: int = 0) -> None:
    """Write the file, chunk by chunk. A smaller `scale` has fewer perturbations and control cells."""
    import anndata
    import h5py
    import pandas as pd

    rng = np.random.default_rng(seed)
    n_cells, n_control = int(N_CELLS * scale), int(N_CONTROL * scale)
    sizes = cells_per_perturbation(n_cells - n_control, max(8, int(N_PERTURBATIONS * scale)))
    labels = np.concatenate(
        [np.repeat("non-targeting", n_control)] + [np.repeat(f"P{i}", n) for i, n in enumerate(sizes)]
    )
    labels = labels[rng.permutation(n_cells)]

    rate = np.exp(rng.normal(-0.85, 1.35, N_GENES))
    depth = np.exp(rng.normal(0, 0.3, POOL))
    pool = np.empty((POOL, N_GENES), np.float32)
    for start in range(0, POOL, 256):
        mean = depth[start : start + 256, None] * rate
        pool[start : start + 256] = rng.poisson(mean * rng.gamma(4.0, 0.25, mean.shape))
    source = rng.integers(0, POOL, n_cells)

    totals = pool.sum(axis=1)
    cells = [f"cell{i}" for i in range(n_cells)]
    obs = pd.DataFrame({"gene": pd.Categorical(labels), "UMI_count": totals[source]}, index=cells)
    names = [f"GENE{i}" for i in range(N_GENES)]
    names[1::4000] = names[::4000]
    var = pd.DataFrame({"gene_name": names}, index=[f"ENSG{i:011d}" for i in range(N_GENES)])
    anndata.AnnData(obs=obs, var=var).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        x = file.create_dataset("X", (n_cells, N_GENES), np.float32)
        x.attrs["encoding-type"], x.attrs["encoding-version"] = "array", "0.2.0"
        for start in range(0, n_cells, CHUNK):
            x[start : start + CHUNK] = pool[source[start : start + CHUNK]]
    print(f"{path.name}: {n_cells:,} cells x {N_GENES:,} genes, {path.stat().st_size / 1e9:.1f} GB, ", end="")
    print(f"{(pool > 0).mean():.0%} not zero, {(sizes >= 64).sum():,} of {len(sizes):,} perturbations with 64 cells")


def prepare_ours(source: Path, destination: Path) -> None:
    """Prepare the file as the project does."""
    from diversity_by_design.datasets import registry
    from diversity_by_design.datasets.prepare import prepare

    print(prepare(source, destination, registry.get("replogle22").settings(), seed=0).text(list_up_to=3))


def prepare_plainly(source: Path, destination: Path) -> None:
    """Prepare the file in memory with scanpy, as is usual."""
    import anndata
    import scanpy as sc
    from scipy import sparse

    adata = anndata.read_h5ad(source)
    adata.X = sparse.csr_matrix(adata.X)
    sc.pp.filter_cells(adata, min_genes=200)
    sc.pp.filter_genes(adata, min_cells=3)
    adata.layers["counts"] = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    rng = np.random.default_rng(0)
    keep = []
    for label, rows in adata.obs.groupby("gene", observed=True).indices.items():
        if label == "non-targeting":
            keep.append(rng.choice(rows, min(8192, len(rows)), replace=False))
        elif len(rows) >= 64:
            keep.append(rng.choice(rows, 64, replace=False))
    adata = adata[np.sort(np.concatenate(keep))].copy()
    sc.pp.highly_variable_genes(adata, n_top_genes=8192, subset=True)
    adata.write_h5ad(destination, compression="gzip", compression_opts=1)


WAYS = {"ours": prepare_ours, "scanpy": prepare_plainly}


def measure(way: str, source: Path, folder: Path) -> tuple[float, float]:
    """Peak resident memory in GiB and seconds of one way, in a process of its own."""
    start = time.perf_counter()
    command = [sys.executable, __file__, "--way", way, str(source), str(folder / f"{way}.h5ad")]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    *lines, peak = out.strip().split("\n")
    print("\n".join(lines))
    return float(peak) / 2**20, time.perf_counter() - start


def main() -> int:
    """Generate the file, measure, and say whether the limit holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the cells to generate (default: 1)")
    parser.add_argument("--compare", action="store_true", help="also measure the usual way")
    parser.add_argument("--folder", type=Path, help="where the temporary files go (default: the system's folder)")
    parser.add_argument("--way", nargs=3, metavar=("WAY", "FROM", "TO"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        way, source, destination = arguments.way
        WAYS[way](Path(source), Path(destination))
        # Linux counts in KiB.
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return 0
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        source = Path(name) / "rpe1_raw_singlecell_01.h5ad"
        generate(source, arguments.scale)
        peak, seconds = measure("ours", source, Path(name))
        written = (Path(name) / "ours.h5ad").stat().st_size / 1e9
        print(f"ours: peak {peak:.2f} GiB (limit {LIMIT_GIB}), {seconds:.0f} s, {written:.2f} GB written")
        if arguments.compare:
            other_peak, other_seconds = measure("scanpy", source, Path(name))
            print(f"scanpy in memory: peak {other_peak:.2f} GiB, {other_seconds:.0f} s; ", end="")
            print(f"ratio {other_peak / peak:.1f} in memory, {other_seconds / seconds:.2f} in time")
    return 0 if peak < LIMIT_GIB else 1


if __name__ == "__main__":
    sys.exit(main())
