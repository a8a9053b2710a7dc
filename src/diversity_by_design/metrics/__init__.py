"""Metrics: functions of arrays, and the registry through which everything else uses them.

>>> mse([1.0, 2.0], [1.0, 4.0])
np.float64(2.0)
>>> METRICS["mse"].higher_is_better
False
"""

from diversity_by_design.metrics.means import mae, mse, pearson_delta, r2_delta, wmse
from diversity_by_design.metrics.registry import METRICS, Metric

__all__ = ["METRICS", "Metric", "mae", "mse", "pearson_delta", "r2_delta", "register", "wmse"]

register = METRICS.register
