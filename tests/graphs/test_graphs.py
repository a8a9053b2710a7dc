"""The graphs of GEARS: against plain Python and numpy, ties, what is left out, bad input."""

import numpy as np
import pandas as pd
import pytest
from messages import naming
from scipy import sparse

from diversity_by_design.datasets.annotations import Annotations, read_annotations, write_table
from diversity_by_design.errors import InputError
from diversity_by_design.graphs.coexpression import coexpression_graph
from diversity_by_design.graphs.graph import Graph
from diversity_by_design.graphs.sources import gene_ontology_graph, read_graph

GENES = ["A", "B", "C", "D"]


def edges(graph: Graph) -> dict[tuple[str, str], float]:
    frame = graph.to_frame()
    return dict(zip(zip(frame["source"], frame["target"], strict=True), frame["importance"], strict=True))


def annotated(terms: dict[str, set[str]], synonyms: dict[str, str] | None = None) -> Annotations:
    pairs = [(gene, term) for gene, own in terms.items() for term in own]
    return Annotations(pd.DataFrame(pairs, columns=["symbol", "go_id"]), synonyms or {})


def random_terms(seed: int, n_genes: int, n_terms: int = 60) -> dict[str, set[str]]:
    """Terms of genes; few enough that many Jaccard indices are equal."""
    rng = np.random.default_rng(seed)
    chance = rng.beta(0.3, 3, n_terms)
    terms = {f"G{i:03d}": {f"T{t}" for t in np.flatnonzero(rng.random(n_terms) < chance)} for i in range(n_genes)}
    return {gene: own or {"T0"} for gene, own in terms.items()}


# The graph itself


def test_table_and_file_of_a_graph(tmp_path):
    graph = Graph(pd.Index(GENES), [0, 1, 3], [1, 0, 2], np.array([0.1, 0.1, 2.0]))
    assert graph.n_edges == 3
    assert edges(graph) == {("A", "B"): np.float32(0.1), ("B", "A"): np.float32(0.1), ("D", "C"): 2.0}
    assert (graph.source.dtype, graph.weight.dtype) == (np.int64, np.float32)
    graph.to_frame().to_csv(tmp_path / "graph.csv", index=False)
    assert edges(read_graph(tmp_path / "graph.csv", GENES)) == edges(graph)


def test_graph_without_edges():
    graph = Graph(pd.Index(GENES), [], [], [])
    assert graph.n_edges == 0 and graph.to_frame().empty


def test_graph_does_not_change_with_the_arrays_it_was_made_of():
    source = np.array([0, 1])
    graph = Graph(pd.Index(GENES), source, [1, 2], [0.5, 0.5])
    source[0] = 3
    assert graph.source.tolist() == [0, 1]
    with pytest.raises(ValueError, match="read-only"):
        graph.weight[0] = 0


@pytest.mark.parametrize(
    ("source", "target", "weight", "named"),
    [
        ([0, 4], [1, 0], [1, 1], (1, 4, 0, 3)),
        ([0], [-1], [1], (0, -1)),
        ([0.0], [1.0], [1], ("float64",)),
        ([0, 2], [1, 2], [1, 1], ("C -> C", 1, "itself")),
        ([0, 1, 0], [1, 2, 1], [1, 1, 2], ("A -> B", "once")),
        ([0, 1], [1, 2], [1, 0], ("B -> C", 0, "weight")),
        ([0], [1], [np.nan], ("A -> B", "nan")),
        ([0], [1], [np.inf], ("A -> B", "inf")),
        ([0, 1], [1], [1, 1], ("(2,)", "(1,)")),
    ],
)
def test_what_is_no_graph(source, target, weight, named):
    with pytest.raises(InputError, match=naming(*named)):
        Graph(pd.Index(GENES), source, target, weight)


def test_nodes_occur_once():
    with pytest.raises(InputError, match=naming(1, "gene", "A")):
        Graph(pd.Index(["A", "B", "A"]), [], [], [])


