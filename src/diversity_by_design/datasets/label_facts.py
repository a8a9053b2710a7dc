"""What the labels of one column or table of calls look like as a whole, for inspection."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from diversity_by_design.datasets import label_evidence
from diversity_by_design.datasets.combinations import splitter, take_apart
from diversity_by_design.labels import JOINER, NO_PERTURBATION

# Labels that JSON holds, most cells first.
KEPT = 1000
# More names of control that differ by a number only are given as a pattern.
MOST_NUMBERED = 3


@dataclass(frozen=True)
class LabelFacts:
    """Labels that may name perturbations."""

    source: str  # column of obs, path of a table of calls, or `features`
    evidence: tuple[str, ...]  # what speaks for it
    n_labels: int
    labels: dict[str, int]  # number of cells of each, the most frequent first
    without_label: int  # cells
    control: tuple[str, ...]  # labels, and parts of combinations, that look like control
    control_label: tuple[str, ...]  # as --control-label takes them: those that name nothing else, or else all
    no_call: dict[str, int]  # labels that mean no call
    separator: str | None  # what seems to join combinations
    combinations: tuple[str, ...]
    guide_suffix: str | None  # ending by which guides of one target seem to differ
    n_targets: int | None  # without it

    @property
    def plain_control(self) -> list[str]:
        """What looks like control and names nothing else."""
        return [name for name in self.control if label_evidence.is_plain_control(name)]


def label_facts(
    source: str,
    counts: Mapping[str, int],
    missing: int,
    evidence: Collection[str],
    genes: Collection[str] = (),
) -> LabelFacts:
    """Look at labels, of which `counts` are the numbers of cells; those called as `genes` are no combinations.

    >>> facts = label_facts("guide", {"NT-1": 9, "NT-2": 9, "A": 5, "A_B": 5, "B_NT-1": 5, "NA": 2}, 0, ["its name"])
    >>> facts.control, facts.combinations, facts.separator, facts.no_call
    (('NT-1', 'NT-2'), ('A_B', 'B_NT-1'), '_', {'NA': 2})
    """
    no_call = {label: n for label, n in counts.items() if label_evidence.is_no_call(label)}
    called = {label for label in counts if label not in no_call}
    separator, joined = label_evidence.likely_separator(called, single=genes) or (None, [])
    plain = set(filter(label_evidence.is_plain_control, called))
    if separator is not None:
        # NegCtrl0_NegCtrl1 is a combination of control with control, non_targeting is not.
        split = splitter(separator)
        plain -= {label for label in plain if all(map(label_evidence.is_plain_control, split(label)))}
    apart = take_apart(called, plain | {*NO_PERTURBATION}, None if separator == JOINER else separator)
    if separator in (None, JOINER):
        joined = sorted(label for label, pieces in apart.items() if len(pieces) > 1)
        separator = JOINER if joined else None
    parts = {part for pieces in apart.values() for part in pieces} - {""}
    # A combination with control is no control, but its part is.
    single = {name for label in called - set(joined) for name in (apart[label] if len(apart[label]) > 1 else [label])}
    control = set(filter(label_evidence.looks_like_control, single))
    control |= set(filter(label_evidence.is_plain_control, parts)) - ({*NO_PERTURBATION} - called)
    plain = set(filter(label_evidence.is_plain_control, control))
    suffix, targets = label_evidence.likely_guide_suffix(parts - control - {*NO_PERTURBATION}) or (None, {})
    return LabelFacts(
        source=source,
        evidence=tuple(evidence),
        n_labels=len(counts),
        labels=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:KEPT]),
        without_label=missing,
        control=tuple(sorted(control)),
        control_label=tuple(patterns(plain or control, parts | single)),
        no_call=no_call,
        separator=separator,
        combinations=tuple(joined),
        guide_suffix=suffix,
        n_targets=len(targets) or None,
    )


def patterns(control: Collection[str], names: Collection[str]) -> Iterator[str]:
    """Names of control, of which many that differ by a number are one pattern, unless it matches other `names`.

    >>> list(patterns(["NT-1", "NT-2", "NT-3", "NT-4", "safe1"], ["NT-1", "NT-2", "NT-3", "NT-4", "safe1", "NT5E"]))
    ['NT-*', 'safe1']
    """
    stems: dict[str, list[str]] = defaultdict(list)
    for name in sorted(control):
        stems[re.split(r"[\d*?[]", name, maxsplit=1)[0]].append(name)
    for stem, numbered in stems.items():
        only = all(name in control for name in names if name.startswith(stem))
        yield from [f"{stem}*"] if len(numbered) > MOST_NUMBERED and len(stem) > 1 and only else numbered
