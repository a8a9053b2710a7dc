"""What columns of a table of cells look like: perturbations, contexts, batches; and which names genes have."""

from __future__ import annotations

import re
from collections.abc import Collection

import pandas as pd

from diversity_by_design.datasets import label_evidence
from diversity_by_design.labels import labels_as_text

_PERTURBATION = frozenset(
    """perturbation perturbations perturbed gene target targets guide guides grna sgrna guiderna crispr condition drug
    compound cytokine ko knockout knockdown call identity assignment feature construct barcode""".split()
)
_CONTEXT = frozenset(
    """cell line cellline celltype type donor patient individual subject tissue treatment stimulation stim condition
    timepoint time day dose concentration organism species disease state""".split()
)
_BATCH = frozenset(
    """batch gem group gemgroup replicate rep biorep replica lane library lib sample pool run plate channel well chip
    ident experiment sequencing""".split()
)
# Columns of numbers that belong to a guide or perturbation, but do not name it.
_NUMBER = frozenset("umi umis count counts n num number frac fraction read reads coverage score pct percent".split())
# A column of so many values, or more, is no context.
MOST_CONTEXTS = 50
ENSEMBL = re.compile(r"ENS[A-Z]*G\d{6,}(\.\d+)?")


def words(name: str) -> set[str]:
    """Words of a column's name, without case.

    >>> sorted(words("sgRNA_ID")), sorted(words("Cell.Line")), sorted(words("guideIdentity"))
    (['id', 'sgrna'], ['cell', 'line'], ['guide', 'identity'])
    """
    parts = re.split(r"[^A-Za-z0-9]+|(?<=[a-z])(?=[A-Z][a-z])", str(name))
    return {part.casefold() for part in parts if part}


def label_counts(column: pd.Series) -> dict[str, int]:
    """Labels of a column as text, and the number of cells of each; missing ones are not among them."""
    return {str(label): int(n) for label, n in labels_as_text(column).value_counts().items()}


def perturbation_evidence(column: pd.Series, genes: Collection[str]) -> list[str]:
    """What speaks for a column naming perturbations, each a phrase; none if it cannot.

    `genes` are the names of the data set's genes.
    """
    if pd.api.types.is_float_dtype(column.dtype) and not (column.dropna() % 1 == 0).all():
        return []
    n_labels = column.nunique()
    if n_labels < 3 or words(str(column.name)) & _NUMBER:
        return []
    labels = label_counts(column)
    called = [label for label in labels if not label_evidence.is_no_call(label)]
    evidence = []
    if words(str(column.name)) & _PERTURBATION:
        evidence.append("its name")
    controls = [label for label in called if label_evidence.looks_like_control(label)]
    if controls and len(controls) < len(called):
        evidence.append("labels like control")
    others = set(called) - set(controls)
    named = [label for label in others if genes_of(label) & set(genes)]
    if len(named) > 1 and 2 * len(named) >= len(others):
        evidence.append("labels that are genes")
    if label_evidence.likely_separator(others):
        evidence.append("combinations of its own labels")
    # Most labels of one cell only: rather something about cells.
    return evidence if 2 * n_labels <= len(column) or len(evidence) > 1 else []


def genes_of(label: str) -> set[str]:
    """Names of which a label may be made up."""
    return {label, *re.split(r"[^A-Za-z0-9.-]+", label), *re.split(r"[^A-Za-z0-9]+", label)} - {""}


def context_columns(obs: pd.DataFrame, without: Collection[str] = ()) -> list[str]:
    """Columns that look like contexts of cells: cell line, donor, treatment, time, dose."""
    return [name for name in _of_few_values(obs, without) if words(name) & _CONTEXT and not words(name) & _BATCH]


def batch_columns(obs: pd.DataFrame, without: Collection[str] = ()) -> list[str]:
    """Columns that look like batches or replicates."""
    return [name for name in _of_few_values(obs, without) if words(name) & _BATCH]


def symbol_columns(var: pd.DataFrame) -> list[str]:
    """Columns that look like gene symbols, where the genes' own names are Ensembl identifiers."""
    if not ensembl_share(var.index) > 0.5:
        return []
    names = [name for name in var.columns if words(name) & {"symbol", "symbols", "name", "names", "gene", "feature"}]
    texts = [name for name in names if pd.api.types.infer_dtype(var[name].dropna().astype(object)) == "string"]
    return [name for name in texts if var[name].nunique() > len(var) / 2 and ensembl_share(var[name]) < 0.5]


def ensembl_share(names: Collection[object]) -> float:
    """Part of some names that are Ensembl's identifiers of genes."""
    given = [str(name) for name in names]
    return sum(bool(ENSEMBL.fullmatch(name)) for name in given) / max(1, len(given))


def _of_few_values(obs: pd.DataFrame, without: Collection[str]) -> list[str]:
    names = [name for name in obs.columns if name not in without]
    return [name for name in names if 1 < obs[name].nunique() <= min(MOST_CONTEXTS, max(2, len(obs) // 4))]
