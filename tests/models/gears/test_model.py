"""What holds for the model whatever cell-gears does; parity with it is tested beside this."""

import numpy as np
import pandas as pd
import pytest

from diversity_by_design.errors import InputError

torch = pytest.importorskip("torch")

from messages import naming  # noqa: E402
from small_gears import SINGLES, ontology, ring  # noqa: E402

from diversity_by_design.gears import GEARS, Graph  # noqa: E402

GENES = [f"G{number:02d}" for number in range(10)]
LABELS = ["P00", "P01+P02", "control", "P00", "P03", "control", "P01+P02"]


@pytest.fixture
def model() -> GEARS:
    torch.manual_seed(0)
    return GEARS(ring(GENES), ontology(), hidden_size=4, messages="all_cells")


def controls(n: int) -> torch.Tensor:
    return torch.rand(n, len(GENES), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("training", [True, False])
def test_order_of_cells_does_not_matter(model, training):
    model.train(training)
    pairs, cells = model.perturbation_index(LABELS), controls(len(LABELS))
    order = np.random.default_rng(0).permutation(len(LABELS))
    torch.testing.assert_close(model(cells[order], pairs[order]), model(cells, pairs)[order])


def test_prediction_is_control_expression_plus_what_the_perturbation_adds(model):
    model.eval()
    pairs, cells = model.perturbation_index(LABELS), controls(len(LABELS))
    torch.testing.assert_close(model(cells, pairs) - cells, model.predict_changes(pairs))


def test_evaluation_looks_at_each_cell_alone(model):
    model.eval()
    pairs, cells = model.perturbation_index(LABELS), controls(len(LABELS))
    alone = torch.cat([model(cells[[row]], pairs[[row]]) for row in range(len(LABELS))])
    torch.testing.assert_close(alone, model(cells, pairs))


def test_predicting_changes_nothing(model):
    before = {name: value.clone() for name, value in model.train().state_dict().items()}
    # The first use shortens embeddings.
    model.predict_changes(model.perturbation_index(LABELS))
    once = {name: value.clone() for name, value in model.state_dict().items()}
    model.predict_changes(model.perturbation_index(LABELS))
    assert model.training
    assert all(torch.equal(value, once[name]) for name, value in model.state_dict().items())
    assert [name for name in before if not torch.equal(before[name], once[name])] == [
        name
        for name in ("gene_emb.weight", "pert_emb.weight", "emb_pos.weight")
        if not torch.equal(before[name], once[name])
    ]


def test_genes_without_neighbours_make_messages_idle():
    """Without edges it makes no difference who gets messages."""
    nothing = np.zeros(0, np.int64)
    outputs = []
    for messages in ("first_cell", "all_cells"):
        torch.manual_seed(0)
        empty = Graph(pd.Index(GENES, dtype=object), nothing, nothing, np.zeros(0, np.float32))
        one = GEARS(empty, ontology(), hidden_size=4, messages=messages)
        outputs.append(one(controls(len(LABELS)), one.perturbation_index(LABELS)))
    torch.testing.assert_close(*outputs)


def test_bad_input(model):
    with pytest.raises(InputError, match=naming("one cell", "two")):
        model(controls(1), model.perturbation_index(["P00"]))
    with pytest.raises(InputError, match=naming("controls", (2, 10), (1, 10))):
        model(controls(2), model.perturbation_index(["P00"]))
    with pytest.raises(InputError, match=naming("GEARS", "two genes", "P00+P01+P02")):
        model.perturbation_index(["P00", "P00+P01+P02"])
    with pytest.raises(InputError, match=naming("GATA1", 8)):
        model.perturbation_index(["P00", "P00+GATA1"])
    with pytest.raises(InputError, match=naming("messages", "'none'", "first_cell", "all_cells")):
        GEARS(ring(GENES), ontology(), messages="none")
    with pytest.raises(InputError, match=naming("hidden_size", 0, 1)):
        GEARS(ring(GENES), ring(SINGLES), hidden_size=0)
