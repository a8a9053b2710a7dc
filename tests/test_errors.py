"""Checks of names and values; how they reach the user is tested where they are called."""

import numpy as np
import pytest

from diversity_by_design import errors
from diversity_by_design.errors import InputError


def test_value_summaries_merge_like_the_values():
    first, second = np.array([0.5, 2.0]), np.array([-3.0, 4.0])
    merged = errors.summarise_values(first).merge(errors.summarise_values(second))
    assert merged == errors.summarise_values(np.concatenate([first, second]))
    assert merged == errors.ValueSummary(-3.0, 4.0, False)
    assert errors.summarise_values(np.array([])) == errors.ValueSummary()


def test_scales_that_contradict_what_was_said():
    counts, logs = errors.ValueSummary(0, 7, True), errors.ValueSummary(0, 6.3, False)
    errors.is_raw_counts(counts, "X")
    errors.is_expression(logs, "X")
    with pytest.raises(InputError, match="X holds values that are not whole numbers"):
        errors.is_raw_counts(logs, "X")
    with pytest.raises(InputError, match="X holds whole numbers only"):
        errors.is_expression(counts, "X")
    errors.is_expression(errors.ValueSummary(0, 0, True), "X")


def test_long_lists_are_shortened():
    assert errors.listed(range(12)).endswith("9 and 2 more")
    assert errors.listed([]) == "none"
