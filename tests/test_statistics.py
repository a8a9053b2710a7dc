"""PerturbationStatistics: right, and the same bits for every way of storing, cutting and ordering the cells."""

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from examples import make_expression
from hypothesis import given
from hypothesis import strategies as st
from messages import naming
from scipy import sparse

from diversity_by_design import PerturbationStatistics
from diversity_by_design import cells as reading
from diversity_by_design.errors import InputError
from diversity_by_design.statistics import sample_variance

ARRAYS = ("n_cells", "sum", "sum_sq", "control_sum", "control_sum_sq")


def assert_same(a: PerturbationStatistics, b: PerturbationStatistics) -> None:
    assert a.labels.tolist() == b.labels.tolist()
    assert a.genes.tolist() == b.genes.tolist()
    assert (a.control, a.n_control) == (b.control, b.n_control)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def write_backed(adata: ad.AnnData, path, to) -> ad.AnnData:
    stored = adata.copy()
    stored.X = to(adata.X)
    stored.write_h5ad(path)
    return ad.read_h5ad(path, backed="r")


STORED_AS = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": lambda x: x.toarray()}


def test_agrees_with_numpy(expression):
    stats = PerturbationStatistics.from_anndata(expression)
    dense = expression.X.toarray().astype(float)
    condition = expression.obs["condition"].to_numpy()
    assert stats.labels.tolist() == sorted(set(condition) - {"control"})
    for row, label in enumerate(stats.labels):
        cells = dense[condition == label]
        assert stats.n_cells[row] == len(cells)
        np.testing.assert_allclose(stats.mean[row], cells.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(stats.var[row], cells.var(axis=0, ddof=1), rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(stats.control_mean, dense[condition == "control"].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(stats.control_var, dense[condition == "control"].var(axis=0, ddof=1), rtol=1e-9)
    np.testing.assert_allclose(stats.perturbed_mean, dense[condition != "control"].mean(axis=0), rtol=1e-12)
    assert stats.n_perturbed == (condition != "control").sum()


@pytest.mark.parametrize("stored_as", STORED_AS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("workers", [1, 3])
def test_in_memory_storage_does_not_matter(stored_as, dtype, workers):
    adata = make_expression(dtype=dtype)
    expected = PerturbationStatistics.from_anndata(adata, workers=1)
    adata.X = STORED_AS[stored_as](adata.X)
    assert_same(PerturbationStatistics.from_anndata(adata, workers=workers), expected)


@pytest.mark.parametrize("stored_as", STORED_AS)
def test_backed_by_a_file_in_chunks(stored_as, expression, tmp_path, monkeypatch):
    expected = PerturbationStatistics.from_anndata(expression)
    backed = write_backed(expression, tmp_path / "x.h5ad", STORED_AS[stored_as])
    monkeypatch.setattr(reading, "BLOCK_VALUES", 100)
    assert_same(PerturbationStatistics.from_anndata(backed), expected)
    with pytest.raises(InputError, match=naming("view", "stats.select")):
        PerturbationStatistics.from_anndata(backed[:, expression.var_names[::2]])


@pytest.mark.parametrize("stored_as", STORED_AS)
def test_never_holds_more_than_a_chunk(stored_as, expression, tmp_path, monkeypatch):
    """Every piece that is read from the file has at most BLOCK_VALUES entries (one row or column at least)."""
    from diversity_by_design.moments import GroupedMoments

    backed = write_backed(expression, tmp_path / "x.h5ad", STORED_AS[stored_as])
    monkeypatch.setattr(reading, "BLOCK_VALUES", 200)
    sizes = []
    for method in ("add_rows", "add_columns"):
        original = getattr(GroupedMoments, method)

        def spy(self, chunk, *args, original=original):
            sizes.append(chunk.shape[0] * chunk.shape[1])
            return original(self, chunk, *args)

        monkeypatch.setattr(GroupedMoments, method, spy)
    PerturbationStatistics.from_anndata(backed)
    assert len(sizes) > 5
    assert max(sizes) <= 200
    assert sum(sizes) == expression.n_obs * expression.n_vars


@pytest.mark.parametrize("layout", [sparse.csr_matrix, sparse.csc_matrix])
def test_value_stored_in_two_parts_is_one_value(expression, layout):
    expected = PerturbationStatistics.from_anndata(expression)
    coo = expression.X.tocoo()
    twice = sparse.coo_matrix((np.tile(coo.data / 2, 2), (np.tile(coo.row, 2), np.tile(coo.col, 2))), shape=coo.shape)
    indptr_of = {sparse.csr_matrix: (coo.row, coo.col), sparse.csc_matrix: (coo.col, coo.row)}[layout]
    order = np.argsort(np.tile(indptr_of[0], 2), kind="stable")
    lengths = np.bincount(np.tile(indptr_of[0], 2), minlength=coo.shape[layout is sparse.csc_matrix])
    matrix = layout(
        (twice.data[order], np.tile(indptr_of[1], 2)[order], np.concatenate([[0], np.cumsum(lengths)])),
        shape=coo.shape,
    )
    assert matrix.nnz == 2 * coo.nnz
    expression.X = matrix
    assert_same(PerturbationStatistics.from_anndata(expression), expected)
    assert expression.X.nnz == 2 * coo.nnz, "the user's matrix stays as it is"


def test_order_of_cells_and_genes_does_not_matter(screen_expression):
    rng = np.random.default_rng(1)
    expected = PerturbationStatistics.from_anndata(screen_expression)
    genes = rng.permutation(screen_expression.n_vars)
    shuffled = screen_expression[rng.permutation(screen_expression.n_obs)][:, genes].copy()
    assert_same(PerturbationStatistics.from_anndata(shuffled).select(genes=expected.genes), expected)


@given(cut=st.integers(0, 100), seed=st.integers(0, 20))
def test_merged_parts_equal_the_whole(cut, seed):
    adata = make_expression(seed)
    order = np.random.default_rng(seed).permutation(adata.n_obs)
    cut = cut * adata.n_obs // 100
    labels = adata.obs["condition"].astype(str).to_numpy()

    def of(cells, genes=slice(None)):
        return PerturbationStatistics.from_matrix(adata.X[cells][:, genes], labels[cells], adata.var_names[genes])

    whole = of(np.arange(adata.n_obs))
    merged = of(order[:cut]).merge(of(order[cut:], np.arange(adata.n_vars)[::-1]))
    assert merged.labels.tolist() == whole.labels.tolist()
    assert merged.n_control == whole.n_control
    np.testing.assert_array_equal(merged.n_cells, whole.n_cells)
    # Sums of float32 values are exact in float64; sums of squares are rounded once more by merging.
    np.testing.assert_array_equal(merged.sum, whole.sum)
    np.testing.assert_allclose(merged.sum_sq, whole.sum_sq, rtol=5e-16)


def test_select_keeps_the_order_asked_for(expression):
    stats = PerturbationStatistics.from_anndata(expression)
    part = stats.select(labels=["P2", "P0"], genes=["gene7", "gene3"])
    np.testing.assert_array_equal(
        part.mean, stats.mean[[stats.labels.get_loc("P2"), stats.labels.get_loc("P0")]][:, [7, 3]]
    )
    np.testing.assert_array_equal(part.control_mean, stats.control_mean[[7, 3]])
    cells = expression[expression.obs["condition"].isin(["P0", "P2"])].X.toarray()[:, [7, 3]].astype(float)
    np.testing.assert_allclose(part.perturbed_mean, cells.mean(axis=0))


def test_select_takes_a_text_for_one_name_and_labels_in_any_form(expression):
    stats = PerturbationStatistics.from_anndata(expression)
    assert stats.select(labels="P1+P0").labels.tolist() == ["P0+P1"]
    assert stats.select(genes="gene12").genes.tolist() == ["gene12"]
    assert stats.select(labels=pd.Series(["P3", "P2+ctrl"], index=[5, 6])).labels.tolist() == ["P3", "P2"]
    assert stats.positions(np.array(["P2", "P0"])).tolist() == [stats.labels.get_loc("P2"), 0]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"labels": ["P0", "nobody"]}, ("nobody", 6, "P1")),
        ({"labels": "P0P1"}, ("P0P1", 6)),
        ({"genes": ["nothing"]}, ("nothing", 40, "gene1")),
        ({"labels": ["P0", "P1", "P0+ctrl"]}, ("P0", 1)),
        ({"genes": ["gene1", "gene1"]}, ("gene1", 1)),
    ],
)
def test_select_of_unknown_or_repeated_names(expression, names, said):
    with pytest.raises(InputError, match=naming(*said)):
        PerturbationStatistics.from_anndata(expression).select(**names)


