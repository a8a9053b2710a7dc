"""Which models there are, and how any of them is fitted and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from diversity_by_design.errors import InputError
from diversity_by_design.models.data import Cells
from diversity_by_design.models.devices import available_devices
from diversity_by_design.models.protocol import BARS, FittedModel, Model, Progress
from diversity_by_design.models.splits import Split
from diversity_by_design.models.storage import read_arrays
from diversity_by_design.registry import Registry

if TYPE_CHECKING:
    from anndata import AnnData

MODELS: Registry[Model] = Registry("model", Model)
register = MODELS.register

register(
    "gears",
    "GEARS",
    "diversity_by_design.models.gears.fitting:TrainedGEARS",
    loss="wmse",
    unseen="ontology",
    packages=("torch", "torch_geometric"),
)


def fit(
    model: str | Model,
    adata: AnnData,
    split: Split,
    *,
    loss: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    checkpoint: Path | str | None = None,
    progress: Progress = BARS,
    perturbation: str = "condition",
    control: str = "control",
    **options: Any,
) -> FittedModel:
    """Fit a model on the training perturbations of a split.

    Nothing of a test perturbation's cells reaches the model, except through the weights of the losses whose names say
    "all_cells" or "released", which are the paper's.

    Parameters
    ----------
    model : str or Model
        A name of `MODELS`, or a row of one's own.
    adata : AnnData
        log1p expression in `X`, in memory; CSR is used as it is.
    split : Split
        From `make_splits`.
    loss : str, optional
        "gears" (GEARS' own), "mse", "wmse", "wmse_all_cells", "wmse_released", or "wmse^0.5" for weights to a power
        (default: the model's).
    seed : int
    device : str
        "cpu", "cuda" or "cuda:1".
    checkpoint : Path or str, optional
        File that is written after each epoch. If it is there, training goes on from it.
    progress : Progress
    perturbation, control : str
        As for `PerturbationStatistics.from_anndata`.
    **options
        The model's own; of "gears" those of `TrainedGEARS.fit`.

    Raises
    ------
    InputError
        There is no such model, or it cannot do what the split asks for; a package that it needs is not installed. The
        data have no such column, control label or perturbation. Options, split and data do not fit each other, the
        checkpoint is that of another training, or the loss became NaN or infinite. An argument is of another kind.
    """
    (row,) = MODELS.chosen([model])
    if not isinstance(split, Split):
        raise InputError(
            f"split is a {type(split).__name__}; expected a Split, one of the two that make_splits returns"
        )
    if not isinstance(loss, str | None):
        raise InputError(
            f"loss is a {type(loss).__name__}; expected the name of one, such as 'wmse'. A loss of your own is for a "
            "training loop of your own"
        )
    if loss is not None and row.loss is None:
        raise InputError(f"loss is {loss!r}, but {row.label} has no choice of losses; leave it out")
    reason = row.reason_against(split, options)
    if reason:
        raise InputError(reason)
    return row.resolved().fit(
        Cells.of(adata, split, perturbation=perturbation, control=control),
        split,
        loss=loss or row.loss,
        seed=seed,
        device=available_devices(device)[0],
        checkpoint=None if checkpoint is None else Path(checkpoint),
        progress=progress,
        **options,
    )


def load(path: Path | str, device: str = "cpu") -> FittedModel:
    """Read a model that `FittedModel.save` wrote.

    Raises
    ------
    InputError
        There is no such file. It is something else, or of a model that is not in `MODELS`.
    """
    arrays, about = read_arrays(Path(path))
    if "model" not in about:
        raise InputError(f"{path} holds no fitted model (a checkpoint of a training, perhaps); expected a saved one")
    shared = about["shared"] | {
        "genes": pd.Index(about["shared"]["genes"]),
        "history": pd.DataFrame(about["shared"]["history"]),
    }
    model = MODELS[about["model"]].resolved()
    return model.from_state(arrays, about["values"], device=available_devices(device)[0], **shared)
