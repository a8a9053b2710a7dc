"""Time and peak memory of analysis 2 on a generated data set of norman19's prepared size.

    uv run benchmarks/real_data_sweeps.py               # 175 x 256 + 8,192 control cells, 8,192 genes
    uv run benchmarks/real_data_sweeps.py --scale 0.1   # a quick look

The data set is generated and prepared in a temporary folder first; the analysis then runs
as a process of its own, whose wall time and largest resident size are printed.
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
from generated import write_screen

ROOT = Path(__file__).parents[1]


def run(*arguments: str, data_dir: Path) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], env={**os.environ, "DBD_DATA_DIR": str(data_dir)}, check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the perturbations, control cells, genes")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    n_labels, n_control, n_genes = (max(20, int(n * options.scale)) for n in (175, 8192, 8192))
    labels = np.concatenate([np.repeat([f"P{i:03d}" for i in range(n_labels)], 256), np.repeat("control", n_control)])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_screen(folder / "generated.h5ad", labels, n_genes)
        arguments = [
            str(ROOT / "analyses" / "2_real_data_sweeps.py"),
            f"--dataset={folder / 'generated.h5ad'}",
            f"--output={folder / 'results'}",
            f"--workers={options.workers}",
            "--cells-per-perturbation=256",
            f"--genes={n_genes}",
            "--min-genes-per-cell=1",
        ]
        both = run(*arguments, data_dir=folder)
        preparing = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        # A process that only runs the analysis, so that its own peak is seen.
        measured = subprocess.run(
            [
                sys.executable,
                "-c",
                "import os, resource, subprocess, sys, time; start = time.perf_counter();"
                "subprocess.run(sys.argv[1:], check=True);"
                "print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)",
                sys.executable,
                *arguments,
                "--force",
            ],
            env={**os.environ, "DBD_DATA_DIR": str(folder)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    seconds, peak = measured.stdout.split()[-2:]
    print(f"{len(labels):,} cells x {n_genes:,} genes, {n_labels} perturbations, {options.workers} workers")
    print(f"analysis 2: {float(seconds):.1f} s, peak {int(peak) / 2**20:.2f} GiB")
    print(f"with the preparation of the raw file: {both:.1f} s, peak {preparing / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
