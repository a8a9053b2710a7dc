"""Random numbers for compiled kernels: streams of bits, and exact draws of the distributions that the simulator needs.

A stream is the state of xoshiro256++ (Blackman and Vigna 2021), four 64-bit words that are not all zero. Every
function that draws advances the state it is given, so that a result depends on the state alone.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

# Streams that `fill` advances side by side: as many as keep the widest vector unit busy.
LANES = 16
_TO_UNIT = 2.0**-53
# Transformed rejection needs at least this mean.
_LARGE_MEAN = 10.0
# Below this mean counting through the probabilities is fastest.
_INVERTED_MEAN = 8.0
# Far below what adding up probabilities can tell from zero; small means begin above it, so reach it beyond the mode.
NEGLIGIBLE = 1e-20
# Multiplying by 1 / (x + 1) is faster than dividing; as many as a table of `kernels` can have columns.
RECIPROCALS = 1.0 / np.arange(1.0, 1025.0)


def stream(seed: np.random.SeedSequence) -> Words:
    """State of a stream (4,), drawn from a seed."""
    return np.asarray(seed.generate_state(4, np.uint64), np.uint64)


def lanes(seed: np.random.SeedSequence) -> Words:
    """State of the streams that `fill` advances, (4, LANES)."""
    return np.asarray(seed.generate_state(4 * LANES, np.uint64), np.uint64).reshape(4, LANES)


@numba.njit(nogil=True, cache=True, inline="always")
def _rotated(word: np.uint64, by: int) -> np.uint64:
    return (word << np.uint64(by)) | (word >> np.uint64(64 - by))


@numba.njit(nogil=True, cache=True, inline="always")
def bits(state: Words) -> np.uint64:
    """Draw 64 random bits."""
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    result = _rotated(s0 + s3, 23) + s0
    s2 ^= s0
    s3 ^= s1
    state[1] = s1 ^ s2
    state[0] = s0 ^ s3
    state[2] = s2 ^ (s1 << np.uint64(17))
    state[3] = _rotated(s3, 45)
    return result


@numba.njit(nogil=True, cache=True)
def fill(states: Words, words: Words) -> None:
    """Fill `words` (n,), n a multiple of LANES, with random bits from `states` (4, LANES)."""
    s0, s1, s2, s3 = states[0], states[1], states[2], states[3]
    for start in range(0, len(words), LANES):
        for lane in range(LANES):
            a, b, c, d = s0[lane], s1[lane], s2[lane], s3[lane]
            words[start + lane] = _rotated(a + d, 23) + a
            c ^= a
            d ^= b
            s1[lane] = b ^ c
            s0[lane] = a ^ d
            s2[lane] = c ^ (b << np.uint64(17))
            s3[lane] = _rotated(d, 45)


@numba.njit(nogil=True, cache=True, inline="always")
def uniform(state: Words) -> float:
    """Draw from [0, 1), a multiple of 2**-53."""
    return np.float64(bits(state) >> np.uint64(11)) * _TO_UNIT


def _ziggurat(layers: int = 256, edge: float = 3.6541528853610088) -> tuple[npt.NDArray, npt.NDArray]:
    """Widths and heights of the layers of a ziggurat under exp(-x**2 / 2) (Marsaglia and Tsang 2000).

    `edge` is where the tail begins; with 256 layers it makes all layers equal in area.
    """
    height = math.exp(-0.5 * edge**2)
    area = edge * height + math.sqrt(math.pi / 2) * math.erfc(edge / math.sqrt(2))
    # The lowest layer holds the tail too, which makes it as wide as its area asks for.
    widths, heights = [area / height, edge], [0.0, height]
    while len(widths) < layers:
        heights.append(heights[-1] + area / widths[-1])
        widths.append(math.sqrt(-2.0 * math.log(heights[-1])))
    return np.array([*widths, 0.0]), np.array([*heights, 1.0])


_WIDTHS, _HEIGHTS = _ziggurat()


@numba.njit(nogil=True, cache=True)
def normal(state: Words) -> float:
    """Draw from the standard normal distribution."""
    while True:
        word = bits(state)
        layer = np.int64(word & np.uint64(255))
        # The 55 bits above the layer's, signed: a multiple of 2**-55 in [-1, 1).
        x = np.float64(np.int64(word) >> np.int64(8)) * 2.0**-55 * _WIDTHS[layer]
        if abs(x) < _WIDTHS[layer + 1]:
            return x
        if layer == 0:
            edge = _WIDTHS[1]
            while True:
                beyond = -math.log1p(-uniform(state)) / edge
                if -2.0 * math.log1p(-uniform(state)) > beyond * beyond:
                    return math.copysign(edge + beyond, x)
        low, high = _HEIGHTS[layer], _HEIGHTS[layer + 1]
        if low + (high - low) * uniform(state) < math.exp(-0.5 * x * x):
            return x


@numba.njit(nogil=True, cache=True)
def gamma(state: Words, shape: float) -> float:
    """Draw from the gamma distribution of scale 1 (Marsaglia and Tsang 2000)."""
    d = shape - 1.0 / 3.0 if shape >= 1.0 else shape + 2.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        x = normal(state)
        v = 1.0 + c * x
        if v <= 0.0:
            continue
        v = v * v * v
        u = 1.0 - uniform(state)
        if u < 1.0 - 0.0331 * x * x * x * x or math.log(u) < 0.5 * x * x + d * (1.0 - v + math.log(v)):
            break
    if shape < 1.0:
        # A draw for shape + 1 times a power of a uniform one is a draw for shape.
        return d * v * (1.0 - uniform(state)) ** (1.0 / shape)
    return d * v


@numba.njit(nogil=True, cache=True, inline="always")
def probability_of_none(mean: float, dispersion: float) -> float:
    """Probability that a negative binomial count is 0."""
    return math.exp(-math.log1p(mean * dispersion) / dispersion) if dispersion > 0.0 else math.exp(-mean)


@numba.njit(nogil=True, cache=True)
def inverted(state: Words, mean: float, dispersion: float) -> int:
    """Draw a count, as `negative_binomial` does, by subtracting probabilities from a uniform number."""
    u = uniform(state)
    p = probability_of_none(mean, dispersion)
    step = mean / (1.0 + mean * dispersion)
    count = 0
    # Rounding can leave a little of u where probabilities cannot be told from zero any more.
    while u >= p and p > NEGLIGIBLE:
        u -= p
        reciprocal = RECIPROCALS[count] if count < len(RECIPROCALS) else 1.0 / (count + 1)
        p *= step * (1.0 + count * dispersion) * reciprocal
        count += 1
    return count


@numba.njit(nogil=True, cache=True)
def poisson(state: Words, mean: float) -> np.integer | int:
    """Draw from the Poisson distribution: by inversion, or by Hörmann's PTRS (1993) for large means."""
    if mean < _LARGE_MEAN:
        return inverted(state, mean, 0.0)
    b = 0.931 + 2.53 * math.sqrt(mean)
    a = -0.059 + 0.02483 * b
    immediate = 0.9277 - 3.6224 / (b - 2.0)
    while True:
        u = uniform(state) - 0.5
        v = 1.0 - uniform(state)
        us = 0.5 - abs(u)
        k = math.floor((2.0 * a / us + b) * u + mean + 0.43) if us > 0.0 else -1.0
        if us >= 0.07 and v <= immediate:
            return np.int64(k)
        if k < 0.0 or (us < 0.013 and v > us):
            continue
        inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
        if math.log(v * inverse_alpha / (a / (us * us) + b)) <= k * math.log(mean) - mean - math.lgamma(k + 1.0):
            return np.int64(k)


@numba.njit(nogil=True, cache=True)
def negative_binomial(state: Words, mean: float, dispersion: float) -> np.integer | int:
    """Draw a count with this mean and variance mean + dispersion * mean**2; Poisson where the dispersion is 0.

    Small means by inversion, others as a Poisson variable whose mean is a gamma variable.
    """
    if mean < _INVERTED_MEAN:
        return inverted(state, mean, dispersion)
    if dispersion > 0.0:
        mean *= gamma(state, 1.0 / dispersion) * dispersion
    return poisson(state, mean)
