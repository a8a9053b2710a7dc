"""What users give as arrays: any kind is taken or refused with a reason, tables are aligned by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design.errors import InputError, listed
from diversity_by_design.labels import label_index

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

# What differs by less than this part of its size does so by rounding.
ROUNDING = 1e-12

# What is easily given instead of an array, and what was meant.
_MEANT = {
    "AnnData": "cells are scored with Truth.from_anndata; means are PerturbationStatistics.from_anndata(...).mean",
    "PerturbationStatistics": "its means are its attribute `mean`",
    "DegScores": "its scores are its attribute `t`, weights are deg_weights(scores)",
    "Truth": "predictions are scored against it with score(truth, predictions)",
}


def read_only(array: npt.NDArray) -> npt.NDArray:
    """View of an array through which it cannot be changed."""
    view = array.view()
    view.flags.writeable = False
    return view


def as_array(values: Any, name: str, *, infinite: bool = False) -> FloatArray:
    """Numbers of any kind as an array of float64, in C order.

    `values` may be an array, nested lists, a table of pandas (also with nullable types), a sparse matrix or a torch
    tensor, which may require a gradient, be on a GPU, sparse or of type bfloat16. Raises InputError, calling them
    `name`, for what are no real numbers; infinite values, unless these are allowed; a masked array, whose mask would be
    lost; and a table of another library than pandas, whose names would be.
    """
    kind = type(values).__name__
    if kind in _MEANT:
        raise InputError(f"{name} is of type {kind}, expected numbers: {_MEANT[kind]}")
    if isinstance(values, np.ma.MaskedArray):
        raise InputError(f"{name} is a masked array; fill in what is masked: values.filled(np.nan)")
    if isinstance(values, pd.DataFrame | pd.Series):
        values = _pandas_values(values, name)
    elif hasattr(values, "to_pandas"):
        raise InputError(f"{name} is of type {kind}; names are matched in tables of pandas: give values.to_pandas()")
    elif hasattr(values, "detach"):
        values = values.detach().cpu().to_dense()
        values = (values.double() if values.is_floating_point() else values).numpy()
    elif hasattr(values, "toarray"):
        values = values.toarray()
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name} is no array of numbers ({error}); expected rows of equal length") from error
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} is of type {array.dtype}; expected real numbers")
    # Sums over rows depend, by rounding, on how these lie in memory.
    array = array.astype(np.float64, order="C", copy=False)
    if not infinite and np.isinf(array).any():
        where = np.argwhere(np.isinf(array))
        raise InputError(
            f"{name} holds {len(where)} infinite value(s), the first at position {tuple(where[0].tolist())}"
        )
    return array


def precision(array: FloatArray) -> FloatArray:
    """Relative spacing of the numbers of each row: that of float32 where all of them are numbers of float32.

    Examples
    --------
    >>> third = np.array([1 / 3, 2 / 3])
    >>> bool(precision(third) < precision(third.astype(np.float32).astype(float)))
    True
    """
    # Most often the first few decide.
    rounded = _are_float32(array[..., :64])
    if rounded.any():
        rounded = _are_float32(array)
    return np.where(rounded, np.finfo(np.float32).eps, np.finfo(np.float64).eps)


def _are_float32(array: FloatArray) -> BoolArray:
    with np.errstate(over="ignore"):
        return np.asarray(((array.astype(np.float32) == array) | np.isnan(array)).all(axis=-1))


def _pandas_values(table: pd.DataFrame | pd.Series, name: str) -> npt.NDArray[Any]:
    array = table.to_numpy()
    if array.dtype != object:
        return array
    types = pd.DataFrame(table).dtypes
    other = types[[not pd.api.types.is_numeric_dtype(dtype) for dtype in types]]
    if len(other):
        raise InputError(
            f"{name}: {len(other)} of {len(types)} columns hold no numbers, the first {other.index[0]!r} of type "
            f"{other.iloc[0]}; names of perturbations belong into the index"
        )
    return table.to_numpy(float, na_value=np.nan)


def aligned(**given: Any) -> dict[str, Any]:
    """Arguments of which the tables of pandas have the labels and genes of the first, in its order, without names.

    The rows of a DataFrame are perturbations, its columns genes; a Series has a value per gene. Labels of perturbations
    are compared in their canonical form; None stays None. Raises InputError where some have other labels or genes than
    the first, or only some have names at all.
    """
    present = {name: values for name, values in given.items() if values is not None}
    tables = {name: values for name, values in present.items() if isinstance(values, pd.DataFrame | pd.Series)}
    if not tables:
        return given
    bare = [name for name, values in present.items() if name not in tables and np.ndim(values)]
    if bare:
        raise InputError(
            f"{listed(tables)} has names, {listed(bare)} has none, so they cannot be matched: "
            "give tables throughout (pd.DataFrame(statistics.mean, statistics.labels, statistics.genes)), or use "
            "score(truth, ...), which knows the names"
        )
    frame = next((values for values in tables.values() if isinstance(values, pd.DataFrame)), None)
    first = next(iter(tables))
    genes = frame.columns if frame is not None else next(iter(tables.values())).index
    labels = None if frame is None else label_index(frame.index, first)
    result = dict(given)
    for name, table in tables.items():
        columns = _order(table.columns if isinstance(table, pd.DataFrame) else table.index, genes, name, first, "genes")
        values = table.to_numpy()
        if isinstance(table, pd.DataFrame) and labels is not None:
            rows = _order(label_index(table.index, name), labels, name, first, "perturbations")
            values = values[rows][:, columns]
        else:
            values = values[columns]
        result[name] = np.ascontiguousarray(values)
    return result


def _order(names: pd.Index, expected: pd.Index, what: str, first: str, kind: str) -> npt.NDArray[np.intp] | slice:
    """Positions that bring names into the expected order; raise InputError unless they are the same."""
    if names.equals(expected):
        return slice(None)
    if not names.is_unique or len(names) != len(expected) or not names.isin(expected).all():
        missing, unknown = expected.difference(names), names.difference(expected)
        raise InputError(
            f"{what} and {first} are of different {kind}: {what} lacks {len(missing)} of {len(expected)} "
            f"({listed(missing, 3)}) and has {len(unknown)} others ({listed(unknown, 3)})"
        )
    return names.get_indexer(expected)
