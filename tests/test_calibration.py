"""The calibrated scale and its intervals, against a slow bootstrap."""

import numpy as np
import pytest

from diversity_by_design.calibration import Calibrated, calibrate

AGGREGATES = {"median": np.median, "mean": np.mean}
N = 30


def made(sign: int, seed: int = 0, n: int = N) -> dict[str, np.ndarray]:
    """Scores in which two baselines, about as good as each other, are worse than the duplicate."""
    rng = np.random.default_rng(seed)
    one = sign * rng.normal(2.0, 1.0, n)
    zeros = sign * rng.normal([[0.0], [0.1]], 1.0, (2, n))
    scores = np.vstack([sign * rng.normal(1.0, 1.0, (3, n)), zeros, one])
    return {"scores": scores, "one": one, "zeros": zeros, "perfect": sign * rng.normal(2.5, 1.0, n)}


def calibrated(arrays: dict[str, np.ndarray], sign: int, aggregate: str = "median", **options) -> list[Calibrated]:
    return calibrate(**arrays, sign=sign, aggregate=aggregate, **{"resamples": 200, "seed": 4} | options)


def slow(arrays: dict[str, np.ndarray], row: int, sign: int, aggregate: str, resamples: int, seed: int):
    """Calibrated score, interval, interval of the duplicate's lead, and n, perturbation by perturbation."""
    total = AGGREGATES[aggregate]
    columns = [arrays["one"], *arrays["zeros"], arrays["scores"][row]]
    used = [place for place in range(len(arrays["one"])) if not any(np.isnan(column[place]) for column in columns)]
    rng = np.random.default_rng(np.random.SeedSequence([seed, len(used)]))
    draws = rng.integers(len(used), size=(resamples, len(used)))

    def of(places):
        one, *zeros, score = (total([column[place] for place in places]) for column in columns)
        zero = max(zeros) if sign > 0 else min(zeros)
        return (score - zero) / (one - zero), sign * (one - zero)

    values, leads = np.array([of([used[place] for place in drawn]) for drawn in draws]).T
    return of(used)[0], np.quantile(values[leads > 0], [0.025, 0.975]), np.quantile(leads, [0.025, 0.975]), len(used)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_is_the_slow_bootstrap(sign, aggregate):
    arrays = made(sign)
    arrays["scores"][1, [3, 8]] = np.nan
    arrays["zeros"][0, 11] = np.nan
    results = calibrated(arrays, sign, aggregate)
    for row, n in ((0, N - 1), (1, N - 3), (2, N - 1)):
        value, interval, lead, n_used = slow(arrays, row, sign, aggregate, 200, 4)
        found = results[row]
        assert lead[0] > 0 and found.informative
        assert found.n == n_used == n
        assert found.value == pytest.approx(value, rel=1e-12)
        assert (found.low, found.high) == (pytest.approx(interval[0], rel=1e-12), pytest.approx(interval[1], rel=1e-12))
        assert found.low < found.value < found.high


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("seed", range(5))
def test_the_ends_are_exactly_zero_and_one(sign, aggregate, seed):
    arrays = made(sign, seed)
    results = calibrated(arrays, sign, aggregate)
    best = max if sign > 0 else min
    totals = [AGGREGATES[aggregate](row) for row in arrays["zeros"]]
    for result in results:
        assert result.zero == pytest.approx(best(totals), rel=1e-14)
        assert result.which_zero == totals.index(best(totals))
        assert result.one == pytest.approx(AGGREGATES[aggregate](arrays["one"]), rel=1e-14)
    assert results[3 + results[0].which_zero].value == 0.0
    assert results[3 + 1 - results[0].which_zero].value < 0.0
    assert (results[5].value, results[5].low, results[5].high) == (1.0, 1.0, 1.0)


def test_the_best_baseline_is_chosen_anew_in_each_resample():
    """So the better of two baselines, as good as each other, is zero at most, and often below."""
    arrays = made(1)
    best = calibrated(arrays, 1)[3 + calibrated(arrays, 1)[0].which_zero]
    assert best.value == 0.0 and best.high == 0.0 and best.low < 0.0


