"""Guides of cells: from tables of calls, from counts of guides, and put to the cells of a matrix."""

import gzip

import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from cellranger import (
    CELLS_PER_GUIDE,
    CELLS_WITHOUT,
    DOUBLE_CELLS,
    GENES,
    GUIDES,
    LEAST,
    make_guide_screen,
    write_outs,
)
from messages import naming
from scipy import sparse

from diversity_by_design.datasets import calls as module
from diversity_by_design.datasets.calls import GuideCalls, calls_of_counts, labels_of, read_calls
from diversity_by_design.errors import InputError

CALLED = "protospacer_calls_per_cell.csv"
ONE = CELLS_PER_GUIDE * len(GUIDES)
HEADER = "cell_barcode,num_features,feature_call,num_umis\n"


@pytest.fixture(scope="module")
def screen():
    return make_guide_screen()


@pytest.fixture(scope="module")
def outs(screen, tmp_path_factory):
    return write_outs(tmp_path_factory.mktemp("cellranger"), screen)


@pytest.fixture
def read(tmp_path):
    """Reads a table with this content, text or bytes."""

    def read_table(content: str | bytes, name: str = "calls.csv", **options: str) -> GuideCalls:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_calls(path, **options)

    return read_table


def made(labels: dict[str, str], separator: str = "+") -> GuideCalls:
    return GuideCalls(pd.Series(labels, dtype=object), separator, {}, ())


def test_scanpy_reads_the_folder_of_the_tests(screen, outs):
    folder = sc.read_10x_mtx(outs / "filtered_feature_bc_matrix", gex_only=False)
    file = sc.read_10x_h5(outs / "filtered_feature_bc_matrix.h5", gex_only=False)
    for adata in (folder, file):
        assert adata.var_names.tolist() == GENES + GUIDES
        assert adata.obs_names.tolist() == screen.barcodes
        assert adata.var["feature_types"].tolist() == screen.features["feature_type"].tolist()
        np.testing.assert_array_equal(adata.X.toarray(), screen.counts.toarray())
    assert sc.read_10x_h5(outs / "filtered_feature_bc_matrix.h5").var_names.tolist() == GENES


def test_layout_of_the_tests_is_that_of_a_real_file(outs, shared_data):
    def layout(path) -> dict[str, str]:
        found = {}
        with h5py.File(path) as file:
            file.visititems(lambda name, node: found.update({name: getattr(node, "dtype", np.dtype("V")).kind}))
            return found | {f"attribute {name}": "" for name in file.attrs}

    ours = layout(outs / "filtered_feature_bc_matrix.h5")
    real = layout(shared_data / "real" / "10x_3.0.0_filtered_feature_bc_matrix.h5")
    # That one is of genes only.
    assert ours.keys() - real.keys() == {f"matrix/features/{name}" for name in ("pattern", "read", "sequence")}
    assert ours | real == ours


def test_calls_of_cell_ranger(screen, outs):
    calls = read_calls(outs / "crispr_analysis" / CALLED)
    assert calls.separator == "+"
    assert calls.labels.to_dict() == {cell: "+".join(sorted(guides)) for cell, guides in screen.guides.items()}
    assert calls.targets == {}
    assert "Cell Ranger" in calls.notes[0]


def test_counts_and_table_of_one_screen_agree(screen, outs):
    table = read_calls(outs / "crispr_analysis" / CALLED)
    counts = calls_of_counts(screen.guide_counts, pd.Index(screen.barcodes), pd.Index(GUIDES), LEAST, screen.targets)
    assert counts.labels.to_dict() == table.labels.to_dict()
    assert counts.labels.index.tolist() == [cell for cell in screen.barcodes if cell in screen.guides]
    assert counts.targets == screen.targets
    for calls in (table, counts):
        labels, notes = labels_of(calls, pd.Index(screen.barcodes), "screen")
        assert labels.index.tolist() == screen.barcodes
        expected = ["+".join(screen.guides.get(cell, ())) or None for cell in screen.barcodes]
        assert labels.tolist() == expected
        assert notes == [
            f"screen: cells with one guide: {ONE}, with several: {DOUBLE_CELLS}, with none: {CELLS_WITHOUT}"
        ]


