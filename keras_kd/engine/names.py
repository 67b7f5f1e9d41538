"""One namespace for losses, metrics and our own entries in the logs."""

from collections.abc import Iterable

OWN = ("loss", "student_loss", "distillation_loss", "total_loss", "learning_rate")


def check_name(name: str) -> str:
    """Return the name of a distillation loss, where it is free.

    Raises:
        ValueError: If the logs use it for something else.
    """
    if name in OWN or name.startswith("val_"):
        raise ValueError(
            "`name` of a distillation loss must be free in the logs: "
            f'{", ".join(OWN)} and what begins with "val_" are taken. '
            f"Received: name={name!r}. Give the loss another `name=`."
        )
    return name


def unique(names: list[str]) -> list[str]:
    """Return the names with a number at those that come again, all different."""
    taken, counts, result = set(names), dict.fromkeys(names, 0), []
    for name in names:
        counts[name] += 1
        free = name
        while counts[name] > 1 and free in taken:
            free = f"{name}_{counts[name]}"
            if free in taken:
                counts[name] += 1
        taken.add(free)
        result.append(free)
    return result


def check_apart(losses: Iterable[str], metrics: Iterable[str]) -> None:
    """Raise where a metric would overwrite a loss in the logs, or the other way round.

    Args:
        losses: The names of the distillation losses.
        metrics: The names that Keras gives to the compiled losses and metrics.

    Raises:
        ValueError: If they have a name in common, or a metric has one of ours.
    """
    metrics = list(metrics)
    clashes = [name for name in losses if name in metrics]
    if clashes:
        raise ValueError(
            "`name` of a distillation loss must differ from that of every metric: one "
            "would overwrite the other in the logs. "
            f"Received: {clashes}. Give the loss another `name=`."
        )
    ours = [name for name in metrics if name in OWN]
    if ours:
        raise ValueError(
            "`metrics` must have names that the Distiller does not use itself. "
            f"Received: {ours}. Give the metric another `name=`."
        )
