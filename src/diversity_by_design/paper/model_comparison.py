"""Models beside the baselines: paired tests, spread over seeds, variances over perturbations (section 4.5).

Figures 4, 8 and 9. What is compared per perturbation is the mean over seeds of a model's score.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from diversity_by_design.arrays import FloatArray
from diversity_by_design.baselines import DUPLICATE, Predictor
from diversity_by_design.errors import InputError
from diversity_by_design.loss_names import loss_power
from diversity_by_design.metrics import METRICS
from diversity_by_design.paired import holm, paired_tests
from diversity_by_design.paper import comparison
from diversity_by_design.predictions import Prediction, predictor_name
from diversity_by_design.truth import Truth

# What trained models of this analysis are called begins so.
PREFIX = predictor_name("gears", "")
OWN, MSE, WMSE = (predictor_name("gears", loss) for loss in ("gears", "mse", "wmse"))
NULL = "perturbed_mean"
TRUTH = "truth"
PAIRS = ((MSE, WMSE), (OWN, WMSE), (OWN, MSE))
# Genes that figures 4D and 8D show.
TOP_GENES = 2048
# How sure an interval over seeds is.
CONFIDENCE = 0.95

_DOSE_METRICS = ("wmse", "weighted_r2_delta", "mse")
VARIANCE_RATIO = "variance_ratio"


def model_names(scores: pd.DataFrame) -> list[str]:
    """Predictors that are trained models, in the order in which they first occur."""
    return [name for name in dict.fromkeys(scores["predictor"]) if name.startswith(PREFIX)]


def seed_scores(truth: Truth, predictions: Sequence[Prediction]) -> pd.DataFrame:
    """Score the baselines, and every model of every seed, as `comparison.paper_scores` does."""

    def predictor(prediction: Prediction) -> Predictor:
        return Predictor(prediction.predictor, lambda target: prediction.aligned(target.labels), seed=prediction.seed)

    return comparison.paper_scores(truth, map(predictor, predictions))


def mean_over_seeds(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds of each model's score of each perturbation; NaN where it is undefined for any of the seeds."""
    keys = ["perturbation", "predictor", "metric", "n_degs", "is_combination"]
    groups = scores.groupby(keys, sort=False)["value"]
    means = groups.mean().where(groups.count() == groups.size())
    return means.rename("value").reset_index()[[*keys[:3], "value", *keys[3:]]]


def undefined_always(scores: pd.DataFrame) -> int:
    """Count the scores of a perturbation, predictor and metric that are undefined for every seed."""
    return int((scores.groupby(["perturbation", "predictor", "metric"])["value"].count() == 0).sum())


def seed_medians(scores: pd.DataFrame) -> pd.DataFrame:
    """Median over perturbations of every model's scores, seed by seed.

    Columns: `loss`, `seed`, `metric`, `n` (perturbations with a defined score), `n_undefined`, `median`.
    """
    models = scores[scores["seed"].notna()]
    models = models.assign(loss=models["predictor"].str.removeprefix(PREFIX))
    table = comparison.summarise(models, by=("loss", "seed", "metric"))
    return table[["loss", "seed", "metric", "n", "n_undefined", "median"]]


def seed_intervals(table: pd.DataFrame, by: Sequence[str] = ("loss", "metric"), value: str = "median") -> pd.DataFrame:
    """Mean over seeds, and its 95 % interval by the t distribution.

    `table`: one row per seed within each group, as from `seed_medians` or `loss_dose`. Columns: `by`, `n_seeds`,
    `mean`, `sd`, `low`, `high`. The last three are NaN for a single seed. Seeds whose value is undefined are not
    counted.

    >>> medians = pd.DataFrame({"loss": "mse", "metric": "mse", "median": [1.0, 2.0, 3.0]})
    >>> seed_intervals(medians).round(2).to_dict("records")
    [{'loss': 'mse', 'metric': 'mse', 'n_seeds': 3, 'mean': 2.0, 'sd': 1.0, 'low': -0.48, 'high': 4.48}]
    """
    groups = table.groupby(list(by), sort=False)[value]
    result = pd.DataFrame({"n_seeds": groups.count(), "mean": groups.mean(), "sd": groups.std()}).reset_index()
    n = result["n_seeds"].where(result["n_seeds"] > 1)
    reach = special.stdtrit(n - 1, (1 + CONFIDENCE) / 2) * result["sd"] / np.sqrt(n)
    return result.assign(low=result["mean"] - reach, high=result["mean"] + reach)