def test_cells_without_guides_in_cell_ranger_s_table(read):
    calls = read(HEADER + "A-1,1,None,5\nB-1,0,None,0\nC-1,2,b|a,7\n")
    assert calls.labels.to_dict() == {"A-1": "None", "C-1": "a+b"}
    assert "rows without a guide, which are no calls: 1" in calls.notes


@pytest.mark.parametrize("row", ["B-1,1,g|1,7", "B-1,3,g|1,7", "B-1,two,g|1,7", "B-1,,g|1,7", "B-1,-2,g|1,7"])
def test_number_of_guides_must_be_that_of_the_names(read, row):
    with pytest.raises(InputError, match=naming("line 3", "num_features", "g|1", 2)):
        read(HEADER + f"A-1,1,g1,5\n{row}\n")


def test_real_calls_of_replogle(shared_data):
    path = shared_data / "real" / "replogle_guide_calling_cell_identities.csv"
    calls = read_calls(path)
    table = pd.read_csv(path)
    assert len(calls.labels) == table["cell_barcode"].nunique() == 8097
    assert calls.labels["AAACGAACAAGGACAC-1"] == "sgDDOST+sgIER3IP1+sgNegCtrl3"
    assert calls.labels.str.split("+").str.len().sum() == len(table)
    assert (calls.labels == "sgNegCtrl3").sum() == (
        table.drop_duplicates("cell_barcode", keep=False)["guide_identity"].eq("sgNegCtrl3").sum()
    )


def test_rows_without_good_coverage_are_no_calls(read):
    header = "cell_barcode,guide_identity,read_count,UMI_count,coverage,gemgroup,good_coverage,number_of_cells\n"
    rows = [("A-1", "g1", "True"), ("A-1", "g2", "False"), ("B-1", "g1", "FALSE"), ("C-1", "g2", "TRUE")]
    table = header + "".join(f"{cell},{guide},9,5,2.5,1,{good},1.0\n" for cell, guide, good in rows)
    calls = read(table)
    assert calls.labels.to_dict() == {"A-1": "g1", "C-1": "g2"}
    assert "rows whose good_coverage is false, which are no calls: 2" in calls.notes
    with pytest.raises(InputError, match=naming("line 3", "good_coverage", "maybe")):
        read(table.replace("False", "maybe"))


@pytest.mark.parametrize(
    ("header", "separator"),
    [
        ("cell_barcode,guide", ","),
        ("Barcode\tsgRNA_ID", "\t"),
        ("CELL;gRNA", ";"),
        ('"cell.name","Guide ID"', ","),
        (",perturbation", ","),
        ("Unnamed: 0;gene", ";"),
        ("guide,cell", ","),
    ],
)
@pytest.mark.parametrize(
    "encode",
    [
        str.encode,
        lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
        lambda text: gzip.compress(text.encode()),
        lambda text: text.rstrip().encode(),
        lambda text: f"{text}\n\n".encode(),
    ],
    ids=["plain", "windows", "gzip", "no line end", "empty lines"],
)
def test_tables_of_one_row_per_cell_and_guide(read, header, separator, encode):
    columns = [name.strip('"').lower() for name in header.split(separator)]
    turn = -1 if columns[-1] == "cell" else 1
    rows = [("A-1", "007"), ("B-1", '"g2"'), ("A-1", "NA"), ("C-1", '"é, 1; a\t"'), ("B-1", " g2 ")]
    text = header + "\n" + "".join(separator.join(row[::turn]) + "\n" for row in rows)
    calls = read(encode(text), "calls.txt")
    assert calls.labels.to_dict() == {"A-1": "007+NA", "B-1": "g2", "C-1": "é, 1; a"}
    assert "repeated calls of a guide in a cell, counted once: 1" in calls.notes


def test_names_of_rows_that_r_writes(read):
    table = '"guide" "umis"\n"A-1" "g1" 5\n"B-1" "g2" NA\n'.replace(" ", "\t")
    assert read(table).labels.to_dict() == {"A-1": "g1", "B-1": "g2"}
    numbered = table.replace('"A', '1\t"A').replace('"B', '2\t"B').replace('"guide', '"cell"\t"guide')
    assert read(numbered).labels.to_dict() == {"A-1": "g1", "B-1": "g2"}


