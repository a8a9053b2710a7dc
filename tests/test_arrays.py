"""What users give as arrays and tables."""

from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from messages import naming
from scipy import sparse

from diversity_by_design import PerturbationStatistics, Truth, deg_scores
from diversity_by_design.arrays import aligned, as_array, precision, read_only
from diversity_by_design.errors import InputError

VALUES = np.array([[0.5, 1.25], [2.0, -3.0]])

needs_pyarrow = pytest.mark.skipif(find_spec("pyarrow") is None, reason="pyarrow is not installed")


@pytest.mark.parametrize(
    "form",
    [
        np.asarray,
        np.asfortranarray,
        np.ndarray.tolist,
        pd.DataFrame,
        sparse.csr_matrix,
        sparse.csc_array,
        lambda values: values.astype(np.float32),
        lambda values: values.astype(np.float16),
        lambda values: pd.DataFrame(values, dtype="Float64"),
        lambda values: pd.DataFrame(values).convert_dtypes().astype({1: "Float32"}),
        pytest.param(lambda values: pd.DataFrame(values, dtype="float64[pyarrow]"), marks=needs_pyarrow),
    ],
)
def test_numbers_of_any_kind(form):
    found = as_array(form(VALUES), "mine")
    assert type(found) is np.ndarray and found.dtype == np.float64
    np.testing.assert_array_equal(found, VALUES)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64])
def test_whole_numbers(dtype):
    np.testing.assert_array_equal(as_array(np.array([0, 1], dtype), "mine"), [0.0, 1.0])


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16", "int64", "float8_e4m3fn"])
@pytest.mark.parametrize("gradient", [False, True])
def test_tensors_of_torch(dtype, gradient):
    torch = pytest.importorskip("torch")
    tensor = torch.tensor([[1.0, 2.0], [-3.0, 4.0]]).to(getattr(torch, dtype))
    if dtype.startswith(("float", "bfloat")):
        tensor.requires_grad_(gradient)
    np.testing.assert_array_equal(as_array(tensor, "mine"), [[1.0, 2.0], [-3.0, 4.0]])


def test_missing_values_of_nullable_types_are_nan():
    found = as_array(pd.DataFrame([[1.5, None], [2.5, 3.5]], dtype="Float64"), "mine")
    np.testing.assert_array_equal(found, [[1.5, np.nan], [2.5, 3.5]])
    np.testing.assert_array_equal(as_array(pd.Series([1, None], dtype="Int64"), "mine"), [1.0, np.nan])


def test_sparse_tensors_of_torch():
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(as_array(torch.tensor(VALUES).to_sparse(), "mine"), VALUES)


def test_float64_is_not_copied():
    assert as_array(VALUES, "mine") is VALUES


def test_nan_stays_and_infinity_is_located():
    assert np.isnan(as_array([1.0, np.nan], "mine")[1])
    with pytest.raises(InputError, match=naming("mine", 2, (1, 0))):
        as_array([[1.0, 2.0], [np.inf, -np.inf]], "mine")
    assert as_array([np.inf], "mine", infinite=True)[0] == np.inf


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.array([1 + 1j]), "complex128"),
        (["a", "b"], "U1"),
        (np.array([None, 1.0]), "object"),
        (pd.DataFrame({"g": ["x"]}), "mine"),
        (np.array(["2020-01-01"], "datetime64[D]"), "datetime64"),
        ([[1.0], [1.0, 2.0]], "mine"),
        ("text", "mine"),
        (None, "object"),
        ({"A": 1}, "object"),
        (pd.DataFrame({"condition": ["A"], "g": [1.0]}), "(?=.*condition).*index"),
        (np.ma.masked_array([1.0, 2.0], [True, False]), "masked"),
        (SimpleNamespace(to_pandas=None, __array__=lambda dtype=None: VALUES), "to_pandas"),
    ],
)
def test_what_are_no_real_numbers(values, said):
    with pytest.raises(InputError, match=f"(?s)(?=.*mine)(?=.*{said})"):
        as_array(values, "mine")


