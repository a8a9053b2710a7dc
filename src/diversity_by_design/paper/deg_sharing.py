"""Which DEGs perturbations share: the tables behind figures 2A and 5A to 5E."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.cluster.hierarchy import leaves_list, linkage

from diversity_by_design.degs import DegScores


def deg_frequencies(vs_control: DegScores, vs_rest: DegScores) -> pd.DataFrame:
    """In how many perturbations each gene is differentially expressed.

    Columns: `rank`, `gene`, `n_vs_control`, `n_vs_rest`, `percent_vs_control`, `percent_vs_rest` (of perturbations).
    """
    table = pd.DataFrame(
        {
            "gene": vs_control.genes,
            "n_vs_control": vs_control.is_deg.sum(axis=0),
            "n_vs_rest": vs_rest.is_deg.sum(axis=0),
        }
    ).sort_values(["n_vs_control", "gene"], ascending=[False, True], ignore_index=True)
    for reference in ("vs_control", "vs_rest"):
        table[f"percent_{reference}"] = 100.0 * table[f"n_{reference}"] / len(vs_control.labels)
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    return table


def deg_counts(vs_control: DegScores, vs_rest: DegScores) -> pd.DataFrame:
    """Number of DEGs of each perturbation: `perturbation`, `n_vs_control`, `n_vs_rest`."""
    return pd.DataFrame(
        {"perturbation": vs_control.labels, "n_vs_control": vs_control.n_degs, "n_vs_rest": vs_rest.n_degs}
    )


def trinary_matrix(degs: DegScores, max_labels: int, max_genes: int, seed: int) -> pd.DataFrame:
    """Direction of every DEG, rows and columns clustered: 1 up, -1 down, 0 unchanged.

    `max_labels, max_genes`: larger data sets are sampled at random to this size, for the sake of the drawing. Genes
    that are a DEG of at least one perturbation, in the order of an average-linkage clustering.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    rows = _sample(np.arange(len(degs.labels)), max_labels, rng)
    signs = np.where(degs.is_deg[rows], np.sign(degs.t[rows]), 0).astype(np.int8)
    columns = _sample(np.flatnonzero(signs.any(axis=0)), max_genes, rng)
    signs = signs[:, columns]
    by_row, by_column = _clustered(signs), _clustered(signs.T)
    return pd.DataFrame(
        signs[by_row][:, by_column],
        index=pd.Index(degs.labels[rows][by_row], name="perturbation"),
        columns=degs.genes[columns][by_column],
    )


def _sample(positions: npt.NDArray[np.intp], most: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    return positions if len(positions) <= most else np.sort(rng.choice(positions, most, replace=False))


def _clustered(rows: npt.NDArray[np.int8]) -> npt.NDArray[np.intp]:
    """Order of the rows that puts similar ones side by side."""
    if len(rows) < 3:
        return np.arange(len(rows))
    return leaves_list(linkage(rows.astype(np.float32), method="average", metric="cityblock"))
