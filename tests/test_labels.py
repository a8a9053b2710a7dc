"""Labels of perturbations and their one form."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import naming

from diversity_by_design.errors import InputError
from diversity_by_design.labels import (
    canonical,
    checked_labels,
    is_combination,
    label_among,
    label_index,
    label_text,
    parts,
    shortened,
)

GENES = st.sampled_from(["A", "B", "HLA-A", "AA", "b", "ctrl", "control", "NT"])


@pytest.mark.parametrize(
    ("label", "form"),
    [
        ("A", "A"),
        ("B+A", "A+B"),
        ("A+ctrl", "A"),
        ("control+A", "A"),
        ("ctrl+B+A", "A+B"),
        ("ctrl+control", "control"),
        ("control", "control"),
        # A label of one part is what it is, in any language.
        ("ctrl", "ctrl"),
        # A combination is a set.
        ("A+A", "A"),
        ("A+B+A", "A+B"),
        ("A+ctrl+A", "A"),
        ("C+B+A", "A+B+C"),
    ],
)
def test_canonical_form(label, form):
    assert canonical(label) == form


def test_the_name_of_control_is_nothing_in_a_combination():
    assert canonical("NT+A", control="NT") == "A"
    assert canonical("NT+A") == "A+NT"
    assert canonical("NT+NT", control="NT") == "NT"
    assert canonical("ctrl+ctrl", control=None) == "control"
    assert canonical("NT+NT", control="NT+NT") == "NT+NT"


@given(st.lists(GENES, min_size=1, max_size=4), st.randoms())
def test_canonical_form_is_one_form(names, random):
    shuffled = names.copy()
    random.shuffle(shuffled)
    form = canonical("+".join(names), control="NT")
    assert canonical("+".join(shuffled), control="NT") == form
    assert canonical(form, control="NT") == form
    assert canonical("+".join([*names, *names, "ctrl"]), control="NT") == canonical(f"{form}+ctrl", control="NT")
    kept = {name for name in names if name not in ("ctrl", "control", "NT")}
    assert parts(form) == tuple(sorted(kept)) if len(names) > 1 and kept else True


def test_combinations():
    assert is_combination(["A", "A+B", "B+A+C"]).tolist() == [False, True, True]
    assert is_combination([]).dtype == bool


@pytest.mark.parametrize(
    "labels",
    [["B+A", "C"], ("B+A", "C"), np.array(["A+B", "C"]), pd.Index(["A+B", "C"]), pd.Categorical(["B+A", "C"]),
     pd.Series(["B+A", "C"], index=[7, 3]), iter(["A+B", "C"]), {"A+B": 1, "C": 2}],
)  # fmt: skip
def test_labels_in_any_form(labels):
    found = label_index(labels, "train")
    assert found.tolist() == ["A+B", "C"] and found.dtype == object


def test_a_text_is_one_label_and_numbers_become_text():
    assert label_index("AB", "train").tolist() == ["AB"]
    assert label_index([12, "x"], "train").tolist() == ["12", "x"]
    assert label_index(pd.Index([3368.0, 0.5]), "train").tolist() == ["3368", "0.5"]
    assert label_index(pd.Series([1, 2], dtype="Int64"), "train").tolist() == ["1", "2"]
    assert label_index([], "train").tolist() == []


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("3368.0", "3368.0"),
        (" A ", " A "),
        (3368, "3368"),
        (3368.0, "3368"),
        (np.float32(-1), "-1"),
        (-0.0, "0"),
        (1e16, "10000000000000000"),
        (0.5, "0.5"),
        (np.float32(0.1), "0.1"),
        (np.inf, "inf"),
        (True, "True"),
        (np.False_, "False"),
    ],
)
def test_text_of_a_label(label, text):
    assert label_text(label) == text


@pytest.mark.parametrize("given", [3, 3.0, "3", "3.0", np.int8(3), np.float16(3)])
def test_a_number_is_found_among_numbers(given):
    for labels in ([1, 3], [1.0, 3.0], pd.array([3, 4], dtype="Int64"), pd.Categorical([3.0]), ["A", 3.0]):
        assert label_among(given, labels) == "3"


def test_a_label_is_found_among_texts():
    assert label_among("3.0", ["3", "4"]) == "3.0"
    assert label_among("3.0", ["3", "3.0"]) == "3.0"
    assert label_among(3.0, ["3", "3.0"]) == "3.0"
    assert label_among(3.0, ["3", "4"]) == "3"
    assert label_among(3, ["4"]) == "3"
    assert label_among(False, [True, False]) == "False"
    assert label_among(0, [True, False]) == "0"


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["A", None, np.nan], ("train", 2, 3)),
        (["A+B", "C", "B+A"], ("train", 1, "A+B")),
        (["A", "A+ctrl"], ("train", 1, "A")),
        (["A", "A+A"], ("train", 1, "A")),
        (5, ("train", 5, "int")),
        (None, ("train", "NoneType")),
        ([["A", "B"]], ("train", "A")),
        (np.array([["A", "B"]]), ("train", "A")),
        ([("A", "B")], ("train", "A")),
    ],
)
def test_missing_repeated_and_other_labels(labels, said):
    with pytest.raises(InputError, match=naming(*said)):
        label_index(labels, "train")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["A", 3], (3,)),
        (["A", "control"], ("control",)),
        (["A", "ctrl"], ("ctrl",)),
        (["A", "B+"], ("+B",)),
        ([" A"], (" A",)),
        (["A", ""], ("",)),
        (["A", "A"], ("A", 1)),
        (["A", "A+A"], ("A", 1)),
    ],
)
def test_labels_that_are_no_perturbations(labels, said):
    with pytest.raises(InputError, match=naming("tested", *said)):
        checked_labels(labels, "tested")
    assert checked_labels(["B", "B+A", "C+B+A", "C+C"], "tested") == ["A+B", "A+B+C", "B", "C"]


@given(st.text(max_size=100), st.integers(3, 40))
def test_a_shortened_label_keeps_its_ends(label, longest):
    text = shortened(label, longest)
    if len(label) <= longest:
        assert text == label
    else:
        beginning, end = text.rsplit("…", 1) if "…" not in label else (text[: longest // 2], text[longest // 2 + 1 :])
        assert len(text) == longest and label.startswith(beginning) and label.endswith(end) and beginning and end
