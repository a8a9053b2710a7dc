"""The paper's claims about models (sections 4.4 and 4.5) beside what our results say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from diversity_by_design.baselines import DUPLICATE
from diversity_by_design.errors import InputError, listed
from diversity_by_design.paired import FEWEST_PAIRS
from diversity_by_design.paper.comparison import DEG_GROUPS
from diversity_by_design.paper.model_comparison import MSE, NULL, OWN, WMSE, ratio

_STRONGEST = DEG_GROUPS[-1]
_R2 = "weighted_r2_delta"


@dataclass(frozen=True, eq=False)
class Evidence:
    """What claims are checked against."""

    scores: pd.DataFrame
    ratios: pd.DataFrame

    def values(self, metric: str, predictor: str) -> pd.Series:
        """Scores of a predictor."""
        own = (self.scores["metric"] == metric) & (self.scores["predictor"] == predictor)
        return self.scores.loc[own, "value"]

    def median(self, metric: str, predictor: str) -> float:
        """Median of the scores of a predictor."""
        return float(self.values(metric, predictor).dropna().median())

    def variance_ratio(self, predictor: str) -> float:
        """Median gene variance over the truth's, mean over seeds."""
        return float(self.ratios.loc[self.ratios["predictor"] == predictor, "ratio"].mean())

    def strongest(self) -> Evidence:
        """The same of the top 5 % of perturbations by number of DEGs."""
        return Evidence(self.scores[self.scores["deg_group"] == _STRONGEST], self.ratios)


@dataclass(frozen=True)
class _Check:
    """How a claim is checked.

    `holds`: whether it does, given our number. `note`: what to say beside it. `strongest`: the claim is about the top
    5 % of perturbations by number of DEGs only.
    """

    needs: Sequence[str]
    number: Callable[[Evidence], float]
    holds: Callable[[float], bool]
    note: Callable[[Evidence], str] = lambda _: ""
    strongest: bool = False


def _positive(number: float) -> bool:
    return number > 0


def _not_positive(number: float) -> bool:
    return number <= 0


def _distance(ratio: float) -> float:
    """How many factors of two a variance is away from the truth's; infinite for no variance."""
    with np.errstate(divide="ignore"):
        return float(abs(np.log2(ratio)))


def _means(evidence: Evidence) -> str:
    first, second = (evidence.values("wmse", name).mean() for name in (MSE, WMSE))
    return f"ratio of medians; ratio of means {ratio(first, second):.3g}"


def _ratios(evidence: Evidence) -> str:
    return f"of the truth's: MSE {evidence.variance_ratio(MSE):.3g}, WMSE {evidence.variance_ratio(WMSE):.3g}"


def _better_on(evidence: Evidence) -> float:
    gains = [evidence.median("wmse", MSE) - evidence.median("wmse", WMSE), _lead(WMSE, MSE)(evidence)]
    return float((np.array(gains) > 0).sum()) if np.isfinite(gains).all() else np.nan


def _lead(first: str, second: str, metric: str = _R2) -> Callable[[Evidence], float]:
    return lambda evidence: evidence.median(metric, first) - evidence.median(metric, second)


# By the key of the claim in the table of the paper's claims.
CHECKS: Mapping[str, _Check] = MappingProxyType(
    {
        "wmse_reduction": _Check(
            (MSE, WMSE),
            lambda found: ratio(found.median("wmse", MSE), found.median("wmse", WMSE)),
            lambda fold: fold > 1,
            _means,
        ),
        "weighted_r2_of_mse": _Check((MSE,), lambda found: found.median(_R2, MSE), _not_positive),
        "weighted_r2_of_wmse": _Check((WMSE,), lambda found: found.median(_R2, WMSE), _positive),
        "null_not_positive": _Check((NULL,), lambda found: float(found.values(_R2, NULL).max()), _not_positive),
        "duplicate_on_top": _Check(
            (MSE, WMSE, DUPLICATE),
            lambda found: float(np.min([_lead(DUPLICATE, MSE)(found), _lead(DUPLICATE, WMSE)(found)])),
            _positive,
        ),
        "pearson_on_degs": _Check((MSE, WMSE), _lead(WMSE, MSE, "pearson_delta_degs"), _positive),
        "variances_closer": _Check(
            (MSE, WMSE),
            lambda found: _distance(found.variance_ratio(MSE)) - _distance(found.variance_ratio(WMSE)),
            _positive,
            _ratios,
        ),
        "weighted_metrics": _Check((MSE, WMSE), _better_on, lambda count: count == 2, lambda _: "WMSE and weighted R2"),
        "own_loss_and_null": _Check((OWN, NULL), _lead(OWN, NULL), _not_positive),
        "strongest_and_null": _Check((WMSE, NULL), _lead(WMSE, NULL), _positive, strongest=True),
    }
)


def check_claims(claims: pd.DataFrame, evidence: Evidence, *, dataset: str, task: str) -> pd.DataFrame:
    """Put the paper's claims beside our numbers.

    `claims`: ``analyses/paper_reference/claims.csv``. `dataset`: name of our data set. `task`: what our models were
    tested on. Columns: `claim`, `dataset` (the paper's), `paper`, `ours`, `unit`, `holds`, `note`. `holds` is about the
    direction or the inequality that the claim states, not about how near our number is to the paper's; it is missing
    where the claim is about the other task, a model it needs was not trained, there are fewer than three perturbations,
    or our number is undefined.
    """
    unknown = claims.loc[~claims["key"].isin(CHECKS), "key"]
    if len(unknown):
        raise InputError(f"no way to check the claim(s) {listed(unknown)}; known are: {listed(CHECKS, 30)}")
    rows = [_checked(row, evidence, dataset, task) for row in claims.itertuples(index=False)]
    table = pd.concat([claims[["claim", "dataset", "paper"]], pd.DataFrame(rows)], axis=1)
    table["holds"] = table["holds"].astype("boolean")
    table["unit"] = claims["unit"]
    return table[["claim", "dataset", "paper", "ours", "unit", "holds", "note"]]


def _checked(claim: Any, evidence: Evidence, dataset: str, task: str) -> dict[str, object]:
    check = CHECKS[claim.key]
    lacking = [name for name in check.needs if not len(evidence.values(_R2, name))]
    if lacking:
        return {"ours": np.nan, "holds": None, "note": f"not at hand: {listed(lacking)}"}
    found = evidence.strongest() if check.strongest else evidence
    ours = check.number(found)
    n = int(found.scores["perturbation"].nunique())
    notes = [check.note(found), f"{n} perturbation(s)" if check.strongest else ""]
    same_task = claim.task in ("any", task)
    enough = n >= FEWEST_PAIRS
    if not same_task:
        notes.append(f"the paper's claim is about the task {claim.task!r}, ours is {task!r}")
    elif dataset not in claim.dataset.split(" and "):
        notes.append("another data set than the paper's")
    if not enough:
        notes.append("too few to tell")
    holds = check.holds(ours) if same_task and enough and not np.isnan(ours) else None
    return {"ours": ours, "holds": holds, "note": "; ".join(filter(None, notes))}
