"""The training loop: Adam, a checkpoint after each epoch, the best epoch by the error of the top DEGs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from diversity_by_design.errors import InputError, listed
from diversity_by_design.models.batches import IntArray, TrainingSet
from diversity_by_design.models.checkpoint import read_tensors, require_same, write_tensors
from diversity_by_design.models.gears.model import GEARS, CellGroups
from diversity_by_design.models.options import TrainingOptions
from diversity_by_design.models.transfer import to_device

# Steps between two looks at the loss, each of which a GPU must be waited for.
STEPS_PER_LOOK = 25

Log = Callable[[str, float, int], None]


class NotFiniteError(InputError):
    """The loss became NaN or infinite."""


@dataclass(frozen=True, eq=False)
class Target:
    """Perturbations on which a model is measured after each epoch.

    Attributes
    ----------
    name : str
        Names the measurements: "train" or "validation".
    pairs : int array (perturbations, 2)
        From `GEARS.perturbation_index`.
    changes : float tensor (perturbations, genes)
        True mean expression minus that of control cells.
    top_degs : bool tensor (perturbations, genes)
        The perturbations' top 20 genes.
    """

    name: str
    pairs: IntArray
    changes: Tensor
    top_degs: Tensor

    def measure(self, model: GEARS) -> dict[str, float]:
        """Mean over perturbations of the squared errors of all genes, and of the top DEGs."""
        errors = (model.predict_changes(self.pairs) - self.changes).double().square()
        of_top = (errors * self.top_degs).sum(1) / self.top_degs.sum(1)
        return {f"{self.name}_mse": errors.mean().item(), f"{self.name}_mse_top_degs": of_top.mean().item()}


@dataclass(eq=False)
class Progress:
    """Where a training is.

    Attributes
    ----------
    model : GEARS
    optimiser : Adam
    best : dict of tensors
        State of the model after the epoch with the least error.
    best_error : float
        Mean squared error of the validation perturbations' top DEGs then.
    history : list of dict
        Measurements after each epoch.
    seconds : float
        What the epochs took.
    """

    model: GEARS
    optimiser: torch.optim.Adam
    best: dict[str, Tensor]
    best_error: float = math.inf
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def start(cls, model: GEARS, options: TrainingOptions) -> Progress:
        """Before the first epoch."""
        optimiser = torch.optim.Adam(
            model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, fused=True
        )
        return cls(model, optimiser, deepcopy(model.state_dict()))

    def write(self, path: Path, about: Mapping[str, Any]) -> None:
        """Write a checkpoint, whole or not at all."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for number, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": value for name, value in state.items()}
        known = {"best_error": self.best_error, "history": self.history, "seconds": self.seconds}
        write_tensors(path, tensors, {"of": dict(about), **known})

    def read(self, path: Path, about: Mapping[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises
        ------
        InputError
            It is that of another training, or no checkpoint.
        """
        tensors, known = read_tensors(path)
        if "of" not in known:
            raise InputError(f"{path} is no checkpoint of a training (a saved model, perhaps); choose another file")
        require_same(path, known["of"], about)
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimiser": {}}
        for name, value in tensors.items():
            part, rest = name.split(".", 1)
            parts[part][rest] = value
        self.model.load_state_dict(parts["model"])
        self.best = parts["best"]
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["optimiser"].items():
            number, rest = name.split(".", 1)
            state.setdefault(int(number), {})[rest] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})
        self.best_error, self.history, self.seconds = known["best_error"], known["history"], known["seconds"]


def train(
    model: GEARS,
    loss: nn.Module,
    training_set: TrainingSet,
    labels: Sequence[str],
    pairs: IntArray,
    targets: Sequence[Target],
    options: TrainingOptions,
    *,
    checkpoint: Path | None = None,
    about: Mapping[str, Any] | None = None,
    log: Log | None = None,
    bar: Callable[..., tqdm] = tqdm,
) -> Progress:
    """Train a model on the device it is on.

    Parameters
    ----------
    model : GEARS
    loss : module
        ``loss(prediction, target, rows, reduction="none")`` gives each cell's part of the loss.
    training_set : TrainingSet
    labels : (labels,)
        Names of the perturbations that the training set numbers, control among them.
    pairs : int array (labels, 2)
        Their genes, from `GEARS.perturbation_index`.
    targets : sequence of Target
        The last decides which epoch is best.
    options : TrainingOptions
    checkpoint : Path, optional
        Written after each epoch; an existing one is gone on from, to the same result as without interruption.
    about : mapping, optional
        What tells this training from others; a checkpoint must agree.
    log : callable, optional
        Takes a name, a value and a step.
    bar : callable
        Makes the progress bar.

    Returns
    -------
    Progress
        With the best epoch's parameters in `best`; the model itself has the last one's.

    Raises
    ------
    InputError
        The checkpoint is that of another training.
    NotFiniteError
        The loss became NaN or infinite; the checkpoint of the epoch before stays.
    """
    progress = Progress.start(model, options)
    about = dict(about or {})
    if checkpoint is not None and checkpoint.exists():
        progress.read(checkpoint, about)
    steps = training_set.n_batches
    done = len(progress.history)
    with bar(total=steps * options.epochs, initial=steps * done, unit="step") as shown:
        for epoch in range(done, options.epochs):
            began = time.perf_counter()
            for group in progress.optimiser.param_groups:
                group["lr"] = options.learning_rate * options.learning_rate_decay**epoch
            mean = _epoch(progress, loss, training_set, labels, pairs, epoch, options.clip, checkpoint, log, shown)
            record = {"epoch": epoch + 1, "loss": mean}
            for target in targets:
                record |= target.measure(model)
            _require_finite(record, checkpoint)
            progress.history.append(record)
            error = record[f"{targets[-1].name}_mse_top_degs"]
            if error < progress.best_error:
                progress.best_error, progress.best = error, deepcopy(model.state_dict())
            progress.seconds += time.perf_counter() - began
            if checkpoint is not None:
                progress.write(checkpoint, about)
            if log is not None:
                for name, value in record.items():
                    log(name, value, epoch + 1)
    return progress


def _epoch(
    progress: Progress,
    loss: nn.Module,
    training_set: TrainingSet,
    labels: Sequence[str],
    pairs: IntArray,
    epoch: int,
    clip: float,
    checkpoint: Path | None,
    log: Log | None,
    shown: tqdm,
) -> float:
    """Train for an epoch; the mean loss of its steps."""
    model, optimiser = progress.model, progress.optimiser
    device = model.indv_b1.device
    model.train()
    means: list[float] = []
    unseen: list[tuple[Tensor, IntArray]] = []
    for step, batch in enumerate(training_set.batches(epoch)):
        groups, group = CellGroups.of(pairs[batch.labels], model.messages, device)
        optimiser.zero_grad()
        prediction = batch.controls + model.changes(groups)[group]
        of_cells = loss(prediction, batch.targets, to_device(batch.labels, device), reduction="none")
        of_cells.mean().backward()
        nn.utils.clip_grad_value_(model.parameters(), clip)
        optimiser.step()
        unseen.append((of_cells.detach(), batch.labels))
        if len(unseen) == STEPS_PER_LOOK or step == training_set.n_batches - 1:
            means += _looked_at(unseen, labels, epoch, step + 1 - len(unseen), checkpoint)
            shown.update(len(unseen))
            shown.set_postfix_str(f"epoch {epoch + 1}, loss {np.mean(means[-len(unseen) :]):.3g}")
            if log is not None:
                log("step_loss", means[-1], epoch * training_set.n_batches + step)
            unseen.clear()
    return float(np.mean(means))


def _require_finite(record: Mapping[str, float], checkpoint: Path | None) -> None:
    """Raise NotFiniteError if the last step of an epoch broke the model, which its loss did not show."""
    wrong = [name for name, value in record.items() if not math.isfinite(value)]
    if wrong:
        epoch = int(record["epoch"])
        raise NotFiniteError(
            f"{listed(wrong)} is not finite after epoch {epoch}; {_kept(epoch - 1, checkpoint)}. Lower the learning "
            "rate"
        )


def _kept(epoch: int, checkpoint: Path | None) -> str:
    if epoch and checkpoint is not None:
        return f"the checkpoint of epoch {epoch} is kept: {checkpoint}"
    return "there is no checkpoint yet"


def _looked_at(
    steps: list[tuple[Tensor, IntArray]], labels: Sequence[str], epoch: int, first: int, checkpoint: Path | None
) -> list[float]:
    """Mean loss of each step; raise NotFiniteError if one is not finite."""
    losses = torch.stack([of_cells.double() for of_cells, _ in steps]).cpu().numpy()
    wrong = ~np.isfinite(losses)
    if wrong.any():
        step = int(np.flatnonzero(wrong.any(axis=1))[0])
        of = sorted({labels[number] for number in steps[step][1][wrong[step]]})
        raise NotFiniteError(
            f"the loss is not finite in epoch {epoch + 1}, step {first + step + 1}, for cells of {listed(of)}; "
            f"{_kept(epoch, checkpoint)}. Look at the expression of these cells, or lower the learning rate"
        )
    return losses.mean(axis=1).tolist()
