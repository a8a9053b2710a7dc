"""Names of training losses: a base, and perhaps a power of its weights, as in wmse^0.5."""

from __future__ import annotations

from diversity_by_design.errors import InputError

# The order in which tables and figures have the losses; powers of weights follow.
LOSSES = ("gears", "mse", "wmse", "wmse_all_cells", "wmse_released")


def loss_power(loss: str) -> tuple[str, float | None]:
    """Split a loss's name into its base and the power that its weights are raised to; None without one.

    Raises
    ------
    InputError
        What follows ``^`` is no number.

    Examples
    --------
    >>> loss_power("wmse^0.5"), loss_power("mse")
    (('wmse', 0.5), ('mse', None))
    """
    base, raised, power = loss.partition("^")
    try:
        return base, float(power) if raised else None
    except ValueError:
        raise InputError(f"loss {loss!r}: {power!r} is no power; expected a number, such as wmse^0.5") from None
