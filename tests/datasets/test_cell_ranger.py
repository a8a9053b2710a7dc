"""Cell Ranger's files, and Matrix Market with any tables, from guides to conditions."""

import gzip
import shutil
from dataclasses import replace

import anndata as ad
import cellranger
import h5py
import numpy as np
import pandas as pd
import pytest
from cell_files import h5ad, prepared
from messages import naming

from diversity_by_design.datasets.prepare import PreparationSettings, prepare
from diversity_by_design.datasets.reading import CellFile
from diversity_by_design.errors import InputError

pytestmark = pytest.mark.filterwarnings(
    "ignore:zarr v3 autosharding",
    "ignore:Consolidated metadata",
    # Of files that are made without anndata here.
    "ignore::anndata.OldFormatWarning",
)

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