def test_arrays_cannot_be_written_to(expression):
    stats = PerturbationStatistics.from_anndata(expression)
    for name in (*ARRAYS, "mean", "var", "control_mean", "control_var", "perturbed_mean"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(stats, name)[:] = 1


def test_arrays_that_do_not_fit_together(expression):
    stats = PerturbationStatistics.from_anndata(expression)
    with pytest.raises(InputError, match=naming("sum_sq", (5, 40), (6, 40))):
        replace(stats, sum_sq=stats.sum_sq[1:])
    with pytest.raises(InputError, match=naming("control_sum", (39,), (40,))):
        replace(stats, control_sum=stats.control_sum[1:])


def test_merge_of_what_does_not_fit(expression):
    with pytest.raises(InputError, match=naming("AnnData", "PerturbationStatistics")):
        PerturbationStatistics.from_anndata(expression).merge(expression)
    stats = PerturbationStatistics.from_anndata(expression)
    with pytest.raises(InputError, match=naming(1, "gene0", 0)):
        stats.merge(stats.select(genes=stats.genes[1:]))
    with pytest.raises(InputError, match=naming("control", "None")):
        stats.merge(PerturbationStatistics.from_anndata(expression, control=None))


def test_variance_of_a_single_cell_is_undefined():
    stats = PerturbationStatistics.from_matrix(np.array([[0.5], [1.5]]), ["A", "B"], ["g"], control=None)
    assert np.isnan(stats.var).all()
    assert sample_variance(3, np.array([3 * 0.1]), np.array([0.03 - 1e-18])) >= 0


def test_data_without_control(expression):
    part = expression[expression.obs["condition"] != "control"]
    stats = PerturbationStatistics.from_anndata(part, control=None)
    for name in ("control_mean", "control_var"):
        with pytest.raises(InputError, match=naming("control", "None")):
            getattr(stats, name)


def test_labels_are_canonical(expression):
    expected = PerturbationStatistics.from_anndata(expression)
    labels = expression.obs["condition"].astype(str).to_numpy()
    for label, other in (("P0+P1", "P1+P0"), ("P2", "P2+ctrl"), ("P3", "control+P3")):
        labels[np.flatnonzero(labels == label)[:3]] = other
    expression.obs["condition"] = labels
    stats = PerturbationStatistics.from_anndata(expression)
    assert stats.labels.equals(expected.labels)
    np.testing.assert_array_equal(stats.n_cells, expected.n_cells)
    np.testing.assert_array_equal(stats.sum, expected.sum)


NUMBERS = {"control": 3368, "P0": 10, "P0+P1": 20, "P1": 30, "P2": 40, "P3": 50, "P4": 60}
NUMBER_COLUMNS = {
    "int": lambda numbers: numbers.astype(int),
    "float": lambda numbers: numbers.astype(float),
    "nullable int": lambda numbers: numbers.astype("Int64"),
    "nullable float": lambda numbers: numbers.astype("Float64"),
    "objects": lambda numbers: numbers.astype(object),
    "categories of int": lambda numbers: numbers.astype("category"),
    "categories of float": lambda numbers: numbers.astype(float).astype("category"),
    "categories of nullable int": lambda numbers: numbers.astype("Int64").astype("category"),
}


@pytest.mark.parametrize("control", [3368, 3368.0, "3368", "3368.0", np.int64(3368), np.float32(3368)])
@pytest.mark.parametrize("to", NUMBER_COLUMNS.values(), ids=NUMBER_COLUMNS)
def test_labels_may_be_numbers(to, control, expression):
    expected = PerturbationStatistics.from_anndata(expression)
    expression.obs["number"] = to(expression.obs["condition"].astype(str).map(NUMBERS))
    stats = PerturbationStatistics.from_anndata(expression, "number", control)
    assert stats.labels.tolist() == ["10", "20", "30", "40", "50", "60"] and stats.control == "3368"
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(stats, name), getattr(expected, name))
    for labels in (["60", "10"], [60, 10], [60.0, 10.0]):
        assert stats.select(labels).labels.tolist() == ["60", "10"]
    of_matrix = PerturbationStatistics.from_matrix(
        expression.X, expression.obs["number"], expression.var_names, control=control
    )
    assert_same(of_matrix, stats)


