"""Downloading annotations and ready graphs, where they are found, and the annotations of the demo."""

import functools
import gzip
import io
import re
import runpy
import sys
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from messages import naming

from diversity_by_design.datasets import demo, demo_annotations, gene_ontology, load
from diversity_by_design.datasets.annotations import Annotations, read_annotations, resolve
from diversity_by_design.datasets.gene_ontology import Source, get_gene_ontology, graph_source
from diversity_by_design.errors import InputError
from diversity_by_design.graphs.sources import gene_ontology_graph, read_graph

GET_DATA = Path(__file__).parents[2] / "data" / "gene_ontology" / "get_data.py"
GENE2GO = """\
#tax_id\tGeneID\tGO_ID\tEvidence\tQualifier\tGO_term\tPubMed\tCategory
3702\t814629\tGO:0005634\tISM\tlocated_in\tnucleus\t-\tComponent
9606\t7157\tGO:0006915\tIDA\tinvolved_in\tapoptotic process\t1\tProcess
9606\t7157\tGO:0005634\tIDA\tNOT located_in\tnucleus\t1\tComponent
9606\t401089\tGO:0006915\tIEA\tinvolved_in\tapoptotic process\t-\tProcess
10090\t22059\tGO:0006915\tIDA\tinvolved_in\tapoptotic process\t1\tProcess
"""
REST = "\t-\t1\t1p\ta gene\tprotein-coding\t-\t-\tO\t-\t20250101\t-"
GENE_INFO = f"""\
#tax_id\tGeneID\tSymbol\tLocusTag\tSynonyms\tdbXrefs\tchromosome\tmap_location\tdescription\ttype_of_gene\
\tSymbol_from_nomenclature_authority\tFull_name_from_nomenclature_authority\tNomenclature_status\
\tOther_designations\tModification_date\tFeature_type
9606\t7157\tTP53\t-\tP53|TRP53{REST[2:]}
9606\t401089\tFOXL2NB\t-\tC3orf72|TRP53{REST[2:]}
"""
EDGES = "source,target,importance\nTP53,TP53,1.0\nTP53,MDM2,0.25\n"


