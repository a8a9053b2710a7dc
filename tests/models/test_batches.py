import numpy as np
import pytest
from messages import naming
from scipy import sparse

from diversity_by_design.errors import InputError

torch = pytest.importorskip("torch")

from diversity_by_design.models.batches import ExpressionRows, Pseudobulk, SingleCells  # noqa: E402

CONTROL = 3
# Six cells of each of three perturbations, five of control, four that are not trained on; in no order.
LABELS = np.random.default_rng(1).permutation(np.repeat([0, 1, 2, CONTROL, -1], [6, 6, 6, 5, 4]))


@pytest.fixture
def matrix() -> sparse.csr_matrix:
    """Cells with a gene that names them, and genes that are mostly zero."""
    values = np.random.default_rng(0).random((len(LABELS), 9)) * (
        np.random.default_rng(2).random((len(LABELS), 9)) < 0.3
    )
    values[:, 0] = np.arange(len(LABELS))
    values[4, 1:] = 0
    return sparse.csr_matrix(values.astype(np.float32))


def source(matrix, **options) -> SingleCells:
    settings = {"batch_size": 4, "passes": 1, "training_cells": None, "seed": 0, **options}
    return SingleCells(ExpressionRows(matrix), LABELS, CONTROL, **settings)


def test_a_cell_without_any_expression():
    empty = sparse.csr_matrix(np.array([[0, 1], [0, 0], [2, 0]], np.float32))
    assert ExpressionRows(empty).dense(np.array([1, 2, 1, 0])).tolist() == [[0, 0], [2, 0], [0, 0], [0, 1]]


@pytest.mark.parametrize("rows", [[0], [4], [4, 0, 4, 11], list(range(len(LABELS)))])
def test_rows_are_those_of_the_matrix(matrix, rows):
    np.testing.assert_array_equal(ExpressionRows(matrix).dense(np.array(rows)).numpy(), matrix[rows].toarray())


def test_rows_share_the_matrix_memory(matrix):
    rows = ExpressionRows(matrix)
    matrix.data[:] = 7
    assert set(rows.dense(np.arange(len(LABELS))).unique().tolist()) <= {0.0, 7.0}


def epoch_of(cells, number=0):
    batches = list(cells.batches(number))
    assert len(batches) == cells.n_batches
    names = np.concatenate([batch.targets[:, 0].numpy() for batch in batches]).astype(int)
    controls = np.concatenate([batch.controls[:, 0].numpy() for batch in batches]).astype(int)
    return names, controls, np.concatenate([batch.labels for batch in batches])


def test_an_epoch_has_every_training_cell_once_but_for_an_incomplete_batch(matrix):
    names, _, labels = epoch_of(source(matrix))
    assert len(names) == 20 and len(set(names)) == 20  # of 23
    np.testing.assert_array_equal(LABELS[names], labels)
    assert (labels >= 0).all()


def test_controls_are_control_cells_the_same_in_every_epoch_and_a_control_cell_is_its_own(matrix):
    cells = source(matrix, batch_size=23)
    first, second = epoch_of(cells), epoch_of(cells, 1)
    assert (LABELS[first[1]] == CONTROL).all()
    own = first[2] == CONTROL
    np.testing.assert_array_equal(first[0][own], first[1][own])
    assert dict(zip(*first[:2], strict=True)) == dict(zip(*second[:2], strict=True))
    assert not np.array_equal(first[0], second[0]), "the order differs from epoch to epoch"
    assert len(set(first[1][~own])) > 1


def test_seed_decides_order_and_controls(matrix):
    same, again, other = (epoch_of(source(matrix, seed=seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(same, again)
    assert not np.array_equal(same[0], other[0])


def test_fewer_cells_of_each_label(matrix):
    _, _, labels = epoch_of(source(matrix, training_cells=2, batch_size=8))
    assert np.bincount(labels).tolist() == [2, 2, 2, 2]
    names = [set(epoch_of(source(matrix, training_cells=3, batch_size=2, seed=seed))[0]) for seed in range(2)]
    assert names[0] != names[1]


def test_passes(matrix):
    names, _, _ = epoch_of(source(matrix, passes=3, batch_size=23))
    assert sorted(np.unique(names, return_counts=True)[1]) == [3] * 23
    assert not np.array_equal(names[:23], names[23:46])


def test_too_few_cells_for_a_batch(matrix):
    with pytest.raises(InputError, match=naming(23, 24, "batch_size")):
        source(matrix, batch_size=24)


def test_pseudobulk_batches_hold_means_and_the_control_mean():
    means = torch.arange(20.0).view(5, 4)
    batches = list(Pseudobulk(means, batch_size=2, passes=2, seed=0).batches(0))
    assert len(batches) == 5
    labels = np.concatenate([batch.labels for batch in batches])
    assert np.bincount(labels).tolist() == [2] * 5
    for batch in batches:
        torch.testing.assert_close(batch.targets, means[torch.as_tensor(batch.labels)])
        torch.testing.assert_close(batch.controls, means[-1].expand(2, 4))


def test_a_batch_has_no_more_than_all_perturbations():
    assert Pseudobulk(torch.zeros(5, 4), batch_size=32, passes=1, seed=0).n_batches == 1
