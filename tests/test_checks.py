"""Checks of names and values; how they reach the user is tested where they are called."""

import numpy as np
import pytest

from diversity_by_design import checks


def test_canonical_conditions_sorts_parts():
    assert checks.canonical_conditions(["B+A", "C", "A+C"]) == {"B+A": "A+B", "C": "C", "A+C": "A+C"}
    assert checks.canonical_conditions(["B_A"], separator="_") == {"B_A": "A_B"}


def test_conditions_that_become_the_same():
    with pytest.raises(ValueError, match="'A[+]B' and 'B[+]A' are the same combination once sorted"):
        checks.canonical_conditions(["B+A", "A", "A+B"])


def test_value_summaries_merge_like_the_values():
    first, second = np.array([0.5, 2.0]), np.array([-3.0, 4.0])
    merged = checks.summarise_values(first).merge(checks.summarise_values(second))
    assert merged == checks.summarise_values(np.concatenate([first, second]))
    assert merged == checks.ValueSummary(-3.0, 4.0, False)
    assert checks.summarise_values(np.array([])) == checks.ValueSummary()


def test_scales_that_contradict_what_was_said():
    counts, logs = checks.ValueSummary(0, 7, True), checks.ValueSummary(0, 6.3, False)
    checks.is_raw_counts(counts, "X")
    checks.is_expression(logs, "X")
    with pytest.raises(ValueError, match="X holds values that are not whole numbers"):
        checks.is_raw_counts(logs, "X")
    with pytest.raises(ValueError, match="X holds whole numbers only"):
        checks.is_expression(counts, "X")
    checks.is_expression(checks.ValueSummary(0, 0, True), "X")


def test_long_lists_are_shortened():
    assert checks.listed(range(12)).endswith("9 and 2 more")
    assert checks.listed([]) == "none"
