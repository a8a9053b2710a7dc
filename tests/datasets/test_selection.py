"""Names of conditions, and the seeded draw of cells."""

import numpy as np
import pandas as pd
import pytest
from messages import naming

from diversity_by_design.datasets.selection import automatic_cells, choose_cells, condition_names
from diversity_by_design.datasets.settings import PreparationSettings
from diversity_by_design.errors import InputError


def settings(**changes):
    return PreparationSettings(**{"perturbation_key": "gene", "control_label": "control", **changes})


def test_combinations_are_joined_and_sorted():
    names = condition_names(["B_A", "A", "B", "control"], settings(combination_separator="_"))
    assert names == {"B_A": "A+B", "A": "A", "B": "B", "control": "control"}


def test_an_underscore_is_no_separator_unless_said():
    assert condition_names(["HLA_A", "B+A", "control"], settings()) == {
        "HLA_A": "HLA_A",
        "B+A": "A+B",
        "control": "control",
    }


def test_control_label_with_the_separator_in_it():
    names = condition_names(
        ["non_targeting", "A_B"], settings(control_label="non_targeting", combination_separator="_")
    )
    assert names == {"non_targeting": "control", "A_B": "A+B"}


def test_control_as_a_part_is_dropped():
    assert condition_names(["A+ctrl", "A+B", "ctrl"], settings(control_label="ctrl")) == {
        "A+ctrl": "A",
        "A+B": "A+B",
        "ctrl": "control",
    }


def test_guides_of_a_target_share_a_name():
    names = condition_names(["STAT2g1", "STAT2g12", "control"], settings(guide_suffix=r"g\d+$"))
    assert names == {"STAT2g1": "STAT2", "STAT2g12": "STAT2", "control": "control"}


def test_labels_of_one_condition_share_its_name():
    names = condition_names(
        ["A_B", "B_A", "A+B", "C", "C_NT", "NT_C", "NT"], settings(control_label="NT", combination_separator="_")
    )
    assert names == dict.fromkeys(["A+B", "A_B", "B_A"], "A+B") | dict.fromkeys(["C", "C_NT", "NT_C"], "C") | {
        "NT": "control"
    }


def test_a_second_control_is_not_guessed():
    with pytest.raises(InputError, match=naming("control", "NT")):
        condition_names(["control", "NT", "A"], settings(control_label="NT"))


@pytest.mark.parametrize(
    ("counts", "expected"), [([300, 300, 300, 2], 256), ([255, 300, 300], 128), ([2, 3, 3, 1], 2), ([80, 100, 100], 64)]
)
def test_automatic_number_of_cells(counts, expected):
    assert automatic_cells({f"P{i}": n for i, n in enumerate(counts)}) == expected


def test_no_number_of_cells_will_do():
    with pytest.raises(InputError, match=naming(3, 5, 2, "P0", "P1", "P2")):
        automatic_cells({"P0": 1, "P1": 1, "P2": 0, "P3": 9, "P4": 9})


def cells(sizes, seed=0):
    labels = np.random.default_rng(seed).permutation(np.repeat(list(sizes), list(sizes.values())))
    return pd.Series(labels, index=[f"cell{i}" for i in range(len(labels))])


SIZES = {"control": 40, "A": 20, "B": 10, "C": 9, "D": 10}


def chosen_names(conditions, seed=0, eligible=None, **changes):
    eligible = np.ones(len(conditions), bool) if eligible is None else eligible
    choice = choose_cells(conditions, eligible, settings(**{"cells_per_perturbation": 10, **changes}), seed, "test")
    return choice, set(conditions.index[choice.rows])


def test_exact_numbers():
    conditions = cells(SIZES)
    choice, _ = chosen_names(conditions, max_control_cells=30)
    assert conditions.iloc[choice.rows].value_counts().to_dict() == {"control": 30, "A": 10, "B": 10, "D": 10}
    assert choice.left_out == {"C": 9}
    assert (choice.control_cells, choice.control_cells_found) == (30, 40)
    assert (np.diff(choice.rows) > 0).all()


def test_seed_decides_and_order_does_not():
    conditions = cells(SIZES)
    _, names = chosen_names(conditions)
    assert chosen_names(conditions)[1] == names
    assert chosen_names(conditions.sample(frac=1, random_state=5))[1] == names
    assert chosen_names(conditions, seed=1)[1] != names


def test_draw_does_not_depend_on_other_conditions():
    conditions = cells(SIZES)
    _, names = chosen_names(conditions)
    fewer = conditions[conditions != "B"]
    assert chosen_names(fewer)[1] == {name for name in names if conditions[name] != "B"}


def test_only_eligible_cells_are_drawn_and_perturbations_without_any_are_listed():
    conditions = cells(SIZES)
    eligible = (conditions != "B").to_numpy() & (np.arange(len(conditions)) > 0)
    choice, _ = chosen_names(conditions, eligible=eligible, cells_per_perturbation=9)
    assert eligible[choice.rows].all()
    assert choice.left_out["B"] == 0


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ({"control": 40, "A": 20}, (1, "A", 2)),
        ({"control": 40, "A": 20, "B": 5}, (1, 10, "A (20)", "B (5)")),
        ({"control": 1, "A": 20, "B": 20}, (1, "control", 2)),
    ],
)
def test_too_little_is_left(sizes, named):
    with pytest.raises(InputError, match=naming(*named)):
        chosen_names(cells(sizes))


@pytest.mark.parametrize("label", ["A+", "+B", "A++B"])
def test_combination_with_an_empty_part(label):
    settings = PreparationSettings(perturbation_key="gene", control_label="NT")
    with pytest.raises(InputError, match=naming(label, "gene", "A+B")):
        condition_names(["NT", label, "C"], settings)