def test_what_is_easily_given_by_mistake_says_what_was_meant(expression):
    stats = PerturbationStatistics.from_anndata(expression)
    for wrong, said in (
        (expression, ("AnnData", "Truth.from_anndata")),
        (stats, ("PerturbationStatistics", "mean")),
        (deg_scores(stats), ("DegScores", "deg_weights")),
        (Truth(stats), ("Truth", "score")),
    ):
        with pytest.raises(InputError, match=naming("mine", *said)):
            as_array(wrong, "mine")


def test_precision_is_that_of_the_numbers_of_a_row_whatever_their_type():
    values = np.random.default_rng(0).random((3, 400))
    assert (precision(values) == np.finfo(np.float64).eps).all()
    assert (precision(values.astype(np.float32).astype(float)) == np.finfo(np.float32).eps).all()
    # One number late in a row decides, for this row.
    mixed = values.astype(np.float32).astype(float)
    mixed[2, 399] = 1 / 3
    assert precision(mixed).tolist() == [np.finfo(dtype).eps for dtype in (np.float32, np.float32, np.float64)]
    assert precision(np.array([np.nan, 0.5])) == np.finfo(np.float32).eps


def test_read_only_is_a_view():
    array = np.zeros(3)
    view = read_only(array)
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    array[0] = 2
    assert view[0] == 2


class TestAligned:
    TRUTH = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], index=["A", "B+C"], columns=["g", "h"])

    def test_tables_get_the_order_of_the_first(self):
        other = pd.DataFrame([[40.0, 30.0], [20.0, 10.0]], index=["C+B", "A"], columns=["h", "g"])
        reference = pd.Series([0.2, 0.1], index=["h", "g"])
        found = aligned(truth=self.TRUTH, prediction=other, reference=reference, mask=None)
        assert found["truth"].tolist() == [[1, 2], [3, 4]]
        assert found["prediction"].tolist() == [[10, 20], [30, 40]]
        assert found["reference"].tolist() == [0.1, 0.2]
        assert found["mask"] is None

    def test_a_series_has_genes_only(self):
        found = aligned(truth=pd.Series([1.0, 2.0], ["g", "h"]), prediction=pd.Series([4.0, 3.0], ["h", "g"]))
        assert found["prediction"].tolist() == [3, 4]
        found = aligned(truth=pd.Series([1.0, 2.0], ["h", "g"]), prediction=self.TRUTH)
        assert found["truth"].tolist() == [2, 1]

    def test_arrays_without_names_stay_as_they_are(self):
        given = {"truth": VALUES, "prediction": VALUES.tolist(), "mask": None}
        assert aligned(**given) == given

    def test_a_mixture_is_refused(self):
        with pytest.raises(InputError, match=naming("truth", "prediction")):
            aligned(truth=VALUES, prediction=self.TRUTH)
        with pytest.raises(InputError, match=naming("truth", "weights")):
            aligned(truth=self.TRUTH, prediction=self.TRUTH, weights=[0.5, 0.5])

    @pytest.mark.parametrize(
        ("other", "said"),
        [
            (TRUTH.rename(index={"A": "X"}), ("prediction", "truth", "A", "X", 1, 2)),
            (TRUTH.rename(columns={"h": "x"}), ("prediction", "truth", "h", "x", 1, 2)),
            (TRUTH[["g"]], ("prediction", "truth", "h", 1, 2)),
            (pd.concat([TRUTH, TRUTH[["g"]]], axis=1), ("prediction", "truth")),
            (pd.concat([TRUTH, TRUTH]), ("prediction", "A", "B+C", 2)),
            (TRUTH.rename(index={"A": np.nan}), ("prediction", 1, 2)),
        ],
    )
    def test_other_labels_or_genes_are_named(self, other, said):
        with pytest.raises(InputError, match=naming(*said)):
            aligned(truth=self.TRUTH, prediction=other)
