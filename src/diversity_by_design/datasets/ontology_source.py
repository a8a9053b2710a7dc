"""Who publishes annotations of genes."""

from enum import StrEnum


class Source(StrEnum):
    """Who publishes what the graph is made of."""

    NCBI = "ncbi"
    GEARS = "gears"
