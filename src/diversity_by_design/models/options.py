"""Options of training, with cell-gears' defaults."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

from diversity_by_design.errors import InputError
from diversity_by_design.models.loss_choice import LossChoice

Messages = Literal["first_cell", "all_cells"]


def check_messages(messages: str) -> None:
    """Raise InputError unless `messages` says which cells of a batch get messages."""
    if messages not in get_args(Messages):
        raise InputError(f"messages is {messages!r}; it must be one of: {', '.join(get_args(Messages))}")


@dataclass(frozen=True)
class TrainingOptions:
    """How a model is trained.

    Attributes
    ----------
    loss : str
        See `LossChoice.parse`.
    epochs : int
    batch_size : int
        Cells of a batch; perturbations of a batch with `pseudobulk`.
    learning_rate, weight_decay : float
        Of Adam.
    learning_rate_decay : float
        Factor of the learning rate after each epoch.
    clip : float
        Largest absolute value of an element of the gradient.
    direction_lambda : float
        Weight of the term for the direction of change in GEARS' own loss.
    hidden_size, num_go_gnn_layers, num_gene_gnn_layers, messages
        See `GEARS`.
    pseudobulk : bool
        Train on the perturbations' means instead of cells; for squared errors only.
    passes : int
        How often an epoch goes through the training cells, or perturbations.
    training_cells : int or None
        Train on so many cells of each perturbation, and of control, drawn at random, where there are more; None: on
        all. Weights, graphs and means (and so `pseudobulk`) are of all training cells in any case.
    seed : int

    Raises
    ------
    InputError
        A number is out of range, or pseudobulk training is asked for with GEARS' own loss.

    Examples
    --------
    >>> TrainingOptions(loss="mse", epochs=3).learning_rate
    0.001
    """

    loss: str = "wmse"
    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    learning_rate_decay: float = 0.5
    clip: float = 1.0
    direction_lambda: float = 0.1
    hidden_size: int = 64
    num_go_gnn_layers: int = 1
    num_gene_gnn_layers: int = 1
    messages: Messages = "first_cell"
    pseudobulk: bool = False
    passes: int = 1
    training_cells: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        least: dict[str, float] = {
            "epochs": 1,
            "batch_size": 2,
            "weight_decay": 0,
            "direction_lambda": 0,
            "hidden_size": 1,
            "num_go_gnn_layers": 1,
            "num_gene_gnn_layers": 1,
            "passes": 1,
            "seed": 0,
        }
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                raise InputError(f"{name} is {getattr(self, name)}; at least {bound} is needed")
        if self.training_cells is not None and self.training_cells < 1:
            raise InputError(f"training_cells is {self.training_cells}; at least 1 is needed, or None for all")
        for name in ("learning_rate", "learning_rate_decay", "clip"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}; it must be positive")
        check_messages(self.messages)
        if LossChoice.parse(self.loss).kind == "gears" and self.pseudobulk:
            raise InputError(
                "GEARS' own loss cannot be trained on means: its fourth power of a cell's error is not that of the "
                "mean's error; use the loss mse or wmse, or train on cells"
            )

    def plain(self) -> dict[str, Any]:
        """All options as a dictionary."""
        return dataclasses.asdict(self)
