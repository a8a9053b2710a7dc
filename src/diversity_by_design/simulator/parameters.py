"""What every gene brings to a simulation: its mean in control and in perturbed cells, and its overdispersion."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design import errors
from diversity_by_design.errors import InputError
from diversity_by_design.running.files import read_csv, write_csv

if TYPE_CHECKING:
    from anndata import AnnData

Floats = npt.NDArray[np.float64]

VALUES = ("mu_control", "mu_perturbed", "theta")
COLUMNS = ("gene", *VALUES)


@dataclass(frozen=True, kw_only=True)
class GeneDistribution:
    """Distribution over genes of what a gene brings; log is the natural logarithm.

    The defaults are those of a K562 screen: 13,500 counts per cell, the 8,192 highest genes.
    """

    # The log mean count of control cells has a shifted gamma distribution.
    log_mean: float = -0.6
    log_mean_sd: float = 1.05
    log_mean_skewness: float = 1.5
    # Genes above it are drawn again. Without a bound, the mean count has a Pareto tail, and some draws would hold a
    # gene with half of all counts, where the highest of K562 has 1.5 %.
    largest_mean: float = 200.0
    # Log of the negative binomial size theta: its mean, its standard deviation among genes of one mean, and its slope
    # on the log mean. With the slope, 0.682 makes a standard deviation of 0.69 over all genes.
    log_theta_mean: float = 1.0
    log_theta_sd: float = 0.682
    log_theta_slope: float = -0.1
    # The same of the log ratio of the means of perturbed and control cells.
    log_shift_mean: float = 0.05
    log_shift_sd: float = 0.2
    log_shift_slope: float = 0.0

    def draw(self, rng: np.random.Generator, expressed: npt.NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
        """Draw log mean (`log_mean` of genes that are not `expressed`), log theta and log shift, each (genes,)."""
        shape = (2 / self.log_mean_skewness) ** 2  # of the gamma distribution with that skewness
        deviation = np.zeros(len(expressed))
        due = expressed
        while due.any():
            deviation[due] = self.log_mean_sd / np.sqrt(shape) * (rng.gamma(shape, size=due.sum()) - shape)
            due = self.log_mean + deviation > np.log(self.largest_mean)
        theta = rng.normal(self.log_theta_mean, self.log_theta_sd, size=len(expressed))
        shift = rng.normal(self.log_shift_mean, self.log_shift_sd, size=len(expressed))
        theta, shift = theta + self.log_theta_slope * deviation, shift + self.log_shift_slope * deviation
        return self.log_mean + deviation, theta, shift


@dataclass(frozen=True, eq=False)
class GeneParameters:
    """Parameters of the genes that a simulation draws from (section 3.1, equations 1 to 3).

    Attributes
    ----------
    genes : pandas.Index (genes,)
        Names, each once.
    mu_control, mu_perturbed : float64 array (genes,)
        Mean count in a control cell (mu_c) and in a perturbed cell (mu_all) of library factor 1; 0 or more.
    theta : float64 array (genes,)
        Size of the negative binomial distribution, whose variance is ``mean + mean**2 / theta``. Above 0; infinite
        for a gene without overdispersion, whose counts are Poisson.

    Raises
    ------
    InputError
        No genes; a name is missing or occurs twice; an array has another length than `genes`; a value is missing,
        negative or (but for theta) infinite; a theta is 0.

    Examples
    --------
    >>> parameters = GeneParameters(["A", "B", "C"], [1.0, 0.5, 2.0], [1.1, 0.4, 2.0], [2.0, 0.3, np.inf])
    >>> len(parameters)
    3
    >>> parameters.table
      gene  mu_control  mu_perturbed  theta
    0    A         1.0           1.1    2.0
    1    B         0.5           0.4    0.3
    2    C         2.0           2.0    inf
    """

    genes: pd.Index
    mu_control: Floats
    mu_perturbed: Floats
    theta: Floats

    def __post_init__(self) -> None:
        genes = pd.Index(self.genes)
        if len(genes) == 0:
            raise InputError("gene parameters: there are no genes; at least 1 is needed")
        if genes.hasnans:
            raise InputError(f"gene parameters: {int(genes.isna().sum())} of {len(genes)} genes have no name")
        errors.unique_names(genes, "gene", "gene parameters")
        object.__setattr__(self, "genes", genes)
        for name in VALUES:
            values = np.array(getattr(self, name), dtype=np.float64)
            if values.shape != genes.shape:
                raise InputError(f"gene parameters: {name} has shape {values.shape}, but there are {len(genes)} genes")
            _check_values(values, name, genes)
            values.flags.writeable = False
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.genes)

    @property
    def table(self) -> pd.DataFrame:
        """One row per gene: `gene`, `mu_control`, `mu_perturbed`, `theta`."""
        return pd.DataFrame({"gene": self.genes, **{name: getattr(self, name) for name in VALUES}})

    @classmethod
    def from_table(cls, table: pd.DataFrame, where: str = "table of gene parameters") -> GeneParameters:
        """Take the columns `gene`, `mu_control`, `mu_perturbed` and `theta` of a table, which messages call `where`.

        Raises
        ------
        InputError
            A column is missing, a value is no number, or what `GeneParameters` refuses.
        """
        missing = [column for column in COLUMNS if column not in table.columns]
        if missing:
            raise InputError(
                f"{where}: no column {errors.listed(missing)}; needed are {errors.listed(COLUMNS)}, "
                f"and it has: {errors.listed(table.columns, 30)}"
            )
        numbers = {}
        for name in VALUES:
            column = pd.to_numeric(table[name], errors="coerce")
            wrong = column.isna() & table[name].notna()
            if wrong.any():
                raise InputError(
                    f"{where}: {name} is {table.loc[wrong, name].iat[0]!r} for gene "
                    f"{table.loc[wrong, 'gene'].iat[0]!r}; it must be a number"
                )
            numbers[name] = column.to_numpy(np.float64)
        try:
            return cls(pd.Index(table["gene"], name=None), **numbers)
        except ValueError as error:
            raise InputError(f"{where}: {str(error).removeprefix('gene parameters: ')}") from error

    @classmethod
    def from_csv(cls, path: str | Path) -> GeneParameters:
        """Read a table of gene parameters, as `to_csv` writes it; it may be compressed (``.csv.gz``).

        Raises
        ------
        InputError
            There is no such file. The file is no CSV file, or what `from_table` refuses.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"no table of gene parameters at {path}")
        try:
            table = read_csv(path, dtypes={"gene": "str"})
        except (ValueError, OSError) as error:
            raise InputError(
                f"{path} cannot be read as a CSV file ({error}); expected are a header with the columns "
                f"{errors.listed(COLUMNS)} and a line per gene"
            ) from error
        return cls.from_table(table, str(path))

    def to_csv(self, path: str | Path) -> None:
        """Write `table`, to ten significant digits."""
        write_csv(Path(path), self.table)

    @classmethod
    def fit(
        cls,
        adata: AnnData,
        *,
        perturbation: str = "condition",
        control: str = "control",
        layer: str | None = "counts",
        theta: Literal["control", "perturbed", "all_cells"] = "control",
        workers: int | None = None,
    ) -> GeneParameters:
        """Estimate the parameters from raw counts by maximum likelihood; see `estimation.estimate`.

        Parameters
        ----------
        adata : AnnData
            In memory or backed.
        perturbation, control : str
            The column of `obs` that labels cells, and the label of unperturbed ones.
        layer : str, optional
            Layer that holds the raw counts; None for `X`, which is also taken where there is no layer ``counts``.
        theta : {"control", "perturbed", "all_cells"}
            The cells whose theta is taken. Control cells (the default) are alike, while the variance of the others
            holds the effects of perturbations too, which a simulation adds itself. Where these cells have no counts
            of a gene, its theta in all cells is taken.
        workers : int, optional
            Threads (default: as many as cores); they do not change the result.

        Raises
        ------
        InputError
            No such column, layer or control label; values are no counts, or no gene has any; there are fewer than two
            control or perturbed cells; gene names are not unique.

        Warns
        -----
        UserWarning
            Some genes have no counts, or their fits did not converge; it says how many.
        """
        from diversity_by_design.groups import expression_matrix
        from diversity_by_design.simulator.estimation import estimate, is_control_cell

        if layer == "counts" and layer not in adata.layers:
            layer = None  # that these are counts is checked like anything else
        is_control = is_control_cell(adata.obs, perturbation, control)
        where = "X" if layer is None else f"layers[{layer!r}]"
        counts = expression_matrix(adata, layer)
        estimates = estimate(counts, is_control, adata.var_names, workers=workers, where=where)
        for problem in estimates.problems:
            warnings.warn(problem, stacklevel=2)
        return cls.from_table(estimates.gene_table(theta))

    @classmethod
    def default(cls, n_genes: int = 8192, seed: int = 0) -> GeneParameters:
        """Draw parameters that resemble those of a K562 screen, for where there are no data (see `GeneDistribution`).

        Examples
        --------
        >>> parameters = GeneParameters.default(n_genes=2000, seed=1)
        >>> len(parameters), parameters.genes[0]
        (2000, 'GENE0001')
        """
        rng = np.random.default_rng(np.random.SeedSequence(seed))
        log_mean, log_theta, log_shift = GeneDistribution().draw(rng, np.ones(n_genes, bool))
        return cls(
            pd.Index([f"GENE{number:04d}" for number in range(1, n_genes + 1)]),
            np.exp(log_mean),
            np.exp(log_mean + log_shift),
            np.exp(log_theta),
        )

    def draw(self, g: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
        """Positions of `g` genes, drawn without replacement."""
        if g > len(self):
            raise InputError(
                f"g is {g}, but the gene parameters hold only {len(self)} genes; "
                "use a smaller g or parameters of more genes"
            )
        return rng.choice(len(self), g, replace=False)


def _check_values(values: Floats, name: str, genes: pd.Index) -> None:
    """Raise InputError naming the first gene whose value cannot be."""
    is_theta = name == "theta"
    for wrong, kind, right in (
        (np.isnan(values), "missing (NaN)", "give it a value or leave the gene out"),
        (values < 0, "negative", "it must be above 0" if is_theta else "it must be 0 or more"),
        ((values == 0) & is_theta, "0", "it must be above 0 (inf: no overdispersion)"),
        (np.isinf(values) & (not is_theta), "infinite", "it must be finite"),
    ):
        if wrong.any():
            raise InputError(
                f"gene parameters: {name} is {kind} for {int(wrong.sum())} of {len(genes)} genes "
                f"(first: {genes[int(np.argmax(wrong))]!r}); {right}"
            )
