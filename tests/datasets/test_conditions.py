"""What labels stand for: control, perturbations and combinations in one form, no call; and what is said of it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import naming

from diversity_by_design.datasets.conditions import conditions_of
from diversity_by_design.datasets.settings import PreparationSettings
from diversity_by_design.errors import InputError
from diversity_by_design.labels import CONTROL, canonical, parts

WHERE = "obs['gene']"


def conditions(labels, targets=None, control="ctrl", **settings):
    cells = labels if isinstance(labels, dict) else dict.fromkeys(labels, 5)
    return conditions_of(cells, PreparationSettings(control_label=control, **settings), WHERE, targets)


def said(found, *names) -> bool:
    return any(re.search(naming(*names), note) for note in found.notes)


COMBINATIONS = {
    "either order": ({"ctrl": CONTROL, "B+A": "A+B", "A+B": "A+B", "C": "C"}, {}),
    "either side of control": ({"ctrl": CONTROL, "A+ctrl": "A", "ctrl+A": "A", "ctrl+ctrl": CONTROL}, {}),
    "twice": ({"ctrl": CONTROL, "A": "A", "A+A": "A", "A+B+A": "A+B"}, {}),
    "control by another name": (
        {"NT": CONTROL, "A": "A", "A+NT": "A", "ctrl+A": "A", "A+control": "A"},
        {"control": "NT"},
    ),
    "three and more": ({"ctrl": CONTROL, "A": "A", "C+B+A": "A+B+C", "D+C+B+A+ctrl": "A+B+C+D"}, {}),
    "separator": (
        {"NTC": CONTROL, "A|NTC": "A", "NTC|A": "A", "B|A": "A+B"},
        {"control": "NTC", "combination_separator": "|"},
    ),
    "separator that was not told": ({"NTC": CONTROL, "A|NTC": "A|NTC"}, {"control": "NTC"}),
    "separator of several signs": (
        {"ctrl": CONTROL, "A || B": "A+B", "C | D": "C | D"},
        {"combination_separator": "||"},
    ),
    "separator in the name of control": (
        {"n_t": CONTROL, "A_n_t": "A", "n_t_B": "B", "n_t_n_t": CONTROL, "A__B": "A+B"},
        {"control": "n_t", "combination_separator": "_"},
    ),
    "sign in a name": (
        {"ctrl": CONTROL, "X_+_1": "X_plus_1", "Y_+_2": "Y_plus_2", "A|1": "A|1", "B_1": "B_1"},
        {},
    ),
    "sign in a name of a combination": ({"ctrl": CONTROL, "A": "A", "X_+_1": "X_plus_1", "A+X_+_1": "A+X_plus_1"}, {}),
    "spaces": ({"ctrl ": CONTROL, " A": "A", "A ": "A", "A + ctrl": "A"}, {}),
}
CONTROLS = {
    "several names": (
        {"N-1": CONTROL, "N-2": CONTROL, "A+N-1": "A", "A": "A", "NA5": "NA5"},
        {"control": ["N-1", "N-2"]},
    ),
    "pattern": (
        {"N-1": CONTROL, "N-2": CONTROL, "A+N-1": "A", "N-2+N-1": CONTROL, "N-3+A": "A", "A": "A"},
        {"control": "N-*"},
    ),
    "pattern of whole labels": (
        {"n_t_1": CONTROL, "n_t_2": CONTROL, "A_B": "A+B"},
        {"control": "n_t_*", "combination_separator": "_"},
    ),
    "parts": ({"N1_N2": CONTROL, "A_N1": "A", "A_B": "A+B"}, {"control": ["N1", "N2"], "combination_separator": "_"}),
    "a label like a pattern": ({"N[1]": CONTROL, "N1": "N1", "*": CONTROL}, {"control": ["N[1]", "*"]}),
}
GUIDES = {
    "control too": (
        {"NTg1": CONTROL, "NTg2": CONTROL, "Ag1": "A", "Ag2": "A"},
        {"control": "NT", "guide_suffix": "g[0-9]+$"},
    ),
    "in combinations": (
        {"ctrl": CONTROL, "A_1": "A", "A_2": "A", "A_1+B_2": "A+B", "B_1": "B", "A_1+A_2": "A"},
        {"guide_suffix": "_[0-9]$"},
    ),
}


@pytest.mark.parametrize(
    ("expected", "settings"),
    [pytest.param(*case, id=name) for kind in (COMBINATIONS, CONTROLS, GUIDES) for name, case in kind.items()],
)
def test_conditions_of_labels(expected, settings):
    found = conditions(list(expected), **settings)
    assert found.of_label == expected
    assert found.no_call == found.dropped == {}


def test_targets():
    targets = {"g1": "A", "g2": "A", "g3": "B", "n1": "NT", "n2": "NT", "u": "nan"}
    found = conditions(["g1", "g2", "g1+g3", "n1", "g3+n2", "u", "x"], targets, control="NT")
    assert found.of_label == {"g1": "A", "g2": "A", "g1+g3": "A+B", "n1": CONTROL, "g3+n2": "B", "x": "x"}
    assert found.no_call == {"u": 5}
    # A guide may be control beside others of its target.
    assert conditions(["g1", "g3", "n1"], targets, control="n1").of_label["n1"] == CONTROL


def test_no_call():
    labels = {"ctrl": 9, "A": 8, "nan": 7, "None ": 6, "A+NA": 5, "": 4, "low": 3, "A+low": 2, "lower": 1}
    found = conditions(labels, no_call=["low"])
    assert found.of_label == {"ctrl": CONTROL, "A": "A", "lower": "lower"}
    assert found.no_call == {name: labels[name] for name in ("", "A+NA", "A+low", "None ", "low", "nan")}
    assert said(found, 27, "'nan' (7)", "'' (4)", "'low' (3)")
    assert conditions(labels, no_call=["low*"]).of_label == {"ctrl": CONTROL, "A": "A"}


def test_no_call_beside_others():
    found = conditions(["ctrl", "A", "NA+NA", "A+not_assigned", "X+None"])
    assert found.of_label == {"ctrl": CONTROL, "A": "A"}
    found = conditions(["ctrl", "not_assigned", "A_not_assigned", "A_B"], combination_separator="_")
    assert list(found.no_call) == ["A_not_assigned", "not_assigned"]


def test_labels_that_are_kept():
    labels = ["ctrl", "A", "NA", "A+NA", "nan"]
    found = conditions(labels, keep_label=["NA"])
    assert found.of_label == {"ctrl": CONTROL, "A": "A", "NA": "NA", "A+NA": "A+NA"} and found.no_call == {"nan": 5}
    assert conditions(["A", "B", "None"], control="None").of_label["None"] == CONTROL
    # A pattern does not mean them.
    assert conditions(["A", "B", "N1", "None"], control="N*").no_call == {"None": 5}


@pytest.mark.parametrize(
    ("control", "drop_labels", "is_control", "is_dropped"),
    [
        ("N-*", ["N-2"], ["N-1", "N-3"], ["N-2"]),
        ("N-1", ["N-*"], ["N-1"], ["N-2", "N-3"]),
        ("N-1", ["N-2", "A"], ["N-1"], ["A", "N-2"]),
        (["N-1", "N-2", "N-3"], ["A+B"], ["N-1", "N-2", "N-3"], ["A+B"]),
    ],
)
def test_what_is_named_goes_before_a_pattern(control, drop_labels, is_control, is_dropped):
    found = conditions(["N-1", "N-2", "N-3", "A", "B", "A+B"], control=control, drop_labels=drop_labels)
    assert [label for label, name in found.of_label.items() if name == CONTROL] == is_control
    assert list(found.dropped) == is_dropped
    assert said(found, 5 * len(is_dropped), *is_dropped)


@pytest.mark.parametrize(
    ("labels", "settings", "named"),
    [
        (["control", "A"], {"control": "Control"}, ["--control-label", "'Control'", "'control'", "gene"]),
        (["3368.0", "A"], {"control": "3368"}, ["'3368'", "'3368.0'"]),
        (["non-targeting", "GFP", "A"], {"control": "NT"}, ["'NT'", "'non-targeting', 'GFP' look"]),
        (["A", "B"], {"control": "NT"}, ["'NT'", "'A', 'B'"]),
        (["ctrl", "A"], {"drop_labels": ["B"]}, ["--drop-labels", "'B'"]),
        # What is dropped is a label, no part.
        (["ctrl", "A+ctrl", "B"], {"drop_labels": ["A"]}, ["--drop-labels", "'A'"]),
        (["ctrl", "A"], {"no_call": ["x*"]}, ["--no-call", "'x*'"]),
        (["ctrl", "A"], {"keep_label": ["NA"]}, ["--keep-label", "'NA'"]),
        (["NT", "ctrl", "A"], {"control": "NT"}, ["'ctrl'", "'NT'", "--control-label", "--drop-labels"]),
        (["NT", "ctrl+ctrl", "A"], {"control": "NT"}, ["'ctrl+ctrl'", "'NT'", "--control-label"]),
        (["NT", "ctrl_1", "A_1"], {"control": "NT", "guide_suffix": "_1$"}, ["'ctrl_1'", "'NT'"]),
        (["ctrl", "A", "A+"], {}, ["'A+'", "empty", "A+B", "--drop-labels"]),
        (["ctrl", "A", "_A"], {"combination_separator": "_"}, ["'_A'", "empty", "A_B"]),
        (["ctrl", "A", "g12"], {"guide_suffix": "g[0-9]+$"}, ["--guide-suffix", "'g12'"]),
    ],
)
def test_labels_that_cannot_be(labels, settings, named):
    with pytest.raises(InputError, match=naming(*named)):
        conditions(labels, **settings)


def test_messages_stay_short():
    with pytest.raises(InputError) as raised:
        conditions(["A" * 1000, *(f"B{number}" for number in range(1000))], control="NT")
    assert len(str(raised.value)) < 600 and "971 more" in str(raised.value)


@pytest.mark.parametrize(
    ("labels", "settings", "named"),
    [
        ({"ctrl": 9, "A": 7, "NT-2": 6, "B+NT-2": 3}, {}, [1, "NT-2 (9 cells)", "--control-label"]),
        (["ctrl", "A", "B", "A_B"], {}, [1, "'A_B'", "--combination-separator '_'"]),
        (["ctrl", "A|ctrl", "ctrl|B", "A|B"], {}, [3, "'A|ctrl'", "--combination-separator '|'"]),
        (["ctrl", "A_1", "A_2", "B_1", "B_2"], {}, [4, 2, "'A_1'", "--guide-suffix", "--target-key"]),
        (["ctrl", "A", "a", "B"], {}, ["A and a", "case"]),
        (["ctrl", "A", " A"], {}, [1, "' A' (5)", "spaces"]),
        (["ctrl", "A", " A"], {}, [2, 1, "' A', 'A' -> A"]),
        (["ctrl", "A", "A+A"], {}, [1, "'A+A' (5)", "twice"]),
        (["ctrl", "A", "X_+_1"], {}, [1, "'X_+_1'", "'plus'", "--combination-separator +"]),
    ],
)
def test_what_is_said(labels, settings, named):
    assert said(conditions(labels, **settings), *named)


@pytest.mark.parametrize(
    ("labels", "settings"),
    [
        (["ctrl", "A", "B", "A+B"], {}),
        (["ctrl", "A", "B", "A_B"], {"combination_separator": "_"}),
        (["ctrl", "RPS10", "NUDT3", "RPS10-NUDT3", "HLA-A", "NKX2-5"], {}),
        (["ctrl", "drug_10", "drug_100", "other_10", "other_100"], {}),
        (["ctrl", "0.1", "0.5", "1", "5"], {}),
        (["ctrl", "WT1", "NT5E", "CTLA4", "SAFB"], {}),
    ],
)
def test_nothing_is_said_where_nothing_is_odd(labels, settings):
    assert conditions(labels, **settings).notes == ()


GENES = st.sampled_from(["A", "B", "C", "ctrl", "control", "NT", "NA"])
LABELS = st.lists(GENES, min_size=1, max_size=4).map("+".join)
COUNTS = st.dictionaries(LABELS | st.sampled_from(["nan", " A", "X_+_1", "D-1"]), st.integers(1, 9), max_size=12)
# Labels that make sense, beside which any others are understood.
BASE = {"NT": 3, "A": 2, "B": 2, "C": 2}
SETTINGS = PreparationSettings(control_label=("NT", "ctrl*", "control*"))


def with_control(cells):
    """These cells, and those of control by any name."""
    return {**cells, **BASE, "ctrl": 1, "control": 1}


@given(COUNTS, st.randoms())
def test_order_does_not_matter_and_every_cell_is_somewhere(cells, random):
    cells = with_control(cells)
    shuffled = list(cells.items())
    random.shuffle(shuffled)
    found = conditions_of(cells, SETTINGS, WHERE)
    assert conditions_of(dict(shuffled), SETTINGS, WHERE) == found
    assert sorted([*found.of_label, *found.no_call, *found.dropped]) == sorted(cells)
    assert {label: cells[label] for label in found.no_call} == found.no_call


@given(COUNTS)
def test_conditions_have_one_form(cells):
    for label, condition in conditions_of(with_control(cells), SETTINGS, WHERE).of_label.items():
        names = parts(condition)
        assert canonical(condition) == condition and len(set(names)) == len(names)
        assert condition == CONTROL or not {"NT", "ctrl", "control", "NA"} & set(names)
        if "X_+_1" not in label:
            assert condition == CONTROL or set(names) == {n.strip() for n in label.split("+")} - {
                "NT",
                "ctrl",
                "control",
            }


@given(COUNTS, st.sampled_from(["|", ";", " & ", "_x_", "||"]))
def test_separators_are_alike(cells, separator):
    cells = {label: n for label, n in with_control(cells).items() if label != "X_+_1"}
    found = conditions_of(cells, SETTINGS, WHERE)
    separated = {label.replace("+", separator): n for label, n in cells.items()}
    settings = SETTINGS.changed({"combination_separator": separator})
    others = conditions_of(separated, settings, WHERE)
    assert others.of_label == {label.replace("+", separator): name for label, name in found.of_label.items()}
    assert sorted(others.no_call.values()) == sorted(found.no_call.values())
