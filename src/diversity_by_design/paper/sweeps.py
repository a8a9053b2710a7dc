"""The real-data parameter sweeps of appendix A.

Each sweep degrades a data set along one parameter of table 1 and asks, for every
perturbation, how well the mean of all perturbed cells, mu_all, predicts it. Only
n_0, n_p and mu_l choose cells; the other sweeps need the statistics alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design.arrays import FloatArray
from diversity_by_design.baselines import BASELINES
from diversity_by_design.degs import DegScores, deg_scores, deg_weights
from diversity_by_design.errors import InputError
from diversity_by_design.halves import label_generator, sorted_members
from diversity_by_design.metrics import METRICS
from diversity_by_design.scoring import BLOCK_ROWS, score_target
from diversity_by_design.statistics import PerturbationStatistics
from diversity_by_design.threads import map_threads, row_blocks
from diversity_by_design.truth import Target

if TYPE_CHECKING:
    from anndata import AnnData

BETAS = np.round(np.arange(0, 2.05, 0.1), 1)
K_REPLICATES = 10
DELTA_WIDTH, DELTA_STEP = 0.2, 0.1
DECILES = 10

# Columns of the sweeps' tables, and the metrics that they are of: on all genes, and on those of a mask.
METRICS_OF_ALL = {"pearson_delta": "pearson_delta_control", "mse": "mse", "mae": "mae"}
METRICS_OF_SOME = {name: f"{metric}_degs" for name, metric in METRICS_OF_ALL.items()}


@dataclass(frozen=True, eq=False)
class SweepData:
    """What the sweeps start from: the cells, and what follows from all of them.

    `matrix`: log1p expression. `library_size`: total counts of each cell. `strength`: which DEGs tell a perturbation's
    strength (delta) and a gene's (epsilon).
    """

    matrix: Any
    labels: npt.NDArray[np.object_]
    cells: pd.Index
    library_size: npt.NDArray[Any]
    statistics: PerturbationStatistics
    vs_rest: DegScores
    vs_control: DegScores
    seed: int = 0
    workers: int | None = None
    strength: str = "vs_rest"

    @classmethod
    def from_anndata(cls, adata: AnnData, seed: int = 0, workers: int | None = None) -> SweepData:
        """From a prepared data set with ``obs["condition"]`` and ``obs["ncounts"]``."""
        statistics = PerturbationStatistics.from_anndata(adata, workers=workers)
        return cls(
            matrix=adata.X,
            labels=adata.obs["condition"].astype(str).to_numpy(object),
            cells=adata.obs_names,
            library_size=adata.obs["ncounts"].to_numpy(),
            statistics=statistics,
            vs_rest=deg_scores(statistics, "rest", workers=workers),
            vs_control=deg_scores(statistics, "control", workers=workers),
            seed=seed,
            workers=workers,
        )

    @cached_property
    def weights(self) -> FloatArray:
        """DEG weights from all cells (labels, genes)."""
        return deg_weights(self.vs_rest)

    @property
    def strength_scores(self) -> DegScores:
        """The DEG scores that `strength` names."""
        return self.vs_rest if self.strength == "vs_rest" else self.vs_control

    @cached_property
    def members(self) -> dict[str, npt.NDArray[np.intp]]:
        """Positions of each label's cells, in the order of their names."""
        return dict(sorted_members(self.labels, self.cells))

    def generator(self, purpose: str) -> np.random.Generator:
        """Random numbers that depend on the seed and the purpose only."""
        return label_generator(self.seed, purpose)

    def statistics_of(self, chosen: Mapping[str, npt.NDArray[np.intp]]) -> PerturbationStatistics:
        """Statistics of the chosen cells (positions by label)."""
        labels = np.full(len(self.labels), None, object)
        for label, cells in chosen.items():
            labels[cells] = label
        return PerturbationStatistics.from_matrix(
            self.matrix,
            labels,
            self.statistics.genes,
            control=self.statistics.control,
            cells=self.cells,
            workers=self.workers,
        )