def test_labels_may_be_fractions_or_truth_values(expression):
    expression.obs["dose"] = expression.obs["condition"].astype(str).map(NUMBERS) / 20
    stats = PerturbationStatistics.from_anndata(expression, "dose", 168.4)
    assert stats.labels.tolist() == ["0.5", "1", "1.5", "2", "2.5", "3"] and stats.control == "168.4"
    for dtype in (bool, "boolean", "category"):
        expression.obs["perturbed"] = (expression.obs["condition"] != "control").astype(dtype)
        stats = PerturbationStatistics.from_anndata(expression, "perturbed", None)
        assert stats.labels.tolist() == ["False", "True"]
        stats = PerturbationStatistics.from_matrix(
            expression.X, expression.obs["perturbed"], expression.var_names, control=False
        )
        assert (stats.labels.tolist(), stats.control, stats.n_control) == (["True"], "False", 30)


def test_labels_that_are_text_stay_as_they_are(expression):
    expression.obs["text"] = expression.obs["condition"].astype(str).map(NUMBERS).astype(float).astype(str)
    for control in ("3368.0", 3368.0):
        stats = PerturbationStatistics.from_anndata(expression, "text", control)
        assert stats.labels[0] == "10.0" and stats.control == "3368.0"
    for control in ("3368", 3368):
        with pytest.raises(InputError, match=r"'3368' does not occur .*did you mean '3368.0'\?"):
            PerturbationStatistics.from_anndata(expression, "text", control)


