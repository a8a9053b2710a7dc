"""How errors fall while models are trained."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from diversity_by_design.paper.figures.baseline_metrics import in_order, on_one_line, predictor_colours
from diversity_by_design.paper.figures.style import style

PANELS = (
    ("validation_mse_top_degs", "Validation: MSE of the top 20 DEGs"),
    ("validation_mse", "Validation: MSE of all genes"),
    ("train_mse_top_degs", "Training: MSE of the top 20 DEGs"),
    ("train_mse", "Training: MSE of all genes"),
)


@style()
def draw_training_curves(history: pd.DataFrame) -> Figure:
    """Draw errors of the perturbations' means after each epoch, one line for each model.

    `history`: the columns `predictor`, `half`, `seed`, `epoch`, and the measurements of `PANELS`.
    """
    predictors = in_order(history["predictor"])
    colours = predictor_colours(predictors)
    figure, panels = plt.subplots(1, len(PANELS), figsize=(12.5, 3.4))
    for axes, (column, title) in zip(panels, PANELS, strict=True):
        for (predictor, half, _), model in history.groupby(["predictor", "half", "seed"], sort=False):
            colour = colours[str(predictor)]
            line = "-" if half == 0 else "--"
            axes.plot(model["epoch"], model[column], line, color=colour, linewidth=1.1, marker="o", markersize=2.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.set_xlabel("Epoch")
        axes.set_ylabel("Mean squared error of log1p expression")
        axes.set_title(title)
    for predictor in predictors:
        panels[-1].plot([], [], color=colours[predictor], label=on_one_line(predictor))
    for half, line in ((0, "-"), (1, "--")):
        if (history["half"] == half).any():
            panels[-1].plot([], [], line, color="0.4", label=f"half {half} held out, a line per seed")
    figure.legend(loc="outside right upper", fontsize=7.5)
    return figure
