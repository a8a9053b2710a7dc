"""GEARS as one of the models: how it is fitted, what it predicts, what is kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from diversity_by_design.errors import InputError, listed
from diversity_by_design.graphs.coexpression import coexpression_graph
from diversity_by_design.graphs.graph import Graph
from diversity_by_design.labels import parts
from diversity_by_design.models.batches import Batch, ExpressionRows, Pseudobulk, SingleCells, TrainingSet, to_device
from diversity_by_design.models.data import Cells
from diversity_by_design.models.gears.model import GEARS, CellGroups
from diversity_by_design.models.gears.options import GEARSOptions
from diversity_by_design.models.loss_choice import LossChoice, build_loss
from diversity_by_design.models.protocol import FittedModel, Progress
from diversity_by_design.models.splits import Split
from diversity_by_design.models.storage import Arrays
from diversity_by_design.models.training import Target, identity, seeded, to_arrays, to_tensors, train
from diversity_by_design.statistics import PerturbationStatistics


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainedGEARS(FittedModel):
    """A trained GEARS.

    Attributes
    ----------
    model : GEARS
        With the parameters of the best epoch, in evaluation mode.
    control_mean : float tensor (genes,)
    options : GEARSOptions
    """

    name = "gears"

    model: GEARS
    control_mean: Tensor
    options: GEARSOptions

    @classmethod
    def fit(
        cls,
        cells: Cells,
        split: Split,
        *,
        loss: str | None,
        seed: int,
        device: str,
        checkpoint: Path | None,
        progress: Progress,
        ontology: Graph | None = None,
        coexpression: Graph | None = None,
        **options: Any,
    ) -> TrainedGEARS:
        """Train on the training perturbations of a split (section 3.5); see `FittedModel.fit`.

        Parameters
        ----------
        cells, split, loss, seed, device, checkpoint, progress
            As for every model.
        ontology : Graph, optional
            Of the genes that can be perturbed, from `perturbation_graph`. Without it, no perturbation learns from
            another one, and only genes of training perturbations can be predicted.
        coexpression : Graph, optional
            Of the genes; by default made from the training cells (see `coexpression_graph`).
        **options
            See `GEARSOptions`.

        Raises
        ------
        InputError
            A perturbed gene is not in the graph, or the other graph is of other genes. An option is out of range, or
            there is none of that name. The checkpoint is that of another training.
        NotFiniteError
            The loss became NaN or infinite.
        """
        for name, graph in (("ontology", ontology), ("coexpression", coexpression)):
            if not isinstance(graph, Graph | None):
                raise InputError(
                    f"{name} is a {type(graph).__name__}; expected a Graph: perturbation_graph(path, statistics) or "
                    "coexpression_graph(matrix, genes)"
                )
        chosen = GEARSOptions.given(loss=loss, seed=seed, **options)
        training, statistics = split.labels("train"), cells.statistics
        names = [*training, cells.control]
        codes = cells.codes(names)
        if ontology is None:
            ontology = _without_edges(training)
        if coexpression is None:
            coexpression = coexpression_graph(cells.expression, cells.genes, rows=codes >= 0, device=device)
        elif not coexpression.nodes.equals(cells.genes):
            raise InputError(
                f"the co-expression graph is of other genes ({listed(coexpression.nodes, 3)}) than the data "
                f"({listed(cells.genes, 3)}), or has them in another order"
            )
        model = new_model(coexpression, ontology, chosen).to(device)
        pairs = model.perturbation_index(names, cells.control)
        # That all can be predicted is seen before the training, not after it.
        model.perturbation_index(split.labels("test"), cells.control)
        criterion = build_loss(
            LossChoice.parse(chosen.loss), statistics, training, direction_lambda=chosen.direction_lambda
        )
        targets = []
        for role in ("train", "validation"):
            positions = model.perturbation_index(split.labels(role), cells.control)
            of_role = statistics.select(labels=split.labels(role))
            targets.append(Target.of(role, of_role, partial(model.predict_changes, positions), device))
        state = train(
            model,
            partial(cell_losses, model, criterion.to(device), pairs),
            _training_set(cells, statistics.select(labels=training), codes, chosen, device),
            names,
            targets,
            chosen,
            checkpoint=checkpoint,
            about=identity(cells, split, chosen, [coexpression, ontology], Path(__file__).parent.glob("*.py")),
            progress=progress,
        )
        model.load_state_dict(state.best)
        return cls(
            genes=cells.genes,
            control=cells.control,
            history=pd.DataFrame(state.history),
            seconds=state.seconds,
            model=model.eval(),
            control_mean=torch.tensor(statistics.control_mean, dtype=torch.float32),
            options=chosen,
        )

    def expression(self, labels: pd.Index) -> npt.NDArray[np.float32]:
        """Mean expression of control cells, and what each perturbation adds."""
        changes = self.model.predict_changes(self.model.perturbation_index(labels, self.control))
        return (changes + self.control_mean.to(changes.device)).cpu().numpy()

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """See `FittedModel.state`."""
        arrays = to_arrays({"model": self.model.state_dict()}) | {"control_mean": self.control_mean.numpy()}
        for name, graph in (("coexpression", self.model.coexpression), ("ontology", self.model.ontology)):
            arrays |= {f"{name}.source": graph.source, f"{name}.target": graph.target, f"{name}.weight": graph.weight}
        return arrays, {"perturbable": self.model.perturbable.tolist(), "options": self.options.plain()}

    @classmethod
    def from_state(cls, arrays: Arrays, values: dict[str, Any], *, device: str, **shared: Any) -> TrainedGEARS:
        """See `FittedModel.from_state`."""
        options = GEARSOptions(**values["options"])
        coexpression, ontology = (
            Graph(nodes, arrays[f"{name}.source"], arrays[f"{name}.target"], arrays[f"{name}.weight"])
            for name, nodes in (("coexpression", shared["genes"]), ("ontology", pd.Index(values["perturbable"])))
        )
        model = new_model(coexpression, ontology, options)
        model.load_state_dict(to_tensors(arrays, "model"))
        control_mean = torch.tensor(arrays["control_mean"])
        return cls(**shared, model=model.to(device).eval(), control_mean=control_mean, options=options)


def new_model(coexpression: Graph, ontology: Graph, options: GEARSOptions) -> GEARS:
    """An untrained model on the CPU, whose parameters depend on the options' seed only."""
    sizes = ("hidden_size", "num_go_gnn_layers", "num_gene_gnn_layers", "messages")
    with seeded(options.seed):
        return GEARS(coexpression, ontology, **{name: getattr(options, name) for name in sizes})


