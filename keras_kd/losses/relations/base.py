"""The part that the relations between the examples of a batch share."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.context import StepContext
from keras_kd.losses.features.base import FeatureComparison
from keras_kd.losses.left_out import kept_signals


class RelationComparison(FeatureComparison):
    """A loss that compares how the examples of a batch relate to each other.

    Features of any shape are flattened to one vector per example; the two sides may
    differ in all but the batch. An example without weight, or masked, takes part in no
    relation, and a masked position of a sequence is 0; other weights only weigh the
    example's own row. A batch of one gives 0. Under several replicas the relations are
    those within each replica's share.
    """

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        for side, spec in (("teacher", teacher), ("student", student)):
            if not isinstance(spec, keras.KerasTensor) or len(spec.shape) < 2:
                raise ValueError(
                    f"{type(self).__name__} relates features `(batch, ...)`. Received: "
                    f"the {side}'s signal {getattr(spec, 'shape', spec)}. Name one "
                    f"layer by `{side}_layer_name=`."
                )

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        included = step.included(ops.shape(student)[0])
        teacher, student = (
            _flat(kept_signals(step, side, signal))
            for side, signal in (("teacher", teacher), ("student", student))
        )
        return self.relation(teacher, student, included, step)

    def relation(
        self, teacher: Any, student: Any, included: Any, step: StepContext
    ) -> Any:
        """Return one value per example, of shape `(batch,)`.

        Args:
            teacher: Tensor of shape `(batch, width)`.
            student: Tensor of shape `(batch, any width)`.
            included: Tensor of shape `(batch,)`, 0 for an example that is left out.
            step: The step.
        """
        raise NotImplementedError


def _flat(features: Any) -> Any:
    return ops.reshape(features, (ops.shape(features)[0], -1))
