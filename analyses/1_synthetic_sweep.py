"""Analysis 1: what makes the mean baseline look good, in simulated data (section 3.1).

Estimates the parameters of every gene of a data set, simulates data sets whose eight parameters are drawn at random,
and correlates the scores of the mean of all perturbed cells with each parameter: table 2, figures 2C, 5G and 5K, and
the simulation rows of table 3, beside the paper's numbers. Writes into <output>/<dataset>/1_synthetic_sweep/.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from diversity_by_design import cli, datasets
from diversity_by_design.audit_summary import dial_summary, parameter_correlations, scaled_scores
from diversity_by_design.auditing import audit
from diversity_by_design.datasets import PreparedDataset
from diversity_by_design.errors import InputError, listed
from diversity_by_design.paper.correlations import (
    NOTEWORTHY,
    SIMULATION_PARAMETERS,
    table_2,
    table_2_as_printed,
    table_3_simulation,
)
from diversity_by_design.paper.figures import gene_parameters as gene_figures
from diversity_by_design.paper.figures import synthetic_sweep as figures
from diversity_by_design.paper.figures.metric_audit import draw_metric_audit
from diversity_by_design.paper.gene_source import GeneSource, estimate_from_file, gene_source
from diversity_by_design.running.project import project_root
from diversity_by_design.running.results import ResultFolder
from diversity_by_design.simulator.parameters import GeneParameters
from diversity_by_design.simulator.random_sweep import check_random_sweep, checksum, run_random_sweep, sweep_notes
from diversity_by_design.simulator.ranges import SweepRanges
from diversity_by_design.simulator.simulation import DEVICES

NAME, TITLE = "1_synthetic_sweep", "Synthetic sweep"
N_DATASETS, SEED = 10_000, 42  # of the whole sweep
TABLE_1 = SweepRanges()
# Of the metric audit, which scores every metric of every predictor: enough for a picture, small enough for any machine.
N_AUDITED, MAX_ENTRIES_AUDITED = 200, 10_000_000

# The figures of single parameters: name, parameter, gene group, figure of the paper, what to see.
TREND_FIGURES = (
    (
        "beta_pearson_delta",
        "beta",
        "all",
        "2C",
        "Each point is a simulated data set: its control bias, and the median over its perturbations of the mean "
        "baseline's score. If the line rises, the further control is from the centre of the perturbed cells, the "
        "better the baseline looks, though it predicts the same for every perturbation.",
    ),
    (
        "n_0_pearson_delta",
        "n_0",
        "all",
        "5G",
        "A control mean that few cells estimate is off by an error that all perturbations share. Where the line falls, "
        "the mean baseline profits from it.",
    ),
    (
        "k_pearson_delta_affected",
        "k",
        "affected",
        "5K",
        "On the genes that a perturbation affects. Of few perturbations each pulls the mean of all towards itself: "
        "where the line falls, the baseline seems to know the perturbation's own genes.",
    ),
)
OVERVIEW_METRICS = ("pearson_delta_all", "mse_all")


RANGES = "Ranges of the parameters (default: table 1 of the paper)"


def range_option(name: str, what: str) -> Any:
    """Option that takes the two ends of a parameter's range."""
    default = getattr(TABLE_1, name)
    return typer.Option(
        f"--{name.replace('_', '-')}",
        metavar="LOW HIGH",
        show_default=f"{default.low:g} {default.high:g}",
        rich_help_panel=RANGES,
        help=f"{what} ({default.scale} scale).",
    )


Ends = tuple[float, float] | None
EpsilonScaleOption = Annotated[
    str,
    typer.Option(
        "--epsilon-scale",
        metavar="linear|log",
        rich_help_panel=RANGES,
        help="Scale that epsilon is drawn on: linear as in the paper's scripts, or log as in its table 1.",
    ),
]
NDatasetsOption = Annotated[int, typer.Option("--n-datasets", min=1, metavar="N", help="Data sets to simulate.")]
NAuditOption = Annotated[
    int | None,
    typer.Option(
        "--n-audit",
        min=0,
        metavar="N",
        show_default=f"{N_AUDITED}, or as many as --n-datasets",
        help=f"Data sets (of at most {MAX_ENTRIES_AUDITED:,} entries) on which all metrics of all predictors are "
        "compared; 0 leaves it out.",
    ),
]
MaxEntriesOption = Annotated[
    int | None,
    typer.Option(
        "--max-entries",
        min=1,
        metavar="N",
        show_default="no bound",
        help="Draw data sets of more than N entries (cells x genes) anew, for small machines; the results say so.",
    ),
]
ParametersOption = Annotated[
    str | None,
    typer.Option(
        "--parameters",
        metavar="default|fit|FILE.csv",
        show_default="fit if the data set has as many genes as the largest g, else default",
        help="Gene parameters to simulate from: drawn from stated hyper-parameters (default), estimated from the data "
        "set (fit), or those of a table with the columns gene, mu_control, mu_perturbed and theta.",
    ),
]


