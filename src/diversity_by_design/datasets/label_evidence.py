"""What labels of a column look like: control, no call, combinations, guides of one target.

Nothing here decides: inspection shows it, preparation says it, and its options tell what is meant.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable

from diversity_by_design.datasets.combinations import splitter
from diversity_by_design.labels import NO_PERTURBATION

# Compared without case, and with one space for signs between words. They mean that a cell's perturbation is not known,
# in one program or another.
NO_CALL = frozenset(
    """|nan|none|na|n/a|n a|<na>|nat|null|nil|na character|missing|unassigned|unknown|undetermined|undefined|uncalled|
ambiguous|unmapped|unclassified|negative|multiple|multi|multiplet|multiplets|doublet|doublets|empty|*|?|#n/a|nocall|
no call|no confident call|not assigned|not called|not detected|noguide|no guide|no guides|no guide molecules|no grna|
no sgrna|no barcode|no match""".replace("\n", "").split("|")
)

# Whole words of a label, where a digit, a change of case or a sign begins a new one.
_CONTROL_WORDS = frozenset(
    """ctrl ctl control controls nt ntc ntcs nontargeting nontarget notarget negctrl negcontrol neg scramble scrambled
    scr mock unperturbed untreated unstimulated unstim untransduced uninfected vehicle veh dmso pbs
    intergenic""".split()
)
# What may be perturbed without effect, or be in the cells instead of a perturbation.
_WITHOUT_EFFECT = frozenset(
    """safe wt wildtype parental aavs1 rosa26 gal4 gfp egfp bfp rfp mcherry lacz luc luciferase media medium""".split()
)
_CONTROL_PHRASES = re.compile(
    r"non?[-_ .]?target|safe[-_ .]?(harbou?r|target)|wild[-_ .]?type|empty[-_ .]?vector|intergenic|no[-_ .]site|"
    r"non[-_ .]gene|dimethyl[-_ .]?sulfoxide"
)
# Words that a plain name of control may have besides.
_PLAIN = _CONTROL_WORDS | frozenset(
    "non no negative targeting target guide guides sg sgrna grna g cell cells human mouse for probe".split()
)
# What some plain name of control holds; most labels do not, and need no more looking at.
_MAYBE = re.compile("|".join(sorted(_CONTROL_WORDS)) + "|" + _CONTROL_PHRASES.pattern)
_NUMBERED = re.compile(r"(sg)?(ctrl|control|nt|ntc|negctrl)g?\d*")
_WORDS = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+")
# What may be a name of its own beside control, other than the number of a guide.
_NAME = re.compile(r"(?!(sg|g|guide|sgrna|grna|rep)?\d+$)[^\W_](.*[^\W_])?", re.IGNORECASE)

# What joins the parts of a combination, the least likely to be part of a name first.
SURE = "||"  # part of no name
SEPARATORS = (" || ", "||", " + ", "+", "|", ";", "&", " & ", ",", "__", "_", "/", ":", "-", ".")

# Endings by which guides of one target differ, the most specific first.
NUMBERS = r"[-_.]\d+$"
GUIDE_SUFFIXES = (
    r"_[-+]_\d+.*$",
    r"[-_. ](?i:sgrna|grna|guide|sg|g)[-_. ]?\d+$",
    r"(?:sg|g)\d+$",
    r"[-_. ]P\d(?:P\d)?$",
    NUMBERS,
    r"[-_.][ACGT]{17,22}$",
)


def is_no_call(label: str) -> bool:
    """Whether a label says that the cell's perturbation is not known.

    >>> is_no_call("NaN"), is_no_call("Not_Assigned"), is_no_call(" "), is_no_call("NANOG")
    (True, True, True, False)
    """
    return re.sub(r"[-_.\s]+", " ", label.casefold()).strip() in NO_CALL


def looks_like_control(label: str) -> bool:
    """Whether a label may name unperturbed cells.

    >>> [looks_like_control(name) for name in ("NT-3", "sgNegCtrl2", "GFP", "non-targeting_00035", "NT5E", "CTRL00320")]
    [True, True, True, True, False, True]
    """
    tokens = re.split(r"[^A-Za-z0-9]+", label.casefold())
    if _CONTROL_PHRASES.search(label.casefold()) or any(map(_NUMBERED.fullmatch, tokens)):
        return True
    words = {*tokens, *(word.casefold() for word in _WORDS.findall(label))}
    return bool(words & (_CONTROL_WORDS | _WITHOUT_EFFECT))


def is_plain_control(label: str) -> bool:
    """Whether a label names control and nothing else, but for a number.

    >>> [is_plain_control(name) for name in ("NT-3", "non-targeting_00035", "GFP", "KLF1_NegCtrl0", "EGFP (EGFP-NT2)")]
    [True, True, False, False, False]
    """
    if not _MAYBE.search(label.casefold()):
        return False
    tokens = [token for token in re.split(r"[\W_]+", label) if not _NUMBERED.fullmatch(token.casefold())]
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", " ".join(tokens))
    return looks_like_control(label) and _PLAIN.issuperset(word.casefold() for word in words)


def joined_labels(
    labels: Iterable[str], separator: str, controls: Collection[str] = (), single: Collection[str] = ()
) -> list[str]:
    """Labels that are combinations at this separator: all their parts are labels of their own, or control.

    Those in `single` are none. A part that stands beside control only is taken for a label too, if that explains half
    of all labels and three quarters of those with the separator. Without it, half of the latter must be combinations;
    but ``||`` always joins.

    >>> joined_labels(["A", "B", "A_B", "A_ctrl"], "_"), joined_labels(["ctrl", "A_ctrl", "B_ctrl", "A_B"], "_")
    (['A_B', 'A_ctrl'], ['A_B', 'A_ctrl', 'B_ctrl'])
    >>> joined_labels(["RPS10", "NUDT3", "RPS10-NUDT3", "HLA-A", "NKX2-5"], "-")
    []
    """
    names = {label.strip() for label in labels}
    nothing = {*controls, *NO_PERTURBATION, *filter(is_plain_control, names)}
    perturbed: dict[str, set[str]] = {}
    alone: set[str] = set()
    split = splitter(separator, nothing)
    for name in names - nothing - set(single):
        if separator not in name or _is_number(name):
            continue
        parts = split(name)
        others = {part for part in parts if part not in nothing and not is_plain_control(part)}
        perturbed[name] = others
        if len(others) == 1 and not others.issuperset(parts):
            alone |= set(filter(_NAME.fullmatch, others))

    def joined(known: set[str]) -> list[str]:
        return sorted(name for name, others in perturbed.items() if others and known.issuperset(others))

    if SURE in separator:
        return sorted(perturbed)
    more = joined(names | alone)
    if 2 * len(more) >= len(names - nothing) and 4 * len(more) >= 3 * len(perturbed):
        return more
    found = joined(names)
    return found if 2 * len(found) >= len(perturbed) else []


def likely_separator(
    labels: Iterable[str], controls: Collection[str] = (), single: Collection[str] = ()
) -> tuple[str, list[str]] | None:
    """The separator by which most labels are combinations (see `joined_labels`), and these; None without any.

    >>> likely_separator(["A", "B", "C", "A_B", "C_A", "RP11-34"])
    ('_', ['A_B', 'C_A'])
    """
    labels = list(labels)
    found = [(separator, joined_labels(labels, separator, controls, single)) for separator in SEPARATORS]
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

    Numbers are those of guides if they follow each other; doses and times do not.

    >>> likely_guide_suffix(["KLF1_1", "KLF1_2", "FEV_1", "FEV_2"])
    ('[-_.]\\d+$', {'FEV': ['FEV_1', 'FEV_2'], 'KLF1': ['KLF1_1', 'KLF1_2']})
    >>> likely_guide_suffix(["Abexinostat_10", "Abexinostat_100", "Belinostat_10", "Belinostat_100"])
    """
    names = sorted({label for label in labels if not _is_number(label)})
    for suffix in GUIDE_SUFFIXES:
        stems = guides_of_targets(names, suffix)
        sharing = sum(len(guides) for guides in stems.values() if len(guides) > 1)
        if "" in stems or len(names) < 4 or 2 * sharing <= len(names):
            continue
        if suffix != NUMBERS or _follow_each_other(names):
            return suffix, stems
    return None


def _follow_each_other(names: Iterable[str]) -> bool:
    """Whether more than half of the numbers from the smallest to the largest end a name."""
    numbers = {int(ending.group()[1:]) for name in names if (ending := re.search(NUMBERS, name))}
    return 2 * len(numbers) > max(numbers) - min(numbers) + 1


def _is_number(label: str) -> bool:
    try:
        float(label)
    except ValueError:
        return False
    return True
