"""What inspection says of a file's form, matrices, labels, columns and genes; `test_inputs` tries its commands."""

import json
import re
import shlex
from dataclasses import fields

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from cellranger import make_guide_screen, write_h5, write_outs
from inputs import GENES, N_GENES, cells_of
from messages import naming
from scipy import sparse

from diversity_by_design.datasets import inspection
from diversity_by_design.datasets.inspection import (
    MULTIPLETS,
    REFUSED,
    GeneFacts,
    Inspection,
    MatrixFacts,
    analysis_command,
    inspect_file,
)
from diversity_by_design.datasets.label_facts import LabelFacts
from diversity_by_design.datasets.reading import CellFile
from diversity_by_design.errors import InputError

LABELS = {"control": 30, "KLF1": 20, "BAK1": 20, "KLF1+BAK1": 20, "nan": 5}
# As their classes document them.
FIELDS = {
    Inspection: "path form bytes cells genes matrices perturbations contexts batches columns notes command outcome "
    "to_choose",
    MatrixFacts: "name shape dtype storage smallest largest whole_numbers scale evidence cells_looked_at",
    GeneFacts: "n kind examples duplicates symbols",
    LabelFacts: "source evidence n_labels labels without_label control control_label no_call separator combinations "
    "guide_suffix n_targets",
}


def inspect(adata: ad.AnnData, folder) -> Inspection:
    path = folder / "screen.h5ad"
    adata.write_h5ad(path)
    return inspect_file(path)


def test_all_of_a_file(tmp_path):
    adata = cells_of(LABELS, columns={"cell_line": lambda names: np.resize(["K562", "RPE1"], len(names))})
    adata.layers["log"] = adata.X.log1p()
    found = inspect(adata, tmp_path)
    assert (found.path, found.cells, found.bytes) == (
        str(tmp_path / "screen.h5ad"),
        95,
        (tmp_path / "screen.h5ad").stat().st_size,
    )
    assert found.form.startswith("AnnData in HDF5")
    assert found.genes == GeneFacts(N_GENES, "names or symbols", ("KLF1", "BAK1", "CEBPE"), 0, ())
    x, log = found.matrices
    assert (x.name, x.shape, x.dtype, x.storage, x.whole_numbers) == ("X", (95, N_GENES), "float32", "CSR", True)
    assert (x.smallest, x.largest, x.scale, x.cells_looked_at) == (0, adata.X.max(), "counts", 95)
    assert (log.name, log.scale, log.whole_numbers) == ("layers/log", "log1p", False)
    [facts] = found.perturbations
    assert (facts.source, facts.n_labels, facts.control, facts.no_call) == ("perturbation", 5, ("control",), {"nan": 5})
    assert (facts.separator, facts.combinations) == ("+", ("KLF1+BAK1",))
    assert found.contexts == {"cell_line": {"K562": 48, "RPE1": 47}} and found.batches == {}
    assert found.columns == ("perturbation", "cell_line")
    assert re.search(naming("3 perturbations", 16, "30 control cells"), found.outcome)