def test_contexts_may_be_numbers(expression):
    hours = np.where(np.arange(expression.n_obs) % 2, 24, 6)
    for to in (int, float, "Int64", "category"):
        expression.obs["hours"] = pd.Series(hours, expression.obs_names).astype(to)
        assert list(PerturbationStatistics.by_context(expression, "hours")) == ["24", "6"]


class TestBadInput:
    def test_no_such_column(self, expression):
        with pytest.raises(InputError, match=naming("guide", "condition", "ncounts")):
            PerturbationStatistics.from_anndata(expression, "guide")

    def test_no_such_control(self, expression):
        with pytest.raises(InputError, match=naming("non-targeting", "P0", "P0+P1", "condition")):
            PerturbationStatistics.from_anndata(expression, control="non-targeting")
        with pytest.raises(InputError, match="did you mean 'control'"):
            PerturbationStatistics.from_anndata(expression, control="Control ")

    def test_no_such_layer(self, expression):
        with pytest.raises(InputError, match=naming("log1p", "none")):
            PerturbationStatistics.from_anndata(expression, layer="log1p")

    def test_cells_without_label(self, expression):
        expression.obs.loc["cell3", "condition"] = np.nan
        with pytest.raises(InputError, match=naming("condition", 1, expression.n_obs, "cell3")):
            PerturbationStatistics.from_anndata(expression)

    def test_raw_counts(self, expression):
        expression.X = (expression.X > 0).astype(np.float32) * 3
        with pytest.raises(InputError, match=naming("X", 3, "log1p")):
            PerturbationStatistics.from_anndata(expression)

    def test_not_log_transformed(self, expression):
        expression.X = expression.X.expm1()
        with pytest.raises(InputError, match=naming("X", 15, "log1p")):
            PerturbationStatistics.from_anndata(expression)

    @pytest.mark.parametrize("stored_as", STORED_AS)
    @pytest.mark.parametrize("value", [np.nan, np.inf, -0.5])
    def test_impossible_values_are_located(self, expression, stored_as, value):
        dense = expression.X.toarray()
        dense[11, 5] = value
        expression.X = STORED_AS[stored_as](sparse.csr_matrix(dense))
        with pytest.raises(InputError, match=naming("X", value, "cell11", "gene5")):
            PerturbationStatistics.from_anndata(expression)

    def test_impossible_values_are_located_in_later_chunks(self, expression, tmp_path, monkeypatch):
        dense = expression.X.toarray()
        dense[60, 39] = np.nan
        for stored_as, to in STORED_AS.items():
            backed = write_backed(
                expression, tmp_path / f"{stored_as}.h5ad", lambda _, to=to: to(sparse.csr_matrix(dense))
            )
            monkeypatch.setattr(reading, "BLOCK_VALUES", 300)
            with pytest.raises(InputError, match=naming("cell60", "gene39")):
                PerturbationStatistics.from_anndata(backed)

    def test_repeated_gene_names(self, expression):
        expression.var_names = ["gene0", *expression.var_names[:-1]]
        with pytest.raises(InputError, match=naming(1, "gene0")):
            PerturbationStatistics.from_anndata(expression)

    def test_one_perturbation(self, expression):
        part = expression[expression.obs["condition"].isin(["P0", "control"])]
        with pytest.raises(InputError, match=naming(1, "P0", 2)):
            PerturbationStatistics.from_anndata(part)

    def test_cells_with_an_empty_label(self, expression):
        expression.obs["condition"] = expression.obs["condition"].astype(str).replace({"P3": " "})
        n_empty = (expression.obs["condition"] == " ").sum()
        with pytest.raises(InputError, match=naming("condition", n_empty, expression.n_obs)):
            PerturbationStatistics.from_anndata(expression)

    @pytest.mark.parametrize("wrong", ["screen.h5ad", pd.DataFrame(), np.eye(3), None])
    def test_not_an_anndata(self, wrong):
        with pytest.raises(InputError, match=naming("AnnData", type(wrong).__name__)):
            PerturbationStatistics.from_anndata(wrong)

    def test_no_genes(self, expression):
        with pytest.raises(InputError, match=naming("X")):
            PerturbationStatistics.from_anndata(expression[:, :0])

    def test_no_matrix(self, expression):
        with pytest.raises(InputError, match=naming("X", "layer")):
            PerturbationStatistics.from_anndata(ad.AnnData(obs=expression.obs, var=expression.var))
        for matrix in (expression.to_df(), expression.X.toarray().tolist()):
            with pytest.raises(InputError, match=naming("X", type(matrix).__name__)):
                PerturbationStatistics.from_matrix(matrix, expression.obs["condition"], expression.var_names)

    def test_no_cells(self, expression):
        with pytest.raises(InputError, match=naming("control", "condition")):
            PerturbationStatistics.from_anndata(expression[:0])

    def test_shapes_that_do_not_fit(self, expression):
        labels = pd.Series(expression.obs["condition"]).iloc[:-1]
        with pytest.raises(InputError, match=naming((expression.n_obs, 40), expression.n_obs - 1, 40)):
            PerturbationStatistics.from_matrix(expression.X, labels, expression.var_names)


