"""Preparing a file of raw counts for the analyses, as section 3.2 and appendix A of the paper say.

Whatever the size of the file, no more than the counts of the kept cells are in memory, and those once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from diversity_by_design import errors
from diversity_by_design.datasets.cell_labels import CellLabels, cell_labels, obs_column
from diversity_by_design.datasets.columns import (
    batch_columns,
    context_columns,
    identifiers,
    label_counts,
    symbol_columns,
)
from diversity_by_design.datasets.counts import CellCounts, CountScan, find_counts, gather, scan, select_genes
from diversity_by_design.datasets.formats import resolved
from diversity_by_design.datasets.label_evidence import is_no_call
from diversity_by_design.datasets.reading import CellFile, check_name, check_names
from diversity_by_design.datasets.report import RECORD, PreparationReport
from diversity_by_design.datasets.selection import choose_cells
from diversity_by_design.datasets.settings import FEATURES, PreparationSettings
from diversity_by_design.datasets.variable_genes import highly_variable_genes
from diversity_by_design.datasets.writing import write_prepared
from diversity_by_design.errors import InputError
from diversity_by_design.labels import CONTROL, context_names, labels_as_text
from diversity_by_design.running.checksum import sha256
from diversity_by_design.running.files import distinct, file_name
from diversity_by_design.threads import one_ahead

__all__ = ["PreparationReport", "PreparationSettings", "prepare"]

CONDITION, CONTEXT, BATCH = "condition", "context", "batch"
LIBRARY_SIZE = "ncounts"
SCALE = "log1p_cp10k"
COUNTS_PER_CELL = 1e4

# The paper's least number of detected genes; a panel or a subset of fewer genes cannot be held to it.
MIN_GENES = 200
PANEL_GENES = 2000

Mask = npt.NDArray[np.bool_]


def prepare(
    source: Path, destination: Path, settings: PreparationSettings, seed: int, checksum: str | None = None
) -> PreparationReport:
    """Prepare a file of raw counts (see `CellFile` for its form).

    In this order: conditions are named (``control``, ``A``, ``A+B``; see `conditions_of`); cells with too few detected
    genes are left out, then genes detected in too few of the remaining cells; exactly the asked number of cells is
    drawn from each perturbation and at most so many control cells, in each context; counts are normalised to 10,000 per
    cell over these genes and log1p-transformed by scanpy; the most variable genes are kept.

    The destination is written in one step: `X` is log1p expression, the layer ``counts`` the raw counts (both CSR,
    float32), ``obs["condition"]`` the condition, ``obs["context"]`` the context where there are any, ``obs["ncounts"]``
    the total counts of the cell, and ``uns["diversity_by_design"]`` how the file was made. The seed decides which cells
    are drawn; their order in the file does not matter. `checksum` is that of `checksum_of`, where it is known.
    """
    from tqdm import tqdm

    with CellFile(source, settings.modality) as file:
        errors.unique_names(file.obs.index, "cell", str(source))
        for key in _obs_columns(settings):
            file.check_column("obs", key)
        if settings.gene_names is not None:
            file.check_column("var", settings.gene_names)
        labels = cell_labels(file, settings)
        cells, context_notes = _groups_of_cells(file, labels, settings)
        notes = [*file.notes, *labels.notes, *context_notes, *_what_was_joined(file.obs, cells, settings)]
        name, count_notes = find_counts(file, settings.matrix, settings.round)
        called = cells[CONDITION].notna().to_numpy()
        min_genes, filter_notes = _least_genes(len(file.genes(name)), settings)
        counted = scan(file, name, called, min_genes, fractions=settings.round)
        eligible, expressed = counted.eligible, _expressed(file, counted, called, min_genes, settings)
        if settings.round:
            count_notes.append(f"fractions in {name} were rounded to whole numbers (--round)")
        if others := file.other_content(name):
            count_notes.append(f"not part of the prepared file: {errors.listed(others)}")
        choice = choose_cells(cells, eligible, settings, seed, f"{source.name}, {labels.where}")
        if settings.cells_per_perturbation is None:
            n = choice.cells_per_perturbation
            filter_notes.append(f"{n} cells per perturbation, which at least three quarters of them have (automatic)")
        counts = gather(file, name, choice.rows, counted.genes_per_cell, fractions=settings.round)
        obs, obs_notes = _cell_table(file.obs, cells, counted, choice.rows, settings)
        var, renamed, var_notes = _gene_table(file.genes(name), settings, file.path)
        notes += [*count_notes, *filter_notes, *obs_notes, *var_notes]
        n_cells = len(file.obs)

    kept, gene_notes = _choose_genes(counts, expressed, settings.genes)
    report = PreparationReport(
        source=file.path.name,
        source_sha256=checksum or checksum_of(source, settings),
        seed=seed,
        settings=settings.plain(),
        cells_found=n_cells,
        genes_found=len(var),
        min_genes_per_cell=min_genes,
        cells_per_perturbation=choice.cells_per_perturbation,
        cells_with_few_genes=int((called & ~eligible).sum()),
        genes_in_few_cells=int((~expressed).sum()),
        left_out=choice.left_out,
        control_cells_found=choice.control_cells_found,
        cells=len(obs),
        genes=int(kept.sum()),
        perturbations=obs[CONDITION].nunique() - 1,
        control_cells=choice.control_cells,
        renamed_genes=renamed,
        notes=(*notes, *gene_notes),
        matrix=name,
        merged=labels.conditions.merged,
        no_call=labels.conditions.no_call,
        dropped=labels.conditions.dropped,
        contexts=tuple(sorted(obs[CONTEXT].unique())) if CONTEXT in cells else (),
        contexts_left_out=choice.contexts_left_out,
    )
    record = {
        "source": report.source,
        "source_sha256": report.source_sha256,
        "seed": seed,
        "settings": json.dumps(report.settings, sort_keys=True),
        "scale": SCALE,
        "report": report.to_json(),
    }
    within = kept[expressed]

    def write(path: Path, rows: Mask) -> None:
        n_values = int(counts.cells_per_gene(rows)[kept].sum())

        def block(span: slice) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
            # Normalised over all expressed genes, then only the chosen ones are kept.
            raw = counts.block(span, expressed)
            raw = raw if rows[span].all() else raw[rows[span]]
            return select_genes(normalised(raw), within), select_genes(raw, within)

        def blocks() -> Iterator[tuple[sparse.csr_matrix, sparse.csr_matrix]]:
            spans = [span for span in counts.spans() if rows[span].any()]
            with tqdm(total=int(rows.sum()), desc="writing", unit=" cells", disable=None, leave=False) as bar:
                for x, raw in one_ahead(block, spans):
                    yield x, raw
                    bar.update(raw.shape[0])

        write_prepared(path, obs[rows], var[kept], {RECORD: record}, blocks(), n_values)

    for context, path in context_paths(destination, report.contexts).items():
        write(path, (obs[CONTEXT] == context).to_numpy())
    write(destination, np.ones(len(obs), bool))
    return report


def context_paths(prepared: Path, contexts: Iterable[str]) -> dict[str, Path]:
    """Files of the cells of each context, which lie beside that of all cells."""
    contexts = list(contexts)
    names = distinct(file_name(context) for context in contexts)
    return {
        context: prepared.with_name(f"{prepared.stem}-{name}.h5ad")
        for context, name in zip(contexts, names, strict=True)
    }


def checksum_of(source: Path, settings: PreparationSettings) -> str:
    """SHA-256 of what a file is prepared from: the source, and with a table of calls of both."""
    source = resolved(source)
    if settings.calls in (None, FEATURES):
        return sha256(source)
    calls = Path(str(settings.calls))
    if not calls.is_file():
        raise InputError(f"--calls: no file {calls}")
    return hashlib.sha256((sha256(source) + sha256(calls)).encode()).hexdigest()


def check_settings(source: Path, settings: PreparationSettings) -> None:
    """Raise InputError where a file cannot be opened or has no column that the settings name; takes no time."""
    check_names(source, _obs_columns(settings), filter(None, [settings.gene_names]))


def _obs_columns(settings: PreparationSettings) -> Iterator[str]:
    """Columns of obs that the settings name."""
    if settings.calls is None:
        yield from filter(None, [settings.label_column, settings.target_key])
    yield from filter(None, [settings.batch_key, *settings.context_key])


def _groups_of_cells(
    file: CellFile, labels: CellLabels, settings: PreparationSettings
) -> tuple[pd.DataFrame, list[str]]:
    """Condition (None: left out) of each cell (cells,), context and batch where these are asked for, and notes."""
    cells, notes = pd.DataFrame({CONDITION: labels.of_cells()}, index=file.obs.index), []
    if settings.context_key:
        columns = [labels_as_text(obs_column(file, key)) for key in settings.context_key]
        cells[CONTEXT] = context_names(columns)
        unknown = [column.isna() | column.isin([*filter(is_no_call, column.dropna().unique())]) for column in columns]
        without = pd.concat(unknown, axis=1).any(axis=1) & cells[CONDITION].notna()
        if without.any():
            cells.loc[without, CONDITION] = None
            names = errors.listed(f"obs[{key!r}]" for key in settings.context_key)
            notes.append(
                f"{int(without.sum()):,} cells without a value in {names} belong to no context and were left out"
            )
    if settings.batch_key is not None:
        cells[BATCH] = labels_as_text(obs_column(file, settings.batch_key)).fillna("")
    return cells, notes


def _what_was_joined(obs: pd.DataFrame, cells: pd.DataFrame, settings: PreparationSettings) -> Iterator[str]:
    """What columns look like contexts or batches that were not asked for."""
    used = {settings.perturbation_key, settings.target_key, settings.batch_key, *settings.context_key}
    for names, option, what in (
        (context_columns(obs, used) if not settings.context_key else [], "--context-key", "contexts"),
        (batch_columns(obs, used) if not settings.batch_key else [], "--batch-key", "batches"),
    ):
        if not names:
            continue
        shown = errors.listed(f"{name!r} ({obs[name].nunique()} values)" for name in names)
        yield (
            f"columns of obs that look like {what}, whose cells are joined (nothing is modelled): {shown}; "
            + ("they are kept apart" if what == "contexts" else "cells are drawn evenly from them")
            + f" with {option} {names[0]}"
        )
        control = cells[CONDITION] == CONTROL
        for name in names if what == "contexts" else ():
            lacking = sorted(set(label_counts(obs[name])) - set(label_counts(obs.loc[control, name])))
            if lacking:
                yield f"no control cells in {errors.listed(lacking)} of obs[{name!r}]; those of others serve for all"


def normalised(raw: sparse.csr_matrix) -> sparse.csr_matrix:
    """log1p expression of counts, by scanpy; a cell's depends on its own counts only."""
    import anndata
    import scanpy as sc

    adata = anndata.AnnData(raw.copy())
    sc.pp.normalize_total(adata, target_sum=COUNTS_PER_CELL)
    sc.pp.log1p(adata)
    return adata.X