def test_resampling_is_joint():
    """Shifted by the same amount, a score that differs from the duplicate by a constant share has no width."""
    rng = np.random.default_rng(0)
    zero = rng.normal(0, 5, 40)
    arrays = {"one": zero + 1.0, "zeros": zero[None], "perfect": zero + 1.5, "scores": np.vstack([zero + 0.5])}
    [found] = calibrated(arrays, 1, "mean")
    assert (found.value, found.low, found.high) == (pytest.approx(0.5), pytest.approx(0.5), pytest.approx(0.5))
    assert found.perfect_calibrated == pytest.approx(1.5) and found.informative


def test_what_perfect_scores():
    arrays = made(-1)
    [found, *_] = calibrated(arrays, -1)
    assert found.perfect == np.median(arrays["perfect"])
    assert found.perfect_calibrated == pytest.approx((found.perfect - found.zero) / (found.one - found.zero))
    [without, *_] = calibrated(arrays | {"perfect": np.full(N, np.nan)}, -1)
    assert np.isnan(without.perfect) and np.isnan(without.perfect_calibrated) and without.value == found.value


@pytest.mark.parametrize("lead", [-1.0, 0.0, 0.05])
def test_where_the_duplicate_is_no_better_nothing_is_calibrated(lead):
    rng = np.random.default_rng(0)
    zeros = rng.normal(size=(1, N))
    arrays = {
        "one": lead + (zeros[0] if lead == 0 else rng.normal(size=N)),
        "zeros": zeros,
        "perfect": zeros[0] + 1,
        "scores": rng.normal(size=(2, N)),
    }
    for found in calibrated(arrays, 1, "mean"):
        assert not found.informative
        assert np.isnan([found.value, found.low, found.high, found.perfect_calibrated]).all()
        # What it would have been measured between is there.
        assert np.isfinite([found.zero, found.one]).all() and found.n == N


@pytest.mark.parametrize(("n", "informative"), [(1, False), (2, False), (3, True)])
def test_few_perturbations(n, informative):
    arrays = made(1, n=n)
    arrays["one"] = arrays["zeros"].max(axis=0) + 5
    found = calibrated(arrays, 1)[0]
    assert found.informative == informative and np.isfinite(found.value) == informative


def test_a_baseline_that_is_undefined_everywhere_is_none():
    arrays = made(1)
    alone = calibrated(arrays | {"zeros": arrays["zeros"][[1]]}, 1)
    arrays["zeros"][0] = np.nan
    found = calibrated(arrays, 1)
    assert [result.value for result in found[:3]] == [result.value for result in alone[:3]]
    assert found[0].which_zero == 1 and alone[0].which_zero == 0


@pytest.mark.parametrize("missing", ["zeros", "one"])
def test_without_an_end_there_is_no_scale(missing):
    arrays = made(1)
    arrays[missing][...] = np.nan
    assert {result.n for result in calibrated(arrays, 1)} == {0}
    assert not any(result.informative for result in calibrated(arrays, 1))


def test_resamples_made_in_parts_are_the_same(monkeypatch):
    arrays = made(1)
    whole = calibrated(arrays, 1)
    monkeypatch.setattr("diversity_by_design.calibration._AT_A_TIME", 7 * arrays["scores"].size)
    assert calibrated(arrays, 1) == whole


def test_the_seed_decides_the_interval():
    arrays = made(1)
    first, again, other = (calibrated(arrays, 1, seed=seed)[0] for seed in (1, 1, 2))
    assert first == again
    assert first.low != other.low and first.value == other.value


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """Of scores whose calibrated mean is one half."""
    hits = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        level = rng.normal(size=50)
        arrays = {
            "one": level + rng.normal(2.0, 0.5, 50),
            "zeros": (level + rng.normal(0.0, 0.5, 50))[None],
            "perfect": level,
            "scores": (level + rng.normal(1.0, 0.5, 50))[None],
        }
        [found] = calibrated(arrays, 1, "mean", seed=seed)
        hits.append(found.low <= 0.5 <= found.high)
    assert np.mean(hits) > 0.85
