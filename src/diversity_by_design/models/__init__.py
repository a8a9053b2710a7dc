"""Models: `fit` and `load` any of `MODELS`, splits, and the losses.

Names are imported on first use: importing this package does not import torch.
"""

from typing import Any

from diversity_by_design.lazy import lazy_names

_NAMES = {
    "MODELS": "models.registry",
    "Cells": "models.data",
    "FittedModel": "models.protocol",
    "Model": "models.protocol",
    "Progress": "models.protocol",
    "Split": "models.splits",
    "fit": "models.registry",
    "load": "models.registry",
    "losses": "models.losses:",
    "make_splits": "models.splits",
    "read_splits": "models.splits",
    "register": "models.registry",
    "write_splits": "models.splits",
}
__all__ = [*_NAMES]

_imported, __dir__ = lazy_names(__name__, _NAMES)


def __getattr__(name: str) -> Any:
    if name == "losses":
        from diversity_by_design.models.protocol import require_packages

        require_packages("diversity_by_design.losses", ["torch"])
    return _imported(name)
