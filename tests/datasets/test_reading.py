"""Reading cells in the forms that people have, whole or damaged."""

import gzip
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import anndata as ad
import cellranger
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from anndata.io import write_elem
from messages import naming
from scipy import sparse

from diversity_by_design.datasets.prepare import PreparationSettings, prepare
from diversity_by_design.datasets.reading import CellFile
from diversity_by_design.errors import InputError

pytestmark = pytest.mark.filterwarnings(
    "ignore:zarr v3 autosharding",
    "ignore:Consolidated metadata",
    # Of files that are made without anndata here.
    "ignore::anndata.OldFormatWarning",
)

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


# Files of every kind of matrix.


def h5ad(path, adata=None):
    """Write a small file whose labels are A, B, A+B and control."""
    names = np.repeat(["A", "B", "A+B", "control"], [12, 12, 13, 13])
    if adata is None:
        adata = ad.AnnData(
            sparse.csr_matrix(VALUES),
            obs=pd.DataFrame({"perturbation": pd.Categorical(names)}, index=[f"c{i}" for i in range(50)]),
            var=pd.DataFrame(index=[f"g{i}" for i in range(30)]),
        )
    adata.write_h5ad(path)
    return path


def prepared(path, **settings):
    """What preparing a file gives, and what is said of it."""
    destination = path.parent / "prepared.h5ad"
    report = prepare(path, destination, PreparationSettings(**settings), 0)
    return ad.read_h5ad(destination), report


def replace_x(path, layout, data_type, index_type="<i4", **options):
    """Write X anew, with data and indices of these types, and options of h5py for the data."""
    with h5py.File(path, "r+") as file:
        del file["X"]
        if layout == "dense":
            node = file.create_dataset("X", data=VALUES.astype(data_type), **options)
            node.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
            return
        matrix = LAYOUTS[layout](VALUES)
        group = file.create_group("X")
        group.attrs.update({"encoding-type": f"{layout}_matrix", "encoding-version": "0.1.0", "shape": matrix.shape})
        group.create_dataset("data", data=matrix.data.astype(data_type), **options)
        group["indices"], group["indptr"] = matrix.indices.astype(index_type), matrix.indptr.astype(index_type)


def counts_of(path):
    with CellFile(path) as file:
        (block,) = file.counts("X")
        (some,) = file.counts("X", np.array([0, 31, 49]))
    assert block.values.dtype.isnative and block.values.format == "csr"
    np.testing.assert_array_equal(some.values.toarray(), block.values.toarray()[[0, 31, 49]])
    return block.values.toarray()


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


# AnnData in zarr.


@pytest.fixture(params=[2, 3])
def zarr_folder(request, tmp_path):
    def write(layout="csr", adata=None):
        adata = ad.read_h5ad(h5ad(tmp_path / "x.h5ad")) if adata is None else adata
        adata.X = LAYOUTS[layout](VALUES)
        path = tmp_path / "x.zarr"
        write_elem(zarr.open_group(path, mode="w", zarr_format=request.param), "/", adata)
        return path

    return write


@pytest.mark.parametrize("layout", LAYOUTS)
def test_zarr(zarr_folder, layout):
    path = zarr_folder(layout)
    np.testing.assert_array_equal(counts_of(path), VALUES)
    with CellFile(path) as file:
        assert "AnnData in zarr" in file.form
    mine, report = prepared(path)
    other, _ = prepared(path.with_name("x.h5ad"))
    pd.testing.assert_frame_equal(mine.obs, other.obs)
    assert (mine.X != other.X).nnz == 0
    assert report.source == "x.zarr"


def chunk_files(path):
    """Files of zarr's chunks, which are called by numbers, and in version 3 lie in folders `c`."""
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name.replace(".", "").isdigit())


def test_zarr_chunk_that_is_cut(zarr_folder):
    path = zarr_folder()
    for file in chunk_files(path / "X" / "data"):
        file.write_bytes(file.read_bytes()[:10])
    with CellFile(path) as file, pytest.raises(InputError, match=naming("x.zarr/X", "cut short")):
        list(file.counts("X"))


def test_zarr_chunk_that_was_not_copied(zarr_folder):
    """Zarr would read it as zeros."""
    path = zarr_folder()
    chunk_files(path / "X" / "data")[0].unlink()
    with CellFile(path) as file, pytest.raises(InputError, match=naming("x.zarr/X", 1, "data", "missing")):
        list(file.counts("X"))


