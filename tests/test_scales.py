"""What scale values are likely to be on: the same from every layout and type, for whole cells and for some genes."""

import re

import numpy as np
import pytest
from messages import naming
from scipy import sparse

from diversity_by_design.scales import likely_scale

RNG = np.random.default_rng(0)
N_CELLS, N_GENES = 60, 800
SHARES = RNG.lognormal(0, 1.5, N_GENES)
DEPTHS = RNG.lognormal(np.log(3000), 0.4, (N_CELLS, 1))
COUNTS = RNG.poisson(RNG.gamma(3, 1 / 3, (N_CELLS, N_GENES)) * DEPTHS * SHARES / SHARES.sum())
TOTALS = COUNTS.sum(axis=1, keepdims=True)
# Some genes of all, in another order.
SOME = RNG.permutation(N_GENES)[:200]
LOGS = {"log1p": np.log1p, "log2": lambda x: np.log2(1 + x), "log10": lambda x: np.log10(1 + x)}
UNDONE = {"log1p": "expm1", "log2": "2**x - 1", "log10": "10**x - 1"}
FLOATS = [np.float16, np.float32, np.float64]


def normalised(total, counts=COUNTS):
    return counts / counts.sum(axis=1, keepdims=True) * total


@pytest.fixture(params=[np.asarray, np.asfortranarray, sparse.csr_matrix, sparse.csc_array], ids=lambda to: to.__name__)
def layout(request):
    return request.param


def stored(layout, values, dtype):
    """Values in a layout, of types too that SciPy does not convert."""
    if layout in (np.asarray, np.asfortranarray):
        return layout(values.astype(dtype))
    matrix = layout(values)
    matrix.data = matrix.data.astype(dtype)
    return matrix


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, ">i4", np.float16, ">f8"])
def test_counts(layout, dtype):
    counts = np.minimum(COUNTS, 200)
    scale = likely_scale(stored(layout, counts, dtype))
    sums = counts.sum(axis=1)
    assert (scale.kind, scale.total) == ("counts", None)
    assert naming_all(scale.text, 200, f"{sums.min():,}", f"{sums.max():,}", N_CELLS)


@pytest.mark.parametrize("dtype", [bool, np.float32])
def test_zeros_and_ones(layout, dtype):
    scale = likely_scale(layout((COUNTS > 0).astype(dtype)))
    assert scale.kind == "counts" and "binary" in scale.text


def test_counts_drawn_down_to_one_total():
    counts = np.zeros((5, 40), int)
    counts[:, :20] = 50
    assert likely_scale(counts).total == 1000


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", LOGS)
@pytest.mark.parametrize("total", [1e3, 1e4, 1e6, 3210.0])
def test_logarithms_of_normalised_counts(layout, total, kind, dtype):
    scale = likely_scale(stored(layout, LOGS[kind](normalised(total)), dtype))
    assert scale.kind == kind
    assert scale.total == pytest.approx(total, rel=2e-3 if dtype == np.float16 else 1e-6)
    assert naming_all(scale.text, UNDONE[kind], N_CELLS)


def test_what_a_text_says():
    text = likely_scale(np.log1p(normalised(1e4))).text
    assert text == "ln(1 + x) of counts normalised to 10,000 per cell (expm1 of a cell sums to 10,000 in 60 cells)"
    text = likely_scale(normalised(1.0)).text
    assert text == "counts normalised to 1 per cell, not logged (a cell sums to 1 in 60 cells)"


@pytest.mark.parametrize("total", [1, 1e4, 1e6, float(np.median(TOTALS))])
def test_normalised_counts(layout, total):
    scale = likely_scale(layout(normalised(total).astype(np.float32)))
    assert scale.kind == "normalised" and scale.total == pytest.approx(total, rel=1e-6)
    assert "not logged" in scale.text


def test_sums_alone_decide_where_genes_are_divided_by_their_lengths():
    per_kilobase = COUNTS / RNG.uniform(0.3, 5, N_GENES)
    per_million = normalised(1e6, per_kilobase)
    for kind, values in (("normalised", per_million), *((kind, log(per_million)) for kind, log in LOGS.items())):
        scale = likely_scale(values.astype(np.float32))
        assert scale.kind == kind and scale.total == pytest.approx(1e6, rel=1e-6)


@pytest.mark.parametrize("kind", ["normalised", *LOGS])
def test_a_few_genes_left_out_leave_a_total(kind):
    # In most data sets genes of few cells are left out after normalisation.
    kept = (COUNTS > 0).sum(axis=0) > 6
    assert not kept.all()
    scale = likely_scale(LOGS.get(kind, lambda x: x)(normalised(1e4))[:, kept])
    assert scale.kind == kind and 9_900 < scale.total < 10_000


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", ["normalised", *LOGS])
def test_ratios_within_cells_decide_for_some_genes(kind, dtype):
    values = LOGS.get(kind, lambda x: x)(normalised(1e4))[:, SOME].astype(dtype)
    scale = likely_scale(values)
    assert (scale.kind, scale.total) == (kind, None)
    assert naming_all(scale.text, "whole multiples", UNDONE.get(kind, "not logged"))


