"""Registries of rows with names."""

from dataclasses import dataclass

import pytest
from messages import naming

from diversity_by_design.errors import InputError
from diversity_by_design.registry import Registry


@dataclass(frozen=True)
class Fruit:
    name: str
    colour: str = "green"


@pytest.fixture
def fruits() -> Registry[Fruit]:
    registry = Registry("fruit", Fruit)
    registry.register("pear")
    registry.register("apple", colour="red")
    return registry


def test_rows_are_in_the_order_in_which_they_were_added(fruits):
    assert list(fruits) == ["pear", "apple"] and len(fruits) == 2
    assert fruits["apple"] == Fruit("apple", "red")
    assert "pear" in fruits and "plum" not in fruits and 3 not in fruits


def test_finished_rows_and_the_same_row_again(fruits):
    plum = Fruit("plum", "blue")
    assert fruits.register(plum) is plum
    assert fruits.register(plum) is plum and len(fruits) == 3


def test_names_that_are_taken(fruits):
    for again in (("pear", "yellow"), (Fruit("pear", "yellow"),)):
        with pytest.raises(InputError, match=naming("fruit", "pear")):
            fruits.register(*again)
    assert fruits["pear"].colour == "green"


def test_rows_can_be_taken_out(fruits):
    fruits.remove("pear")
    assert list(fruits) == ["apple"]
    fruits.register("pear", "yellow")
    with pytest.raises(InputError, match=naming("plum", "pear", "apple")):
        fruits.remove("plum")


def test_unknown_names_get_a_hint(fruits):
    with pytest.raises(InputError, match=naming("aple", "apple", "pear")):
        fruits["aple"]


def test_choice(fruits):
    plum = Fruit("plum")
    assert fruits.chosen(None) == [fruits["pear"], fruits["apple"]]
    assert fruits.chosen("apple") == [fruits["apple"]]
    assert fruits.chosen(plum) == [plum]
    assert fruits.chosen(["apple", plum]) == [fruits["apple"], plum]
    assert fruits.chosen(name for name in ("apple", "pear")) == [fruits["apple"], fruits["pear"]]
    assert "plum" not in fruits


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["apple", "apple"], ("apple",)),
        (["apple", Fruit("apple")], ("apple",)),
        ([], ("fruits", "pear", "apple")),
        ([3], (3, "Fruit", "pear")),
        (3, (3, "Fruit", "pear")),
        (["plum"], ("plum", "pear", "apple")),
    ],
)
def test_choices_that_are_refused(fruits, given, said):
    with pytest.raises(InputError, match=naming(*said)):
        fruits.chosen(given)
