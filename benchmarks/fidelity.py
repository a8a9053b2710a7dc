"""What each choice that the paper leaves open changes, measured: the numbers of docs/fidelity.md.

    uv run benchmarks/fidelity.py FILE.h5ad:CONTROL_LABEL [...]

Each file has raw counts and ``obs["perturbation"]``; it is prepared in a temporary folder.
Prints one line per quantity: data set, choice, variant, quantity, value.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc

import diversity_by_design as dbd
from diversity_by_design import datasets, metrics
from diversity_by_design.datasets.expression import read_expression
from diversity_by_design.paper import sweeps
from diversity_by_design.paper.comparison import paper_scores
from diversity_by_design.paper.correlations import sweep_correlations

# Choice, variant, quantity, value.
Row = tuple[str, str, str, float]


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        for argument in sys.argv[1:]:
            path, _, control = argument.rpartition(":")
            prepared = datasets.load(path, data_dir=Path(folder), control_label=control)
            adata = read_expression(prepared.path)
            data = sweeps.SweepData.from_anndata(adata)
            for row in [
                *perturbed_mean_variants(path, control),
                *rank_bins(data),
                *strength(data),
                *control_in_library_deciles(data),
                *identical_replicates(data),
                *deg_sets(data),
                *truths(adata),
                *correlated_points(data),
            ]:
                print(f"{prepared.name:24}{row[0]:26}{row[1]:34}{row[2]:46}{row[3]:10.4f}")


def perturbed_mean_variants(path: str, control: str) -> Iterator[Row]:
    """Whether mu_all counts control, and averages cells or perturbations; on all cells, not an equal number of each."""
    adata = ad.read_h5ad(path)
    sc.pp.filter_cells(adata, min_counts=1)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    stats = dbd.PerturbationStatistics.from_anndata(adata, "perturbation", control)
    weights = dbd.deg_weights(dbd.deg_scores(stats))
    n_all = stats.n_perturbed + stats.n_control
    for variant, centre in {
        "perturbed cells (default)": stats.perturbed_mean,
        "perturbed and control cells": (stats.sum.sum(axis=0) + stats.control_sum) / n_all,
        "mean of perturbation means": stats.mean.mean(axis=0),
    }.items():
        pearson = metrics.pearson_delta(stats.mean, centre, stats.control_mean)
        weighted = metrics.r2_delta(stats.mean, centre, centre, weights)
        yield "mu_all", variant, "median Pearson(delta) of the mean", np.nanmedian(pearson)
        yield "mu_all", variant, "median weighted R2 of the mean", np.nanmedian(weighted)
        yield "mu_all", variant, "median WMSE of the mean", np.nanmedian(metrics.wmse(stats.mean, centre, weights))


def rank_bins(data: sweeps.SweepData) -> Iterator[Row]:
    """The last bin of ranks with and without its top item."""
    *_, top = sweeps.sweep_epsilon(data)
    strongest = np.abs(data.strength_scores.t).argmax(axis=1)
    without = np.array(top.mask)
    without[np.arange(len(without)), strongest] = False
    for variant, mask in {"top gene in (default)": top.mask, "top gene left out": without}.items():
        scores = sweeps.score_setting("epsilon", dataclasses.replace(top, mask=mask), data)
        yield "last decile of epsilon", variant, "median MSE", scores["mse_all"].median()
        yield "last decile of epsilon", variant, "median Pearson(delta)", scores["pearson_delta_all"].median()
    *_, last = sweeps.sweep_delta(data)
    labels = last.statistics.labels
    rows = data.statistics.labels.get_indexer(labels)
    scores = data.strength_scores
    order = np.lexsort((np.abs(scores.t).mean(axis=1)[rows], scores.n_degs[rows]))
    weaker = last.statistics.select(labels=labels[np.arange(len(labels)) != order[-1]])
    for variant, part in {"top one in (default)": last.statistics, "top one left out": weaker}.items():
        scores = sweeps.score_setting("delta", dataclasses.replace(last, statistics=part), data)
        yield "last window of delta", variant, "mean MSE", scores["mse_all"].mean()


def strength(data: sweeps.SweepData) -> Iterator[Row]:
    """Which DEGs rank perturbations (delta) and genes (epsilon)."""
    for variant in ("vs_rest", "vs_control"):
        chosen = dataclasses.replace(data, strength=variant)
        for parameter in ("delta", "epsilon"):
            sweep = sweeps.run_sweep(parameter, chosen)
            name = f"DEGs {variant}" + (" (default)" if variant == data.strength else "")
            for column in ("pearson_delta_all", "mse_all"):
                yield "strength", name, f"r of {column} with {parameter}", correlation(sweep, column)


def control_in_library_deciles(data: sweeps.SweepData) -> Iterator[Row]:
    """Whether control cells are cut into deciles of library size as well."""
    settings = list(sweeps.sweep_mu_l(data))
    whole = [dataclasses.replace(setting, control_mean=data.statistics.control_mean) for setting in settings]
    for variant, chosen in {"control cut too (default)": settings, "control whole": whole}.items():
        sweep = pd.concat([sweeps.score_setting("mu_l", setting, data) for setting in chosen])
        yield "mu_l", variant, "r of pearson_delta_all", correlation(sweep, "pearson_delta_all")
        yield "mu_l", variant, "median Pearson(delta)", sweep["pearson_delta_all"].median()


def identical_replicates(data: sweeps.SweepData) -> Iterator[Row]:
    """Whether the ten equal draws of all perturbations count once or ten times."""
    sweep = sweeps.run_sweep("k", data)
    whole = sweep[sweep["value"] == sweep["value"].max()]
    repeated = pd.concat([sweep] + [whole] * (sweeps.K_REPLICATES - 1))
    for variant, table in {"once (default)": sweep, "ten times": repeated}.items():
        yield "k, all perturbations", variant, "r of pearson_delta_all", correlation(table, "pearson_delta_all")


def deg_sets(data: sweeps.SweepData) -> Iterator[Row]:
    """DEGs of the whole data set, or of each subset of k perturbations."""
    fixed, renewed = [], []
    for setting in sweeps.sweep_k(data):
        if setting.value < 2:
            continue
        scores = sweeps.score_setting("k", setting, data)
        fixed.append(scores)
        own = dbd.deg_scores(setting.statistics)
        pearson = metrics.pearson_delta(
            setting.statistics.mean, setting.statistics.perturbed_mean, setting.control_mean, own.is_deg
        )
        renewed.append(scores.assign(pearson_delta_degs_vs_rest=pearson))
    for variant, parts in {"of all the data (default)": fixed, "of the subset": renewed}.items():
        sweep = pd.concat(parts)
        column = "pearson_delta_degs_vs_rest"
        yield "DEGs in the sweep of k", variant, "r of Pearson(delta) on DEGs, k > 1", correlation(sweep, column)
        yield "DEGs in the sweep of k", variant, "points defined", sweep[column].count()


def truths(adata: ad.AnnData) -> Iterator[Row]:
    """What predictors are compared with."""
    calibrated = dbd.score(dbd.Truth.from_anndata(adata, seed=0)).table
    for variant, table in {
        'mode "paper" (analysis 5)': paper_scores(dbd.Truth.from_anndata(adata, mode="paper", seed=0)),
        'mode "calibrated" (score)': calibrated,
    }.items():
        medians = table.groupby(["predictor", "metric"])["value"].median()
        for predictor in ("perturbed_mean", "technical_duplicate"):
            for metric in ("mse", "wmse", "r2_delta", "weighted_r2_delta"):
                yield "truth of the baselines", variant, f"median {metric} of {predictor}", medians[predictor, metric]


def correlated_points(data: sweeps.SweepData) -> Iterator[Row]:
    """Correlations over perturbations, or over the medians of each setting."""
    for parameter in ("n_p", "beta", "n_0"):
        sweep = sweeps.run_sweep(parameter, data)
        medians = sweep.groupby(["parameter", "value"], as_index=False)["pearson_delta_all"].median()
        medians["perturbation"] = "median"
        for variant, table in {"perturbations (default)": sweep, "medians of settings": medians}.items():
            r = correlation(table, "pearson_delta_all")
            yield "points of table 3", variant, f"r of pearson_delta_all with {parameter}", r


def correlation(sweep: pd.DataFrame, column: str) -> float:
    return sweep_correlations({sweep["parameter"].iat[0]: sweep}, [column])["r"].iat[0]


if __name__ == "__main__":
    main()
