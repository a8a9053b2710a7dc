"""GEARS in a few lines: `fit` on an AnnData, `predict` perturbations, `save` and `load`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor
from tqdm import tqdm

from diversity_by_design.degs import deg_scores
from diversity_by_design.errors import InputError, listed
from diversity_by_design.graphs.coexpression import coexpression_graph
from diversity_by_design.graphs.graph import Graph
from diversity_by_design.labels import parts
from diversity_by_design.models.batches import ExpressionRows, Pseudobulk, SingleCells, TrainingSet
from diversity_by_design.models.checkpoint import read_tensors, write_tensors
from diversity_by_design.models.devices import available_devices
from diversity_by_design.models.gears.model import GEARS
from diversity_by_design.models.loss_choice import LossChoice, build_loss
from diversity_by_design.models.options import TrainingOptions
from diversity_by_design.models.splits import Split
from diversity_by_design.models.training import Log, Target, train
from diversity_by_design.statistics import PerturbationStatistics, expression_matrix, perturbation_labels

if TYPE_CHECKING:
    from anndata import AnnData

# torch has one generator for all threads of a process, some of which may be training models too.
_GENERATOR = Lock()
# Genes by which epochs are compared.
N_TOP_DEGS = 20
# Parts of a saved model's file.
_GRAPHS = ("coexpression", "ontology")


@dataclass(frozen=True, eq=False)
class TrainedGEARS:
    """A trained model, with what it takes to predict.

    Attributes
    ----------
    model : GEARS
        With the parameters of the best epoch, in evaluation mode.
    coexpression, ontology : Graph
        Of the model.
    control_mean : float tensor (genes,)
    history : DataFrame
        Measurements after each epoch.
    options : TrainingOptions
    control : str
        Label of unperturbed cells.
    seconds : float
        What the training took, interruptions not counted.
    """

    model: GEARS
    coexpression: Graph
    ontology: Graph
    control_mean: Tensor
    history: pd.DataFrame
    options: TrainingOptions
    control: str
    seconds: float

    def predict(self, perturbations: Sequence[str] | pd.Index) -> pd.DataFrame:
        """Predicted mean expression (perturbations, genes): that of control cells, and what each perturbation adds.

        Raises
        ------
        InputError
            A gene is not in the perturbation graph. More than two genes are perturbed together.
        """
        perturbations = [perturbations] if isinstance(perturbations, str) else list(perturbations)
        changes = self.model.predict_changes(self.model.perturbation_index(perturbations, self.control))
        return pd.DataFrame(
            (changes + self.control_mean.to(changes.device)).cpu().numpy(),
            index=pd.Index(perturbations, name="perturbation"),
            columns=self.model.genes,
        )

    def save(self, path: Path | str) -> None:
        """Write everything into one safetensors file, whole or not at all."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors["control_mean"] = self.control_mean
        nodes = {}
        for name in _GRAPHS:
            graph: Graph = getattr(self, name)
            nodes[name] = graph.nodes.tolist()
            for part in ("source", "target", "weight"):
                tensors[f"{name}.{part}"] = torch.tensor(getattr(graph, part))
        about = {
            "nodes": nodes,
            "options": self.options.plain(),
            "control": self.control,
            "history": self.history.to_dict("records"),
            "seconds": self.seconds,
        }
        write_tensors(Path(path), tensors, about)


