"""Small data sets that tests make."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from diversity_by_design import Truth
from diversity_by_design.datasets.demo import DemoParameters, generate_demo

DEMO = DemoParameters(
    n_singles=16,
    n_doubles=6,
    cells_per_perturbation=48,
    n_rare=0,
    n_control_cells=160,
    n_low_quality_cells=0,
    n_genes=500,
    n_silent_genes=0,
    n_modules=5,
    smallest_module=8,
    largest_module=16,
    private_genes=6,
)


def make_expression(
    seed: int = 0, n_labels: int = 6, n_genes: int = 40, dtype: type = np.float32, effect: float = 0.4
) -> ad.AnnData:
    """A small data set: log1p expression as CSR, `n_labels` perturbations (two of them a combination) and control."""
    rng = np.random.default_rng(seed)
    names = [f"P{i}" for i in range(n_labels - 1)] + ["P0+P1"]
    labels = np.repeat([*names, "control"], [*rng.integers(8, 20, n_labels), 30])
    mean = rng.lognormal(0, 1, n_genes)
    effects = {name: rng.lognormal(0, effect, n_genes) for name in names} | {"control": np.ones(n_genes)}
    counts = rng.poisson(mean * np.array([effects[label] for label in labels]))
    counts[:, 0] += 1
    values = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
    order = rng.permutation(len(labels))
    return ad.AnnData(
        sparse.csr_matrix(values[order].astype(dtype)),
        obs=pd.DataFrame(
            {"condition": pd.Categorical(labels[order]), "ncounts": counts.sum(axis=1)[order].astype(float)},
            index=[f"cell{i}" for i in range(len(labels))],
        ),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)]),
    )


# Perturbations of `make_lines` that models are trained on, and the others.
TRAIN = ["P0", "P1", "P2", "P3"]
TESTED = ["P0+P1", "P4", "P5", "P6", "P7"]


def make_lines() -> ad.AnnData:
    """A small data set of strong effects, with two contexts in ``obs["line"]``."""
    adata = make_expression(seed=3, n_labels=9, n_genes=60, effect=1.0)
    adata.obs["line"] = np.where(np.arange(adata.n_obs) % 2, "b", "a")
    return adata


def write_counts(path: Path, seed: int = 3, n_labels: int = 8, n_genes: int = 40) -> Path:
    """Write raw counts of a small screen, with the condition in a column of its own name, ``guide``."""
    cells = make_expression(seed=seed, n_labels=n_labels, n_genes=n_genes, effect=1.0)
    counts = np.round(np.expm1(cells.X.toarray()) / 100)
    obs = cells.obs[["condition"]].rename(columns={"condition": "guide"})
    ad.AnnData(counts, obs=obs, var=cells.var).write_h5ad(path)
    return path


def make_demo(seed: int = 0) -> ad.AnnData:
    """The demo data set in small: raw counts of 16 singles, 6 doubles and control."""
    return generate_demo(seed, DEMO)


def make_paper_truth(n_genes: int = 60) -> Truth:
    """Eight single perturbations and a combination as the paper compares them; most have some DEGs."""
    return Truth.from_anndata(make_expression(seed=3, n_labels=9, n_genes=n_genes, effect=1.0), mode="paper", seed=1)
