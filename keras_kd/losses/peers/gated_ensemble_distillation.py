"""Branches of one network learn from their gated ensemble."""

from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import Hyperparameter, Scalar
from keras_kd.layers.gate import Gate
from keras_kd.losses.base import address_config
from keras_kd.losses.context import StepContext
from keras_kd.losses.left_out import included_rows, kept_signals, only_valid
from keras_kd.losses.logits.checks import check_finite
from keras_kd.losses.peers.base import PeerComparison
from keras_kd.losses.registry import Method
from keras_kd.ops.divergences import kl_divergence
from keras_kd.ops.ensembles import label_crossentropy, mean_of_logits
from keras_kd.ops.target_classes import names_class
from keras_kd.signals.tap import as_signal


@keras.saving.register_keras_serializable(package="keras_kd")
class GatedEnsembleDistillation(PeerComparison):
    """Branches and their gated ensemble teach each other: ONE; reads the labels.

    With the gate's weights g of the shared features and the branches' logits z_k, the
    ensemble's logits are z = Σ_k g_k z_k; the loss is CE(label, z) + Σ_k T²
    KL(softmax(z / T) ‖ softmax(z_k / T)), where the target carries no gradient. One
    value per example; one whose label names no class is left out. A class that a branch
    leaves out, by a logit of -inf, is left out of the ensemble. The gate trains with
    the branches and is no part of them.

    Args:
        student_layer_name: The shared features that the gate reads: "trunk" of a
            `BranchedStudent`. Defaults to "trunk".
        temperature: Positive number T, or a `LearningRateSchedule`. Defaults to 3.0.
        name: The name in the logs. Defaults to "gated_ensemble_distillation".

    Raises:
        ValueError: If `temperature` is not positive, the outputs are not the logits of
            several branches, or there are no labels that fit.

    Example:
    >>> GatedEnsembleDistillation().student_signals()["features"].layer
    'trunk'

    Reference: Lan, Zhu and Gong, 2018, arXiv:1806.04606; weight 1 beside a task loss
    of weight 1 for each branch.
    """

    temperature = Hyperparameter(above=0)

    def __init__(
        self,
        student_layer_name: Any = "trunk",
        temperature: Scalar = 3.0,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.student_layer_name = student_layer_name
        self.temperature = temperature
        self._tap = as_signal(student_layer_name)
        self._gate: Any = None

    def student_signals(self) -> Any:
        return {"outputs": self._output, "features": self._tap}

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        super().validate_outputs(teacher_outputs, student_outputs["outputs"])
        if len(student_outputs["outputs"][0].shape) != 2:
            raise ValueError(
                "GatedEnsembleDistillation needs outputs of shape `(batch, classes)`. "
                f"Received: {tuple(student_outputs['outputs'][0].shape)}."
            )

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        if self._gate is None:
            count = len(student["outputs"])
            self._gate = Gate(count, dtype="float32", name=f"{self.name}_gate")
            self._gate.build(tuple(student["features"].shape))

    def check(self, teacher: Any, student: Any) -> None:
        super().check(teacher, student["outputs"])
        check_finite(student["features"], side="student", loss_name=type(self).__name__)

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        del teacher
        temperature = step.value(self, "temperature")
        logits = kept_signals(step, "student", student["outputs"], "outputs")
        labels = self.labels(step, logits)
        together = ops.stack(list(logits))
        gates = self._gate(
            kept_signals(step, "student", student["features"], "features"),
            training=step.training,
            included=included_rows(step, ops.shape(logits[0])[0]),
            mask=step.mask_of("student", student["features"], "features"),
        )
        ensemble = mean_of_logits(together, ops.transpose(gates))
        targets = ops.broadcast_to(
            ops.expand_dims(ops.stop_gradient(ensemble), 0), ops.shape(together)
        )
        taught = ops.sum(kl_divergence(targets, together, temperature=temperature), 0)
        value = taught + label_crossentropy(ensemble, labels)
        return only_valid(names_class(labels, ensemble.shape[-1]), value)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "student_layer_name": address_config(self.student_layer_name, self._tap),
        }


METHODS = (
    Method(
        "one",
        GatedEnsembleDistillation,
        paper="Lan, Zhu and Gong, 2018, arXiv:1806.04606",
        signals="peers",
        weight=1.0,
        student_loss_weight=1.0,
        when="As dml, with branches on a shared trunk: less memory.",
        labels=True,
    ),
)
