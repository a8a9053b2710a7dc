"""What is in a file, without preparing it: what each part is likely to be, by what evidence, and the way on."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from diversity_by_design.datasets import label_evidence
from diversity_by_design.datasets.calls import GuideCalls, calls_of_counts, labels_of, read_calls
from diversity_by_design.datasets.columns import (
    batch_columns,
    context_columns,
    ensembl_share,
    label_counts,
    perturbation_evidence,
    symbol_columns,
)
from diversity_by_design.datasets.combinations import take_apart
from diversity_by_design.datasets.counts import MatrixSample, hold_the_same, sample
from diversity_by_design.datasets.reading import CellFile
from diversity_by_design.datasets.settings import FEATURES, PreparationSettings
from diversity_by_design.errors import listed
from diversity_by_design.labels import JOINER, NO_PERTURBATION

# Labels that the text names, and that JSON holds, most cells first.
SHOWN, KEPT = 8, 1000
# Where Cell Ranger writes the guides of cells, from the folder of the matrix.
CALLS = "crispr_analysis/protospacer_calls_per_cell.csv"


@dataclass(frozen=True)
class MatrixFacts:
    """A matrix of cells x genes, by a sample of its cells."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    storage: str  # dense, CSR or CSC
    smallest: float  # stored value of the sample
    largest: float
    whole_numbers: bool  # in the sample
    scale: str  # see `scales.Kind`
    evidence: str
    cells_looked_at: int


@dataclass(frozen=True)
class LabelFacts:
    """Labels that may name perturbations."""

    source: str  # column of obs, path of a table of calls, or `features`
    evidence: tuple[str, ...]  # what speaks for it
    n_labels: int
    labels: dict[str, int]  # number of cells of each, the most frequent first
    without_label: int  # cells
    control: tuple[str, ...]  # labels that look like control
    no_call: dict[str, int]  # labels that mean no call
    separator: str | None  # what seems to join combinations
    combinations: tuple[str, ...]
    guide_suffix: str | None  # ending by which guides of one target seem to differ
    n_targets: int | None  # without it


@dataclass(frozen=True)
class GeneFacts:
    """Names of genes."""

    n: int
    kind: str
    examples: tuple[str, ...]
    duplicates: int  # names that occur more than once
    symbols: tuple[str, ...]  # columns that look like symbols, where the names are identifiers


