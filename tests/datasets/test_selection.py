"""The seeded draw of cells."""

import numpy as np
import pandas as pd
import pytest
from messages import naming

from diversity_by_design.datasets.selection import automatic_cells, choose_cells
from diversity_by_design.datasets.settings import PreparationSettings
from diversity_by_design.errors import InputError


def settings(**changes):
    return PreparationSettings(**{"perturbation_key": "gene", "control_label": "control", **changes})


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
    choice = choose_cells(
        conditions.to_frame("condition"), eligible, settings(**{"cells_per_perturbation": 10, **changes}), seed, "test"
    )
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


def in_contexts(sizes, **more):
    """Cells of each condition in the contexts x and y, and of further contexts as given."""
    table = pd.concat(
        [
            cells(own).to_frame("condition").assign(context=name)
            for name, own in {"x": sizes, "y": sizes, **more}.items()
        ]
    )
    return table.set_axis([f"cell{i}" for i in range(len(table))])


def test_each_context_has_its_own_draw_and_control():
    table = in_contexts(SIZES, z={"control": 12, "A": 11, "B": 3, "D": 10})
    options = settings(cells_per_perturbation=10, max_control_cells=30)
    choice = choose_cells(table, np.ones(len(table), bool), options, 0, "test")
    kept = table.iloc[choice.rows].value_counts().to_dict()
    assert {key: n for key, n in kept.items() if key[1] == "z"} == {
        ("control", "z"): 12,
        ("A", "z"): 10,
        ("D", "z"): 10,
    }
    assert kept[("control", "x")] == kept[("control", "y")] == 30
    assert choice.left_out == {"x: C": 9, "y: C": 9, "z: B": 3}
    alone = table[table["context"] == "x"]
    own = choose_cells(alone, np.ones(len(alone), bool), options, 0, "test")
    assert set(alone.index[own.rows]) == set(table.index[choice.rows]) & set(alone.index)


def test_contexts_that_cannot_be_used_are_left_out_with_the_reason():
    table = in_contexts(SIZES, w={"A": 20, "B": 20}, z={"control": 9, "A": 20, "B": 2})
    choice = choose_cells(table, np.ones(len(table), bool), settings(cells_per_perturbation=10), 0, "test")
    assert set(choice.contexts_left_out) == {"w", "z"}
    assert "0 control" in choice.contexts_left_out["w"] and "1 perturbation" in choice.contexts_left_out["z"]
    assert set(table["context"].iloc[choice.rows]) == {"x", "y"}
    with pytest.raises(InputError, match=naming("w", 0, "control")):
        lonely = table[table["context"] == "w"]
        choose_cells(lonely, np.ones(len(lonely), bool), settings(), 0, "test")


def test_batches_are_drawn_from_evenly():
    table = cells({"control": 40, "A": 40, "B": 40}).to_frame("condition")
    # Of each condition 30 cells are of the first batch, the others of four more.
    number = table.groupby("condition").cumcount()
    table["batch"] = np.where(number < 30, "b0", "b" + (number % 4 + 1).astype(str))
    choice = choose_cells(table, np.ones(len(table), bool), settings(cells_per_perturbation=10), 0, "test")
    counts = table.iloc[choice.rows].query("condition != 'control'").value_counts()
    assert set(counts) == {2}
    choice = choose_cells(table, np.ones(len(table), bool), settings(cells_per_perturbation=16), 0, "test")
    counts = table.iloc[choice.rows].query("condition == 'A'")["batch"].value_counts()
    assert counts["b0"] == 16 - 10 and counts.sum() == 16  # the small ones have 3, 3, 2 and 2 cells
