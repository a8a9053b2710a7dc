"""One epoch of training and the prediction of perturbations: our GEARS against cell-gears' own, in one run.

    uv run benchmarks/gears_training.py                                  a generated data set
    uv run benchmarks/gears_training.py --genes 4096 --steps 5           a larger one, fewer steps
    uv run benchmarks/gears_training.py --file my.h5ad                   counts, with obs["perturbation"]

cell-gears' ``GEARS.train()`` and ``GEARS.predict()`` run unchanged, but on the cells of `--steps` batches and their
share of validation cells. Its time for all cells is extrapolated from the seconds of a training step and of the
evaluation of a batch, which follows for all cells. Ours runs the whole epoch. At last both train on the same batches
from the same parameters: the losses must be equal. cell-gears is imported first, which is not timed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cell_gears
import numpy as np
import typer
from gears_data import Data, generated, of_file

BATCH_SIZE = 32
LARGEST_DIFFERENCE = 1e-4


def synchronised(device: str) -> float:
    """Seconds, once the device has done what it was asked for."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def sample(data: Data, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Training cells of so many batches, and as large a share of the validation cells."""
    rng = np.random.default_rng(1)
    steps = min(steps, len(data.training) // BATCH_SIZE)
    training = rng.choice(data.training, steps * BATCH_SIZE, replace=False)
    n_validation = max(1, round(len(data.validation) * len(training) / len(data.training)))
    return training, rng.choice(data.validation, n_validation, replace=False)


def loaders(data: Data, training: np.ndarray, validation: np.ndarray) -> tuple[Any, Any]:
    """As cell-gears makes them."""
    from torch_geometric.loader import DataLoader

    return (
        DataLoader(data.cell_graphs(training), batch_size=BATCH_SIZE, shuffle=True, drop_last=True),
        DataLoader(data.cell_graphs(validation), batch_size=BATCH_SIZE, shuffle=True),
    )


def trainer(data: Data, training: Any, validation: Any, device: str) -> Any:
    return cell_gears.make_trainer(
        data.coexpression,
        data.ontology,
        data.expression,
        data.labels,
        train=training,
        validation=validation,
        device=device,
    )


def time_cell_gears_epoch(data: Data, steps: int, device: str) -> dict[str, float]:
    """Seconds of ``GEARS.train(epochs=1)`` on a sample of cells, and for all cells."""
    training, validation = sample(data, steps)
    model = trainer(data, *loaders(data, training, validation), device)
    began = synchronised(device)
    record = cell_gears.train(model)
    ended = synchronised(device)
    steps, batches = len(record.losses), len(record.losses) + -(-len(validation) // BATCH_SIZE)
    step, evaluation = (record.seconds[-1] - began) / steps, (ended - record.seconds[-1]) / batches
    n_steps = len(data.training) // BATCH_SIZE
    n_batches = n_steps + -(-len(data.validation) // BATCH_SIZE)
    return {
        "steps": steps,
        "all steps": n_steps,
        "measured": ended - began,
        "step": step,
        "evaluation of a batch": evaluation,
        "epoch": n_steps * step + n_batches * evaluation,
    }


def time_cell_gears_parts(data: Data, steps: int, device: str) -> dict[str, float]:
    """Mean seconds of the parts of a training step, in the order of its loop."""
    import torch
    from gears.utils import loss_fct

    training, validation = sample(data, steps)
    loader, _ = loaders(data, training, validation)
    theirs = trainer(data, loader, loader, device)
    optimiser = torch.optim.Adam(theirs.model.parameters(), lr=1e-3, weight_decay=5e-4)
    theirs.model.train()
    names = ("data", "forward", "loss", "backward", "clip and optimiser")
    seconds = []
    before = synchronised(device)
    for batch in loader:
        moments = [before]
        batch.to(device)
        optimiser.zero_grad()
        moments.append(synchronised(device))
        prediction = theirs.model(batch)
        moments.append(synchronised(device))
        loss = loss_fct(
            prediction,
            batch.y,
            batch.pert,
            ctrl=theirs.ctrl_expression,
            dict_filter=theirs.dict_filter,
            direction_lambda=theirs.config["direction_lambda"],
        )
        moments.append(synchronised(device))
        loss.backward()
        moments.append(synchronised(device))
        torch.nn.utils.clip_grad_value_(theirs.model.parameters(), clip_value=1.0)
        optimiser.step()
        before = synchronised(device)
        moments.append(before)
        seconds.append(np.diff(moments))
    # The first step also allocates memory.
    return dict(zip(names, np.mean(seconds[1:] or seconds, axis=0).tolist(), strict=True))


def time_cell_gears_prediction(data: Data, perturbations: list[str], device: str) -> float:
    """Seconds of ``GEARS.predict`` for each perturbation, from 300 control cells as it does."""
    theirs = trainer(data, [], [], device)
    began = synchronised(device)
    theirs.predict([cell_gears.genes_of(label) for label in perturbations])
    return (synchronised(device) - began) / len(perturbations)


def our_model(data: Data, device: str) -> Any:
    from diversity_by_design.models.gears.model import GEARS

    return GEARS(data.coexpression, data.ontology).to(device)


def our_loss(data: Data, device: str) -> Any:
    from diversity_by_design.models.losses import GEARSLoss

    names = data.names
    expressed = cell_gears.expressed_genes(data.expression, data.labels)
    table = np.zeros((len(names), data.expression.shape[1]), bool)
    for row, name in zip(table, names, strict=True):
        row[slice(None) if name == cell_gears.CONTROL else expressed[name]] = True
    return GEARSLoss(table, data.means[cell_gears.CONTROL], names).to(device)


def our_targets(data: Data, model: Any, device: str) -> list[Any]:
    """What our training measures after each epoch: the means of training and validation perturbations."""
    import torch

    from diversity_by_design.models.training import Target

    targets = []
    for role, cells in (("train", data.training), ("validation", data.validation)):
        names = np.setdiff1d(data.labels[cells], cell_gears.CONTROL).tolist()
        top = np.zeros((len(names), data.expression.shape[1]), bool)
        np.put_along_axis(top, np.stack([data.de_genes[name] for name in names]), True, axis=1)
        changes = np.stack([data.means[name] - data.means[cell_gears.CONTROL] for name in names])
        targets.append(
            Target(
                role,
                partial(model.predict_changes, model.perturbation_index(names)),
                torch.as_tensor(changes, dtype=torch.float32, device=device),
                torch.as_tensor(top, device=device),
            )
        )
    return targets


def train_ours(data: Data, model: Any, loss: Any, training_set: Any, device: str) -> None:
    """Our training loop, for an epoch."""
    from diversity_by_design.models.gears.fitting import cell_losses
    from diversity_by_design.models.gears.options import GEARSOptions
    from diversity_by_design.models.training import train

    names = data.names
    options = GEARSOptions(loss="gears", epochs=1, batch_size=BATCH_SIZE)
    losses = partial(cell_losses, model, loss, model.perturbation_index(names))
    train(model, losses, training_set, names, our_targets(data, model, device), options)


def time_ours_epoch(data: Data, device: str) -> float:
    """Seconds of one epoch over all training cells, with what is measured after it."""
    from diversity_by_design.models.batches import ExpressionRows, SingleCells

    model, loss = our_model(data, device), our_loss(data, device)
    began = synchronised(device)
    training_set = SingleCells(
        ExpressionRows(data.expression, device),
        data.numbers,
        data.numbers.max(),
        batch_size=BATCH_SIZE,
        passes=1,
        training_cells=None,
        seed=0,
    )
    train_ours(data, model, loss, training_set, device)
    return synchronised(device) - began


def time_ours_prediction(data: Data, perturbations: list[str], device: str) -> float:
    """Seconds for all perturbations: what they add, and the mean of control."""
    model = our_model(data, device)
    began = synchronised(device)
    changes = model.predict_changes(model.perturbation_index(perturbations))
    _ = changes.cpu().numpy() + data.means[cell_gears.CONTROL]
    return synchronised(device) - began


class GivenBatches:
    """A training set for our loop: batches of given cells."""

    def __init__(self, data: Data, batches: list[np.ndarray], device: str) -> None:
        self._data, self._batches, self._device = data, batches, device
        self.n_batches = len(batches)

    def batches(self, epoch: int) -> Iterator[Any]:
        """The same in every epoch."""
        import torch

        from diversity_by_design.models.batches import Batch

        for cells in self._batches:
            controls, targets = (torch.as_tensor(values).to(self._device) for values in self._data.dense(cells))
            yield Batch(controls, targets, self._data.numbers[cells])


def losses_of_both(data: Data, steps: int, device: str, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Losses of the first training steps of cell-gears and of ours, from the same parameters and batches."""
    import torch
    from torch_geometric.data import Batch

    chosen = np.random.default_rng(2).permutation(data.training)[: steps * BATCH_SIZE]
    batches = np.split(chosen, range(BATCH_SIZE, len(chosen), BATCH_SIZE))
    graphs = [Batch.from_data_list(data.cell_graphs(cells)) for cells in batches]
    for graph in graphs:
        graph.x, graph.y = graph.x.to(dtype), graph.y.to(dtype)
    torch.manual_seed(0)
    theirs = trainer(data, graphs, graphs[:1], device)
    theirs.model.to(dtype)
    theirs.ctrl_expression = theirs.ctrl_expression.to(dtype)
    model, loss = our_model(data, device).to(dtype), our_loss(data, device).to(dtype)
    model.load_state_dict(theirs.model.state_dict())
    expected = cell_gears.train(theirs).losses

    # Counts of cells are float32.
    changes = model.changes
    model.changes = lambda groups: changes(replace(groups, n_cells=groups.n_cells.to(dtype)))
    found: list[float] = []
    loss.register_forward_hook(lambda module, inputs, of_cells: found.append(of_cells.mean().item()))
    train_ours(data, model, loss, GivenBatches(data, batches, device), device)
    return np.array(expected), np.array(found)


def check_losses(data: Data, steps: int, device: str) -> None:
    """Print how far our losses are from cell-gears', and end if they are others."""
    import torch

    exact, ours = losses_of_both(data, steps, device, torch.float64)
    single, ours_single = losses_of_both(data, steps, device, torch.float32)

    def apart(some: np.ndarray, others: np.ndarray) -> float:
        return np.abs(some / others - 1).max()

    difference = apart(ours, exact)
    # Adam turns the rounding of small gradients into steps of full size: cell-gears drifts from itself.
    print(
        f"losses of the first {len(exact)} steps, largest relative difference: ours from cell-gears in float64 "
        f"{difference:.1e}, in float32 {apart(ours_single, single):.1e}; in float32 from cell-gears in float64: "
        f"cell-gears {apart(single, exact):.1e}, ours {apart(ours_single, exact):.1e}"
    )
    if not difference < LARGEST_DIFFERENCE:
        raise SystemExit(f"our losses are {ours}, but should be {exact}")


def main(
    perturbations: Annotated[int, typer.Option(help="Perturbations that are generated.")] = 100,
    cells: Annotated[int, typer.Option(help="Cells of each.")] = 50,
    control_cells: Annotated[int, typer.Option(help="Control cells.")] = 500,
    genes: Annotated[int, typer.Option(help="Genes.")] = 1328,
    file: Annotated[Path | None, typer.Option(help="An .h5ad of counts instead.")] = None,
    steps: Annotated[int, typer.Option(help="Training steps of cell-gears that are timed.")] = 20,
    predicted: Annotated[int, typer.Option(help="Perturbations that cell-gears predicts.")] = 4,
    repeats: Annotated[int, typer.Option(help="Epochs of ours; the median counts.")] = 3,
    checked_steps: Annotated[int, typer.Option(help="Training steps whose losses are compared; 0 for none.")] = 20,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    ours: Annotated[bool, typer.Option(help="Time and check ours as well.")] = True,
) -> None:
    import torch

    torch.set_num_threads(threads)
    data = of_file(file) if file else generated(perturbations, cells, control_cells, genes)
    print(
        f"{data.expression.shape[0]:,} cells x {data.expression.shape[1]:,} genes, {len(data.perturbations)} "
        f"perturbations, {len(data.training):,} training cells; batches of {BATCH_SIZE}, {device}, {threads} threads"
    )
    epoch = time_cell_gears_epoch(data, steps, device)
    parts = time_cell_gears_parts(data, min(steps, 8), device)
    some = data.perturbations[:predicted]
    prediction = time_cell_gears_prediction(data, some, device) * len(data.perturbations)
    print(
        f"cell-gears: {epoch['steps']} of {epoch['all steps']} steps and the evaluation of their cells "
        f"{epoch['measured']:.1f} s: {epoch['step']:.3f} s a step, {epoch['evaluation of a batch']:.3f} s to evaluate "
        f"a batch; {prediction / len(data.perturbations):.2f} s to predict a perturbation ({len(some)} measured)"
    )
    print("a step of cell-gears: " + ", ".join(f"{name} {seconds:.4f} s" for name, seconds in parts.items()))
    if not ours:
        return
    time_ours_prediction(data, some, device)  # loads what is needed
    our_epoch = float(np.median([time_ours_epoch(data, device) for _ in range(repeats)]))
    our_prediction = float(np.median([time_ours_prediction(data, data.perturbations, device) for _ in range(repeats)]))
    print(f"{'':26}{'cell-gears':>12}{'ours':>12}{'ratio':>8}")
    for what, theirs, seconds in (
        ("an epoch (s)", epoch["epoch"], our_epoch),
        ("all perturbations (s)", prediction, our_prediction),
    ):
        print(f"{what:26}{theirs:12.1f}{seconds:12.3f}{theirs / seconds:8.1f}")
    if checked_steps:
        check_losses(data, checked_steps, device)


if __name__ == "__main__":
    typer.run(main)
