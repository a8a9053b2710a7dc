"""Our GEARS against cell-gears' model: parameters, outputs, gradients, running statistics.

Small batches are compared in float64, where any difference is one of arithmetic: batch normalisation over two or three
cells can blow the rounding errors of float32 up a thousand times, those of either model.
"""

import ast
from dataclasses import replace
from pathlib import Path

import cell_gears
import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")
if not cell_gears.is_installed():
    pytest.skip("cell-gears is not installed", allow_module_level=True)

from diversity_by_design.models.gears import model  # noqa: E402
from diversity_by_design.models.gears.model import GEARS, CellGroups  # noqa: E402
from diversity_by_design.models.gears.options import GEARSOptions  # noqa: E402

N_GENES, SIZE = 24, 8
GENES = [f"gene{i:02d}" for i in range(N_GENES)]
PERTURBABLE = [f"P{letter}" for letter in "ABCDEFGHIJKL"]

BATCHES = {
    "mixed": ["PA", "PB", "PC+PD", "control", "PL", "PB", "PC+PD", "control"],
    "distinct": ["PA", "PB", "PC", "PD"],
    "repeated": ["PA", "PA", "PA", "PB", "PB"],
    "first cell control": ["control", "PA", "PB", "PA+PB"],
    "first cell like others": ["PA", "PA", "PA"],
    "combinations": ["PA+PB", "PB+PC", "PA+PC"],
    "only control": ["control"] * 4,
    "one perturbed cell, the first": ["PA+PE", "control", "control"],
    "one perturbed cell, the last": ["control", "control", "PA"],
    "two cells": ["PK", "control"],
}
LAYERS = [{}, {"num_go_gnn_layers": 2, "num_gene_gnn_layers": 2}, {"num_go_gnn_layers": 1, "num_gene_gnn_layers": 2}]


@pytest.fixture(scope="module")
def graphs():
    rng = np.random.default_rng(0)
    return cell_gears.random_graph(GENES, 3, rng), cell_gears.random_graph(PERTURBABLE, 2, rng)