def test_json_holds_the_documented_fields(tmp_path):
    found = inspect(cells_of(LABELS), tmp_path)
    for kind, names in FIELDS.items():
        assert [field.name for field in fields(kind)] == names.split()
    told = json.loads(found.to_json())
    assert list(told) == FIELDS[Inspection].split()
    assert [list(told["genes"]), list(told["matrices"][0]), list(told["perturbations"][0])] == [
        FIELDS[kind].split() for kind in (GeneFacts, MatrixFacts, LabelFacts)
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_json_without_numbers_that_json_has_not(tmp_path, value):
    adata = cells_of(LABELS)
    adata.X = adata.X.toarray()
    adata.X[0, 0] = value
    found = inspect(adata, tmp_path)
    told = json.loads(found.to_json(), parse_constant=pytest.fail)
    assert told["matrices"][0]["largest"] is None
    assert REFUSED in found.text() and "raw counts" in found.outcome


def test_text_names_all_and_stays_short(tmp_path):
    labels = {"A" * 1000: 20, "<b>": 20, "control": 20, **{f"GENE{number}": 10 for number in range(20)}}
    text = inspect(cells_of(labels, columns={"guide_id": lambda names: names + "_g1"}), tmp_path).text()
    assert max(map(len, text.splitlines())) < 500
    for said in ("X: CSR float32", "23 labels", "and 15 more", "<b> (20)", "control", "dbd prepare", "guide_id"):
        assert said in text


def test_labels_are_seen_in_text(tmp_path):
    labels = {"control": 20, " A": 20, "B\n": 20, "": 20}
    adata = cells_of(labels, columns={"donor": lambda names: np.resize(["x", "y", None], len(names))})
    text = inspect(adata, tmp_path).text()
    for said in ("' A' (20)", r"'B\n' (20)", "'' (20)", "obs['donor'], 2 values", "26 cells have none"):
        assert said in text


def test_no_count_is_read_but_a_sample(tmp_path, monkeypatch):
    path = tmp_path / "screen.h5ad"
    cells_of(LABELS).write_h5ad(path)
    monkeypatch.setattr(CellFile, "counts", lambda *_: pytest.fail("all counts are read"))
    assert inspect_file(path).matrices[0].scale == "counts"


def test_guides_within_the_matrix_and_beside_it(tmp_path):
    screen = make_guide_screen()
    write_h5(tmp_path / "alone.h5", screen)
    alone = inspect_file(tmp_path / "alone.h5")
    outs = inspect_file(write_outs(tmp_path, screen))
    assert alone.perturbations[0].source == "features"
    assert outs.perturbations[0].source.endswith("crispr_analysis/protospacer_calls_per_cell.csv")
    for found in (alone, outs):
        facts = found.perturbations[0]
        assert facts.control_label == ("NTC_*",) and facts.without_label == 20
        assert len(facts.combinations) == 25 and facts.n_targets == 6
        arguments = shlex.split(found.command)
        assert arguments[3:7] == ["--calls", facts.source, "--control-label", "NTC_*"]


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_few_cells_with_several_guides_are_left_out_and_many_are_combinations(tmp_path, share):
    screen = make_guide_screen()
    outs = write_outs(tmp_path, screen)
    path = outs / "crispr_analysis" / "protospacer_calls_per_cell.csv"
    calls = pd.read_csv(path)
    several, single = calls[calls["num_features"] > 1], calls[calls["num_features"] == 1]
    n_single = int(len(several) * (1 - share) / share)
    pd.concat([several, single[:: max(1, len(single) // n_single)][:n_single]]).to_csv(path, index=False)
    inspection = inspect_file(outs)
    left_out = share < MULTIPLETS
    assert ("--drop-labels '*+*'" in inspection.command) is left_out
    assert any("several guides" in choice for choice in inspection.to_choose) is left_out


def test_calls_that_cannot_be_used_are_said(tmp_path):
    outs = write_outs(tmp_path, make_guide_screen())
    (outs / inspection.CALLS).write_text("cell_barcode,feature_call\n")
    found = inspect_file(outs)
    assert found.perturbations == () and "COLUMN" in found.command
    assert any(re.search(naming("guides", "protospacer_calls_per_cell.csv"), note) for note in found.notes)


def test_targets_come_before_their_guides(tmp_path):
    adata = cells_of(
        {"NTC_1": 20, "NTC_2": 20, "KLF1_1": 20, "KLF1_2": 20, "BAK1_1": 20, "BAK1_2": 20},
        key="guide",
        columns={"gene": lambda names: names.str.split("_").str[0], "condition": "treated"},
    )
    found = inspect(adata, tmp_path)
    assert [facts.source for facts in found.perturbations] == ["gene", "guide"]
    assert any("guide" in choice for choice in found.to_choose)


def test_which_matrix_is_to_be_chosen(tmp_path):
    adata = cells_of(LABELS)
    adata.layers["copy"] = adata.X.copy()
    assert "--matrix" not in inspect(adata, tmp_path).command
    adata.layers["copy"].data[0] += 1
    found = inspect(adata, tmp_path)
    assert "--matrix X" in found.command and any("layers/copy" in choice for choice in found.to_choose)
    adata.X.data += 0.5 * (np.arange(adata.X.nnz) % 2)
    del adata.layers["copy"]
    assert inspect(adata, tmp_path).command.endswith("--round")
    adata.layers["twice"] = adata.X * 1.5
    assert inspect(adata, tmp_path).command.endswith("--matrix X --round")


def test_names_of_genes(tmp_path):
    adata = cells_of(LABELS)
    adata.var = pd.DataFrame({"gene_name": GENES}, index=[f"ENSG{number:011d}.1" for number in range(N_GENES)])
    found = inspect(adata, tmp_path)
    assert (found.genes.kind, found.genes.symbols) == ("Ensembl identifiers with versions", ("gene_name",))
    # Labels are known to be genes by their symbols.
    assert "labels that are genes" in found.perturbations[0].evidence
    adata.var = pd.DataFrame(index=[*GENES[:-2], "KLF1", "KLF1"])
    assert inspect(adata, tmp_path).genes.duplicates == 1


def test_names_of_cells_that_occur_twice(tmp_path):
    adata = cells_of(LABELS)
    adata.obs_names = ["c"] * adata.n_obs
    assert inspect(adata, tmp_path).outcome.startswith(REFUSED)


def test_a_file_without_columns(tmp_path):
    found = inspect(ad.AnnData(sparse.csr_matrix(np.ones((5, 4), np.float32))), tmp_path)
    assert found.perturbations == () and found.outcome == ""
    assert "--perturbation-key COLUMN --control-label LABEL" in found.command
    assert "columns of obs are: none" in found.text()


def test_a_column_called_features(tmp_path):
    found = inspect(cells_of(LABELS, key="features"), tmp_path)
    assert "--perturbation-key features" in found.command


def test_command_of_all_analyses():
    command = "dbd prepare 'my file.h5ad' --control-label 'NT-*' --round"
    assert shlex.split(analysis_command(command)) == [
        *("uv", "run", "analyses/reproduce.py", "--dataset", "my file.h5ad", "--control-label", "NT-*", "--round"),
    ]


def test_no_file(tmp_path):
    with pytest.raises(InputError, match=naming(tmp_path / "none.h5ad")):
        inspect_file(tmp_path / "none.h5ad")
