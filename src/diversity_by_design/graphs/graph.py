"""A graph of genes: its nodes, its weighted edges, and what every way of making one needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design import errors
from diversity_by_design.datasets.annotations import EDGES
from diversity_by_design.errors import InputError, listed

N_NEIGHBOURS = 20

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Graph:
    """A directed, weighted graph of genes without self edges, which a graph network adds by itself.

    Attributes
    ----------
    nodes : pandas.Index (nodes,)
        Names, each once.
    source, target : int64 array (edges,)
        Positions in `nodes`; messages go from source to target.
    weight : float32 array (edges,)
        Positive.
    left_out : dict
        Edges of the table the graph was made of that are not in it: reason -> number.

    Raises
    ------
    InputError
        A name occurs twice; arrays differ in length; a position is none of a node; a weight is not positive; an edge
        occurs twice, or goes from a gene to itself.

    Examples
    --------
    >>> graph = Graph(pd.Index(["A", "B", "C"]), [0, 2], [1, 0], [0.5, 0.25])
    >>> graph.n_edges
    2
    >>> graph.to_frame()
      source target  importance
    0      A      B        0.50
    1      C      A        0.25
    """

    nodes: pd.Index
    source: Ints
    target: Ints
    weight: npt.NDArray[np.float32]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        nodes = pd.Index(self.nodes)
        errors.unique_names(nodes, "gene", "graph")
        weight = np.array(self.weight, dtype=np.float32)
        ends = [np.asarray(values) for values in (self.source, self.target)]
        if weight.ndim != 1 or any(values.shape != weight.shape for values in ends):
            shapes = [values.shape for values in ends]
            raise InputError(f"graph: source, target and weight have the shapes {shapes}, {weight.shape}; one per edge")
        for values in ends:
            if len(values) and not np.issubdtype(values.dtype, np.integer):
                raise InputError(f"graph: edges are of type {values.dtype}; expected whole numbers, positions of nodes")
            outside = (values < 0) | (values >= len(nodes))
            if outside.any():
                raise InputError(
                    f"graph: an end of edge {int(np.argmax(outside))} is {values[outside][0]}; expected a position "
                    f"among {len(nodes)} nodes, 0 to {len(nodes) - 1}"
                )
        source, target = (values.astype(np.int64) for values in ends)
        for wrong, what in (
            (source == target, "goes from a gene to itself; leave such edges out"),
            (~(np.isfinite(weight) & (weight > 0)), "has a weight that is not finite and greater than 0"),
            (pd.Series(source * len(nodes) + target).duplicated().to_numpy(), "occurs more than once"),
        ):
            if wrong.any():
                at = int(np.argmax(wrong))
                raise InputError(f"graph: {nodes[source[at]]} -> {nodes[target[at]]} ({weight[at]:g}) {what}")
        for array in (source, target, weight):
            array.flags.writeable = False
        for name, value in (("nodes", nodes), ("source", source), ("target", target), ("weight", weight)):
            object.__setattr__(self, name, value)

    @property
    def n_edges(self) -> int:
        """Number of edges, the two directions between two genes counted separately."""
        return len(self.source)

    def to_frame(self) -> pd.DataFrame:
        """One row per edge: `source`, `target` (names), `importance` (weight)."""
        values = (self.nodes.take(self.source), self.nodes.take(self.target), self.weight)
        return pd.DataFrame(dict(zip(EDGES, values, strict=True)))

    @classmethod
    def from_edges(cls, frame: pd.DataFrame, nodes: Iterable[str]) -> Graph:
        """Take those edges of a table (`source`, `target`, `importance`) that join two of the given nodes.

        Nodes stay in this order, those without edges included. `left_out` says how many edges of the table have another
        gene at an end, and how many go from a gene to itself.
        """
        missing = [name for name in EDGES if name not in frame.columns]
        if missing:
            raise InputError(f"no column {listed(missing)} in the edges; their columns are: {listed(frame.columns)}")
        index = pd.Index(nodes)
        errors.unique_names(index, "gene", "graph")
        source, target = (index.get_indexer(pd.Index(frame[name])) for name in EDGES[:2])
        known = (source >= 0) & (target >= 0)
        own = frame["source"].to_numpy() == frame["target"].to_numpy()
        kept = known & ~own
        return cls(
            index,
            source[kept],
            target[kept],
            frame["importance"].to_numpy()[kept],
            {
                "edges of genes that are not asked for": int((~known & ~own).sum()),
                "edges from a gene to itself": int(own.sum()),
            },
        )


def check_options(n_neighbours: int, threshold: float) -> None:
    """Raise InputError unless a target can have sources and a weight can exceed the threshold."""
    errors.whole_number(n_neighbours, "n_neighbours", 1)
    if not 0 <= threshold < 1:
        raise InputError(f"threshold is {threshold}; it must be at least 0 and less than 1")


def joined(nodes: pd.Index, parts: list[tuple[Ints, Ints, npt.NDArray]]) -> Graph:
    """Graph of the edges of all parts: source, target and weight."""
    empty = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    source, target, weight = (np.concatenate(values) for values in zip(*(parts or empty), strict=True))
    return Graph(nodes, source, target, weight)


def strongest(source: npt.NDArray, target: npt.NDArray, weight: npt.NDArray, n: int) -> tuple[Ints, Ints, npt.NDArray]:
    """Keep the `n` edges of largest weight of each target, of equal ones those of the first sources."""
    order = np.lexsort((source, -weight, target))
    sorted_target = target[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_target, sorted_target)
    kept = order[rank < n]
    return source[kept], target[kept], weight[kept]