def test_edges_of_a_table_and_what_is_left_out():
    frame = pd.DataFrame(
        [("B", "A", 0.5), ("A", "A", 1.0), ("X", "A", 0.9), ("A", "X", 0.9), ("X", "X", 1.0), ("D", "B", 0.2)],
        columns=["source", "target", "importance"],
    )
    graph = Graph.from_edges(frame, ["D", "B", "A", "C"])
    assert graph.nodes.tolist() == ["D", "B", "A", "C"]
    assert edges(graph) == {("B", "A"): np.float32(0.5), ("D", "B"): np.float32(0.2)}
    assert list(graph.left_out.values()) == [2, 2]
    assert graph.n_edges + sum(graph.left_out.values()) == len(frame)
    with pytest.raises(InputError, match=naming("importance", "source", "target")):
        Graph.from_edges(frame[["source", "target"]], GENES)


# Gene ontology


def jaccard_edges(terms: dict[str, set[str]], k: int, threshold: float) -> dict[tuple[str, str], float]:
    """The rule in plain Python."""
    kept = {}
    for target, own in terms.items():
        scores = [(len(own & other) / len(own | other), source) for source, other in terms.items() if source != target]
        ranked = sorted((-score, source) for score, source in scores if score > threshold)
        kept |= {(source, target): np.float32(-score) for score, source in ranked[:k]}
    return kept


@pytest.mark.parametrize(("k", "threshold"), [(20, 0.1), (3, 0.1), (20, 0.5), (1000, 0.0)])
def test_ontology_graph_is_that_of_sets(k, threshold, monkeypatch):
    terms = random_terms(0, 150)
    # Several blocks, the last of which is not full.
    monkeypatch.setattr("diversity_by_design.graphs.sources._PAIRS", 150 * 40)
    graph = gene_ontology_graph(annotated(terms), terms, n_neighbours=k, threshold=threshold)
    assert graph.nodes.tolist() == sorted(terms)
    assert edges(graph) == jaccard_edges(terms, k, threshold)


def test_ontology_graph_is_that_of_cell_gears():
    """The rule of cell-gears: pairs above 0.1, a gene with itself included, then 21 a target."""
    terms = random_terms(1, 300)
    names = sorted(terms)
    pairs = [(a, b, len(terms[a] & terms[b]) / len(terms[a] | terms[b])) for a in names for b in names]
    table = pd.DataFrame([pair for pair in pairs if pair[2] > 0.1], columns=["source", "target", "importance"])
    expected = pd.concat([own.nlargest(21, "importance") for _, own in table.groupby("target")])
    # Genes with 21 equals might lose the edge to themselves there; there are none here.
    assert (expected["source"] == expected["target"]).sum() == 300
    expected = expected[expected["source"] != expected["target"]]
    found = edges(gene_ontology_graph(annotated(terms), names))
    assert found == {(row.source, row.target): np.float32(row.importance) for row in expected.itertuples()}


def test_order_of_input_does_not_matter():
    terms = random_terms(2, 80)
    shuffled = dict(np.random.default_rng(0).permutation(np.array(list(terms.items()), dtype=object)))
    one, other = (gene_ontology_graph(annotated(each), each, n_neighbours=2) for each in (terms, shuffled))
    pd.testing.assert_frame_equal(one.to_frame(), other.to_frame())


def test_threshold_is_exceeded_and_ties_go_by_name():
    terms = {"Z": {"1"}, "A": {str(i) for i in range(1, 11)}, "M": {"20"}, "C": {"20"}, "B": {"20"}, "D": {"20"}}
    graph = gene_ontology_graph(annotated(terms), terms, n_neighbours=2)
    # Z and A share one of ten terms, which is not more than 0.1.
    assert edges(graph) == {
        (source, target): 1.0 for target, sources in {"M": "BC", "C": "BD", "B": "CD", "D": "BC"}.items()
        for source in sources
    }  # fmt: skip
    assert graph.nodes.tolist() == ["A", "B", "C", "D", "M", "Z"]