def scramble(model) -> None:
    """No parameter or running statistic at its initial value, and embeddings longer and shorter than their bound."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value += 0.2 * torch.randn(value.shape, generator=generator)
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.abs_().add_(0.5)
        for embedding in (model.gene_emb, model.pert_emb, model.emb_pos):
            embedding.weight[::3] /= embedding.weight[::3].norm(dim=1, keepdim=True) * 2


def pair(graphs, messages="first_cell", n_cells=1, **options):
    """cell-gears' model and ours with the same parameters; cell-gears' with a graph for each cell for "all_cells"."""
    torch.manual_seed(0)
    theirs = cell_gears.make_model(*graphs, hidden_size=SIZE, **options)
    scramble(theirs)
    ours = GEARS(*graphs, hidden_size=SIZE, messages=messages, **options)
    ours.load_state_dict(theirs.state_dict())
    if messages == "all_cells":
        theirs.G_coexpress, theirs.G_coexpress_weight = cell_gears.repeated_edges(graphs[0], n_cells)
    return theirs, ours


def expression(labels, seed=2):
    """Expression of as many control cells, and of as many perturbed cells."""
    rng = np.random.default_rng(seed)
    return torch.as_tensor(rng.random((2, len(labels), N_GENES), dtype=np.float32) * 3)


def predictions(theirs, ours, labels, controls):
    batch = cell_gears.make_batch(controls, controls, labels, pd.Index(PERTURBABLE))
    return theirs(batch), ours(controls, ours.perturbation_index(labels))


def exact_predictions(theirs, ours, labels, controls):
    """The same in float64."""
    batch = cell_gears.make_batch(controls, controls, labels, pd.Index(PERTURBABLE))
    batch.x = batch.x.double()
    groups, group = CellGroups.of(ours.perturbation_index(labels), ours.messages)
    groups = replace(groups, n_cells=groups.n_cells.double())
    return theirs.double()(batch), controls.double() + ours.double().changes(groups)[group]


def assert_same_state(theirs, ours, tolerance):
    expected = theirs.state_dict()
    for name, value in ours.state_dict().items():
        np.testing.assert_allclose(value, expected[name], rtol=tolerance, atol=tolerance, err_msg=name)


def assert_same_gradients(theirs, ours, tolerance=1e-5):
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    largest = max(gradient.abs().max().item() for gradient in expected.values() if gradient is not None)
    for name, parameter in ours.named_parameters():
        gradient = expected[name]
        # A missing gradient is not one of zeros: only with the latter does Adam decay the parameter.
        assert (parameter.grad is None) == (gradient is None), name
        if gradient is not None:
            # Gradients that are zero but for rounding, such as of biases before a normalisation, are compared with
            # those of other parameters.
            bound = tolerance * (gradient.abs().max().item() + 0.1 * largest)
            assert (parameter.grad - gradient).abs().max().item() <= bound, name


@pytest.mark.parametrize("options", LAYERS)
def test_state_dict_moves_both_ways(graphs, options):
    theirs, ours = pair(graphs, **options)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    assert [value.shape for value in theirs.state_dict().values()] == [v.shape for v in ours.state_dict().values()]
    # Optimisers number parameters by their order.
    assert [name for name, _ in theirs.named_parameters()] == [name for name, _ in ours.named_parameters()]
    scramble(ours)
    theirs.load_state_dict(ours.state_dict())
    assert_same_state(theirs, ours, 0)


def test_one_seed_gives_the_same_parameters(graphs):
    torch.manual_seed(5)
    theirs = cell_gears.make_model(*graphs)
    torch.manual_seed(5)
    assert_same_state(theirs, GEARS(*graphs), 0)


@pytest.mark.parametrize("messages", ["first_cell", "all_cells"])
@pytest.mark.parametrize("options", LAYERS)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("labels", BATCHES.values(), ids=BATCHES.keys())
def test_outputs_gradients_and_running_statistics(graphs, labels, training, options, messages):
    theirs, ours = pair(graphs, messages, len(labels), **options)
    before = ours.gene_emb.weight.detach().clone()
    controls, targets = expression(labels)
    weight = torch.linspace(0.5, 2.0, N_GENES)
    expected, found = exact_predictions(theirs.train(training), ours.train(training), labels, controls)
    for prediction in (expected, found):
        (weight * (prediction - targets) ** 2).mean().backward()
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)
    assert_same_gradients(theirs, ours)
    # Running statistics moved on, and embeddings were shortened in place.
    assert_same_state(theirs, ours, 1e-7)
    after = ours.gene_emb.weight
    assert (before.norm(dim=1) > 1.1).any() and after.norm(dim=1).max() < 1 + 1e-6
    assert torch.equal(after[::3].float(), before[::3])


@pytest.mark.parametrize("messages", ["first_cell", "all_cells"])
@pytest.mark.parametrize("options", LAYERS)
def test_batch_of_usual_size_in_float32(graphs, options, messages):
    labels = np.random.default_rng(4).choice([*PERTURBABLE, "PA+PB", "PC+PD", "control"], 32).tolist()
    theirs, ours = pair(graphs, messages, len(labels), **options)
    controls, targets = expression(labels)
    for training in (True, False):
        expected, found = predictions(theirs.train(training), ours.train(training), labels, controls)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        for prediction in (expected, found):
            ((prediction - targets) ** 2).mean().backward()
    # Rounding alone makes the gradients of cell-gears differ by 3e-5 from its own in float64.
    assert_same_gradients(theirs, ours, 1e-4)
    assert_same_state(theirs, ours, 1e-5)


@pytest.mark.parametrize("labels", BATCHES.values(), ids=BATCHES.keys())
def test_evaluation_in_float32(graphs, labels):
    theirs, ours = pair(graphs)
    expected, found = predictions(theirs.eval(), ours.eval(), labels, expression(labels)[0])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("labels", [["PA"], ["control"]])
def test_single_cell_in_evaluation(graphs, labels):
    theirs, ours = pair(graphs)
    expected, found = predictions(theirs.eval(), ours.eval(), labels, expression(labels)[0])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_parameters_stay_together_over_steps_of_adam(graphs):
    """Batches take turns, so that some parameters have no gradient in some steps."""
    theirs, ours = (model.double() for model in pair(graphs))
    optimisers = [torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=5e-4) for model in (theirs, ours)]
    for step in range(20):
        labels = list(BATCHES.values())[step % len(BATCHES)]
        controls, targets = expression(labels, seed=step)
        losses = []
        found = exact_predictions(theirs.train(), ours.train(), labels, controls)
        for optimiser, prediction in zip(optimisers, found, strict=True):
            optimiser.zero_grad()
            loss = ((prediction - targets) ** 2).mean()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert_same_state(theirs, ours, 1e-5)


@pytest.mark.parametrize("messages", ["first_cell", "all_cells"])
def test_which_cells_get_messages(graphs, messages):
    """Cells of one perturbation and with one control cell: cell-gears' first one differs."""
    labels = ["PA"] * 4
    controls = expression(labels)[0][:1].repeat(4, 1)
    theirs, ours = pair(graphs, messages, len(labels))
    for out in predictions(theirs.eval(), ours.eval(), labels, controls):
        torch.testing.assert_close(out[1:], out[1:2].expand(3, -1), rtol=1e-6, atol=1e-6)
        difference = (out[0] - out[1]).abs().max()
        assert difference > 1e-3 if messages == "first_cell" else difference < 1e-6


