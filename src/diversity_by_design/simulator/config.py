"""What a simulated data set is made of: the eight parameters of table 1, and the spread of library sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from diversity_by_design.errors import InputError, whole_number

# Standard deviation of the log library factor, which the paper estimated in norman19.
SIGMA_L = 0.1714

# The parameters of table 1, in the order of table 2, and those that the table draws on a logarithmic scale (but for
# epsilon, whose scale is a choice): they enter correlations as logarithms.
SIMULATION_PARAMETERS = ("epsilon", "g", "n_p", "beta", "delta", "n_0", "k", "mu_l")
SIMULATION_LOGARITHMIC = frozenset({"n_0", "n_p", "k", "mu_l"})

# The least value of each number of things: a variance takes two cells.
_LEAST = {"g": 1, "n_0": 2, "n_p": 2, "k": 1}


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """Parameters of a simulated data set (table 1, equations 1 to 5); the defaults are near the middle of the table.

    Attributes
    ----------
    g : int
        Genes.
    n_0 : int
        Control cells, at least 2.
    n_p : int
        Cells of each perturbation, at least 2.
    k : int
        Perturbations.
    beta : float
        Control bias, at least 0: 0 for a control that is the centre of the perturbed cells before their own effects,
        1 for the shift that the gene parameters hold, 2 for twice that.
    delta : float
        Probability that a perturbation affects a gene, in [0, 1].
    epsilon : float
        Factor by which an affected gene's mean is multiplied or divided, above 1.
    mu_l : float
        Mean of the log of the library factors: a cell's counts are exp(mu_l) times the gene parameters' means.
    sigma_l : float
        Standard deviation of the log of the library factors, at least 0.

    Raises
    ------
    InputError
        A number of cells, genes or perturbations is no integer, or another parameter no number. A parameter is outside
        its range.

    Examples
    --------
    >>> SimulationConfig(g=1000, n_0=100, n_p=20, k=10).n_entries
    300000
    """

    g: int = 4600
    n_0: int = 300
    n_p: int = 50
    k: int = 140
    beta: float = 1.0
    delta: float = 0.05
    epsilon: float = 3.0
    mu_l: float = 1.0
    sigma_l: float = SIGMA_L

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if isinstance(value, bool):
                raise InputError(f"{name} is {value}; it must be an integer")
            # Numbers of NumPy overflow, so are made Python's.
            object.__setattr__(self, name, whole_number(value, name, least))
        for name, low, high, right in (
            ("beta", 0.0, math.inf, "must be at least 0 and finite"),
            ("delta", 0.0, 1.0, "is a probability, a number in [0, 1]"),
            ("epsilon", math.nextafter(1, 2), math.inf, "must be above 1 and finite: effects are epsilon, 1/epsilon"),
            ("mu_l", -math.inf, math.inf, "must be a finite number"),
            ("sigma_l", 0.0, math.inf, "must be at least 0 and finite"),
        ):
            value = getattr(self, name)
            if not isinstance(value, int | float | np.number) or not math.isfinite(value) or not low <= value <= high:
                raise InputError(f"{name} is {value!r}; it {right}")

    @property
    def n_cells(self) -> int:
        """Number of cells, control included."""
        return self.n_0 + self.k * self.n_p

    @property
    def n_entries(self) -> int:
        """Number of entries of the matrix of cells x genes."""
        return self.n_cells * self.g