def _least_genes(n_genes: int, settings: PreparationSettings) -> tuple[int, list[str]]:
    """Least number of detected genes that a cell needs, and what to say of it."""
    if settings.min_genes_per_cell is not None:
        return settings.min_genes_per_cell, []
    least = MIN_GENES if n_genes >= PANEL_GENES else 1
    return least, [f"cells need {least} detected gene(s), since the file has {n_genes:,} genes (automatic)"]


def _expressed(file: CellFile, counted: CountScan, called: Mask, least: int, settings: PreparationSettings) -> Mask:
    """Genes detected in enough of the eligible cells (genes,)."""
    if not counted.eligible.any():
        raise InputError(
            f"{file.path}: no cells left: none of {int(called.sum()):,} has {least} detected genes (the most is "
            f"{counted.genes_per_cell.max():,}); ask for fewer with --min-genes-per-cell"
        )
    genes = counted.cells_per_gene >= settings.min_cells_per_gene
    if not genes.any():
        raise InputError(
            f"{file.path}: no genes left: none was detected in {settings.min_cells_per_gene} of the "
            f"{int(counted.eligible.sum()):,} cells with {least} detected genes"
        )
    return genes


def _choose_genes(counts: CellCounts, expressed: Mask, n_genes: int) -> tuple[Mask, list[str]]:
    """Which genes of the file are kept, and what to say of it."""
    n_expressed = int(expressed.sum())
    if n_genes >= n_expressed:
        return expressed, [f"all {n_expressed:,} expressed genes were kept, since there are not more than {n_genes:,}"]
    kept = expressed.copy()
    kept[expressed] = highly_variable_genes(
        lambda cells: normalised(counts.block(cells, expressed)), counts.spans(), n_expressed, n_genes
    )
    found = int(kept.sum())
    return kept, [] if found == n_genes else [f"{found:,} genes instead of {n_genes:,}: some tie, or do not vary"]


