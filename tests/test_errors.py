"""What messages are made of; how they reach the user is tested where they are raised."""

from diversity_by_design import errors


def test_long_lists_are_shortened():
    assert errors.listed(range(12)).endswith("9 and 2 more")
    assert errors.listed([]) == "none"
