"""The student learns the teacher's whole distribution."""

import math
from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import Hyperparameter, Scalar
from keras_kd.losses.context import StepContext
from keras_kd.losses.divergence import (
    Divergence,
    compare,
    resolve_losses,
    serialize_losses,
    unreduced,
)
from keras_kd.losses.logits.checks import (
    NO_CLASSES,
    check_finite,
    check_not_probabilities,
    check_probabilities,
    check_same_classes,
)
from keras_kd.losses.logits.output_comparison import OutputComparison
from keras_kd.losses.registry import Method
from keras_kd.ops.standardize import standardize

# Losses of Keras whose target is a probability, which logits are not.
_ON_PROBABILITIES = (
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_focal_crossentropy",
)


@keras.saving.register_keras_serializable(package="keras_kd")
class LogitsDistillation(OutputComparison):
    """Distillation of the models' logits: soft targets.

    With p = softmax(t / T) of the teacher's logits t and q = softmax(s / T) of the
    student's, the default loss is T² · KL(p ‖ q), one value per example or token; the
    factor T² keeps the size of the gradient the same at every temperature T.

    Args:
        temperature: Positive number T, or a `LearningRateSchedule` of the step. Higher
            values show more of the teacher's ranking of the wrong classes. Usual: 1
            to 20. Defaults to 3.0.
        loss: How p and q are compared: the name of a divergence or a `Divergence`
            ("kl_divergence", "reverse_kl_divergence", "jensen_shannon_divergence",
            "skew_kl_divergence", "skew_reverse_kl_divergence",
            "symmetric_kl_divergence", "adaptive_kl_divergence",
            "total_variation_distance", "categorical_crossentropy", and
            "binary_kl_divergence" for multi-label outputs); or a Keras loss, by name
            or object, or a function of (target, prediction), which gets t / T and
            s / T (use `temperature=1` for raw logits). `keras.losses.KLDivergence` and
            `CategoricalCrossentropy` stand for the divergences of that name. For
            models with several outputs: one for all, or a list or dict in the outputs'
            structure, with None for an output to skip. Defaults to "kl_divergence".
        standardize: Whether the logits of both sides are first brought to mean 0 and
            standard deviation 1 over the classes. Defaults to False.
        from_logits: False where both models give probabilities; their logarithms are
            then the logits. Defaults to True.
        output: The name or index of the output to compare, of both models or as a
            pair `(teacher's, student's)`. None for all. Defaults to None.
        name: The name in the logs. Defaults to "logits_distillation".

    Raises:
        ValueError: If `temperature` is not positive, `loss` is not one of these, the
            outputs do not fit it, or those of the first batch are no logits, with
            `from_logits=False` no probabilities.

    Example:
    >>> loss = LogitsDistillation(temperature=2.0)
    >>> logits = np.array([[1.0, 2.0, 3.0]])
    >>> abs(round(float(loss.compute_loss(logits, logits + 3.0)), 5))
    0.0

    References: Hinton, Vinyals and Dean, 2015, arXiv:1503.02531; `standardize`: Sun et
    al., 2024, arXiv:2403.01427, whose weight of 9 belongs into the Distiller's
    `distillation_loss_weights`.
    """

    temperature = Hyperparameter(above=0)

    def __init__(
        self,
        temperature: Scalar = 3.0,
        loss: Any = "kl_divergence",
        *,
        standardize: bool = False,
        from_logits: bool = True,
        output: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(output=output, name=name)
        self.temperature = temperature
        self.loss = resolve_losses(loss)
        self.standardize = standardize
        self.from_logits = from_logits

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        compare(self.loss, teacher, student, _check_specs)

    def check(self, teacher: Any, student: Any) -> None:
        def check_pair(loss: Any, t: Any, s: Any) -> None:
            for side, values in (("teacher", t), ("student", s)):
                check_finite(values, side=side, loss_name=type(self).__name__)
                if not self.from_logits:
                    check_probabilities(
                        values,
                        side=side,
                        binary=_is_binary(loss),
                        loss_name="LogitsDistillation with `from_logits=False`",
                        remedy="Leave `from_logits` at True where the models give "
                        "logits; where only one does, remove the last activation of "
                        "the other.",
                    )
                elif isinstance(loss, Divergence):
                    check_not_probabilities(
                        values,
                        side=side,
                        binary=loss.is_binary,
                        loss_name="LogitsDistillation",
                        remedy=", or pass `from_logits=False` where both models give "
                        "probabilities",
                    )
            if _name_of(loss) in _ON_PROBABILITIES:
                check_probabilities(
                    self._logits(t, loss),
                    side="teacher",
                    binary=True,
                    loss_name=f"`loss={_name_of(loss)!r}`",
                    remedy="LogitsDistillation passes logits: use "
                    "`loss='binary_kl_divergence'`.",
                )

        compare(self.loss, teacher, student, check_pair)

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        temperature = step.value(self, "temperature")

        def value(loss: Any, t: Any, s: Any) -> Any:
            t, s = self._logits(t, loss), self._logits(s, loss)
            if isinstance(loss, Divergence):
                return loss(t, s, temperature=temperature)
            # A class that both sides leave out differs by nothing, not by ∞ − ∞.
            both_out = ops.logical_and(t == -math.inf, s == -math.inf)
            t, s = ops.where(both_out, 0.0, t), ops.where(both_out, 0.0, s)
            return unreduced(loss)(t / temperature, s / temperature)

        return compare(self.loss, teacher, student, value)

    def _logits(self, outputs: Any, loss: Any) -> Any:
        outputs = ops.cast(outputs, "float32")
        if not self.from_logits:
            outputs = _log_odds(outputs) if _is_binary(loss) else _log(outputs)
        return standardize(outputs) if self.standardize else outputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "loss": serialize_losses(self.loss)}