@pytest.mark.parametrize("table", ["obs", "var"])
def test_names_that_were_not_copied(zarr_folder, table):
    path = zarr_folder()
    for file in chunk_files(path / table / "_index"):
        file.unlink()
    with pytest.raises(InputError, match=naming("x.zarr", table, "empty", {"obs": 50, "var": 30}[table])):
        CellFile(path)


@pytest.mark.parametrize("place", ["X/data", "X/indptr"])
def test_zarr_codec_that_is_not_there(zarr_folder, place):
    path = zarr_folder()
    old, new = path / place / ".zarray", path / place / "zarr.json"
    description = json.loads((old if old.exists() else new).read_text())
    if old.exists():
        old.write_text(json.dumps(description | {"compressor": {"id": "unheard-of"}}))
    else:
        codecs = [*description["codecs"], {"name": "unheard-of", "configuration": {}}]
        new.write_text(json.dumps(description | {"codecs": codecs}))
    with pytest.raises(InputError, match=naming("x.zarr", "codec", "unheard-of", "not installed")):
        counts_of(path)


def test_zarr_that_is_not_installed(zarr_folder, monkeypatch):
    path = zarr_folder()
    monkeypatch.setattr(zarr, "__version__", "2.18.7")
    if (path / "zarr.json").exists():
        with pytest.raises(InputError, match=naming("x.zarr", "zarr 2.18.7", "pip install 'zarr>=3'")):
            CellFile(path)
    else:
        np.testing.assert_array_equal(counts_of(path), VALUES)
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(InputError, match=naming("x.zarr", "pip install zarr")):
        CellFile(path)


def test_zarr_of_something_else(tmp_path):
    zarr.open_group(tmp_path / "x.zarr", mode="w")["images"] = np.zeros((4, 4))
    zarr.save_array(tmp_path / "y.zarr", np.zeros((4, 4)))
    with pytest.raises(InputError, match=naming("x.zarr", "obs", "images")):
        CellFile(tmp_path / "x.zarr")
    with pytest.raises(InputError, match=naming("y.zarr", "array")):
        CellFile(tmp_path / "y.zarr")


# MuData, of which one modality is used.


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


# Cell Ranger's files.

SCREEN = cellranger.make_guide_screen()


GUIDES = {"control_label": "NTC_*", "guide_suffix": "_g[0-9]+$", "cells_per_perturbation": 2}


def condition(guides):
    """Condition of a cell, by its guides."""
    return "+".join(sorted({SCREEN.targets[guide] for guide in guides} - {"non-targeting"})) or "control"


def assert_conditions(adata, report):
    expected = {barcode: condition(guides) for barcode, guides in SCREEN.guides.items()}
    assert list(adata.obs["condition"]) == [expected[barcode] for barcode in adata.obs_names]
    sizes = pd.Series(list(expected.values())).value_counts()
    assert set(adata.obs["condition"]) == set(sizes.index[sizes >= 2])
    assert report.no_call == {"(no label)": cellranger.CELLS_WITHOUT}
    assert list(adata.var_names) == cellranger.GENES
    rows = [SCREEN.barcodes.index(barcode) for barcode in adata.obs_names]
    assert (adata.layers["counts"] != SCREEN.counts[rows][:, : len(cellranger.GENES)]).nnz == 0


@pytest.fixture(scope="module")
def outs(tmp_path_factory):
    return cellranger.write_outs(tmp_path_factory.mktemp("run7"), SCREEN)


@pytest.mark.parametrize("calls", ["features", "table"])
@pytest.mark.parametrize("name", ["", "filtered_feature_bc_matrix.h5", "filtered_feature_bc_matrix"])
def test_guides_of_cell_ranger(outs, tmp_path, name, calls):
    table = outs / "crispr_analysis" / "protospacer_calls_per_cell.csv"
    settings = PreparationSettings(calls="features" if calls == "features" else str(table), **GUIDES)
    report = prepare(outs / name, tmp_path / "prepared.h5ad", settings, 0)
    assert_conditions(ad.read_h5ad(tmp_path / "prepared.h5ad"), report)


