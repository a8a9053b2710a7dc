import dataclasses

import numpy as np
import pytest

from diversity_by_design.errors import InputError
from diversity_by_design.simulator import SimulationConfig


def test_size():
    config = SimulationConfig(g=100, n_0=10, n_p=5, k=4)
    assert (config.n_cells, config.n_entries) == (30, 3000)


def test_the_size_of_large_data_sets_does_not_overflow():
    large = {"g": 8192, "n_0": 8192, "n_p": 256, "k": 2000}
    of_numpy = SimulationConfig(**{name: np.int32(value) for name, value in large.items()})
    assert of_numpy.n_entries == SimulationConfig(**large).n_entries == 8192 * (8192 + 256 * 2000)


def test_numpy_numbers_are_numbers():
    config = SimulationConfig(g=np.int64(100), delta=np.float32(0.5))
    assert (config.g, config.delta) == (100, 0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"g": 0}, "g is 0; it must be at least 1"),
        ({"n_0": 1}, "n_0 is 1; it must be at least 2"),
        ({"n_p": 1}, "n_p is 1; it must be at least 2"),
        ({"k": 0}, "k is 0; it must be at least 1"),
        ({"delta": 1.5}, "delta is 1.5; it is a probability and must be in [0, 1]"),
        ({"delta": -0.1}, "must be in [0, 1]"),
        ({"epsilon": 1.0}, "epsilon is 1.0; it must be above 1"),
        ({"beta": -1.0}, "beta is -1.0; it must be at least 0"),
        ({"sigma_l": -0.1}, "sigma_l is -0.1; it must be at least 0"),
        ({"mu_l": float("nan")}, "mu_l is nan; it must be finite"),
    ],
)
def test_impossible_values_are_refused(changes, message):
    with pytest.raises(InputError) as error:
        SimulationConfig(**changes)
    assert message in str(error.value)


@pytest.mark.parametrize("changes", [{"g": 10.5}, {"k": True}, {"n_p": "5"}, {"delta": "0.1"}, {"beta": None}])
def test_values_of_another_type_are_refused(changes):
    with pytest.raises(InputError, match=next(iter(changes))):
        SimulationConfig(**changes)


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SimulationConfig().g = 3
