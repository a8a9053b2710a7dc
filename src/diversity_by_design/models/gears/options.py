"""Options of training GEARS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from diversity_by_design.errors import InputError
from diversity_by_design.models.options import TrainingOptions

Messages = Literal["first_cell", "all_cells"]


@dataclass(frozen=True, kw_only=True)
class GEARSOptions(TrainingOptions):
    """How GEARS is trained: with cell-gears' defaults, but for ten epochs instead of its 20.

    The paper says "default hyperparameters" and no number of epochs. The learning rate is halved after each: those of
    the second ten epochs add up to a thousandth of those of the first ten.

    Attributes
    ----------
    direction_lambda : float
        Weight of the term for the direction of change in GEARS' own loss.
    hidden_size, num_go_gnn_layers, num_gene_gnn_layers, messages
        See `GEARS`.
    pseudobulk : bool
        Train on the perturbations' means instead of cells, `batch_size` of them in a batch and `passes` times in an
        epoch; for squared errors only.

    Raises
    ------
    InputError
        As `TrainingOptions`, or pseudobulk training is asked for with GEARS' own loss.

    Examples
    --------
    >>> GEARSOptions(loss="mse", epochs=3).learning_rate
    0.001
    """

    direction_lambda: float = 0.1
    hidden_size: int = 64
    num_go_gnn_layers: int = 1
    num_gene_gnn_layers: int = 1
    messages: Messages = "first_cell"
    pseudobulk: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_whole(hidden_size=1, num_go_gnn_layers=1, num_gene_gnn_layers=1)
        self.require_positive("direction_lambda", or_zero=True)
        if self.messages not in get_args(Messages):
            raise InputError(f"messages is {self.messages!r}; it must be one of: {', '.join(get_args(Messages))}")
        if self.loss == "gears" and self.pseudobulk:
            raise InputError(
                "GEARS' own loss cannot be trained on means: its fourth power of a cell's error is not that of the "
                "mean's error; use the loss mse or wmse, or train on cells"
            )
