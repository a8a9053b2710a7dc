"""Cells and random graphs to train our GEARS and cell-gears on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cell_gears
import numpy as np
import pandas as pd
from scipy import sparse

from diversity_by_design.graphs.graph import Graph

N_NEIGHBOURS = 20


@dataclass(frozen=True, eq=False)
class Data:
    """Cells, graphs and what both models are trained on.

    Attributes
    ----------
    expression : csr_matrix (cells, genes)
        log1p, float32.
    labels : str array (cells,)
    training, validation : int arrays
        Rows of cells; a tenth of the perturbations is for validation, control for training.
    controls : int array (cells,)
        Row of the control cell that each cell starts from; control cells start from themselves.
    de_genes : dict from label to int array (20,)
        Genes whose mean differs most from that of control.
    means : dict from label to float array (genes,)
    coexpression, ontology : Graph
        Random, with 20 neighbours each; all genes can be perturbed.
    """

    expression: sparse.csr_matrix
    labels: np.ndarray
    training: np.ndarray
    validation: np.ndarray
    controls: np.ndarray
    de_genes: dict[str, np.ndarray]
    means: dict[str, np.ndarray]
    coexpression: Graph
    ontology: Graph

    @classmethod
    def of(cls, counts: sparse.csr_matrix, labels: np.ndarray, genes: pd.Index, rng: np.random.Generator) -> Data:
        """What is made of the counts of cells."""
        totals = np.asarray(counts.sum(axis=1), np.float64).ravel()
        expression = sparse.csr_matrix(counts.multiply(1e4 / np.maximum(totals, 1)[:, None]), dtype=np.float32)
        expression.data = np.log1p(expression.data)
        expression.eliminate_zeros()

        names = np.unique(labels[labels != cell_gears.CONTROL])
        held_out = rng.choice(names, max(1, len(names) // 10), replace=False)
        is_control = labels == cell_gears.CONTROL
        rows = np.arange(len(labels))
        means = {name: np.asarray(expression[labels == name].mean(axis=0)).ravel() for name in np.unique(labels)}
        changes = {name: np.abs(means[name] - means[cell_gears.CONTROL]) for name in names}
        perturbable = sorted({gene for name in names for gene in cell_gears.genes_of(name)}.union(genes))
        return cls(
            expression=expression,
            labels=labels,
            training=rows[~np.isin(labels, held_out)],
            validation=rows[np.isin(labels, held_out)],
            controls=np.where(is_control, rows, rng.choice(rows[is_control], len(rows))),
            de_genes={name: np.argsort(-change)[: cell_gears.N_DE_GENES] for name, change in changes.items()},
            means=means,
            coexpression=cell_gears.random_graph(genes, N_NEIGHBOURS, rng),
            ontology=cell_gears.random_graph(perturbable, N_NEIGHBOURS, rng),
        )

    @property
    def perturbations(self) -> list[str]:
        """Their names, without control."""
        return sorted(self.de_genes)

    @property
    def names(self) -> list[str]:
        """Training perturbations, then control."""
        return [*np.setdiff1d(self.labels[self.training], cell_gears.CONTROL).tolist(), cell_gears.CONTROL]

    @property
    def numbers(self) -> np.ndarray:
        """Place of each cell's label in `names`, -1 for cells of other perturbations."""
        return pd.Index(self.names).get_indexer(self.labels)

    def dense(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Expression of the control cells of some cells, and of the cells."""
        return self.expression[self.controls[cells]].toarray(), self.expression[cells].toarray()

    def cell_graphs(self, cells: np.ndarray) -> list[Any]:
        """What cell-gears makes of some cells."""
        controls, targets = self.dense(cells)
        return cell_gears.cell_graphs(controls, targets, self.labels[cells], self.ontology.nodes, self.de_genes)


def generated(n_perturbations: int, n_cells: int, n_control: int, n_genes: int, seed: int = 0) -> Data:
    """Simulated cells; every fourth perturbation is called a combination of two."""
    from diversity_by_design.simulator import GeneParameters, SimulationConfig, simulate_anndata

    config = SimulationConfig(g=n_genes, n_0=n_control, n_p=n_cells, k=n_perturbations)
    adata = simulate_anndata(config, GeneParameters.default(), seed)
    names = [f"P{i}" if i % 4 else f"P{i + 1}+P{i + 2}" for i in range(n_perturbations)]
    found = adata.obs["condition"].astype(str).to_numpy()
    renamed = dict(zip(sorted(set(found) - {cell_gears.CONTROL}), names, strict=True))
    labels = np.array([renamed.get(name, name) for name in found])
    return Data.of(adata.X, labels, pd.Index(adata.var_names), np.random.default_rng(seed))


def of_file(path: Path, seed: int = 0) -> Data:
    import anndata

    adata = anndata.read_h5ad(path)
    labels = adata.obs["perturbation"].astype(str).to_numpy()
    return Data.of(sparse.csr_matrix(adata.X), labels, pd.Index(adata.var_names), np.random.default_rng(seed))
