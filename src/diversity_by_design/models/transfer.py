"""Moving small arrays to a device at every step."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor


def to_device(values: npt.NDArray[Any], device: torch.device | str) -> Tensor:
    """A tensor on a device; the program does not wait for a GPU to finish what it is doing.

    Only from page-locked memory can a GPU fetch values while the program goes on.
    """
    tensor = torch.from_numpy(values)
    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
