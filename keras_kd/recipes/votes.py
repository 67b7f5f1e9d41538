"""Noisy votes of teachers that saw private data, and what they give away."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_kd.recipes.training import check_count

_NOISES = ("gaussian", "laplace")


def count_votes(predictions: Sequence[Any], classes: int) -> np.ndarray:
    """Return how many teachers chose each class.

    Args:
        predictions: The classes that each teacher chose, arrays of shape `(count,)`.
        classes: Number of classes.

    Returns:
        Integer array of shape `(count, classes)`.

    Example:
    >>> [int(n) for n in count_votes([np.array([1]), np.array([1])], classes=3)[0]]
    [0, 2, 0]
    """
    votes = np.zeros((len(predictions[0]), classes), "int64")
    rows = np.arange(len(votes))
    for chosen in predictions:
        votes[rows, np.asarray(chosen)] += 1
    return votes


def noisy_labels(
    votes: np.ndarray,
    *,
    noise: str = "gaussian",
    scale: float,
    threshold: float | None = None,
    threshold_scale: float | None = None,
    random: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the class with the most votes after noise, where the vote is clear enough.

    A query is answered where max_c n_c + noise of `threshold_scale` ≥ `threshold`; its
    answer is argmax_c (n_c + noise of `scale`).

    Args:
        votes: The numbers n of votes, array of shape `(count, classes)`.
        noise: "gaussian", of standard deviation `scale`, or "laplace", of scale
            parameter `scale`. Defaults to "gaussian".
        scale: Size of the noise of the answer, above 0.
        threshold: Number of votes, or None to answer all.
        threshold_scale: Standard deviation of the Gaussian noise of the check, above
            0; with `threshold` only.
        random: The generator of the noise. Whoever knows its seed can subtract the
            noise: defaults to one that nobody can repeat.

    Returns:
        Which queries are answered, booleans of shape `(count,)`, and the answers to
        those, integers.

    Raises:
        ValueError: An argument is none of these.

    Example:
    >>> votes = np.array([[9, 0], [4, 5]])
    >>> answered, labels = noisy_labels(
    ...     votes, scale=0.1, threshold=7.0, threshold_scale=0.1
    ... )
    >>> answered.tolist(), labels.tolist()
    ([True, False], [0])

    Reference: Papernot et al., 2018, GNMax and Confident-GNMax, arXiv:1802.08908;
    "laplace": Papernot et al., 2017, arXiv:1610.05755.
    """
    check_noise(noise, scale, threshold, threshold_scale)
    random = np.random.default_rng() if random is None else random
    answered = np.ones(len(votes), bool)
    if threshold is not None and threshold_scale is not None:
        clear = votes.max(axis=-1) + random.normal(0, threshold_scale, len(votes))
        answered = clear >= threshold
    draw = random.normal if noise == "gaussian" else random.laplace
    noisy = votes + draw(0.0, scale, votes.shape)
    return answered, noisy[answered].argmax(axis=-1)


def privacy_spent(
    answered: int,
    *,
    noise: str = "gaussian",
    scale: float,
    delta: float,
    queries: int | None = None,
    threshold_scale: float | None = None,
) -> float:
    """Return the ε of (ε, δ)-differential privacy of so many noisy votes.

    Whatever the votes were (a data-independent bound): one private example is seen by
    one teacher, who moves one vote from a class to another. The counts then change by
    √2 in the 2-norm and by 2 in the 1-norm, the largest count by at most 1: data sets
    that differ in the content of one example, their number being no secret. The
    Rényi accountant of the library dp-accounting adds the queries up.

    Args:
        answered: Number of answers.
        noise: That of the answers, see `noisy_labels`.
        scale: That of the answers, see `noisy_labels`.
        delta: The number δ, between 0 and 1; below 1 / the private examples.
        queries: Number of checks against the threshold; with `threshold_scale`.
        threshold_scale: That of the checks, or None where there were none.

    Returns:
        The number ε.

    Raises:
        ImportError: dp-accounting is not installed.
        ValueError: An argument is none of these.

    Example:
    >>> round(privacy_spent(1000, scale=40.0, delta=1e-5), 2)
    5.38
    """
    check_noise(noise, scale, None, threshold_scale)
    if not 0.0 < delta < 1.0:
        raise ValueError(f"`delta` must be between 0 and 1. Received: delta={delta!r}")
    if (queries is None) != (threshold_scale is None):
        raise ValueError(
            "`queries` must be given together with `threshold_scale`. Received: "
            f"queries={queries!r}, threshold_scale={threshold_scale!r}"
        )
    for name, value in (("answered", answered), ("queries", queries)):
        if value is not None:
            check_count(name, value, 0)
    dp = _accounting()
    accountant = dp.rdp.RdpAccountant()
    mechanism = (
        dp.GaussianDpEvent(scale / np.sqrt(2.0))
        if noise == "gaussian"
        else dp.LaplaceDpEvent(scale / 2.0)
    )
    if answered:
        accountant.compose(dp.SelfComposedDpEvent(mechanism, answered))
    if queries:
        check = dp.GaussianDpEvent(threshold_scale)
        accountant.compose(dp.SelfComposedDpEvent(check, queries))
    return float(accountant.get_epsilon(delta))


def _accounting() -> Any:
    try:
        import dp_accounting
        import dp_accounting.rdp
    except ImportError as error:
        raise ImportError(
            "Private distillation needs an accountant of differential privacy. "
            "Install it with: pip install 'keras-kd[private]'"
        ) from error
    return dp_accounting


def check_noise(noise: Any, scale: Any, threshold: Any, threshold_scale: Any) -> None:
    """Raise where the settings of the noise are no settings.

    Raises:
        ValueError: They are not.
    """
    if noise not in _NOISES:
        raise ValueError(
            f"`noise` must be one of {', '.join(_NOISES)}. Received: noise={noise!r}"
        )
    for name, value in (("scale", scale), ("threshold_scale", threshold_scale)):
        needed = name == "scale" or threshold is not None
        if value is None and not needed:
            continue
        is_number = isinstance(value, numbers.Real)
        if not is_number or not 0.0 < float(value) < math.inf:
            raise ValueError(
                f"`{name}` must be a number above 0. Received: {name}={value!r}. "
                "Without noise a vote tells whose example was there."
            )
    is_number = isinstance(threshold, numbers.Real) and math.isfinite(threshold)
    if threshold is not None and not is_number:
        raise ValueError(
            "`threshold` must be None or a number of votes. "
            f"Received: threshold={threshold!r}"
        )