def load(path: Path | str, device: str = "cpu") -> TrainedGEARS:
    """Read a model that `TrainedGEARS.save` wrote.

    Raises
    ------
    InputError
        There is no such file. It is something else.
    """
    tensors, about = read_tensors(Path(path))
    device = available_devices(device)[0]
    if "nodes" not in about:
        raise InputError(f"{path} holds no trained model (a checkpoint of a training, perhaps); expected a saved one")
    options = TrainingOptions(**about["options"])
    coexpression, ontology = (
        Graph(
            pd.Index(about["nodes"][name], dtype=object),
            tensors[f"{name}.source"].numpy(),
            tensors[f"{name}.target"].numpy(),
            tensors[f"{name}.weight"].numpy(),
        )
        for name in _GRAPHS
    )
    model = new_model(coexpression, ontology, options)
    prefix = "model."
    model.load_state_dict(
        {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    )
    return TrainedGEARS(
        model.to(device).eval(),
        coexpression,
        ontology,
        tensors["control_mean"],
        pd.DataFrame(about["history"]),
        options,
        about["control"],
        about["seconds"],
    )


def new_model(coexpression: Graph, ontology: Graph, options: TrainingOptions) -> GEARS:
    """An untrained model on the CPU, whose parameters depend on the options' seed only."""
    with _GENERATOR, torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return GEARS(
            coexpression,
            ontology,
            hidden_size=options.hidden_size,
            num_go_gnn_layers=options.num_go_gnn_layers,
            num_gene_gnn_layers=options.num_gene_gnn_layers,
            messages=options.messages,
        )


def fit(
    adata: AnnData,
    split: Split,
    ontology: Graph | None = None,
    *,
    loss: str = "wmse",
    coexpression: Graph | None = None,
    perturbation: str = "condition",
    control: str = "control",
    device: str = "cpu",
    checkpoint: Path | str | None = None,
    log: Log | None = None,
    bar: Callable[..., tqdm] = tqdm,
    **options: Any,
) -> TrainedGEARS:
    """Train GEARS on the training perturbations of a split (section 3.5).

    Nothing of a test perturbation's cells reaches the model, except through the weights of the losses whose names say
    "all_cells" or "released", which are the paper's.

    Parameters
    ----------
    adata : AnnData
        log1p expression in `X`, in memory; CSR is used as it is.
    split : Split
        From `make_splits`.
    ontology : Graph, optional
        Of the genes that can be perturbed, from `perturbation_graph`. Without it, no perturbation learns from another
        one, and only genes of training perturbations can be predicted.
    loss : str
        "gears", "mse", "wmse" and others: see `LossChoice.parse`.
    coexpression : Graph, optional
        Of the genes; by default made from the training cells (see `coexpression_graph`).
    perturbation, control : str
        As for `PerturbationStatistics.from_anndata`.
    device : str
        "cpu", "cuda" or "cuda:1".
    checkpoint : Path or str, optional
        File that is written after each epoch. If it is there, training goes on from it.
    log : callable, optional
        Such as ``SummaryWriter(...).add_scalar`` of TensorBoard.
    bar : callable
        Makes the progress bar.
    **options
        See `TrainingOptions`.

    Raises
    ------
    InputError
        The data have no such column, control label or perturbation, or a perturbed gene is not in the graph. Options,
        split and data do not fit each other, or the checkpoint is that of another training. An argument is of another
        kind, or no such option.
    NotFiniteError
        The loss became NaN or infinite.
    """
    _require_kinds(split, ontology, loss, options)
    chosen = TrainingOptions(loss=loss, **options)
    device = available_devices(device)[0]
    labels = perturbation_labels(adata, perturbation, control)
    matrix = _csr(expression_matrix(adata))
    statistics = PerturbationStatistics.from_matrix(
        matrix, labels, adata.var_names, control=control, cells=adata.obs_names
    )
    training, validation = split.labels("train"), split.labels("validation")
    absent = training.union(validation).difference(statistics.labels)
    if len(absent):
        raise InputError(f"obs[{perturbation!r}] has no cells of {listed(absent)}, which the split names")
    statistics.require_control()
    if ontology is None:
        ontology = _without_edges(training, split)
    of_training = statistics.select(labels=training)
    names = [*training, control]
    outside = {gene for role in ("validation", "test") for label in split.labels(role) for gene in parts(label)}
    outside = outside.difference(ontology.nodes)
    if outside:
        raise InputError(
            f"{listed(sorted(outside))}: to be predicted, but not in the perturbation graph; make the split with "
            "make_splits(..., covered=graph.nodes)"
        )
    codes = pd.Index(names).get_indexer(pd.Index(labels))
    if coexpression is None:
        coexpression = coexpression_graph(matrix, adata.var_names, rows=codes >= 0, device=device)
    elif not coexpression.nodes.equals(adata.var_names):
        raise InputError(
            f"the co-expression graph is of other genes ({listed(coexpression.nodes, 3)}) than the data "
            f"({listed(adata.var_names, 3)}), or has them in another order"
        )

    model = new_model(coexpression, ontology, chosen).to(device)
    pairs = model.perturbation_index(names, control)
    training_set: TrainingSet
    if chosen.pseudobulk:
        means = np.vstack([of_training.mean, statistics.control_mean])
        training_set = Pseudobulk(_tensor(means, device), **_sizes(chosen))
    else:
        training_set = SingleCells(
            ExpressionRows(matrix, device),
            codes,
            len(training),
            training_cells=chosen.training_cells,
            **_sizes(chosen),
        )
    choice = LossChoice.parse(loss)
    progress = train(
        model,
        build_loss(choice, statistics, training, direction_lambda=chosen.direction_lambda).to(device),
        training_set,
        names,
        pairs,
        [
            _target("train", of_training, model, device),
            _target("validation", statistics.select(labels=validation), model, device),
        ],
        chosen,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        about=_about(chosen, statistics, split, coexpression, ontology),
        log=log,
        bar=bar,
    )
    model.load_state_dict(progress.best)
    return TrainedGEARS(
        model.eval(),
        coexpression,
        ontology,
        _tensor(statistics.control_mean, "cpu"),
        pd.DataFrame(progress.history),
        chosen,
        control,
        progress.seconds,
    )


def _csr(matrix: Any) -> sparse.csr_matrix:
    if not (isinstance(matrix, np.ndarray) or sparse.issparse(matrix)):
        raise InputError("training needs the expression in memory; read the file without backed=, or use to_memory()")
    rows = sparse.csr_matrix(matrix)
    if not rows.has_canonical_format:
        # An entry may be stored in parts, which are added up; not in the user's matrix.
        rows = rows.copy()
        rows.sum_duplicates()
    return rows


def _require_kinds(split: object, ontology: object, loss: object, options: Mapping[str, object]) -> None:
    """Raise InputError for what is easily given instead of what `fit` expects."""
    if not isinstance(split, Split):
        raise InputError(
            f"split is a {type(split).__name__}; expected a Split, one of the two that make_splits returns"
        )
    if not isinstance(ontology, Graph | None):
        raise InputError(
            f"ontology is a {type(ontology).__name__}; expected a Graph: perturbation_graph(path, statistics)"
        )
    if not isinstance(loss, str):
        raise InputError(
            f"loss is a {type(loss).__name__}; expected the name of one, such as 'wmse'. A loss of your own is for a "
            "training loop of your own"
        )
    known = [field.name for field in fields(TrainingOptions) if field.name != "loss"]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise InputError(f"fit has no option {listed(unknown)}; its options are: {listed(known, 30)}")


def _without_edges(training: pd.Index, split: Split) -> Graph:
    """A graph of the genes of the training perturbations, which must be all that is asked for."""
    genes = {gene for label in training for gene in parts(label)}
    asked = split.labels("validation").union(split.labels("test"))
    unknown = sorted({gene for label in asked for gene in parts(label)} - genes)
    if unknown:
        raise InputError(
            f"{listed(unknown)}: in no training perturbation; predicting unseen genes takes a graph that joins them to "
            "others: fit(adata, split, perturbation_graph(...))"
        )
    nothing = np.zeros(0, np.int64)
    return Graph(pd.Index(sorted(genes), dtype=object), nothing, nothing, np.zeros(0, np.float32))


def _sizes(options: TrainingOptions) -> dict[str, int]:
    return {"batch_size": options.batch_size, "passes": options.passes, "seed": options.seed}


def _tensor(values: npt.NDArray[np.float64], device: str) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32, device=device)