def test_rows_that_lack_a_cell_or_a_guide_are_counted(read):
    calls = read("cell,guide\nA,g1\n,g1\nB\nC,\n \t,g2\n")
    assert calls.labels.to_dict() == {"A": "g1"}
    assert "rows without the name of a cell, which are no calls: 2" in calls.notes
    assert "rows without a guide, which are no calls: 2" in calls.notes
    with pytest.raises(InputError, match=naming("calls.csv", "no calls", 1)):
        read("cell,guide\nB,\n")


@pytest.mark.parametrize(
    ("guides", "separator"),
    [
        (["a", "b"], "+"),
        (["a+1", "b"], "|"),
        (["a+|1", "b"], ";"),
        (["a+|;&", "b"], " & "),
        # Joined by " & ", its end could not be told from the separator.
        (["a+|; &", "b"], ","),
    ],
)
def test_separator_is_part_of_no_name(read, guides, separator):
    table = "cell\tguide\n" + "".join(
        f"{cell}\t{guide}\n" for cell, guide in zip("AAB", [*guides, guides[0]], strict=True)
    )
    calls = read(table)
    assert calls.separator == separator
    assert calls.labels["A"].split(separator) == guides
    assert calls.labels["B"] == guides[0]


def test_a_name_that_holds_every_separator(read):
    with pytest.raises(InputError, match=naming("rename", "+", "@")):
        read(f"cell\tguide\nA\t{' '.join(module.SEPARATORS)} & x\n")


def test_columns_are_chosen_by_name(read):
    table = "cell,sgRNA,gene,other\nA,g1,X,1\nA,g2,Y,2\nB,g3,,1\n"
    calls = read(table, guide_column="sgRNA", target_column="gene")
    assert calls.labels.to_dict() == {"A": "g1+g2", "B": "g3"}
    assert calls.targets == {"g1": "X", "g2": "Y"}
    assert "guides without a target: 1 of 3 (g3)" in calls.notes
    assert read(table, guide_column="other").labels.to_dict() == {"A": "1+2", "B": "1"}
    # A column of targets is none of guides.
    assert read(table, target_column="gene").labels.to_dict() == {"A": "g1+g2", "B": "g3"}
    assert read(table, guide_column="gene").labels.to_dict() == {"A": "X+Y"}


@pytest.mark.parametrize(
    ("table", "options", "names"),
    [
        ("cell,sgRNA,gene\nA,g1,X\n", {}, ("sgRNA", "gene", "--perturbation-key")),
        ("cell,spacer,n\nA,g1,X\n", {}, ("cell", "spacer", "n", "--perturbation-key")),
        ("cell,guide\nA,g1\n", {"guide_column": "Guide"}, ("'Guide'", "guide", "--perturbation-key")),
        ("cell,guide,guide\nA,g1,g2\n", {"guide_column": "guide"}, ("guide, guide", "--perturbation-key")),
        ("cell,guide\nA,g1\n", {"target_column": "gene"}, ("'gene'", "guide", "--target-key")),
        ("sample,guide\nA,g1\n", {}, ("sample", "guide", "cell_barcode")),
        ("cell,barcode,guide\nA,A,g1\n", {}, ("cell", "barcode", "cell_barcode")),
        ("cell guide\nA g1\n", {}, ("cell guide", "commas", "--perturbation-key")),
    ],
)
def test_columns_that_are_missing_or_ambiguous(read, table, options, names):
    with pytest.raises(InputError, match=naming("calls.csv", *names)):
        read(table, **options)


@pytest.mark.parametrize("header", ["cell,g1,g2,g3", "guide,A-1,B-1,C-1", ",A,B,C"])
def test_a_table_of_counts_is_refused(read, header):
    with pytest.raises(InputError, match=naming("counts", "one row per cell and guide", 3)):
        read(f"{header}\na,0,1.0,2\nb,1,0,0\n")


def test_a_guide_of_two_targets_is_refused(read):
    with pytest.raises(InputError, match=naming("'g2'", "Y", "Z", "gene", 1)):
        read("cell,guide,gene\nA,g1,X\nB,g1,X\nC,g2,Z\nA,g2,Y\n", target_column="gene")