def main(
    dataset: cli.DatasetOption = cli.DATASET,
    n_datasets: NDatasetsOption = N_DATASETS,
    seed: cli.SeedOption = SEED,
    output: cli.OutputOption = cli.RESULTS,
    workers: cli.WorkersOption = cli.CORES,
    scheduler: cli.SchedulerOption = None,
    device: cli.DeviceOption = "cpu",
    force: cli.ForceOption = False,
    parameters: ParametersOption = None,
    max_entries: MaxEntriesOption = None,
    n_audit: NAuditOption = None,
    g: Annotated[Ends, range_option("g", "Genes")] = None,
    n_0: Annotated[Ends, range_option("n_0", "Control cells")] = None,
    n_p: Annotated[Ends, range_option("n_p", "Cells per perturbation")] = None,
    k: Annotated[Ends, range_option("k", "Perturbations")] = None,
    beta: Annotated[Ends, range_option("beta", "Control bias")] = None,
    delta: Annotated[Ends, range_option("delta", "Probability that a perturbation affects a gene")] = None,
    epsilon: Annotated[Ends, range_option("epsilon", "Factor of an effect")] = None,
    epsilon_scale: EpsilonScaleOption = TABLE_1.epsilon.scale,
    mu_l: Annotated[Ends, range_option("mu_l", "Mean of the log library factor")] = None,
    preparation_seed: cli.PreparationSeedOption = 0,
    perturbation_key: cli.PerturbationKeyOption = None,
    control_label: cli.ControlLabelOption = None,
    cells_per_perturbation: cli.CellsPerPerturbationOption = None,
    genes: cli.GenesOption = None,
    min_genes_per_cell: cli.MinGenesPerCellOption = None,
) -> None:
    """Simulate data sets of random parameters, and correlate the mean baseline's scores with each parameter."""
    given = {"g": g, "n_0": n_0, "n_p": n_p, "k": k, "beta": beta, "delta": delta, "epsilon": epsilon, "mu_l": mu_l}
    ranges = TABLE_1.replace(epsilon=replace(TABLE_1.epsilon, scale=epsilon_scale))
    ranges = ranges.replace(**{name: ends for name, ends in given.items() if ends is not None})
    n_audit = min(N_AUDITED, n_datasets) if n_audit is None else n_audit
    if device not in DEVICES:
        raise InputError(f"--device {device}: it must be {listed(DEVICES)}")
    prepared = datasets.load(
        dataset,
        perturbation_key=perturbation_key,
        control_label=control_label,
        cells_per_perturbation=cells_per_perturbation,
        genes=genes,
        min_genes_per_cell=min_genes_per_cell,
        seed=preparation_seed,
    )
    source = gene_source(parameters, prepared, ranges.g.high, workers)
    ranges = ranges.replace(sigma_l=source.sigma_l)
    path = output / prepared.name / NAME
    # A sweep of bounded size does not stand in the way of a whole one.
    bound = "" if max_entries is None else f"_of_at_most_{max_entries}_entries"
    sweep_options: dict[str, Any] = {
        "seed": seed,
        "parameters": source.parameters,
        "ranges": ranges,
        "path": path / f"simulations{bound}.sqlite",
        "max_entries": max_entries,
        "device": device,
        "workers": workers,
        "scheduler": scheduler,
        "force": force,
    }
    # Before anything else is done.
    check_random_sweep(n_datasets, **sweep_options)
    folder = ResultFolder(
        path,
        analysis=NAME,
        title=TITLE,
        dataset=prepared,
        seed=seed,
        parameters={
            "n_datasets": n_datasets,
            "max_entries": max_entries,
            "n_audit": n_audit,
            "device": device,
            "gene_parameters": f"{source.name}, {checksum(source.parameters)}",
            **{name: describe(ranges, name) for name in SIMULATION_PARAMETERS},
            "sigma_l": ranges.sigma_l,
        },
        force=force,
    )
    if folder.complete:
        print(f"{folder.path}: already complete; --force runs it anew")
        return
    write_gene_parameters(folder, source, prepared, workers)
    sweep = run_random_sweep(n_datasets, **sweep_options)
    notes = sweep_notes(sweep, seed=seed, ranges=ranges, max_entries=max_entries)
    write_sweep(folder, sweep, ranges, notes, differences(n_datasets, ranges, max_entries))
    if n_audit:
        bound_of_audit = min(max_entries or MAX_ENTRIES_AUDITED, MAX_ENTRIES_AUDITED)
        write_audit(folder, n_audit, source.parameters, ranges, bound_of_audit, workers, scheduler, seed)
    n_failed = int((sweep["error"] != "").sum())
    if not n_failed:
        folder.finish()
    print(f"results: {folder.work}")
    if n_failed:
        print(f"{n_failed:,} of {n_datasets:,} data sets failed; the same command tries them again", file=sys.stderr)
        raise SystemExit(1)


