"""Each layer of the student imitates a layer of a deeper teacher."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_kd.losses.attention.layer_map import evenly_spread
from keras_kd.losses.base import DistillationLoss, address_config
from keras_kd.losses.context import StepContext
from keras_kd.losses.features.feature_distillation import FeatureDistillation
from keras_kd.losses.registry import Method
from keras_kd.signals.tap import Tap


@keras.saving.register_keras_serializable(package="keras_kd")
class HiddenStateDistillation(DistillationLoss):
    """Distillation of the hidden states of all layers of a transformer.

    Σ over the M student layers of loss(teacher's state, projector(student's state)).
    The N teacher layers are spread evenly over them, the last for the last: student
    layer i learns from teacher layer ceil((i + 1) · N / M) − 1. Where the widths
    differ, each layer has a linear projector of its own. One value per token.

    Args:
        teacher_layer_names: The teacher's N layers, in their order: a list of paths,
            layer objects or `Tap`s.
        student_layer_names: The student's M layers, at least 1 and at most N.
        loss: How the states are compared over the channels, as in
            `FeatureDistillation`. Defaults to "mse".
        projector: "auto" for a linear map where the widths differ, or None for none.
            Defaults to "auto".
        name: The name in the logs. Defaults to "hidden_state_distillation".

    Raises:
        ValueError: If a list is empty, the student has more layers, or two states do
            not fit.

    Example:
    >>> loss = HiddenStateDistillation(["t_0", "t_1", "t_2", "t_3"], ["s_0", "s_1"])
    >>> [tap.layer for tap in loss.teacher_signals()]
    ['t_1', 't_3']

    Reference: Jiao et al., 2020, TinyBERT, arXiv:1909.10351.
    """

    def __init__(
        self,
        teacher_layer_names: Sequence[Any],
        student_layer_names: Sequence[Any],
        *,
        loss: Any = "mse",
        projector: Any = "auto",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        n, m = len(teacher_layer_names), len(student_layer_names)
        if not 1 <= m <= n:
            raise ValueError(
                "`student_layer_names` must name at least one layer, and no more than "
                f"`teacher_layer_names`. Received: {m} of the student, {n} of the "
                "teacher."
            )
        if projector not in ("auto", None):
            raise ValueError(
                "`projector` must be 'auto' or None, as each layer has its own. "
                f"Received: projector={projector!r}"
            )
        self.teacher_layer_names = list(teacher_layer_names)
        self.student_layer_names = list(student_layer_names)
        self.projector = projector
        self._indices = evenly_spread(n, m)
        self._pairs = [
            FeatureDistillation(
                loss,
                self.teacher_layer_names[index],
                layer,
                projector=projector,
                name=f"hidden_state_{number}",
            )
            for number, (index, layer) in enumerate(
                zip(self._indices, self.student_layer_names, strict=True)
            )
        ]

    @property
    def layers(self) -> list[keras.layers.Layer]:
        return [layer for pair in self._pairs for layer in pair.layers]

    def teacher_signals(self) -> Any:
        return [pair.teacher_signals() for pair in self._pairs]

    def student_signals(self) -> Any:
        return [pair.student_signals() for pair in self._pairs]

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        for pair, t, s in zip(self._pairs, teacher, student, strict=True):
            pair.build(t, s)

    def check(self, teacher: Any, student: Any) -> None:
        for pair, t, s in zip(self._pairs, teacher, student, strict=True):
            pair.check(t, s)

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        sides = zip(self._pairs, teacher, student, strict=True)
        return sum(pair.call(t, s, step) for pair, t, s in sides)

    def get_config(self) -> dict[str, Any]:
        taps = dict(zip(self._indices, self.teacher_signals(), strict=True))
        return {
            **super().get_config(),
            "teacher_layer_names": [
                # A layer that no student layer learns from is never looked for.
                address_config(layer, taps.get(index) or Tap(layer))
                for index, layer in enumerate(self.teacher_layer_names)
            ],
            "student_layer_names": [
                address_config(pair.student_layer_name, pair.student_signals())
                for pair in self._pairs
            ],
            "loss": self._pairs[0].get_config()["loss"],
        }


METHODS = (
    Method(
        "hidden_states",
        HiddenStateDistillation,
        paper="Jiao et al., 2020, TinyBERT, arXiv:1909.10351",
        signals="attention",
        weight=1.0,
        student_loss_weight=0.0,
        when="Transformers over the same tokens, before any task.",
    ),
)