def archive(members: dict[str, str], link: str | None = None) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as file:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            file.addfile(info, io.BytesIO(text.encode()))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            file.addfile(info)
    return content.getvalue()


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Folder of a server that has the files where NCBI and the Dataverse have theirs."""
    folder = tmp_path / "published"
    contents = {
        "gene/gene2go.gz": gzip.compress(GENE2GO.encode()),
        "gene/GENE_INFO/Mammalia/Homo_sapiens.gene_info.gz": gzip.compress(GENE_INFO.encode()),
        "files/6934319": archive({"go_essential_all/._x": "", "go_essential_all/go_essential_all.csv": EDGES}),
    }
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    base = f"http://127.0.0.1:{http.server_address[1]}"
    monkeypatch.setattr(gene_ontology, "NCBI", f"{base}/gene")
    monkeypatch.setattr(gene_ontology, "DATAVERSE", f"{base}/files")
    yield folder
    http.shutdown()
    http.server_close()
    thread.join()


def test_annotations_of_ncbi(published, tmp_path, capsys):
    path = get_gene_ontology(tmp_path)
    assert path == tmp_path / "gene_ontology" / "annotations.tsv.gz"
    said = capsys.readouterr().out
    assert "2 genes with 2 annotations, 2 other names (left out: 1 annotations that say NOT; 1 other names" in said
    annotations = read_annotations(path, path.with_name("synonyms.tsv.gz"))
    assert annotations.table.values.tolist() == [["FOXL2NB", "GO:0006915"], ["TP53", "GO:0006915"]]
    assert annotations.synonyms == {"C3orf72": "FOXL2NB", "P53": "TP53"}
    graph = read_graph(path, ["C3orf72", "TP53", "TRP53"])
    assert graph.nodes.tolist() == ["C3orf72", "TP53"] and graph.n_edges == 2


def test_files_are_the_same_whenever_they_are_made(published, tmp_path):
    one, two = (get_gene_ontology(tmp_path / name) for name in ("one", "two"))
    for name in ("annotations.tsv.gz", "synonyms.tsv.gz"):
        assert one.with_name(name).read_bytes() == two.with_name(name).read_bytes()


def test_what_is_there_is_kept_unless_forced(published, tmp_path, capsys):
    path = get_gene_ontology(tmp_path)
    before = path.read_bytes()
    (published / "gene" / "gene2go.gz").write_bytes(gzip.compress(GENE2GO.replace("6915", "6916").encode()))
    get_gene_ontology(tmp_path)
    assert re.search(naming(path, "--force"), capsys.readouterr().out)
    assert path.read_bytes() == before
    get_gene_ontology(tmp_path, force=True)
    assert read_annotations(path).table["go_id"].unique().tolist() == ["GO:0006916"]


def test_edges_of_cell_gears(published, tmp_path):
    path = get_gene_ontology(tmp_path, Source.GEARS)
    assert path == tmp_path / "gene_ontology" / "edges.csv"
    assert path.read_text() == EDGES
    assert sorted(file.name for file in path.parent.iterdir()) == [".lock", "edges.csv", "raw"]
    graph = read_graph(path, ["MDM2", "TP53"])
    assert graph.to_frame().values.tolist() == [["TP53", "MDM2", 0.25]]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (archive({"other.csv": EDGES}), ("go_essential_all/go_essential_all.csv", "other.csv")),
        (archive({}, link="go_essential_all/go_essential_all.csv"), ("go_essential_all.tar.gz",)),
        (
            archive({"go_essential_all/go_essential_all.csv": "a,b\n1,2\n"}),
            ("a", "b", "source", "target", "importance"),
        ),
        (b"no archive", ("go_essential_all.tar.gz", "--force")),
        (archive({"go_essential_all/go_essential_all.csv": EDGES * 1000})[:-60], ("go_essential_all.tar.gz",)),
    ],
)
def test_archives_without_the_edges(published, tmp_path, content, named):
    (published / "files" / "6934319").write_bytes(content)
    with pytest.raises(InputError, match=naming(*named)):
        get_gene_ontology(tmp_path, Source.GEARS)
    assert {path.name for path in (tmp_path / "gene_ontology").iterdir()} == {".lock", "raw"}


def test_offline_says_where_a_file_can_be_put(tmp_path, monkeypatch):
    monkeypatch.setattr(gene_ontology, "NCBI", "http://127.0.0.1:9/gene")
    with pytest.raises(
        InputError, match=naming("http://127.0.0.1:9/gene/gene2go.gz", tmp_path / "gene_ontology/raw/gene2go.gz")
    ):
        get_gene_ontology(tmp_path)
    raw = tmp_path / "gene_ontology" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    (raw / "gene2go.gz").write_bytes(gzip.compress(GENE2GO.encode()))
    (raw / "Homo_sapiens.gene_info.gz").write_bytes(gzip.compress(GENE_INFO.encode()))
    assert get_gene_ontology(tmp_path).exists()


def test_script(published, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DBD_DATA_DIR", str(tmp_path / "data"))

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["get_data.py", *arguments])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(GET_DATA), run_name="__main__")
        return int(end.value.code or 0)

    assert run() == 0
    assert run("--source", "gears", "--force") == 0
    made = {path.name for path in (tmp_path / "data" / "gene_ontology").iterdir()}
    assert made == {"annotations.tsv.gz", "synonyms.tsv.gz", "edges.csv", "raw", ".lock"}
    (published / "files" / "6934319").unlink()
    capsys.readouterr()
    assert run("--source", "gears", "--force") == 2
    assert "error: http://127.0.0.1" in capsys.readouterr().err
    assert run("--source", "other") == 2


def test_the_first_source_there_is(tmp_path):
    assert graph_source(tmp_path, "norman19") is None
    wanted = [tmp_path / name for name in ("gene_ontology/edges.csv", "gene_ontology/annotations.tsv.gz")]
    for path in [*wanted, tmp_path / "norman19" / "annotations.tsv.gz"]:
        path.parent.mkdir(exist_ok=True)
        path.touch()
        assert graph_source(tmp_path, "norman19") == path
    assert graph_source(tmp_path, "replogle22") == wanted[1]


# The demo


def test_demo_annotations_depend_on_the_seed_only():
    one = demo_annotations.demo_annotations(seed=3)
    pd.testing.assert_frame_equal(one, demo_annotations.demo_annotations(seed=3))
    assert not one.equals(demo_annotations.demo_annotations(seed=4))
    first = demo_annotations.demo_annotations(seed=1).head(2)
    assert first.to_numpy().tolist() == [["GENE0001", "DEMO:0012"], ["GENE0001", "DEMO:0028"]]
    assert one.columns.tolist() == ["symbol", "go_id"]
    assert not one.duplicated().any() and one["go_id"].str.fullmatch(r"DEMO:00[0-3]\d").all()
    with pytest.raises(InputError, match=naming("seed", -1)):
        demo_annotations.demo_annotations(seed=-1)


@pytest.fixture(scope="module")
def cells():
    return demo.generate_demo(seed=0)


def test_demo_annotations_are_of_the_modules_that_move(cells, monkeypatch):
    """Without errors in them, genes with a term of activation raise the genes of that module."""
    monkeypatch.setattr(demo_annotations, "_MISSING", 0.0)
    monkeypatch.setattr(demo_annotations, "_WRONG", 0.0)
    table = demo_annotations.demo_annotations(seed=0)
    module = table["go_id"].str.removeprefix("DEMO:").astype(int)
    effects = pd.DataFrame(cells.varm["effects"], cells.var_names, cells.uns["demo"]["effect_labels"])
    members = {number: table["symbol"][module == number] for number in range(1, 13)}
    for first, sign in ((12, 1), (24, -1)):
        of_sign = table[(module > first) & (module <= first + 12)]
        assert len(of_sign) > 20
        # Other modules that the gene moves overlap, hence the mean over genes.
        moved = [effects.loc[members[int(term[-4:]) - first], gene].mean() for gene, term in of_sign.values]
        assert sign * np.mean(moved) > 0.2
    without = effects.columns[(effects == 0).all()]
    assert len(without) == 4
    assert not set(without) & set(table["symbol"][module > 12])


def test_demo_has_neighbours_and_few_genes_without_annotations(cells):
    annotations = Annotations(demo_annotations.demo_annotations(seed=0))
    perturbed = [label for label in cells.uns["demo"]["effect_labels"] if "+" not in label]
    found = resolve(perturbed, annotations)
    missing = sorted(set(perturbed) - set(found))
    assert len(missing) <= 4 < len(found)
    # Only genes whose perturbation does nothing.
    effects = pd.DataFrame(cells.varm["effects"], cells.var_names, cells.uns["demo"]["effect_labels"])
    assert (effects[missing] == 0).all(axis=None)
    graph = gene_ontology_graph(annotations, cells.var_names)
    n_neighbours = pd.Series(graph.nodes[graph.target]).value_counts()
    assert n_neighbours.reindex(list(found)).min() >= 1


def test_demo_annotations_lie_beside_the_demo(tmp_path, monkeypatch, capsys):
    small = demo.DemoParameters(n_singles=4, n_doubles=2, n_rare=1, n_control_cells=80, n_genes=600)
    generate = demo.generate_demo
    monkeypatch.setattr(demo, "generate_demo", lambda seed: generate(seed=seed, parameters=small))
    prepared = load("demo", data_dir=tmp_path, seed=2)
    path = tmp_path / "demo" / "annotations-seed2.tsv.gz"
    assert re.search(naming("synthetic", 2, path), capsys.readouterr().out)
    pd.testing.assert_frame_equal(read_annotations(path).table, demo_annotations.demo_annotations(seed=2))
    assert graph_source(tmp_path, "demo", 2) == path
    made = path.stat().st_mtime_ns
    assert load("demo", data_dir=tmp_path, seed=2) == prepared
    assert path.stat().st_mtime_ns == made
    # A demo that was prepared before it had annotations gets them.
    path.unlink()
    assert load("demo", data_dir=tmp_path, seed=2) == prepared
    assert path.exists()
