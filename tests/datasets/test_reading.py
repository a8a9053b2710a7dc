"""Reading cells in the forms that people have, whole or damaged."""

import sys

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata.io import write_elem
from cell_files import LAYOUTS, VALUES, counts_of, h5ad, prepared, replace_x
from messages import naming
from scipy import sparse

from diversity_by_design.datasets.reading import CellFile
from diversity_by_design.errors import InputError

pytestmark = pytest.mark.filterwarnings(
    "ignore:zarr v3 autosharding",
    "ignore:Consolidated metadata",
    # Of files that are made without anndata here.
    "ignore::anndata.OldFormatWarning",
)


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


NUMBERS = [f"{order}{kind}" for order in "<>" for kind in "i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8".split()]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_numbers_of_every_type_and_byte_order(tmp_path, layout):
    path = h5ad(tmp_path / "x.h5ad")
    for kind in [*NUMBERS, "longdouble"]:
        replace_x(path, layout, kind)
        np.testing.assert_array_equal(counts_of(path), VALUES, err_msg=kind)
    replace_x(path, layout, "bool")
    np.testing.assert_array_equal(counts_of(path), VALUES > 0)


@pytest.mark.parametrize("layout", ["csr", "csc"])
def test_indices_of_every_type_and_byte_order(tmp_path, layout):
    path = h5ad(tmp_path / "x.h5ad")
    for kind in [kind for kind in NUMBERS if kind[1] != "f" and kind[2] != "1"]:
        replace_x(path, layout, "f4", kind)
        np.testing.assert_array_equal(counts_of(path), VALUES, err_msg=kind)
    replace_x(path, layout, "f4", "f8")
    with pytest.raises(InputError, match=naming("x.h5ad", "X", "float64", "whole numbers")):
        counts_of(path)


STORED = {
    "odd chunks": {"chunks": True},
    "small chunks": {"chunks": 7},
    "lzf": {"compression": "lzf"},
    "gzip": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "resizable": {"maxshape": None},
    "szip": {"compression": "szip"},
}


@pytest.mark.parametrize("how", STORED)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_chunks_and_filters_that_are_there(tmp_path, layout, how):
    path = h5ad(tmp_path / "x.h5ad")
    n = 2 if layout == "dense" else 1
    options = {name: (value,) * n if name in ("chunks", "maxshape") else value for name, value in STORED[how].items()}
    if how == "odd chunks":
        options = {"chunks": (9, 4)[:n]}
    if how == "szip" and not h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP):
        pytest.skip("this HDF5 has no szip")
    replace_x(path, layout, "f4", **options)
    np.testing.assert_array_equal(counts_of(path), VALUES)


@pytest.mark.parametrize(("number", "name"), [(32015, "zstd"), (305, "unnamed")])
def test_filter_that_is_not_there(tmp_path, monkeypatch, number, name):
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    if h5py.h5z.filter_avail(number):
        pytest.skip("the filter is there")
    path = h5ad(tmp_path / "x.h5ad")
    with h5py.File(path, "r+") as file:
        del file["X/data"]
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((100,))
        creation.set_filter(number, h5py.h5z.FLAG_OPTIONAL)
        n = len(file["X/indices"])
        h5py.h5d.create(file["X"].id, b"data", h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((n,)), creation)
        file["X/data"].id.write_direct_chunk((0,), b"packed in a way that nobody here knows")
    with CellFile(path) as file, pytest.raises(InputError, match=naming("x.h5ad", name, number, "hdf5plugin")) as error:
        list(file.counts("X"))
    assert "cut short" not in str(error.value)


def h5mu(path, names=("rna", "protein")):
    """Write a file as mudata does, with a column for the cells of all modalities, of which one lacks the last."""
    rna = ad.read_h5ad(h5ad(path.with_name("x.h5ad")))
    shared = rna.obs.rename(columns={"perturbation": "guide"})
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoder": "mudata", "encoder-version": "0.3.2", "encoding-type": "MuData"})
        for number, name in enumerate(names):
            other = ad.AnnData(VALUES[:, :4], obs=shared[[]])
            write_elem(file.require_group("mod"), name, other if number else rna[:-1])
        # Names of modalities are part of those of columns that are theirs.
        write_elem(file, "obs", shared.assign(lane=np.arange(50), **{f"{names[0]}:perturbation": "x"}))
    return path


def test_only_modality(tmp_path):
    with CellFile(h5mu(tmp_path / "x.h5mu", ["gex"])) as file:
        assert (file.modality, len(file.obs), len(file.var)) == ("gex", 49, 30)
        assert list(file.obs) == ["perturbation", "guide", "lane"]
        assert list(file.obs["lane"]) == list(range(49))
        assert any("gex" in note for note in file.notes)
        np.testing.assert_array_equal(next(file.counts("X")).values.toarray(), VALUES[:-1])


def test_one_of_several_modalities(tmp_path):
    path = h5mu(tmp_path / "x.h5mu")
    with CellFile(path, "protein") as file:
        assert (file.modality, len(file.obs), len(file.var)) == ("protein", 50, 4)
    with CellFile(path, any_modality=True) as file:
        assert file.modality == "rna"
    mine, report = prepared(path, modality="rna", perturbation_key="guide")
    assert report.cells_found == 49
    assert set(mine.obs["condition"]) == {"A", "B", "A+B", "control"}


@pytest.mark.parametrize(("modality", "said"), [(None, "none was chosen"), ("dna", "dna")])
def test_modality_must_be_named(tmp_path, modality, said):
    with pytest.raises(InputError, match=naming("x.h5mu", said, "--modality", "protein|rna")):
        CellFile(h5mu(tmp_path / "x.h5mu"), modality)


def test_modality_of_a_file_without(tmp_path):
    with pytest.raises(InputError, match=naming("x.h5ad", "rna", "--modality")):
        CellFile(h5ad(tmp_path / "x.h5ad"), "rna")
