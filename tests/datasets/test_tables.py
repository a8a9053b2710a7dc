"""Columns of obs and var of every kind: those that are read, left out, renamed or refused."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from cell_files import TEXT, VALUES, h5ad, prepared
from messages import naming

from diversity_by_design.datasets.reading import CellFile
from diversity_by_design.errors import InputError

pytestmark = pytest.mark.filterwarnings(
    "ignore:zarr v3 autosharding",
    "ignore:Consolidated metadata",
    # Of files that are made without anndata here.
    "ignore::anndata.OldFormatWarning",
)


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