@dataclass(frozen=True, eq=False)
class Setting:
    """One degraded data set: what mu_all is scored on.

    `value`: of the parameter. `statistics`: of the degraded data; labels are some of the original's. `columns`: genes
    to use, the same for all perturbations. `mask`: genes to use of each perturbation.
    """

    value: float
    statistics: PerturbationStatistics
    control_mean: FloatArray
    replicate: int = 0
    columns: npt.NDArray[np.intp] | slice = field(default_factory=lambda: slice(None))
    mask: npt.NDArray[np.bool_] | None = None

    def target(self, weights: FloatArray) -> Target:
        """What mu_all is compared with; `weights` (labels, genes) are those of the whole data set."""
        weights = weights[:, self.columns]
        return Target(
            self.statistics.labels,
            self.statistics.genes[self.columns],
            self.statistics.mean[:, self.columns],
            perturbed_mean=self.statistics.perturbed_mean[self.columns],
            control_mean=self.control_mean[self.columns],
            weights=_restricted(weights, self.mask),
            is_deg=self.mask,
        )


def log2_grid(least: int, most: int) -> list[int]:
    """Powers of two from `least` to `most`, and `most` itself.

    Examples
    --------
    >>> log2_grid(2, 20)
    [2, 4, 8, 16, 20]
    """
    grid = [2**exponent for exponent in range(64) if least <= 2**exponent < most]
    return [*grid, most]


def sweep_g(data: SweepData) -> Iterator[Setting]:
    """Random genes: 2, 4, ... up to all."""
    by_name = np.argsort(data.statistics.genes.astype(str).to_numpy(), kind="stable")
    for g in log2_grid(2, len(by_name)):
        chosen = data.generator(f"g {g}").choice(by_name, g, replace=False)
        yield Setting(g, data.statistics, data.statistics.control_mean, columns=np.sort(chosen))


def sweep_n_0(data: SweepData) -> Iterator[Setting]:
    """Random control cells: 1, 2, 4, ... up to all."""
    control = str(data.statistics.control)
    cells = data.members[control]
    for n in log2_grid(1, len(cells)):
        chosen = data.generator(f"n_0 {n}").choice(cells, n, replace=False)
        sample = data.statistics_of({control: chosen})
        yield Setting(n, data.statistics, sample.control_mean)


def sweep_n_p(data: SweepData) -> Iterator[Setting]:
    """Random cells of every perturbation: 2, 4, ... up to what the smallest has."""
    for n in log2_grid(2, int(data.statistics.n_cells.min())):
        chosen = {
            label: data.generator(f"n_p {n} {label}").choice(data.members[label], n, replace=False)
            for label in data.statistics.labels
        }
        yield Setting(n, data.statistics_of(chosen), data.statistics.control_mean)


def sweep_k(data: SweepData) -> Iterator[Setting]:
    """Random perturbations: 1, 2, 4, ... up to all, ten draws each; all of them can be drawn in one way only."""
    labels = data.statistics.labels
    for k in log2_grid(1, len(labels)):
        for replicate in range(K_REPLICATES if k < len(labels) else 1):
            chosen = data.generator(f"k {k} {replicate}").choice(len(labels), k, replace=False)
            part = data.statistics.select(labels=labels[np.sort(chosen)])
            yield Setting(k, part, part.control_mean, replicate)


def sweep_beta(data: SweepData) -> Iterator[Setting]:
    """Control moved along the line from mu_all (0) through mu_c (1) to twice the bias (2)."""
    centre = data.statistics.perturbed_mean
    bias = data.statistics.control_mean - centre
    for beta in BETAS:
        yield Setting(beta, data.statistics, centre + beta * bias)


def sweep_delta(data: SweepData) -> Iterator[Setting]:
    """Perturbations in overlapping windows of their rank by number of DEGs; the value is the window's middle.

    Perturbations with equally many DEGs are ranked by their mean absolute t.
    """
    scores = data.strength_scores
    order = np.lexsort((np.abs(scores.t).mean(axis=1), scores.n_degs))
    rank = np.empty(len(order))
    rank[order] = np.arange(len(order)) / max(1, len(order) - 1)
    for low in np.arange(0, 1 - DELTA_WIDTH + DELTA_STEP / 2, DELTA_STEP):
        # The tolerance keeps perturbations that lie on a boundary, the strongest of all among them.
        inside = (rank >= low - 1e-9) & (rank <= low + DELTA_WIDTH + 1e-9)
        if inside.any():
            part = data.statistics.select(labels=data.statistics.labels[inside])
            yield Setting(round(low + DELTA_WIDTH / 2, 3), part, part.control_mean)


