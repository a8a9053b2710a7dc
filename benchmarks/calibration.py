"""What the anchors of the calibrated scale rest on, measured: the numbers of docs/calibration.md.

    uv run benchmarks/calibration.py FILE.h5ad:CONTROL_LABEL [...]

Each file has raw counts and ``obs["perturbation"]``; all its cells are normalised to 10,000 counts and
log1p-transformed. Prints one line per quantity: data set, question, variant, quantity, value. Medians over
perturbations unless stated otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc

import diversity_by_design as dbd
from diversity_by_design import metrics
from diversity_by_design.baselines import Predictor
from diversity_by_design.models.splits import make_splits

METRICS = ["mse", "wmse", "weighted_r2_delta", "pearson_delta_degs"]

# Question, variant, quantity, value.
Row = tuple[str, str, str, float]


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for argument in sys.argv[1:]:
        path, _, control = argument.rpartition(":")
        adata = expression(path, control)
        truth = dbd.Truth.from_anndata(adata)
        for row in [*weights_of_whom(truth), *perfect(adata, truth), *honest_mean(adata, truth), *halvings(adata)]:
            print(f"{Path(path).stem:26}{row[0]:22}{row[1]:44}{row[2]:40}{row[3]:10.3f}")


def expression(path: str, control: str) -> ad.AnnData:
    """All cells with a count, as log1p expression."""
    adata = ad.read_h5ad(path)
    adata.X = adata.X.astype(np.float64)
    sc.pp.filter_cells(adata, min_counts=1)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    labels = adata.obs["perturbation"].astype(str).replace({control: "control"})
    adata.obs["condition"] = labels.astype("category")
    return adata


def weights_of_whom(truth: dbd.Truth) -> Iterator[Row]:
    """Weighted R2 of one quarter of the cells predicting another, with weights from different cells; means over
    halvings.
    """
    assert truth.halves is not None
    pool = truth.statistics
    values: dict[str, list[np.ndarray]] = {}
    for number in range(len(truth.halves)):
        for which in (0, 1):
            both, others = (truth.halves.half(number, side, truth.own) for side in (which, 1 - which))
            first, second = truth.halves.quarter_means(number, which, both)
            for variant, cells in {
                "the cells that predict and the target's": both,
                "equally many other cells": others,
            }.items():
                weights = dbd.deg_weights(dbd.deg_scores(cells, pool=pool))
                values.setdefault(variant, []).append(metrics.r2_delta(second, first, pool.perturbed_mean, weights))
            for variant, cells in {"the half that predicts": both, "the half predicted (calibrated)": others}.items():
                weights = dbd.deg_weights(dbd.deg_scores(cells, pool=pool))
                values.setdefault(variant, []).append(
                    metrics.r2_delta(others.mean, both.mean, pool.perturbed_mean, weights)
                )
            weights = dbd.deg_weights(dbd.deg_scores(pool))[pool.labels.get_indexer(truth.labels)]
            values.setdefault("all cells (paper)", []).append(
                metrics.r2_delta(others.mean, both.mean, pool.perturbed_mean, weights)
            )
    for variant, parts in values.items():
        yield "weights from", variant, "weighted R2 of the duplicate", float(np.nanmedian(np.mean(parts, axis=0)))


def perfect(adata: ad.AnnData, truth: dbd.Truth) -> Iterator[Row]:
    """Where a perfect prediction lies on the scale, in both modes."""
    card = dbd.score(truth, metrics=METRICS)
    for row in card.summary.query("predictor == 'technical_duplicate'").itertuples():
        yield "perfect prediction", "calibrated", f"{row.metric}, calibrated", row.perfect_calibrated
    # Of the error of one half predicting the other, 4 parts are noise of n cells; against the mean of all, 1 part is.
    paper = dbd.Truth.from_anndata(adata, mode="paper")
    table = dbd.score(paper, metrics=["wmse"]).table.pivot_table("value", "perturbation", "predictor")
    zero = table[["control_mean", "perturbed_mean"]].min(axis=1)
    one = table["technical_duplicate"]
    scale = ((zero - one / 4) / (zero - one))[zero > one]
    for name, quantile in (("median", 0.5), ("90 % quantile", 0.9)):
        yield (
            "perfect prediction",
            "paper",
            f"wmse, each perturbation's own scale, {name}",
            float(scale.quantile(quantile)),
        )


def honest_mean(adata: ad.AnnData, truth: dbd.Truth) -> Iterator[Row]:
    """Baselines that have seen the tested perturbations, and baselines of training perturbations only."""
    n_combinations = truth.labels.str.contains("+", regex=False).sum()
    task = "combinations" if n_combinations > len(truth.labels) / 2 else "unseen"
    splits = make_splits(task, truth.statistics.labels, 0)
    tested = [split.labels("test") for split in splits]
    honest = [
        dbd.Truth.from_anndata(adata, train=split.labels("train").union(split.labels("validation")), labels=labels)
        for split, labels in zip(splits, tested, strict=True)
    ]
    seen = dbd.Truth.from_anndata(adata, labels=tested[0].union(tested[1]))
    for variant, truths in {"all perturbations": seen, f"training only ({task})": honest}.items():
        summary = dbd.score(truths, metrics=METRICS).summary
        for row in summary[summary["predictor"].isin(["perturbed_mean", "control_mean"])].itertuples():
            yield "baselines have seen", variant, f"{row.predictor}, {row.metric}", row.median


def halvings(adata: ad.AnnData) -> Iterator[Row]:
    """How much the calibrated score of a fixed prediction varies over seeds of the halves."""
    for n in (1, 10):
        values = []
        for seed in range(5):
            truth = dbd.Truth.from_anndata(adata, halvings=n, seed=seed)
            mean = truth.statistics.perturbed_mean
            half_way = Predictor("half_way", lambda target, mean=mean: (target.duplicate + mean) / 2, half=True)
            card = dbd.score(truth, [half_way], ["weighted_r2_delta"])
            values.append(card.summary.set_index("predictor").loc["half_way", "calibrated"])
        yield "halvings", str(n), "sd over seeds of half-way's weighted R2", float(np.std(values, ddof=1))


if __name__ == "__main__":
    pd.set_option("display.width", 200)
    main()