def test_targets_of_guide_features(tmp_path):
    """Cell Ranger's HDF5 has the columns of the table of guides."""
    targets = [SCREEN.targets.get(name, "") for name in SCREEN.features["name"]]
    screen = replace(SCREEN, features=SCREEN.features.assign(target_gene_name=targets))
    cellranger.write_h5(tmp_path / "x.h5", screen)
    settings = {"calls": "features", "control_label": "non-targeting", "cells_per_perturbation": 2}
    assert_conditions(*prepared(tmp_path / "x.h5", target_key="target_gene_name", **settings))
    with pytest.raises(InputError, match=naming("x.h5", "target", "target_gene_name")):
        prepared(tmp_path / "x.h5", target_key="target", **settings)


def test_targets_of_a_table_of_calls(tmp_path, outs):
    rows = [(cell, guide, SCREEN.targets[guide]) for cell, guides in SCREEN.guides.items() for guide in guides]
    table = tmp_path / "calls.tsv"
    pd.DataFrame(rows, columns=["cell", "sgRNA", "target"]).to_csv(table, sep="\t", index=False)
    settings = {"calls": str(table), "control_label": "non-targeting", "cells_per_perturbation": 2}
    shutil.copy(outs / "filtered_feature_bc_matrix.h5", tmp_path / "x.h5")
    assert_conditions(*prepared(tmp_path / "x.h5", perturbation_key="sgRNA", target_key="target", **settings))


def test_more_counts_of_a_guide_may_be_asked_for(tmp_path, outs):
    shutil.copy(outs / "filtered_feature_bc_matrix.h5", tmp_path / "x.h5")
    _, few = prepared(tmp_path / "x.h5", calls="features", guide_umis=20, **GUIDES)
    assert sum(few.no_call.values()) > cellranger.CELLS_WITHOUT
    with pytest.raises(InputError, match=naming(10000, len(SCREEN.barcodes))):
        prepared(tmp_path / "x.h5", calls="features", guide_umis=10000, **GUIDES)


def test_features_of_other_types_are_left_out(tmp_path):
    kinds = SCREEN.features["feature_type"].copy()
    kinds[:3] = "Antibody Capture"
    screen = replace(SCREEN, features=SCREEN.features.assign(feature_type=kinds))
    cellranger.write_h5(tmp_path / "x.h5", screen)
    cellranger.write_mtx(tmp_path / "folder", screen)
    for path in (tmp_path / "x.h5", tmp_path / "folder"):
        with CellFile(path) as file:
            assert list(file.var.index) == cellranger.GENES[3:]
            assert file.guides is not None and list(file.guides.var_names) == cellranger.GUIDES
            assert any("Antibody Capture (3)" in note for note in file.notes)
            block = next(file.counts("X"))
        np.testing.assert_array_equal(block.values.toarray(), SCREEN.counts[:, 3 : len(cellranger.GENES)].toarray())


def test_file_without_guide_features(tmp_path):
    with pytest.raises(InputError, match=naming("x.h5ad", "CRISPR Guide Capture", "--calls")):
        prepared(h5ad(tmp_path / "x.h5ad"), calls="features")


def cell_ranger_2(path, genomes=("GRCh38",)):
    """HDF5 file of version 2, with a group for each genome."""
    columns = SCREEN.counts[:, : len(cellranger.GENES)].T.tocsc()
    parts = {
        "barcodes": np.array(SCREEN.barcodes, "S"),
        "genes": SCREEN.features["id"][: len(cellranger.GENES)].to_numpy("S"),
        "gene_names": np.array(cellranger.GENES, "S"),
        "data": columns.data,
        "indices": columns.indices.astype(np.int64),
        "indptr": columns.indptr.astype(np.int64),
        "shape": np.array(columns.shape, np.int32),
    }
    with h5py.File(path, "w") as file:
        for genome in genomes:
            for name, values in parts.items():
                file[f"{genome}/{name}"] = values
    return path


def test_cell_ranger_2(tmp_path):
    with CellFile(cell_ranger_2(tmp_path / "x.h5")) as file:
        assert list(file.obs.index) == SCREEN.barcodes and list(file.var.index) == cellranger.GENES
        block = next(file.counts("X"))
    np.testing.assert_array_equal(block.values.toarray(), SCREEN.counts[:, : len(cellranger.GENES)].toarray())
    with pytest.raises(InputError, match=naming("y.h5", "GRCh38", "mm10", "scanpy.read_10x_h5")):
        CellFile(cell_ranger_2(tmp_path / "y.h5", ("GRCh38", "mm10")))


