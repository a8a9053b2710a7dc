"""Tables about genes: the gene ontology terms that they are annotated with, their other names, edges between them."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import pandas as pd

from diversity_by_design.errors import InputError, listed
from diversity_by_design.running.files import atomic_path

HUMAN = 9606

TABLE = ("symbol", "go_id")
GENE2GO = ("#tax_id", "GeneID", "GO_ID", "Qualifier")
SYNONYMS = ("synonym", "symbol")
GENE_INFO = ("#tax_id", "GeneID", "Symbol", "Synonyms")
EDGES = ("source", "target", "importance")

# Names of the files of terms and of other names, beside each other.
ANNOTATIONS_FILE, SYNONYMS_FILE = "annotations.tsv.gz", "synonyms.tsv.gz"

# As in "NOT located_in" or "NOT|enables": the gene is known not to have the term.
_NOT = r"(?:^|[\s|])NOT(?:[\s|]|$)"
# What reading raises where a file is cut short, or is no text.
_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, ValueError)


@dataclass(frozen=True, eq=False)
class Annotations:
    """Terms of genes, and other names of these genes."""

    table: pd.DataFrame  # `symbol`, `go_id`: each pair once, sorted
    synonyms: Mapping[str, str] = field(default_factory=dict)  # symbol of other names that stand for one gene only
    left_out: Mapping[str, int] = field(default_factory=dict)  # of the files: reason -> number

    def __post_init__(self) -> None:
        missing = [name for name in TABLE if name not in self.table.columns]
        if missing:
            raise InputError(
                f"annotations: no column {listed(missing)}; the table's columns are: {listed(self.table.columns)}"
            )
        table = self.table[list(TABLE)].drop_duplicates().sort_values(list(TABLE), ignore_index=True)
        object.__setattr__(self, "table", table)

    @property
    def symbols(self) -> pd.Index:
        """Genes that have a term, sorted."""
        return pd.Index(self.table["symbol"].unique())

    def text(self) -> str:
        """What there is, and what was left out, for a reader."""
        kept = f"{len(self.symbols):,} genes with {len(self.table):,} annotations, {len(self.synonyms):,} other names"
        return f"{kept} (left out: {_said(self.left_out)})"


def read_annotations(path: Path | str, synonyms: Path | str | None = None, *, tax_id: int = HUMAN) -> Annotations:
    """Read the terms of genes from a table of names and terms, or from NCBI's gene2go.

    Files are tables with a header, separated by tabs or commas; those that end in ``.gz`` are compressed.

    The header of `path` tells what it is: a table with the columns `symbol` and `go_id`, of which rows with anything
    but 0 in a column `propagated` (they follow from a more special term) are left out; or gene2go, of which rows of
    other organisms are passed over and rows whose qualifier says NOT are left out. `synonyms` is a table with the
    columns `synonym` and `symbol`, or NCBI's gene_info, without which the genes of gene2go have no names. A name that
    stands for several genes is left out, and so is one that is itself the symbol of a gene.
    """
    path = Path(path)
    pairs, symbol_of = (None, None) if synonyms is None else _read_names(Path(synonyms), tax_id)
    columns, _ = table_header(path)
    if set(TABLE) <= set(columns):
        table, left_out = _read_plain(path, columns)
    elif set(GENE2GO) <= set(columns):
        if symbol_of is None:
            raise InputError(
                f"{path} (NCBI's gene2go) names genes by number; give NCBI's gene_info as well, such as "
                "Homo_sapiens.gene_info.gz, which has their symbols"
            )
        table, left_out = _read_gene2go(path, symbol_of, tax_id)
    else:
        raise _unknown(path, columns, TABLE, GENE2GO)
    if table.empty:
        of = f" for the organism {tax_id}" if "#tax_id" in columns else ""
        raise InputError(f"{path} holds no annotation{of} (left out: {_said(left_out)})")
    if pairs is None:
        return Annotations(table, {}, left_out)
    others, ambiguous = _unambiguous(pairs, {*table["symbol"], *(symbol_of or {}).values()})
    return Annotations(table, others, left_out | {"other names that stand for several genes": ambiguous})


def resolve(names: Iterable[str], annotations: Annotations) -> dict[str, str]:
    """Symbols of those names that stand for genes with annotations: the names themselves, else as other names.

    >>> annotations = Annotations(pd.DataFrame({"symbol": ["FOXL2NB"], "go_id": ["GO:1"]}), {"C3orf72": "FOXL2NB"})
    >>> resolve(["C3orf72", "FOXL2NB", "foxl2nb"], annotations)
    {'C3orf72': 'FOXL2NB', 'FOXL2NB': 'FOXL2NB'}
    """
    symbols = set(annotations.symbols)
    symbol_of = {name: name if name in symbols else annotations.synonyms.get(name, name) for name in names}
    return {name: symbol for name, symbol in symbol_of.items() if symbol in symbols}


def write_table(path: Path, table: pd.DataFrame) -> bool:
    """Write a table as compressed, tab-separated text, unless the file has it; whether it was written.

    Equal tables give equal files, whenever they are written.
    """
    # Neither a time nor a name of a file in its head.
    content = gzip.compress(table.to_csv(sep="\t", index=False, lineterminator="\n").encode(), mtime=0)
    if path.exists() and path.read_bytes() == content:
        return False
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return True


def table_header(path: Path) -> tuple[list[str], str]:
    """Names of the columns of a text table, and what separates them: a tab if there is one, else a comma."""
    with _intact(path), _opened(path) as file:
        line = file.readline().decode("utf-8-sig")
    separator = "\t" if "\t" in line else ","
    return next(csv.reader([line.strip("\r\n")], delimiter=separator), []), separator


def read_columns(path: Path, columns: Iterable[str]) -> pd.DataFrame:
    """Read some columns of a text table as text; nothing stands for a missing value, so a gene may be called ``NA``."""
    _, separator = table_header(path)
    with _intact(path):
        return pd.read_csv(path, sep=separator, usecols=list(columns), dtype=str, na_filter=False)


def _opened(path: Path) -> BufferedIOBase:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


@contextmanager
def _intact(path: Path) -> Iterator[None]:
    """Raise InputError if there is no such file, or what is done within finds it damaged."""
    if not path.is_file():
        raise InputError(f"{path} is a folder; expected a table" if path.is_dir() else f"no file {path}")
    try:
        yield
    except _DAMAGED as error:
        raise InputError(
            f"{path} cannot be read as a table ({type(error).__name__}: {str(error).strip()}); it is damaged, "
            "incomplete or of another kind"
        ) from error


def _unknown(path: Path, columns: Iterable[str], *accepted: Iterable[str]) -> InputError:
    choices = " or ".join(f"those with {', '.join(names)}" for names in accepted)
    return InputError(
        f"{path}: its columns are {listed(columns, 20)}; accepted are tables with a header, {choices} "
        "(and, for a graph, tables of edges: source, target, importance)"
    )


def _said(left_out: Mapping[str, int]) -> str:
    return "; ".join(f"{number:,} {reason}" for reason, number in left_out.items() if number) or "nothing"


def _read_plain(path: Path, columns: Iterable[str]) -> tuple[pd.DataFrame, dict[str, int]]:
    """Read a table of symbols and terms."""
    table = read_columns(path, [name for name in columns if name in (*TABLE, "propagated")])
    propagated = table["propagated"].ne("0") if "propagated" in table else pd.Series(False, index=table.index)
    blank = (table["symbol"].str.strip() == "") | (table["go_id"].str.strip() == "")
    left_out = {
        "annotations propagated from more special terms": int(propagated.sum()),
        "rows without a symbol or a term": int((blank & ~propagated).sum()),
    }
    return table.loc[~propagated & ~blank, list(TABLE)], left_out


def _read_gene2go(path: Path, symbol_of: Mapping[Any, str], tax_id: int) -> tuple[pd.DataFrame, dict[str, int]]:
    """Read the annotations of one organism from gene2go."""
    rows = _own_rows(path, tax_id)
    negated = rows["Qualifier"].str.contains(_NOT)
    symbol = rows["GeneID"].astype("int64").map(symbol_of)
    left_out = {
        "annotations that say NOT": int(negated.sum()),
        "annotations of genes that gene_info does not name": int((symbol.isna() & ~negated).sum()),
    }
    table = pd.DataFrame({"symbol": symbol, "go_id": rows["GO_ID"]})
    return table[~negated & symbol.notna()], left_out


def _own_rows(path: Path, tax_id: int) -> pd.DataFrame:
    """Rows of one organism of an NCBI file, whose first column says which it is; all as text.

    Lines of other organisms are passed over unparsed: of a file of gigabytes, few are of one organism.
    """
    start = f"{tax_id}\t".encode()
    with _intact(path), _opened(path) as file:
        header = next(csv.reader([file.readline().decode("utf-8-sig")], delimiter="\t"))
        own = io.BytesIO(b"".join(line for line in file if line.startswith(start)))
        # Quotation marks are part of names, such as 5" or 3'.
        return pd.read_csv(own, sep="\t", names=header, dtype=str, na_filter=False, quoting=csv.QUOTE_NONE)


def _unambiguous(pairs: pd.DataFrame, official: set[str]) -> tuple[dict[str, str], int]:
    """Symbols of the synonyms that stand for one gene, and how many stand for several, as `official` symbols do."""
    pairs = pairs.drop_duplicates().sort_values(["synonym", "symbol"])
    repeated = pairs["synonym"].duplicated(keep=False)
    # The symbol of one gene and the synonym of another stands for two genes; here, for the former.
    taken = pairs["synonym"].isin(official)
    left_out = pairs["synonym"][(repeated | taken) & (pairs["synonym"] != pairs["symbol"])].nunique()
    kept = pairs[~repeated & ~taken]
    return dict(zip(kept["synonym"], kept["symbol"], strict=True)), int(left_out)


def _read_names(path: Path, tax_id: int) -> tuple[pd.DataFrame, Mapping[Any, str] | None]:
    """Read other names of genes (`synonym`, `symbol`) and, of gene_info only, the symbol of each gene's number."""
    columns, _ = table_header(path)
    if set(GENE_INFO) <= set(columns):
        genes = _own_rows(path, tax_id)
        if genes.empty:
            raise InputError(f"{path} holds no gene of the organism {tax_id}")
        pairs = genes.assign(synonym=genes["Synonyms"].str.split("|")).explode("synonym")
        pairs = pairs.rename(columns={"Symbol": "symbol"})[list(SYNONYMS)]
        symbol_of = dict(zip(genes["GeneID"].astype("int64").tolist(), genes["Symbol"].tolist(), strict=True))
        return pairs[~pairs["synonym"].isin(["-", ""])], symbol_of
    if set(SYNONYMS) <= set(columns):
        return read_columns(path, SYNONYMS), None
    raise _unknown(path, columns, SYNONYMS, GENE_INFO)
