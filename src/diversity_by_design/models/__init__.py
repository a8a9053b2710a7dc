"""Models: `fit` and `load` any of `MODELS`, splits, and the losses.

Names are imported on first use: importing this package does not import torch.
"""

from importlib import import_module
from typing import Any

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
__all__ = ["losses", *_HOME_OF]


def __getattr__(name: str) -> Any:
    if name == "losses":
        import_module(f"{__name__}.protocol").require_packages("diversity_by_design.losses", ["torch"])
        return import_module(f"{__name__}.losses")
    if name in _HOME_OF:
        return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
