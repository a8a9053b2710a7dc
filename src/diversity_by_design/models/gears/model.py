"""GEARS (Roohani et al. 2024): a graph network that predicts what a perturbation adds to a cell's expression.

Parameters, their names and the arithmetic are those of cell-gears 0.1.2, so that a state dict moves both ways. What
differs is the way: gene embeddings do not depend on the cell, and what a perturbation adds does not depend on the
cell either, so both are computed once per batch and per distinct perturbation instead of per cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn
from torch_geometric.nn import SGConv

from diversity_by_design.errors import InputError, listed
from diversity_by_design.graphs.graph import Graph
from diversity_by_design.labels import CONTROL, canonical, checked_labels, parts
from diversity_by_design.models.batches import to_device
from diversity_by_design.models.gears.batch_norm import Moments, affine, moments, normalise, running, update
from diversity_by_design.models.gears.decoder import Layer, Spare, decode
from diversity_by_design.models.gears.options import GEARSOptions, Messages
from diversity_by_design.models.gears.propagation import Propagation, convolve

# Part of the position embeddings in a gene's embedding.
POSITION_SHARE = 0.2
NO_GENE = -1
# Genes that a perturbation is of, at most.
TOGETHER = 2
# Rows of genes and perturbations that are predicted together.
_ROWS_PREDICTED = 2**16


@dataclass(frozen=True, eq=False)
class CellGroups:
    """Cells of a batch for which a model computes the same change."""

    pairs: Tensor  # (groups, 2): perturbed genes of each group, as positions in the perturbation graph; -1 for none
    n_cells: Tensor  # (groups,)
    kinds: tuple[int, ...]  # (groups,), ascending: 1 for cells without messages from the co-expression graph, else 0
    kind: Tensor  # the same on the device
    perturbed: Tensor  # groups that have a perturbed gene
    total: int  # cells
    total_perturbed: int  # cells with a perturbed gene

    @classmethod
    def of(
        cls, pairs: npt.NDArray[np.int64], messages: Messages, device: torch.device | str = "cpu"
    ) -> tuple[CellGroups, Tensor]:
        """Group the cells of a batch by their `pairs` (cells, 2); also the group of each cell (cells,)."""
        # Cells differ from the first of a batch where that alone gets messages.
        kind = np.zeros((len(pairs), 1), np.int64)
        if messages == "first_cell":
            kind[1:] = 1
        distinct, group, counts = np.unique(np.hstack([kind, pairs]), axis=0, return_inverse=True, return_counts=True)
        perturbed = np.flatnonzero((distinct[:, 1:] != NO_GENE).any(axis=1))
        groups = cls(
            pairs=to_device(distinct[:, 1:].copy(), device),
            n_cells=to_device(counts.astype(np.float32), device),
            kinds=tuple(distinct[:, 0].tolist()),
            kind=to_device(distinct[:, 0].copy(), device),
            perturbed=to_device(perturbed, device),
            total=len(pairs),
            total_perturbed=int(counts[perturbed].sum()),
        )
        return groups, to_device(group.reshape(-1), device)


class Perceptron(nn.Module):
    """Linear layers, each with batch normalisation, and ReLU between them; as in cell-gears."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
        self.network = nn.Sequential(*layers[:-1])

    def forward(self, rows: Tensor, n_cells: Tensor, total: int) -> Tensor:
        """Output for `rows` (groups, inputs) or (groups, genes, inputs) of `n_cells` equal cells each."""
        for layer in self.network:
            rows = normalise(layer, rows, n_cells, total) if isinstance(layer, nn.BatchNorm1d) else layer(rows)
        return rows


