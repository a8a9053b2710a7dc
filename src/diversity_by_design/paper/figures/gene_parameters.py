"""Diagnostics of gene parameters: their distributions, how they fit, library sizes, control beside perturbed cells.

Each figure has a function that gives the numbers it shows as a table, to be written beside it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from diversity_by_design.paper.figures.style import (
    HIGHLIGHT,
    POINTS,
    PREDICTOR_COLOURS,
    TREND,
    make_logarithmic,
    say_n,
    style,
)
from diversity_by_design.simulator.count_histograms import Cells
from diversity_by_design.simulator.estimation import ParameterEstimates

RATIO = "mu_perturbed / mu_control"
PARAMETERS = {
    "mu_control": r"$\mu_c$: mean count per control cell",
    "mu_perturbed": r"$\mu_{all}$: mean count per perturbed cell",
    "theta": r"$\theta$: negative binomial size",
    RATIO: r"$\mu_{all}/\mu_c$",
}
CELL_COLOURS = {"control": PREDICTOR_COLOURS["control_mean"], "perturbed": PREDICTOR_COLOURS["perturbed_mean"]}
BINS = 50
# Bars per gene, at most and at least, and the share of cells that they show; counts of the others are beyond the axis.
_MOST_BARS, _LEAST_BARS = 40, 4
_SHARE_SHOWN = 0.998


def parameter_histograms(parameters: pd.DataFrame) -> pd.DataFrame:
    """Distribution over genes of the parameters, in bins of equal width on the log.

    `parameters`: `GeneParameters.table`. Columns: `parameter` (keys of `PARAMETERS`), `bin_left`, `bin_right`, `genes`.
    A row whose edges are both 0, both infinite or both undefined counts the genes that have no place on a logarithmic
    axis.
    """
    tables = []
    for parameter, values in _with_ratio(parameters).items():
        shown = values[np.isfinite(values) & (values > 0)]
        edges = np.exp(np.histogram_bin_edges(np.log(shown), BINS))
        # The outermost values are edges, and rounding must not put them outside.
        genes, _ = np.histogram(np.log(shown), BINS)
        table = pd.DataFrame({"bin_left": edges[:-1], "bin_right": edges[1:], "genes": genes})
        for edge, number in (
            (0.0, (values == 0).sum()),
            (np.inf, np.isinf(values).sum()),
            (np.nan, values.isna().sum()),
        ):
            if number:
                table.loc[len(table)] = [edge, edge, number]
        tables.append(table.assign(parameter=str(parameter)))
    return pd.concat(tables, ignore_index=True)[["parameter", "bin_left", "bin_right", "genes"]].astype({"genes": int})


@style()
def draw_parameter_histograms(parameters: pd.DataFrame) -> Figure:
    """Four panels: both means, theta, and the ratio of the means; see `parameter_histograms`."""
    histograms = parameter_histograms(parameters)
    figure, panels = plt.subplots(1, len(PARAMETERS), figsize=(3 * len(PARAMETERS), 3))
    for axes, (parameter, values) in zip(panels, _with_ratio(parameters).items(), strict=True):
        table = histograms[histograms["parameter"] == parameter]
        bars = table[table["bin_right"] > table["bin_left"]]
        axes.stairs(bars["genes"], np.append(bars["bin_left"], bars["bin_right"].iloc[-1]), color=POINTS, fill=True)
        axes.set(xlabel=PARAMETERS[str(parameter)], ylabel="genes" if axes is panels[0] else "")
        make_logarithmic(axes, bars[["bin_left", "bin_right"]])
        logs = np.log(values[np.isfinite(values) & (values > 0)])
        axes.set_title(f"log: mean {logs.mean():z.2f}, sd {logs.std():.2f}", loc="left", fontsize=7)
        say_n(axes, len(logs), "genes")
        _say(axes, "\n".join(f"{row.genes:,} at {row.bin_left:g}" for row in table.drop(bars.index).itertuples()))
    return figure


def choose_genes(table: pd.DataFrame, n_genes: int = 20, cells: Cells = "control") -> pd.Index:
    """Positions of genes whose means are spread evenly, on the log, over the range of all that have a fit; ascending.

    `table`: `ParameterEstimates.table`. `n_genes`: as many as there are, if there are fewer.
    """
    logs = np.log(table.loc[table[f"theta_{cells}"].notna(), f"mu_{cells}"]).sort_values()
    if len(logs) <= n_genes:
        return logs.index
    left = logs
    for target in np.linspace(logs.iat[0], logs.iat[-1], n_genes):
        left = left.drop((left - target).abs().idxmin())
    return logs.index.difference(left.index, sort=False)


def gene_fits(estimates: ParameterEstimates, n_genes: int = 20, cells: Cells = "control") -> pd.DataFrame:
    """Observed and fitted distribution of the counts of some genes.

    Columns: `gene`, `cells`, `n_cells`, `mu`, `theta`, `count_from`, `count_to` (inclusive; infinite in the last row of
    a gene, which holds all counts beyond those shown), `observed` and `fitted` (share of cells). Genes ascend by mean.
    """
    histograms, n_cells = estimates.histograms.of(cells)
    tables = []
    for position in choose_genes(estimates.table, n_genes, cells):
        gene = estimates.table.loc[position]
        mu, theta = gene[f"mu_{cells}"], gene[f"theta_{cells}"]
        stored = histograms[position]
        counts = np.append(0, stored.indices)
        below = np.cumsum(np.append(n_cells - stored.data.sum(), stored.data)) / n_cells
        fitted = stats.poisson(mu) if np.isinf(theta) else stats.nbinom(theta, theta / (theta + mu))
        last = max(counts[np.searchsorted(below, _SHARE_SHOWN)], int(fitted.ppf(_SHARE_SHOWN)), _LEAST_BARS - 1)
        width = last // _MOST_BARS + 1
        start = np.arange(0, last + 1, width)
        observed_below = below[np.searchsorted(counts, start + width - 1, side="right") - 1]
        tables.append(
            pd.DataFrame(
                {
                    "gene": gene["gene"],
                    "cells": cells,
                    "n_cells": n_cells,
                    "mu": mu,
                    "theta": theta,
                    "count_from": np.append(start, start[-1] + width).astype(float),
                    "count_to": np.append(start + width - 1.0, np.inf),
                    "observed": np.diff(np.concatenate([[0], observed_below, [1]])),
                    "fitted": np.diff(np.concatenate([[0], fitted.cdf(start + width - 1), [1]])),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


@style()
def draw_gene_fits(fits: pd.DataFrame) -> Figure:
    """One panel per gene: observed counts as bars, the fitted distribution as points; `fits` from `gene_fits`.

    Shares are on a logarithmic axis that begins at a third of a cell, so that tails can be seen.
    """
    genes = fits["gene"].unique()
    n_columns = min(5, len(genes))
    n_rows = -(-len(genes) // n_columns)
    figure, panels = plt.subplots(n_rows, n_columns, figsize=(2.5 * n_columns, 2.1 * n_rows), squeeze=False)
    for axes, gene in zip(panels.flat, genes, strict=False):
        table = fits[fits["gene"] == gene]
        shown, beyond = table.iloc[:-1], table.iloc[-1]
        width = shown["count_to"] - shown["count_from"] + 1
        axes.bar(
            shown["count_from"] - 0.5, 100 * shown["observed"], width, align="edge", color=POINTS, label="observed"
        )
        middle = (shown["count_from"] + shown["count_to"]) / 2
        axes.plot(middle, 100 * shown["fitted"], color=HIGHLIGHT, marker="o", markersize=2, linewidth=1, label="fit")
        axes.set_title(rf"{gene}: $\mu$ = {beyond['mu']:.2g}, $\theta$ = {beyond['theta']:.2g}", fontsize=7)
        axes.set_yscale("log")
        axes.set_ylim(100 / 3 / beyond["n_cells"], 200)
        if beyond["observed"] > 0:
            _say(axes, f"{100 * beyond['observed']:.2g} % of cells beyond")
    for axes in panels.flat[len(genes) :]:
        axes.set_axis_off()
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    figure.suptitle(f"n = {fits['n_cells'].iat[0]:,} cells", x=0.01, ha="left", fontsize=9)
    figure.supxlabel("count", fontsize=9)
    figure.supylabel(f"{str(fits['cells'].iat[0]).removesuffix('_cells')} cells (%)", fontsize=9)
    return figure


def library_histograms(library_sizes: npt.ArrayLike, is_control: npt.ArrayLike) -> pd.DataFrame:
    """Distribution of library sizes of control and of perturbed cells, and the log-normal one of the same moments.

    `library_sizes`: counts per cell; empty cells are left out. Columns: `cells` ("control" or "perturbed"), `bin_left`,
    `bin_right` (counts), `observed` and `fitted` (share of cells), `n`, `log_mean`, `sigma_l` (of the natural log).
    Bins are equally wide on the log.
    """
    sizes, control = np.asarray(library_sizes, dtype=float), np.asarray(is_control, dtype=bool)
    edges = np.histogram_bin_edges(np.log(sizes[sizes > 0]), BINS)
    tables = []
    for cells, chosen in (("control", control), ("perturbed", ~control)):
        logs = np.log(sizes[chosen & (sizes > 0)])
        mean, sd = logs.mean(), logs.std(ddof=1)
        tables.append(
            pd.DataFrame(
                {
                    "cells": cells,
                    "bin_left": np.exp(edges[:-1]),
                    "bin_right": np.exp(edges[1:]),
                    "observed": np.histogram(logs, edges)[0] / len(logs),
                    "fitted": np.diff(stats.norm.cdf(edges, mean, sd)),
                    "n": len(logs),
                    "log_mean": mean,
                    "sigma_l": sd,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


@style()
def draw_library_sizes(histograms: pd.DataFrame) -> Figure:
    """Library sizes of control and perturbed cells, with log-normal fits; `histograms` from `library_histograms`."""
    figure, panels = plt.subplots(1, 2, figsize=(7, 3), sharex=True, sharey=True)
    for axes, (cells, table) in zip(panels, histograms.groupby("cells", sort=False), strict=True):
        edges = np.append(table["bin_left"], table["bin_right"].iloc[-1])
        axes.stairs(100 * table["observed"], edges, color=CELL_COLOURS[str(cells)], fill=True, alpha=0.7)
        middle = np.sqrt(edges[1:] * edges[:-1])
        axes.plot(middle, 100 * table["fitted"], color=TREND, label="log-normal")
        axes.set(xlabel="library size (counts per cell)")
        make_logarithmic(axes, edges)
        axes.set_title(rf"{cells}: $\sigma_l$ = {table['sigma_l'].iat[0]:.4f}", loc="left")
        say_n(axes, table["n"].to_numpy()[0], "cells")
    panels[0].set_ylabel("cells (%)")
    panels[0].legend(fontsize=7)
    return figure


def parameter_comparison(table: pd.DataFrame) -> pd.DataFrame:
    """Estimates from control and from perturbed cells side by side, of genes with counts.

    `table`: `ParameterEstimates.table`.
    """
    kept = table[table["mu_all_cells"] > 0]
    return kept[["gene", "mu_control", "mu_perturbed", "theta_control", "theta_perturbed"]].reset_index(drop=True)


@style()
def draw_parameter_comparison(comparison: pd.DataFrame) -> Figure:
    """Means and theta of control against those of perturbed cells; `comparison` from `parameter_comparison`."""
    figure, panels = plt.subplots(1, 2, figsize=(7, 3.4))
    for axes, parameter, label in ((panels[0], "mu", "mean count per cell"), (panels[1], "theta", r"$\theta$")):
        pair = comparison[[f"{parameter}_control", f"{parameter}_perturbed"]]
        shown = pair[(np.isfinite(pair) & (pair > 0)).all(axis=1)]
        axes.set(xlabel=f"{label}, control", ylabel=f"{label}, perturbed")
        say_n(axes, len(shown), "genes")
        if len(pair) > len(shown):
            _say(axes, f"{len(pair) - len(shown):,} zero, infinite or undefined", 0.04)
        if not len(shown):
            continue
        axes.scatter(*shown.to_numpy().T, s=6, color=POINTS, alpha=0.6, linewidths=0, rasterized=True)
        ends = [shown.min(axis=None), shown.max(axis=None)]
        axes.plot(ends, ends, color="0.4", linewidth=0.8, linestyle=":")
        axes.set(xscale="log", yscale="log")
        if len(shown) > 2:
            r = np.corrcoef(np.log(shown.to_numpy().T))[0, 1]
            axes.set_title(f"r of logs = {r:.2f}", loc="left")
    return figure


def _with_ratio(parameters: pd.DataFrame) -> pd.DataFrame:
    values = parameters[["mu_control", "mu_perturbed", "theta"]]
    return values.assign(**{RATIO: values["mu_perturbed"] / values["mu_control"]})


def _say(axes: Axes, text: str, height: float = 0.96) -> None:
    """Write what has no place on the axes beside their right edge."""
    axes.annotate(text, (0.98, height), xycoords="axes fraction", ha="right", va="center", fontsize=6, color="0.4")
