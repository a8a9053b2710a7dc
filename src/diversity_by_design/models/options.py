"""Options of training that all models share which are trained step by step."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from diversity_by_design.errors import InputError, listed, whole_number
from diversity_by_design.models.loss_choice import LossChoice


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a model is trained.

    Attributes
    ----------
    loss : str
        "mse", "wmse" and others, with the power of weights if any, as in "wmse^0.5".
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
        self.require_whole(epochs=1, batch_size=2, passes=1, seed=0)
        if self.training_cells is not None:
            self.require_whole(training_cells=1)
        self.require_positive("learning_rate", "learning_rate_decay", "clip")
        self.require_positive("weight_decay", or_zero=True)

    def require_whole(self, **least: int) -> None:
        """Raise InputError unless options are whole numbers, of NumPy or not, and so large."""
        for name, bound in least.items():
            object.__setattr__(self, name, whole_number(getattr(self, name), name, bound))

    def require_positive(self, *names: str, or_zero: bool = False) -> None:
        """Raise InputError unless options are greater than zero."""
        for name in names:
            value = getattr(self, name)
            if not (value > 0 or (or_zero and value == 0)):
                raise InputError(f"{name} is {value}; it must be greater than 0{', or 0' if or_zero else ''}")

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
