"""Reading h5ad files in blocks, whole or damaged."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from diversity_by_design.datasets import reading
from diversity_by_design.datasets.reading import H5adFile
from diversity_by_design.errors import InputError

VALUES = np.random.default_rng(0).poisson(0.7, (50, 30)).astype(np.float32)
LAYOUTS = {"dense": np.asarray, "csr": sparse.csr_matrix, "csc": sparse.csc_matrix}


@pytest.fixture(params=LAYOUTS)
def stored(request, tmp_path):
    path = tmp_path / "counts.h5ad"
    ad.AnnData(LAYOUTS[request.param](VALUES)).write_h5ad(path)
    return path


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(reading, "BLOCK_VALUES", 200)
    monkeypatch.setattr(reading, "SPARSE_BLOCK_VALUES", 100)


def assembled(file, cells=None):
    whole, n_blocks = np.zeros_like(VALUES), 0
    for block in file.matrix("X").blocks(cells):
        span = slice(block.first_gene, block.first_gene + block.values.shape[1])
        whole[block.cells, span] += block.values.toarray()
        n_blocks += 1
    return whole, n_blocks


def test_blocks_make_up_the_matrix(stored, small_blocks):
    with H5adFile(stored) as file:
        whole, n_blocks = assembled(file)
    assert n_blocks > 5
    np.testing.assert_array_equal(whole, VALUES)


def test_only_the_asked_cells_are_given(stored, small_blocks):
    cells = np.array([0, 3, 4, 31, 49])
    with H5adFile(stored) as file:
        whole, _ = assembled(file, cells)
    expected = np.zeros_like(VALUES)
    expected[cells] = VALUES[cells]
    np.testing.assert_array_equal(whole, expected)


def test_explicit_zeros_and_duplicates_do_not_count(tmp_path):
    path = tmp_path / "counts.h5ad"
    ad.AnnData(sparse.csr_matrix(np.eye(3, dtype=np.float32))).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        del file["X/data"], file["X/indices"], file["X/indptr"]
        file["X/data"] = np.array([1, 2, 0, 4], np.float32)
        file["X/indices"] = np.array([1, 1, 0, 2], np.int32)
        file["X/indptr"] = np.array([0, 2, 3, 4])
    with H5adFile(path) as file:
        (block,) = file.matrix("X").blocks()
    np.testing.assert_array_equal(block.values.data, [3, 4])
    np.testing.assert_array_equal(block.values.indptr, [0, 1, 1, 2])


def test_nan_in_a_dense_matrix_is_kept(tmp_path):
    values = np.array([[0, np.nan], [1, 2]], np.float32)
    ad.AnnData(values).write_h5ad(tmp_path / "counts.h5ad")
    with H5adFile(tmp_path / "counts.h5ad") as file:
        (block,) = file.matrix("X").blocks()
    assert np.isnan(block.values.data[0])


@pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning")
def test_categories_as_old_versions_of_anndata_wrote_them(tmp_path):
    path = tmp_path / "old.h5ad"
    with h5py.File(path, "w") as file:
        file["X"] = VALUES[:3, :2]
        for name, index in {"obs": ["c0", "c1", "c2"], "var": ["g0", "g1"]}.items():
            group = file.create_group(name)
            group.attrs["_index"], group.attrs["column-order"] = "index", ["gene"] if name == "obs" else []
            group.attrs["encoding-type"], group.attrs["encoding-version"] = "dataframe", "0.1.0"
            group["index"] = np.array(index, dtype=h5py.string_dtype())
        group = file["obs"]
        group["gene"] = np.array([0, 1, 0], np.int8)
        group["__categories/gene"] = np.array(["RPL3", "non-targeting"], dtype=h5py.string_dtype())
        group["gene"].attrs["categories"] = group["__categories/gene"].ref
    with H5adFile(path) as file:
        assert list(file.obs["gene"].astype(str)) == ["RPL3", "non-targeting", "RPL3"]
        np.testing.assert_array_equal(next(file.matrix("X").blocks()).values.toarray(), VALUES[:3, :2])


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"no file .*absent.h5ad"):
        H5adFile(tmp_path / "absent.h5ad")


def test_folder(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        H5adFile(tmp_path)


def test_empty_file(tmp_path):
    (tmp_path / "empty.h5ad").touch()
    with pytest.raises(InputError, match=r"empty.h5ad is empty \(0 bytes\)"):
        H5adFile(tmp_path / "empty.h5ad")


def test_other_format(tmp_path):
    (tmp_path / "counts.h5ad").write_text("gene,cell\n" * 100)
    with pytest.raises(InputError, match=r"counts.h5ad is not an HDF5 file"):
        H5adFile(tmp_path / "counts.h5ad")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_truncated_file(stored, share):
    content = stored.read_bytes()
    stored.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"counts.h5ad cannot be (opened|read).*cut short"), H5adFile(stored) as file:
        assembled(file)


def test_hdf5_without_tables(tmp_path):
    with h5py.File(tmp_path / "other.h5ad", "w") as file:
        file["X"] = VALUES
    with pytest.raises(InputError, match=r"no table 'obs' \(it holds: X\)"):
        H5adFile(tmp_path / "other.h5ad")


@pytest.mark.parametrize(("shape", "what"), [((0, 5), "cells"), ((5, 0), "genes")])
def test_no_cells_or_no_genes(tmp_path, shape, what):
    path = tmp_path / "none.h5ad"
    ad.AnnData(
        obs=pd.DataFrame(index=map(str, range(shape[0]))), var=pd.DataFrame(index=map(str, range(shape[1])))
    ).write(path)
    with pytest.raises(InputError, match=rf"none.h5ad holds no {what}"):
        H5adFile(path)


def test_indices_out_of_bounds(tmp_path):
    path = tmp_path / "damaged.h5ad"
    ad.AnnData(sparse.csr_matrix(VALUES)).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        file["X/indices"][3] = 30
    with H5adFile(path) as file, pytest.raises(InputError, match=r"X has indices beyond its shape \(50, 30\)"):
        assembled(file)


def test_index_pointers_that_do_not_fit(tmp_path):
    path = tmp_path / "damaged.h5ad"
    ad.AnnData(sparse.csr_matrix(VALUES)).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        file["X/indptr"][5] = 10_000
    with H5adFile(path) as file, pytest.raises(InputError, match="index pointers of X"):
        assembled(file)


def test_matrix_of_another_shape(tmp_path):
    path = tmp_path / "damaged.h5ad"
    ad.AnnData(VALUES).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        del file["X"]
        file["X"] = VALUES[:, :-1]
    with H5adFile(path) as file, pytest.raises(InputError, match=r"X has shape \(50, 29\), but obs and var list 50"):
        file.matrix("X")
