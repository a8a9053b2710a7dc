"""The error that a user can mend, and what input must satisfy.

Every message says what is wrong, where it is, and what would have been right. The functions here look at names and at
value ranges only, so that the code that reads cells can call them block by block.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

# log1p(1e6), the most that counts per million can reach, is 13.8: what exceeds this is no logarithm.
LARGEST_LOG1P = 15.0

# Values looked at together when only a few may be needed.
_PART = 2**16


class InputError(ValueError):
    """Something that was given is wrong: an argument, a file, a place to write to.

    Scripts print its message in one line and exit with code 2. Any other exception is a fault of the program.
    """


def listed(names: Iterable[object], limit: int = 10) -> str:
    """Names as one readable phrase, shortened after `limit` of them.

    Examples
    --------
    >>> listed(["A", "B", "C"], limit=2)
    'A, B and 1 more'
    """
    shown = [str(name) for name in names]
    if not shown:
        return "none"
    if len(shown) <= limit:
        return ", ".join(shown)
    return f"{', '.join(shown[:limit])} and {len(shown) - limit} more"


def whole_number(value: Any, name: str, least: int) -> int:
    """A whole number of at least `least`.

    Raises
    ------
    InputError
        It is something else, such as a text or a fraction.

    Examples
    --------
    >>> whole_number(3, "halvings", 1)
    3
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise InputError(f"{name} is {value!r}; it must be a whole number of at least {least}")
    return number


def obs_column(obs: pd.DataFrame, key: str) -> pd.Series:
    """Return the column `key` of `obs`; every cell must have a value there.

    Raises
    ------
    InputError
        There is no such column (the message lists those that exist), or some cells have no value.
    """
    if key not in obs.columns:
        raise InputError(f"no column {key!r} in obs; its columns are: {listed(obs.columns, 30)}")
    column = obs[key]
    blank = [label for label in column.unique() if isinstance(label, str) and not label.strip()]
    missing = column.isna() | column.isin(blank)
    if missing.any():
        raise InputError(
            f"obs[{key!r}] has no value for {int(missing.sum())} of {len(column)} cells "
            f"(first: {listed(column.index[missing.to_numpy()], 3)}); label them or remove them"
        )
    return column


def control_label(labels: Iterable[object], control: str, key: str) -> None:
    """Raise InputError unless `control` is among `labels`, the values of ``obs[key]``."""
    present = sorted({str(label) for label in labels})
    if control not in present:
        raise InputError(
            f"control label {control!r} does not occur in obs[{key!r}]; its labels are: {listed(present, 30)}"
        )


def enough_perturbations(labels: Sequence[object] | pd.Index, where: str) -> None:
    """Raise InputError unless there are at least two perturbations (control not counted)."""
    if len(labels) < 2:
        raise InputError(
            f"{where}: {len(labels)} perturbation(s) besides control ({listed(labels)}); at least 2 are needed, "
            "since every perturbation is compared with the others"
        )


def unique_names(names: Iterable[object], what: str, where: str) -> None:
    """Raise InputError if a name occurs twice; `what` is "gene" or "cell"."""
    index = pd.Index(list(names))
    repeated = index[index.duplicated()].unique()
    if len(repeated):
        raise InputError(
            f"{where}: {len(repeated)} {what} name(s) occur more than once: {listed(repeated, 5)}; "
            f"{what} names must be unique (AnnData has obs_names_make_unique and var_names_make_unique)"
        )


@dataclass(frozen=True)
class ValueSummary:
    """Range of the values of an expression or count matrix, gathered chunk by chunk.

    Attributes
    ----------
    minimum, maximum : float
        Over all values, zeros that a sparse matrix does not store included.
    integral : bool
        Whether every value is a whole number.
    """

    minimum: float = 0.0
    maximum: float = 0.0
    integral: bool = True

    def merge(self, other: ValueSummary) -> ValueSummary:
        """Summary of the values of both."""
        return ValueSummary(
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.integral and other.integral,
        )


def summarise_values(values: npt.NDArray) -> ValueSummary:
    """Summary of an array of values (for a sparse matrix: its stored values); NaN among them makes its range NaN."""
    if values.size == 0:
        return ValueSummary()
    flat = values.reshape(-1)
    # Most often the first few values decide.
    integral = all(
        (part == np.floor(part)).all() for part in (flat[start : start + _PART] for start in range(0, flat.size, _PART))
    )
    return ValueSummary(float(np.minimum(values.min(), 0)), float(np.maximum(values.max(), 0)), bool(integral))


def finite_nonnegative(
    chunk: Any,
    cells: Sequence[object] | pd.Index,
    genes: Sequence[object] | pd.Index,
    where: str,
) -> None:
    """Raise InputError naming the first cell and gene whose value is NaN, infinite or negative.

    Parameters
    ----------
    chunk : array or sparse matrix (cells, genes)
    cells, genes : names of its rows and columns
    where : what the matrix is, for the message (such as ``"X"``)
    """
    values = chunk.data if sparse.issparse(chunk) else chunk
    bad = ~np.isfinite(values) | (values < 0)
    if not bad.any():
        return
    if sparse.issparse(chunk):
        coo = chunk.tocoo()
        keep = ~np.isfinite(coo.data) | (coo.data < 0)
        rows, columns, wrong = coo.row[keep], coo.col[keep], coo.data[keep]
    else:
        rows, columns = np.nonzero(bad)
        wrong = np.asarray(chunk)[rows, columns]
    kind = "negative" if np.isfinite(wrong[0]) else "not finite"
    raise InputError(
        f"{where} holds values that are {kind}: {wrong[0]} for cell {cells[rows[0]]!r}, gene {genes[columns[0]]!r}; "
        "counts and log1p expression are finite and never negative (scaled or batch-corrected values are neither)"
    )


def is_expression(summary: ValueSummary, where: str) -> None:
    """Raise InputError unless the values can be log1p of normalised counts."""
    if summary.maximum > 0 and summary.integral:
        raise InputError(
            f"{where} holds whole numbers only (up to {summary.maximum:g}), so these are raw counts; expected "
            "log1p of counts normalised to 10,000 per cell: sc.pp.normalize_total(adata, target_sum=1e4), "
            "then sc.pp.log1p(adata)"
        )
    if summary.maximum > LARGEST_LOG1P:
        raise InputError(
            f"{where} has values up to {summary.maximum:g}, more than a log1p of normalised counts can reach "
            f"({LARGEST_LOG1P:g}): it was not log-transformed; apply sc.pp.log1p(adata) once"
        )


def is_raw_counts(summary: ValueSummary, where: str) -> None:
    """Raise InputError unless the values are whole numbers."""
    if not summary.integral:
        raise InputError(
            f"{where} holds values that are not whole numbers (up to {summary.maximum:g}), so it was normalised or "
            "log-transformed already; expected raw counts (point to them, in X or in layers['counts'])"
        )
