"""Data sets: the registry of known ones, downloading, preparation, and the synthetic demo."""

from diversity_by_design.datasets.loading import PreparedDataset, load
from diversity_by_design.datasets.registry import DATASETS, DatasetSpec, get
from diversity_by_design.running.checksum import sha256

__all__ = ["DATASETS", "DatasetSpec", "PreparedDataset", "get", "load", "sha256"]