def model_tests(scores: pd.DataFrame) -> pd.DataFrame:
    """Compare models with each other and with mu_all, perturbation by perturbation, on every metric.

    As from `pair_tests`: the pairs of `PAIRS` of which both are there, then mu_all and every model.
    """
    models = model_names(scores)
    pairs = [pair for pair in PAIRS if set(pair) <= set(models)]
    return pair_tests(scores, [*pairs, *((NULL, model) for model in models)])


def group_tests(scores: pd.DataFrame, groups: Iterable[str]) -> pd.DataFrame:
    """MSE against WMSE training within each group of perturbations of similar strength (figure 9).

    The column `deg_group`, and those of `pair_tests`.
    """
    tables = []
    for group in groups:
        table = pair_tests(scores[scores["deg_group"] == group], [(MSE, WMSE)])
        table.insert(0, "deg_group", group)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def pair_tests(scores: pd.DataFrame, pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """Paired t test and Wilcoxon's signed-rank test of pairs of predictors, on every metric.

    Perturbations count as independent.

    `scores`: one row per perturbation, predictor and metric. Columns: `metric`, `first`, `second`, `n` (perturbations
    with a score of both), `n_undefined` (with a row of both, but an undefined score), `median_first`, `median_second`,
    `mean_difference` (second minus first), `t` (positive if the second is greater), `t_p`, `wilcoxon`, `wilcoxon_p`,
    for errors `ratio_of_medians` (first over second), and `t_holm`, `wilcoxon_holm` (p values adjusted over this
    table). Tests are NaN with fewer than three pairs, the t test also where all differences are the same.
    """
    groups = scores.groupby(["metric", "predictor"], sort=False)
    of = {key: table.set_index("perturbation")["value"] for key, table in groups}
    nothing = pd.Series(dtype=float, index=pd.Index([], dtype=object))
    rows = []
    for (first, second), metric in product(pairs, comparison.METRICS_OF_FIGURE_6):
        both = pd.concat(
            [of.get((metric, first), nothing), of.get((metric, second), nothing)], axis=1, join="inner", keys=(0, 1)
        )
        tests = paired_tests(both[0].to_numpy(float), both[1].to_numpy(float))
        medians = tests["median_first"], tests["median_second"]
        rows.append(
            {
                "metric": metric,
                "first": first,
                "second": second,
                "n": tests["n"],
                "n_undefined": len(both) - int(tests["n"]),
                **tests,
                "ratio_of_medians": ratio(*medians) if not METRICS[metric].higher_is_better else np.nan,
            }
        )
    table = pd.DataFrame(rows)
    for test in ("t", "wilcoxon"):
        table[f"{test}_holm"] = holm(table[f"{test}_p"].to_numpy())
    return table


def ratio(above: float, below: float) -> float:
    """How many times `below` is in `above`; NaN unless `below` is positive."""
    return above / below if below > 0 else np.nan


def variance_profiles(
    truth: Truth, predictions: Sequence[Prediction], labels: pd.Index, n_top: int = TOP_GENES
) -> pd.DataFrame:
    """Variance over perturbations of each gene's mean expression, in the truth and in predictions (figures 4D, 8D).

    Mode collapse shows as a variance far below the truth's.

    `truth`: in the mode "paper", with halves. `labels`: perturbations, the same for all. `n_top`: so many genes of
    largest variance in the truth are kept (all, if there are fewer). Columns: `predictor` ("truth" first,
    "technical_duplicate", then models), `seed` (missing unless a model), `rank` (from one), `gene`, `variance`
    (unbiased, of log1p expression).
    """
    if len(labels) < 2:
        raise InputError(f"variance over {len(labels)} perturbation(s) is undefined; at least 2 are needed")
    rows = truth.labels.get_indexer(labels)
    duplicate = truth.target(0, half=True).duplicate
    assert duplicate is not None
    means = truth.target(0).mean[rows].var(axis=0, ddof=1)
    top = np.argsort(-means, kind="stable")[:n_top]
    ranked: list[tuple[str, int | None, FloatArray]] = [
        (TRUTH, None, means),
        (DUPLICATE, None, duplicate[rows].var(axis=0, ddof=1)),
    ]
    ranked += [(one.predictor, one.seed, _variance(one.aligned(labels))) for one in predictions]
    tables = [
        pd.DataFrame(
            {
                "predictor": name,
                "seed": pd.array([seed] * len(top), dtype="Int64"),
                "rank": np.arange(1, len(top) + 1),
                "gene": truth.genes[top],
                "variance": variance[top],
            }
        )
        for name, seed, variance in ranked
    ]
    return pd.concat(tables, ignore_index=True)


def variance_ratios(profiles: pd.DataFrame, n_perturbations: int) -> pd.DataFrame:
    """Median variance of each predictor's genes, and its ratio to the truth's.

    Columns: `predictor`, `seed`, `n_perturbations`, `n_genes`, `median_variance`, `ratio`, `mean_ratio` (over the seeds
    of the predictor).
    """
    groups = profiles.groupby(["predictor", "seed"], sort=False, dropna=False)["variance"]
    table = pd.DataFrame({"n_genes": groups.size(), "median_variance": groups.median()}).reset_index()
    table.insert(2, "n_perturbations", n_perturbations)
    of_truth = table.set_index("predictor")["median_variance"][TRUTH]
    table["ratio"] = table["median_variance"] / of_truth if of_truth > 0 else np.nan
    table["mean_ratio"] = table.groupby("predictor")["ratio"].transform("mean")
    return table


def loss_dose(medians: pd.DataFrame, ratios: pd.DataFrame) -> pd.DataFrame:
    """What the power does that the weights of WMSE are raised to: 0 is MSE, 1 is WMSE.

    Columns: `power`, `loss`, `seed`, `metric` ("wmse", "weighted_r2_delta", "mse", "variance_ratio"), `value`: medians
    over perturbations, and the ratio of the median variance to the truth's. Empty with fewer than three powers. Losses
    of the same power are the same model: of a seed that has "mse" and "wmse^0", only "mse" counts, and only "wmse" of
    one that has "wmse" and "wmse^1".
    """
    powers = {loss: _dose(loss) for loss in medians["loss"].unique()}
    of_models = ratios[ratios["seed"].notna()]
    of_models = of_models.assign(loss=of_models["predictor"].str.removeprefix(PREFIX), metric=VARIANCE_RATIO)
    scores = medians[medians["metric"].isin(_DOSE_METRICS)].rename(columns={"median": "value"})
    columns = ["loss", "seed", "metric", "value"]
    table = pd.concat([scores[columns], of_models.rename(columns={"ratio": "value"})[columns]], ignore_index=True)
    table.insert(0, "power", table["loss"].map(powers).astype(float))
    table = table.dropna(subset="power").sort_values(["power", "loss", "seed"], kind="stable")
    # Names without a power sort before those with one.
    table = table.drop_duplicates(["power", "seed", "metric"], ignore_index=True)
    return table if table["power"].nunique() > 2 else table.iloc[:0]


def _dose(loss: str) -> float:
    """Power of the weights of WMSE that a loss has; NaN for a loss of another kind."""
    base, power = loss_power(loss)
    if base == "wmse":
        return 1.0 if power is None else power
    return 0.0 if loss == "mse" else np.nan


def _variance(expression: npt.NDArray[np.float32]) -> FloatArray:
    return np.asarray(expression.astype(float).var(axis=0, ddof=1))
