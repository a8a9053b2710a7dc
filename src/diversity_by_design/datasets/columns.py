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
    timepoint time day dose concentration organism species disease state genotype clone sex age stage""".split()
)
_BATCH = frozenset(
    """batch gem group gemgroup replicate rep biorep replica lane library lib sample pool run plate channel well chip
    ident experiment sequencing""".split()
)
# Columns that belong to a guide or perturbation, but do not name it.
_ABOUT = frozenset(
    """umi umis count counts n num number frac fraction read reads coverage score pct percent type strategy method class
    status""".split()
)
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
    has_name = bool(words(str(column.name)) & _PERTURBATION)
    if words(str(column.name)) & _ABOUT or (pd.api.types.is_numeric_dtype(column.dtype) and not has_name):
        return []
    if pd.api.types.is_float_dtype(column.dtype) and not (column.dropna() % 1 == 0).all():
        return []
    n_labels = column.nunique()
    # Most labels of one cell only: rather something about cells, and slow to look through.
    if n_labels < 3 or (2 * n_labels > len(column) and not has_name):
        return []
    labels = label_counts(column)
    called = [label for label in labels if not label_evidence.is_no_call(label)]
    evidence = ["its name"] if has_name else []
    controls = [label for label in called if label_evidence.looks_like_control(label)]
    if controls and len(controls) < len(called):
        evidence.append("labels like control")
    others = set(called) - set(controls)
    named = [label for label in others if genes_of(label) & set(genes)]
    if len(named) > 1 and 2 * len(named) >= len(others):
        evidence.append("labels that are genes")
    if label_evidence.likely_separator(others):
        evidence.append("combinations of its own labels")
    return evidence if 2 * n_labels <= len(column) or len(evidence) > 1 else []


def genes_of(label: str) -> set[str]:
    """Names of which a label may be made up."""
    return {label, *re.split(r"[^A-Za-z0-9.-]+", label), *re.split(r"[^A-Za-z0-9]+", label)} - {""}


def context_columns(obs: pd.DataFrame, without: Collection[str] = ()) -> list[str]:
    """Columns that look like contexts of cells: cell line, donor, treatment, time, dose."""
    names = _of_few_values(obs, without)
    return [name for name in names if words(name) & _CONTEXT and not words(name) & (_BATCH | {"ontology"})]


def batch_columns(obs: pd.DataFrame, without: Collection[str] = ()) -> list[str]:
    """Columns that look like batches or replicates."""
    return [name for name in _of_few_values(obs, without) if words(name) & _BATCH]


def symbol_columns(var: pd.DataFrame) -> list[str]:
    """Columns that look like gene symbols, where the genes' own names are Ensembl identifiers or numbers."""
    if identifiers(var.index) == "":
        return []
    names = [name for name in var.columns if words(name) & {"symbol", "symbols", "name", "names", "gene", "feature"}]
    texts = [name for name in names if pd.api.types.infer_dtype(var[name].dropna().astype(object)) == "string"]
    return [name for name in texts if var[name].nunique() > len(var) / 2 and identifiers(var[name]) == ""]


def identifiers(names: Collection[object]) -> str:
    """What most names of genes are, other than symbols; nothing if they may be symbols.

    >>> identifiers(["ENSG00000105610.6", "ENSG00000131711.15"]), identifiers(["0", "1"]), identifiers(["KLF1", "7SK"])
    ('Ensembl identifiers with versions', 'numbers', '')
    """
    given = [str(name) for name in names]
    ensembl = [name for name in given if ENSEMBL.fullmatch(name)]
    if 2 * len(ensembl) > len(given):
        versions = 2 * sum("." in name for name in ensembl) > len(given)
        return "Ensembl identifiers" + (" with versions" if versions else "")
    return "numbers" if 2 * sum(map(str.isdecimal, given)) > len(given) else ""


def _of_few_values(obs: pd.DataFrame, without: Collection[str]) -> list[str]:
    """Columns of several values, but not many, other than some and those that say the same in other words."""
    most = min(MOST_CONTEXTS, max(2, len(obs) // 4))
    names = [name for name in obs.columns if name not in without and 1 < obs[name].nunique() <= most]
    taken = [name for name in without if name in obs]
    return [name for name in names if not any(_same_groups(obs, name, other) for other in taken)]


def _same_groups(obs: pd.DataFrame, name: str, other: str) -> bool:
    """Whether each value of one column goes with one value of the other."""
    pairs = len(obs[[name, other]].dropna().drop_duplicates())
    return pairs == obs[name].nunique() == obs[other].nunique()
