"""Results of analysis 2: figures 2A, 2D/E, 5A to 5E, 5H/I, 5L/M, and table 3."""

from __future__ import annotations

import numpy as np
import pandas as pd

from diversity_by_design.paper import deg_sharing
from diversity_by_design.paper.correlations import TABLE_3_METRICS, table_3
from diversity_by_design.paper.figures import deg_sharing as sharing_figures
from diversity_by_design.paper.figures import sweep_trends
from diversity_by_design.paper.reference import paper_numbers
from diversity_by_design.paper.sweeps import SweepData
from diversity_by_design.running.results import ResultFolder

# Figures of single sweeps: the parameter, the metric, and its label.
TREND_FIGURES = {
    "beta_pearson_delta": ("beta", "pearson_delta_all", "Pearson(Δ) of the mean baseline"),
    "n_0_pearson_delta": ("n_0", "pearson_delta_all", "Pearson(Δ) of the mean baseline"),
    "k_pearson_delta_degs": ("k", "pearson_delta_degs_vs_rest", "Pearson(Δ) of the mean baseline on DEGs"),
}
OVERVIEW_METRICS = {"pearson_delta_all": "Pearson(Δ)", "mse_all": "MSE", "weighted_r2_delta": r"$R^2_w(\Delta)$"}
# Columns of the sweeps' tables that are correlated with the parameters.
CORRELATED = tuple(
    dict.fromkeys([*TABLE_3_METRICS.values(), *(column for _, column, _ in TREND_FIGURES.values()), *OVERVIEW_METRICS])
)


def write_sharing_figures(folder: ResultFolder, data: SweepData, dataset: str) -> None:
    """Figures 2A, 5A to 5E: which DEGs perturbations share."""
    directions = deg_sharing.trinary_matrix(data.vs_control, max_labels=256, max_genes=2048, seed=data.seed)
    changed = directions.to_numpy()
    up, down = ((changed == sign).sum() / max(1, changed.size) for sign in (1, -1))
    folder.figure(
        "trinary_degs_vs_control",
        sharing_figures.draw_trinary(directions),
        directions.reset_index(),
        dataset=dataset,
        n_labels=len(directions),
        n_genes=directions.shape[1],
        up=up,
        down=down,
    )
    frequencies = deg_sharing.deg_frequencies(data.vs_control, data.vs_rest)
    folder.figure("deg_frequency_rank", sharing_figures.draw_frequency_rank(frequencies), frequencies)
    folder.figure(
        "deg_frequency_comparison",
        sharing_figures.draw_frequency_comparison(frequencies),
        frequencies[["gene", "percent_vs_control", "percent_vs_rest"]],
    )
    counts = deg_sharing.deg_counts(data.vs_control, data.vs_rest)
    for reference in ("control", "rest"):
        column = f"n_vs_{reference}"
        folder.figure(
            f"deg_counts_vs_{reference}",
            sharing_figures.draw_count_histogram(counts[column], reference, len(data.statistics.genes)),
            counts[["perturbation", column]],
            median=counts[column].median(),
            none=int((counts[column] == 0).sum()),
            total=len(counts),
        )


def write_sweep_figures(folder: ResultFolder, tables: dict[str, pd.DataFrame], correlations: pd.DataFrame) -> None:
    """Figures 2D/E, 5H/I and 5L/M, and an overview of all sweeps."""
    for name, (parameter, column, label) in TREND_FIGURES.items():
        sweep = tables[parameter]
        row = correlations[(correlations["parameter"] == parameter) & (correlations["column"] == column)].iloc[0]
        folder.figure(
            name,
            sweep_trends.draw_sweep(sweep, column, label, row["r"]),
            {
                "points": sweep[["value", "replicate", "perturbation", column]],
                "trend": sweep_trends.trend(sweep, column),
            },
            n=row["n"],
            **{name: row[name] if np.isfinite(row[name]) else None for name in ("r", "low", "high")},
            undefined=int(sweep[column].isna().sum()) or None,
            points=len(sweep),
        )
    trends = pd.concat(
        sweep_trends.trend(sweep, column).assign(parameter=parameter, metric=column)
        for parameter, sweep in tables.items()
        for column in OVERVIEW_METRICS
    )
    folder.figure("sweeps_overview", sweep_trends.draw_overview(tables, OVERVIEW_METRICS, correlations), trends)


def write_table_3(
    folder: ResultFolder, correlations: pd.DataFrame, dataset: str, simulated: pd.DataFrame | None
) -> None:
    """Table 3, with the paper's numbers beside ours, and those of simulated data if analysis 1 has any."""
    table = table_3(correlations, dataset, paper_numbers("correlations"), simulated)
    both = table.dropna(subset=["ours", "paper"])
    folder.table(
        "table3",
        table,
        show=True,
        paper_dataset=table["paper_dataset"].iat[0],
        same_sign=int((np.sign(both["ours"]) == np.sign(both["paper"])).sum()),
        compared=len(both),
        n_simulated=None if simulated is None else simulated["n"].max(),
    )
