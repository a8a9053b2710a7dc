"""Annotations: the accepted files, what is left out of them, and names of genes."""

import gzip
import re

import pandas as pd
import pytest
from messages import naming

from diversity_by_design.datasets.annotations import Annotations, read_annotations, resolve, write_table
from diversity_by_design.errors import InputError

GENE2GO = """\
#tax_id\tGeneID\tGO_ID\tEvidence\tQualifier\tGO_term\tPubMed\tCategory
3702\t1\tGO:0000001\tIEA\tlocated_in\tnucleus\t-\tComponent
9606\t1\tGO:0000001\tIEA\tlocated_in\tnucleus\t-\tComponent
9606\t1\tGO:0000001\tIDA\tis_active_in\tnucleus\t123|456\tComponent
9606\t1\tGO:0000002\tIDA\tenables\t5"-exonuclease\t-\tFunction
9606\t2\tGO:0000001\tIDA\tNOT located_in\tnucleus\t-\tComponent
9606\t2\tGO:0000003\tIDA\tNOT|enables\tbinding\t-\tFunction
9606\t2\tGO:0000004\tIDA\tenables\t3" end binding\t-\tFunction
9606\t99\tGO:0000004\tIDA\tenables\tbinding\t-\tFunction
10090\t7\tGO:0000001\tIEA\tlocated_in\tnucleus\t-\tComponent
"""
GENE_INFO_COLUMNS = [
    *("#tax_id", "GeneID", "Symbol", "LocusTag", "Synonyms", "dbXrefs", "chromosome", "map_location", "description"),
    *("type_of_gene", "Symbol_from_nomenclature_authority", "Full_name_from_nomenclature_authority"),
    *("Nomenclature_status", "Other_designations", "Modification_date", "Feature_type"),
]


def gene_info(*genes: tuple[int, str, str]) -> str:
    rows = [["9606", str(number), symbol, "-", others, *['a "name'] * 11] for number, symbol, others in genes]
    return "\n".join("\t".join(row) for row in [GENE_INFO_COLUMNS, *rows]) + "\n"


INFO = gene_info((1, "NA", "OLD|SHARED|TP53"), (2, "TP53", "P53|SHARED|P53"), (3, "BARE", "-"), (4, "DRY", "OTHER"))


@pytest.fixture
def ncbi(tmp_path):
    """Files as NCBI has them."""
    paths = tmp_path / "gene2go.gz", tmp_path / "Homo_sapiens.gene_info.gz"
    for path, text in zip(paths, (GENE2GO, INFO), strict=True):
        path.write_bytes(gzip.compress(text.encode()))
    return paths


def pairs(annotations: Annotations) -> list[tuple[str, str]]:
    return list(annotations.table.itertuples(index=False, name=None))


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.tsv", "\t"), ("a.tsv.gz", "\t")])
def test_table_of_symbols_and_terms(tmp_path, name, separator):
    rows = ["go_id evidence symbol propagated", "GO:2 IEA NA 0", "GO:1 IEA NA 0", "GO:1 IDA NA 0", "GO:9 IEA NA 1"]
    text = "\n".join(row.replace(" ", separator) for row in rows) + "\n"
    content = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    annotations = read_annotations(tmp_path / name)
    assert pairs(annotations) == [("NA", "GO:1"), ("NA", "GO:2")]
    assert annotations.symbols.tolist() == ["NA"]
    assert annotations.left_out["annotations propagated from more special terms"] == 1
    assert re.search(naming("1 genes", "2 annotations", "1 annotations propagated"), annotations.text())


def test_rows_without_a_symbol_or_a_term_are_counted(tmp_path):
    (tmp_path / "a.csv").write_text("symbol,go_id\nA,GO:1\n,GO:1\nB, \n")
    annotations = read_annotations(tmp_path / "a.csv")
    assert pairs(annotations) == [("A", "GO:1")]
    assert annotations.left_out["rows without a symbol or a term"] == 2


def test_gene2go_with_gene_info(ncbi):
    annotations = read_annotations(*ncbi)
    assert pairs(annotations) == [("NA", "GO:0000001"), ("NA", "GO:0000002"), ("TP53", "GO:0000004")]
    assert annotations.left_out["annotations that say NOT"] == 2
    assert annotations.left_out["annotations of genes that gene_info does not name"] == 1
    # SHARED stands for two genes, and TP53 for the gene that is called so.
    assert annotations.synonyms == {"OLD": "NA", "P53": "TP53", "OTHER": "DRY"}
    assert annotations.left_out["other names that stand for several genes"] == 2


def test_gene2go_of_another_organism(ncbi, tmp_path):
    with pytest.raises(InputError, match=naming("Homo_sapiens.gene_info.gz", 10090)):
        read_annotations(*ncbi, tax_id=10090)
    mouse = tmp_path / "mouse.gene_info"
    mouse.write_text(gene_info((7, "Trp53", "-")).replace("9606", "10090"))
    assert pairs(read_annotations(ncbi[0], mouse, tax_id=10090)) == [("Trp53", "GO:0000001")]
    mouse.write_text(gene_info((7, "Trp53", "-")).replace("9606", "7227"))
    with pytest.raises(InputError, match=naming("gene2go.gz", 7227)):
        read_annotations(ncbi[0], mouse, tax_id=7227)


