"""Preparing a file of raw counts for the analyses, as section 3.2 and appendix A of the paper say.

Whatever the size of the file, no more than the counts of the kept cells are in memory, and those once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from diversity_by_design import errors
from diversity_by_design.datasets.counts import CellCounts, CountScan, find_counts, gather, select_genes
from diversity_by_design.datasets.reading import H5adFile
from diversity_by_design.datasets.report import RECORD, PreparationReport
from diversity_by_design.datasets.selection import choose_cells, condition_names
from diversity_by_design.datasets.settings import PreparationSettings
from diversity_by_design.datasets.variable_genes import highly_variable_genes
from diversity_by_design.datasets.writing import write_prepared
from diversity_by_design.errors import InputError
from diversity_by_design.running.checksum import sha256

__all__ = ["PreparationReport", "PreparationSettings", "prepare"]

CONDITION = "condition"
LIBRARY_SIZE = "ncounts"
SCALE = "log1p_cp10k"
COUNTS_PER_CELL = 1e4

# The paper's least number of detected genes; a panel or a subset of fewer genes cannot be held to it.
MIN_GENES = 200
PANEL_GENES = 2000

Mask = npt.NDArray[np.bool_]


def prepare(source: Path, destination: Path, settings: PreparationSettings, seed: int) -> PreparationReport:
    """Prepare an h5ad file of raw counts.

    In this order: conditions are named (``control``, ``A``, ``A+B``); cells with too few detected genes are left out,
    then genes detected in too few of the remaining cells; exactly the asked number of cells is drawn from each
    perturbation and at most so many control cells; counts are normalised to 10,000 per cell over these genes and
    log1p-transformed by scanpy; the most variable genes are kept.

    The `X` of the source, or else its layer ``counts``, holds raw counts (dense, CSR or CSC). The destination is
    written in one step: `X` is log1p expression, the layer ``counts`` the raw counts (both CSR, float32),
    ``obs["condition"]`` the condition, ``obs["ncounts"]`` the total counts of the cell, and
    ``uns["diversity_by_design"]`` how the file was made. The seed decides which cells are drawn; their order in the
    file does not matter.
    """
    from tqdm import tqdm

    with H5adFile(source) as file:
        cells, genes = file.obs.index, file.var.index
        errors.unique_names(cells, "cell", str(source))
        labels = errors.obs_column(file.obs, settings.perturbation_key).astype(str)
        errors.control_label(labels.unique(), settings.control_label, settings.perturbation_key)
        conditions = labels.map(condition_names(labels.unique(), settings))
        name, scan, notes = find_counts(file)
        if others := file.other_content(name):
            notes.append(f"not part of the prepared file: {errors.listed(others)}")
        eligible, expressed, min_genes, filter_notes = _filter(file, name, scan, settings)
        notes += filter_notes
        choice = choose_cells(conditions, eligible, settings, seed, str(source))
        if settings.cells_per_perturbation is None:
            n = choice.cells_per_perturbation
            notes.append(f"{n} cells per perturbation, which at least three quarters of them have (automatic)")
        counts = gather(file, name, choice.rows, scan.genes_per_cell)
        obs, obs_notes = _cell_table(file.obs, conditions, scan, choice.rows, settings)
        var, renamed, var_notes = _gene_table(file.var, settings)
        notes += obs_notes + var_notes

    kept, gene_notes = _choose_genes(counts, expressed, settings.n_genes)
    notes += gene_notes
    report = PreparationReport(
        source=source.name,
        source_sha256=sha256(source),
        seed=seed,
        settings=settings.plain(),
        cells_found=len(cells),
        genes_found=len(genes),
        min_genes_per_cell=min_genes,
        cells_per_perturbation=choice.cells_per_perturbation,
        cells_with_few_genes=int((~eligible).sum()),
        genes_in_few_cells=int((~expressed).sum()),
        left_out=choice.left_out,
        control_cells_found=choice.control_cells_found,
        cells=len(obs),
        genes=int(kept.sum()),
        perturbations=obs[CONDITION].nunique() - 1,
        control_cells=choice.control_cells,
        renamed_genes=renamed,
        notes=tuple(notes),
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

    def blocks() -> Iterator[tuple[sparse.csr_matrix, sparse.csr_matrix]]:
        with tqdm(total=len(obs), desc="writing", unit=" cells", disable=None, leave=False) as bar:
            for span in counts.spans():
                # Normalised over all expressed genes, then only the chosen ones are kept.
                raw = counts.block(span, expressed)
                yield select_genes(normalised(raw), within), select_genes(raw, within)
                bar.update(span.stop - span.start)

    n_values = int(counts.cells_per_gene()[kept].sum())
    write_prepared(destination, obs, var[kept], {RECORD: record}, blocks(), n_values)
    return report


def normalised(raw: sparse.csr_matrix) -> sparse.csr_matrix:
    """log1p expression of counts, by scanpy; a cell's depends on its own counts only."""
    import anndata
    import scanpy as sc

    adata = anndata.AnnData(raw.copy())
    sc.pp.normalize_total(adata, target_sum=COUNTS_PER_CELL)
    sc.pp.log1p(adata)
    return adata.X