def _cell_table(
    obs: pd.DataFrame,
    cells: pd.DataFrame,
    counted: CountScan,
    rows: npt.NDArray[np.intp],
    settings: PreparationSettings,
) -> tuple[pd.DataFrame, list[str]]:
    """Return obs of the prepared file, and what to say of it."""
    present = [name for name in settings.library_size_columns if name in obs]
    totals = next((name for name in present if pd.api.types.is_numeric_dtype(obs[name])), None)
    library_size = pd.Series(counted.totals, obs.index) if totals is None else errors.obs_column(obs, totals)
    new = {CONDITION: settings.perturbation_key, LIBRARY_SIZE: totals}
    if CONTEXT in cells:
        new[CONTEXT] = settings.context_key[0] if len(settings.context_key) == 1 else None
    renamed = _renamed(obs.columns, {name for name, source in new.items() if name != source})
    table = _plain_columns(obs).rename(columns=renamed)
    table[CONDITION], table[LIBRARY_SIZE] = cells[CONDITION], library_size.astype(float)
    if CONTEXT in cells:
        table[CONTEXT] = cells[CONTEXT]
    table = table.iloc[rows].copy()
    table.index.name = None
    for name in new:
        if name != LIBRARY_SIZE:
            table[name] = table[name].astype("category")
    for name in table.columns[table.dtypes == "category"]:
        table[name] = table[name].cat.remove_unused_categories()
    notes = _what_was_renamed("obs", renamed)
    dropped = [name for name in obs.columns if name not in table and name not in renamed]
    if dropped:
        notes.append(f"columns of obs that are neither numbers nor text were left out: {errors.listed(dropped)}")
    return table, notes