def test_gene2go_needs_gene_info(ncbi, tmp_path):
    with pytest.raises(InputError, match=naming("gene2go.gz", "gene_info")):
        read_annotations(ncbi[0])
    (tmp_path / "synonyms.csv").write_text("synonym,symbol\nP53,TP53\n")
    with pytest.raises(InputError, match=naming("gene2go.gz", "gene_info")):
        read_annotations(ncbi[0], tmp_path / "synonyms.csv")


def test_other_names_from_a_table(tmp_path, ncbi):
    (tmp_path / "a.csv").write_text("symbol,go_id\nTP53,GO:1\nDRY,GO:1\n")
    (tmp_path / "s.tsv").write_text("symbol\tsynonym\nTP53\tP53\nTP53\tBOTH\nDRY\tBOTH\nDRY\tTP53\nBARE\tB\n")
    annotations = read_annotations(tmp_path / "a.csv", tmp_path / "s.tsv")
    assert annotations.synonyms == {"P53": "TP53", "B": "BARE"}
    assert annotations.left_out["other names that stand for several genes"] == 2
    # gene_info serves a plain table too.
    assert read_annotations(tmp_path / "a.csv", ncbi[1]).synonyms["OTHER"] == "DRY"


def test_names_are_resolved_or_listed():
    table = pd.DataFrame({"symbol": ["TP53", "MYC"], "go_id": "GO:1"})
    annotations = Annotations(table, {"P53": "TP53", "OLD": "BARE", "MYC": "TP53"})
    # The gene that OLD stands for has no annotation.
    found = resolve(["P53", "MYC", "OLD", "tp53", "TP53"], annotations)
    assert found == {"P53": "TP53", "MYC": "MYC", "TP53": "TP53"}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"gene,term\nA,GO:1\n", ("a.csv", "gene", "term", "symbol", "go_id", "#tax_id")),
        (b"", ("a.csv", "none")),
        (b"symbol,go_id\n", ("a.csv", "nothing")),
        (b"symbol,go_id,propagated\nA,GO:1,1\n", ("a.csv", 1, "propagated")),
        (b"\xff\xfe\x00", ("a.csv",)),
    ],
)
def test_files_that_hold_no_annotations(tmp_path, content, named):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError, match=naming(*named)):
        read_annotations(tmp_path / "a.csv")


def test_damaged_missing_and_wrong_files(tmp_path, ncbi):
    gene2go, info = ncbi
    whole = gene2go.read_bytes()
    for damaged in (whole[:-20], b"not compressed"):
        gene2go.write_bytes(damaged)
        with pytest.raises(InputError, match=naming("gene2go.gz", "damaged")):
            read_annotations(gene2go, info)
    with pytest.raises(InputError, match=naming("other.csv")):
        read_annotations(tmp_path / "other.csv")
    with pytest.raises(InputError, match=naming(tmp_path, "folder")):
        read_annotations(tmp_path)
    gene2go.write_bytes(whole)
    with pytest.raises(InputError, match=naming("synonym", "symbol", "#tax_id", "GeneID", "Symbol")):
        read_annotations(gene2go, gene2go)


def test_a_table_without_terms_is_no_annotation():
    with pytest.raises(InputError, match=naming("go_id", "symbol")):
        Annotations(pd.DataFrame({"symbol": ["A"]}))


def test_equal_tables_give_equal_files(tmp_path):
    table = pd.DataFrame({"symbol": ["NA", "B"], "go_id": ["GO:1", "GO:2"]})
    assert write_table(tmp_path / "one.tsv.gz", table)
    assert write_table(tmp_path / "folder" / "two.tsv.gz", table)
    assert not write_table(tmp_path / "one.tsv.gz", table)
    content = (tmp_path / "one.tsv.gz").read_bytes()
    assert content == (tmp_path / "folder" / "two.tsv.gz").read_bytes()
    # Neither a time nor a name in the head of the file.
    assert content[3:8] == bytes(5)
    pd.testing.assert_frame_equal(
        read_annotations(tmp_path / "one.tsv.gz").table, table.sort_values("symbol", ignore_index=True)
    )


def test_perturbed_genes_of_real_data(shared_data):
    import h5py

    with h5py.File(shared_data / "norman19_semi_synthetic.h5ad") as file:
        labels = file["obs/perturbation/categories"].asstr()[:]
    genes = sorted({gene for label in labels if label != "control" for gene in label.split("+")})
    annotations = read_annotations(shared_data / "gene2go_human.tsv.gz")
    missing = set(genes) - set(resolve(genes, annotations))
    assert sorted(missing) == ["C19orf26", "C3orf72", "ELMSAN1", "IER5L", "KIAA1804"]
    # Their symbols of today, with which gene_info resolves four of them.
    renamed = {"C19orf26": "CBARP", "C3orf72": "FOXL2NB", "ELMSAN1": "MIDEAS", "KIAA1804": "MAP3K21"}
    assert set(genes) - set(resolve(genes, Annotations(annotations.table, renamed))) == {"IER5L"}
