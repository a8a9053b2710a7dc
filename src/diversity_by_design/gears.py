"""GEARS with DEG-weighted losses under one roof: names of `models`, `graphs` and `datasets`, and `fit` for GEARS.

Names are imported on first use: importing this module imports neither torch nor scanpy.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    from anndata import AnnData

    from diversity_by_design.graphs.graph import Graph
    from diversity_by_design.models.protocol import FittedModel, Log
    from diversity_by_design.models.splits import Split

_HOME_OF = {
    "Annotations": "datasets.annotations",
    "GEARS": "models.gears.model",
    "GEARSLoss": "models.losses",
    "Graph": "graphs.graph",
    "Split": "models.splits",
    "TrainedGEARS": "models.gears.fitting",
    "TrainingOptions": "models.gears.options",
    "WMSELoss": "models.losses",
    "coexpression_graph": "graphs.coexpression",
    "gene_ontology_graph": "graphs.sources",
    "load": "models.registry",
    "make_splits": "models.splits",
    "perturbation_graph": "graphs.sources",
    "read_annotations": "datasets.annotations",
    "read_graph": "graphs.sources",
    "read_splits": "models.splits",
    "write_splits": "models.splits",
}
_NAMED_OTHERWISE = {"TrainingOptions": "GEARSOptions"}
# Modules that need torch and the packages around it.
_NEED_PACKAGES = ("graphs.coexpression", "models.gears.fitting", "models.losses", "models.gears.model")

__all__ = ["fit", "require_packages", *_HOME_OF]


def fit(
    adata: AnnData,
    split: Split,
    ontology: Graph | None = None,
    *,
    log: Log | None = None,
    bar: Callable[..., tqdm] = tqdm,
    **options: Any,
) -> FittedModel:
    """`diversity_by_design.models.fit` of GEARS, with its graph by position.

    Parameters
    ----------
    adata, split, ontology, **options
        As there, and of `TrainedGEARS.fit`.
    log, bar : callable, optional
        Of `Progress`.
    """
    from diversity_by_design import models

    return models.fit("gears", adata, split, ontology=ontology, progress=models.Progress(bar, log), **options)


def require_packages() -> None:
    """Raise InputError, saying how to install them, unless the packages for training are there."""
    from diversity_by_design.models import MODELS

    MODELS["gears"].require_packages()


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        if _HOME_OF[name] in _NEED_PACKAGES:
            require_packages()
        return getattr(import_module(f"diversity_by_design.{_HOME_OF[name]}"), _NAMED_OTHERWISE.get(name, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
