"""What the choices about the weights of the training loss change, measured: numbers of docs/fidelity.md.

    uv run benchmarks/fidelity_loss.py FILE.h5ad:CONTROL_LABEL [...]

Each file has raw counts and ``obs["perturbation"]``; it is prepared in a temporary folder.
Prints one line per quantity: data set, choice, variant, quantity, value.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import stats as scipy_stats

import diversity_by_design as dbd
from diversity_by_design import datasets
from diversity_by_design.datasets.expression import read_expression
from diversity_by_design.models.loss_choice import LossChoice, released_weights, training_weights
from diversity_by_design.paper import niche

# Random halves of the perturbations that are trained on.
N_HALVES = 50

# Choice, variant, quantity, value.
Row = tuple[str, str, str, float]


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        for argument in sys.argv[1:]:
            path, _, control = argument.rpartition(":")
            prepared = datasets.load(path, data_dir=Path(folder), control_label=control)
            statistics = dbd.PerturbationStatistics.from_anndata(read_expression(prepared.path))
            shape = f"{len(statistics.labels)} perturbations, {len(statistics.genes)} genes"
            print(f"{prepared.name}: {shape}, {statistics.n_cells.min()} to {statistics.n_cells.max()} cells each")
            for row in [*sums_of_weights(statistics), *training_only(statistics)]:
                print(f"{prepared.name:24}{row[0]:24}{row[1]:26}{row[2]:52}{row[3]:10.4f}")


def sums_of_weights(statistics: dbd.PerturbationStatistics) -> Iterator[Row]:
    """How much a perturbation counts in the loss: as any other in equation 8, not so in the scripts."""
    degs = dbd.deg_scores(statistics)
    weights = dbd.deg_weights(degs)
    effective = niche.weight_summary(degs, weights)["effective_genes"]
    choice = "scale of the weights"
    for variant, total in {
        "equation 8 (default)": weights.sum(axis=1),
        "released scripts": released_weights(degs).sum(axis=1),
    }.items():
        yield choice, variant, "smallest sum over perturbations", total.min()
        yield choice, variant, "median sum", np.median(total)
        yield choice, variant, "largest sum", total.max()
        fifth = np.sort(total)[-max(1, len(total) // 5) :]
        yield choice, variant, "part of all weight: fifth of largest sum", fifth.sum() / total.sum()
        if np.ptp(total) > 1e-9:
            yield choice, variant, "Spearman r of sum and number of DEGs", rank_correlation(total, degs.n_degs)
            yield choice, variant, "Spearman r of sum and mean abs t", rank_correlation(total, abs(degs.t).mean(axis=1))
            yield choice, variant, "Spearman r of sum and effective genes", rank_correlation(total, effective)


def training_only(statistics: dbd.PerturbationStatistics) -> Iterator[Row]:
    """How far weights from a random half of the perturbations are from those of all cells."""
    distance, changed, largest = [], [], []
    for seed in np.random.SeedSequence(0).spawn(N_HALVES):
        labels = statistics.labels.to_numpy()
        half = sorted(np.random.default_rng(seed).choice(labels, len(labels) // 2, replace=False))
        ours, theirs = (
            training_weights(LossChoice.parse(name), statistics, half)[:-1] for name in ("wmse", "wmse_all_cells")
        )
        distance.append(0.5 * np.abs(ours - theirs).sum(axis=1))
        changed.append(niche.TOP_DEGS - (top(ours) & top(theirs)).sum(axis=1))
        largest.append(ours.argmax(axis=1) != theirs.argmax(axis=1))
    choice, variant = "rest of the DEG scores", "training, not all cells"
    distances, changes = np.concatenate(distance), np.concatenate(changed)
    yield choice, variant, "perturbations and halves compared", distances.size
    yield choice, variant, "median total variation distance", np.median(distances)
    yield choice, variant, "90 % quantile of the distance", np.quantile(distances, 0.9)
    yield choice, variant, "largest distance", distances.max()
    yield choice, variant, "smallest median of a half", min(np.median(part) for part in distance)
    yield choice, variant, "largest median of a half", max(np.median(part) for part in distance)
    yield choice, variant, f"median of the {niche.TOP_DEGS} top genes that change", np.median(changes)
    yield choice, variant, "90 % quantile of those", np.quantile(changes, 0.9)
    yield choice, variant, "part whose gene of largest weight changes", np.concatenate(largest).mean()


def top(weights: np.ndarray) -> np.ndarray:
    """Mask of each row's genes of largest weight, as many as figure 3 takes."""
    mask = np.zeros(weights.shape, bool)
    np.put_along_axis(mask, np.argsort(-weights, axis=1, kind="stable")[:, : niche.TOP_DEGS], True, axis=1)
    return mask


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(scipy_stats.spearmanr(first, second).statistic)


if __name__ == "__main__":
    main()