def test_targets_in_cell_ranger_s_table(read):
    header = HEADER.replace("num_umis", "num_umis,gene")
    calls = read(header + "A-1,2,g2|g1,5|7,Y|X\nB-1,1,g1,5,X\nC-1,0,None,0,None\n", target_column="gene")
    assert calls.targets == {"g1": "X", "g2": "Y"}
    with pytest.raises(InputError, match=naming("line 2", "num_features", "'Y'", 2)):
        read(header + "A-1,2,g2|g1,5|7,Y\n", target_column="gene")


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"", ("empty",)),
        (b"\n \n", ("empty",)),
        (b"cell,guide\n", ("one line",)),
        (gzip.compress(b""), ("empty",)),
        (b"PK\x03\x04\x14\x00", ("Excel", "CSV")),
        (b"PAR1\x15\x04", ("parquet", "CSV")),
        (b"\x89HDF\r\n\x1a\n\x00", ("HDF5", "CSV")),
        (gzip.compress(b"X\n\x00\x00\x00\x03"), ("binary", "CSV")),
        ("cell,guide\nA,é\n".encode("latin-1"), ("UTF-8",)),
        ("cell,guide\nA,g1\n".encode("utf-16"), ("UTF-16", "UTF-8")),
        (gzip.compress(b"cell,guide\nA,g1\n")[:-9], ("end-of-stream",)),
        (b'cell,guide\nA,"g1\nB,g2\n', ("EOF inside string",)),
    ],
)
def test_files_that_are_no_tables(read, content, names):
    with pytest.raises(InputError, match=naming("calls.csv", *names)) as error:
        read(content)
    assert "\n" not in str(error.value)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match=naming("no file", "none.csv")):
        read_calls(tmp_path / "none.csv")
    with pytest.raises(InputError, match="folder"):
        read_calls(tmp_path)


@pytest.mark.parametrize("extra", [1, 2])
def test_a_line_with_too_many_fields_is_named(read, monkeypatch, extra):
    monkeypatch.setattr(module, "_ROWS", 2)
    good = "cell,guide\n" + "A,g1\n" * 200
    assert read(good.replace("g1\n", "g1,,\n")).labels.to_dict() == {"A": "g1"}
    for lines in (3, 4, 120, 121):
        with pytest.raises(InputError, match=f"line {lines + 2}\\b"):
            read(good[: 11 + 5 * lines] + "B,g2" + ",7" * extra + "\n" + good[11 + 5 * lines :])


def test_blocks_of_rows_make_one_table(read, monkeypatch):
    table = "cell,guide,good_coverage\n" + "".join(f"c{i % 7},g{i % 3},{i != 3}\n" for i in range(20))
    whole = read(table)
    monkeypatch.setattr(module, "_ROWS", 3)
    parts = read(table)
    pd.testing.assert_series_equal(parts.labels, whole.labels)
    assert parts.notes == whole.notes


@pytest.mark.parametrize(
    "kind", [np.asarray, sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix, lambda x: x.astype(np.float32)]
)
def test_calls_of_counts(kind):
    counts = kind(np.array([[5, 0, 4], [0, 0, 0], [9, 0, 6], [4, 4, 4], [0, 0, 7]]))
    cells, guides = pd.Index(list("vwxyz")), pd.Index(["g2", "g3", "g1"])
    calls = calls_of_counts(counts, cells, guides, 5, {"g1": "X", "g2": "Y", "other": "Z"})
    assert calls.labels.to_dict() == {"v": "g2", "x": "g1+g2", "z": "g1"}
    assert calls.targets == {"g1": "X", "g2": "Y"}
    assert "guides that are in no cell: 1 of 3 (g3)" in calls.notes
    assert "guides without a target: 1 of 3 (g3)" in calls.notes
    assert calls_of_counts(counts, cells, guides, 9).labels.to_dict() == {"x": "g2"}
    with pytest.raises(InputError, match=naming(10, "the most is 9")):
        calls_of_counts(counts, cells, guides, 10)