def _target(name: str, statistics: PerturbationStatistics, model: GEARS, device: str) -> Target:
    """The perturbations of `statistics` and their top DEGs against control, by which GEARS chooses its epoch."""
    top = deg_scores(statistics, reference="control").top(min(N_TOP_DEGS, len(statistics.genes)))
    return Target(
        name,
        model.perturbation_index(statistics.labels, statistics.control or ""),
        _tensor(statistics.mean - statistics.control_mean, device),
        torch.as_tensor(top, device=device),
    )


def _about(
    options: TrainingOptions, statistics: PerturbationStatistics, split: Split, *graphs: Graph
) -> dict[str, str | float]:
    """What tells a training from others, in words and hashes."""
    roles = split.to_frame().sort_values("perturbation").to_csv(index=False)
    parts = [part for graph in graphs for part in (graph.source, graph.target, graph.weight)]
    sums = [statistics.n_cells, statistics.sum, statistics.sum_sq, statistics.control_sum, statistics.control_sum_sq]
    names = json.dumps([statistics.labels.tolist(), statistics.genes.tolist()])
    return {
        "code": _hash(*(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))),
        "data": _hash(names.encode(), *sums),
        "split": _hash(roles.encode()),
        "graphs": _hash(json.dumps([graph.nodes.tolist() for graph in graphs]).encode(), *parts),
        **options.plain(),
    }


def _hash(*parts: bytes | npt.NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]
