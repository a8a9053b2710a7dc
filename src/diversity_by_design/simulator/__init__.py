"""Simulated perturbation data sets (section 3.1): exact, and without ever holding a matrix of cells x genes.

Names are imported on first use, so that importing the package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diversity_by_design.audit import Metric, sweep
    from diversity_by_design.simulator.config import SimulationConfig
    from diversity_by_design.simulator.parameters import GeneParameters
    from diversity_by_design.simulator.predictors import Context, Predictor, dial
    from diversity_by_design.simulator.random_sweep import run_random_sweep
    from diversity_by_design.simulator.ranges import Range, SweepRanges
    from diversity_by_design.simulator.simulation import (
        SimulationResult,
        simulate,
        simulate_anndata,
        simulate_statistics,
    )

_HOME_OF = {
    "Context": "predictors",
    "GeneParameters": "parameters",
    "Metric": ".audit",
    "Predictor": "predictors",
    "Range": "ranges",
    "SimulationConfig": "config",
    "SimulationResult": "simulation",
    "SweepRanges": "ranges",
    "dial": "predictors",
    "run_random_sweep": "random_sweep",
    "simulate": "simulation",
    "simulate_anndata": "simulation",
    "simulate_statistics": "simulation",
    "sweep": ".audit",
}

__all__ = [
    "Context",
    "GeneParameters",
    "Metric",
    "Predictor",
    "Range",
    "SimulationConfig",
    "SimulationResult",
    "SweepRanges",
    "dial",
    "run_random_sweep",
    "simulate",
    "simulate_anndata",
    "simulate_statistics",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
