"""Graphs of genes from gene ontology terms, or from a table of edges."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from diversity_by_design import errors
from diversity_by_design.datasets.annotations import (
    EDGES,
    SYNONYMS_FILE,
    Annotations,
    read_annotations,
    read_columns,
    resolve,
    table_header,
)
from diversity_by_design.errors import InputError
from diversity_by_design.graphs.graph import N_NEIGHBOURS, Graph, check_options, joined, strongest
from diversity_by_design.labels import parts
from diversity_by_design.statistics import PerturbationStatistics

LEAST_JACCARD = 0.1

# Pairs of genes looked at together.
_PAIRS = 2**23


def gene_ontology_graph(
    annotations: Annotations,
    nodes: Iterable[str],
    *,
    n_neighbours: int = N_NEIGHBOURS,
    threshold: float = LEAST_JACCARD,
) -> Graph:
    """Join genes that share gene ontology terms, as cell-gears does for genes of one's own.

    The weight of two genes is the Jaccard index of the sets of their terms, the number of terms that both have over
    the number that either has.

    Parameters
    ----------
    annotations : Annotations
    nodes : names
        Genes to join: those perturbed and those measured.
    n_neighbours : int
        Most sources of a target: those of largest weight, and of these the first by name.
    threshold : float
        Weights must be greater.

    Returns
    -------
    Graph
        Its nodes are the genes with annotations, sorted; some may have no edge.

    Raises
    ------
    InputError
        A name occurs twice, or an option is out of its range.

    Examples
    --------
    >>> terms = {"A": "xy", "B": "xyz", "C": "z", "D": ""}
    >>> pairs = [(gene, term) for gene in terms for term in terms[gene]]
    >>> annotations = Annotations(pd.DataFrame(pairs, columns=["symbol", "go_id"]))
    >>> gene_ontology_graph(annotations, ["A", "B", "C", "D"], n_neighbours=1).to_frame().round(2)
      source target  importance
    0      B      A        0.67
    1      A      B        0.67
    2      B      C        0.33
    """
    check_options(n_neighbours, threshold)
    names = list(nodes)
    errors.unique_names(names, "gene", "nodes of the graph")
    symbol_of = resolve(names, annotations)
    index = pd.Index(sorted(symbol_of), dtype=object)
    incidence = _incidence(annotations, [symbol_of[name] for name in index])
    n_terms = np.diff(incidence.indptr)
    transposed = incidence.T.tocsr()
    step = max(1, _PAIRS // max(1, len(index)))
    found = []
    for start in range(0, len(index), step):
        shared = (incidence[start : start + step] @ transposed).tocoo()
        target, source = shared.row.astype(np.int64) + start, shared.col.astype(np.int64)
        weight = shared.data / (n_terms[target] + n_terms[source] - shared.data)
        kept = (weight > threshold) & (source != target)
        found.append(strongest(source[kept], target[kept], weight[kept], n_neighbours))
    return joined(index, found)


def read_graph(
    path: Path | str,
    nodes: Iterable[str],
    *,
    synonyms: Path | str | None = None,
    n_neighbours: int | None = N_NEIGHBOURS,
) -> Graph:
    """Read a graph of genes from a table of its edges, or make it from annotations.

    Parameters
    ----------
    path : Path or str
        Known by its header: a CSV or TSV table with the columns `source`, `target` and `importance`, such as that
        of cell-gears (go_essential_all.csv), or anything that `read_annotations` reads.
    nodes : names
        Genes to join.
    synonyms : Path or str, optional
        Other names of genes, for annotations (default: ``synonyms.tsv.gz`` beside the file, where there is one).
    n_neighbours : int or None
        Most sources of a target, the strongest, and of these the first by name; None: all edges of the table.

    Returns
    -------
    Graph
        Its nodes are those that the file knows, sorted. Of a table of edges, `left_out` says what was not used.

    Raises
    ------
    InputError
        There is no such file. It is of another kind, damaged, or holds something that is no edge.
    """
    path, names = Path(path), list(nodes)
    if not set(EDGES) <= set(table_header(path)[0]):
        beside = path.with_name(SYNONYMS_FILE)
        annotations = read_annotations(path, synonyms or (beside if beside.exists() else None))
        return gene_ontology_graph(annotations, names, n_neighbours=n_neighbours or max(1, len(names)))
    frame = read_columns(path, EDGES)
    importance = pd.to_numeric(frame["importance"], errors="coerce")
    if importance.isna().any():
        row = frame[importance.isna()].iloc[0]
        raise InputError(
            f"{path}: the importance of {row['source']} -> {row['target']} is {row['importance']!r}; expected a number"
        )
    ends = pd.unique(pd.concat([frame["source"], frame["target"]]))
    errors.unique_names(names, "gene", "nodes of the graph")
    graph = Graph.from_edges(frame.assign(importance=importance), sorted(set(names).intersection(ends)))
    if n_neighbours is None:
        return graph
    check_options(n_neighbours, 0.0)
    edges = strongest(graph.source, graph.target, graph.weight, n_neighbours)
    weaker = {f"edges weaker than the {n_neighbours} strongest of a gene": graph.n_edges - len(edges[0])}
    return Graph(graph.nodes, *edges, dict(graph.left_out) | weaker)


def perturbation_graph(
    path: Path | str, statistics: PerturbationStatistics, *, n_neighbours: int | None = N_NEIGHBOURS
) -> Graph:
    """Read the graph of the genes that can be perturbed: those that are in the data, and those measured.

    Measured genes take part since they connect perturbed ones; perturbations of them can be predicted too.

    Parameters
    ----------
    path, n_neighbours
        As for `read_graph`.
    statistics : PerturbationStatistics
        Of the data.

    Raises
    ------
    InputError
        None of the perturbed genes is known to the file.
    """
    perturbed = {gene for label in statistics.labels for gene in parts(label)}
    graph = read_graph(path, sorted(perturbed.union(statistics.genes)), n_neighbours=n_neighbours)
    if not perturbed.intersection(graph.nodes):
        raise InputError(
            f"{path} knows none of the {len(perturbed)} perturbed genes ({errors.listed(sorted(perturbed), 5)}); its "
            "names must be those of the data"
        )
    return graph


def _incidence(annotations: Annotations, symbols: list[str]) -> sparse.csr_array:
    """Which genes have which terms: int32 (genes, terms), 1 or 0."""
    table = annotations.table
    table = table[table["symbol"].isin(symbols)]
    term, terms = pd.factorize(table["go_id"])
    known = pd.Index(table["symbol"].unique())
    entries = (np.ones(len(table), np.int32), (known.get_indexer(table["symbol"]), term))
    # Two names may stand for one gene.
    return sparse.csr_array(entries, shape=(len(known), len(terms)))[known.get_indexer(pd.Index(symbols))]