class GEARS(nn.Module):
    """The model of cell-gears 0.1.2, with its default hyper-parameters.

    Parameters
    ----------
    coexpression : Graph
        Of the measured genes, in the order of the expression's columns.
    ontology : Graph
        Of the genes that can be perturbed.
    hidden_size : int
        Length of embeddings.
    num_go_gnn_layers, num_gene_gnn_layers : int
        Graph convolutions over `ontology` and over `coexpression`.
    messages : "first_cell" or "all_cells"
        Which cells of a batch get messages from the co-expression graph. cell-gears passes this graph for one cell
        along with a batch of many, so that only the first cell does; "first_cell" is the same, for the sake of
        comparison, and predictions then are those of a cell without messages. "all_cells" is what was meant.

    Raises
    ------
    InputError
        A size is less than one, a graph has no genes, or `messages` is unknown.
    """

    def __init__(
        self,
        coexpression: Graph,
        ontology: Graph,
        *,
        hidden_size: int = 64,
        num_go_gnn_layers: int = 1,
        num_gene_gnn_layers: int = 1,
        messages: Messages = "first_cell",
    ) -> None:
        super().__init__()
        # For its checks.
        GEARSOptions(
            hidden_size=hidden_size,
            num_go_gnn_layers=num_go_gnn_layers,
            num_gene_gnn_layers=num_gene_gnn_layers,
            messages=messages,
        )
        if not len(coexpression.nodes) or not len(ontology.nodes):
            raise InputError(f"graphs of {len(coexpression.nodes)} and {len(ontology.nodes)} genes; each needs one")
        self.coexpression, self.ontology = coexpression, ontology
        self.genes, self.perturbable = coexpression.nodes, ontology.nodes
        self.messages: Messages = messages
        n_genes, size = len(self.genes), hidden_size

        # In cell-gears' order, so that one seed gives the same parameters.
        self.pert_w = nn.Linear(1, size)
        self.gene_emb = nn.Embedding(n_genes, size, max_norm=1.0)
        self.pert_emb = nn.Embedding(len(self.perturbable), size, max_norm=1.0)
        self.emb_trans_v2 = Perceptron([size, size, size])
        self.pert_fuse = Perceptron([size, size, size])
        self.emb_pos = nn.Embedding(n_genes, size, max_norm=1.0)
        self.layers_emb_pos = nn.ModuleList(SGConv(size, size, 1) for _ in range(num_gene_gnn_layers))
        self.sim_layers = nn.ModuleList(SGConv(size, size, 1) for _ in range(num_go_gnn_layers))
        self.recovery_w = Perceptron([size, 2 * size, size])
        self.indv_w1 = nn.Parameter(torch.rand(n_genes, size, 1))
        self.indv_b1 = nn.Parameter(torch.rand(n_genes, 1))
        nn.init.xavier_normal_(self.indv_w1)
        nn.init.xavier_normal_(self.indv_b1)
        self.cross_gene_state = Perceptron([n_genes, size, size])
        self.indv_w2 = nn.Parameter(torch.rand(1, n_genes, size + 1))
        self.indv_b2 = nn.Parameter(torch.rand(1, n_genes))
        nn.init.xavier_normal_(self.indv_w2)
        nn.init.xavier_normal_(self.indv_b2)
        self.bn_emb = nn.BatchNorm1d(size)
        self.bn_pert_base = nn.BatchNorm1d(size)
        self.bn_pert_base_trans = nn.BatchNorm1d(size)

        self._among_genes = Propagation(coexpression)
        self._among_perturbable = Propagation(ontology)
        self._spare = Spare()

    def perturbation_index(self, labels: Iterable[str], control: str = CONTROL) -> npt.NDArray[np.int64]:
        """Positions (labels, 2) of perturbed genes among those that can be perturbed, -1 for none.

        Raises
        ------
        InputError
            A label is no perturbation, or one of more than two genes. A gene is not in the perturbation graph.
        """
        names = [canonical(label, control) for label in labels]
        many = [name for name in checked_labels({*names} - {control}, "perturbations") if len(parts(name)) > TOGETHER]
        if many:
            raise InputError(
                f"perturbations: {len(many)} combination(s) of more than two genes: {listed(many)}; GEARS is defined "
                "for one or two, so leave these out (make_splits(..., together=2))"
            )
        perturbed = [() if name == control else parts(name) for name in names]
        unknown = {gene for genes in perturbed for gene in genes}.difference(self.perturbable)
        if unknown:
            raise InputError(
                f"{listed(sorted(unknown))}: not in the perturbation graph, which has {len(self.perturbable):,} genes "
                f"({listed(self.perturbable, 5)}); leave perturbations of these out (make_splits(..., "
                "covered=graph.nodes)), or train with a graph that has them"
            )
        index = np.full((len(perturbed), TOGETHER), NO_GENE)
        for row, genes in zip(index, perturbed, strict=True):
            row[: len(genes)] = self.perturbable.get_indexer(pd.Index(genes))
        # Genes of a combination are in the order of the graph, whatever that of its label.
        return -np.sort(-index, axis=1)

    def forward(self, controls: Tensor, pairs: Tensor | npt.NDArray[np.int64]) -> Tensor:
        """Predicted expression (cells, genes): that of control cells, and what the perturbation adds.

        Parameters
        ----------
        controls : float tensor (cells, genes)
            log1p expression of a control cell for each cell to predict.
        pairs : int (cells, 2)
            From `perturbation_index`.
        """
        pairs = np.asarray(pairs.cpu() if isinstance(pairs, Tensor) else pairs)
        if controls.shape != (len(pairs), len(self.genes)):
            raise InputError(
                f"controls have shape {tuple(controls.shape)}; expected {(len(pairs), len(self.genes))}: a row for "
                "each of the perturbations, a column for each gene"
            )
        groups, group = CellGroups.of(pairs, self.messages, controls.device)
        return controls + self.changes(groups)[group]

    @torch.no_grad()
    def predict_changes(self, pairs: npt.NDArray[np.int64]) -> Tensor:
        """What each perturbation adds to a control cell's mean expression (perturbations, genes), in evaluation mode.

        Parameters
        ----------
        pairs : int (perturbations, 2)
            From `perturbation_index`.
        """
        block = max(1, _ROWS_PREDICTED // len(self.genes))
        was_training = self.training
        self.eval()
        parts = [self.indv_b1.new_zeros(0, len(self.genes))]
        try:
            for start in range(0, len(pairs), block):
                part = pairs[start : start + block]
                # A cell of its own kind in front, which is not used, makes all of these cells that are not the first.
                padded = np.vstack([np.full((1, 2), NO_GENE), part]) if self.messages == "first_cell" else part
                groups, group = CellGroups.of(padded, self.messages, self.indv_b1.device)
                parts.append(self.changes(groups)[group[-len(part) :]])
        finally:
            self.train(was_training)
        return torch.cat(parts)

    def changes(self, groups: CellGroups) -> Tensor:
        """What the model adds to control expression (groups, genes); in training of two cells or more."""
        if self.training and groups.total < 2:
            raise InputError("a batch of one cell cannot be trained on, since batch normalisation needs two or more")
        base = self._gene_embeddings(groups)
        shift = self._perturbation_embeddings(groups)
        out = self._decode(base, shift, groups)
        state = self.cross_gene_state(out, groups.n_cells, groups.total)
        own, cross = self.indv_w2[0, :, 0], self.indv_w2[0, :, 1:]
        return torch.addmm(out * own + self.indv_b2, state, cross.t())

    def _gene_embeddings(self, groups: CellGroups) -> Tensor:
        """Embeddings of all genes (kinds, genes, features), of cells with and, if there are any, without messages."""
        all_cells = groups.n_cells.new_full((1,), groups.total)
        embedding = _normed(self.gene_emb)
        embedding = normalise(self.bn_emb, embedding[None], all_cells, groups.total).relu()
        position = _normed(self.emb_pos)
        kinds = [convolve(self.layers_emb_pos, position, self._among_genes)]
        n_cells = all_cells
        if self.messages == "first_cell":
            # Without neighbours only the linear parts of the convolutions are left.
            kinds.append(convolve(self.layers_emb_pos, position, None))
            n_cells = to_device(np.array([1.0, groups.total - 1.0]), all_cells.device).to(all_cells.dtype)
        base = embedding + POSITION_SHARE * torch.stack(kinds)
        return self.emb_trans_v2(base, n_cells, groups.total)

    def _perturbation_embeddings(self, groups: CellGroups) -> Tensor:
        """What each group's perturbation adds to the embeddings of its genes (groups, features)."""
        shift = groups.n_cells.new_zeros(len(groups.n_cells), self.indv_w1.shape[1])
        embedding = _normed(self.pert_emb)
        if not groups.total_perturbed:
            return shift
        embedding = convolve(self.sim_layers, embedding, self._among_perturbable)
        pairs = groups.pairs[groups.perturbed]
        summed = (embedding[pairs.clamp_min(0)] * (pairs != NO_GENE)[..., None]).sum(1)
        # cell-gears counts a single perturbed cell twice, since batch normalisation needs two.
        total = max(groups.total_perturbed, 2)
        n_cells = groups.n_cells[groups.perturbed] * (total / groups.total_perturbed)
        return shift.index_copy(0, groups.perturbed, self.pert_fuse(summed, n_cells, total))

    def _decode(self, base: Tensor, shift: Tensor, groups: CellGroups) -> Tensor:
        """Output of the networks of single genes (groups, genes)."""
        rows = groups.total * len(self.genes)
        # The variance of a sum over all pairs of genes and groups is the sum of variances.
        mean, variance = Moments.of_rows(base)
        of_groups = Moments(mean[groups.kind] + shift, variance[groups.kind])
        factor, summand = affine(
            self.bn_pert_base, moments(self.bn_pert_base, of_groups, groups.n_cells, groups.total, rows)
        )
        layers: list[Any] = list(self.recovery_w.network)
        linear1, norm1, _, linear2, norm2 = layers
        out, *of_batch = decode(
            base * factor,
            shift * factor + summand,
            groups.kinds,
            groups.n_cells / groups.total,
            (
                Layer(*linear1.parameters(), *norm1.parameters()),
                Layer(*linear2.parameters(), *norm2.parameters()),
            ),
            self.indv_w1[..., 0],
            norm1.eps,
            None if self.training else (running(norm1), running(norm2)),
            self._spare,
        )
        if self.training:
            for norm, of_layer in zip((norm1, norm2), of_batch, strict=True):
                update(norm, of_layer, rows)
        return out + self.indv_b1[:, 0]


def _normed(embedding: nn.Embedding) -> Tensor:
    """All embeddings (nodes, features), those longer than `max_norm` shortened first, in place, as torch does."""
    assert embedding.max_norm is not None
    weight = embedding.weight
    with torch.no_grad():
        norms = weight.norm(dim=1, keepdim=True)
        # Without leaving a trace for automatic differentiation: what is used from here on is the shortened one.
        weight.data.mul_(torch.where(norms > embedding.max_norm, embedding.max_norm / (norms + 1e-7), 1.0))
    return weight