@dataclass(frozen=True)
class Inspection:
    """What `inspect_file` tells; fields are those of the JSON."""

    path: str
    form: str
    bytes: int
    cells: int
    genes: GeneFacts
    matrices: tuple[MatrixFacts, ...]
    perturbations: tuple[LabelFacts, ...]  # most likely first
    contexts: dict[str, dict[str, int]]  # columns that may be contexts: their values, and numbers of cells
    batches: dict[str, int]  # columns that may be batches or replicates: number of values
    columns: tuple[str, ...]  # all of obs
    notes: tuple[str, ...]
    command: str  # that would prepare it
    to_choose: tuple[str, ...]  # what of the command is to be replaced, or might be

    def to_json(self) -> str:
        """All of it, as JSON."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    def text(self) -> str:
        """All that matters, for a reader."""
        return "\n".join(_text(self))


def inspect_file(path: Path, modality: str | None = None) -> Inspection:
    """Look at a file; of its matrices some cells are read (see `cells.sample_cells`), of its tables all.

    Raises
    ------
    InputError
        The file cannot be read; see `CellFile`.
    """
    with CellFile(path, modality, any_modality=True) as file:
        samples = {name: sample(file, name) for name in file.matrices}
        names = _gene_names(file)
        candidates = [
            _label_facts(str(name), label_counts(column), int(column.isna().sum()), evidence)
            for name, column in file.obs.items()
            if (evidence := perturbation_evidence(column, names))
        ]
        candidates.sort(key=lambda facts: -len(facts.evidence))
        notes = list(file.notes)
        candidates = [*_called(file, notes), *candidates]
        without = {facts.source for facts in candidates[:1]}
        contexts = {str(name): label_counts(file.obs[name]) for name in context_columns(file.obs, without)}
        batches = {str(name): int(file.obs[name].nunique()) for name in batch_columns(file.obs, without)}
        genes = _gene_facts(file.var)
        command, to_choose = _command(path, file, samples, candidates, genes)
        to_choose += [f"--context-key {name} keeps its values apart" for name in contexts]
        return Inspection(
            path=str(path),
            form=file.form,
            bytes=_size(file.path),
            cells=len(file.obs),
            genes=genes,
            matrices=tuple(_matrix_facts(file, name, part) for name, part in samples.items()),
            perturbations=tuple(candidates),
            contexts=contexts,
            batches=batches,
            columns=tuple(map(str, file.obs.columns)),
            notes=tuple(notes),
            command=command,
            to_choose=tuple(to_choose),
        )


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _matrix_facts(file: CellFile, name: str, part: MatrixSample) -> MatrixFacts:
    matrix = file.matrix(name)
    return MatrixFacts(
        name=name,
        shape=tuple(map(int, matrix.shape)),
        dtype=str(matrix.dtype),
        storage={"csr": "CSR", "csc": "CSC"}.get(getattr(matrix, "format", ""), "dense"),
        smallest=float(part.values.min(initial=0)),
        largest=float(part.values.max(initial=0)),
        whole_numbers=bool((part.values == np.floor(part.values)).all()),
        scale=part.scale.kind,
        evidence=part.scale.text,
        cells_looked_at=0 if part.cells is None else part.cells.shape[0],
    )


def _gene_names(file: CellFile) -> set[str]:
    """Names of genes, and their symbols where columns have these."""
    return {*file.var.index, *(str(name) for column in symbol_columns(file.var) for name in file.var[column])}


def _gene_facts(var: pd.DataFrame) -> GeneFacts:
    share = ensembl_share(var.index)
    versions = share > 0.5 and sum("." in name for name in var.index) > len(var) / 2
    kind = "Ensembl identifiers" + (" with versions" if versions else "") if share > 0.5 else "names or symbols"
    repeated = int(var.index[var.index.duplicated()].nunique())
    return GeneFacts(len(var), kind, tuple(map(str, var.index[:3])), repeated, tuple(symbol_columns(var)))


def _label_facts(source: str, counts: Mapping[str, int], missing: int, evidence: Collection[str]) -> LabelFacts:
    no_call = {label: n for label, n in counts.items() if label_evidence.is_no_call(label)}
    called = [label for label in counts if label not in no_call]
    control = [label for label in called if label_evidence.looks_like_control(label)]
    separator, joined = label_evidence.likely_separator(called, control) or (None, [])
    parts = take_apart(called, NO_PERTURBATION, None if separator == JOINER else separator)
    if separator in (None, JOINER):
        joined = sorted(label for label, pieces in parts.items() if len(pieces) > 1)
        separator = JOINER if joined else None
    # A combination with control is no control.
    control = [label for label in control if label not in joined]
    guides = {part for pieces in parts.values() for part in pieces} - {*control, *NO_PERTURBATION, ""}
    suffix, targets = label_evidence.likely_guide_suffix(guides) or (None, {})
    most = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:KEPT])
    return LabelFacts(
        source=source,
        evidence=tuple(evidence),
        n_labels=len(counts),
        labels=most,
        without_label=missing,
        control=tuple(sorted(control)),
        no_call=no_call,
        separator=separator,
        combinations=tuple(joined),
        guide_suffix=suffix,
        n_targets=len(targets) or None,
    )


def _called(file: CellFile, notes: list[str]) -> Iterator[LabelFacts]:
    """Labels of guide calls beside the matrix, and of guide features within it."""
    found = [folder / CALLS for folder in (file.path, *file.path.parents[:2]) if (folder / CALLS).is_file()]
    if found:
        yield _calls_facts(file, str(found[0]), read_calls(found[0]), notes)
    elif file.guides is not None:
        least = PreparationSettings().guide_umis
        calls = calls_of_counts(file.guides.X, file.obs.index, file.guides.var_names, least)
        yield _calls_facts(file, FEATURES, calls, notes)


def _calls_facts(file: CellFile, source: str, calls: GuideCalls, notes: list[str]) -> LabelFacts:
    labels, matching = labels_of(calls, file.obs.index, str(file.path))
    notes += [*calls.notes, *matching]
    return _label_facts(source, label_counts(labels), int(labels.isna().sum()), ("guides of cells",))


def _command(
    path: Path,
    file: CellFile,
    samples: Mapping[str, MatrixSample],
    candidates: Collection[LabelFacts],
    genes: GeneFacts,
) -> tuple[str, list[str]]:
    """Command that would prepare the file, and what is to be chosen in it."""
    options: list[str] = []
    to_choose: list[str] = []
    if file.modality is not None:
        options += ["--modality", file.modality]
    if not candidates:
        options += ["--perturbation-key", "COLUMN", "--control-label", "LABEL"]
        to_choose.append(
            "COLUMN: no column of obs looks like perturbations; name the one that does, or give the guides of each "
            "cell with --calls FILE; and LABEL, that of unperturbed cells"
        )
    for facts in list(candidates)[:1]:
        from_calls = facts.source == FEATURES or facts.source not in file.obs
        options += ["--calls" if from_calls else "--perturbation-key", facts.source]
        options += _control_options(facts, to_choose)
        if facts.separator not in (None, "+") and not from_calls:
            options += ["--combination-separator", str(facts.separator).strip()]
        if facts.guide_suffix is not None:
            options += ["--guide-suffix", facts.guide_suffix]
            to_choose.append(
                f"--guide-suffix joins guides of {facts.n_targets:,} targets; leave it out to keep them apart"
            )
        others = [other.source for other in list(candidates)[1:]]
        if others:
            to_choose.append(f"other columns that may name perturbations: {listed(others, 5)}")
    kinds = {name: part.scale.kind for name, part in samples.items()}
    counted = [name for name, kind in kinds.items() if kind == "counts"]
    if not counted and "fractional counts" in kinds.values():
        options.append("--round")
        to_choose.append("--round rounds fractions of counts; raw counts would be better")
    elif not counted:
        to_choose.append("no matrix holds raw counts, which preparation needs")
    elif not all(hold_the_same(file, samples, counted[0], other) for other in counted[1:]):
        options += ["--matrix", counted[0]]
        to_choose.append(f"--matrix: counts may be those of {listed(counted)}, which differ")
    if genes.symbols:
        options += ["--gene-names", genes.symbols[0]]
    return shlex.join(["dbd", "prepare", str(path), *options]), to_choose


def _control_options(facts: LabelFacts, to_choose: list[str]) -> list[str]:
    """Options that name the labels that look like control: each, or by a pattern if many."""
    if not facts.control:
        instead = f" ({listed(facts.no_call)} may stand for it)" if facts.no_call else ""
        to_choose.append(f"LABEL: no label looks like control; name that of unperturbed cells{instead}")
        return ["--control-label", "LABEL"]
    names = list(facts.control)
    first, last = min(names), max(names)
    pattern = (
        first[: next((n for n, pair in enumerate(zip(first, last, strict=False)) if len(set(pair)) > 1), len(first))]
        + "*"
    )
    if len(names) > 3 and len(pattern) > 2 and {n for n in facts.labels if n.startswith(pattern[:-1])} == set(names):
        names = [pattern]
    if len(facts.control) > 1:
        to_choose.append(f"control: {len(facts.control)} labels look like it, and are joined; name those that are")
    return [text for name in names for text in ("--control-label", name)]


def _text(found: Inspection) -> Iterator[str]:
    yield f"{found.path}: {found.form}, {_bytes(found.bytes)}"
    yield f"{found.cells:,} cells x {found.genes.n:,} genes"
    yield ""
    yield "matrices"
    for matrix in found.matrices:
        yield (
            f"  {matrix.name}: {matrix.storage} {matrix.dtype}, {matrix.smallest:g} to {matrix.largest:g}; "
            f"{matrix.evidence}"
        )
    yield "genes"
    yield f"  {found.genes.kind}, such as {listed(found.genes.examples)}"
    if found.genes.duplicates:
        yield f"  {found.genes.duplicates:,} names occur more than once; they would be numbered"
    if found.genes.symbols:
        yield f"  symbols may be in var: {listed(found.genes.symbols)}"
    for facts in found.perturbations:
        yield from _label_text(facts)
    if not found.perturbations:
        yield "perturbations"
        yield f"  no column looks like it; the columns of obs are: {listed(found.columns, 30)}"
    for name, values in found.contexts.items():
        shown = listed((f"{value} ({n:,})" for value, n in values.items()), SHOWN)
        yield f"may be a context: obs[{name!r}], {len(values)} values: {shown}"
    for name, n in found.batches.items():
        yield f"may be a batch or replicate: obs[{name!r}], {n} values"
    yield from (f"note: {note}" for note in found.notes)
    yield ""
    yield "To prepare it:"
    yield f"  {found.command}"
    yield "To prepare and analyse it, in a clone of the project:"
    yield f"  {analysis_command(found.command)}"
    yield from (f"  - {choice}" for choice in found.to_choose)


def analysis_command(command: str) -> str:
    """The command that runs all analyses, from the one that prepares.

    >>> analysis_command("dbd prepare 'my file.h5ad' --round")
    "uv run analyses/reproduce.py --dataset 'my file.h5ad' --round"
    """
    _, _, path, *options = shlex.split(command)
    return shlex.join(["uv", "run", "analyses/reproduce.py", "--dataset", path, *options])


def _label_text(facts: LabelFacts) -> Iterator[str]:
    yield f"may name perturbations: {facts.source} ({listed(facts.evidence)})"
    shown = listed((f"{label} ({n:,})" for label, n in facts.labels.items()), SHOWN)
    yield f"  {facts.n_labels:,} labels: {shown}"
    if facts.without_label:
        yield f"  {facts.without_label:,} cells have none"
    for labels, what in ((facts.control, "look like control"), (facts.no_call, "mean no call, and are left out")):
        if labels:
            yield f"  {what}: {listed(labels, SHOWN)}"
    if facts.combinations:
        shown = listed(facts.combinations, 3)
        yield f"  {len(facts.combinations):,} look like combinations, by {facts.separator!r}: {shown}"
    if facts.guide_suffix:
        yield f"  look like guides of {facts.n_targets:,} targets, which differ by the ending {facts.guide_suffix}"


def _bytes(n: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:,.3g} TB"
