"""Well-calibrated metrics, baselines and analyses for models of perturbation response.

Names are imported on first use, so that importing the package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diversity_by_design import baselines, datasets, gears, metrics, models, simulator
    from diversity_by_design.baselines import additive, technical_duplicate
    from diversity_by_design.degs import DegScores, deg_scores
    from diversity_by_design.errors import InputError
    from diversity_by_design.models import losses
    from diversity_by_design.simulator import (
        GeneParameters,
        SimulationConfig,
        SimulationResult,
        simulate,
        simulate_anndata,
    )
    from diversity_by_design.statistics import PerturbationStatistics
    from diversity_by_design.weights import deg_weights

_HOME_OF = {
    "DegScores": "degs",
    "GeneParameters": "simulator",
    "InputError": "errors",
    "PerturbationStatistics": "statistics",
    "SimulationConfig": "simulator",
    "SimulationResult": "simulator",
    "additive": "baselines",
    "deg_scores": "degs",
    "deg_weights": "weights",
    "losses": "models",
    "simulate": "simulator",
    "simulate_anndata": "simulator",
    "technical_duplicate": "baselines",
}
_MODULES = ("baselines", "datasets", "gears", "metrics", "models", "simulator")

__all__ = [
    "DegScores",
    "GeneParameters",
    "InputError",
    "PerturbationStatistics",
    "SimulationConfig",
    "SimulationResult",
    "additive",
    "baselines",
    "datasets",
    "deg_scores",
    "deg_weights",
    "gears",
    "losses",
    "metrics",
    "models",
    "simulate",
    "simulate_anndata",
    "simulator",
    "technical_duplicate",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _HOME_OF:
        return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