def matrix_folder(folder, prefix="", features="features", columns=3, packed=False):
    """Matrix Market as Cell Ranger 2 (`genes`), 3 and STARsolo (not packed) write it."""
    cellranger.write_mtx(folder, SCREEN)
    for file in list(folder.iterdir()):
        name, content = file.name.removesuffix(".gz"), gzip.decompress(file.read_bytes())
        file.unlink()
        if name == "features.tsv":
            name = f"{features}.tsv"
            lines = content.decode().splitlines()
            content = "".join("\t".join(line.split("\t")[:columns]) + "\n" for line in lines).encode()
        (folder / f"{prefix}{name}{'.gz' if packed else ''}").write_bytes(gzip.compress(content) if packed else content)
    return folder


@pytest.mark.parametrize(
    "form",
    [
        {"features": "genes", "columns": 2},
        {},
        {"packed": True, "columns": 2},
        {"prefix": "GSM1_run.2_", "packed": True},
    ],
)
def test_tables_beside_matrix_market(tmp_path, form):
    with CellFile(matrix_folder(tmp_path / "folder", **form)) as file:
        assert list(file.obs.index) == SCREEN.barcodes
        with_types = form.get("columns", 3) > 2
        assert list(file.var.index) == list(SCREEN.features["name"])[: len(cellranger.GENES) if with_types else None]
        assert list(file.var["gene_ids"])[:3] == list(SCREEN.features["id"])[:3]
        assert (file.guides is not None) == with_types
        (block,) = file.counts("X")
    np.testing.assert_array_equal(block.values.toarray(), SCREEN.counts[:, : len(file.var)].toarray())


def test_names_beside_matrix_market_are_text(tmp_path):
    """Genes may be called as what pandas takes for missing, or have quotation marks."""
    folder = matrix_folder(tmp_path / "folder", columns=1)
    names = ["NA", 'A"', "007", *SCREEN.features["id"][3:]]
    (folder / "features.tsv").write_text("\n".join(names) + "\n")
    with CellFile(folder) as file:
        assert list(file.var.index) == names


@pytest.mark.parametrize(("missing", "other"), [("barcodes", "barcodes.tsv.gz"), ("features", "genes.tsv")])
def test_matrix_market_alone(tmp_path, missing, other):
    folder = matrix_folder(tmp_path / "folder")
    (folder / f"{missing}.tsv").unlink()
    with pytest.raises(InputError, match=naming(folder, "matrix.mtx", f"{missing}.tsv", other)):
        CellFile(folder)


def test_tables_of_another_matrix_market(tmp_path):
    folder = matrix_folder(tmp_path / "folder")
    (folder / "barcodes.tsv").write_text("AAAC-1\nAAAG-1\n")
    with pytest.raises(InputError, match=naming("matrix.mtx", "barcodes.tsv", 2, len(SCREEN.barcodes), 136)):
        CellFile(folder)


@pytest.mark.parametrize("name", ["matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz"])
def test_matrix_market_that_is_cut(tmp_path, name):
    folder = matrix_folder(tmp_path / "folder", packed=True)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=naming(folder / name, "cut short")):
        CellFile(folder)


def test_cell_ranger_file_with_wrong_indices(tmp_path):
    """Slices of SciPy would read out of bounds."""
    cellranger.write_h5(tmp_path / "x.h5", SCREEN)
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file["matrix/indices"][5] = 10**6
    with pytest.raises(InputError, match=naming("x.h5", "cut short", "indices")):
        CellFile(tmp_path / "x.h5")


# Columns of tables.


def with_column(path, name, values):
    """Add a column to obs, as it is stored."""
    with h5py.File(path, "r+") as file:
        obs = file["obs"]
        if callable(values):
            values(obs, name)
        else:
            obs[name] = values
        obs.attrs["column-order"] = [*obs.attrs["column-order"], name]
    return path


def encoded(kind, version="0.1.0", **parts):
    """A column that is a group with an encoding."""

    def write(obs, name):
        group = obs.create_group(name)
        group.attrs.update({"encoding-type": kind, "encoding-version": version})
        for part, values in parts.items():
            group[part] = values

    return write


