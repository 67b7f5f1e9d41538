"""The first stage of TinyBERT: attention, hidden states and embeddings at once."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_kd.losses.attention.attention_distillation import AttentionDistillation
from keras_kd.losses.attention.hidden_state_distillation import HiddenStateDistillation
from keras_kd.losses.base import DistillationLoss
from keras_kd.losses.context import StepContext
from keras_kd.losses.registry import Method


@keras.saving.register_keras_serializable(package="keras_kd")
class TinyBertDistillation(DistillationLoss):
    """Distillation of all layers of a transformer: TinyBERT's first stage.

    The mean over the attention layers of the squared differences of the attention
    probabilities, plus the sum over the layers of those of the hidden states, plus
    those of the embeddings; no labels and no logits. Teacher layers are spread evenly
    over the student's; states and embeddings of other widths have linear projectors.
    One value per token. The second stage is `LogitsDistillation(1.0)` on the student
    of the first.

    Args:
        teacher_layer_names: The teacher's transformer layers, in their order: a list
            of paths, layer objects or `Tap`s.
        student_layer_names: The student's, at least 1 and no more than the teacher's.
        embeddings: The embedding layers, `(teacher's, student's)`. Defaults to None:
            without their term.
        attention: The attention layers, a pair of lists `(teacher's, student's)`.
            Defaults to None, for all of both models.
        name: The name in the logs. Defaults to "tiny_bert_distillation".

    Raises:
        ValueError: If a list is empty, the student has more layers, a model has no
            attention layer, or two signals do not fit.

    Example:
    >>> loss = TinyBertDistillation(["t_0", "t_1"], ["s_0"])
    >>> [tap.layer for tap in loss.teacher_signals()["states"]]
    ['t_1']

    Reference: Jiao et al., 2020, arXiv:1909.10351, which compares the attention scores
    before the softmax; Keras's layers give the probabilities, which are compared here.
    """

    def __init__(
        self,
        teacher_layer_names: Sequence[Any],
        student_layer_names: Sequence[Any],
        *,
        embeddings: tuple[Any, Any] | None = None,
        attention: tuple[Sequence[Any], Sequence[Any]] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        for argument, pair in (("embeddings", embeddings), ("attention", attention)):
            is_pair = isinstance(pair, (list, tuple)) and len(pair) == 2
            if pair is not None and not is_pair:
                raise ValueError(
                    f"`{argument}` must be None or a pair (teacher's, student's). "
                    f"Received: {argument}={pair!r}"
                )
        states = HiddenStateDistillation(teacher_layer_names, student_layer_names)
        self._parts: dict[str, DistillationLoss] = {
            "attention": AttentionDistillation(*(attention or ()), loss="mse"),
            "states": states,
        }
        if embeddings is not None:
            teacher, student = embeddings
            self._parts["embeddings"] = HiddenStateDistillation(
                [teacher], [student], name="embeddings"
            )

    @property
    def layers(self) -> list[keras.layers.Layer]:
        return [layer for part in self._parts.values() for layer in part.layers]

    def teacher_signals(self) -> Any:
        return {key: part.teacher_signals() for key, part in self._parts.items()}

    def student_signals(self) -> Any:
        return {key: part.student_signals() for key, part in self._parts.items()}

    def bind(self, teacher: Any, student: Any) -> None:
        for part in self._parts.values():
            part.bind(teacher, student)

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Do nothing here: each part checks its own signals."""

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        for key, part in self._parts.items():
            part.build(teacher[key], student[key])

    def check(self, teacher: Any, student: Any) -> None:
        for key, part in self._parts.items():
            part.check(teacher[key], student[key])

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        values = [
            part.call(teacher[key], student[key], step)
            for key, part in self._parts.items()
        ]
        return sum(keras.tree.flatten(values))

    def get_config(self) -> dict[str, Any]:
        configs = {key: part.get_config() for key, part in self._parts.items()}
        states, attention = configs["states"], configs["attention"]
        embeddings = configs.get("embeddings")
        names = ("teacher_layer_names", "student_layer_names")
        layers = [attention["teacher_layers"], attention["student_layers"]]
        return {
            **super().get_config(),
            **{name: states[name] for name in names},
            "embeddings": embeddings and [embeddings[name][0] for name in names],
            "attention": None if layers == [None, None] else layers,
        }


METHODS = (
    Method(
        "tinybert",
        TinyBertDistillation,
        paper="Jiao et al., 2020, TinyBERT, arXiv:1909.10351",
        signals="attention",
        weight=1.0,
        student_loss_weight=0.0,
        when="A shallower and narrower encoder, before any task.",
    ),
)
