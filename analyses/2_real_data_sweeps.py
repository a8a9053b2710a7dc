"""Analysis 2: what makes the mean baseline look good, on real data (appendix A).

Writes figures 2A, 2D/E, 5A to 5E, 5H/I and 5L/M, table 3 with the paper's numbers beside
ours, and every sweep as a table, into <output>/<dataset>/2_real_data_sweeps/.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from diversity_by_design.datasets.expression import read_expression
from diversity_by_design.paper import deg_sharing, sweeps
from diversity_by_design.paper.analysis import Run, script
from diversity_by_design.paper.correlations import TABLE_3_METRICS, sweep_correlations, table_3
from diversity_by_design.paper.figures import deg_sharing as sharing_figures
from diversity_by_design.paper.figures import sweep_trends
from diversity_by_design.running.files import read_csv
from diversity_by_design.running.project import project_root
from diversity_by_design.running.records import read_record
from diversity_by_design.running.results import ResultFolder

# The figures of single sweeps: name, parameter, metric, axis label, figure of the paper, what to see.
TREND_FIGURES = (
    (
        "beta_pearson_delta",
        "beta",
        "pearson_delta_all",
        "Pearson(Δ) of the mean baseline",
        "2D/E",
        "Control moved from the centre of the perturbed cells (0) to where it was measured (1) and twice as far (2). "
        "If the line rises, the further control is from the centre, the better the mean of all perturbed cells looks, "
        "though it predicts the same for every perturbation.",
    ),
    (
        "n_0_pearson_delta",
        "n_0",
        "pearson_delta_all",
        "Pearson(Δ) of the mean baseline",
        "5H/I",
        "Control mean estimated from fewer cells. If the line falls, a noisy control mean is a bias that all "
        "perturbations share, from which the mean baseline profits; where it levels off, more control cells are of "
        "no more help.",
    ),
    (
        "k_pearson_delta_degs",
        "k",
        "pearson_delta_degs_vs_rest",
        "Pearson(Δ) of the mean baseline on DEGs",
        "5L/M",
        "Fewer perturbations, ten random choices of each number. If the line falls, that is because "
        "with few each pulls the mean of all towards itself, and the baseline seems to know the perturbation's own "
        "DEGs.",
    ),
)
OVERVIEW_METRICS = {"pearson_delta_all": "Pearson(Δ)", "mse_all": "MSE", "weighted_r2_delta": r"$R^2_w(\Delta)$"}


def analyse(run: Run) -> None:
    """Degrade a data set along each of the paper's eight parameters and score the mean baseline."""
    folder = run.folder
    with tqdm(total=len(sweeps.SWEEPS) + 3, desc="real-data sweeps", unit="step") as bar:
        data = sweeps.SweepData.from_anndata(read_expression(run.prepared.path), seed=run.seed, workers=run.workers)
        bar.update()
        tables = {}
        for parameter in sweeps.SWEEPS:
            bar.set_postfix_str(parameter)
            tables[parameter] = folder.cached_table(
                f"sweep_{parameter}",
                lambda parameter=parameter: sweeps.run_sweep(parameter, data),
                caption=f"Sweep of {parameter}: metrics of the mean baseline for every perturbation and setting.",
            )
            bar.update()
        bar.set_postfix_str("figures")
        write_sharing_figures(folder, data, run.prepared.name)
        bar.update()
        columns = [*TABLE_3_METRICS.values(), *(figure[2] for figure in TREND_FIGURES), *OVERVIEW_METRICS]
        correlations = sweep_correlations(tables, list(dict.fromkeys(columns)))
        write_sweep_figures(folder, tables, correlations)
        write_table_3(folder, correlations, run.prepared.name, [read_csv(path) for path in run.reads])
        bar.update()


