"""Models: `fit` and `load` any of `MODELS`, splits, and the losses.

Names are imported on first use: importing this package does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diversity_by_design.models import losses
    from diversity_by_design.models.data import Cells
    from diversity_by_design.models.protocol import FittedModel, Model, Progress
    from diversity_by_design.models.registry import MODELS, fit, load, register
    from diversity_by_design.models.splits import Split, make_splits, read_splits, write_splits

_HOME_OF = {
    "MODELS": "registry",
    "Cells": "data",
    "FittedModel": "protocol",
    "Model": "protocol",
    "Progress": "protocol",
    "Split": "splits",
    "fit": "registry",
    "load": "registry",
    "make_splits": "splits",
    "read_splits": "splits",
    "register": "registry",
    "write_splits": "splits",
}

__all__ = [
    "MODELS",
    "Cells",
    "FittedModel",
    "Model",
    "Progress",
    "Split",
    "fit",
    "load",
    "losses",
    "make_splits",
    "read_splits",
    "register",
    "write_splits",
]


def __getattr__(name: str) -> Any:
    if name == "losses":
        from diversity_by_design.models.protocol import require_packages

        require_packages("diversity_by_design.losses", ["torch"])
        return import_module(f"{__name__}.losses")
    if name in _HOME_OF:
        return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
