"""The data sets that this project knows by name: where their files are, and how they are prepared."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path

from diversity_by_design.datasets.settings import PreparationSettings
from diversity_by_design.errors import InputError, listed


@dataclass(frozen=True, kw_only=True)
class DatasetSpec(PreparationSettings):
    """A data set: its file, and the settings it is prepared with (see `PreparationSettings`)."""

    name: str
    title: str  # what the data are, and by whom
    url: str | None  # where the raw file is published; None for a data set that is generated
    filename: str  # of the raw file on disk
    size: int | None = None  # bytes of the published file
    checksum: str | None = (
        None  # ``md5:...`` or ``sha256:...`` where published; None: recorded with the first download, and checked
    )
    min_genes_per_cell: int | None = 200

    def settings(self) -> PreparationSettings:
        """Only the settings, without where the file comes from."""
        names = [field.name for field in fields(PreparationSettings)]
        return PreparationSettings(**{name: getattr(self, name) for name in names})


_SPECS = (
    DatasetSpec(
        name="demo",
        title="Demo (purely synthetic, nothing in it was measured)",
        url=None,
        filename="demo.h5ad",
        perturbation_key="perturbation",
        control_label="control",
        cells_per_perturbation=64,
        library_size_columns=("ncounts",),
    ),
    DatasetSpec(
        name="norman19",
        title="Norman et al. 2019, CRISPRa of single genes and pairs in K562 cells (file of scPerturb)",
        url="https://zenodo.org/records/7041849/files/NormanWeissman2019_filtered.h5ad?download=1",
        filename="NormanWeissman2019_filtered.h5ad",
        size=698_680_199,
        checksum="md5:c870e6967d91c017d9da827bab183cd6",
        perturbation_key="perturbation",
        control_label="control",
        combination_separator="_",
        cells_per_perturbation=256,
        library_size_columns=("ncounts", "nCount_RNA"),
    ),
    DatasetSpec(
        name="replogle22",
        title="Replogle et al. 2022, CRISPRi of essential genes in RPE1 cells",
        url="https://plus.figshare.com/ndownloader/files/35775606",
        filename="rpe1_raw_singlecell_01.h5ad",
        size=8_700_873_216,
        checksum="md5:6a2a9d0d2bf4ec147f4d1104043b268c",
        perturbation_key="gene",
        control_label="non-targeting",
        cells_per_perturbation=64,
        gene_names="gene_name",
        library_size_columns=("UMI_count",),
    ),
    DatasetSpec(
        name="papalexi21",
        title="Papalexi et al. 2021, CRISPR knock-out in THP-1 cells, ECCITE-seq (file of scPerturb)",
        url="https://zenodo.org/records/7041849/files/PapalexiSatija2021_eccite_RNA.h5ad?download=1",
        filename="PapalexiSatija2021_eccite_RNA.h5ad",
        checksum="sha256:03e9602d124c261281936717d5795445805e6e704a52b0310bcde94225aa0929",
        perturbation_key="perturbation",
        control_label="control",
        guide_suffix=r"g\d+$",
        library_size_columns=("ncounts", "nCount_RNA"),
    ),
)

DATASETS: dict[str, DatasetSpec] = {spec.name: spec for spec in _SPECS}


def is_path(dataset: str) -> bool:
    """Whether a data set is meant as a file or folder: it is no known name, and there is one, or it looks like one.

    >>> is_path("norman19"), is_path("screen.h5ad"), is_path("runs/outs"), is_path("norman20")
    (False, True, True, False)
    """
    path = Path(dataset)
    return dataset not in DATASETS and (os.path.exists(path) or bool(path.suffix) or len(path.parts) > 1)


def get(name: str) -> DatasetSpec:
    """Return the data set called `name`.

    Raises
    ------
    InputError
        There is none; the message lists the known names.

    Examples
    --------
    >>> get("norman19").cells_per_perturbation
    256
    """
    if name not in DATASETS:
        raise InputError(
            f"no data set called {name!r}; known are: {listed(DATASETS)}; the path of a file works too (.h5ad, zarr, "
            ".h5mu, Cell Ranger's .h5 or folder)"
        )
    return DATASETS[name]