def _gene_table(var: pd.DataFrame, settings: PreparationSettings, path: Path) -> tuple[pd.DataFrame, int, list[str]]:
    """Return var of the prepared file with unique symbols as index, how many were renamed, and what to say of it."""
    from anndata.utils import make_index_unique

    column = settings.gene_names
    renamed = _renamed(var.columns, set() if column is None else {"gene_id"})
    names, table = var.index, _plain_columns(var).rename(columns=renamed)
    notes = _what_was_renamed("var", renamed)
    if column is not None:
        check_name(path, "var", column, var.columns)
        symbols = var[column].astype(object)
        unnamed = symbols.isna() | (symbols == "")
        if unnamed.any():
            notes.append(f"{int(unnamed.sum()):,} genes without a symbol keep their identifier as name")
        names = pd.Index(symbols.mask(unnamed, pd.Series(var.index, var.index)).astype(str))
        table["gene_id"] = var.index
    elif symbols_in := symbol_columns(var):
        notes.append(
            f"genes are called by {identifiers(var.index)}; var[{symbols_in[0]!r}] looks like their symbols, which "
            f"--gene-names {symbols_in[0]} takes"
        )
    unique = make_index_unique(names)
    table.index = pd.Index(unique, dtype=object)
    # A name that a column has too cannot be written.
    table.index.name = None
    return table, int((unique != names).sum()), notes


def _renamed(columns: pd.Index, taken: Collection[str]) -> dict[str, str]:
    """Other names of columns whose names are `taken` in the prepared file, or which no file of anndata may have."""
    renamed: dict[str, str] = {}
    for name in columns:
        if name in taken or name == "_index":
            other = f"source_{name.strip('_')}"
        elif "/" in name:
            other = name.replace("/", "_")
        else:
            continue
        while other in {*columns, *taken, *renamed.values()}:
            other += "_"
        renamed[name] = other
    return renamed


def _what_was_renamed(table: str, renamed: Mapping[str, str]) -> list[str]:
    return [f"the file's column {table}[{name!r}] is now {table}[{other!r}]" for name, other in renamed.items()]


def _plain_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of numbers, truth values, text and categories, as every version of anndata reads them."""
    columns = {name: _plain(table[name]) for name in table}
    return pd.DataFrame({name: column for name, column in columns.items() if column is not None}, index=table.index)


def _plain(column: pd.Series) -> pd.Series | None:
    """A column as h5ad files have it; None if it is of another kind."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        categories = column.cat.categories
        if pd.api.types.infer_dtype(categories, skipna=True) == "string":
            return column.cat.rename_categories(list(categories.astype(object)))
        return (
            column
            if categories.dtype.kind in "biuf"
            else column.cat.rename_categories([str(name) for name in categories])
        )
    if pd.api.types.is_numeric_dtype(column.dtype):
        return None if column.dtype.kind == "c" else column
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind == "boolean":
        return column.astype("boolean" if column.isna().any() else bool)
    if kind != "string":
        return None
    # Text with missing values has no form that every version reads.
    return column.astype(object).astype("category") if column.isna().any() else column.astype(object)
