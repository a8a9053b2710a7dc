"""Taking labels apart into what was perturbed together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence

from diversity_by_design.labels import JOINER

# What a name may look like of which it is only known that it occurs in several combinations.
_NAME = re.compile(r"[^\W_](.*[^\W_])?")


def take_apart(labels: Collection[str], control: Collection[str], separator: str | None) -> dict[str, list[str]]:
    """Parts of each label, one where it is no combination.

    A `separator` always separates. Without one, a ``+`` does where a part is a label of its own or control, or where
    all parts occur in other labels too; and if there are such labels, also between other parts that begin and end like
    names. Elsewhere it belongs to a name, as in the guide ``AAMP_+_219134851.23``.

    >>> take_apart(["A", "A+B", "X+Y", "AAMP_+_2", "A+AAMP_+_2"], ["ctrl"], None)
    {'A': ['A'], 'A+AAMP_+_2': ['A', 'AAMP_+_2'], 'A+B': ['A', 'B'], 'AAMP_+_2': ['AAMP_+_2'], 'X+Y': ['X', 'Y']}
    >>> take_apart(["A", "X+Y"], ["ctrl"], None)
    {'A': ['A'], 'X+Y': ['X+Y']}
    """
    if separator == JOINER:
        return {label: _pieces(label) for label in sorted(labels)}
    split = splitter(separator, control) if separator else lambda label: [label.strip()]
    coarse = {label: split(label) for label in sorted(labels)}
    at_plus = _at_plus({piece for pieces in coarse.values() for piece in pieces}, control)
    return {label: [part for piece in pieces for part in at_plus[piece]] for label, pieces in coarse.items()}


def splitter(separator: str, control: Collection[str] = ()) -> Callable[[str], list[str]]:
    """A function that splits labels at a separator, of which several in a row are one.

    A name of control may hold the separator too, and stays whole.

    >>> split = splitter("_", ["non_targeting"])
    >>> split("A_B__A_B"), split("A_non_targeting")
    (['A', 'B', 'A', 'B'], ['A', 'non_targeting'])
    """

    def pieces_of(label: str) -> list[str]:
        first, *others = (piece.strip() for piece in label.split(separator))
        return [first, *filter(None, others[:-1]), *others[-1:]]

    names = {tuple(pieces_of(name)): name for name in control if separator in name}
    longest = max(map(len, names), default=1)

    def split(label: str) -> list[str]:
        pieces, parts = pieces_of(label), []
        while pieces:
            ends = range(min(longest, len(pieces)), 1, -1)
            end = next((end for end in ends if tuple(pieces[:end]) in names), 1)
            parts.append(names.get(tuple(pieces[:end]), pieces[0]))
            pieces = pieces[end:]
        return parts

    return split


def _at_plus(labels: Collection[str], control: Collection[str]) -> dict[str, list[str]]:
    names = {label for label in labels if JOINER not in label} | set(control)
    joined = sorted(set(labels) - names, key=lambda label: (label.count(JOINER), label))
    occurrences = Counter(piece for label in joined for piece in set(_pieces(label)))
    shared = {piece for piece, n in occurrences.items() if n > 1 and _NAME.fullmatch(piece)}
    result = {name: [name] for name in names}
    for label in joined:
        pieces = _pieces(label)
        result[label] = pieces if shared.issuperset(pieces) else _known_parts(label.split(JOINER), names)
        if len(result[label]) == 1:
            names.add(label)
    if any(len(result[label]) > 1 for label in joined):
        result |= {label: _pieces(label) for label in joined if all(map(_NAME.fullmatch, _pieces(label)))}
    return result


def _known_parts(pieces: Sequence[str], names: Collection[str]) -> list[str]:
    """Pieces of a label, of which those that make up no known name are one name, up to the next that is known."""
    if not pieces:
        return []
    for end in range(len(pieces), 0, -1):
        name = JOINER.join(pieces[:end]).strip()
        if name in names:
            return [name, *_known_parts(pieces[end:], names)]
    following = _known_parts(pieces[1:], names)
    if not following or following[0] in names:
        return [pieces[0].strip(), *following]
    return [f"{pieces[0]}{JOINER}{following[0]}".strip(), *following[1:]]


def _pieces(label: str) -> list[str]:
    return [piece.strip() for piece in label.split(JOINER)]
