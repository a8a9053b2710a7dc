"""Scores of predictors on a calibrated scale, with intervals and paired tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from diversity_by_design.baselines import DUPLICATE, Predictor
from diversity_by_design.calibration import calibrate
from diversity_by_design.errors import InputError, listed, whole_number
from diversity_by_design.metrics import Metric
from diversity_by_design.paired import holm, paired_tests

Aggregate = Literal["median", "mean"]

# Name of what a perfect prediction would score, which is an estimate.
PERFECT = "perfect"

_CALIBRATED = (
    "0: the best uninformative baseline; 1: the technical duplicate; 95 % intervals. A dash: the metric cannot tell "
    "these two apart on these data, so that it is not informative here, or the predictor has no score by it."
)


@dataclass(frozen=True)
class CardOptions:
    """How scores are summarised.

    Attributes
    ----------
    aggregate : "median" or "mean"
        Over perturbations.
    resamples : int
        Of the perturbations, for intervals.
    seed : int
        Of the resampling.
    """

    aggregate: str = "median"
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.aggregate not in get_args(Aggregate):
            raise InputError(f"aggregate is {self.aggregate!r}; it must be one of: {listed(get_args(Aggregate))}")
        for name, least in (("resamples", 1), ("seed", 0)):
            object.__setattr__(self, name, whole_number(getattr(self, name), name, least))


class Scorecard:
    """Scores of every predictor on every metric; made by `diversity_by_design.score`.

    A calibrated score is ``(s - zero) / (one - zero)`` of the aggregates over the perturbations that all three have:
    zero is the best uninformative baseline (control mean, perturbed mean), one the technical duplicate. It is NaN where
    a metric cannot tell the two apart here, that is, where the 95 % interval of their difference holds zero.

    Attributes
    ----------
    left_out : DataFrame
        `context`, `perturbation`, `predictor`, `reason`.
    notes : tuple of str
        What a reader must know.
    options : CardOptions
    """

    def __init__(
        self,
        scores: pd.DataFrame,
        *,
        metrics: Sequence[Metric],
        predictors: Sequence[Predictor],
        left_out: pd.DataFrame,
        notes: tuple[str, ...],
        options: CardOptions,
    ) -> None:
        self._scores = scores
        self._metrics = {metric.name: metric for metric in metrics}
        self._predictors = {predictor.name: predictor for predictor in predictors}
        self.left_out = left_out
        self.notes = notes
        self.options = options

    def __repr__(self) -> str:
        n_labels = self._scores[["context", "perturbation"]].drop_duplicates().shape[0]
        return (
            f"Scorecard({len(self.models)} predictor(s) ({listed(self.models, 3)}) and "
            f"{len(self._predictors) - len(self.models)} baselines, {len(self._metrics)} metrics, {n_labels:,} "
            "perturbations; see .summary, .table, .tests, .notes)"
        )

    @property
    def models(self) -> list[str]:
        """Predictors that are no baselines."""
        from diversity_by_design.baselines import BASELINES

        return [name for name in self._predictors if name not in BASELINES]

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per perturbation, predictor, seed and metric.

        `context`, `perturbation`, `predictor`, `seed` (missing unless there are several), `metric`, `value` (mean over
        the targets on which it is defined), `spread` (their standard deviation; NaN for one target), `n_targets`,
        `calibrated` (on the scale of the predictor's summary).
        """
        table = self._scores[self._scores["predictor"] != PERFECT]
        keys = ["context", "predictor", "metric"]
        table = table.merge(self.summary[[*keys, "zero", "one", "informative"]], on=keys, how="left", sort=False)
        span = (table["one"] - table["zero"]).where(table["informative"])
        table["calibrated"] = (table["value"] - table["zero"]) / span + 0.0  # no -0.0
        columns = [
            *keys[:1],
            "perturbation",
            "predictor",
            "seed",
            "metric",
            "value",
            "spread",
            "n_targets",
            "calibrated",
        ]
        return table[columns]

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row per context, predictor and metric.

        `n` (perturbations with a defined score, mean over seeds), `undefined` (predicted, but the score is undefined,
        for any of the seeds), `median`, `mean`, `calibrated` with `ci_low` and `ci_high` (95 %, perturbations resampled
        jointly, the best baseline chosen anew in each resample), `n_calibrated` (perturbations that predictor,
        baselines and duplicate all have), `zero` and `one` (the aggregates there), `zero_is` (which baseline),
        `perfect` (aggregate of what a perfect prediction would score: an estimate, extrapolated from duplicates of a
        quarter and of half of the cells to infinitely many; exact on average for squared errors) and
        `perfect_calibrated`, `informative`.
        """
        rows = []
        for context, metric, values in self._matrices():
            perfect = values.loc[PERFECT] if PERFECT in values.index else pd.Series(np.nan, values.columns)
            own = values.drop(index=PERFECT, errors="ignore")
            zeros = [name for name in own.index if name in self._predictors and self._predictors[name].uninformative]
            one = np.asarray(own.loc[DUPLICATE]) if DUPLICATE in own.index else np.full(own.shape[1], np.nan)
            results = calibrate(
                own.to_numpy(),
                one,
                own.loc[zeros].to_numpy(),
                np.asarray(perfect),
                sign=self._metrics[metric].sign,
                aggregate=self.options.aggregate,
                resamples=self.options.resamples,
                seed=self.options.seed,
            )
            for name, result in zip(own.index, results, strict=True):
                scores = own.loc[name].dropna()
                n = len(scores)
                rows.append(
                    {
                        "context": context,
                        "predictor": name,
                        "metric": metric,
                        "n": n,
                        "undefined": self._n_predicted(context, metric, name) - n,
                        "median": scores.median() if n else np.nan,
                        "mean": scores.mean(),
                        "calibrated": result.value,
                        "ci_low": result.low,
                        "ci_high": result.high,
                        "n_calibrated": result.n,
                        "zero": result.zero,
                        "zero_is": zeros[result.which_zero] if result.which_zero >= 0 else "",
                        "one": result.one,
                        "perfect": result.perfect,
                        "perfect_calibrated": result.perfect_calibrated,
                        "informative": result.informative,
                    }
                )
        return pd.DataFrame(rows)

    @cached_property
    def tests(self) -> pd.DataFrame:
        """Paired tests of every predictor against each other one and against every baseline; see `paired`."""
        names = list(self._predictors)
        models = self.models or names
        return self.paired([pair for pair in combinations(names, 2) if set(pair) & set(models)])

    def paired(self, pairs: Iterable[tuple[str, str]], metrics: str | Iterable[str] | None = None) -> pd.DataFrame:
        """Paired t test and Wilcoxon's signed-rank test of pairs of predictors, perturbation by perturbation.

        Perturbations count as independent.

        Parameters
        ----------
        pairs : pairs of names
        metrics : name or names, optional
            Default: all.

        Returns
        -------
        DataFrame
            `context`, `metric`, `first`, `second`, then the columns of `diversity_by_design.paired.paired_tests`;
            `t_holm` and `wilcoxon_holm` are p values adjusted over all rows of this table by Holm's method.

        Raises
        ------
        InputError
            There is no such predictor or metric.
        """
        pairs = list(pairs)
        wanted = [metrics] if isinstance(metrics, str) else None if metrics is None else list(metrics)
        for name in {name for pair in pairs for name in pair}:
            if name not in self._predictors:
                raise InputError(f"no predictor {name!r} was scored; there are: {listed(self._predictors, 30)}")
        for name in wanted or []:
            if name not in self._metrics:
                raise InputError(f"no metric {name!r} was scored; there are: {listed(self._metrics, 30)}")
        rows = []
        for context, metric, values in self._matrices():
            if wanted is not None and metric not in wanted:
                continue
            for first, second in pairs:
                if first in values.index and second in values.index:
                    tests = paired_tests(values.loc[first].to_numpy(), values.loc[second].to_numpy())
                    rows.append({"context": context, "metric": metric, "first": first, "second": second, **tests})
        table = pd.DataFrame(rows)
        for test in ("t", "wilcoxon") if len(table) else ():
            table[f"{test}_holm"] = holm(table[f"{test}_p"].to_numpy())
        return table

    def to_csv(self, folder: Path | str) -> None:
        """Write scores.csv, summary.csv, tests.csv, left_out.csv and notes.csv into a folder."""
        from diversity_by_design.running.files import write_csv

        for name, table in {
            "scores": self.table,
            "summary": self.summary,
            "tests": self.tests,
            "left_out": self.left_out,
            "notes": pd.DataFrame({"note": self.notes}, dtype=object),
        }.items():
            write_csv(Path(folder) / f"{name}.csv", table.reset_index(drop=True))

    def to_html(self, path: Path | str) -> None:
        """Write one page that needs no network: calibrated scores, summary, paired tests, what was left out."""
        from diversity_by_design.report import Section, page, table
        from diversity_by_design.running.files import write_text

        summary = self.summary
        cells = [
            f"{row.calibrated:z.3f} ({row.ci_low:z.3f} to {row.ci_high:z.3f})" if row.informative else None
            for row in summary.itertuples()
        ]
        calibrated = summary.assign(calibrated=pd.Series(cells, dtype=object)).pivot_table(
            "calibrated", ["context", "predictor"], "metric", aggfunc="first", sort=False, dropna=False
        )
        what = {
            "calibrated": ("Calibrated scores", calibrated.reset_index(), _CALIBRATED),
            "summary": ("Summary", summary, f"Calibrated scores are of the {self.options.aggregate}s."),
            "tests": ("Paired tests", self.tests, "p values adjusted over this table by Holm's method."),
            "left_out": ("Left out", self.left_out, "What was not scored, and why."),
        }
        plain = ["context"] if summary["context"].eq("").all() else []
        sections = [
            Section(name, title, tables=[table(name, frame.drop(columns=plain), caption, most_rows=None)])
            for name, (title, frame, caption) in what.items()
            if len(frame)
        ]
        write_text(Path(path), page("Scores of predicted perturbation responses", sections, lead=self.notes))

    def _matrices(self) -> Iterable[tuple[str, str, pd.DataFrame]]:
        """Context, metric and values (predictors, perturbations), means over seeds; NaN if a score is for any seed."""
        order = list(dict.fromkeys(self._scores["predictor"]))
        for (context, metric), part in self._scores.groupby(["context", "metric"], sort=False):
            groups = part.groupby(["predictor", "perturbation"], sort=False)["value"]
            means = groups.mean().where(groups.count() == groups.size())
            values = means.unstack("perturbation")  # noqa: PD010 - nothing is to be aggregated
            yield (
                str(context),
                str(metric),
                values.reindex(
                    index=[name for name in order if name in values.index], columns=part["perturbation"].unique()
                ),
            )

    def _n_predicted(self, context: str, metric: str, predictor: str) -> int:
        own = self._scores
        mine = (own["context"] == context) & (own["metric"] == metric) & (own["predictor"] == predictor)
        return int(own.loc[mine, "perturbation"].nunique())
