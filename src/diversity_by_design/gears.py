"""GEARS with DEG-weighted losses under one roof: names of `models`, `graphs` and `datasets`, and `fit` for GEARS.

Names are imported on first use: importing this module imports neither torch nor scanpy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from diversity_by_design.lazy import lazy_names

if TYPE_CHECKING:
    from anndata import AnnData

    from diversity_by_design.graphs.graph import Graph
    from diversity_by_design.models.protocol import FittedModel, Log
    from diversity_by_design.models.splits import Split

_NAMES = {
    "Annotations": "datasets.annotations",
    "Graph": "graphs.graph",
    "Split": "models.splits",
    "TrainingOptions": "models.gears.options:GEARSOptions",
    "gene_ontology_graph": "graphs.sources",
    "load": "models.registry",
    "make_splits": "models.splits",
    "perturbation_graph": "graphs.sources",
    "read_annotations": "datasets.annotations",
    "read_graph": "graphs.sources",
    "read_splits": "models.splits",
    "write_splits": "models.splits",
}
_NAMES_THAT_NEED_TORCH = {
    "GEARS": "models.gears.model",
    "GEARSLoss": "models.losses",
    "TrainedGEARS": "models.gears.fitting",
    "WMSELoss": "models.losses",
    "coexpression_graph": "graphs.coexpression",
}

__all__ = ["fit", "require_packages", *_NAMES, *_NAMES_THAT_NEED_TORCH]


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


_imported, _ = lazy_names(__name__, {**_NAMES, **_NAMES_THAT_NEED_TORCH})


def __getattr__(name: str) -> Any:
    if name in _NAMES_THAT_NEED_TORCH:
        require_packages()
    return _imported(name)


def __dir__() -> list[str]:
    return sorted(__all__)
