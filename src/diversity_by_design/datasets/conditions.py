"""What the labels of a file stand for: control, a perturbation or combination, no call, or what is to be left out."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from diversity_by_design.datasets import label_evidence
from diversity_by_design.datasets.combinations import take_apart
from diversity_by_design.datasets.settings import PreparationSettings
from diversity_by_design.errors import InputError, listed, similar
from diversity_by_design.labels import CONTROL, JOINER, NO_PERTURBATION, canonical, parts, shortened

# What is written for a + that belongs to a name, since + joins combinations.
PLUS = "plus"
# Labels that a note names, and those that an error does.
SHOWN, LISTED = 5, 30


@dataclass(frozen=True)
class Conditions:
    """What each label of a file stands for."""

    of_label: dict[str, str]  # condition of each label whose cells are kept: ``control``, ``A``, ``A+B``
    no_call: dict[str, int]  # labels that mean no call, and how many cells each has
    dropped: dict[str, int]  # labels that were to be left out, likewise
    notes: tuple[str, ...]

    @property
    def merged(self) -> dict[str, list[str]]:
        """Labels of each condition that is called otherwise, or has several."""
        labels = defaultdict(list)
        for label, condition in self.of_label.items():
            labels[condition].append(label)
        return {name: names for name, names in sorted(labels.items()) if names != [name]}


def conditions_of(
    cells: Mapping[str, int], settings: PreparationSettings, where: str, targets: Mapping[str, str] | None = None
) -> Conditions:
    """Conditions of the labels of a file.

    Labels of control become ``control``; those that mean no call, and those to be left out, are counted. The others are
    taken apart (see `take_apart`), guides are replaced by their targets, and a combination takes its canonical form:
    ``B_A`` is ``A+B``, ``A+ctrl`` is ``A``, and so is ``A+A``. Labels may share a condition.

    Control and no call may be named by a label, a part of one, or a target. A pattern means parts and targets, and
    whole labels only where it matches none of these. What is named goes before what matches a pattern.

    Parameters
    ----------
    cells : mapping of str to int
        Labels, and the number of cells of each.
    settings : PreparationSettings
    where : str
        What messages call the column.
    targets : mapping of str to str, optional
        Target of a label, or of a guide that is part of a label.

    Raises
    ------
    InputError
        A label that was named does not occur (those that differ from it in case, spaces or dtype only are said), stands
        for control without being named, or has an empty part.

    Examples
    --------
    >>> settings = PreparationSettings(perturbation_key="gene", control_label="NT", combination_separator="_")
    >>> conditions_of({"NT": 9, "B_A": 5, "C": 7, "nan": 2}, settings, "obs['gene']").of_label
    {'B_A': 'A+B', 'C': 'C', 'NT': 'control'}
    """
    targets = targets or {}

    def target(guide: str) -> str:
        guide = targets.get(guide, guide)
        return guide if settings.guide_suffix is None else re.sub(settings.guide_suffix, "", guide)

    names = {label: targets.get(label, label).strip() for label in sorted(cells)}
    forms = {label: {label.strip(), name} for label, name in names.items()}
    wholes = set().union(*forms.values())
    known = {*NO_PERTURBATION, *_words_for_no_call(wholes)}
    apart = take_apart(wholes, known, settings.combination_separator)
    pieces = {part for parts_of_one in apart.values() for part in parts_of_one} - {""}
    named = _named(settings, wholes, pieces | set(map(target, pieces)), where)
    nothing = named.control | {*NO_PERTURBATION}
    apart = take_apart(wholes, known | named.control | named.unknown, settings.combination_separator)

    of_label: dict[str, str] = {}
    no_call, dropped, twice = [], [], []
    perturbed: set[str] = set()
    for label, name in names.items():
        guides = apart[name]
        genes = [target(guide) for guide in guides]
        kept = [gene for guide, gene in zip(guides, genes, strict=True) if not {guide, gene} & nothing]
        if forms[label] & named.dropped:
            dropped.append(label)
        elif forms[label] & named.control:
            of_label[label] = CONTROL
        elif not forms[label] & named.kept and named.is_no_call(*forms[label], *filter(None, [*guides, *genes])):
            no_call.append(label)
        elif not all(guides):
            raise InputError(
                f"label {shortened(label)!r} of {where} has an empty part; combinations are written as "
                f"A{settings.combination_separator or JOINER}B, and single perturbations without it (--drop-labels "
                "leaves a label out)"
            )
        elif not all(kept):
            raise InputError(
                f"--guide-suffix {settings.guide_suffix!r} matches all of {shortened(label)!r} of {where}, or of one "
                "of its parts; it must match the ending only"
            )
        elif not kept and not named.control & {*guides, *genes}:
            raise InputError(
                f"label {shortened(label)!r} of {where} stands for control beside {_quoted(settings.control_label)}; "
                "name it with --control-label too, or leave its cells out with --drop-labels"
            )
        else:
            of_label[label] = canonical(JOINER.join({gene.replace(JOINER, PLUS) for gene in kept}) or CONTROL)
            perturbed.update(kept)
            twice += [label] if len(set(kept)) < len(kept) else []
    conditions = Conditions(
        of_label, {label: cells[label] for label in no_call}, {label: cells[label] for label in dropped}, ()
    )
    notes = [
        *_what_was_done(conditions, cells, twice, perturbed),
        *_what_may_be_meant(conditions, cells, perturbed, nothing, settings),
    ]
    return replace(conditions, notes=tuple(notes))


@dataclass(frozen=True)
class _Named:
    """Names (of labels, of their parts, or of targets) that options give a meaning."""

    control: set[str]
    dropped: set[str]
    unknown: set[str]
    kept: set[str]

    def is_no_call(self, *names: str) -> bool:
        """Whether one of these names says that a perturbation is not known."""
        asked = set(names) - self.kept
        return bool(asked & self.unknown) or any(map(label_evidence.is_no_call, asked))


def _named(settings: PreparationSettings, labels: set[str], atoms: set[str], where: str) -> _Named:
    """What options name; `atoms` are parts of labels and targets."""
    dropped, drop_pattern = _called(settings.drop_labels, "--drop-labels", labels, set(), where)
    unknown, unknown_pattern = _called(settings.no_call, "--no-call", labels, atoms, where)
    control, control_pattern = _called(settings.control_label, "--control-label", labels, atoms, where)
    kept = set().union(*_called(settings.keep_label, "--keep-label", labels, atoms, where))
    dropped |= drop_pattern - control
    control |= {name for name in control_pattern - dropped - unknown if not label_evidence.is_no_call(name)}
    return _Named(control, dropped, unknown | (unknown_pattern - control), kept | control)


def _called(
    wanted: Iterable[str], option: str, labels: set[str], atoms: set[str], where: str
) -> tuple[set[str], set[str]]:
    """Names that are called as asked for, and those that match a pattern such as ``NT-*``: atoms, or else labels."""
    exactly, by_pattern = set(), set()
    for asked in wanted:
        name = asked.strip()
        matching = next(filter(None, ({n for n in names if fnmatchcase(n, name)} for names in (atoms, labels))), set())
        if name in labels | atoms:
            exactly.add(name)
        elif matching:
            by_pattern |= matching
        else:
            raise InputError(
                f"{option}: {asked!r} does not occur in {where}{_hint(name, labels, option)}; its labels are: "
                f"{_quoted(sorted(labels), LISTED)}"
            )
    return exactly, by_pattern


def _hint(name: str, labels: Collection[str], option: str) -> str:
    """Labels that may have been meant."""
    near = similar(name, sorted(labels))
    if near:
        return f"; did you mean {_quoted(near)}?"
    controls = sorted(filter(label_evidence.looks_like_control, labels)) if option == "--control-label" else []
    controls.sort(key=label_evidence.is_plain_control, reverse=True)
    return f"; {_quoted(controls)} look(s) like control" if controls else ""


def _quoted(labels: Iterable[str], limit: int = SHOWN) -> str:
    return listed((repr(shortened(label)) for label in labels), limit)


def _words_for_no_call(labels: Iterable[str]) -> set[str]:
    """Labels, and what stands beside a + in some, that say that a perturbation is not known."""
    names = {part.strip() for label in labels for part in (label, *label.split(JOINER))}
    return {name for name in names if any(map(str.isalnum, name)) and label_evidence.is_no_call(name)}


def _what_was_done(
    conditions: Conditions, cells: Mapping[str, int], twice: Collection[str], perturbed: Collection[str]
) -> Iterator[str]:
    def counted(labels: Iterable[str], limit: int = LISTED) -> str:
        return listed((f"{shortened(label)!r} ({cells[label]:,})" for label in labels), limit)

    for labels, what in (
        (conditions.no_call, "without a call (their label says that the perturbation is not known)"),
        (conditions.dropped, "whose labels were to be dropped"),
    ):
        if labels:
            yield f"{sum(labels.values()):,} cells {what} were left out: {counted(labels)}"
    joined = {name: labels for name, labels in conditions.merged.items() if len(labels) > 1}
    if joined:
        shown = listed((f"{_quoted(labels)} -> {shortened(name)}" for name, labels in joined.items()), SHOWN)
        yield f"{sum(map(len, joined.values())):,} labels share {len(joined):,} condition(s): {shown}"
    spaced = [label for label in conditions.of_label if label != label.strip()]
    if spaced:
        yield f"spaces at the ends of {len(spaced):,} label(s) were taken off: {counted(spaced, SHOWN)}"
    if twice:
        yield f"{len(twice):,} label(s) name a perturbation twice, which counts once: {counted(twice, SHOWN)}"
    with_plus = sorted(name for name in perturbed if JOINER in name)
    if with_plus:
        yield (
            f"{JOINER!r} belongs to {len(with_plus):,} name(s), whose parts are no labels of their own, and is written "
            f"{PLUS!r} there: {_quoted(with_plus)} (if these are combinations: --combination-separator {JOINER})"
        )


def _what_may_be_meant(
    conditions: Conditions,
    cells: Mapping[str, int],
    perturbed: Collection[str],
    nothing: Collection[str],
    settings: PreparationSettings,
) -> Iterator[str]:
    """What else labels look like, and the option that says so."""
    cells_of: Counter[str] = Counter()
    for label, condition in conditions.of_label.items():
        if condition != CONTROL:
            cells_of.update(dict.fromkeys(parts(condition), cells[label]))
    controls = sorted(filter(label_evidence.looks_like_control, cells_of))
    if controls:
        shown = listed((f"{shortened(name)} ({cells_of[name]:,} cells)" for name in controls), SHOWN)
        yield (
            f"{len(controls):,} perturbation(s) look like control: {shown}; if they are control: --control-label, once "
            "for each or with a pattern such as 'NT-*'"
        )
    guess = label_evidence.likely_separator(perturbed, nothing) if settings.combination_separator is None else None
    if guess:
        separator, joined = guess
        yield (
            f"{len(joined):,} label(s) look like combinations, since their parts are labels too: {_quoted(joined)}; "
            f"they count as single perturbations, unless with --combination-separator {separator.strip()!r}"
        )
    ending = label_evidence.likely_guide_suffix(perturbed) if settings.guide_suffix is None else None
    if ending:
        suffix, stems = ending
        several = next(guides for guides in stems.values() if len(guides) > 1)
        yield (
            f"{len(perturbed):,} names look like guides of {len(stems):,} targets: {_quoted(several, 3)}; each counts "
            f"as a perturbation of its own, unless with --guide-suffix '{suffix}' or --target-key COLUMN"
        )
    folded = defaultdict(list)
    for name in sorted(set(conditions.of_label.values())):
        folded[name.casefold()].append(name)
    alike = [names for names in folded.values() if len(names) > 1]
    if alike:
        shown = listed((" and ".join(map(shortened, names)) for names in alike), SHOWN)
        yield f"perturbations that differ in case only: {shown}"
