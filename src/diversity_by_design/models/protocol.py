"""What a model is: fitted on the training perturbations of a split, asked for others, saved and loaded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from diversity_by_design.errors import InputError, listed
from diversity_by_design.labels import label_index, parts
from diversity_by_design.models.storage import Arrays, write_arrays

if TYPE_CHECKING:
    from diversity_by_design.models.data import Cells
    from diversity_by_design.models.splits import Split

Log = Callable[[str, float, int], None]


@dataclass(frozen=True)
class Progress:
    """How a training says where it is.

    Attributes
    ----------
    bar : callable
        Makes the progress bar.
    log : callable, optional
        Takes a name, a value and a step, such as ``SummaryWriter(...).add_scalar`` of TensorBoard.
    """

    bar: Callable[..., tqdm] = tqdm
    log: Log | None = None


BARS = Progress()


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedModel(ABC):
    """A fitted model. A model is a subclass with `name` and the four abstract methods; all the rest is here.

    Attributes
    ----------
    name : str
        Of the class: that of its row of `MODELS`.
    genes : pandas.Index (genes,)
    control : str
        Label of unperturbed cells.
    history : DataFrame
        Measurements after each epoch; empty for a model that is not trained step by step.
    seconds : float
        What the training took, interruptions not counted.
    """

    name: ClassVar[str]

    genes: pd.Index
    control: str
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    seconds: float = 0.0

    @classmethod
    @abstractmethod
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
        **options: Any,
    ) -> Self:
        """Fit on the training perturbations of a split, and control; called by `diversity_by_design.models.fit`.

        Parameters
        ----------
        cells : Cells
            All cells, also of perturbations that must not be looked at.
        split, checkpoint, progress, **options
            As given there.
        loss : str or None
            None for a model that has no choice of losses.
        seed : int
            All that is drawn depends on it alone.
        device : str
            For torch, such as "cpu" or "cuda:0".
        """

    @abstractmethod
    def expression(self, labels: pd.Index) -> npt.NDArray[Any]:
        """Predicted mean expression (labels, genes) of perturbations in canonical form, control perhaps among them."""

    @abstractmethod
    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """What the class adds to the attributes above: arrays, and plain values (as JSON has them)."""

    @classmethod
    @abstractmethod
    def from_state(cls, arrays: Arrays, values: dict[str, Any], *, device: str, **shared: Any) -> Self:
        """The model of a `state`; `shared` are the attributes above."""

    def predict(self, conditions: str | Iterable[str]) -> pd.DataFrame:
        """Predicted mean expression (conditions, genes).

        Parameters
        ----------
        conditions : perturbations
            The index has them in canonical form: A+B for B+A, A for A+ctrl.

        Raises
        ------
        InputError
            A condition is missing or occurs twice, or the model cannot predict it.
        """
        labels = label_index(conditions, "conditions", self.control).rename("perturbation")
        return pd.DataFrame(self.expression(labels), index=labels, columns=self.genes)

    def save(self, path: Path | str) -> None:
        """Write everything into one safetensors file, whole or not at all, which `models.load` reads."""
        arrays, values = self.state()
        shared = {
            "genes": self.genes.tolist(),
            "control": self.control,
            "history": self.history.to_dict("records"),
            "seconds": self.seconds,
        }
        write_arrays(Path(path), arrays, {"model": self.name, "shared": shared, "values": values})


@dataclass(frozen=True)
class Model:
    """A row of `MODELS`: what a model is called, where it is, what it can do and what it needs.

    Attributes
    ----------
    name : str
    label : str
        For readers.
    implementation : str or class
        The subclass of `FittedModel`; as "module:Class" it is imported when it is first used.
    loss : str or None
        What it is trained with unless another loss is asked for; None: it has no choice of losses.
    together : int
        Most genes perturbed together.
    unseen : bool or str
        Whether it predicts perturbations of genes that are in no training perturbation; the name of an option of `fit`,
        such as a graph: with that.
    packages : names
        Of Python, without which it does not run.
    """

    name: str
    label: str
    implementation: str | type[FittedModel]
    loss: str | None = None
    together: int = 2
    unseen: bool | str = True
    packages: tuple[str, ...] = ()

    def resolved(self) -> type[FittedModel]:
        """The class; InputError if a package is missing, there is no such class, or it is no model of this name."""
        self.require_packages()
        model: Any = self.implementation
        if isinstance(model, str):
            try:
                model = resolve_name(model)
            except (ImportError, AttributeError, ValueError) as error:
                raise InputError(f"model {self.name!r}: no class {self.implementation!r} ({error})") from error
        is_model = isinstance(model, type) and issubclass(model, FittedModel)
        if not is_model or getattr(model, "name", None) != self.name:
            raise InputError(f"model {self.name!r}: {model!r} is no subclass of FittedModel with this name")
        return model

    def require_packages(self) -> None:
        """Raise InputError, saying how to install them, unless the packages are there."""
        require_packages(self.label, self.packages)

    def too_large(self, labels: Iterable[str]) -> list[str]:
        """Those of canonical labels that name more genes than it can do together, sorted."""
        return sorted(label for label in labels if len(parts(label)) > self.together)

    def reason_against(self, split: Split, options: Mapping[str, Any]) -> str | None:
        """Why it cannot be fitted and tested on a split with these options of `fit`; None if it can."""
        asked = {label for role in ("validation", "test") for label in split.labels(role)}
        training = set(split.labels("train"))
        many = self.too_large(asked | training)
        if many:
            return (
                f"{self.label} is for at most {self.together} gene(s) perturbed together, not {listed(many, 5)}; give "
                f"such perturbations the role 'left_out': make_splits(..., together={self.together})"
            )
        if self.unseen is True or (self.unseen and options.get(self.unseen) is not None):
            return None
        genes, seen = ({gene for label in labels for gene in parts(label)} for labels in (asked, training))
        if genes <= seen:
            return None
        without = f" without {self.unseen}=..." if self.unseen else ""
        return (
            f"{listed(sorted(genes - seen))}: to be predicted, but in no training perturbation; {self.label} predicts "
            f"no unseen genes{without}"
        )


def require_packages(what: str, packages: Iterable[str]) -> None:
    """Raise InputError, saying how to install them, unless the packages are there."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise InputError(
            f"{what} needs packages that are not installed ({', '.join(missing)}): uv sync in a clone of the project, "
            "or pip install 'diversity-by-design[gears]'"
        )
