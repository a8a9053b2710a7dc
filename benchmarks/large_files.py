"""Time, memory and cores of inspecting, preparing and summing up files that do not fit in memory.

    uv run benchmarks/large_files.py                       10 GB, and a half and a quarter of it, as h5ad and zarr
    uv run benchmarks/large_files.py --gigabytes 1 0.5     smaller ones

A file has 20,000 genes, of which 12.5 % are detected in a cell, 400 perturbations and control, stored as CSR without
compression, so that its size on disk is what has to be read. Cells are repeated from 10,000 different ones. Each step
runs in a process of its own, after a first one on a small file that fills the caches of compiled kernels; what is shown
are its wall time, the cores that it kept busy, and its largest memory. Bars: 10 s and 1 GiB for ``dbd inspect`` of
10 GB; time linear in cells.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

N_GENES, N_DIFFERENT, N_PERTURBATIONS = 20_000, 10_000, 400
BYTES_PER_VALUE = 8
SMALL = 0.05  # gigabytes of the file of which nothing is measured

STEPS = {
    "inspect": "from diversity_by_design.datasets.inspection import inspect_file; print(inspect_file(path).text())",
    "prepare": (
        "from diversity_by_design.datasets.prepare import prepare\n"
        "from diversity_by_design.datasets.settings import PreparationSettings\n"
        "print(prepare(path, path.parent / 'prepared' / 'p.h5ad', PreparationSettings(), 0).text())"
    ),
    "statistics": (
        "from diversity_by_design import PerturbationStatistics\n"
        "print(PerturbationStatistics.from_matrix(*expression(path)))"
    ),
    "ten halvings": (
        "from diversity_by_design.groups import LabelledCells\n"
        "from diversity_by_design.halves import halved\n"
        "cells = LabelledCells.from_matrix(*expression(path), control='control')\n"
        "numbers = cells.perturbations()['']\n"
        "chosen = {'': numbers.index[numbers > 3]}\n"
        "print(len(halved(cells, chosen, 10, 0)[1]))"
    ),
}

CHILD = """
import json, resource, sys, time, warnings
from pathlib import Path
import pandas as pd
warnings.simplefilter("ignore")
path = Path(sys.argv[1])

def expression(path):
    import h5py, zarr
    from anndata.io import read_elem, sparse_dataset
    root = h5py.File(path, "r") if path.is_file() else zarr.open_group(path, mode="r")
    labels = read_elem(root["obs/perturbation"])
    return sparse_dataset(root["layers/expression"]), labels, pd.Index(read_elem(root["var/_index"]))

start = time.perf_counter()
{step}
wall = time.perf_counter() - start
use = resource.getrusage(resource.RUSAGE_SELF)
# Unlike ru_maxrss this knows nothing of the process that started this one.
[peak] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(json.dumps([wall, (use.ru_utime + use.ru_stime) / wall, int(peak) / 2**20]))
"""


def write(path: Path, gigabytes: float) -> int:
    """Write a file of this size, its counts in `X` and log1p expression in a layer; the number of cells."""
    import anndata as ad
    import h5py
    import zarr
    from anndata.io import write_elem

    rng = np.random.default_rng(0)
    n_values = N_GENES // 8
    # The two layers share the size between them.
    n_cells = int(gigabytes * 1e9 / (2 * BYTES_PER_VALUE * n_values))
    labels = rng.integers(0, N_PERTURBATIONS + 20, n_cells)
    names = np.array([f"P{i}" for i in range(N_PERTURBATIONS)] + ["control"])[np.minimum(labels, N_PERTURBATIONS)]
    obs = pd.DataFrame({"perturbation": pd.Categorical(names)}, index=[f"cell{i}" for i in range(n_cells)])
    adata = ad.AnnData(obs=obs, var=pd.DataFrame(index=[f"GENE{i}" for i in range(N_GENES)]))
    different = min(N_DIFFERENT, n_cells)
    indices = np.sort(np.argsort(rng.random((different, N_GENES), np.float32), axis=1)[:, :n_values], axis=1)
    counts = rng.geometric(0.5, indices.shape).astype(np.float32)
    expression = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4).astype(np.float32)

    hdf5 = path.suffix == ".h5ad"
    root = h5py.File(path, "w") if hdf5 else zarr.open_group(path, mode="w", zarr_format=2)
    write_elem(root, "/", adata)
    more = {} if hdf5 else {"compressor": None}
    for name, values in (("X", counts), ("layers/expression", expression)):
        group = root.create_group(name)
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [n_cells, N_GENES]})
        create = group.create_dataset if hdf5 else group.create_array
        shape = (n_cells * n_values,)
        data = create("data", shape=shape, dtype="f4", chunks=(2**20,), **more)
        columns = create("indices", shape=shape, dtype="i4", chunks=(2**20,), **more)
        indptr = create("indptr", shape=(n_cells + 1,), dtype="i8", **({} if hdf5 else {"chunks": (2**16,)}))
        indptr[:] = np.arange(n_cells + 1, dtype=np.int64) * n_values
        for start in range(0, n_cells, different):
            stop = min(start + different, n_cells)
            part = slice(start * n_values, stop * n_values)
            data[part] = values[: stop - start].ravel()
            columns[part] = indices[: stop - start].astype(np.int32).ravel()
    if hdf5:
        root.close()
    return n_cells


def measured(step: str, path: Path) -> list[float]:
    """Wall time in seconds, cores and largest memory in GiB of a step."""
    command = [sys.executable, "-c", CHILD.replace("{step}", step), str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[2.5, 5.0, 10.0])
    parser.add_argument("--forms", nargs="+", default=["h5ad", "zarr"])
    parser.add_argument("--steps", nargs="+", default=list(STEPS))
    options = parser.parse_args()
    for form in options.forms:
        for gigabytes in [SMALL, *sorted(options.gigabytes)]:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"screen.{form}"
                n_cells = write(path, gigabytes)
                size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")))
                for name in options.steps:
                    wall, cores, memory = measured(STEPS[name], path)
                    if gigabytes > SMALL:
                        print(
                            f"{form}, {size / 1e9:5.2f} GB, {n_cells:9,} cells, {name:12}: {wall:6.1f} s "
                            f"({1e6 * wall / n_cells:6.1f} us/cell), {cores:.2f} cores, {memory:.2f} GiB",
                            flush=True,
                        )


if __name__ == "__main__":
    main()