class TestContexts:
    @pytest.fixture
    def cells(self, expression) -> ad.AnnData:
        rng = np.random.default_rng(4)
        expression.obs["line"] = pd.Categorical(rng.choice(["b", "a"], expression.n_obs))
        expression.obs["batch"] = rng.choice([1, 2], expression.n_obs)
        return expression

    def test_are_what_each_contexts_cells_alone_give(self, cells):
        by_line = PerturbationStatistics.by_context(cells, "line")
        assert list(by_line) == ["a", "b"]
        for line, stats in by_line.items():
            assert_same(stats, PerturbationStatistics.from_anndata(cells[cells.obs["line"] == line]))

    def test_several_columns_are_joined(self, cells):
        by_both = PerturbationStatistics.by_context(cells, ["line", "batch"], workers=3)
        assert list(by_both) == ["a | 1", "a | 2", "b | 1", "b | 2"]
        own = cells[(cells.obs["line"] == "b") & (cells.obs["batch"] == 1)]
        assert_same(by_both["b | 1"], PerturbationStatistics.from_anndata(own))

    def test_a_context_has_the_perturbations_that_it_has_cells_of(self, cells):
        part = cells[~((cells.obs["line"] == "a") & cells.obs["condition"].isin(["P1", "control"]))]
        by_line = PerturbationStatistics.by_context(part, "line")
        assert "P1" in by_line["b"].labels and "P1" not in by_line["a"].labels
        assert (by_line["a"].n_control, by_line["a"].control) == (0, "control")

    def test_are_gathered_in_one_pass(self, cells, tmp_path, monkeypatch):
        expected = PerturbationStatistics.by_context(cells, "line")
        backed = write_backed(cells, tmp_path / "x.h5ad", sparse.csr_matrix)
        monkeypatch.setattr(reading, "BLOCK_VALUES", 400)
        passes = []
        original = reading.read_blocks

        def counting(*arguments):
            passes.append(arguments)
            return original(*arguments)

        monkeypatch.setattr("diversity_by_design.groups.read_blocks", counting)
        found = PerturbationStatistics.by_context(backed, "line")
        assert len(passes) == 1
        for line, stats in expected.items():
            assert_same(found[line], stats)

    def test_one_perturbation_in_a_context(self, cells):
        part = cells[(cells.obs["line"] == "a") | cells.obs["condition"].isin(["P1", "control"])]
        with pytest.raises(InputError, match=naming("b", "P1", 1, 2)):
            PerturbationStatistics.by_context(part, "line")

    def test_no_such_context(self, cells):
        with pytest.raises(InputError, match=naming("tissue", "line", "batch")):
            PerturbationStatistics.by_context(cells, "tissue")
        cells.obs["line"] = cells.obs["line"].where(cells.obs_names != "cell5")
        with pytest.raises(InputError, match=naming("line", 1, "cell5")):
            PerturbationStatistics.by_context(cells, "line")
