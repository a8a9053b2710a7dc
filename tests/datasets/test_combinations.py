"""Labels are taken apart where that is told, or where their parts are known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diversity_by_design.datasets.combinations import splitter, take_apart


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["A", "A+B"], ["A", "B"]),
        (["B", "A+B"], ["A", "B"]),
        (["A+ctrl"], ["A", "ctrl"]),
        # Parts that occur in several labels, or beside such labels.
        (["A+B", "B+C", "C+A"], ["C", "A"]),
        (["A+B", "A", "X+Y"], ["X", "Y"]),
        # Parts that do not: the sign belongs to a name.
        (["X+Y"], ["X+Y"]),
        (["Z", "X+Y"], ["X+Y"]),
        (["X_+_1", "X_+_2"], ["X_+_2"]),
        (["X_+_1", "Y_+_1", "A", "A+B"], ["A", "B"]),
        # A name with the sign, beside others.
        (["X_+_1", "A", "X_+_1+A"], ["X_+_1", "A"]),
        (["X_+_1", "A", "A+X_+_1"], ["A", "X_+_1"]),
        (["X_+_1", "Y_+_2", "Y_+_2+X_+_1"], ["Y_+_2", "X_+_1"]),
        (["X_+_1", "X_+_1+ctrl"], ["X_+_1", "ctrl"]),
        (["A", "A+X_+_1"], ["A", "X_+_1"]),
        (["A", "B", "A + B"], ["A", "B"]),
        (["A", "A+"], ["A", ""]),
    ],
)
def test_plus_separates_what_is_known(labels, expected):
    assert take_apart(labels, ["ctrl"], None)[labels[-1]] == expected


@pytest.mark.parametrize(
    ("label", "separator", "control", "expected"),
    [
        ("A", "_", [], ["A"]),
        ("A_B_C", "_", [], ["A", "B", "C"]),
        ("A__B", "_", [], ["A", "B"]),
        ("_A", "_", [], ["", "A"]),
        ("A_", "_", [], ["A", ""]),
        ("n_t", "_", ["n_t"], ["n_t"]),
        ("n_t_n_t_A", "_", ["n_t"], ["n_t", "n_t", "A"]),
        ("A_n_t_B", "_", ["n_t"], ["A", "n_t", "B"]),
        ("An_t", "_", ["n_t"], ["An", "t"]),
        ("A_n_t_1", "_", ["n_t", "n_t_1"], ["A", "n_t_1"]),
        ("A.*B", ".*", [], ["A", "B"]),
        ("a|b||c", "||", [], ["a|b", "c"]),
        ("n__t_A", "_", ["n__t"], ["n__t", "A"]),
        ("A _ B", "_", [], ["A", "B"]),
    ],
)
def test_a_separator_separates_everywhere_but_in_control(label, separator, control, expected):
    assert splitter(separator, control)(label) == expected


@given(st.lists(st.text("AB+_ 1", min_size=1, max_size=6), max_size=8), st.sampled_from([None, "+", "_", "1"]))
def test_parts_make_up_the_label(labels, separator):
    apart = take_apart(labels, ["ctrl"], separator)
    assert set(apart) == set(labels)
    for label, parts in apart.items():
        signs = "+ " if separator is None else f"+ {separator}"
        assert "".join(parts).translate(str.maketrans("", "", signs)) == label.translate(str.maketrans("", "", signs))
        assert all(part == part.strip() for part in parts)
        assert separator is None or all(separator not in part for part in parts)


@given(st.lists(st.text("AB+_1", min_size=1, max_size=6), max_size=8), st.randoms())
def test_order_of_labels_does_not_matter(labels, random):
    shuffled = labels.copy()
    random.shuffle(shuffled)
    assert take_apart(shuffled, ["ctrl"], None) == take_apart(labels, ["ctrl"], None)
