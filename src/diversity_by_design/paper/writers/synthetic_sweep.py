"""Results of analysis 1 about simulated data sets: tables 2 and 3, figures 2C, 5G and 5K, and the audit of metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from diversity_by_design.audit_summary import dial_summary, parameter_correlations, scaled_scores
from diversity_by_design.auditing import audit
from diversity_by_design.errors import InputError
from diversity_by_design.paper.correlations import (
    NOTEWORTHY,
    SIMULATION_PARAMETERS,
    table_2,
    table_2_as_printed,
    table_3_simulation,
)
from diversity_by_design.paper.figures import synthetic_sweep as figures
from diversity_by_design.paper.figures.metric_audit import draw_metric_audit
from diversity_by_design.paper.reference import paper_numbers
from diversity_by_design.running.results import ResultFolder
from diversity_by_design.simulator.ranges import SweepRanges

# Figures of single parameters: the parameter, and the genes that are scored.
TREND_FIGURES = {
    "beta_pearson_delta": ("beta", "all"),
    "n_0_pearson_delta": ("n_0", "all"),
    "k_pearson_delta_affected": ("k", "affected"),
}
OVERVIEW_METRICS = ("pearson_delta_all", "mse_all")


def described(ranges: SweepRanges) -> dict[str, Any]:
    """Ranges as text, and the spread of library factors, for the record."""
    chosen = {name: getattr(ranges, name) for name in SIMULATION_PARAMETERS}
    texts = {name: f"{part.low} to {part.high}, {part.scale}" for name, part in chosen.items()}
    return {**texts, "sigma_l": ranges.sigma_l}


def differences(ranges: SweepRanges) -> list[str]:
    """Which ranges differ from those of table 1, in words."""
    ours, paper = described(ranges), described(SweepRanges())
    return [
        f"{name} from {ours[name]} instead of {paper[name]}"
        for name in SIMULATION_PARAMETERS
        if getattr(ranges, name) != getattr(SweepRanges(), name)
    ]


def write_sweep(folder: ResultFolder, sweep: pd.DataFrame, ranges: SweepRanges, notes: Sequence[str]) -> None:
    """Tables 2 and 3, and the figures of the sweep; `notes` belong to the captions of its tables."""
    simulated = sweep[sweep["error"] == ""]
    if not len(simulated):
        raise InputError(f"all {len(sweep):,} data sets failed; the first: {sweep['error'].iat[0]}")
    logarithmic = [name for name in SIMULATION_PARAMETERS if getattr(ranges, name).scale == "log"]
    folder.table("simulations", sweep, notes=" ".join(notes) or None)
    correlations = table_2(simulated, paper_numbers("correlations"), logarithmic=logarithmic)
    write_tables(folder, correlations, logarithmic, notes)
    for name, (parameter, group) in TREND_FIGURES.items():
        column = f"pearson_delta_{group}"
        row = figures.correlation_of(correlations, parameter, column)
        average = figures.moving_average(simulated, parameter, column, logarithmic)
        folder.figure(
            name,
            figures.draw_sweep(simulated, parameter, column, correlations, logarithmic),
            {"points": figures.points(simulated, parameter, column), "moving_average": average},
            r=row["ours"] if np.isfinite(row["ours"]) else None,
            n=row["n"],
            paper_r=row["paper"],
            window=average["n"].iat[0] if len(average) else None,
        )
    folder.figure("table2_heat_map", figures.draw_table_2(correlations), correlations)
    folder.figure(
        "sweep_overview",
        figures.draw_overview(simulated, OVERVIEW_METRICS, correlations, logarithmic),
        figures.overview(simulated, OVERVIEW_METRICS, logarithmic),
    )


def write_tables(
    folder: ResultFolder, correlations: pd.DataFrame, logarithmic: Sequence[str], notes: Sequence[str]
) -> None:
    """Table 2 as printed and in full, and the simulation rows of table 3."""
    compared, signs = correlations["paper_in_interval"].dropna(), correlations["same_sign"].dropna()
    folder.table(
        "table2",
        table_2_as_printed(correlations),
        show=True,
        logarithmic=", ".join(logarithmic),
        within=compared.sum(),
        compared=len(compared),
        noteworthy=NOTEWORTHY,
        same_sign=signs.sum(),
        signs=len(signs),
        notes=" ".join(notes) or None,
    )
    folder.table("correlations", correlations)
    columns = ["parameter", "metric", "ours", "low", "high", "paper", "n"]
    folder.table("table3", table_3_simulation(correlations)[columns], show=True)


def write_audit(folder: ResultFolder, n_datasets: int, max_entries: int, **setting: Any) -> None:
    """Every metric of every predictor on some data sets, and what that says about the metrics; `setting` of `audit`."""
    if setting["ranges"].k.low < 2:
        folder.note("There is no metric audit, since weights take at least two perturbations and k begins at 1.")
        return
    size: dict[str, Any] = {"n_datasets": n_datasets, "max_entries": max_entries}
    # On the CPU, also where the sweep is not; it takes a minute or two.
    table = folder.cached_table("metric_audit", lambda: audit(**size, **setting), **size)
    correlations, scores, summary = parameter_correlations(table), scaled_scores(table), dial_summary(table)
    folder.figure(
        "metrics_compared",
        draw_metric_audit(correlations, scores, summary),
        {"correlations": correlations, "dial": scores, "summary": summary},
        **size,
    )
