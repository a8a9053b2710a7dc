"""What messages are made of; how they reach the user is tested where they are raised."""

import pytest

from diversity_by_design import errors


def test_long_lists_are_shortened():
    assert errors.listed(range(12)).endswith("9 and 2 more")
    assert errors.listed([]) == "none"


@pytest.mark.parametrize("label", ["NT", "nt", " Nt ", "NT.0"])
def test_similar_labels(label):
    labels = ["NT", "nt ", "NT.0", "NT1", "N T", "A"]
    assert errors.similar(label, labels) == ["NT", "nt ", "NT.0"]
    assert errors.similar("B", labels) == []


def test_similar_labels_are_offered_for_control():
    with pytest.raises(errors.InputError, match=r"'nt' does not occur in obs\['x'\] \(did you mean 'NT' or 'nt '\?\)"):
        errors.control_label(["nt ", "NT", "A"], "nt", "x")
    with pytest.raises(errors.InputError, match=r"obs\['x'\]; its labels are: A"):
        errors.control_label(["A"], "nt", "x")
