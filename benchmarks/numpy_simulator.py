"""The model of section 3.1 in plain NumPy, written to be read: what the simulator is checked and timed against.

It holds the counts of one perturbation at a time and draws nothing in any clever way.
"""

from __future__ import annotations

import numpy as np

from diversity_by_design.simulator import GeneParameters, SimulationConfig


def expression_moments(rng, factors, means, theta):
    """Mean and sample variance (genes,) of the log1p expression of cells with these library factors."""
    mean = factors[:, None] * means
    counts = rng.negative_binomial(theta, theta / (theta + mean))
    totals = counts.sum(axis=1, keepdims=True)
    expression = np.log1p(1e4 * counts / np.maximum(totals, 1))
    return expression.mean(axis=0), expression.var(axis=0, ddof=1)


def welch(mean, variance, other_mean, other_variance, n):
    """Absolute Welch t where both groups count as n cells; 0 where it is undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(np.abs(mean - other_mean) / np.sqrt((variance + other_variance) / n), posinf=np.inf)


def scores(genes, truth, prediction, reference):
    """Pearson(delta), MSE and MAE over some genes."""
    truth, prediction, reference = truth[genes], prediction[genes], reference[genes]
    if len(truth) == 0:
        return np.nan, np.nan, np.nan
    pearson = np.corrcoef(truth - reference, prediction - reference)[0, 1] if len(truth) > 1 else np.nan
    return pearson, ((truth - prediction) ** 2).mean(), np.abs(truth - prediction).mean()


def simulate(config: SimulationConfig, parameters: GeneParameters, seed: int = 0) -> dict[str, float]:
    """Metrics of a simulated data set, as `diversity_by_design.simulate(...).metrics` has them."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(parameters), config.g, replace=False)
    mu_c, theta = parameters.mu_control[chosen], parameters.theta[chosen]
    base = np.maximum(mu_c + config.beta * (parameters.mu_perturbed[chosen] - mu_c), 0.0)
    control, control_variance = expression_moments(
        rng, rng.lognormal(config.mu_l, config.sigma_l, config.n_0), mu_c, theta
    )
    direction = rng.choice(
        [1.0, 0.0, -1.0], p=[config.delta / 2, 1 - config.delta, config.delta / 2], size=(config.k, config.g)
    )
    means, variances = np.empty((2, config.k, config.g))
    for p in range(config.k):
        factors = rng.lognormal(config.mu_l, config.sigma_l, config.n_p)
        means[p], variances[p] = expression_moments(rng, factors, base * config.epsilon ** direction[p], theta)
    mu_all = means.mean(axis=0)
    second = (variances * (config.n_p - 1) / config.n_p + means**2).sum(axis=0)
    rows = []
    for p in range(config.k):
        n_rest = (config.k - 1) * config.n_p
        rest = (mu_all * config.k - means[p]) / (config.k - 1)
        rest_second = second - variances[p] * (config.n_p - 1) / config.n_p - means[p] ** 2
        rest_variance = (rest_second / (config.k - 1) - rest**2) * n_rest / (n_rest - 1)
        affected = np.flatnonzero(direction[p])
        t_control = welch(means[p], variances[p], control, control_variance, config.n_p)
        t_rest = welch(means[p], variances[p], rest, rest_variance, config.n_p)
        gene_sets = {
            "all": np.arange(config.g),
            "affected": affected,
            "degs_vs_control": np.argsort(-t_control)[: len(affected)],
            "degs_vs_rest": np.argsort(-t_rest)[: len(affected)],
        }
        row = {}
        for name, genes in gene_sets.items():
            values = scores(genes, means[p], mu_all, control)
            row.update(zip((f"pearson_delta_{name}", f"mse_{name}", f"mae_{name}"), values, strict=True))
        rows.append(row)
    medians = {name: float(np.nanmedian([row[name] for row in rows])) for name in rows[0]}
    return {**medians, "fraction_affected": float((direction != 0).any(axis=0).mean())}