@pytest.mark.parametrize("messages", ["first_cell", "all_cells"])
def test_predicted_changes_are_those_of_cells_that_are_not_the_first(graphs, messages, monkeypatch):
    """Computed two by two."""
    monkeypatch.setattr(model, "_ROWS_PREDICTED", 2 * N_GENES)
    labels = ["PA", "PC", "PA+PC", "control", "PL"]
    theirs, ours = pair(graphs, messages, 1 + len(labels))
    controls, _ = expression(["control", *labels])
    with torch.no_grad():
        expected, _ = predictions(theirs.eval(), ours.eval(), ["control", *labels], controls)
    found = ours.predict_changes(ours.perturbation_index(labels))
    torch.testing.assert_close(found, (expected - controls)[1:], rtol=1e-5, atol=1e-5)


def test_options_have_cell_gears_defaults_but_for_the_epochs():
    source = Path(cell_gears._origin()).with_name("gears.py").read_text()
    defaults = {}
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef) and function.name in ("train", "model_initialize"):
            values = [ast.literal_eval(value) for value in function.args.defaults]
            names = [argument.arg for argument in function.args.args[-len(values) :]]
            defaults |= dict(zip(names, values, strict=True))
    options = GEARSOptions()
    assert (defaults.pop("epochs"), options.epochs) == (20, 10)
    assert (defaults.pop("lr"), options.learning_rate) == (1e-3, 1e-3)
    shared = set(defaults) & set(options.plain())
    assert shared == {"weight_decay", "hidden_size", "num_go_gnn_layers", "num_gene_gnn_layers", "direction_lambda"}
    assert {name: defaults[name] for name in shared} == {name: options.plain()[name] for name in shared}


def test_positions_of_perturbed_genes(graphs):
    _, ours = pair(graphs)
    found = ours.perturbation_index(["PB", "control", "PA+PC"])
    np.testing.assert_array_equal(np.sort(found, axis=1), [[-1, 1], [-1, -1], [0, 2]])
    np.testing.assert_array_equal(ours.perturbation_index(["PC+PA"]), found[2:])
    np.testing.assert_array_equal(ours.perturbation_index(["PC+PA", "PA+PC", "PB+ctrl"]), found[[2, 2, 0]])
    assert (ours.perturbation_index(["unperturbed", "unperturbed"], control="unperturbed") == -1).all()
