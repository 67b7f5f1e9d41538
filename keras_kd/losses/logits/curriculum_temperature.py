"""A temperature that makes the task harder as the student learns."""

import math
from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import (
    Hyperparameter,
    Scalar,
    Schedule,
    check_scalar,
)
from keras_kd.layers.learned_temperature import LearnedTemperature
from keras_kd.losses.context import StepContext
from keras_kd.losses.divergence import (
    Divergence,
    resolve_losses,
    serialize_losses,
)
from keras_kd.losses.logits.checks import check_not_probabilities
from keras_kd.losses.logits.class_comparison import ClassComparison
from keras_kd.losses.registry import Method
from keras_kd.ops.standardize import standardize
from keras_kd.schedules import CosineWarmup


@keras.saving.register_keras_serializable(package="keras_kd")
class CurriculumTemperature(ClassComparison):
    """Curriculum temperature (CTKD): the temperature learns to raise the loss.

    T² KL(p ‖ q) at T = minimum + span · sigmoid(θ), one value per example or token. θ
    trains with the student, on its gradient times −λ: it looks for the temperature at
    which the student is worst, the harder the larger λ is. The gradient of θ runs
    through T² too, as in the authors' code. In evaluation T is what it has become.

    Args:
        reversal_strength: The strength λ, at least 0, or a `LearningRateSchedule` of
            the step. Published: from 0 to 1 along a cosine over 10 epochs,
            `keras_kd.schedules.CosineWarmup(1.0, warmup_steps=10 * batches)`, to be
            given for your number of batches. Defaults to None, for 3910 steps: 10
            epochs of CIFAR at a batch of 128.
        loss: How p and q are compared: the name of a divergence or a `Divergence`.
            Defaults to "kl_divergence".
        minimum: The lower bound of T, above 0. Defaults to 1.0.
        span: The upper bound minus the lower, above 0. Defaults to 20.0.
        initial_theta: The first θ; T starts at 15.6 by default. Defaults to 1.0.
        standardize: Whether the logits of both sides are first brought to mean 0 and
            standard deviation 1 over the classes. Defaults to False.
        output: The name or index of the output to compare, of both models or as a
            pair `(teacher's, student's)`. Defaults to None, for models with one.
        name: The name in the logs. Defaults to "curriculum_temperature".

    Raises:
        ValueError: If a number is not in its range, `loss` is not a divergence, or the
            outputs do not hold logits of the same classes.

    Example:
    >>> loss = CurriculumTemperature(CosineWarmup(1.0, warmup_steps=10 * 391))
    >>> round(loss.temperature, 2)  # before training
    15.62

    Reference: Li et al., 2023, arXiv:2211.16231, whose global temperature this is:
    weight 0.9 beside a student loss of weight 0.1.
    """

    reversal_strength = Hyperparameter(minimum=0)

    def __init__(
        self,
        reversal_strength: Scalar | None = None,
        loss: Any = "kl_divergence",
        *,
        minimum: float = 1.0,
        span: float = 20.0,
        initial_theta: float = 1.0,
        standardize: bool = False,
        output: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(output=output, name=name)
        if reversal_strength is None:
            reversal_strength = CosineWarmup(1.0, warmup_steps=3910)
        self.reversal_strength = reversal_strength
        self.loss = resolve_losses(loss)
        if not isinstance(self.loss, Divergence):
            raise ValueError(
                "`loss` must be one divergence, which the temperature enters: "
                f"{', '.join(Divergence.names())}. Received: loss={loss!r}"
            )
        self.minimum = _checked("minimum", minimum, above=0)
        self.span = _checked("span", span, above=0)
        self.initial_theta = _checked("initial_theta", initial_theta)
        self.standardize = standardize
        self._temperature: LearnedTemperature | None = None

    @property
    def layers(self) -> list[keras.layers.Layer]:
        return [] if self._temperature is None else [self._temperature]

    @property
    def temperature(self) -> float:
        """The present temperature."""
        if self._temperature is None:
            return self.minimum + self.span / (1.0 + math.exp(-self.initial_theta))
        return float(ops.convert_to_numpy(self._temperature(ops.zeros(()))))

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        if self._temperature is None:
            self._temperature = LearnedTemperature(
                self.minimum,
                self.span,
                self.initial_theta,
                name=f"{self.name}_temperature",
            )
            self._temperature.build(())

    def check(self, teacher: Any, student: Any) -> None:
        super().check(teacher, student)
        if self.loss.is_binary:
            for side, values in (("teacher", teacher), ("student", student)):
                check_not_probabilities(
                    values, side=side, binary=True, loss_name=type(self).__name__
                )

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        strength = ops.cast(step.value(self, "reversal_strength"), "float32")
        temperature = self._temperature(strength)  # type: ignore[misc]
        return self.loss(
            self._logits(teacher), self._logits(student), temperature=temperature
        )

    def _logits(self, logits: Any) -> Any:
        logits = ops.cast(logits, "float32")
        if self.standardize:
            logits = standardize(logits)
        # −∞ / T has a gradient of T that is no number; this has the same softmax.
        return ops.maximum(logits, -1e30)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "loss": serialize_losses(self.loss)}


METHODS = (
    Method(
        "ctkd",
        CurriculumTemperature,
        paper="Li et al., 2023, arXiv:2211.16231",
        signals="outputs",
        weight=0.9,
        student_loss_weight=0.1,
        when="No time to search for a temperature.",
    ),
)


def _checked(name: str, value: Any, *, above: float | None = None) -> float:
    if isinstance(value, Schedule):
        raise ValueError(
            f"`{name}` must be a number. Received: a schedule, {name}={value!r}. The "
            "temperature trains by itself."
        )
    return float(check_scalar(name, value, above=above))
