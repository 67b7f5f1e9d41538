"""Several teachers that answer as one."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.ops.ensembles import (
    entropy_weights,
    mean_of_logits,
    mean_of_probabilities,
)
from keras_kd.teachers.group import TeacherGroup

_COMBINES = ("probabilities", "logits")


@keras.saving.register_keras_serializable(package="keras_kd")
class Ensemble(TeacherGroup):
    """A teacher made of several: their mean answer.

    With weights w_k that sum to 1, the logits are T · log Σ w_k softmax(z_k / T)
    ("probabilities"), or Σ w_k z_k ("logits"). Each teacher runs once. A layer inside
    one of them is tapped by its path: "teachers[0]/stage_3"; the answer of one, by
    "teachers[0]".

    Args:
        teachers: At least two Keras models with the same inputs and the same outputs:
            logits, or a list or dict of logits.
        combine: "probabilities" or "logits". Defaults to "probabilities".
        weights: None for equal weights; one number ≥ 0 per teacher; or "entropy" for
            (1 − H_k / Σ H) / (K − 1) of each example, less for a teacher that is
            unsure. Defaults to None.
        temperature: The temperature T at which probabilities are averaged: give that
            of the loss, so that its soft targets are the mean of the teachers' own.
            Defaults to 1.0.
        **kwargs: Those of `keras.Model`.

    Raises:
        ValueError: An argument is none of these.

    Example:
    >>> def classifier():
    ...     return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> teacher = Ensemble([classifier(), classifier()], temperature=4.0)
    >>> distiller = Distiller(teacher, classifier(), LogitsDistillation(4.0))
    >>> tuple(teacher(np.ones((2, 4))).shape)
    (2, 3)

    References: Hinton, Vinyals and Dean, 2015, arXiv:1503.02531; "entropy": Kwon et
    al., 2020.
    """

    def __init__(
        self,
        teachers: Sequence[keras.Model],
        *,
        combine: str = "probabilities",
        weights: Sequence[float] | str | None = None,
        temperature: float = 1.0,
        **kwargs: Any,
    ) -> None:
        is_list = isinstance(teachers, (list, tuple))
        if not is_list or len(teachers) < 2:
            raise ValueError(
                "`teachers` must be a list of at least two Keras models. "
                f"Received: teachers={teachers!r}"
            )
        super().__init__(teachers, **kwargs)
        if combine not in _COMBINES:
            raise ValueError(
                f"`combine` must be one of {', '.join(_COMBINES)}. "
                f"Received: combine={combine!r}"
            )
        if not isinstance(temperature, (int, float)) or not temperature > 0:
            raise ValueError(
                "`temperature` must be a positive number. "
                f"Received: temperature={temperature!r}"
            )
        self.combine = combine
        self.given_weights = _checked(weights, len(teachers))
        self.temperature = float(temperature)

    def call(self, inputs: Any) -> Any:
        """Return the mean answer, in the structure of the teachers' outputs."""
        return keras.tree.map_structure(
            lambda *logits: self._mean(logits), *self.outputs_of(inputs)
        )

    def _mean(self, logits: Sequence[Any]) -> Any:
        shapes = {tuple(answer.shape[1:]) for answer in logits}
        if len(shapes) > 1:
            raise ValueError(
                "The teachers of an ensemble must give logits of the same shape. "
                f"Received: {[tuple(answer.shape) for answer in logits]}. All must "
                "have the same classes in the same order."
            )
        together = ops.stack([ops.cast(answer, "float32") for answer in logits])
        weights = self._weights_of(together)
        if self.combine == "logits":
            return mean_of_logits(together, weights)
        return mean_of_probabilities(together, weights, temperature=self.temperature)

    def _weights_of(self, logits: Any) -> Any:
        if self.given_weights == "entropy":
            return entropy_weights(logits)
        count = len(self.teachers)
        given = np.array(self.given_weights or [1.0] * count)
        shares = (given / given.sum()).astype("float32")
        axes = (1,) * (len(logits.shape) - 2)
        return ops.convert_to_tensor(shares.reshape((count, *axes)))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "combine": self.combine,
            "weights": self.given_weights,
            "temperature": self.temperature,
        }


def _checked(weights: Any, count: int) -> list[float] | str | None:
    if weights is None or weights == "entropy":
        return weights
    numbers = (
        isinstance(weights, (list, tuple))
        and len(weights) == count
        and all(isinstance(w, (int, float)) and w >= 0 for w in weights)
    )
    if not numbers or not sum(weights) > 0:
        raise ValueError(
            "`weights` must be None, 'entropy', or one number of at least 0 per "
            f"teacher, not all 0. Received: weights={weights!r}, for {count} teachers."
        )
    return [float(w) for w in weights]
