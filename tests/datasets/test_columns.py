"""What columns look like, by their names and values."""

import numpy as np
import pandas as pd
import pytest

from diversity_by_design.datasets.columns import (
    batch_columns,
    context_columns,
    identifiers,
    label_counts,
    perturbation_evidence,
    symbol_columns,
    words,
)

GENES = ["KLF1", "BAK1", "FEV", "HLA-A"]
N = 60


def column(values, name="x", dtype=None) -> pd.Series:
    return pd.Series(np.resize(np.array(values, dtype=object), N), name=name, dtype=dtype)


def of(names) -> pd.DataFrame:
    """A table with a column for each name, of the values given or of three letters."""
    return pd.DataFrame({name: column(values or list("abc")) for name, values in names.items()})


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("sgRNA_ID", {"sgrna", "id"}),
        ("Cell.Line", {"cell", "line"}),
        ("guideIdentity", {"guide", "identity"}),
        ("gemgroup", {"gemgroup"}),
        ("n_counts RNA", {"n", "counts", "rna"}),
        ("", set()),
    ],
)
def test_words_of_a_name(name, found):
    assert words(name) == found


@pytest.mark.parametrize(
    ("values", "name", "evidence"),
    [
        (["control", "KLF1", "BAK1"], "perturbation", ["its name", "labels like control", "labels that are genes"]),
        (["NT", "KLF1", "BAK1"], "x", ["labels like control", "labels that are genes"]),
        (["NT", "KLF1_1", "BAK1_2"], "x", ["labels like control", "labels that are genes"]),
        (["NT", "a", "b", "a_b"], "x", ["labels like control", "combinations of its own labels"]),
        (["a", "b", "c"], "target_gene", ["its name"]),
        ([3, 4, 5], "guide", ["its name"]),
        ([3.0, 4.0, None], "guide", []),
        ([3.0, 4.0, 5.0], "guide", ["its name"]),
        # Numbers without a telling name, fractions, counts, and two values.
        ([3, 4, 5], "leiden", []),
        ([0.1, 0.5, 1.0], "guide", []),
        (["3", "4", "5"], "guide_umi_count", []),
        (["control", "KLF1"], "perturbation", []),
        (["control", "CRISPR interference", "none given"], "genetic_perturbation_strategy", []),
        (["control", "gene", "drug"], "perturbation_type", []),
        (["a", "b", "c"], "x", []),
    ],
)
def test_columns_that_may_name_perturbations(values, name, evidence):
    assert perturbation_evidence(column(values, name).infer_objects(), GENES) == evidence


def test_labels_of_single_cells_say_something_else():
    barcodes = pd.Series([f"AAAC{number}" for number in range(N)], name="barcode")
    assert perturbation_evidence(barcodes, GENES) == []
    assert perturbation_evidence(barcodes.rename("x"), GENES) == []


def test_contexts_and_batches():
    obs = of({
        "perturbation": None, "cell_line": None, "donor_id": None, "Treatment": None, "dose": [1.0, 2.0], "age": None,
        "batch": None, "gem_group": None, "replicate": None, "sample": None, "leiden": None, "n_genes": None,
        "cell_type_ontology_term_id": None, "tissue": ["blood"], "cell_id": list(range(N)),
    })  # fmt: skip
    obs["perturbation"] = column(["A", "B", "C", "D"])
    assert context_columns(obs) == ["cell_line", "donor_id", "Treatment", "dose", "age"]
    # All others but the dose say the same as the donor.
    assert context_columns(obs, ["donor_id", "not there", None]) == ["dose"]
    obs["donor_id"] = column(["x", "y", "x", "y", "y"])
    assert context_columns(obs, ["perturbation", "cell_line"]) == ["donor_id", "dose"]
    assert batch_columns(obs) == ["batch", "gem_group", "replicate", "sample"]


def test_a_column_that_says_the_same_is_no_context():
    obs = of(
        {"perturbation": ["A", "B", "C"], "condition": ["a", "b", "c"], "donor": ["x", "y"], "state": ["a", "b", "b"]}
    )
    assert context_columns(obs, ["perturbation"]) == ["donor", "state"]


def test_symbols_where_names_are_identifiers():
    ensembl = [f"ENSG{number:011d}" for number in range(4)]
    names = {"gene_name": GENES, "gene_type": ["gene"] * 4, "feature_id": ensembl, "n": range(4)}
    for index in (ensembl, [f"ENSMUSG{number:011d}.3" for number in range(4)], list("0123")):
        assert symbol_columns(pd.DataFrame(names, index=index)) == ["gene_name"]
    assert symbol_columns(pd.DataFrame(names, index=["A", "B", "C", "7"])) == []
    missing = pd.DataFrame({"gene_name": pd.Categorical([None, *GENES[1:]])}, index=list("0123"))
    assert symbol_columns(missing) == ["gene_name"]


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["ENSG00000105610", "ENSG00000131711", "KLF1"], "Ensembl identifiers"),
        (["ENSG00000105610.6", "ENSMUSG00000131711.15"], "Ensembl identifiers with versions"),
        (["0", "1", "KLF1"], "numbers"),
        (["7SK", "KLF1", "RP11-34P13.7"], ""),
        ([], ""),
    ],
)
def test_kinds_of_names(names, kind):
    assert identifiers(names) == kind


def test_counts_of_labels():
    assert label_counts(column(["A", "B", None])) == {"A": 20, "B": 20}
    assert label_counts(column([1.0, 2.0]).astype(float)) == {"1": 30, "2": 30}
    assert label_counts(pd.Series(pd.Categorical(["A"] * 3, categories=["A", "B"]))) == {"A": 3}