NUMBERS_OF_CELLS = np.arange(50)
TEXT = h5py.string_dtype()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (NUMBERS_OF_CELLS.astype(">i2"), NUMBERS_OF_CELLS),
        (NUMBERS_OF_CELLS.astype(">f8"), NUMBERS_OF_CELLS),
        (NUMBERS_OF_CELLS.astype("f2"), NUMBERS_OF_CELLS),
        (NUMBERS_OF_CELLS.astype("longdouble"), NUMBERS_OF_CELLS),
        (NUMBERS_OF_CELLS > 3, NUMBERS_OF_CELLS > 3),
        (np.array([b"a", b"b"] * 25, "S3"), ["a", "b"] * 25),
    ],
)
def test_columns_of_every_type_can_name_perturbations(tmp_path, values, expected):
    path = with_column(h5ad(tmp_path / "x.h5ad"), "of cells", values)
    with CellFile(path) as file:
        assert list(file.obs["of cells"]) == list(expected)
        assert file.obs["of cells"].nunique() == len(set(expected)) and file.notes == []
    adata, _ = prepared(path)
    assert list(adata.obs["of cells"]) == list(pd.Series(expected, [f"c{i}" for i in range(50)])[adata.obs_names])


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (encoded("unheard-of", values=NUMBERS_OF_CELLS), "unheard-of"),
        (encoded("datetime64", values=NUMBERS_OF_CELLS), "datetime64"),
        (encoded("categorical", "0.2.0", codes=np.full(50, 9), categories=NUMBERS_OF_CELLS[:2]), ""),
        (np.zeros((50, 2)), "(50, 2)"),
        (np.zeros(49), "(49,)"),
        ("one text", "no array"),
        (np.zeros(50, "c16"), "complex"),
        (np.zeros(50, [("a", "f4"), ("b", "i4")]), "values"),
        (np.array([b"ab"] * 50, "V2"), "bytes"),
        (np.array(["\xe9".encode("latin1")] * 50, "S4"), "decode"),
        (lambda obs, name: obs.create_dataset(name, (50,), h5py.vlen_dtype(np.int32)), "values"),
        (lambda obs, name: obs.create_dataset(name, (50,), h5py.ref_dtype), "values"),
        (lambda obs, name: None, "exist"),
    ],
)
def test_column_that_cannot_be_read_is_left_out_and_said(tmp_path, values, reason):
    path = with_column(h5ad(tmp_path / "x.h5ad"), "odd", values)
    adata, report = prepared(path)
    assert set(adata.obs) == {"perturbation", "condition", "ncounts"}
    assert any("'odd'" in note and reason in note for note in report.notes)
    for settings in ({"perturbation_key": "odd"}, {"context_key": "odd"}, {"batch_key": "odd"}, {"target_key": "odd"}):
        with pytest.raises(InputError, match=naming("x.h5ad", "obs['odd']", "cannot be read")):
            prepared(path, **settings)


def test_column_of_genes_that_cannot_be_read(tmp_path):
    path = h5ad(tmp_path / "x.h5ad")
    with h5py.File(path, "r+") as file:
        file["var/symbol"] = np.zeros((30, 2))
        file["var"].attrs["column-order"] = ["symbol"]
    _, report = prepared(path)
    assert any("var" in note and "'symbol'" in note for note in report.notes)
    with pytest.raises(InputError, match=naming("var['symbol']", "(30, 2)")):
        prepared(path, gene_names="symbol")


def nullable(values, kind):
    return pd.array([None, *values[1:]], dtype=kind)


@pytest.mark.parametrize(
    "values",
    [
        nullable([1, 2, 3] * 16 + [4, 5], "Int64"),
        nullable([True, False] * 25, "boolean"),
        pd.Categorical([None, *[1, 2, 3] * 16, 1]),
        pd.Categorical([None, *[1.5, 2.5, 4.0] * 16, 1.5]),
        pd.Categorical([None, True] * 25),
        pd.Categorical(["a", None] * 25, categories=["a", "unused"]),
        pd.Categorical(["a", "b"] * 25, ordered=True),
    ],
)
def test_columns_with_missing_values_and_categories(tmp_path, values):
    adata = ad.read_h5ad(h5ad(tmp_path / "x.h5ad"))
    adata.obs["kept"] = values
    given = adata.obs["kept"]
    mine, report = prepared(h5ad(tmp_path / "x.h5ad", adata))
    assert report.notes == prepared(h5ad(tmp_path / "y.h5ad"))[1].notes
    kept = mine.obs["kept"]
    assert kept.isna().tolist() == given[mine.obs_names].isna().tolist() and kept.notna().any()
    assert kept.dropna().tolist() == given[mine.obs_names].dropna().tolist()