@pytest.mark.parametrize("kind", ["normalised", *LOGS])
def test_one_cell_is_enough_for_ratios_and_tells_no_total(kind):
    values = LOGS.get(kind, lambda x: x)(normalised(1e4))[:1].astype(np.float32)
    scale = likely_scale(values)
    assert (scale.kind, scale.total) == (kind, None)
    assert naming_all(scale.text, 1, "10,000")


@pytest.mark.parametrize("kind", LOGS)
def test_logarithms_of_counts_divided_by_size_factors(kind):
    values = LOGS[kind](COUNTS / RNG.lognormal(0, 0.5, (N_CELLS, 1))).astype(np.float32)
    assert (likely_scale(values).kind, likely_scale(values).total) == (kind, None)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", LOGS)
def test_logarithms_of_raw_counts(kind, dtype):
    scale = likely_scale(LOGS[kind](COUNTS).astype(dtype))
    assert (scale.kind, scale.total) == (kind, None)
    assert naming_all(scale.text, "not normalised", "whole numbers")


def estimated():
    """As alevin and RSEM: some counts are shared between genes."""
    shared = RNG.random(COUNTS.shape) < 0.15
    return np.where(shared, COUNTS * RNG.choice([1 / 2, 1 / 3, 0.9], COUNTS.shape), COUNTS)


FRACTIONAL = {
    "estimated": estimated,
    # Multiples of one half, as a normalised cell of half the counts would be.
    "halves": lambda: np.where(RNG.random(COUNTS.shape) < 0.1, COUNTS / 2, COUNTS),
    "contamination taken away": lambda: np.maximum(0, COUNTS - 0.1 * TOTALS * COUNTS.sum(axis=0) / COUNTS.sum()),
    "shares of each count": lambda: COUNTS * RNG.beta(20, 2, COUNTS.shape),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("make", FRACTIONAL.values(), ids=FRACTIONAL)
def test_fractional_counts(make, dtype):
    scale = likely_scale(make().astype(dtype))
    assert (scale.kind, scale.total) == ("fractional counts", None)
    assert naming_all(scale.text, "SoupX", "alevin", "whole number")


def test_logarithms_of_fractional_counts():
    values = np.log1p(normalised(1e4, estimated()))
    assert likely_scale(values).kind == "log1p"
    # Neither sums nor ratios are left.
    assert likely_scale(values[:, SOME]).kind == "unknown"


@pytest.mark.parametrize(
    "values",
    [
        np.sqrt(normalised(100)),
        np.log1p(np.log1p(normalised(1e4))),
        np.arcsinh(COUNTS / 1.7),
        # Means of cells, such as predictions are.
        np.log1p(normalised(1e4)).reshape(6, 10, N_GENES).mean(axis=1),
        # Sums of all forms agree in cells that are alike.
        np.repeat(RNG.random((1, 50)), 20, axis=0),
        RNG.random((30, 50)),
        # One or two values a cell.
        np.diag(np.linspace(0.3, 2, 30)) + np.diag(np.linspace(0.1, 1, 29), 1),
        np.array([[1.5]]),
    ],
)
def test_nothing_is_claimed_without_evidence(values):
    for dtype in FLOATS:
        scale = likely_scale(values.astype(dtype))
        assert (scale.kind, scale.total) == ("unknown", None)
        assert "unclear" in scale.text


def test_cells_without_counts_are_left_out(layout):
    values = np.log1p(normalised(1e4))
    values[[0, 17, -1]] = 0
    scale = likely_scale(layout(values))
    assert scale.kind == "log1p" and scale.total == pytest.approx(1e4)
    assert naming_all(scale.text, N_CELLS - 3)


def test_no_values(layout):
    assert likely_scale(layout(np.zeros((3, 4)))).kind == "empty"
    assert likely_scale(np.zeros((0, 4))).kind == "empty"
    assert likely_scale(np.zeros((3, 4), bool)).kind == "empty"


def test_negative_values(layout):
    logs = np.log1p(normalised(1e4))
    scaled = (logs - logs.mean(axis=0)) / (logs.std(axis=0) + 0.1)
    scale = likely_scale(layout(scaled))
    assert scale.kind == "scaled"
    assert naming_all(scale.text, f"{(scaled < 0).sum():,}", f"{scaled.size:,}", f"{scaled.min():.4g}")


def test_missing_and_infinite_values(layout):
    values = COUNTS.astype(float)
    values[3, :5], values[4, 4] = np.nan, np.inf
    scale = likely_scale(layout(values))
    assert scale.kind == "unknown"
    assert naming_all(scale.text, 5, 1, f"{values.size:,}", "NaN", "infinite")


def test_values_that_are_no_numbers():
    scale = likely_scale(np.array([["1", "2"]]))
    assert scale.kind == "unknown" and "<U1" in scale.text


def test_stored_zeros_and_entries_stored_twice():
    data, indices, indptr = np.array([0.0, 1, 2, 0.5, 0.5]), np.array([2, 1, 0, 1, 1]), np.array([0, 3, 5])
    given = sparse.csr_matrix((data, indices, indptr), shape=(2, 3))
    scale = likely_scale(given)
    assert scale.kind == "counts" and naming_all(scale.text, 2, "1 to 3")
    np.testing.assert_array_equal(given.data, [0, 1, 2, 0.5, 0.5])


def naming_all(text, *names):
    return re.search(naming(*names), text)
