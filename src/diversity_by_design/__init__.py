"""Well-calibrated metrics, baselines and analyses for models of perturbation response.

Names are imported on first use, so that importing the package costs next to nothing.
"""

from typing import TYPE_CHECKING

from diversity_by_design.lazy import lazy_names

if TYPE_CHECKING:
    from diversity_by_design import baselines, datasets, gears, metrics, models, simulator
    from diversity_by_design.auditing import audit
    from diversity_by_design.baselines import additive
    from diversity_by_design.degs import DegScores, deg_scores, deg_weights
    from diversity_by_design.errors import InputError
    from diversity_by_design.halves import technical_duplicate
    from diversity_by_design.models import losses
    from diversity_by_design.scorecard import Scorecard
    from diversity_by_design.scoring import score
    from diversity_by_design.simulator import (
        GeneParameters,
        SimulationConfig,
        SimulationResult,
        simulate,
        simulate_anndata,
    )
    from diversity_by_design.statistics import PerturbationStatistics
    from diversity_by_design.truth import Truth

__all__ = [
    "DegScores",
    "GeneParameters",
    "InputError",
    "PerturbationStatistics",
    "Scorecard",
    "SimulationConfig",
    "SimulationResult",
    "Truth",
    "additive",
    "audit",
    "baselines",
    "datasets",
    "deg_scores",
    "deg_weights",
    "gears",
    "losses",
    "metrics",
    "models",
    "score",
    "simulate",
    "simulate_anndata",
    "simulator",
    "technical_duplicate",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "DegScores": "degs",
        "GeneParameters": "simulator.parameters",
        "InputError": "errors",
        "PerturbationStatistics": "statistics",
        "Scorecard": "scorecard",
        "SimulationConfig": "simulator.config",
        "SimulationResult": "simulator.simulation",
        "Truth": "truth",
        "additive": "baselines",
        "audit": "auditing",
        "baselines": "baselines:",
        "datasets": "datasets:",
        "deg_scores": "degs",
        "deg_weights": "degs",
        "gears": "gears:",
        "losses": "models",
        "metrics": "metrics:",
        "models": "models:",
        "score": "scoring",
        "simulate": "simulator.simulation",
        "simulate_anndata": "simulator.simulation",
        "simulator": "simulator:",
        "technical_duplicate": "halves",
    },
)