@pytest.mark.parametrize("encoding", ["nullable-string-array", "string-array"])
def test_text_as_new_versions_of_anndata_write_it(tmp_path, encoding):
    labels = np.array(["A", "B", "A+B", "control"] * 13, dtype=TEXT)[:50]
    mask = np.arange(50) == 3
    column = labels if encoding == "string-array" else encoded(encoding, values=labels, mask=mask)
    path = with_column(h5ad(tmp_path / "x.h5ad"), "label", column)
    mine, report = prepared(path, perturbation_key="label")
    assert ("c3" in mine.obs_names) == (encoding == "string-array")
    assert report.no_call == ({} if encoding == "string-array" else {"(no label)": 1})
    assert set(mine.obs["condition"]) == {"A", "B", "A+B", "control"}


def test_factor_of_r_with_missing_codes(tmp_path):
    path = h5ad(tmp_path / "x.h5ad")
    with h5py.File(path, "r+") as file:
        file["obs/perturbation/codes"][:2] = -1
    _, report = prepared(path)
    assert report.no_call == {"(no label)": 2}


def test_names_of_columns_that_clash_or_that_no_file_may_have(tmp_path):
    path = h5ad(tmp_path / "x.h5ad")
    names = ["condition", "ncounts", "context", "source_condition", "a/b", "a_b", "two words", "index", "é"]
    with h5py.File(path, "r+") as file:
        for table, n in (("obs", 50), ("var", 30)):
            file[table].move("_index", "name of its own")
            file[table].attrs["_index"] = "name of its own"
            for number, name in enumerate(["_index", *names]):
                file[table][name] = np.full(n, number)
            file[table].attrs["column-order"] = [*file[table].attrs["column-order"], "_index", *names]
    mine, report = prepared(path)
    renamed = {
        "_index": "source_index",
        "condition": "source_condition_",
        "ncounts": "source_ncounts",
        "a/b": "a_b_",
    }
    for number, name in enumerate(["_index", *names]):
        assert (mine.obs[renamed.get(name, name)] == number).all()
        assert any(f"obs[{name!r}]" in note for note in report.notes) == (name in renamed)
    assert set(mine.var) == {"source_index", "a_b_", *names} - {"a/b"}
    assert any("var['a/b']" in note for note in report.notes)
    assert set(mine.obs["condition"]) == {"A", "B", "A+B", "control"}


def test_context_and_a_column_of_that_name(tmp_path):
    path = with_column(h5ad(tmp_path / "x.h5ad"), "context", np.array(["x"] * 50, dtype=TEXT))
    with_column(path, "line", np.array(["K562", "RPE1"] * 25, dtype=TEXT))
    mine, report = prepared(path, context_key="line", cells_per_perturbation=2)
    assert set(mine.obs["context"]) == {"K562", "RPE1"} and set(mine.obs["source_context"]) == {"x"}
    assert any("obs['source_context']" in note for note in report.notes)
    mine, _ = prepared(path, context_key="context", cells_per_perturbation=2)
    assert set(mine.obs["context"]) == {"x"} and "source_context" not in mine.obs


def test_names_of_columns_of_fixed_length(tmp_path):
    """As R's rhdf5 writes attributes unless told otherwise."""
    path = h5ad(tmp_path / "x.h5ad")
    with h5py.File(path, "r+") as file:
        file["obs"].attrs["column-order"] = np.array([b"perturbation"])
    with CellFile(path) as file:
        assert list(file.obs) == ["perturbation"] and file.notes == []


def test_cells_without_columns(tmp_path):
    path = h5ad(tmp_path / "x.h5ad", ad.AnnData(VALUES))
    with CellFile(path) as file:
        assert file.obs.shape == (50, 0)
    with pytest.raises(InputError, match=naming("x.h5ad", "perturbation", "obs", "none")):
        prepared(path)


