"""Annotations of the demo data set's genes, as synthetic as its cells, for models that need to know related genes.

Real ontologies have a term for a process, for its activation and for its repression; here, each module of co-regulated
genes has these three. Its members are annotated with the first, genes whose perturbation moves it with the first and
with one of the others. As in real ontologies, some annotations are missing and some are wrong. Genes that are neither
members nor move anything may have none, those of perturbations without effect among them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from diversity_by_design.datasets.annotations import ANNOTATIONS_FILE, TABLE, write_table
from diversity_by_design.datasets.demo import DemoParameters, of_seed
from diversity_by_design.datasets.demo_effects import draw_effects, draw_genes
from diversity_by_design.errors import whole_number

# Share of the annotations that are missing, and wrong ones relative to the right ones.
_MISSING = 0.15
_WRONG = 0.1

_DEFAULTS = DemoParameters()


def demo_annotations(seed: int = 0, parameters: DemoParameters = _DEFAULTS) -> pd.DataFrame:
    """Annotate the genes of `generate_demo` of the same seed and parameters; no cell is drawn for it.

    Columns are `symbol` and `go_id`: each pair once, sorted. Of n modules, the terms of module m, from 1 on, are
    ``DEMO:<m>`` (the process), ``DEMO:<n + m>`` (activates it) and ``DEMO:<2n + m>`` (represses it), with four digits;
    they are not terms of the Gene Ontology.
    """
    whole_number(seed, "seed", 0)
    # The first three are those of `generate_demo`.
    gene_rng, effect_rng, _, rng = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(4))
    genes = draw_genes(gene_rng, parameters)
    effects = draw_effects(effect_rng, parameters, genes)

    n = parameters.n_modules
    pairs = [(genes.index[gene], module) for module, gene in np.argwhere(effects.modules)]
    for gene, moved in effects.moves.items():
        for module, change in moved.items():
            pairs += [(gene, module), (gene, module + (n if change > 0 else 2 * n))]
    right = pd.DataFrame(pairs, columns=["symbol", "term"]).drop_duplicates().sort_values(["symbol", "term"])
    kept = right[rng.random(len(right)) >= _MISSING]
    n_wrong = round(_WRONG * len(right))
    wrong = pd.DataFrame({"symbol": rng.choice(genes.index, n_wrong), "term": rng.integers(3 * n, size=n_wrong)})
    table = pd.concat([kept, wrong]).drop_duplicates().sort_values(["symbol", "term"], ignore_index=True)
    return table.assign(go_id=[f"DEMO:{term + 1:04d}" for term in table["term"]])[list(TABLE)]


def write_demo_annotations(folder: Path, seed: int) -> Path:
    """Write the annotations into the demo's folder, unless they are there, and return the file's path."""
    path = of_seed(folder / ANNOTATIONS_FILE, seed)
    if write_table(path, demo_annotations(seed)):
        print(f"annotations of the demo data set's genes, which are synthetic (seed {seed}), are in {path}")
    return path
