"""What the page of results says of times; the page as a whole is tested with the report."""

import pytest

from diversity_by_design.running import index


@pytest.mark.parametrize(("seconds", "text"), [(3.21, "3.2 s"), (59.9, "59.9 s"), (200, "3 min 20 s")])
def test_lengths_of_time(seconds, text):
    assert index._duration(seconds) == text


def test_moments_are_in_utc():
    assert index._moment("2025-03-01T12:30:00+00:00") == "2025-03-01 12:30:00 UTC"
