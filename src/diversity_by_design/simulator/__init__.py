"""Simulated perturbation data sets (section 3.1): exact, and without ever holding a matrix of cells x genes.

Names are imported on first use, so that importing the package costs next to nothing.
"""

from typing import TYPE_CHECKING

from diversity_by_design.lazy import lazy_names

if TYPE_CHECKING:
    from diversity_by_design.simulator.config import SimulationConfig
    from diversity_by_design.simulator.parameters import GeneParameters
    from diversity_by_design.simulator.random_sweep import run_random_sweep
    from diversity_by_design.simulator.ranges import Range, SweepRanges
    from diversity_by_design.simulator.simulation import (
        SimulationResult,
        simulate,
        simulate_anndata,
        simulate_statistics,
    )

__all__ = [
    "GeneParameters",
    "Range",
    "SimulationConfig",
    "SimulationResult",
    "SweepRanges",
    "run_random_sweep",
    "simulate",
    "simulate_anndata",
    "simulate_statistics",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "GeneParameters": "simulator.parameters",
        "Range": "simulator.ranges",
        "SimulationConfig": "simulator.config",
        "SimulationResult": "simulator.simulation",
        "SweepRanges": "simulator.ranges",
        "run_random_sweep": "simulator.random_sweep",
        "simulate": "simulator.simulation",
        "simulate_anndata": "simulator.simulation",
        "simulate_statistics": "simulator.simulation",
        # Earlier names of what is no longer about simulated data only.
        "Context": "truth:Target",
        "Metric": "metrics",
        "Predictor": "baselines",
        "dial": "baselines",
        "sweep": "auditing:audit",
    },
)
