"""A screen of singles and combinations on which GEARS trains in seconds."""

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from diversity_by_design.graphs.graph import Graph
from diversity_by_design.labels import parts

N_GENES = 25
SINGLES = [f"P{number:02d}" for number in range(8)]
COMBINATIONS = [f"{a}+{b}" for i, a in enumerate(SINGLES) for b in SINGLES[i + 1 :]][:12]


def screen(cells_per_label: int = 12, seed: int = 0) -> AnnData:
    """Expression in which a combination's change is the sum of its genes' changes."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.2, 2.0, N_GENES)
    effects = {gene: rng.normal(size=N_GENES) * (rng.random(N_GENES) < 0.3) for gene in SINGLES}
    blocks, labels = [], []
    for label in ["control", *SINGLES, *COMBINATIONS]:
        change = sum((effects[gene] for gene in parts(label) if gene in effects), np.zeros(N_GENES))
        values = base + change + rng.normal(scale=0.2, size=(cells_per_label, N_GENES))
        blocks.append(np.where(rng.random(values.shape) < 0.2, 0.0, np.maximum(values, 0.0)))
        labels += [label] * cells_per_label
    return AnnData(
        sparse.csr_matrix(np.vstack(blocks).astype(np.float32)),
        obs=pd.DataFrame({"condition": labels}, index=[f"cell{number}" for number in range(len(labels))]),
        var=pd.DataFrame(index=[f"G{number:02d}" for number in range(N_GENES)]),
    )


def ring(nodes: list[str], weight: float = 0.5) -> Graph:
    """Every node gets messages from the one before it."""
    target = np.arange(len(nodes))
    return Graph(
        pd.Index(nodes, dtype=object), np.roll(target, 1), target, np.full(len(nodes), weight, dtype=np.float32)
    )


def ontology() -> Graph:
    """Graph of the perturbed genes."""
    return ring(SINGLES)
