"""The part that losses over several layers of each side share."""

from collections.abc import Sequence
from typing import Any

from keras_kd.losses.base import DistillationLoss, address_config
from keras_kd.losses.features.shapes import check_same_rank
from keras_kd.losses.logits.checks import check_finite
from keras_kd.signals.tap import as_signal


class StageComparison(DistillationLoss):
    """A loss that compares the image features of several layers of each model.

    Args:
        teacher_layer_names: The teacher's layers, from shallow to deep: paths, layer
            objects or `Tap`s.
        student_layer_names: The student's, as many.
        name: The name in the logs, or None for the default.

    Raises:
        ValueError: If the lists are empty or differ in length.
    """

    def __init__(
        self,
        teacher_layer_names: Sequence[Any],
        student_layer_names: Sequence[Any],
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        lists = (teacher_layer_names, student_layer_names)
        if any(
            not isinstance(given, (list, tuple)) or not given for given in lists
        ) or (len(teacher_layer_names) != len(student_layer_names)):
            raise ValueError(
                "`teacher_layer_names` and `student_layer_names` must be two lists of "
                f"the same length, from shallow to deep. Received: "
                f"teacher_layer_names={teacher_layer_names!r}, "
                f"student_layer_names={student_layer_names!r}"
            )
        self.teacher_layer_names = list(teacher_layer_names)
        self.student_layer_names = list(student_layer_names)
        self._taps = {
            "teacher": [as_signal(layer) for layer in teacher_layer_names],
            "student": [as_signal(layer) for layer in student_layer_names],
        }

    def teacher_signals(self) -> Any:
        return self._taps["teacher"]

    def student_signals(self) -> Any:
        return self._taps["student"]

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        for t, s in zip(teacher, student, strict=True):
            check_same_rank(t, s, loss_name=type(self).__name__)
            if len(s.shape) != 4:
                raise ValueError(
                    f"{type(self).__name__} compares images, of shape `(batch, height, "
                    f"width, channels)`. Received: teacher {tuple(t.shape)}, student "
                    f"{tuple(s.shape)}. Tap layers before the global pooling."
                )

    def check(self, teacher: Any, student: Any) -> None:
        for side, signals in (("teacher", teacher), ("student", student)):
            for values in signals:
                check_finite(values, side=side, loss_name=type(self).__name__)

    def get_config(self) -> dict[str, Any]:
        addresses = {
            "teacher": self.teacher_layer_names,
            "student": self.student_layer_names,
        }
        return {
            **super().get_config(),
            **{
                f"{side}_layer_names": [
                    address_config(*pair)
                    for pair in zip(layers, self._taps[side], strict=True)
                ]
                for side, layers in addresses.items()
            },
        }
