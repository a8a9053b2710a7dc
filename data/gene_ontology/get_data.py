"""Download what the graph of genes is made of: annotations of NCBI, or the edges of cell-gears; see ``--help``."""

from typing import Annotated

import typer

from diversity_by_design import cli
from diversity_by_design.datasets.ontology_source import Source
from diversity_by_design.running.project import data_dir

SourceOption = Annotated[
    Source,
    typer.Option(
        "--source",
        help="ncbi: annotations of human genes (gene2go, gene_info); gears: the ready edges of cell-gears.",
    ),
]


def main(source: SourceOption = Source.NCBI, force: cli.ForceOption = False) -> None:
    """Download what the graph of genes for GEARS is made of: gene ontology annotations, or ready edges."""
    from diversity_by_design.datasets.gene_ontology import get_gene_ontology

    get_gene_ontology(data_dir(), source, force=force)


if __name__ == "__main__":
    cli.script(main)