def test_more_pairs_of_cells_and_guides_than_32_bits_count():
    shape = (70_000, 40_000)
    counts = sparse.csr_matrix(([9, 9, 9], ([1, 69_999, 69_999], [2, 39_998, 39_999])), shape=shape)
    calls = calls_of_counts(counts, pd.RangeIndex(shape[0]).astype(str), pd.RangeIndex(shape[1]).astype(str), 5)
    assert counts.indices.dtype == np.int32
    assert calls.labels.to_dict() == {"1": "2", "69999": "39998+39999"}


def test_counts_that_do_not_fit():
    counts, cells, guides = np.full((2, 2), 9), pd.Index(["a", "b"]), pd.Index(["g", "h"])
    with pytest.raises(InputError, match=naming("(2, 2)", 1)):
        calls_of_counts(counts, cells, guides[:1], 5)
    with pytest.raises(InputError, match=naming("guide", "g")):
        calls_of_counts(counts, cells, guides[[0, 0]], 5)
    with pytest.raises(InputError, match=naming("cell", "a")):
        calls_of_counts(counts, cells[[0, 0]], guides, 5)
    for least in (0, 2.5, "5"):
        with pytest.raises(InputError, match=naming(repr(least), 1)):
            calls_of_counts(counts, cells, guides, least)


def test_labels_of_cells_that_are_in_both():
    calls = made({"A-1": "g1", "B-1": "g1+g2", "C-1": "g2"})
    labels, notes = labels_of(calls, pd.Index(["X-1", "B-1", "A-1"]), "counts.h5")
    assert labels.tolist() == [None, "g1+g2", "g1"]
    assert labels.index.tolist() == ["X-1", "B-1", "A-1"]
    assert notes == [
        "counts.h5: cells of the guide calls that are not in it: 1 of 3",
        "counts.h5: cells with one guide: 1, with several: 1, with none: 1",
    ]


@pytest.mark.parametrize(
    ("called", "cells"),
    [("A B", "A-1 X-1 B-1"), ("A-1 B-1", "A X B"), ("A-1 B-1", "A-1-0 X-1-0 B-1-1"), ("A_12 B_3", "A X B")],
)
def test_an_ending_of_one_side_is_overlooked(called, cells):
    called, cells = called.split(), pd.Index(cells.split())
    labels, notes = labels_of(made(dict(zip(called, ["g1", "g2"], strict=True))), cells, "counts.h5")
    assert labels.tolist() == ["g1", None, "g2"]
    assert labels.index.equals(cells)
    assert f"'{cells[0]}', which is '{called[0]}'" in notes[0]


@pytest.mark.parametrize(
    ("called", "cells", "names"),
    [
        # Of two samples, so that it is not clear which cell is meant.
        ("ACGTACGT ACGTACGA", "ACGTACGT-1 ACGTACGT-2 ACGTACGA-1", ("2 have", "'ACGTACGT' and 'ACGTACGT-1'")),
        ("ACGTACGT-1 ACGTACGT-2", "ACGTACGT ACGTACGA", ("2 have", "'ACGTACGT-1' and 'ACGTACGT'")),
        # Few barcodes are shared by chance.
        ("ACGTACGT ACGTACGA", "ACGTACGT-1 TTTTTTTT-1", ("1 have", "'ACGTACGT' and 'ACGTACGT-1'")),
        ("ACGTACGT-1", "ACGTACGT-2", ("'ACGTACGT-1' and 'ACGTACGT-2'",)),
        ("ACGTACGT-1", "S1_ACGTACGT-1", ("'ACGTACGT-1' and 'S1_ACGTACGT-1'",)),
        ("cell7", "Cell7", ("'cell7' and 'Cell7'",)),
        ("c1 c2 c3 c4", "x1 x2 x3 x4", ("'x1', 'x2', 'x3';", "'c1', 'c2', 'c3';", "same sample")),
    ],
)
def test_cells_that_do_not_match(called, cells, names):
    calls = made(dict.fromkeys(called.split(), "g1"))
    with pytest.raises(InputError, match=naming("counts.h5", len(calls.labels), *names)):
        labels_of(calls, pd.Index(cells.split()), "counts.h5")
