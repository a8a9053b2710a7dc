"""Simulated perturbation data sets (section 3.1): exact, and without ever holding a matrix of cells x genes.

Names are imported on first use, so that importing the package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diversity_by_design.simulator.config import SimulationConfig
    from diversity_by_design.simulator.parameters import GeneParameters
    from diversity_by_design.simulator.simulation import (
        SimulationResult,
        simulate,
        simulate_anndata,
        simulate_statistics,
    )

_HOME_OF = {
    "GeneParameters": "parameters",
    "SimulationConfig": "config",
    "SimulationResult": "simulation",
    "simulate": "simulation",
    "simulate_anndata": "simulation",
    "simulate_statistics": "simulation",
}

__all__ = [
    "GeneParameters",
    "SimulationConfig",
    "SimulationResult",
    "simulate",
    "simulate_anndata",
    "simulate_statistics",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
