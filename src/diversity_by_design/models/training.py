"""The training loop: Adam, a checkpoint after each epoch, the best epoch by the error of the top DEGs."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from diversity_by_design.degs import deg_scores
from diversity_by_design.errors import InputError, listed
from diversity_by_design.graphs.graph import Graph
from diversity_by_design.models.batches import Batch, IntArray, TrainingSet
from diversity_by_design.models.data import Cells
from diversity_by_design.models.options import TrainingOptions
from diversity_by_design.models.protocol import BARS, Progress
from diversity_by_design.models.splits import Split
from diversity_by_design.models.storage import Arrays, checksum, read_arrays, write_arrays
from diversity_by_design.statistics import PerturbationStatistics

# Steps between two looks at the loss, each of which a GPU must be waited for.
STEPS_PER_LOOK = 25
# Genes by which epochs are compared.
N_TOP_DEGS = 20

# torch has one generator for all threads of a process, some of which may be training models too.
_GENERATOR = Lock()


class NotFiniteError(InputError):
    """The loss became NaN or infinite."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """What torch draws on the CPU within the block, such as a new model's parameters, depends on the seed only."""
    with _GENERATOR, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@dataclass(frozen=True, eq=False)
class Target:
    """Perturbations on which a model is measured after each epoch."""

    name: str  # of the measurements: "train" or "validation"
    predict: Callable[[], Tensor]  # gives what the model predicts of `changes`, on the same device
    changes: Tensor  # (perturbations, genes): true mean expression minus that of control cells
    top_degs: Tensor  # bool (perturbations, genes)

    @classmethod
    def of(cls, name: str, statistics: PerturbationStatistics, predict: Callable[[], Tensor], device: str) -> Target:
        """The perturbations of some statistics, with their top DEGs against control."""
        top = deg_scores(statistics, reference="control").top(min(N_TOP_DEGS, len(statistics.genes)))
        changes = torch.as_tensor(statistics.mean - statistics.control_mean, dtype=torch.float32, device=device)
        return cls(name, predict, changes, torch.as_tensor(top, device=device))

    def measure(self) -> dict[str, float]:
        """Mean over perturbations of the squared errors of all genes, and of the top DEGs."""
        errors = (self.predict() - self.changes).double().square()
        of_top = (errors * self.top_degs).sum(1) / self.top_degs.sum(1)
        return {f"{self.name}_mse": errors.mean().item(), f"{self.name}_mse_top_degs": of_top.mean().item()}


def identity(
    cells: Cells, split: Split, options: TrainingOptions, graphs: Sequence[Graph], code: Iterable[Path]
) -> dict[str, Any]:
    """What tells a training from others, in words and hashes; `code` are the model's own files."""
    statistics = cells.statistics
    names = [statistics.labels.tolist(), statistics.genes.tolist()]
    sums = [statistics.n_cells, statistics.sum, statistics.sum_sq, statistics.control_sum, statistics.control_sum_sq]
    shared = [Path(__file__).with_name(f"{name}.py") for name in ("batches", "loss_choice", "losses", "training")]
    hashes = {
        "code": checksum(*(path.read_bytes() for path in sorted([*code, *shared]))),
        "data": checksum(json.dumps(names).encode(), *sums),
        "split": checksum(split.to_frame().to_csv(index=False).encode()),
        "graphs": checksum(
            json.dumps([graph.nodes.tolist() for graph in graphs]).encode(),
            *(part for graph in graphs for part in (graph.source, graph.target, graph.weight)),
        ),
    }
    return {name: value[:16] for name, value in hashes.items()} | options.plain()


class TrainingState:
    """Where a training is; at first, before its first epoch."""

    def __init__(self, model: nn.Module, options: TrainingOptions) -> None:
        self.model, self.options = model, options
        self.optimiser = torch.optim.Adam(
            model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, fused=True
        )
        # The model's state after the epoch with the least error of the last target's top DEGs.
        self.best, self.best_error = deepcopy(model.state_dict()), math.inf
        self.history: list[dict[str, float]] = []  # measurements after each epoch
        self.seconds = 0.0  # what the epochs took

    def write(self, path: Path, about: Mapping[str, Any]) -> None:
        """Write a checkpoint, whole or not at all."""
        of_optimiser = self.optimiser.state_dict()["state"]
        states = {"model": self.model.state_dict(), "best": self.best}
        states |= {f"optimiser.{number}": state for number, state in of_optimiser.items()}
        progress = {"best_error": self.best_error, "history": self.history, "seconds": self.seconds}
        write_arrays(path, to_arrays(states), {"of": about, **progress})

    def read(self, path: Path, about: Mapping[str, Any]) -> None:
        """Go on from a checkpoint, which must be of the training that is asked for."""
        arrays, progress = read_arrays(path)
        if "of" not in progress:
            raise InputError(f"{path} is no checkpoint of a training (a saved model, perhaps); choose another file")
        there = progress["of"]
        different = [
            f"{name} is {there.get(name, 'unknown')!r} there and {about.get(name, 'unknown')!r} here"
            for name in dict.fromkeys([*about, *there])
            if there.get(name) != about.get(name)
        ]
        if different:
            raise InputError(
                f"{path} is the checkpoint of another training: {listed(different, 5)}; choose another file, or "
                "remove it"
            )
        self.model.load_state_dict(to_tensors(arrays, "model"))
        self.best = to_tensors(arrays, "best")
        numbers = {int(name.split(".")[1]) for name in arrays if name.startswith("optimiser.")}
        state = {number: to_tensors(arrays, f"optimiser.{number}") for number in sorted(numbers)}
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})
        self.best_error, self.history, self.seconds = (progress[key] for key in ("best_error", "history", "seconds"))


