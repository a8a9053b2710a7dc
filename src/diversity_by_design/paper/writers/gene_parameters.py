"""Results of analysis 1 about single genes: their parameters, and how well these fit."""

from __future__ import annotations

from diversity_by_design.datasets import PreparedDataset
from diversity_by_design.paper.figures import gene_parameters as figures
from diversity_by_design.paper.gene_source import GeneSource, estimate_from_file
from diversity_by_design.running.results import ResultFolder


def write_gene_parameters(folder: ResultFolder, source: GeneSource, prepared: PreparedDataset, workers: int) -> None:
    """The data set's gene parameters, how well they fit, and the table of those that the sweep draws from."""
    folder.note(source.note)
    estimates = source.estimates or estimate_from_file(prepared.path, workers=workers)
    notes = " ".join(f"{note}." for note in estimates.notes)
    folder.table("gene_estimates", estimates.table, dataset=prepared.name, notes=notes or None)
    folder.table("library_sizes", estimates.library, dataset=prepared.name)
    folder.table("gene_parameters", source.parameters.table)
    fitted = estimates.gene_table()
    folder.figure(
        "gene_parameter_histograms",
        figures.draw_parameter_histograms(fitted),
        figures.parameter_histograms(fitted),
        dataset=prepared.name,
    )
    fits = figures.gene_fits(estimates)
    folder.figure("gene_fits", figures.draw_gene_fits(fits), fits)
    sizes = figures.library_histograms(estimates.library_sizes, estimates.histograms.is_control)
    folder.figure("library_size_histograms", figures.draw_library_sizes(sizes), sizes, dataset=prepared.name)
    comparison = figures.parameter_comparison(estimates.table)
    folder.figure("control_and_perturbed", figures.draw_parameter_comparison(comparison), comparison)
