"""Reading h5ad files in blocks, whole or damaged."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from messages import naming
from scipy import sparse

from diversity_by_design.datasets.reading import CellFile
from diversity_by_design.errors import InputError

VALUES = np.random.default_rng(0).poisson(0.7, (50, 30)).astype(np.float32)
LAYOUTS = {"dense": np.asarray, "csr": sparse.csr_matrix, "csc": sparse.csc_matrix}


@pytest.fixture(params=LAYOUTS)
def stored(request, tmp_path):
    path = tmp_path / "counts.h5ad"
    ad.AnnData(VALUES, layers={"counts": LAYOUTS[request.param](VALUES)}).write_h5ad(path)
    return path


@pytest.mark.parametrize("rows", [None, np.array([0, 3, 4, 31, 49])])
def test_counts_of_all_or_some_cells(stored, rows):
    with CellFile(stored) as file:
        (block,) = file.counts("layers/counts", rows)
        assert file.matrices == ["X", "layers/counts"]
    np.testing.assert_array_equal(block.values.toarray(), VALUES[slice(None) if rows is None else rows])


@pytest.mark.parametrize("value", [-1, 0.5])
def test_what_are_no_counts_is_said_of_the_file_and_matrix(tmp_path, value):
    ad.AnnData(np.where(np.arange(30) == 7, value, VALUES)).write_h5ad(tmp_path / "counts.h5ad")
    with CellFile(tmp_path / "counts.h5ad") as file, pytest.raises(InputError, match=naming("counts.h5ad", "X")):
        list(file.counts("X"))


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
    with CellFile(path) as file:
        assert list(file.obs["gene"].astype(str)) == ["RPL3", "non-targeting", "RPL3"]
        np.testing.assert_array_equal(next(file.counts("X")).values.toarray(), VALUES[:3, :2])


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=naming("absent.h5ad")):
        CellFile(tmp_path / "absent.h5ad")


def test_folder(tmp_path):
    with pytest.raises(InputError, match=naming(tmp_path, "folder")):
        CellFile(tmp_path)


def test_empty_file(tmp_path):
    (tmp_path / "empty.h5ad").touch()
    with pytest.raises(InputError, match=naming("empty.h5ad", 0)):
        CellFile(tmp_path / "empty.h5ad")


def test_other_format(tmp_path):
    (tmp_path / "counts.h5ad").write_text("gene,cell\n" * 100)
    with pytest.raises(InputError, match=naming("counts.h5ad", "text", ".h5ad")):
        CellFile(tmp_path / "counts.h5ad")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_truncated_file(stored, share):
    content = stored.read_bytes()
    stored.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=naming("counts.h5ad", "cut short")), CellFile(stored) as file:
        list(file.counts("layers/counts"))


def test_hdf5_without_tables(tmp_path):
    with h5py.File(tmp_path / "other.h5ad", "w") as file:
        file["X"] = VALUES
    with pytest.raises(InputError, match=naming("obs", "X")):
        CellFile(tmp_path / "other.h5ad")


@pytest.mark.parametrize(("shape", "what"), [((0, 5), "cells"), ((5, 0), "genes")])
def test_no_cells_or_no_genes(tmp_path, shape, what):
    path = tmp_path / "none.h5ad"
    ad.AnnData(
        obs=pd.DataFrame(index=map(str, range(shape[0]))), var=pd.DataFrame(index=map(str, range(shape[1])))
    ).write(path)
    with pytest.raises(InputError, match=naming("none.h5ad", what)):
        CellFile(path)


def test_damaged_matrix(tmp_path):
    path = tmp_path / "damaged.h5ad"
    ad.AnnData(sparse.csr_matrix(VALUES)).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        file["X/indices"][3] = 30
    with CellFile(path) as file, pytest.raises(InputError, match=naming("damaged.h5ad", "/X")):
        list(file.counts("X"))


def test_matrix_as_old_versions_of_anndata_wrote_it(tmp_path):
    path = tmp_path / "old.h5ad"
    ad.AnnData(sparse.csr_matrix(VALUES)).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        attributes = file["X"].attrs
        attributes["h5sparse_format"], attributes["h5sparse_shape"] = "csr", attributes["shape"]
        for name in ("shape", "encoding-type", "encoding-version"):
            del attributes[name]
    with CellFile(path) as file:
        np.testing.assert_array_equal(next(file.counts("X")).values.toarray(), VALUES)


@pytest.mark.parametrize("encoding", ["coo_matrix", None])
def test_matrix_stored_in_an_unknown_way(tmp_path, encoding):
    path = tmp_path / "other.h5ad"
    ad.AnnData(sparse.csr_matrix(VALUES)).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        del file["X"].attrs["encoding-type"]
        if encoding:
            file["X"].attrs["encoding-type"] = encoding
    with CellFile(path) as file, pytest.raises(InputError, match=naming("other.h5ad", "X", "CSR", "CSC")):
        file.matrix("X")


def test_matrix_of_another_shape(tmp_path):
    path = tmp_path / "damaged.h5ad"
    ad.AnnData(VALUES).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        del file["X"]
        file["X"] = VALUES[:, :-1]
    with CellFile(path) as file, pytest.raises(InputError, match=naming("X", "(50, 29)", 50, 30)):
        file.matrix("X")
