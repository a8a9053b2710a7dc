import dataclasses

import numpy as np
import pytest
from messages import naming

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
    ("changes", "limit"),
    [
        ({"g": 0}, 1),
        ({"n_0": 1}, 2),
        ({"n_p": 1}, 2),
        ({"k": 0}, 1),
        ({"delta": 1.5}, "[0, 1]"),
        ({"delta": -0.1}, "[0, 1]"),
        ({"epsilon": 1.0}, 1),
        ({"beta": -1.0}, 0),
        ({"sigma_l": -0.1}, 0),
        ({"mu_l": float("nan")}, "finite"),
    ],
)
def test_impossible_values_are_refused(changes, limit):
    [(name, value)] = changes.items()
    with pytest.raises(InputError, match=naming(name, value, limit)):
        SimulationConfig(**changes)


@pytest.mark.parametrize("changes", [{"g": 10.5}, {"k": True}, {"n_p": "5"}, {"delta": "0.1"}, {"beta": None}])
def test_values_of_another_type_are_refused(changes):
    with pytest.raises(InputError, match=naming(*changes)):
        SimulationConfig(**changes)


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SimulationConfig().g = 3
