"""What the labels of a file stand for: control, a perturbation or combination, no call, or what is to be left out."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from diversity_by_design.datasets import label_evidence
from diversity_by_design.datasets.combinations import take_apart
from diversity_by_design.datasets.settings import PreparationSettings
from diversity_by_design.errors import InputError, listed, similar
from diversity_by_design.labels import CONTROL, JOINER, NO_PERTURBATION, canonical

# What is written for a + that belongs to a name, since + joins combinations.
PLUS = "plus"
# Labels that a note names.
SHOWN = 5


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
    names = {label: targets.get(label, label).strip() for label in sorted(cells)}
    control = _called(settings.control_label, names, "--control-label", where)
    dropped = _called(settings.drop_labels, names, "--drop-labels", where) - control
    kept = _called(settings.keep_label, names, "--keep-label", where) | control
    no_call = _called(settings.no_call, names, "--no-call", where) | set(filter(label_evidence.is_no_call, names))
    perturbed = {label: name for label, name in names.items() if label not in (no_call - kept) | dropped | control}

    unperturbed = {form for label in control for form in (label.strip(), names[label])} | {*NO_PERTURBATION}
    unknown = {label.strip() for label in no_call - kept}
    parts = take_apart(set(perturbed.values()) - unperturbed, unperturbed, settings.combination_separator)
    of_label, twice, uncalled = dict.fromkeys(control, CONTROL), [], set()
    for label, name in perturbed.items():
        pieces = parts.get(name, [])
        if not all(pieces):
            raise InputError(
                f"label {label!r} of {where} has an empty part; combinations are written as "
                f"A{settings.combination_separator or JOINER}B, and single perturbations without it (--drop-labels "
                "leaves a label out)"
            )
        if any(piece in unknown or (label_evidence.is_no_call(piece) and label not in kept) for piece in pieces):
            uncalled.add(label)
            continue
        genes = [_target(piece, targets, settings.guide_suffix) for piece in pieces if piece not in unperturbed]
        if not pieces or (genes and canonical(genes[0]) in NO_PERTURBATION):
            raise InputError(
                f"label {label!r} of {where} stands for control beside {listed(map(repr, settings.control_label))}; "
                "name it with --control-label too, or leave its cells out with --drop-labels"
            )
        if len(set(genes)) < len(genes):
            twice.append(label)
        of_label[label] = canonical(JOINER.join(gene.replace(JOINER, PLUS) for gene in genes)) if genes else CONTROL
    left_out = sorted((no_call - kept - dropped) | uncalled)
    conditions = Conditions(
        dict(sorted(of_label.items())),
        {label: cells[label] for label in left_out},
        {label: cells[label] for label in sorted(dropped)},
        (),
    )
    atoms = {part for pieces in parts.values() for part in pieces} - unperturbed
    notes = [*_what_was_done(conditions, cells, twice, atoms), *_what_may_be_meant(conditions, cells, atoms, settings)]
    return Conditions(conditions.of_label, conditions.no_call, conditions.dropped, tuple(notes))


def _called(wanted: Iterable[str], names: Mapping[str, str], option: str, where: str) -> set[str]:
    """Labels that are called as asked for, themselves or their targets, or match a pattern such as ``NT-*``."""
    found: set[str] = set()
    for asked in wanted:
        name = asked.strip()
        labels = {label for label, target in names.items() if name in (label.strip(), target)}
        if not labels and any(sign in name for sign in "*?["):
            labels = {
                label for label, target in names.items() if any(fnmatchcase(n, name) for n in (label.strip(), target))
            }
        if not labels:
            near = similar(name, names)
            hint = f"; did you mean {listed(map(repr, near), SHOWN)}?" if near else ""
            raise InputError(
                f"{option}: {asked!r} does not occur in {where}{hint} Its labels are: {listed(map(repr, names), 30)}"
            )
        found |= labels
    return found


def _target(guide: str, targets: Mapping[str, str], suffix: str | None) -> str:
    guide = targets.get(guide, guide)
    target = guide if suffix is None else re.sub(suffix, "", guide)
    if not target:
        raise InputError(f"--guide-suffix {suffix!r} matches all of {guide!r}; it must match the ending only")
    return target


def _what_was_done(
    conditions: Conditions, cells: Mapping[str, int], twice: Collection[str], atoms: Collection[str]
) -> Iterator[str]:
    def counted(labels: Iterable[str]) -> str:
        return listed((f"{label!r} ({cells[label]:,})" for label in labels), 30)

    for labels, what in (
        (conditions.no_call, "without a call (their label says that the perturbation is not known)"),
        (conditions.dropped, "whose labels were to be dropped"),
    ):
        if labels:
            yield f"{sum(labels.values()):,} cells {what} were left out: {counted(labels)}"
    joined = {name: labels for name, labels in conditions.merged.items() if len(labels) > 1}
    if joined:
        shown = listed((f"{listed(map(repr, labels), SHOWN)} -> {name}" for name, labels in joined.items()), SHOWN)
        yield f"{sum(map(len, joined.values())):,} labels share {len(joined):,} condition(s): {shown}"
    spaced = [label for label in conditions.of_label if label != label.strip()]
    if spaced:
        yield f"spaces at the ends of {len(spaced):,} label(s) were taken off: {counted(spaced[:SHOWN])}"
    if twice:
        yield f"{len(twice):,} label(s) name a perturbation twice, which counts once: {counted(twice)}"
    with_plus = sorted(name for name in atoms if JOINER in name)
    if with_plus:
        yield (
            f"{JOINER!r} belongs to {len(with_plus):,} name(s), whose parts are no labels of their own, and is written "
            f"{PLUS!r} there: {listed(with_plus, SHOWN)} (if these are combinations: --combination-separator {JOINER})"
        )


def _what_may_be_meant(
    conditions: Conditions, cells: Mapping[str, int], atoms: Collection[str], settings: PreparationSettings
) -> Iterator[str]:
    """What else labels look like, and the option that says so."""
    controls = [
        label
        for label, condition in conditions.of_label.items()
        if condition != CONTROL and JOINER not in condition and label_evidence.looks_like_control(condition)
    ]
    if controls:
        shown = listed((f"{label} ({cells[label]:,})" for label in controls), SHOWN)
        yield (
            f"{len(controls):,} label(s) look like control but count as perturbations: {shown}; if they are control: "
            "--control-label, once for each or with a pattern such as 'NT-*'"
        )
    guess = label_evidence.likely_separator(atoms)
    if guess:
        separator, joined = guess
        yield (
            f"{len(joined):,} label(s) look like combinations, since all their parts are labels: "
            f"{listed(joined, SHOWN)}; they count as single perturbations, unless with --combination-separator "
            f"{separator!r}"
        )
    ending = label_evidence.likely_guide_suffix(atoms)
    if ending:
        suffix, stems = ending
        several = [guides for guides in stems.values() if len(guides) > 1]
        yield (
            f"{len(atoms):,} names look like guides of {len(stems):,} targets: {listed(several[0], 3)}; each counts as "
            f"a perturbation of its own, unless with --guide-suffix '{suffix}' or --target-key COLUMN"
        )
    folded = defaultdict(list)
    for name in sorted(set(conditions.of_label.values())):
        folded[name.casefold()].append(name)
    alike = [names for names in folded.values() if len(names) > 1]
    if alike:
        yield f"perturbations that differ in case only: {listed((' and '.join(names) for names in alike), SHOWN)}"
