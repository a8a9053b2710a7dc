"""The package as a whole: what it offers, and what importing it costs."""

import importlib.util
import subprocess
import sys

import pytest
from messages import naming

import diversity_by_design as dbd


def test_every_public_name_exists():
    names = list(dbd.__all__)
    if importlib.util.find_spec("torch") is None:
        names.remove("losses")
        with pytest.raises(dbd.InputError, match=naming("losses", "torch")):
            _ = dbd.losses
    for name in names:
        assert getattr(dbd, name) is not None
    assert dir(dbd) == dbd.__all__


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'wmse'"):
        _ = dbd.wmse


def test_import_loads_nothing_heavy():
    code = (
        "import sys, diversity_by_design;"
        "print([m for m in ('torch', 'scanpy', 'anndata', 'matplotlib', 'numba', 'scipy.stats') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_core_works_without_the_libraries_that_read_and_draw():
    """Statistics, scores, weights, metrics and sweeps need none of scanpy, anndata and matplotlib."""
    code = """
import sys
for name in ("scanpy", "anndata", "matplotlib"):
    sys.modules[name] = None
import numpy as np, diversity_by_design as dbd
from diversity_by_design.paper import sweeps
rng = np.random.default_rng(0)
stats = dbd.PerturbationStatistics.from_matrix(rng.random((30, 4)), ["A", "B", "control"] * 10, list("wxyz"))
weights = dbd.deg_weights(dbd.deg_scores(stats))
print(dbd.metrics.wmse(stats.mean, stats.perturbed_mean, weights).shape)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "(2,)"
