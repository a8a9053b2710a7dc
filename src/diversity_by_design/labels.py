"""Labels of perturbations: a gene, a combination of genes in any order such as A+B, or control."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design.errors import InputError, unique_names

CONTROL = "control"
JOINER = "+"
# What stands for nothing in a combination, here and in cell-gears, where a single perturbation is called A+ctrl.
NO_PERTURBATION = (CONTROL, "ctrl")


def parts(label: str) -> tuple[str, ...]:
    """What a perturbation perturbs.

    Examples
    --------
    >>> parts("KLF1"), parts("KLF1+MAP2K6")
    (('KLF1',), ('KLF1', 'MAP2K6'))
    """
    return tuple(label.split(JOINER))


def canonical(label: str, control: str | None = CONTROL) -> str:
    """The one form of a label: the set of a combination's parts, sorted, without those that are control.

    A part is control if it is called as `control` says, "control" or "ctrl". A label of one part stays as it is, and so
    does that of control.

    Examples
    --------
    >>> canonical("B+A"), canonical("A+ctrl"), canonical("NT+B+A", control="NT")
    ('A+B', 'A', 'A+B')
    >>> canonical("A+A"), canonical("C+A+B+A")
    ('A', 'A+B+C')
    """
    names = parts(label)
    if len(names) == 1 or label == control:
        return label
    kept = sorted(set(names).difference(NO_PERTURBATION, [control]))
    return JOINER.join(kept) if kept else control or CONTROL


def label_text(label: object) -> str:
    """A label as text: a number that is whole without ``.0``, a text as it is.

    Examples
    --------
    >>> label_text(3368.0), label_text(0.5), label_text("3368.0")
    ('3368', '0.5', '3368.0')
    """
    if isinstance(label, float | np.floating) and label.is_integer():
        return str(int(label))
    return str(label)


def shortened(label: str, longest: int = 60) -> str:
    """A label as figures and messages show it: of a long one the beginning and the end.

    Examples
    --------
    >>> shortened("KLF1"), shortened("chr1.1001_top_two_chr2.1002_top_two_x", 20)
    ('KLF1', 'chr1.1001_…top_two_x')
    """
    if len(label) <= longest:
        return label
    half = (longest - 1) // 2
    return f"{label[: longest - 1 - half]}…{label[-half:]}"


def labels_as_text(labels: pd.Series) -> pd.Series:
    """Labels of cells as `label_text` writes them; None where one is missing.

    >>> labels_as_text(pd.Series([3368.0, None, 2.0])).tolist()
    ['3368', None, '2']
    """
    category = pd.Categorical(labels)
    texts = np.array([*map(label_text, category.categories), None], dtype=object)
    # A missing label has the code -1, which is the place of the last.
    return pd.Series(texts[category.codes], index=labels.index, name=labels.name, dtype=object)


def context_names(columns: Sequence[pd.Series]) -> list[str]:
    """Context of each cell: its values in one column, or in several, as text.

    >>> context_names([pd.Series(["K562", "RPE1"]), pd.Series([1.0, 2.0])])
    ['K562 | 1', 'RPE1 | 2']
    """
    return [" | ".join(map(str, values)) for values in zip(*map(labels_as_text, columns), strict=True)]


def label_among(given: object, labels: Iterable[object]) -> str:
    """Text of the label that a user means; where labels are numbers, 3, 3.0, "3" and "3.0" mean the same.

    Examples
    --------
    >>> label_among("3.0", [1, 3]), label_among(3.0, ["3.0", "4"]), label_among("3.0", ["3", "4"])
    ('3', '3.0', '3.0')
    """
    labels = list(labels)
    texts = {f"{label_text(label)}.0": label_text(label) for label in labels if not isinstance(label, str)}
    texts |= {label_text(label): label_text(label) for label in labels}
    return next((texts[text] for text in (str(given), label_text(given)) if text in texts), label_text(given))


def is_combination(labels: Iterable[str]) -> npt.NDArray[np.bool_]:
    """Whether each label names more than one perturbation (labels,).

    Examples
    --------
    >>> is_combination(["A", "A+B"]).tolist()
    [False, True]
    """
    return np.array([JOINER in label for label in labels], dtype=bool)


def label_index(labels: Any, where: str, control: str | None = CONTROL) -> pd.Index:
    """Labels that a user gave, in their canonical form and order.

    A single text is one label. Numbers become text; of a Series the values are the labels. Raises InputError, calling
    them `where`, if these are no labels, a label is missing (None, NaN), or occurs twice (also as A+B and B+A, or A and
    A+A).

    >>> label_index(["B+A", "C"], "train").tolist(), label_index("AB", "train").tolist()
    (['A+B', 'C'], ['AB'])
    """
    if not isinstance(labels, Iterable):
        raise InputError(f"{where}: {labels!r} is of type {type(labels).__name__}; expected labels of perturbations")
    given = [labels] if isinstance(labels, str) else list(labels)
    nested = [label for label in given if isinstance(label, Iterable) and not isinstance(label, str)]
    if nested:
        raise InputError(f"{where}: {nested[0]!r} is no label; each must be a text, such as A or A+B")
    if any(pd.isna(label) for label in given):
        raise InputError(f"{where}: {sum(map(bool, map(pd.isna, given)))} of {len(given)} labels are missing (NaN)")
    names = pd.Index([canonical(label_text(label), control) for label in given], dtype=object)
    unique_names(names, "perturbation", where)
    return names


def checked_labels(labels: Iterable[object], where: str) -> list[str]:
    """Canonical labels, sorted, once it is clear that each is a perturbation of one gene or several.

    Raises InputError, calling them `where`, if a label is no text, names control or no gene, or occurs twice.

    >>> checked_labels(["B", "B+A", "A"], "perturbations")
    ['A', 'A+B', 'B']
    """
    given = [labels] if isinstance(labels, str) else list(labels)
    wrong = [label for label in given if not isinstance(label, str)]
    if wrong:
        raise InputError(f"{where}: label {wrong[0]!r} is no text; perturbations are named such as A, or A+B")
    names = sorted(label_index(given, where))
    for label in names:
        if label in NO_PERTURBATION:
            raise InputError(f"{where}: {label!r} names control, which is no perturbation: leave control out")
        if any(not gene or gene != gene.strip() for gene in parts(label)):
            raise InputError(
                f"{where}: label {label!r} is no perturbation; expected one gene (A) or several (A+B), without spaces "
                "around them"
            )
    return names
