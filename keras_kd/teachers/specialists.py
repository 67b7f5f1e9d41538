"""Several teachers, each of which knows something else."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_kd import _backend
from keras_kd.teachers.group import TeacherGroup


@keras.saving.register_keras_serializable(package="keras_kd")
class Specialists(TeacherGroup):
    """A teacher made of several that output different questions: all their outputs.

    Each teacher runs once. Given a list, it returns the list of their outputs: select
    one by `output=(0, None)` in a loss, as in `ClassSubsetDistillation`. Given a dict,
    it returns one dict: a teacher with one output outputs under its key, the heads of
    a teacher that returns a dict keep their names. A student with heads of these names
    learns from all by plain `LogitsDistillation`.

    A layer inside one of them is tapped by its path: "teachers[0]/stage_3"; those of a
    dict are counted in its order.

    Args:
        teachers: A list or dict of at least two Keras models with the same inputs.
        **kwargs: Those of `keras.Model`.

    Raises:
        ValueError: `teachers` is none of these, or two teachers of a dict have a head
            of the same name.

    Example:
    >>> def classifier(classes):
    ...     return keras.Sequential([keras.Input((4,)), keras.layers.Dense(classes)])
    >>> teacher = Specialists({"species": classifier(3), "age": classifier(5)})
    >>> {name: tuple(logits.shape) for name, logits in teacher(np.ones((2, 4))).items()}
    {'species': (2, 3), 'age': (2, 5)}

    Reference: Hinton, Vinyals and Dean, 2015, arXiv:1503.02531.
    """

    def __init__(
        self,
        teachers: Sequence[keras.Model] | Mapping[str, keras.Model],
        **kwargs: Any,
    ) -> None:
        heads: list[str] | None = None
        is_dict = isinstance(teachers, Mapping)
        if not (is_dict or isinstance(teachers, (list, tuple))) or len(teachers) < 2:
            raise ValueError(
                "`teachers` must be a list or dict of at least two Keras models. "
                f"Received: teachers={teachers!r}"
            )
        if isinstance(teachers, Mapping):
            heads, teachers = list(teachers), list(teachers.values())
            if not all(isinstance(head, str) for head in heads):
                raise ValueError(
                    "The keys of `teachers` must be strings, the names of the heads. "
                    f"Received: {heads}"
                )
        super().__init__(teachers, **kwargs)
        self.heads = heads

    def call(self, inputs: Any) -> Any:
        """Return the outputs of all teachers, as a list or as a dict."""
        outputs = self.outputs_of(inputs)
        return outputs if self.heads is None else self._merged(self.heads, outputs)

    def _merged(self, heads: list[str], outputs: list[Any]) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        teacher_of: dict[str, str] = {}
        for key, output in zip(heads, outputs, strict=True):
            if isinstance(output, (list, tuple)):
                raise _backend.PlainError(
                    "The teachers of a dict of specialists must return one output or a "
                    f"dict of outputs. Received: {len(output)} outputs without names "
                    f"of the teacher {key!r}. Give its outputs names, or give "
                    "`teachers` as a list."
                )
            named = output if isinstance(output, dict) else {key: output}
            for name, head in named.items():
                if name in merged:
                    raise _backend.PlainError(
                        "The heads of specialists must have different names. Received: "
                        f"a head {name!r} of the teacher {teacher_of[name]!r} and of "
                        f"the teacher {key!r}. Rename one, or average them by "
                        "`keras_kd.teachers.Ensemble`."
                    )
                merged[name], teacher_of[name] = head, key
        return merged

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self.heads is not None:
            # In their order, which the paths of their layers follow.
            pairs = zip(self.heads, config["teachers"], strict=True)
            config["teachers"] = dict(pairs)
        return config