METHODS = (
    Method(
        "kd",
        LogitsDistillation,
        paper="Hinton, Vinyals and Dean, 2015, arXiv:1503.02531",
        signals="outputs",
        weight=0.9,
        student_loss_weight=0.1,
        when="First, and always as the baseline.",
        defaults={"temperature": 4.0, "loss": "kl_divergence"},
    ),
    Method(
        "reverse_kl",
        LogitsDistillation,
        paper="Gu et al., 2024, MiniLLM, arXiv:2306.08543",
        signals="outputs",
        weight=0.9,
        student_loss_weight=0.1,
        when="A student that must not cover all that the teacher does: generators.",
        defaults={"temperature": 4.0, "loss": "reverse_kl_divergence"},
    ),
    Method(
        "jsd",
        LogitsDistillation,
        paper="Agarwal et al., 2024, GKD, arXiv:2306.13649",
        signals="outputs",
        weight=0.9,
        student_loss_weight=0.1,
        when="Between forward and reverse KL; bounded.",
        defaults={"temperature": 4.0, "loss": "jensen_shannon_divergence"},
    ),
    Method(
        "skew_kl",
        LogitsDistillation,
        paper="Ko et al., 2024, DistiLLM, arXiv:2402.03898",
        signals="outputs",
        weight=0.9,
        student_loss_weight=0.1,
        when="Generators, where forward KL is unstable.",
        defaults={"temperature": 4.0, "loss": "skew_kl_divergence"},
    ),
    Method(
        "skew_reverse_kl",
        LogitsDistillation,
        paper="Ko et al., 2024, DistiLLM, arXiv:2402.03898",
        signals="outputs",
        weight=0.9,
        student_loss_weight=0.1,
        when="Generators, where reverse KL is unstable.",
        defaults={"temperature": 4.0, "loss": "skew_reverse_kl_divergence"},
    ),
    Method(
        "symmetric_kl",
        LogitsDistillation,
        paper="Jeffreys, 1946; as a compromise in Wu et al., 2024, arXiv:2404.02657",
        signals="outputs",
        weight=0.9,
        student_loss_weight=0.1,
        when="Neither direction of KL wins clearly.",
        defaults={"temperature": 4.0, "loss": "symmetric_kl_divergence"},
    ),
    Method(
        "akl",
        LogitsDistillation,
        paper="Wu et al., 2024, arXiv:2404.02657",
        signals="outputs",
        weight=0.9,
        student_loss_weight=0.1,
        when="Language models: forward KL for the head, reverse KL for the tail.",
        defaults={"temperature": 4.0, "loss": "adaptive_kl_divergence"},
    ),
    Method(
        "tvd",
        LogitsDistillation,
        paper="Wen et al., 2023, arXiv:2307.15190",
        signals="outputs",
        weight=0.9,
        student_loss_weight=0.1,
        when="Outliers must not dominate; bounded.",
        defaults={"temperature": 4.0, "loss": "total_variation_distance"},
    ),
    Method(
        "logit_mse",
        LogitsDistillation,
        paper="Kim et al., 2021, arXiv:2105.08919",
        signals="outputs",
        weight=0.9,
        student_loss_weight=0.1,
        when="Raw logits of one scale on both sides.",
        defaults={"temperature": 1.0, "loss": "mse"},
    ),
    Method(
        "logit_cosine",
        LogitsDistillation,
        paper="the directions of the logits, as in Sun et al., 2024, arXiv:2403.01427",
        signals="outputs",
        weight=0.9,
        student_loss_weight=0.1,
        when="Only the direction of the logits shall count.",
        defaults={"temperature": 1.0, "loss": "cosine_similarity"},
    ),
    Method(
        "lskd",
        LogitsDistillation,
        paper="Sun et al., 2024, arXiv:2403.01427",
        signals="outputs",
        weight=9.0,
        student_loss_weight=0.1,
        when="A student too small for the range of the teacher's logits.",
        defaults={"temperature": 2.0, "loss": "kl_divergence", "standardize": True},
    ),
    Method(
        "binary_kd",
        LogitsDistillation,
        paper="Yang et al., 2023, arXiv:2308.06453",
        signals="outputs",
        weight=0.9,
        student_loss_weight=0.1,
        when="Multi-label classifiers, or one sigmoid output.",
        defaults={"temperature": 2.0, "loss": "binary_kl_divergence"},
    ),
)


def _check_specs(loss: Any, teacher: Any, student: Any) -> None:
    is_divergence = isinstance(loss, Divergence)
    if is_divergence or isinstance(loss, keras.losses.Loss) or _is_of_keras(loss):
        check_same_classes(
            teacher,
            student,
            minimum=2 if is_divergence and not loss.is_binary else 1,
            loss_name="LogitsDistillation",
            remedy=NO_CLASSES,
        )


def _is_of_keras(loss: Any) -> bool:
    """Say whether a function is one of Keras's, which broadcast what does not fit."""
    return getattr(keras.losses, getattr(loss, "__name__", ""), None) is loss


def _name_of(loss: Any) -> str:
    return str(getattr(loss, "name", None) or getattr(loss, "__name__", ""))


def _is_binary(loss: Any) -> bool:
    return isinstance(loss, Divergence) and loss.is_binary


def _log(probabilities: Any) -> Any:
    return ops.log(ops.maximum(probabilities, 1e-37))


def _log_odds(probabilities: Any) -> Any:
    return _log(probabilities) - ops.log(ops.maximum(1.0 - probabilities, 1e-7))
