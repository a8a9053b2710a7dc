"""Reading cells x genes in blocks: the same from every source and type, whole or some cells, checked, or damaged."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata.io import sparse_dataset
from examples import make_expression
from messages import naming
from scipy import sparse

from diversity_by_design import cells
from diversity_by_design.cells import read_blocks
from diversity_by_design.errors import InputError
from diversity_by_design.statistics import PerturbationStatistics

zarr = pytest.importorskip("zarr")

N_CELLS, N_GENES = 50, 30
COUNTS = np.random.default_rng(0).poisson(0.7, (N_CELLS, N_GENES))
CELLS, GENES = pd.Index([f"cell{i}" for i in range(N_CELLS)]), pd.Index([f"gene{i}" for i in range(N_GENES)])
LAYOUTS = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix}
DTYPES = ["?", "u1", "i8", "<f2", "f4", "f8", ">f2", ">f4", ">f8", ">i2", ">u4"]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(cells, "BLOCK_VALUES", 200)


def as_sparse(values, layout, to=None):
    """A sparse matrix, of types too that scipy does not convert."""
    matrix = LAYOUTS[layout](values != 0)
    lines = values if layout == "csr" else values.T
    return (to or LAYOUTS[layout])((lines[lines != 0], matrix.indices, matrix.indptr), shape=values.shape)


def as_layout(values, layout):
    return values if layout == "dense" else as_sparse(values, layout)


def stored(root, matrix):
    """A matrix as anndata stores it in an HDF5 or zarr group."""

    def put(group, name, array):
        create = group.create_dataset if isinstance(group, h5py.Group) else group.create_array
        return create(name, data=array)

    if not sparse.issparse(matrix):
        return put(root, "X", matrix)
    group = root.create_group("X")
    group.attrs.update({"encoding-type": f"{matrix.format}_matrix", "shape": matrix.shape})
    for name in ("data", "indices", "indptr"):
        put(group, name, getattr(matrix, name))
    return sparse_dataset(group)


FILES = {
    "hdf5": lambda folder, matrix: stored(h5py.File(folder / "x.h5ad", "w"), matrix),
    "zarr": lambda folder, matrix: stored(zarr.open_group(folder / "x.zarr", mode="w"), matrix),
}
MEMORY = {
    "array": np.asarray,
    "array by column": np.asfortranarray,
    "csr": lambda values: as_sparse(values, "csr"),
    "csc": lambda values: as_sparse(values, "csc"),
    "csc array": lambda values: as_sparse(values, "csc", sparse.csc_array),
}
SOURCES = [*MEMORY, *(f"{file} {layout}" for file in FILES for layout in ("dense", "csr", "csc"))]


def make(source, values, folder):
    """The values in a matrix of the named kind."""
    if source in MEMORY:
        return MEMORY[source](values)
    folder.mkdir(exist_ok=True)
    file, layout = source.split()
    return FILES[file](folder, as_layout(values, layout))


def read(matrix, scale="counts", **options):
    return list(read_blocks(matrix, CELLS, GENES, "X", scale, **options))


def dense(values):
    return values.toarray() if sparse.issparse(values) else values


def assembled(blocks):
    """The values of all blocks, NaN where there is none; that none overlaps and that they are in order."""
    whole, last = np.full((N_CELLS, N_GENES), np.nan), (-1, -1)
    for block in blocks:
        part = whole[block.cells, block.genes]
        assert np.isnan(part).all()
        assert part.shape == block.values.shape
        whole[block.cells, block.genes] = dense(block.values)
        first = (int(np.arange(N_CELLS)[block.cells][0]), block.genes.start)
        assert first > last
        last = first
    return whole


def assert_plain(values, as_csr):
    """What the kernels rely on."""
    data = values.data if sparse.issparse(values) else values
    assert data.dtype.isnative and data.dtype != np.float16
    if sparse.issparse(values):
        fresh = type(values)((values.data, values.indices, values.indptr), shape=values.shape)
        assert fresh.has_canonical_format
    if as_csr:
        assert values.format == "csr"
        assert values.data.all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("source", SOURCES)
def test_every_source_and_type_gives_the_same_values(source, dtype, tmp_path):
    values = COUNTS.astype(dtype)
    matrix = make(source, values, tmp_path)
    for as_csr in (False, True):
        blocks = read(matrix, as_csr=as_csr)
        np.testing.assert_array_equal(assembled(blocks), values.astype(float))
        for block in blocks:
            assert_plain(block.values, as_csr)
            assert block.by_gene == ("csc" in source and not as_csr)
        if as_csr or source not in MEMORY:
            assert len(blocks) > 5
            assert max(np.prod(block.values.shape) for block in blocks) <= 200
        else:
            assert len(blocks) == 1


@pytest.mark.parametrize("rows", [[0, 3, 4, 31, 49], [7], range(20, 40), range(N_CELLS), []])
@pytest.mark.parametrize("as_csr", [False, True])
@pytest.mark.parametrize("source", SOURCES)
def test_only_some_cells(source, as_csr, rows, tmp_path):
    rows = np.array(rows, dtype=int)
    expected = np.full(COUNTS.shape, np.nan)
    expected[rows] = COUNTS[rows]
    blocks = read(make(source, COUNTS.astype(np.float32), tmp_path), rows=rows, as_csr=as_csr)
    np.testing.assert_array_equal(assembled(blocks), expected)


@pytest.mark.parametrize("layout", ["dense", "csr", "csc"])
def test_backed_anndata(layout, tmp_path):
    ad.AnnData(as_layout(COUNTS.astype(np.float32), layout)).write_h5ad(tmp_path / "x.h5ad")
    np.testing.assert_array_equal(assembled(read(ad.read_h5ad(tmp_path / "x.h5ad", backed="r").X)), COUNTS)


@pytest.mark.parametrize("form", ["coo", "lil", "dok", "bsr", "dia"])
@pytest.mark.parametrize("as_csr", [False, True])
def test_other_sparse_formats(form, as_csr):
    matrix = sparse.csr_matrix(COUNTS).asformat(form)
    np.testing.assert_array_equal(assembled(read(matrix, as_csr=as_csr)), COUNTS)
    assert matrix.format == form


def test_what_is_in_memory_is_not_copied():
    for matrix in (sparse.csr_matrix(COUNTS), sparse.csc_matrix(COUNTS)):
        (block,) = read(matrix)
        assert block.values is matrix
    (block,) = read(COUNTS)
    assert np.shares_memory(block.values, COUNTS)


def duplicated(layout):
    """[[0, 3, 0], [0, 0, 0], [0, 0, 4]] with the 3 in two parts, out of order, and a stored 0; transposed as CSC."""
    data, indices, indptr = np.array([0.0, 1, 2, 0, 4]), np.array([2, 1, 1, 0, 2]), np.array([0, 3, 4, 5])
    return LAYOUTS[layout]((data, indices, indptr), shape=(3, 3))


@pytest.mark.parametrize("where", ["memory", "hdf5", "zarr"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_explicit_zeros_and_entries_stored_twice(layout, where, tmp_path):
    given = duplicated(layout)
    matrix = given if where == "memory" else FILES[where](tmp_path, given)
    (plain,) = read_blocks(matrix, CELLS[:3], GENES[:3], "X", "counts")
    assert_plain(plain.values, False)
    (csr,) = read_blocks(matrix, CELLS[:3], GENES[:3], "X", "counts", as_csr=True)
    assert_plain(csr.values, True)
    expected = np.array([[0, 3, 0], [0, 0, 0], [0, 0, 4]])
    for block in (plain, csr):
        np.testing.assert_array_equal(block.values.toarray(), expected.T if layout == "csc" else expected)
    assert csr.values.nnz == 2
    np.testing.assert_array_equal(given.data, [0, 1, 2, 0, 4])


@pytest.mark.parametrize("rows", [None, np.array([2, 41, 44])])
@pytest.mark.parametrize(("value", "kind"), [(np.nan, "not finite"), (np.inf, "not finite"), (-2, "negative")])
@pytest.mark.parametrize("source", SOURCES)
def test_impossible_values_are_named(source, value, kind, rows, tmp_path):
    values = COUNTS.astype(np.float32)
    values[41, 29] = value
    for as_csr in (False, True):
        with pytest.raises(InputError, match=rf"X .* {kind}: {value}.* for cell 'cell41', gene 'gene29'"):
            read(make(source, values, tmp_path), rows=rows, as_csr=as_csr)


@pytest.mark.parametrize("source", SOURCES)
def test_negative_whole_numbers_are_named(source, tmp_path):
    values = COUNTS.copy()
    values[3, 4] = -1
    with pytest.raises(InputError, match="negative: -1 for cell 'cell3', gene 'gene4'"):
        read(make(source, values, tmp_path))


@pytest.mark.parametrize("source", SOURCES)
def test_values_of_another_scale(source, tmp_path):
    counts, logs = make(source, COUNTS, tmp_path), np.log1p(COUNTS)
    with pytest.raises(InputError, match=rf"X holds whole numbers only \(up to {COUNTS.max()}\)"):
        read(counts, "expression")
    with pytest.raises(InputError, match="X holds values that are not whole numbers"):
        read(make(source, logs, tmp_path / "logs"), "counts")
    with pytest.raises(InputError, match=r"X has values up to 16.5, more than a log1p of normalised counts can reach"):
        read(make(source, logs * (16.5 / logs.max()), tmp_path / "large"), "expression")
    with pytest.raises(InputError, match=r"X has values up to 1.67772e\+07; no gene has so many counts"):
        read(make(source, COUNTS + 2**24, tmp_path / "many"), "counts")
    read(make(source, COUNTS * 0, tmp_path / "zeros"), "expression")


DEEP = np.random.default_rng(1).poisson(np.random.default_rng(2).lognormal(1, 2, N_GENES), (N_CELLS, N_GENES))
PER_MILLION = DEEP / DEEP.sum(axis=1, keepdims=True) * 1e6
NORMALISE = "sc.pp.normalize_total(adata, target_sum=1e4), then sc.pp.log1p(adata)"
BY_LN_2 = "adata.X = adata.X * np.log(2), since ln(1 + x) = log2(1 + x) * ln 2"
# Values, what is said of them, and how they become expression.
TOO_LARGE = {
    "counts": (DEEP, "whole numbers", f": {NORMALISE}"),
    "halves": (np.where(DEEP % 3, DEEP, DEEP / 2), "fractional counts", f": if these are counts, {NORMALISE}"),
    "normalised": (PER_MILLION, "1,000,000 per cell, not logged", ": sc.pp.log1p(adata), once"),
    "log2": (np.log2(1 + PER_MILLION), "log2(1 + x) of counts", f": {BY_LN_2}"),
    "log1p": (np.log1p(PER_MILLION * 100), "ln(1 + x) of counts", f": undo the logarithm (np.expm1), then {NORMALISE}"),
    "unclear": (np.log2(1 + PER_MILLION) * 1.1, "unclear", ""),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", TOO_LARGE)
def test_advice_for_values_too_large_for_expression(kind, source, tmp_path):
    values, said, advice = TOO_LARGE[kind]
    if source.endswith(" csc") and kind != "counts":
        # Read by gene, so that no cell is there as a whole.
        said, advice = "unclear", ""
    with pytest.raises(InputError, match=naming("X", said)) as raised:
        read(make(source, values.astype(np.float64), tmp_path), "expression")
    assert str(raised.value).endswith(f"expected log1p of counts normalised to 10,000 per cell{advice}")


# Values, what is said of them, and whether rounding is advised.
NO_COUNTS = {
    "halves": (np.where(DEEP % 3, DEEP, DEEP / 2), "fractional counts", True),
    "a half": (DEEP + 0.5 * (np.arange(DEEP.size) == 43 * N_GENES).reshape(DEEP.shape), "fractional counts", True),
    "normalised": (PER_MILLION, "1,000,000 per cell, not logged", False),
    "log1p": (np.log1p(DEEP), "ln(1 + x) of counts", False),
    "unclear": (np.sqrt(PER_MILLION) / 50, "unclear", True),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", NO_COUNTS)
def test_advice_for_values_that_are_no_counts(kind, source, tmp_path):
    values, said, rounding = NO_COUNTS[kind]
    for as_csr in (False, True):
        if source.endswith(" csc") or ("csc" in source and as_csr):
            said, rounding = "unclear", True
        with pytest.raises(InputError, match=naming("X", "whole numbers", said)) as raised:
            read(make(source, values, tmp_path), as_csr=as_csr)
        assert ("--round" in str(raised.value)) == rounding
        assert ("dbd inspect" in str(raised.value)) == ("unclear" in said or not rounding)


def test_one_block_is_enough_to_see_that_there_are_no_counts():
    blocks = read_blocks(np.log1p(COUNTS), CELLS, GENES, "X", "counts", as_csr=True)
    with pytest.raises(InputError, match="not whole numbers"):
        next(blocks)


def test_whole_numbers_in_the_first_blocks_are_no_counts_yet():
    values = COUNTS.astype(float)
    values[-1, -1] = 0.5
    assert len(read(values, "expression", as_csr=True)) > 5


@pytest.mark.parametrize("dtype", ["c16", "S3", object])
def test_values_that_are_no_numbers(dtype):
    with pytest.raises(InputError, match="X holds values of type (complex128|.S3|object)"):
        read(COUNTS.astype(dtype))


class TestDamaged:
    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize("index", [50, -1])
    @pytest.mark.parametrize("file", FILES)
    def test_indices(self, file, layout, index, tmp_path):
        matrix = FILES[file](tmp_path, as_sparse(COUNTS, layout))
        matrix.group["indices"][99] = index
        with pytest.raises(InputError, match=r"x\.(h5ad|zarr).*X cannot be read: .*indices must be"):
            read(matrix)

    @pytest.mark.parametrize(
        "damage",
        [
            lambda pointers: pointers[:-1],
            lambda pointers: pointers + 1,
            lambda pointers: pointers // 2,
            lambda pointers: np.where(np.arange(len(pointers)) == 5, 10_000, pointers),
            lambda pointers: np.where(np.arange(len(pointers)) == 5, 0, pointers).astype(np.uint32),
        ],
    )
    def test_index_pointers(self, damage, tmp_path):
        matrix = FILES["hdf5"](tmp_path, sparse.csr_matrix(COUNTS))
        pointers = damage(matrix.group["indptr"][:])
        del matrix.group["indptr"]
        matrix.group["indptr"] = pointers
        with pytest.raises(InputError, match=r"x.h5ad: /X cannot be read: .*index pointers .*\(50, 30\)"):
            read(matrix)

    def test_a_part_that_is_missing(self, tmp_path):
        matrix = FILES["hdf5"](tmp_path, sparse.csr_matrix(COUNTS))
        del matrix.group["indices"]
        with pytest.raises(InputError, match="x.h5ad: /X cannot be read: .*indices"):
            read(matrix)

    @pytest.mark.parametrize("layout", ["dense", "csr"])
    def test_compressed_hdf5(self, layout, tmp_path):
        path = tmp_path / "x.h5ad"
        ad.AnnData(as_layout(COUNTS, layout)).write_h5ad(path, compression="gzip")
        with h5py.File(path) as file:
            data = file["X"] if layout == "dense" else file["X/data"]
            at = data.id.get_chunk_info(0).byte_offset
        content = bytearray(path.read_bytes())
        content[at : at + 40] = bytes(40)
        path.write_bytes(content)
        with pytest.raises(InputError, match="x.h5ad: /X cannot be read: .*filter"):
            read(ad.read_h5ad(path, backed="r").X)

    def test_compressed_zarr(self, tmp_path):
        matrix = FILES["zarr"](tmp_path, COUNTS)
        chunk = next(path for path in (tmp_path / "x.zarr" / "X" / "c").rglob("*") if path.is_file())
        chunk.write_bytes(chunk.read_bytes()[:20])
        with pytest.raises(InputError, match=r"x.zarr/X cannot be read"):
            read(matrix)


class TestDask:
    """Arrays of dask, which are computed block by block."""

    @pytest.mark.parametrize("rows", [None, np.array([0, 3, 31, 49])])
    @pytest.mark.parametrize("as_csr", [False, True])
    @pytest.mark.parametrize("layout", ["dense", "csr", "csc"])
    def test_same_values(self, layout, as_csr, rows, tmp_path):
        lazily = pytest.importorskip("anndata.experimental").read_elem_lazy
        adata = ad.AnnData(as_layout(COUNTS.astype(np.float32), layout))
        adata.write_h5ad(tmp_path / "x.h5ad")
        with h5py.File(tmp_path / "x.h5ad") as file:
            chunks = {"dense": (11, N_GENES), "csr": (11, N_GENES), "csc": (N_CELLS, 7)}[layout]
            matrix = lazily(file["X"], chunks=chunks)
            assert not hasattr(matrix, "nnz") and matrix.npartitions > 1
            expected = np.full(COUNTS.shape, np.nan)
            expected[slice(None) if rows is None else rows] = COUNTS[slice(None) if rows is None else rows]
            blocks = read(matrix, rows=rows, as_csr=as_csr)
        assert len(blocks) >= 3
        np.testing.assert_array_equal(assembled(blocks), expected)
        for block in blocks:
            assert_plain(block.values, as_csr)

    def test_statistics(self):
        array = pytest.importorskip("dask.array")
        adata = make_expression()
        expected = PerturbationStatistics.from_anndata(adata)
        adata.X = array.from_array(adata.X.toarray(), chunks=(20, 15))
        np.testing.assert_array_equal(PerturbationStatistics.from_anndata(adata).sum, expected.sum)
