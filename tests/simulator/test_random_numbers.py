import numba
import numpy as np
import pytest
from distributions import assert_negative_binomial
from scipy import stats

from diversity_by_design.simulator import random_numbers
from diversity_by_design.simulator.random_numbers import LANES, bits, fill, lanes, stream

N = 100_000
DRAWS = {name: getattr(random_numbers, name) for name in ("uniform", "normal", "gamma", "poisson", "negative_binomial")}


@numba.njit
def draws_of(draw, state, n, parameters):
    values = np.empty(n)
    for i in range(n):
        values[i] = draw(state, *parameters)
    return values


def sample(name, *parameters, seed=0):
    return draws_of(DRAWS[name], stream(np.random.SeedSequence(seed)), N, parameters)


def test_bits_are_those_of_xoshiro256_plus_plus():
    """The first numbers of the generator's published code from the state 1, 2, 3, 4."""
    state = np.array([1, 2, 3, 4], np.uint64)
    drawn = [int(bits(state)) for _ in range(5)]
    assert drawn == [41943041, 58720359, 3588806011781223, 3591011842654386, 9228616714210784205]


def test_every_lane_of_fill_is_a_stream_of_its_own():
    states = lanes(np.random.SeedSequence(3))
    single = [states[:, lane].copy() for lane in range(LANES)]
    words = np.empty(4 * LANES, np.uint64)
    fill(states, words)
    expected = np.array([[bits(state) for state in single] for _ in range(4)])
    np.testing.assert_array_equal(words.reshape(4, LANES), expected)
    np.testing.assert_array_equal(states, np.array(single).T)


def test_uniform_and_normal_have_their_distributions():
    assert stats.kstest(sample("uniform"), stats.uniform.cdf).pvalue > 1e-3
    normal = sample("normal")
    assert stats.kstest(normal, stats.norm.cdf).pvalue > 1e-3
    # Beyond the edge of the ziggurat, 3.654, draws come from elsewhere.
    tail = np.abs(np.concatenate([draws_of(DRAWS["normal"], stream(np.random.SeedSequence(9)), 3_000_000, ()), normal]))
    beyond = tail[tail > 3.6541528853610088]
    assert abs(len(beyond) - len(tail) * 2 * stats.norm.sf(3.6541528853610088)) < 5 * np.sqrt(len(beyond))
    assert stats.kstest(beyond, stats.truncnorm(3.6541528853610088, np.inf).cdf).pvalue > 1e-3


@pytest.mark.parametrize("shape", [0.02, 0.3, 1.0, 2.7, 100.0])
def test_gamma_has_its_distribution(shape):
    assert stats.kstest(sample("gamma", shape), stats.gamma(shape).cdf).pvalue > 1e-3


@pytest.mark.parametrize("mean", [0.01, 1.0, 9.9, 10.1, 60.0, 20_000.0])
def test_poisson_has_its_distribution(mean):
    assert_negative_binomial(sample("poisson", mean), np.full(N, mean), 0.0)


@pytest.mark.parametrize("mean", [0.05, 3.0, 15.9, 16.1, 300.0])
@pytest.mark.parametrize("theta", [0.05, 2.7, 100.0, np.inf])
def test_negative_binomial_has_its_distribution(mean, theta):
    assert_negative_binomial(sample("negative_binomial", mean, 1.0 / theta), np.full(N, mean), 1.0 / theta)


def test_a_mean_of_zero_gives_zero():
    assert not sample("negative_binomial", 0.0, 0.5).any()
    assert not sample("poisson", 0.0).any()