def test_genes_without_annotations_are_not_in_the_graph():
    annotations = annotated({"A": {"1"}, "B": {"1"}, "X": {"1"}})
    assert gene_ontology_graph(annotations, ["B", "C", "A"]).nodes.tolist() == ["A", "B"]
    none = gene_ontology_graph(annotations, ["C"])
    assert (len(none.nodes), none.n_edges) == (0, 0)


def test_other_names_keep_their_name_in_the_graph():
    annotations = annotated({"NEW": {"1", "2"}, "B": {"1"}}, {"OLD": "NEW"})
    graph = gene_ontology_graph(annotations, ["OLD", "B", "NEW"])
    assert edges(graph)[("OLD", "NEW")] == 1.0
    assert edges(graph)[("B", "OLD")] == 0.5
    with pytest.raises(InputError, match=naming(1, "gene", "B")):
        gene_ontology_graph(annotations, ["B", "B"])


@pytest.mark.parametrize("options", [{"n_neighbours": 0}, {"threshold": 1.0}])
def test_options_out_of_range(options):
    [(name, value)] = options.items()
    with pytest.raises(InputError, match=naming(name, value, 1)):
        gene_ontology_graph(annotated({"A": {"1"}}), ["A"], **options)


def test_ontology_graph_of_real_annotations(shared_data):
    annotations = read_annotations(shared_data / "gene2go_human.tsv.gz")
    names = np.random.default_rng(0).choice(annotations.symbols, 200, replace=False)
    terms = annotations.table[annotations.table["symbol"].isin(names)].groupby("symbol")["go_id"].agg(set).to_dict()
    assert edges(gene_ontology_graph(annotations, names)) == jaccard_edges(terms, 20, 0.1)


# Tables of edges


def test_edges_are_read_and_reduced_to_the_strongest(tmp_path):
    path = tmp_path / "edges.tsv"
    rows = ["extra\tsource\ttarget\timportance", "0\tA\tA\t1.0", "1\tB\tA\t0.3", "2\tC\tA\t0.4", "3\tNA\tA\t0.3"]
    path.write_text("\n".join([*rows, "4\tX\tA\t0.9", "5\tD\tD\t1.0"]))
    graph = read_graph(path, ["NA", "D", "C", "B", "A", "E"], n_neighbours=2)
    # E is not in the file; D is, if only with itself.
    assert graph.nodes.tolist() == ["A", "B", "C", "D", "NA"]
    assert edges(graph) == {("C", "A"): np.float32(0.4), ("B", "A"): np.float32(0.3)}
    assert list(graph.left_out.values()) == [1, 2, 1]
    assert read_graph(path, ["NA", "D", "C", "B", "A"], n_neighbours=None).n_edges == 3


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("source,target,importance\nA,B,much\n", ("edges.csv", "A -> B", "much")),
        ("source,target,importance\nA,B,\n", ("A -> B", "''")),
        ("source,target,importance\nA,B,0.5\nA,B,0.6\n", ("A -> B", 0.6)),
        ("from,to\nA,B\n", ("from", "to", "symbol", "go_id", *("source", "target", "importance"))),
        ("", ("edges.csv", "none")),
    ],
)
def test_tables_that_hold_no_edges(tmp_path, content, named):
    (tmp_path / "edges.csv").write_text(content)
    with pytest.raises(InputError, match=naming(*named)):
        read_graph(tmp_path / "edges.csv", GENES)


def test_missing_table(tmp_path):
    with pytest.raises(InputError, match=naming("edges.csv")):
        read_graph(tmp_path / "edges.csv", GENES)


def test_graph_from_a_file_of_annotations_with_other_names_beside_it(tmp_path):
    terms = {"NEW": {"1", "2"}, "B": {"1"}}
    write_table(tmp_path / "annotations.tsv.gz", annotated(terms).table)
    assert read_graph(tmp_path / "annotations.tsv.gz", ["OLD", "B"]).nodes.tolist() == ["B"]
    write_table(tmp_path / "synonyms.tsv.gz", pd.DataFrame({"synonym": ["OLD"], "symbol": ["NEW"]}))
    assert edges(read_graph(tmp_path / "annotations.tsv.gz", ["OLD", "B"])) == {("OLD", "B"): 0.5, ("B", "OLD"): 0.5}


