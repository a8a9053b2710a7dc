"""The scale that values of cells x genes are likely to be on (counts, normalised, logged, scaled), and the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

Kind = Literal["counts", "fractional counts", "normalised", "log1p", "log2", "log10", "scaled", "empty", "unknown"]
Values = npt.NDArray[np.float64]

# Sums of cells are one total if they differ by less than this part of it; float16 and few decimals make them differ.
TOTAL_TOLERANCE = 0.01
# Cells whose sums tell more than chance.
FEWEST_CELLS = 3
# The sums of one form only agree if those of all others differ so many times more.
_CLEARLY = 10
# No cell of counts or normalised counts sums to more.
_LARGEST_TOTAL = 1e9
# What exceeds this is no logarithm.
_LARGEST_LOGARITHM = float(np.log2(_LARGEST_TOTAL))
# Cells in which values are compared with the smallest one.
_COMPARED = 50
# A multiple known less well than this tells nothing; so many different ones are more than chance.
_WORST_PRECISION, _FEWEST_MULTIPLES = 0.05, 3
# Parts of values or cells that are as good as none, as most and as all: real data have exceptions.
_FEW, _MOST, _ALL = 0.2, 0.5, 0.9
# How near to whole numbers many corrected or estimated counts are: three times more of them than of other fractions.
# Small ones are left out: square roots of 1 are whole, too.
_NEAR, _SMALL, _MANY = 0.05, 1.5, 0.3


@dataclass(frozen=True)
class Scale:
    """What values are likely to be."""

    kind: Kind
    text: str  # a phrase: what they are likely to be, and by what evidence
    total: float | None  # what a cell sums to, once a logarithm is undone; None if it varies, or in fewer than 3 cells


@dataclass(frozen=True)
class _Form:
    """A form in which counts may be stored, per cell divided by something or not."""

    kind: Kind
    name: str
    inverse: str  # what gives back what was logged
    rate: float  # values are ln(1 + x) / rate; with 0 they are x

    def undo(self, values: Values) -> Values:
        return np.expm1(self.rate * values) if self.rate else values


_FORMS = (
    _Form("normalised", "", "", 0.0),
    _Form("log1p", "ln(1 + x) of ", "expm1 of ", 1.0),
    _Form("log2", "log2(1 + x) of ", "2**x - 1 of ", float(np.log(2))),
    _Form("log10", "log10(1 + x) of ", "10**x - 1 of ", float(np.log(10))),
)


def likely_scale(values: Any) -> Scale:
    """What the values of some whole cells are likely to be, by two kinds of evidence.

    Counts are whole numbers. Of counts normalised to a total, the sums of cells agree; of their logarithms, those of
    expm1, 2**x - 1 or 10**x - 1. Where genes were left out or cells were divided by other factors no sums agree, but
    within each cell these values are still whole multiples of the smallest, which is one count (1, 2, 3 counts).

    Parameters
    ----------
    values : array or sparse matrix (cells, genes)
        Some hundred cells are enough.

    Examples
    --------
    >>> counts = np.random.default_rng(0).poisson(np.linspace(0.1, 5, 50), (20, 50))
    >>> likely_scale(counts).kind
    'counts'
    >>> likely_scale(np.log2(1 + 1e6 * counts / counts.sum(axis=1, keepdims=True))).text
    'log2(1 + x) of counts normalised to 1,000,000 per cell (2**x - 1 of a cell sums to 1,000,000 in 20 cells)'
    """
    if values.dtype.kind not in "biuf":
        return Scale("unknown", f"no numbers, but of type {values.dtype}", None)
    data, lengths = _stored(values)
    n_values = f"{np.prod(values.shape, dtype=np.int64):,} values"
    if not data.size:
        return Scale("empty", f"nothing but zeros ({n_values})", None)
    if not np.isfinite(data).all():
        n_missing, n_infinite = np.isnan(data).sum(), np.isinf(data).sum()
        return Scale("unknown", f"unclear: {n_missing:,} of {n_values} are NaN, {n_infinite:,} infinite", None)
    if data.min() < 0:
        text = (
            f"neither counts nor their ln(1 + x), but scaled, batch-corrected or the like ({(data < 0).sum():,} of "
            f"{n_values} are negative, from {data.min():.4g} to {data.max():.4g})"
        )
        return Scale("scaled", text, None)
    # Cells without counts are compared with no others.
    starts = np.cumsum(np.append(0, lengths[lengths > 0]))[:-1]
    if (data == np.floor(data)).all():
        return _whole_numbers(data, starts)
    forms = [form for form in _FORMS if form.rate * data.max() <= np.log(_LARGEST_TOTAL)]
    return (
        _by_multiples(forms, data, starts)
        or _by_sums(forms, data, starts)
        or _by_whole_numbers(data, starts)
        or Scale(
            "unknown",
            f"unclear (fractions up to {data.max():.4g}; neither sums of cells nor ratios within them tell, of "
            f"{_cells(len(starts))}, whether they are logarithms)",
            None,
        )
    )


def _stored(values: Any) -> tuple[Values, npt.NDArray[np.int64]]:
    """Values other than zero, cell by cell, and how many each cell has."""
    if sparse.issparse(values):
        matrix = values.astype(np.float64).tocsr(copy=True)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        return matrix.data, np.diff(matrix.indptr)
    values = np.asarray(values)
    stored = values != 0
    return values[stored].astype(np.float64), stored.sum(axis=1)


def _whole_numbers(data: Values, starts: npt.NDArray[np.intp]) -> Scale:
    sums = np.add.reduceat(data, starts)
    if data.max() == 1:
        return Scale("counts", f"binary: 0 and 1 only, as of genes detected or not ({_cells(len(sums))})", _total(sums))
    text = f"counts (whole numbers up to {data.max():,.0f}; a cell sums to {_range(sums)} in {_cells(len(sums))})"
    return Scale("counts", text, _total(sums))


def _by_multiples(forms: Sequence[_Form], data: Values, starts: npt.NDArray[np.intp]) -> Scale | None:
    """The scale, if in most cells values of one form only are whole multiples of the smallest."""
    cells = np.split(data, starts[1:])
    compared = [np.unique(cells[i]) for i in np.linspace(0, len(cells) - 1, min(len(cells), _COMPARED)).astype(int)]
    with np.errstate(over="ignore"):
        is_half = (data.astype(np.float16) == data).all()
    # What was computed with float32 may be stored in float64.
    rounding = float(np.finfo(np.float16 if is_half else np.float32).eps)
    verdicts = {form: [_are_multiples(form, cell, rounding) for cell in compared] for form in forms}
    passed = {form: sum(verdict is True for verdict in found) for form, found in verdicts.items()}
    form = max(passed, key=lambda form: passed[form])
    n_passed, n_telling = passed[form], sum(verdict is not None for verdict in verdicts[form])
    others = max((number for other, number in passed.items() if other is not form), default=0)
    if not n_passed or n_passed < _MOST * n_telling or others > _FEW * n_passed:
        return None
    # Fractions of estimated counts, such as 1/2 and 1/3, can be multiples too; most of these are whole.
    if not form.rate and (data == np.floor(data)).mean() > _FEW:
        return None
    sums = np.add.reduceat(form.undo(data), starts)
    total = _total(sums)
    if total is not None:
        return _normalised(form, sums, total)
    ones = [abs(form.undo(cell[:1])[0] - 1) <= 4 * rounding for cell in compared]
    if form.rate and np.mean(ones) >= _ALL:
        largest = form.undo(data.max(keepdims=True))[0]
        what = f"counts that were not normalised ({form.inverse}them gives whole numbers up to {largest:,.0f}"
    else:
        inverse = f"{form.inverse}them gives" if form.rate else "values are"
        what = (
            f"counts divided by a factor per cell{'' if form.rate else ', not logged'} ({inverse} whole "
            f"multiples of a cell's smallest in {n_passed} of {_cells(n_telling)}"
        )
    return Scale(form.kind, f"{form.name}{what}; {form.inverse}a cell sums to {_range(sums)})", None)


def _are_multiples(form: _Form, cell: Values, rounding: float) -> bool | None:
    """Whether values, ascending, are whole multiples of the first; None where rounding or too few of them hide it."""
    undone = form.undo(cell)
    multiples = undone / undone[0]
    # How many times more than itself the relative rounding of a value changes what was logged.
    growth = form.rate * cell * (1 + undone) / undone if form.rate else np.ones_like(cell)
    # Values were rounded, and what they were made of before.
    tolerance = 2 * rounding * multiples * (growth + growth[0] + 2)
    telling = (multiples > 1.5) & (tolerance < _WORST_PRECISION)
    nearest = np.rint(multiples[telling])
    if len(np.unique(nearest)) < _FEWEST_MULTIPLES:
        return None
    return bool((abs(multiples[telling] - nearest) <= tolerance[telling]).mean() >= _ALL)


def _by_sums(forms: Sequence[_Form], data: Values, starts: npt.NDArray[np.intp]) -> Scale | None:
    """The scale, if the sums of cells agree in one form only."""
    sums = {form: np.add.reduceat(form.undo(data), starts) for form in forms}
    form, *others = sorted(forms, key=lambda form: _spread(sums[form]))
    total = _total(sums[form])
    if total is None or (others and _spread(sums[others[0]]) <= _CLEARLY * _spread(sums[form])):
        return None
    return _normalised(form, sums[form], total)


def _normalised(form: _Form, sums: Values, total: float) -> Scale:
    shown = _number(total, 0) if _spread(sums) < TOTAL_TOLERANCE / 10 else f"about {_number(float(f'{total:.3g}'), 0)}"
    text = (
        f"{form.name}counts normalised to {shown} per cell{'' if form.rate else ', not logged'} "
        f"({form.inverse}a cell sums to {_range(sums)} in {_cells(len(sums))})"
    )
    return Scale(form.kind, text, total)


def _by_whole_numbers(data: Values, starts: npt.NDArray[np.intp]) -> Scale | None:
    """Fractional counts, if many values are near to whole numbers, or some are too large for a logarithm."""
    larger = data[data >= _SMALL]
    near = float((abs(larger - np.rint(larger)) <= _NEAR).mean()) if len(larger) else 0.0
    if near < _MANY and data.max() <= _LARGEST_LOGARITHM:
        return None
    what = "corrected (SoupX, DecontX) or estimated ones (alevin, RSEM)"
    if near < _MANY:
        what += ", or normalised ones with genes left out; not logged"
    sums = np.add.reduceat(data, starts)
    text = (
        f"fractional counts, such as {what} (values up to {_number(data.max())}, {near:.0%} of those from {_SMALL} on "
        f"within {_NEAR} of a whole number; a cell sums to {_range(sums)} in {_cells(len(sums))})"
    )
    return Scale("fractional counts", text, None)


def _spread(sums: Values) -> float:
    return float((sums.max() - sums.min()) / np.median(sums))


def _total(sums: Values) -> float | None:
    """What the cells sum to, if they agree."""
    agree = len(sums) >= FEWEST_CELLS and _spread(sums) <= TOTAL_TOLERANCE
    return float(np.median(sums)) if agree else None


def _number(value: float, decimals: int = 1) -> str:
    return f"{value:,.{decimals}f}".removesuffix(".0") if value >= 100 else f"{value:.4g}"


def _range(sums: Values) -> str:
    ends = dict.fromkeys(map(_number, (sums.min(), sums.max())))
    return " to ".join(ends)


def _cells(number: int) -> str:
    return f"{number:,} cell{'s' * (number != 1)}"
