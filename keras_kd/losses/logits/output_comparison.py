"""The part that all losses on outputs share: which output of each side they compare."""

from typing import Any

from keras_kd.losses.base import DistillationLoss
from keras_kd.signals.output import Output


class OutputComparison(DistillationLoss):
    """A loss that compares outputs of the models.

    Args:
        output: The name or index of the output to compare, of both models or as a
            pair `(teacher's, student's)`. None for all.
        name: The name in the logs, or None for the default.

    Raises:
        ValueError: If `output` is not one of these.
    """

    def __init__(self, *, output: Any = None, name: str | None = None) -> None:
        super().__init__(name=name)
        self.output = output
        pair = output if isinstance(output, (list, tuple)) else (output, output)
        if len(pair) != 2:
            raise ValueError(
                "`output` must be None, a name or index, or a pair (teacher's, "
                f"student's). Received: output={output!r}"
            )
        self._outputs = {"teacher": Output(pair[0]), "student": Output(pair[1])}

    def teacher_signals(self) -> Any:
        return self._outputs["teacher"]

    def student_signals(self) -> Any:
        return self._outputs["student"]