def write_sharing_figures(folder: ResultFolder, data: sweeps.SweepData, name: str) -> None:
    """Figures 2A, 5A to 5E: which DEGs perturbations share."""
    directions = deg_sharing.trinary_matrix(data.vs_control, max_labels=256, max_genes=2048, seed=data.seed)
    changed = directions.to_numpy()
    up, down = ((changed == sign).sum() / max(1, changed.size) for sign in (1, -1))
    folder.figure(
        "trinary_degs_vs_control",
        sharing_figures.draw_trinary(directions),
        directions.reset_index(),
        title="Direction of DEGs against control",
        caption=(
            f"Genes up, down or unchanged against control in {len(directions):,} perturbations of {name}, rows and "
            f"columns clustered. Shown are {directions.shape[1]:,} genes that are a DEG of at least one of these "
            f"({up:.1%} of the map is up, {down:.1%} down). A vertical stripe would be a change that many "
            "perturbations share: a bias of control, not the effect of any one of them."
        ),
        paper="2A, 5A",
    )
    frequencies = deg_sharing.deg_frequencies(data.vs_control, data.vs_rest)
    folder.figure(
        "deg_frequency_rank",
        sharing_figures.draw_frequency_rank(frequencies),
        frequencies,
        title="How many perturbations share a DEG",
        caption="Genes ranked by the percentage of perturbations in which they are a DEG against control.",
        paper="5B",
    )
    folder.figure(
        "deg_frequency_comparison",
        sharing_figures.draw_frequency_comparison(frequencies),
        frequencies[["gene", "percent_vs_control", "percent_vs_rest"]],
        title="Shared DEGs against control and against the rest",
        caption=(
            "Each gene's percentage of perturbations in which it is a DEG. Genes far below the diagonal differ from "
            "control in many perturbations but set none of them apart."
        ),
        paper="5C",
    )
    counts = deg_sharing.deg_counts(data.vs_control, data.vs_rest)
    for reference, figure_of_paper in (("control", "5D"), ("rest", "5E")):
        column = f"n_vs_{reference}"
        folder.figure(
            f"deg_counts_vs_{reference}",
            sharing_figures.draw_count_histogram(counts[column], reference, len(data.statistics.genes)),
            counts[["perturbation", column]],
            title=f"DEGs per perturbation vs {reference}",
            caption=(
                f"Number of DEGs of each perturbation vs {reference}: median {counts[column].median():g}, "
                f"{int((counts[column] == 0).sum())} of {len(counts)} perturbations have none."
            ),
            paper=figure_of_paper,
        )


def write_sweep_figures(folder: ResultFolder, tables: dict[str, pd.DataFrame], correlations: pd.DataFrame) -> None:
    """Figures 2D/E, 5H/I and 5L/M, and an overview of all sweeps."""
    for name, parameter, column, ylabel, figure_of_paper, caption in TREND_FIGURES:
        sweep = tables[parameter]
        row = correlations.set_index(["parameter", "column"]).loc[(parameter, column)]
        if row["n"]:
            caption += (
                f" Correlation with the parameter: r = {row['r']:.2f} (95 % interval over perturbations "
                f"{row['low']:.2f} to {row['high']:.2f}) over {row['n']:,.0f} points."
            )
        undefined = int(sweep[column].isna().sum())
        if undefined:
            caption += f" {undefined:,} of {len(sweep):,} points are undefined and left out."
        folder.figure(
            name,
            sweep_trends.draw_sweep(sweep, column, ylabel, row["r"]),
            {
                "points": sweep[["value", "replicate", "perturbation", column]],
                "trend": sweep_trends.trend(sweep, column),
            },
            title=f"{ylabel} along {parameter}",
            caption=caption,
            paper=figure_of_paper,
        )
    trends = pd.concat(
        sweep_trends.trend(sweep, column).assign(parameter=parameter, metric=column)
        for parameter, sweep in tables.items()
        for column in OVERVIEW_METRICS
    )
    folder.figure(
        "sweeps_overview",
        sweep_trends.draw_overview(tables, OVERVIEW_METRICS, correlations),
        trends,
        title="All sweeps",
        caption=(
            "The mean baseline along all eight parameters: points are perturbations, lines their mean with its 95 % "
            "interval. Pearson(Δ) from control moves with properties of the data set; the weighted R2 from the "
            "perturbed mean is never above zero, as it should be for a baseline that learns nothing."
        ),
        paper="",
    )


def write_table_3(folder: ResultFolder, correlations: pd.DataFrame, name: str, simulations: list[pd.DataFrame]) -> None:
    """Table 3, with the paper's numbers beside ours, and those of simulated data if analysis 1 has any."""
    paper = pd.read_csv(project_root() / "analyses" / "paper_reference" / "correlations.csv")
    simulated = simulations[0] if simulations else None
    table = table_3(correlations, name, paper, simulated)
    compared_with = table["paper_dataset"].iat[0]
    both = table.dropna(subset=["ours", "paper"])
    agree = int((np.sign(both["ours"]) == np.sign(both["paper"])).sum())
    of_simulations = (
        "no simulations were at hand when this was written"
        if simulated is None
        else f"over the {simulated['n'].max():,} data sets that were at hand when this was written"
    )
    folder.table(
        "table3",
        table,
        caption=(
            "Correlation of the mean baseline's score with each parameter, over perturbations and settings, with 95 % "
            "intervals over resampled perturbations; the paper's numbers "
            f"are those for {compared_with}. The sign agrees in {agree} of {len(both)}. Empty: the metric cannot "
            f"depend on the parameter, or the paper gives no number. Simulation: as analysis 1 found, {of_simulations}."
        ),
        show=True,
    )


def reads(results: Path) -> list[Path]:
    """Correlations that analysis 1 found; none unless it is complete."""
    folder = results / "1_synthetic_sweep"
    record = read_record(folder)
    return [folder / "correlations.csv"] if record and record["complete"] else []


if __name__ == "__main__":
    script(
        analyse, name="2_real_data_sweeps", title="Real-data sweeps", parameters={"strength": "vs_rest"}, reads=reads
    )
