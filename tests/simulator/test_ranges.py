"""Ranges of table 1, and what is drawn from them."""

import dataclasses

import numpy as np
import pytest
from messages import naming

from diversity_by_design.errors import InputError
from diversity_by_design.simulator.ranges import Range, SweepRanges, simulation_seed

PARAMETERS = ("g", "n_0", "n_p", "k", "beta", "delta", "epsilon", "mu_l")


@pytest.fixture(scope="module")
def drawn() -> dict[str, np.ndarray]:
    configs = [SweepRanges().draw(7, index)[0] for index in range(4000)]
    return {name: np.array([getattr(config, name) for config in configs]) for name in (*PARAMETERS, "sigma_l")}


def test_the_defaults_are_table_1():
    ranges = SweepRanges()
    assert {name: (getattr(ranges, name).low, getattr(ranges, name).high) for name in PARAMETERS} == {
        "g": (1000, 8192),
        "n_0": (10, 8192),
        "n_p": (10, 256),
        "k": (10, 2000),
        "beta": (0, 2),
        "delta": (0.001, 0.1),
        "epsilon": (1.2, 5),
        "mu_l": (0.2, 5),
    }
    assert {name for name in PARAMETERS if getattr(ranges, name).scale == "log"} == {"n_0", "n_p", "k", "mu_l"}
    assert ranges.sigma_l == 0.1714


@pytest.mark.parametrize("name", PARAMETERS)
def test_values_are_uniform_on_their_scale(drawn, name):
    wanted = getattr(SweepRanges(), name)
    values = drawn[name]
    assert (values >= wanted.low).all() and (values <= wanted.high).all()
    low, high = wanted.low, wanted.high
    if wanted.integer:
        assert values.dtype.kind == "i"
        low, high = low - 0.5, high + 0.5
    scale = np.log if wanted.scale == "log" else np.asarray
    quantiles = np.sort((scale(values) - scale(low)) / (scale(high) - scale(low)))
    # Whole numbers come in steps; the least n_p alone has 3 % of the draws.
    expected = np.linspace(0, 1, len(values))
    assert abs(quantiles - expected).max() < (0.05 if wanted.integer and wanted.scale == "log" else 0.03)


def test_parameters_are_independent(drawn):
    table = np.array([drawn[name] for name in PARAMETERS], dtype=float)
    correlations = np.corrcoef(table) - np.eye(len(PARAMETERS))
    assert abs(correlations).max() < 0.06
    assert set(drawn["sigma_l"]) == {0.1714}


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_both_ends_of_an_integer_range_are_drawn_as_often_as_their_neighbours(scale):
    wanted = Range(3, 6, scale, integer=True)
    values, counts = np.unique([wanted.at(u) for u in (np.arange(10_000) + 0.5) / 10_000], return_counts=True)
    assert values.tolist() == [3, 4, 5, 6]
    weights = {"linear": [1, 1, 1, 1], "log": np.log([3.5 / 2.5, 4.5 / 3.5, 5.5 / 4.5, 6.5 / 5.5])}[scale]
    np.testing.assert_allclose(counts / counts.sum(), weights / np.sum(weights), atol=2e-4)


@pytest.mark.parametrize("quantile", [0.0, np.nextafter(1, 0)])
@pytest.mark.parametrize(
    "wanted", [Range(1.2, 5, "log"), Range(0.1, 0.3), Range(10, 8192, "log", integer=True), Range(4, 4, integer=True)]
)
def test_rounding_never_leads_outside(wanted, quantile):
    assert wanted.low <= wanted.at(quantile) <= wanted.high


def test_a_configuration_depends_on_seed_and_position_alone():
    ranges = SweepRanges()
    assert ranges.draw(1, 5) == ranges.draw(1, 5)
    assert ranges.draw(1, 5)[0] != ranges.draw(1, 6)[0] != ranges.draw(2, 6)[0]
    # One parameter's range does not change what is drawn of the others.
    other = ranges.replace(k=(20, 30)).draw(1, 5)[0]
    assert [getattr(other, name) for name in PARAMETERS if name != "k"] == [
        getattr(ranges.draw(1, 5)[0], name) for name in PARAMETERS if name != "k"
    ]
    states = {tuple(simulation_seed(seed, index).generate_state(4)) for seed in (0, 1) for index in range(50)}
    assert len(states) == 100


def test_a_bound_on_the_size_redraws_whole_configurations():
    ranges = SweepRanges()
    free = [ranges.draw(3, index) for index in range(100)]
    bound = sorted(config.n_entries for config, _ in free)[50]
    bounded = [ranges.draw(3, index, max_entries=bound) for index in range(100)]
    assert all(config.n_entries <= bound for config, _ in bounded)
    assert all(n == 0 for _, n in free)
    for (config, _), (within, n_redrawn) in zip(free, bounded, strict=True):
        assert (n_redrawn == 0) == (config.n_entries <= bound) == (config == within)


def test_a_bound_that_nothing_meets_is_refused():
    ranges = SweepRanges()  # of at least 1000 * (10 + 10 * 10) entries
    with pytest.raises(InputError, match=naming("max_entries", "109,999", "110,000")):
        ranges.draw(0, 0, max_entries=109_999)
    with pytest.raises(InputError, match=naming("max_entries", "110,000", "100,000")):
        ranges.draw(0, 0, max_entries=110_000)


def test_ranges_are_given_as_pairs():
    ranges = SweepRanges(k=(10, 200), epsilon=Range(1.2, 5, "log"))
    assert ranges.k == Range(10, 200, "log", integer=True)
    assert ranges.epsilon.scale == "log"
    assert ranges.replace(epsilon=(2, 3)).epsilon == Range(2, 3, "log")
    assert ranges.replace(n_0=Range(10, 20)).n_0 == Range(10, 20, integer=True)
    assert ranges.replace(n_0=(np.int64(10), np.int64(20))).n_0.low == 10
    assert dataclasses.asdict(ranges)["k"] == {"low": 10, "high": 200, "scale": "log", "integer": True}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"g": (5, 1)}, (5, 1)),
        ({"epsilon": (1, 2)}, (1,)),
        ({"delta": (0, 1.5)}, (1.5, "[0, 1]")),
        ({"delta": (-0.1, 0.5)}, (-0.1, "[0, 1]")),
        ({"beta": (-1, 2)}, (-1.0, 0)),
        ({"n_p": (1, 5)}, (1, 2)),
        ({"k": (1.5, 3)}, (1.5,)),
        ({"mu_l": (0, 1)}, ("log", 0)),
        ({"mu_l": (0.5, np.inf)}, ("inf",)),
        ({"mu_l": (np.nan, 1)}, ("nan",)),
        ({"g": ("a", "b")}, ("'a'",)),
        ({"g": 1000}, (1000,)),
        ({"g": (1, 2, 3)}, ()),
        ({"sigma_l": -1.0}, (-1.0,)),
    ],
)
def test_ranges_that_cannot_be_are_refused_by_name(given, said):
    with pytest.raises(InputError, match=naming(*given, *said)):
        SweepRanges(**given)
    with pytest.raises(InputError, match=naming(*given, *said)):
        SweepRanges().replace(**given)


def test_an_unknown_scale_is_refused():
    with pytest.raises(InputError, match=naming("scale", "ln", "linear", "log")):
        Range(1, 2, "ln")
