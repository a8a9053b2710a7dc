"""Options of training that all models share which are trained step by step."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from diversity_by_design.errors import InputError, listed
from diversity_by_design.models.loss_choice import LossChoice


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a model is trained.

    Attributes
    ----------
    loss : str
        See `LossChoice.parse`.
    epochs, batch_size, seed : int
    learning_rate, weight_decay : float
        Of Adam.
    learning_rate_decay : float
        Factor of the learning rate after each epoch.
    clip : float
        Largest absolute value of an element of the gradient.
    passes : int
        How often an epoch goes through the training cells.
    training_cells : int or None
        Train on so many cells of each perturbation, and of control, drawn at random, where there are more; None: on
        all. Weights, graphs and means are of all training cells in any case.

    Raises
    ------
    InputError
        A number is out of range, or there is no such loss.
    """

    loss: str = "wmse"
    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    learning_rate_decay: float = 0.5
    clip: float = 1.0
    passes: int = 1
    training_cells: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        LossChoice.parse(self.loss)
        self.require_at_least(epochs=1, batch_size=2, weight_decay=0, passes=1, seed=0)
        if self.training_cells is not None and self.training_cells < 1:
            raise InputError(f"training_cells is {self.training_cells}; at least 1 is needed, or None for all")
        for name in ("learning_rate", "learning_rate_decay", "clip"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}; it must be positive")

    def require_at_least(self, **least: float) -> None:
        """Raise InputError unless options are so large."""
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                raise InputError(f"{name} is {getattr(self, name)}; at least {bound} is needed")

    @classmethod
    def given(cls, **options: Any) -> Self:
        """The options by name; InputError for a name that is none."""
        unknown = [name for name in options if name not in cls.__dataclass_fields__]
        if unknown:
            raise InputError(f"no option {listed(unknown)}; the options are: {listed(cls.__dataclass_fields__, 30)}")
        return cls(**options)

    def plain(self) -> dict[str, Any]:
        """All options as a dictionary."""
        return dataclasses.asdict(self)
