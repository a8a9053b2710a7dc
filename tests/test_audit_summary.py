"""What an audit of metrics shows, in tables whose answers are known."""

import numpy as np
import pandas as pd
import pytest
from messages import naming

from diversity_by_design.audit_summary import dial_summary, parameter_correlations, scaled_scores
from diversity_by_design.errors import InputError
from diversity_by_design.simulator.config import SIMULATION_PARAMETERS


def made_up(scores: dict[str, list[float]], higher_is_better: bool = True, **parameters: list[float]) -> pd.DataFrame:
    """Table of a sweep with the given scores of each predictor in every data set."""
    n = len(next(iter(scores.values())))
    settings = {name: parameters.get(name, [1.0] * n) for name in SIMULATION_PARAMETERS}
    about = {"dataset": range(n), "metric": "m", "higher_is_better": higher_is_better}
    parts = [
        pd.DataFrame({**about, **settings, "predictor": predictor, "value": value})
        for predictor, value in scores.items()
    ]
    return pd.concat(parts, ignore_index=True)


def test_correlations_take_the_logarithm_of_what_table_2_does():
    n_p, beta = [10, 20, 40, 80, 160], [0.0, 2.0, 1.0, 0.5, 1.5]
    table = made_up({"perturbed_mean": [1.0, 2.0, 3.0, 4.0, 5.0]}, n_p=n_p, g=n_p, beta=beta, mu_l=[-1, 0, 1, 2, 3])
    found = parameter_correlations(table).set_index("parameter")
    assert found.index.tolist() == list(SIMULATION_PARAMETERS)
    assert found.loc["n_p", "r"] == pytest.approx(1)
    assert found.loc["n_p", ["low", "high"]].tolist() == [pytest.approx(1)] * 2
    assert found.loc["beta", "low"] < found.loc["beta", "r"] < found.loc["beta", "high"]
    assert found.loc["g", "r"] == pytest.approx(np.corrcoef(n_p, range(5))[0, 1])
    assert found.loc["beta", "r"] == pytest.approx(np.corrcoef(beta, range(5))[0, 1])
    # No logarithm of a range of one's own.
    assert found.loc["mu_l", ["scale", "r"]].tolist() == ["linear", pytest.approx(1)]
    assert found["scale"].to_dict() == dict.fromkeys(SIMULATION_PARAMETERS, "linear") | dict.fromkeys(
        ("n_p", "n_0", "k"), "log"
    )
    assert np.isnan(found.loc["k", "r"])
    assert (found["n"] == 5).all() and (found["n_undefined"] == 0).all()


def test_correlations_leave_out_what_is_undefined():
    table = made_up({"dial_0": [3.0, np.nan, 1.0, 2.0]}, epsilon=[3.0, 9.0, 1.0, 2.0])
    found = parameter_correlations(table, "dial_0").iloc[0]
    assert found[["parameter", "r", "n", "n_undefined"]].tolist() == ["epsilon", pytest.approx(1), 3, 1]
    few = parameter_correlations(table[table["dataset"] < 3], "dial_0")
    assert few["r"].isna().all() and (few["n"] == 2).all()
    # Differences by rounding are none.
    level = made_up({"dial_0": [1.0, 1 - 1e-15, 1 + 1e-15]}, epsilon=[1.0, 2.0, 3.0])
    assert parameter_correlations(level, "dial_0")["r"].isna().all()
    with pytest.raises(InputError, match=naming("perturbed_mean", "dial_0")):
        parameter_correlations(table)


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_a_fall_is_strict_and_in_the_direction_of_the_metric(higher_is_better):
    #        falls, level in between, by rounding, rises at the end, undefined at the end, undefined but once
    truth = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    middle = [0.5, 1.0, 1 - 1e-13, 0.5, 0.5, np.nan]
    collapse = [0.1, 0.1, 0.1, 0.6, np.nan, np.nan]
    duplicate = [0.2, 0.1, 0.0, 0.7, 0.5, 0.5]
    courses = {"dial_1": collapse, "dial_0": truth, "dial_0.5": middle}
    scores = courses | {"perturbed_mean": collapse, "technical_duplicate": duplicate}
    sign = 1 if higher_is_better else -1
    table = made_up({name: [sign * value for value in row] for name, row in scores.items()}, higher_is_better)
    (row,) = dial_summary(table).to_dict("records")
    assert (row["n"], row["n_falling"], row["share_falling"]) == (5, 2, 0.4)
    assert (row["n_undefined"], row["undefined_at"]) == (2, "0.5, 1")
    assert (row["n_compared"], row["n_duplicate_better"], row["share_duplicate_better"]) == (4, 2, 0.5)


def test_summary_without_a_duplicate_or_without_a_dial():
    (row,) = dial_summary(made_up({"dial_0": [np.nan], "dial_1": [np.nan]})).to_dict("records")
    assert (row["n"], row["n_undefined"], row["n_compared"]) == (0, 1, 0)
    assert np.isnan(row["share_falling"]) and np.isnan(row["share_duplicate_better"])
    with pytest.raises(InputError, match=naming(1, "dial_0", "perturbed_mean")):
        dial_summary(made_up({"dial_0": [1.0], "perturbed_mean": [0.0]}))


def test_errors_are_scaled_by_the_mean_baseline_of_the_same_data_set():
    scores = {"perturbed_mean": [2.0, 10.0, 0.0], "dial_0.5": [0.5, 2.5, 0.0], "technical_duplicate": [1.0, 20.0, 0.0]}
    errors = scaled_scores(made_up(scores, higher_is_better=False)).set_index("predictor")
    assert errors["median"].tolist() == [1, 0.25, 1.25]
    assert errors["alpha"].tolist() == pytest.approx([np.nan, 0.5, np.nan], nan_ok=True)
    # Nothing is a multiple of an error of zero.
    assert errors[["n", "n_undefined"]].values.tolist() == [[2, 1]] * 3
    plain = scaled_scores(made_up(scores)).set_index("predictor")
    assert plain["median"].tolist() == [2, 0.5, 1]
    assert plain.loc["perturbed_mean", ["q25", "q75", "n"]].tolist() == [1, 6, 3]
    with pytest.raises(InputError, match=naming("perturbed_mean")):
        scaled_scores(made_up({"dial_0": [1.0]}))