def describe(ranges: SweepRanges, name: str) -> str:
    """A range as text, for the record."""
    chosen = getattr(ranges, name)
    return f"{chosen.low} to {chosen.high}, {chosen.scale}"


def differences(n_datasets: int, ranges: SweepRanges, max_entries: int | None) -> list[str]:
    """What sets this sweep apart from the paper's, in words."""
    found = []
    if n_datasets != N_DATASETS:
        found.append(f"{n_datasets:,} data sets instead of {N_DATASETS:,}")
    if max_entries is not None:
        found.append(f"none of more than {max_entries:,} entries (cells x genes)")
    for name in SIMULATION_PARAMETERS:
        if getattr(ranges, name) != getattr(TABLE_1, name):
            found.append(f"{name} from {describe(ranges, name)} instead of {describe(TABLE_1, name)}")
    return found


def write_gene_parameters(folder: ResultFolder, source: GeneSource, prepared: PreparedDataset, workers: int) -> None:
    """The data set's gene parameters, how well they fit, and the table of those that the sweep draws from."""
    folder.note(source.note)
    estimates = source.estimates or estimate_from_file(prepared.path, workers=workers)
    folder.table(
        "gene_estimates",
        estimates.table,
        caption=(
            f"Gene parameters of {prepared.name}: mean and size of a negative binomial distribution, by maximum "
            f"likelihood, in control, perturbed and all cells. {' '.join(f'{note}.' for note in estimates.notes)}"
        ),
    )
    folder.table("library_sizes", estimates.library, caption=f"Log library sizes of {prepared.name}.")
    folder.table(
        "gene_parameters",
        source.parameters.table,
        caption="Gene parameters that the data sets are simulated from; --parameters takes this table too.",
    )
    fitted = estimates.gene_table()
    folder.figure(
        "gene_parameter_histograms",
        gene_figures.draw_parameter_histograms(fitted),
        gene_figures.parameter_histograms(fitted),
        title="Gene parameters",
        caption=f"Gene parameters estimated from {prepared.name}, theta from control cells.",
        paper="",
    )
    fits = gene_figures.gene_fits(estimates)
    folder.figure(
        "gene_fits",
        gene_figures.draw_gene_fits(fits),
        fits,
        title="Fits of single genes",
        caption="Counts of genes of low to high mean in control cells, and the distribution fitted to them.",
        paper="",
    )
    sizes = gene_figures.library_histograms(estimates.library_sizes, estimates.histograms.is_control)
    folder.figure(
        "library_size_histograms",
        gene_figures.draw_library_sizes(sizes),
        sizes,
        title="Library sizes",
        caption=f"Counts per cell of {prepared.name}, with log-normal distributions of the same moments.",
        paper="",
    )
    comparison = gene_figures.parameter_comparison(estimates.table)
    folder.figure(
        "control_and_perturbed",
        gene_figures.draw_parameter_comparison(comparison),
        comparison,
        title="Gene parameters of control and perturbed cells",
        caption="Distance from the diagonal is the bias of control that beta scales (left), or tells that the spread "
        "of perturbed cells holds effects of perturbations too (right).",
        paper="",
    )