def _filter(
    file: H5adFile, name: str, scan: CountScan, settings: PreparationSettings
) -> tuple[Mask, Mask, int, list[str]]:
    """Cells with enough detected genes, genes detected in enough of these, the least number used, what to say of it."""
    notes = []
    n_genes = len(scan.cells_per_gene)
    least = settings.min_genes_per_cell
    if least is None:
        least = MIN_GENES if n_genes >= PANEL_GENES else 1
        notes.append(f"cells need {least} detected gene(s), since the file has {n_genes:,} genes (automatic)")
    cells = (scan.genes_per_cell >= least) & (scan.totals > 0)
    if not cells.any():
        raise InputError(
            f"{file.path}: no cells left: none of {len(cells):,} has {least} detected genes (the most is "
            f"{scan.genes_per_cell.max():,}); ask for fewer with --min-genes-per-cell"
        )
    cells_per_gene = scan.cells_per_gene
    if not cells.all():
        removed = gather(file, name, np.flatnonzero(~cells), scan.genes_per_cell)
        cells_per_gene = cells_per_gene - removed.cells_per_gene()
    genes = cells_per_gene >= settings.min_cells_per_gene
    if not genes.any():
        raise InputError(
            f"{file.path}: no genes left: none was detected in {settings.min_cells_per_gene} of the "
            f"{int(cells.sum()):,} cells with {least} detected genes"
        )
    return cells, genes, least, notes


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
    obs: pd.DataFrame, conditions: pd.Series, scan: CountScan, rows: npt.NDArray[np.intp], settings: PreparationSettings
) -> tuple[pd.DataFrame, list[str]]:
    """Return obs of the prepared file, and what to say of it."""
    totals = next((name for name in settings.library_size_columns if name in obs), None)
    library_size = pd.Series(scan.totals, obs.index) if totals is None else errors.obs_column(obs, totals).astype(float)
    table = _plain_columns(obs)
    taken = {CONDITION: settings.perturbation_key, LIBRARY_SIZE: totals}
    moved = {name: f"source_{name}" for name, origin in taken.items() if name in table and name != origin}
    table = table.rename(columns=moved)
    table[CONDITION] = conditions
    table[LIBRARY_SIZE] = library_size
    table = table.iloc[rows].copy()
    table.index.name = None
    table[CONDITION] = table[CONDITION].astype("category")
    for name in table.columns[table.dtypes == "category"]:
        table[name] = table[name].cat.remove_unused_categories()
    notes = [f"the file's column obs[{name!r}] is now obs[{new!r}]" for name, new in moved.items()]
    dropped = [name for name in obs.columns if name not in table and name not in moved]
    if dropped:
        notes.append(f"columns of obs that are neither numbers nor text were left out: {errors.listed(dropped)}")
    return table, notes


def _gene_table(var: pd.DataFrame, settings: PreparationSettings) -> tuple[pd.DataFrame, int, list[str]]:
    """Return var of the prepared file with unique symbols as index, how many were renamed, and what to say of it."""
    from anndata.utils import make_index_unique

    notes = []
    column = settings.gene_name_column
    names, table = var.index, _plain_columns(var)
    if column is not None:
        if column not in var:
            raise InputError(f"no column {column!r} in var; its columns are: {errors.listed(var.columns, 30)}")
        symbols = var[column].astype(object)
        unnamed = symbols.isna() | (symbols == "")
        if unnamed.any():
            notes.append(f"{int(unnamed.sum()):,} genes without a symbol keep their identifier as name")
        names = pd.Index(symbols.mask(unnamed, pd.Series(var.index, var.index)).astype(str))
        table = table.rename(columns={"gene_id": "source_gene_id"})
        table["gene_id"] = var.index
    unique = make_index_unique(names)
    table.index = pd.Index(unique, dtype=object)
    # A name that a column has too cannot be written.
    table.index.name = None
    return table, int((unique != names).sum()), notes


def _plain_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of numbers, truth values, text and categories, which every program can read."""
    plain = [
        name
        for name, dtype in table.dtypes.items()
        if isinstance(dtype, pd.CategoricalDtype)
        or pd.api.types.is_numeric_dtype(dtype)
        or pd.api.types.infer_dtype(table[name], skipna=True) in ("string", "boolean")
    ]
    return table[plain].copy()