# Files that hold something else, or cannot be opened.


def test_layers_that_are_no_matrix_are_left_out_and_said(tmp_path):
    path = h5ad(tmp_path / "x.h5ad")
    with h5py.File(path, "r+") as file:
        layers = file["layers"]
        layers["text"], layers["vector"] = "no numbers", np.zeros(50)
        layers["names"] = np.full(VALUES.shape, "x", dtype=TEXT)
        layers.create_group("table")
        layers["counts"] = VALUES
    with CellFile(path) as file:
        assert file.matrices == ["X", "layers/counts"]
    _, report = prepared(path)
    assert any(all(f"layers/{name}" in note for name in ("names", "table", "text", "vector")) for note in report.notes)


def test_x_that_is_said_not_to_be_there(tmp_path):
    path = h5ad(tmp_path / "x.h5ad")
    with h5py.File(path, "r+") as file:
        del file["X"]
        file["X"] = h5py.Empty("f4")
        file["X"].attrs.update({"encoding-type": "null", "encoding-version": "0.1.0"})
        file["layers/counts"] = VALUES
    with CellFile(path) as file:
        assert file.matrices == ["layers/counts"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["matrix", "row_attrs/Gene", "col_attrs/CellID", "layers/x"], ("loom", "read_loom")),
        (["assays/RNA/counts", "cell.names", "meta.data/x"], ("h5Seurat", "SeuratDisk")),
        (["barcode_idx", "barcodes", "count", "features/id"], ("molecule_info.h5", "filtered_feature_bc_matrix.h5")),
        (["images"], ("obs", "images", ".h5ad")),
    ],
)
def test_hdf5_of_other_programs(tmp_path, names, said):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in names:
            file[name] = np.zeros((3, 2))
    with pytest.raises(InputError, match=naming("x.h5", *said)):
        CellFile(tmp_path / "x.h5")


def elsewhere(code, path):
    """Another process that runs this code once it has imported h5py, says so, and waits."""
    code = f"import h5py, os, sys\n{code}\nprint('done', flush=True)\nsys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"done\n"
    return process


def test_file_that_another_program_writes_to(tmp_path):
    path = h5ad(tmp_path / "x.h5ad")
    with elsewhere("file = h5py.File(sys.argv[1], 'r+')", path) as process:
        with pytest.raises(InputError, match=naming("x.h5ad", "locked", "another program")):
            CellFile(path)
        process.communicate()
    with CellFile(path) as file:
        assert file.matrices == ["X"]


def test_file_that_was_not_closed(tmp_path):
    path = tmp_path / "x.h5ad"
    code = "file = h5py.File(sys.argv[1], 'w', libver='latest'); file['X'] = [1.0]; file.flush()"
    with elsewhere(code, path) as process:
        process.kill()
        process.communicate()
    with pytest.raises(InputError, match=naming("x.h5ad", "closed", "h5clear --status")):
        CellFile(path)


def test_disk_without_locks(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError("Unable to open file (unable to lock file, errno = 37, error message = 'No locks available')")

    path = h5ad(tmp_path / "x.h5ad")
    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(InputError, match=naming("x.h5ad", "HDF5_USE_FILE_LOCKING=FALSE")):
        CellFile(path)


@pytest.mark.parametrize("place", ["obs", "var", "X", "layers", "obs/perturbation", "uns"])
def test_group_whose_names_are_damaged(tmp_path, place):
    """What HDF5 cannot list is damaged, wherever it is."""
    path = h5ad(tmp_path / "x.h5ad")
    with h5py.File(path) as file:
        offset = h5py.h5o.get_info(file[place].id).addr
    with path.open("r+b") as raw:
        raw.seek(offset)
        raw.write(b"\xff" * 16)
    with pytest.raises(InputError, match=naming("x.h5ad")), CellFile(path) as file:
        file.check_column("obs", "perturbation")
        file.other_content("X")
        list(file.counts("X"))


def test_out_of_memory_is_no_damage(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise MemoryError("Unable to allocate 8 EiB")

    path = h5ad(tmp_path / "x.h5ad")
    monkeypatch.setattr("anndata.io.read_elem", refuse)
    with pytest.raises(InputError, match=naming("x.h5ad", "memory", "8 EiB")) as error:
        CellFile(path)
    assert "cut short" not in str(error.value)
