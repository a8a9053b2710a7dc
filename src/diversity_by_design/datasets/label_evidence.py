"""What labels of a column look like: control, no call, combinations, guides of one target.

Nothing here decides: inspection shows it, preparation says it, and its options tell what is meant.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from diversity_by_design.labels import NO_PERTURBATION

# Compared without case and surrounding spaces. They mean that a cell's guide is not known, in one program or another.
NO_CALL = frozenset(
    """nan none na n/a <na> nat null nil missing unassigned unknown undetermined undefined uncalled ambiguous multiplet
    doublet nocall no_call no-call not_assigned no_guide * - -- . ? #n/a""".split()
) | {"", "no call", "not assigned", "not called", "no guide"}

# Whole words of a label, where a digit, a change of case or a sign begins a new one.
_CONTROL_WORDS = frozenset(
    """ctrl ctl control controls nt ntc ntcs nontargeting negctrl negcontrol scramble scrambled safe mock unperturbed
    untreated vehicle dmso wt wildtype aavs1 rosa26 noguide neg negative nontarget""".split()
)
_CONTROL_PHRASES = re.compile(
    r"non[-_ .]?target|no[-_ .]?guide|safe[-_ .]?(harbou?r|target)|wild[-_ .]?type|intergenic"
)
_NUMBERED = re.compile(r"(sg)?(ctrl|control|nt|ntc|negctrl)g?\d*")
_WORDS = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+")

# What joins the parts of a combination, the least likely to be part of a name first.
SEPARATORS = (" || ", "||", " + ", "+", "|", ";", "&", " & ", ",", "__", "_", "/", ":", "-", ".")

# Endings by which guides of one target differ, the most specific first.
GUIDE_SUFFIXES = (
    r"_[-+]_\d+.*$",
    r"[-_. ]?(?:sg|g|guide|sgrna|grna)[-_. ]?\d+$",
    r"[-_. ]P\d(?:P\d)?$",
    r"[-_.]\d+$",
    r"[-_.][ACGT]{17,22}$",
)


def is_no_call(label: str) -> bool:
    """Whether a label says that the cell's perturbation is not known.

    >>> is_no_call("NaN"), is_no_call(" "), is_no_call("NANOG")
    (True, True, False)
    """
    return label.strip().casefold() in NO_CALL


def looks_like_control(label: str) -> bool:
    """Whether a label may name unperturbed cells.

    >>> [looks_like_control(name) for name in ("NT-3", "sgNegCtrl2", "non-targeting_00035", "NT5E", "CTRL00320")]
    [True, True, True, False, True]
    """
    if _CONTROL_PHRASES.search(label.casefold()):
        return True
    if any(_NUMBERED.fullmatch(word) for word in re.split(r"[^A-Za-z0-9]+", label.casefold())):
        return True
    return any(word.casefold() in _CONTROL_WORDS for word in _WORDS.findall(label))


def split_everywhere(label: str, separator: str) -> list[str]:
    """Parts of a label between separators, without spaces at their ends.

    >>> split_everywhere("A || B", "||")
    ['A', 'B']
    """
    return [part.strip() for part in label.split(separator)]


def joined_labels(labels: Iterable[str], separator: str, controls: Iterable[str] = ()) -> list[str]:
    """Labels whose parts, at this separator, are all labels of their own (or control).

    >>> joined_labels(["A", "B", "A_B", "A_x"], "_")
    ['A_B']
    """
    known = {label.strip() for label in labels} | set(controls) | set(NO_PERTURBATION)
    found = []
    for label in sorted(known):
        pieces = split_everywhere(label, separator)
        if len(pieces) > 1 and known.issuperset(pieces):
            found.append(label)
    return found


def likely_separator(labels: Iterable[str], controls: Iterable[str] = ()) -> tuple[str, list[str]] | None:
    """The separator by which most labels are combinations of others, and these labels; None without any.

    >>> likely_separator(["A", "B", "C", "A_B", "C_A", "RP11-34"])
    ('_', ['A_B', 'C_A'])
    """
    labels = list(labels)
    found = [(separator, joined_labels(labels, separator, controls)) for separator in SEPARATORS]
    separator, joined = max(found, key=lambda item: len(item[1]))
    return (separator, joined) if joined else None


def guides_of_targets(labels: Iterable[str], suffix: str) -> dict[str, list[str]]:
    """Labels by what is left of them without the ending, a regular expression.

    >>> guides_of_targets(["KLF1_1", "KLF1_2", "FEV_1"], r"_[0-9]+$")
    {'FEV': ['FEV_1'], 'KLF1': ['KLF1_1', 'KLF1_2']}
    """
    stems: dict[str, list[str]] = defaultdict(list)
    for label in sorted(set(labels)):
        stems[re.sub(suffix, "", label)].append(label)
    return dict(sorted(stems.items()))


def likely_guide_suffix(labels: Iterable[str]) -> tuple[str, dict[str, list[str]]] | None:
    r"""The ending without which most labels share a name with another; None where no ending does that.

    >>> likely_guide_suffix(["KLF1_1", "KLF1_2", "FEV_1", "FEV_2"])
    ('[-_.]\\d+$', {'FEV': ['FEV_1', 'FEV_2'], 'KLF1': ['KLF1_1', 'KLF1_2']})
    """
    names = sorted(set(labels))
    for suffix in GUIDE_SUFFIXES:
        stems = guides_of_targets(names, suffix)
        sharing = sum(len(guides) for guides in stems.values() if len(guides) > 1)
        if "" not in stems and len(names) >= 4 and 2 * sharing > len(names):
            return suffix, stems
    return None
