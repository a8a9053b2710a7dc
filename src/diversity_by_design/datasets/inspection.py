"""What is in a file, without preparing it: what each part is likely to be, by what evidence, and the way on."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from diversity_by_design.datasets.calls import calls_of_counts, labels_of, read_calls
from diversity_by_design.datasets.cell_labels import cell_labels
from diversity_by_design.datasets.columns import (
    batch_columns,
    context_columns,
    identifiers,
    label_counts,
    perturbation_evidence,
    symbol_columns,
)
from diversity_by_design.datasets.counts import MatrixSample, hold_the_same, sample
from diversity_by_design.datasets.label_facts import LabelFacts, label_facts
from diversity_by_design.datasets.reading import CellFile
from diversity_by_design.datasets.selection import choose_cells
from diversity_by_design.datasets.settings import FEATURES, PreparationSettings
from diversity_by_design.errors import InputError, listed, unique_names
from diversity_by_design.labels import JOINER, shortened

# Labels that the text names, most cells first.
SHOWN = 8
# How the outcome of a command begins that would not prepare the file.
REFUSED = "as it stands, this is refused"
# Evidence of labels that are guide calls.
CALLED = ("guides of cells",)
# Where Cell Ranger writes the guides of cells, from the folder of the matrix.
CALLS = "crispr_analysis/protospacer_calls_per_cell.csv"


@dataclass(frozen=True)
class MatrixFacts:
    """A matrix of cells x genes, by a sample of its cells."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    storage: str  # dense, CSR or CSC
    smallest: float | None  # stored value of the sample; None if one is missing or infinite
    largest: float | None
    whole_numbers: bool  # in the sample
    scale: str  # see `scales.Kind`
    evidence: str
    cells_looked_at: int


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
    outcome: str  # what it makes of the labels; empty if there is something to fill in
    to_choose: tuple[str, ...]  # what of the command is to be replaced, or might be

    def to_json(self) -> str:
        """All of it, as JSON."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    def text(self) -> str:
        """All that matters, for a reader."""
        return "\n".join(_text(self))


# Cells with several guides, if they are a smaller part of those with a call, are rather two cells in one droplet.
MULTIPLETS = 0.25


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
            label_facts(str(name), label_counts(column), int(column.isna().sum()), evidence, names)
            for name, column in file.obs.items()
            if (evidence := perturbation_evidence(column, names))
        ]
        # Rather targets than their guides.
        candidates.sort(
            key=lambda facts: (-len(facts.evidence), facts.guide_suffix is not None, facts.source != "perturbation")
        )
        notes = list(file.notes)
        candidates = [*_called(file, notes), *candidates]
        without = {facts.source for facts in candidates[:1]}
        contexts = {str(name): label_counts(file.obs[name]) for name in context_columns(file.obs, without)}
        batches = {str(name): int(file.obs[name].nunique()) for name in batch_columns(file.obs, without)}
        genes = _gene_facts(file.var)
        options, to_choose = _options(file, samples, candidates, genes)
        to_choose += [f"--context-key {shlex.quote(name)} keeps its values apart" for name in contexts]
        to_choose += [f"--batch-key {shlex.quote(name)} draws cells evenly from its values" for name in batches]
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
            command=shlex.join(["dbd", "prepare", str(path), *_arguments(options)]),
            outcome=_outcome(file, samples, options),
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
        smallest=_finite(part.values.min(initial=0)),
        largest=_finite(part.values.max(initial=0)),
        whole_numbers=bool((part.values == np.floor(part.values)).all()),
        scale=part.scale.kind,
        evidence=part.scale.text,
        cells_looked_at=0 if part.cells is None else part.cells.shape[0],
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _gene_names(file: CellFile) -> set[str]:
    """Names of genes, and their symbols where columns have these."""
    return {*file.var.index, *(str(name) for column in symbol_columns(file.var) for name in file.var[column])}


def _gene_facts(var: pd.DataFrame) -> GeneFacts:
    kind = identifiers(var.index) or "names or symbols"
    repeated = int(var.index[var.index.duplicated()].nunique())
    return GeneFacts(len(var), kind, tuple(map(str, var.index[:3])), repeated, tuple(symbol_columns(var)))


def _called(file: CellFile, notes: list[str]) -> Iterator[LabelFacts]:
    """Labels of guide calls beside the matrix, or of guide features within it."""
    beside = [folder / CALLS for folder in (file.path, *file.path.parents[:2]) if (folder / CALLS).is_file()]
    try:
        if beside:
            calls = read_calls(beside[0])
        elif file.guides is None:
            return
        else:
            least = PreparationSettings().guide_umis
            calls = calls_of_counts(file.guides.X, file.obs.index, file.guides.var_names, least)
        labels, matching = labels_of(calls, file.obs.index, str(file.path))
    except InputError as error:
        notes.append(f"guides of cells cannot be used: {error}")
        return
    notes += [*calls.notes, *matching]
    source = str(beside[0]) if beside else FEATURES
    yield label_facts(source, label_counts(labels), int(labels.isna().sum()), CALLED)


def _options(
    file: CellFile, samples: Mapping[str, MatrixSample], candidates: Sequence[LabelFacts], genes: GeneFacts
) -> tuple[dict[str, Any], list[str]]:
    """Settings that would prepare the file, and what is to be chosen in them."""
    options: dict[str, Any] = {}
    to_choose: list[str] = []
    if file.modality is not None:
        options["modality"] = file.modality
    if candidates:
        options |= _options_of_labels(candidates[0], to_choose)
        others = [other.source for other in candidates[1:]]
        if others:
            to_choose.append(f"other columns that may name perturbations: {listed(others, 5)}")
    else:
        options |= {"perturbation_key": "COLUMN", "control_label": ["LABEL"]}
        to_choose.append(
            "COLUMN: no column of obs looks like perturbations; name the one that does, or give the guides of each "
            "cell with --calls FILE; and LABEL, that of unperturbed cells"
        )
    kinds = {name: part.scale.kind for name, part in samples.items()}
    wanted = "counts" if "counts" in kinds.values() else "fractional counts"
    counted = [name for name, kind in kinds.items() if kind == wanted]
    if counted and not all(hold_the_same(file, samples, counted[0], other) for other in counted[1:]):
        options["matrix"] = counted[0]
        to_choose.append(f"--matrix: counts may be those of {listed(counted)}, which differ")
    if counted and wanted != "counts":
        options["round"] = True
        to_choose.append("--round rounds fractions of counts; raw counts would be better")
    if genes.symbols:
        options["gene_names"] = genes.symbols[0]
    return options, to_choose


def _options_of_labels(facts: LabelFacts, to_choose: list[str]) -> dict[str, Any]:
    called = facts.evidence == CALLED
    options: dict[str, Any] = {"calls" if called else "perturbation_key": facts.source}
    options["control_label"] = facts.control_label or ["LABEL"]
    if not facts.control:
        instead = f" ({_shown(facts.no_call)} may stand for it)" if facts.no_call else ""
        to_choose.append(f"LABEL: no label looks like control; name that of unperturbed cells{instead}")
    others = [name for name in facts.control if facts.plain_control and name not in facts.plain_control]
    n_named = len(facts.control) - len(others)
    if n_named > 1:
        to_choose.append(f"control: {n_named} labels look like it, and are joined; name those that are")
    if others:
        to_choose.append(f"{_shown(others)}: control too? If so, name them with --control-label")
    if facts.separator not in (None, JOINER) and not called:
        options["combination_separator"] = facts.separator.strip()
    n_several = sum(facts.labels.get(label, 0) for label in facts.combinations)
    if called and 0 < n_several < MULTIPLETS * sum(facts.labels.values()):
        options["drop_labels"] = [f"*{facts.separator}*"]
        to_choose.append(
            f"--drop-labels leaves out {n_several:,} cells with several guides; without it they are combinations"
        )
    if facts.guide_suffix is not None:
        options["guide_suffix"] = facts.guide_suffix
        to_choose.append(f"--guide-suffix joins guides of {facts.n_targets:,} targets; leave it out to keep them apart")
    return options


def _arguments(options: Mapping[str, Any]) -> Iterator[str]:
    """Settings as options of a command."""
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            yield flag
        else:
            yield from (text for item in ([value] if isinstance(value, str) else value) for text in (flag, item))


def _outcome(file: CellFile, samples: Mapping[str, MatrixSample], options: Mapping[str, Any]) -> str:
    """What preparation makes of the labels, or why it refuses them; nothing where these are to be filled in."""
    if "LABEL" in options["control_label"]:
        return ""
    if not {"counts", "fractional counts"} & {part.scale.kind for part in samples.values()}:
        return f"{REFUSED}: no matrix holds raw counts"
    settings = PreparationSettings().changed(dict(options))
    try:
        unique_names(file.obs.index, "cell", str(file.path))
        labels = cell_labels(file, settings)
        cells = pd.DataFrame({"condition": labels.of_cells()}, index=file.obs.index)
        choice = choose_cells(cells, np.ones(len(cells), bool), settings, 0, labels.where)
    except InputError as error:
        return f"{REFUSED}: {error}"
    n = cells["condition"].iloc[choice.rows].nunique() - 1
    fewer = f"; {len(choice.left_out):,} others have fewer" if choice.left_out else ""
    return (
        f"as it stands: {n:,} perturbations x {choice.cells_per_perturbation} cells, which --cells-per-perturbation "
        f"changes{fewer}; {choice.control_cells:,} control cells; before cells with few genes are left out"
    )


def _shown(labels: Iterable[str], limit: int = SHOWN) -> str:
    return listed(map(_plain, labels), limit)


def _plain(label: str) -> str:
    """A label as text shows it: between quotes where else it would not be seen."""
    seen = label.isprintable() and label == label.strip() != ""
    return shortened(label) if seen else repr(shortened(label))


def _text(found: Inspection) -> Iterator[str]:
    yield f"{found.path}: {found.form}, {_bytes(found.bytes)}"
    yield f"{found.cells:,} cells x {found.genes.n:,} genes"
    yield ""
    yield "matrices"
    for matrix in found.matrices:
        yield (
            f"  {matrix.name}: {matrix.storage} {matrix.dtype}{_from_to(matrix.smallest, matrix.largest)}; "
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
        shown = listed((f"{_plain(value)} ({n:,})" for value, n in values.items()), SHOWN)
        missing = found.cells - sum(values.values())
        yield f"may be a context: obs[{name!r}], {len(values)} values: {shown}"
        if missing:
            yield f"  {missing:,} cells have none, and cannot be analysed by context"
    for name, n in found.batches.items():
        yield f"may be a batch or replicate: obs[{name!r}], {n} values"
    yield from (f"note: {note}" for note in found.notes)
    yield ""
    yield 'To prepare it ("uv run dbd ..." in a clone of the project):'
    yield f"  {found.command}"
    if found.outcome:
        yield f"  ({found.outcome})"
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
    shown = listed((f"{_plain(label)} ({n:,})" for label, n in list(facts.labels.items())[:SHOWN]), SHOWN)
    more = f" and {facts.n_labels - SHOWN:,} more" if facts.n_labels > SHOWN else ""
    yield f"  {facts.n_labels:,} labels: {shown}{more}"
    if facts.without_label:
        yield f"  {facts.without_label:,} cells have none"
    for labels, what in ((facts.control, "look like control"), (facts.no_call, "mean no call, and are left out")):
        if labels:
            yield f"  {what}: {_shown(labels)}"
    if facts.combinations:
        shown = _shown(facts.combinations, 3)
        yield f"  {len(facts.combinations):,} look like combinations, by {facts.separator!r}: {shown}"
    if facts.guide_suffix:
        yield f"  look like guides of {facts.n_targets:,} targets, which differ by the ending {facts.guide_suffix}"


def _from_to(smallest: float | None, largest: float | None) -> str:
    return "" if smallest is None or largest is None else f", {smallest:g} to {largest:g}"


def _bytes(n: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:,.3g} TB"