# Co-expression


def expression(seed: int, n_cells: int = 300, n_genes: int = 70) -> np.ndarray:
    """Log expression of genes that follow a few factors, many of its values zero; gene 7 is constant, 8 is silent."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_cells, 6)) @ rng.normal(size=(6, n_genes)) + rng.normal(size=(n_cells, n_genes))
    values = np.maximum(values, 0).astype(np.float32)
    values[:, 7], values[:, 8] = 1.1, 0.0
    return values


def correlation_edges(values: np.ndarray, k: int, threshold: float) -> dict[tuple[str, str], float]:
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.nan_to_num(np.abs(np.corrcoef(values.astype(np.float64).T)))
    np.fill_diagonal(r, 0)
    kept = {}
    for target, row in enumerate(r):
        for source in np.argsort(-row, kind="stable")[:k]:
            if row[source] > threshold:
                kept[f"g{source}", f"g{target}"] = row[source]
    return kept


@pytest.fixture
def small_blocks(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr("diversity_by_design.graphs.coexpression._CELLS", 64)
    monkeypatch.setattr("diversity_by_design.graphs.coexpression._GENES", 32)


@pytest.mark.parametrize("form", [sparse.csr_matrix, np.asarray])
@pytest.mark.parametrize(("k", "threshold"), [(20, 0.4), (3, 0.1), (500, 0.2)])
def test_coexpression_graph_is_that_of_corrcoef(small_blocks, form, k, threshold):
    values = expression(0)
    names = [f"g{i}" for i in range(70)]
    graph = coexpression_graph(form(values), names, n_neighbours=k, threshold=threshold)
    expected = correlation_edges(values, k, threshold)
    assert graph.nodes.tolist() == names
    assert edges(graph) == {edge: pytest.approx(weight, abs=2e-5) for edge, weight in expected.items()}
    assert len(expected) > 100
    assert not {7, 8} & {*graph.source, *graph.target}


def test_only_the_given_cells_count(small_blocks):
    values = expression(1)
    names = [f"g{i}" for i in range(70)]
    mask = np.random.default_rng(0).random(300) < 0.5
    everything = sparse.csr_matrix(values)
    expected = coexpression_graph(everything[mask], names).to_frame()
    for rows in (mask, np.flatnonzero(mask)):
        pd.testing.assert_frame_equal(coexpression_graph(everything, names, rows=rows).to_frame(), expected)
    assert len(coexpression_graph(everything, names).to_frame()) != len(expected)


def test_equal_genes_are_ranked_in_their_order(small_blocks):
    values = expression(2)
    values[:, [50, 20, 65]] = values[:, [3]]
    names = [f"g{i}" for i in range(70)]
    graph = coexpression_graph(sparse.csr_matrix(values), names, n_neighbours=2).to_frame()
    sources = graph.groupby("target")["source"].agg(list)
    assert sources["g3"] == ["g20", "g50"]
    assert sources["g20"] == ["g3", "g50"]
    assert sources["g65"] == ["g3", "g20"]
    assert (graph.loc[graph["target"] == "g65", "importance"] == 1).all()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"genes": ["g0"]}, (70, 1)),
        ({"rows": [4]}, (2, 1)),
        ({"n_neighbours": 0}, ("n_neighbours", 0, 1)),
        ({"threshold": -0.1}, ("threshold", -0.1, 0)),
        ({"genes": ["g0"] * 70}, ("gene", "g0")),
    ],
)
def test_coexpression_of_bad_input(small_blocks, change, named):
    arguments = {"matrix": expression(0), "genes": [f"g{i}" for i in range(70)]} | change
    with pytest.raises(InputError, match=naming(*named)):
        coexpression_graph(**arguments)


def test_expression_that_is_not_finite(small_blocks):
    values = expression(0)
    values[3, 5] = np.nan
    with pytest.raises(InputError, match=naming("finite", "g5")):
        coexpression_graph(values, [f"g{i}" for i in range(70)])