def write_sweep(
    folder: ResultFolder, sweep: pd.DataFrame, ranges: SweepRanges, notes: list[str], apart: list[str]
) -> None:
    """Tables 2 and 3, and the figures of the sweep; `apart` is what sets it apart from the paper's."""
    simulated = sweep[sweep["error"] == ""]
    if not len(simulated):
        raise InputError(f"all {len(sweep):,} data sets failed; the first: {sweep['error'].iat[0]}")
    logarithmic = [name for name in SIMULATION_PARAMETERS if getattr(ranges, name).scale == "log"]
    if apart:
        folder.note(
            f"Unlike the paper's sweep, whose size and ranges {NAME}.py has without options: {'; '.join(apart)}."
        )
    folder.table(
        "simulations",
        sweep,
        caption=" ".join(["Every simulated data set, with the medians over its perturbations.", *notes]),
    )
    paper = pd.read_csv(project_root() / "analyses" / "paper_reference" / "correlations.csv")
    correlations = table_2(simulated, paper, logarithmic=logarithmic)
    write_tables(folder, correlations, logarithmic, notes)
    for name, parameter, group, figure_of_paper, caption in TREND_FIGURES:
        column = f"pearson_delta_{group}"
        row = correlations.set_index(["metric", "gene_group", "parameter"]).loc["pearson_delta", group, parameter]
        average = figures.moving_average(simulated, parameter, column, logarithmic)
        if np.isfinite(row["ours"]):
            caption += f" r = {row['ours']:z.2f} over {row['n']:,} data sets (the paper's: {row['paper']:z.2f})."
        if len(average):
            caption += f" The line is the moving average of {average['n'].iat[0]:,} data sets."
        folder.figure(
            name,
            figures.draw_sweep(simulated, parameter, column, correlations, logarithmic),
            {"points": figures.points(simulated, parameter, column), "moving_average": average},
            title=f"Pearson(Δ) of the mean baseline along {parameter}, {figures.GENE_GROUP_LABELS[group]}, simulated",
            caption=caption,
            paper=figure_of_paper,
        )
    folder.figure(
        "table2_heat_map",
        figures.draw_table_2(correlations),
        correlations,
        title="Table 2",
        caption="Correlations of the mean baseline's scores with the parameters, ours beside the paper's.",
        paper="",
    )
    folder.figure(
        "sweep_overview",
        figures.draw_overview(simulated, OVERVIEW_METRICS, correlations, logarithmic),
        figures.overview(simulated, OVERVIEW_METRICS, logarithmic),
        title="All parameters",
        caption="The mean baseline along all eight parameters: points are simulated data sets, lines moving averages.",
        paper="",
    )


def write_tables(folder: ResultFolder, correlations: pd.DataFrame, logarithmic: list[str], notes: list[str]) -> None:
    """Table 2 as printed and in full, and the simulation rows of table 3."""
    compared, signs = correlations["paper_in_interval"].dropna(), correlations["same_sign"].dropna()
    agreement = (
        f"The paper's number lies, up to its rounding, in our 95 % interval in {compared.sum()} of {len(compared)}; "
        f"where it is at least {NOTEWORTHY} in size, the sign agrees in {signs.sum()} of {len(signs)}."
    )
    folder.table(
        "table2",
        table_2_as_printed(correlations),
        caption=" ".join(
            [
                "Correlations of the mean baseline's scores with the parameters of simulated data sets, the paper's in "
                f"brackets; n: data sets. {', '.join(logarithmic)} enter as logarithms. {agreement}",
                *notes,
            ]
        ),
        show=True,
    )
    folder.table(
        "correlations",
        correlations,
        caption="The same correlations, one per row, with bootstrap intervals over data sets (95 %, 1,000 resamples).",
    )
    columns = ["parameter", "metric", "ours", "low", "high", "paper", "n"]
    folder.table(
        "table3",
        table_3_simulation(correlations)[columns],
        caption="Rows of table 3 that are about simulations: all genes, with 95 % intervals, beside the paper's.",
        show=True,
    )


def write_audit(
    folder: ResultFolder,
    n_datasets: int,
    parameters: GeneParameters,
    ranges: SweepRanges,
    max_entries: int,
    workers: int,
    scheduler: str | None,
    seed: int,
) -> None:
    """Every metric of every predictor on some data sets, and what that says about the metrics."""
    if ranges.k.low < 2:
        folder.note("There is no metric audit, since weights take at least two perturbations and k begins at 1.")
        return
    # On the CPU, also where the sweep is not; it takes a minute or two.
    table = folder.cached_table(
        "metric_audit",
        lambda: audit(
            n_datasets,
            parameters=parameters,
            ranges=ranges,
            seed=seed,
            max_entries=max_entries,
            workers=workers,
            scheduler=scheduler,
        ),
        caption=f"Every metric of every predictor on {n_datasets:,} simulated data sets of at most {max_entries:,} "
        "entries: medians over perturbations.",
    )
    correlations, scores, summary = parameter_correlations(table), scaled_scores(table), dial_summary(table)
    folder.figure(
        "metrics_compared",
        draw_metric_audit(correlations, scores, summary),
        {"correlations": correlations, "dial": scores, "summary": summary},
        title="Which metric to trust?",
        caption="Left: how the mean baseline's score moves with each parameter; a sound metric moves with what makes "
        "perturbations differ, not with the bias of control. Right: the score as the true profile is shrunken to the "
        "mean of all perturbed cells, from the truth (0) to complete mode collapse (1); a sound metric falls all the "
        f"way. Medians over at most {n_datasets:,} simulated data sets of at most {max_entries:,} entries, those in "
        "which the metric is defined: correlations on DEGs take perturbations with three DEGs, and none is defined for "
        "a prediction of no change.",
        paper="",
    )


if __name__ == "__main__":
    cli.script(main)
