"""cell-gears 0.1.2 on arrays: its model, its batches, its training and its prediction, what ours are checked and timed
against.

Nothing of cell-gears is changed. Only what surrounds the model and its trainer is replaced, since it downloads and
pickles files and fails with current pandas: graphs come as arrays of edges, and the trainer gets an object with the
attributes that it reads. Importing the model takes seconds, the trainer half a minute.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from diversity_by_design.graphs.graph import Graph

CONTROL = "control"
N_DE_GENES = 20


def _origin() -> str | None:
    # A folder called gears on the path is found as well, but has no file.
    package = importlib.util.find_spec("gears")
    return None if package is None else package.origin


def is_installed() -> bool:
    return _origin() is not None


@cache
def model_module() -> ModuleType:
    """cell-gears' ``gears.model`` as a module of its own: importing the package costs half a minute."""
    origin = _origin()
    if origin is None:
        raise ImportError("cell-gears is not installed; `pip install cell-gears==0.1.2`")
    spec = importlib.util.spec_from_file_location("cell_gears_model", Path(origin).with_name("model.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def condition(label: str) -> str:
    """cell-gears' name of a perturbation: ``ctrl``, ``A+ctrl``, ``A+B``."""
    if label == CONTROL:
        return "ctrl"
    return label if "+" in label else f"{label}+ctrl"


def genes_of(label: str) -> list[str]:
    return [] if label == CONTROL else label.split("+")


def random_graph(nodes: Iterable[str], n_neighbours: int, rng: np.random.Generator) -> Graph:
    """A graph with so many edges to every node, from random other nodes, with weights in (0.1, 1)."""
    nodes = pd.Index(nodes)
    n = len(nodes)
    # Steps around a circle: distinct, and never back to the node itself.
    steps = np.stack([rng.choice(n - 1, n_neighbours, replace=False) + 1 for _ in range(n)])
    target = np.repeat(np.arange(n), n_neighbours)
    return Graph(nodes, (target + steps.ravel()) % n, target, rng.uniform(0.1, 1.0, n * n_neighbours))


def edges(graph: Graph) -> tuple[Any, Any]:
    """Tensors of a graph's edges: int64 (2, edges) and float32 (edges,)."""
    import torch

    index = torch.as_tensor(np.stack([graph.source, graph.target]).astype(np.int64))
    return index, torch.as_tensor(np.asarray(graph.weight, np.float32))


def repeated_edges(graph: Graph, n_cells: int) -> tuple[Any, Any]:
    """The edges once for every cell of a batch, as PyTorch Geometric would offset them; cell-gears does not."""
    import torch

    index, weight = edges(graph)
    offsets = torch.arange(n_cells).repeat_interleave(index.shape[1]) * len(graph.nodes)
    return index.repeat(1, n_cells) + offsets, weight.repeat(n_cells)


def make_model(
    coexpression: Graph,
    ontology: Graph,
    *,
    hidden_size: int = 64,
    num_go_gnn_layers: int = 1,
    num_gene_gnn_layers: int = 1,
    device: str = "cpu",
):
    """cell-gears' `GEARS_Model` on two graphs.

    Parameters
    ----------
    coexpression, ontology : Graph
        The nodes of the first are the genes, those of the second what can be perturbed.
    hidden_size, num_go_gnn_layers, num_gene_gnn_layers, device
        As cell-gears has them.
    """
    coexpression_index, coexpression_weight = edges(coexpression)
    ontology_index, ontology_weight = edges(ontology)
    arguments = {
        "num_genes": len(coexpression.nodes),
        "num_perts": len(ontology.nodes),
        "hidden_size": hidden_size,
        "decoder_hidden_size": 16,  # read, not used
        "num_go_gnn_layers": num_go_gnn_layers,
        "num_gene_gnn_layers": num_gene_gnn_layers,
        "uncertainty": False,
        "no_perturb": False,
        "G_coexpress": coexpression_index,
        "G_coexpress_weight": coexpression_weight,
        "G_go": ontology_index,
        "G_go_weight": ontology_weight,
        "device": device,
    }
    return model_module().GEARS_Model(arguments).to(device)


def cell_graphs(
    controls: np.ndarray,
    targets: np.ndarray,
    labels: Sequence[str],
    nodes: pd.Index,
    de_genes: dict[str, np.ndarray] | None = None,
) -> list[Any]:
    """One graph object per cell, with the fields that cell-gears gives it.

    Parameters
    ----------
    controls, targets : float arrays (cells, genes)
        Expression of the control cell that a cell starts from, and of the cell.
    labels : sequence of str (cells,)
        ``control``, ``A`` or ``A+B``.
    nodes : Index
        Nodes of the ontology graph.
    de_genes : dict from label to int array (20,), optional
        Positions of the genes that the validation looks at; without them none, as for control.
    """
    import torch
    from torch_geometric.data import Data

    graphs = []
    for control, target, label in zip(controls, targets, labels, strict=True):
        graphs.append(
            Data(
                x=torch.as_tensor(control, dtype=torch.float32).reshape(-1, 1),
                y=torch.as_tensor(target, dtype=torch.float32).reshape(1, -1),
                pert=condition(label),
                pert_idx=[nodes.get_loc(gene) for gene in genes_of(label)] or [-1],
                de_idx=[-1] * N_DE_GENES if de_genes is None or label == CONTROL else de_genes[label],
            )
        )
    return graphs


def make_batch(controls: np.ndarray, targets: np.ndarray, labels: Sequence[str], nodes: pd.Index, **options: Any):
    """A batch of `cell_graphs`."""
    from torch_geometric.data import Batch

    return Batch.from_data_list(cell_graphs(controls, targets, labels, nodes, **options))


class _Expression(sparse.csr_matrix):
    """A CSR matrix whose rows a pandas Series can choose, which cell-gears' trainer does and SciPy refuses."""

    def __getitem__(self, key):
        return super().__getitem__(key.to_numpy() if isinstance(key, pd.Series) else key)


def expressed_genes(expression: sparse.csr_matrix, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Positions of the genes that some cell of a perturbation expresses; its loss leaves out the others."""
    return {
        label: np.flatnonzero(expression[np.flatnonzero(labels == label)].getnnz(axis=0)) for label in np.unique(labels)
    }


def make_trainer(
    coexpression: Graph,
    ontology: Graph,
    expression: sparse.csr_matrix,
    labels: np.ndarray,
    *,
    train: Iterable[Any],
    validation: Iterable[Any],
    device: str = "cpu",
    **hyper_parameters: Any,
):
    """cell-gears' own trainer, `gears.GEARS`, with a model; its ``train()`` and ``predict()`` can be called.

    Parameters
    ----------
    coexpression, ontology : Graph
    expression : csr_matrix (cells, genes)
        log1p expression, for the mean of control, the genes that its loss leaves out and the cells that it predicts
        from. No stored zeros.
    labels : str array (cells,)
    train, validation : iterables of batches
        Loaders, or lists of batches.
    hyper_parameters
        Of ``GEARS.model_initialize``.
    """
    import anndata
    from gears.gears import GEARS

    conditions = [condition(label) for label in labels]
    adata = anndata.AnnData(
        _Expression(expression),
        obs=pd.DataFrame(
            {"condition": conditions, "condition_name": conditions}, index=np.arange(len(labels)).astype(str)
        ),
        var=pd.DataFrame({"gene_name": coexpression.nodes}, index=coexpression.nodes),
        uns={
            "non_zeros_gene_idx": {
                condition(label): genes
                for label, genes in expressed_genes(expression, labels).items()
                if label != CONTROL
            }
        },
    )
    data = SimpleNamespace(
        dataloader={"train_loader": train, "val_loader": validation},
        adata=adata,
        gene_names=adata.var["gene_name"],
        pert_names=np.asarray(ontology.nodes, dtype=object),
        node_map={gene: position for position, gene in enumerate(coexpression.nodes)},
        node_map_pert={gene: position for position, gene in enumerate(ontology.nodes)},
        data_path=None,
        dataset_name=None,
        split="no_test",
        seed=0,
        train_gene_set_size=None,
        set2conditions=None,
        subgroup=None,
        default_pert_graph=False,
    )
    trainer = GEARS(data, device=device)
    coexpression_index, coexpression_weight = edges(coexpression)
    ontology_index, ontology_weight = edges(ontology)
    trainer.model_initialize(
        G_coexpress=coexpression_index,
        G_coexpress_weight=coexpression_weight,
        G_go=ontology_index,
        G_go_weight=ontology_weight,
        **hyper_parameters,
    )
    return trainer


class Recorder:
    """Stands where cell-gears reports to Weights & Biases: keeps what it reports, and when.

    Attributes
    ----------
    losses : list of float
        Loss of every training step.
    seconds : list of float
        `time.perf_counter` after every training step.
    epochs : list of dict
        What it reports after each epoch: ``train_mse``, ``val_de_mse`` and others.
    """

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.seconds: list[float] = []
        self.epochs: list[dict[str, float]] = []

    def log(self, values: dict[str, float]) -> None:
        """Take what is reported."""
        if "training_loss" in values:
            self.losses.append(values["training_loss"])
            self.seconds.append(time.perf_counter())
        elif any(name.startswith("train_") for name in values):
            if not self.epochs or set(values) <= set(self.epochs[-1]):
                self.epochs.append({})
            self.epochs[-1].update(values)


def train(trainer, epochs: int = 1, **options: Any) -> Recorder:
    """Run cell-gears' ``train()``, unchanged, and return what it reported."""
    trainer.wandb = recorder = Recorder()
    trainer.train(epochs=epochs, **options)
    return recorder