def cell_losses(model: GEARS, criterion: nn.Module, pairs: npt.NDArray[np.int64], batch: Batch) -> Tensor:
    """Each cell's part of the loss (cells,) of a batch, of whose labels `pairs` (labels, 2) are the perturbed genes."""
    device = batch.targets.device
    groups, group = CellGroups.of(pairs[batch.labels], model.messages, device)
    prediction = batch.controls + model.changes(groups)[group]
    return criterion(prediction, batch.targets, to_device(batch.labels, device), reduction="none")


def _training_set(
    cells: Cells, of_training: PerturbationStatistics, codes: npt.NDArray[np.int64], options: GEARSOptions, device: str
) -> TrainingSet:
    """Cells or means of the training perturbations, numbered in their order, and of control, which comes last."""
    sizes = {"batch_size": options.batch_size, "passes": options.passes, "seed": options.seed}
    if options.pseudobulk:
        means = np.vstack([of_training.mean, of_training.control_mean])
        return Pseudobulk(torch.as_tensor(means, dtype=torch.float32, device=device), **sizes)
    return SingleCells(
        ExpressionRows(cells.expression, device),
        codes,
        len(of_training.labels),
        training_cells=options.training_cells,
        **sizes,
    )


def _without_edges(training: Sequence[str] | pd.Index) -> Graph:
    """A graph of the genes of the training perturbations, which are all that can be asked for."""
    genes = sorted({gene for label in training for gene in parts(label)})
    nothing = np.zeros(0, np.int64)
    return Graph(pd.Index(genes, dtype=object), nothing, nothing, np.zeros(0, np.float32))
