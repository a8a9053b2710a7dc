"""Data sets: the registry of known ones, downloading, preparation, and the synthetic demo.

Names are imported on first use, so that importing the package costs next to nothing.
"""

from typing import TYPE_CHECKING

from diversity_by_design.lazy import lazy_names

if TYPE_CHECKING:
    from diversity_by_design.datasets.inspection import inspect_file
    from diversity_by_design.datasets.loading import PreparedDataset, load
    from diversity_by_design.datasets.registry import DATASETS, DatasetSpec, get
    from diversity_by_design.datasets.settings import PreparationSettings
    from diversity_by_design.running.checksum import sha256

__all__ = [
    "DATASETS",
    "DatasetSpec",
    "PreparationSettings",
    "PreparedDataset",
    "get",
    "inspect_file",
    "load",
    "sha256",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "DATASETS": "datasets.registry",
        "DatasetSpec": "datasets.registry",
        "PreparationSettings": "datasets.settings",
        "PreparedDataset": "datasets.loading",
        "get": "datasets.registry",
        "inspect_file": "datasets.inspection",
        "load": "datasets.loading",
        "sha256": "running.checksum",
    },
)