def to_arrays(states: Mapping[str, Mapping[str, Tensor]]) -> Arrays:
    """Tensors of some state dicts, each named by its dict's name and its own."""
    return {
        f"{prefix}.{name}": value.detach().cpu().numpy()
        for prefix, state in states.items()
        for name, value in state.items()
    }


def to_tensors(arrays: Arrays, prefix: str) -> dict[str, Tensor]:
    """The state dict of that name among `to_arrays`, on the CPU."""
    names = [name for name in arrays if name.startswith(f"{prefix}.")]
    return {name.removeprefix(f"{prefix}."): torch.tensor(arrays[name]) for name in names}


def train(
    model: nn.Module,
    cell_losses: Callable[[Batch], Tensor],
    training_set: TrainingSet,
    labels: Sequence[str],
    targets: Sequence[Target],
    options: TrainingOptions,
    *,
    checkpoint: Path | None = None,
    about: Mapping[str, Any] | None = None,
    progress: Progress = BARS,
) -> TrainingState:
    """Train a model on the device it is on; it ends with the last epoch's parameters, `best` has the best one's.

    `cell_losses` gives each cell's part of the loss (cells,) of a batch, as the model stands; `labels` (labels,) are
    those that the training set numbers, control among them; the last of `targets` decides which epoch is best.
    `checkpoint` is written after each epoch. One that is there is gone on from, to the same result as without
    interruption; it must agree with what tells this training from others, `about` (see `identity`).
    """
    state, about = TrainingState(model, options), dict(about or {})
    if checkpoint is not None and checkpoint.exists():
        state.read(checkpoint, about)
    steps, done = training_set.n_batches, len(state.history)
    with progress.bar(total=steps * options.epochs, initial=steps * done, unit="step") as bar:
        for epoch in range(done, options.epochs):
            began = time.perf_counter()
            try:
                losses = _epoch(state, cell_losses, training_set, labels, progress, bar)
                record = {"epoch": epoch + 1, "loss": float(np.mean(losses))}
                for target in targets:
                    record |= target.measure()
                # The last step of an epoch can break the model, which its loss does not show.
                wrong = [name for name, value in record.items() if not math.isfinite(value)]
                if wrong:
                    raise NotFiniteError(f"{listed(wrong)} is not finite after epoch {epoch + 1}")
            except NotFiniteError as error:
                kept = f"the checkpoint of epoch {epoch} is kept: {checkpoint}" if epoch and checkpoint else ""
                raise NotFiniteError(
                    f"{error}; {kept or 'there is no checkpoint yet'}. Lower the learning rate"
                ) from None
            state.history.append(record)
            top_degs_error = record[f"{targets[-1].name}_mse_top_degs"]
            if top_degs_error < state.best_error:
                state.best_error, state.best = top_degs_error, deepcopy(model.state_dict())
            state.seconds += time.perf_counter() - began
            if checkpoint is not None:
                state.write(checkpoint, about)
            if progress.log is not None:
                for name, value in record.items():
                    progress.log(name, value, epoch + 1)
    return state


def _epoch(
    state: TrainingState,
    cell_losses: Callable[[Batch], Tensor],
    training_set: TrainingSet,
    labels: Sequence[str],
    progress: Progress,
    bar: tqdm,
) -> list[float]:
    """Train for an epoch; the loss of each step."""
    epoch, options = len(state.history), state.options
    for group in state.optimiser.param_groups:
        group["lr"] = options.learning_rate * options.learning_rate_decay**epoch
    state.model.train()
    losses: list[float] = []
    unseen: list[tuple[Tensor, IntArray]] = []
    for step, batch in enumerate(training_set.batches(epoch), 1):
        state.optimiser.zero_grad()
        of_cells = cell_losses(batch)
        of_cells.mean().backward()
        nn.utils.clip_grad_value_(state.model.parameters(), options.clip)
        state.optimiser.step()
        unseen.append((of_cells.detach(), batch.labels))
        if len(unseen) == STEPS_PER_LOOK or step == training_set.n_batches:
            values = torch.stack([of_cells.double() for of_cells, _ in unseen]).cpu().numpy()
            wrong = ~np.isfinite(values)
            if wrong.any():
                row = int(np.flatnonzero(wrong.any(axis=1))[0])
                of = sorted({labels[number] for number in unseen[row][1][wrong[row]]})
                raise NotFiniteError(
                    f"the loss is not finite in epoch {epoch + 1}, step {step - len(unseen) + row + 1}, for cells of "
                    f"{listed(of)}, whose expression may be the reason"
                )
            losses += values.mean(axis=1).tolist()
            bar.update(len(unseen))
            bar.set_postfix_str(f"epoch {epoch + 1}, loss {np.mean(losses[-len(unseen) :]):.3g}")
            if progress.log is not None:
                progress.log("step_loss", losses[-1], epoch * training_set.n_batches + step - 1)
            unseen.clear()
    return losses