def sweep_epsilon(data: SweepData) -> Iterator[Setting]:
    """Each perturbation's genes in deciles of their absolute t; the value is the decile's middle."""
    genes = data.statistics.genes.astype(str).to_numpy()
    by_name = np.argsort(genes, kind="stable")
    order = by_name[np.argsort(np.abs(data.strength_scores.t[:, by_name]), axis=1, kind="stable")]
    decile = np.empty(order.shape, np.int64)
    np.put_along_axis(decile, order, np.arange(len(genes))[None] * DECILES // len(genes), axis=1)
    for number in range(DECILES):
        mask = decile == number
        if mask.any():
            yield Setting(_middle(number), data.statistics, data.statistics.control_mean, mask=mask)


def sweep_mu_l(data: SweepData) -> Iterator[Setting]:
    """Each label's cells, control's too, in deciles of their library size; the value is the decile's middle."""
    for number in range(DECILES):
        chosen = {}
        for label, cells in data.members.items():
            ordered = cells[np.argsort(data.library_size[cells], kind="stable")]
            inside = np.arange(len(cells)) * DECILES // len(cells) == number
            if inside.any():
                chosen[label] = ordered[inside]
        part = data.statistics_of(chosen)
        if len(part.labels) and part.n_control:
            yield Setting(_middle(number), part, part.control_mean)


SWEEPS: Mapping[str, Callable[[SweepData], Iterator[Setting]]] = MappingProxyType(
    {
        "epsilon": sweep_epsilon,
        "g": sweep_g,
        "n_p": sweep_n_p,
        "beta": sweep_beta,
        "delta": sweep_delta,
        "n_0": sweep_n_0,
        "k": sweep_k,
        "mu_l": sweep_mu_l,
    }
)
LOGARITHMIC = frozenset({"g", "n_p", "n_0", "k"})


def run_sweep(parameter: str, data: SweepData) -> pd.DataFrame:
    """Score mu_all on every setting of a sweep.

    `parameter`: a key of `SWEEPS`, named as in table 1. Columns: `parameter`, `value`, `replicate`, `perturbation`;
    `pearson_delta`, `mse` and `mae`, each with the suffix `_all`, `_degs_vs_control` or `_degs_vs_rest`, with changes
    from control; `wmse` and `weighted_r2_delta` (changes from mu_all). DEGs and weights are those of the whole data
    set, restricted to the genes used. NaN where a metric is undefined.
    """
    if parameter not in SWEEPS:
        raise InputError(f"no sweep called {parameter!r}; there are: {', '.join(SWEEPS)}")
    tables = [score_setting(parameter, setting, data) for setting in SWEEPS[parameter](data)]
    return pd.concat(tables, ignore_index=True)


def score_setting(parameter: str, setting: Setting, data: SweepData) -> pd.DataFrame:
    """Score mu_all on one setting; the rows of `run_sweep` that are about it."""
    labels = setting.statistics.labels
    rows = data.statistics.labels.get_indexer(labels)
    target = setting.target(data.weights[rows])
    prediction = BASELINES["perturbed_mean"].predict(target)
    groups = {"all": None, "degs_vs_control": data.vs_control.is_deg, "degs_vs_rest": data.vs_rest.is_deg}

    def scores(block: slice) -> dict[str, FloatArray]:
        part = target.rows(block)
        columns: dict[str, FloatArray] = {}

        def add(of_genes: Target, metrics: Mapping[str, str]) -> None:
            values = score_target(of_genes, prediction[block], [METRICS[name] for name in metrics.values()], 1)
            columns.update(zip(metrics, values, strict=True))

        for group, is_deg in groups.items():
            mask = None if setting.mask is None else setting.mask[block]
            if is_deg is not None:
                chosen = is_deg[rows[block]][:, setting.columns]
                mask = chosen if mask is None else chosen & mask
            metrics = METRICS_OF_ALL if mask is None else METRICS_OF_SOME
            of_genes = part if mask is None else part.with_genes(mask)
            add(of_genes, {f"{name}_{group}": metric for name, metric in metrics.items()})
        add(part, {name: name for name in ("wmse", "weighted_r2_delta")})
        return columns

    parts = map_threads(scores, row_blocks(len(labels), BLOCK_ROWS), data.workers)
    about = {"parameter": parameter, "value": setting.value, "replicate": setting.replicate, "perturbation": labels}
    return pd.DataFrame(about | {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _restricted(weights: FloatArray, used: npt.NDArray[np.bool_] | None) -> FloatArray:
    """Weights of the genes used, summing to one again; NaN where none of these has any weight."""
    kept = weights if used is None else np.where(used, weights, 0.0)
    totals = kept.sum(axis=1, keepdims=True)
    return kept / np.where(totals > 0, totals, np.nan)


def _middle(decile: int) -> float:
    return round((decile + 0.5) / DECILES, 3)
