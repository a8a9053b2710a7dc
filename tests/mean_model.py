"""A model from outside the package, without torch: the mean of the training perturbations, for whatever is asked."""

from dataclasses import dataclass

import numpy as np

from diversity_by_design.models import FittedModel


@dataclass(frozen=True, eq=False, kw_only=True)
class MeanModel(FittedModel):
    name = "mean_model"

    mean: np.ndarray

    @classmethod
    def fit(cls, cells, split, **training):
        statistics = cells.statistics.select(labels=split.labels("train"))
        return cls(genes=cells.genes, control=cells.control, mean=statistics.perturbed_mean)

    def expression(self, labels):
        return np.tile(self.mean, (len(labels), 1))

    def state(self):
        return {"mean": self.mean}, {}

    @classmethod
    def from_state(cls, arrays, values, *, device, **shared):
        return cls(**shared, mean=arrays["mean"])
