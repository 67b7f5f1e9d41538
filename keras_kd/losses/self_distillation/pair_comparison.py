"""The part that the losses on pairs of examples of a batch share."""

import warnings
from typing import Any

import numpy as np
from keras import ops

from keras_kd.losses.context import StepContext
from keras_kd.losses.left_out import only_valid
from keras_kd.losses.self_distillation.base import OwnOutput
from keras_kd.ops.pairs import pair_indices, pair_kl_divergence


class PairComparison(OwnOutput):
    """A loss by which each example learns from another one of the batch.

    A subclass says by `keys` which ones belong together; an example is paired with the
    next one of the batch with the same key. One that is left out by its weight or mask
    is in no pair; one without a key is left out of the mean.
    """

    stop_gradient = True
    _advice = ""

    def keys(self, student: Any, step: StepContext) -> Any:
        """Return an integer per example, the same for those that belong together.

        Args:
            student: The student's logits.
            step: The step.

        Returns:
            Tensor of shape `(batch,)`; below 0 for an example without a key.
        """
        raise NotImplementedError

    def groups(self, step: StepContext) -> np.ndarray | None:
        """Return the keys of the first batch on the host, or None where unknown."""
        raise NotImplementedError

    def check_batch(self, step: StepContext) -> None:
        groups = self.groups(step)
        if groups is None:
            return
        _, counts = np.unique(groups[groups >= 0], return_counts=True)
        if not (counts > 1).any():
            warnings.warn(
                f"No example of the first batch has a pair, so {type(self).__name__}"
                f" is 0 there. {self._advice}",
                stacklevel=2,
            )

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        del teacher
        included = step.included(ops.shape(student)[0])
        keys = self.keys(student, step)
        index, has_pair = pair_indices(keys, included)
        value = pair_kl_divergence(
            student,
            index,
            has_pair,
            temperature=step.value(self, "temperature"),
            stop_gradient=self.stop_gradient,
        )
        return only_valid(keys >= 0, value)
