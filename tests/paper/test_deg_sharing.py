"""Tables behind figures 2A and 5A to 5E."""

import numpy as np
import pytest
from examples import make_expression

from diversity_by_design import PerturbationStatistics, deg_scores
from diversity_by_design.paper.deg_sharing import deg_counts, deg_frequencies, trinary_matrix


@pytest.fixture(scope="module")
def scores():
    stats = PerturbationStatistics.from_anndata(make_expression(seed=2, n_labels=12, n_genes=60, effect=1.0))
    return deg_scores(stats, "control"), deg_scores(stats)


def test_frequencies_and_counts_are_the_margins_of_the_same_table(scores):
    vs_control, vs_rest = scores
    frequencies, counts = deg_frequencies(vs_control, vs_rest), deg_counts(vs_control, vs_rest)
    assert frequencies["n_vs_control"].sum() == counts["n_vs_control"].sum() == vs_control.is_deg.sum() > 0
    assert frequencies["n_vs_rest"].sum() == counts["n_vs_rest"].sum() == vs_rest.is_deg.sum()
    assert frequencies["n_vs_control"].is_monotonic_decreasing
    top = frequencies.iloc[0]
    found = vs_control.is_deg[:, vs_control.genes.get_loc(top["gene"])].mean()
    assert top["percent_vs_control"] == pytest.approx(100 * found)


def test_trinary_matrix_holds_every_deg_once(scores):
    vs_control, _ = scores
    matrix = trinary_matrix(vs_control, 256, 2048, seed=0)
    assert sorted(matrix.index) == sorted(vs_control.labels)
    assert np.abs(matrix.to_numpy()).sum() == vs_control.is_deg.sum()
    label, gene = matrix.index[3], matrix.columns[2]
    row, column = vs_control.labels.get_loc(label), vs_control.genes.get_loc(gene)
    expected = np.sign(vs_control.t[row, column]) if vs_control.is_deg[row, column] else 0
    assert matrix.loc[label, gene] == expected


def test_trinary_matrix_samples_large_sets(scores):
    matrix = trinary_matrix(scores[0], 5, 7, seed=0)
    assert matrix.shape == (5, 7)
    assert not matrix.equals(trinary_matrix(scores[0], 5, 7, seed=1))
