"""GEARS with DEG-weighted losses: the model, its graphs, honest splits, training, and the losses for any model.

Names are imported on first use: importing this package imports neither torch nor scanpy.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diversity_by_design.datasets.annotations import Annotations, read_annotations
    from diversity_by_design.graphs.coexpression import coexpression_graph
    from diversity_by_design.graphs.graph import Graph
    from diversity_by_design.graphs.sources import (
        gene_ontology_graph,
        perturbation_graph,
        read_graph,
    )
    from diversity_by_design.models.gears.fitting import TrainedGEARS, fit, load
    from diversity_by_design.models.gears.model import GEARS
    from diversity_by_design.models.losses import GEARSLoss, WMSELoss
    from diversity_by_design.models.options import TrainingOptions
    from diversity_by_design.models.splits import Split, make_splits, read_splits, write_splits

_HOME_OF = {
    "Annotations": "datasets.annotations",
    "GEARS": "models.gears.model",
    "GEARSLoss": "models.losses",
    "Graph": "graphs.graph",
    "Split": "models.splits",
    "TrainedGEARS": "models.gears.fitting",
    "TrainingOptions": "models.options",
    "WMSELoss": "models.losses",
    "coexpression_graph": "graphs.coexpression",
    "fit": "models.gears.fitting",
    "gene_ontology_graph": "graphs.sources",
    "load": "models.gears.fitting",
    "make_splits": "models.splits",
    "perturbation_graph": "graphs.sources",
    "read_annotations": "datasets.annotations",
    "read_graph": "graphs.sources",
    "read_splits": "models.splits",
    "write_splits": "models.splits",
}

__all__ = [
    "GEARS",
    "Annotations",
    "GEARSLoss",
    "Graph",
    "Split",
    "TrainedGEARS",
    "TrainingOptions",
    "WMSELoss",
    "coexpression_graph",
    "fit",
    "gene_ontology_graph",
    "load",
    "make_splits",
    "perturbation_graph",
    "read_annotations",
    "read_graph",
    "read_splits",
    "write_splits",
]


# What these modules are made of; the other modules need none of it.
_PACKAGES = ("torch", "torch_geometric", "safetensors", "filelock")
_NEED_PACKAGES = ("graphs.coexpression", "models.gears.fitting", "models.losses", "models.gears.model")


def require_packages() -> None:
    """Raise ImportError, saying how to install them, unless the packages for training are there."""
    missing = [package for package in _PACKAGES if find_spec(package) is None]
    if missing:
        raise ImportError(
            f"training GEARS needs packages that are not installed ({', '.join(missing)}): uv sync in a clone of the "
            "project, or pip install 'diversity-by-design[gears]'"
        )


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        if _HOME_OF[name] in _NEED_PACKAGES:
            require_packages()
        return getattr(import_module(f"diversity_by_design.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
