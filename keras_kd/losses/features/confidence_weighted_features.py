"""The features of several teachers, each as far as its classifier can use them."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_kd.layers.frozen_copy import frozen_copy
from keras_kd.layers.projector import projector
from keras_kd.losses.base import DistillationLoss, address_config
from keras_kd.losses.context import StepContext
from keras_kd.losses.features.shapes import (
    channels_last,
    check_same_rank,
    same_spatial_size,
)
from keras_kd.losses.left_out import only_valid
from keras_kd.losses.logits.checks import check_finite
from keras_kd.losses.logits.class_comparison import check_logits, class_labels
from keras_kd.losses.logits.several_teachers import check_ensemble, check_num_teachers
from keras_kd.losses.registry import Method
from keras_kd.ops.ensembles import confidence_weights
from keras_kd.ops.positions import both_masks, mean_over_positions
from keras_kd.ops.target_classes import names_class
from keras_kd.signals.layer_paths import find_layer
from keras_kd.signals.tap import Tap


@keras.saving.register_keras_serializable(package="keras_kd")
class ConfidenceWeightedFeatures(DistillationLoss):
    """Confidence-aware distillation of several teachers' features; reads the labels.

    Σ_k w_k · mean (F_k − r_k(F))², where a linear map r_k brings the student's feature
    F to the width of teacher k's feature F_k, and w_k = (1 − softmax_k(CE_k)) / (K − 1)
    with the cross-entropy CE_k of the label and teacher k's own classifier on r_k(F).
    The weights carry no gradient. One value per example; one whose label names no class
    is left out. For the teacher `keras_kd.teachers.Ensemble`, beside
    `ConfidenceWeightedDistillation`.

    Frozen copies of the classifiers are layers of the loss and saved with it. The
    classifier takes a vector: the positions of images and sequences are averaged before
    it, without padding, which the distance leaves out, too. Of image sizes the larger
    is averaged down to the smaller.

    Args:
        num_teachers: The number K of teachers, at least 2.
        teacher_layer_name: The layer inside a teacher whose output its classifier
            takes, before or after the pooling: a path from the teacher downward
            ("backbone/stage_3"), or a list of K paths.
        student_layer_name: The student's layer: a path, a layer object or a `Tap`.
        classifier_layer_name: The layer inside a teacher that turns the feature into
            logits: a path, or a list of K paths.
        output: The name or index of the labels, where y holds those of several
            outputs. Defaults to None.
        name: The name in the logs. Defaults to "confidence_weighted_features".

    Raises:
        ValueError: If `num_teachers` is not an integer of at least 2, a path is
            missing, the teacher is not an ensemble of that many, the layers do not fit,
            or there are no labels that fit.

    Example:
    >>> loss = ConfidenceWeightedFeatures(2, "pool", "pool", "logits")
    >>> [tap.layer for tap in loss.teacher_signals()]
    ['teachers[0]/pool', 'teachers[1]/pool']

    Reference: Zhang, Chen and Wang, 2022, arXiv:2201.00007; weight 50 beside a task
    loss and a `ConfidenceWeightedDistillation` of weight 1. The authors' code divides
    by K once more, so that its weight is 50 / K here; its map r_k ends in batch
    normalisation and ReLU, its weights carry a gradient, and the loss begins in the
    second epoch.
    """

    def __init__(
        self,
        num_teachers: int,
        teacher_layer_name: str | Sequence[str],
        student_layer_name: Any,
        classifier_layer_name: str | Sequence[str],
        *,
        output: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_num_teachers(num_teachers)
        self.num_teachers = num_teachers
        self.teacher_layer_name = teacher_layer_name
        self.student_layer_name = student_layer_name
        self.classifier_layer_name = classifier_layer_name
        self.output = output
        if student_layer_name is None:
            raise ValueError(
                "`student_layer_name` must name a layer of the student. "
                "Received: student_layer_name=None"
            )
        self._taps = [Tap(p) for p in self._paths("teacher_layer_name")]
        self._classifier_paths = self._paths("classifier_layer_name")
        self._classifiers: list[Any] = []
        self._projectors: list[Any] = []
        self._copies: list[Any] = []
        self.student_signals()

    def _paths(self, argument: str) -> list[str]:
        given = getattr(self, argument)
        names = [given] * self.num_teachers if isinstance(given, str) else given
        is_list = isinstance(names, (list, tuple)) and len(names) == self.num_teachers
        if not is_list or not all(isinstance(n, str) and n for n in names):
            raise ValueError(
                f"`{argument}` must be the path of a layer inside a teacher, or a list "
                f"of one path for each of the {self.num_teachers} teachers. "
                f"Received: {argument}={given!r}"
            )
        return [f"teachers[{index}]/{n}" for index, n in enumerate(names)]

    @property
    def layers(self) -> list[keras.layers.Layer]:
        return [*self._projectors, *self._copies]

    def teacher_signals(self) -> Any:
        return self._taps

    def bind(self, teacher: Any, student: Any) -> None:
        check_ensemble(teacher, self.num_teachers, loss_name=type(self).__name__)
        super().bind(teacher, student)
        self._classifiers = [
            find_layer(teacher, path, side="teacher") for path in self._classifier_paths
        ]

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Raise where a teacher's feature and the student's are of different rank."""
        for feature in teacher_outputs:
            check_same_rank(feature, student_outputs, loss_name=type(self).__name__)

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        if self._projectors:
            return
        own = keras.KerasTensor(channels_last(student).shape)
        projectors, copies = [], []
        for index, feature in enumerate(teacher):
            width = channels_last(feature).shape[-1]
            projectors.append(
                projector(
                    own,
                    width,
                    data_format="channels_last",
                    dtype="float32",
                    name=f"{self.name}_projector_{index}",
                )
            )
            name = f"{self.name}_classifier_{index}"
            copies.append(frozen_copy(self._classifiers[index], width, name=name))
        self._projectors, self._copies = projectors, copies

    def check(self, teacher: Any, student: Any) -> None:
        name = type(self).__name__
        check_finite(student, side="student", loss_name=name)
        for feature, copy in zip(teacher, self._copies, strict=True):
            check_finite(feature, side="teacher", loss_name=name)
            check_logits(copy(_pooled(feature)), side="teacher", loss_name=name)

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        own = channels_last(ops.cast(student, "float32"))
        own_mask = step.mask_of("student", student)
        masks = step.mask_of("teacher", teacher)
        distances, logits = [], []
        for feature, mask, layer, copy in zip(
            teacher, masks, self._projectors, self._copies, strict=True
        ):
            projected = layer(own)
            pooled = mean_over_positions(projected, own_mask)
            logits.append(copy(ops.stop_gradient(pooled)))
            t, s = same_spatial_size(
                channels_last(ops.cast(feature, "float32")), projected
            )
            # The mask of an image that is averaged down no longer fits.
            both = None if len(s.shape) == 4 else both_masks(mask, own_mask)
            distances.append(_mean_square(t - s, both))
        stacked = ops.stack([ops.cast(one, "float32") for one in logits])
        labels = class_labels(
            step.y, stacked[0], key=self.output, loss_name=type(self).__name__
        )
        weights = ops.stop_gradient(confidence_weights(stacked, labels))
        value = ops.sum(weights * ops.stack(distances), axis=0)
        return only_valid(names_class(labels, stacked.shape[-1]), value)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "student_layer_name": address_config(
                self.student_layer_name, self.student_signals()
            ),
        }


METHODS = (
    Method(
        "ca_mkd_features",
        ConfidenceWeightedFeatures,
        paper="Zhang, Chen and Wang, 2022, arXiv:2201.00007",
        signals="teachers",
        weight=50.0,
        student_loss_weight=1.0,
        when="Beside ca_mkd, where the teachers have a common stage to compare.",
        labels=True,
    ),
)


def _mean_square(gap: Any, mask: Any) -> Any:
    if mask is None:
        return ops.mean(ops.square(gap), axis=tuple(range(1, len(gap.shape))))
    return ops.mean(mean_over_positions(ops.square(gap), mask), axis=-1)


def _pooled(features: Any) -> Any:
    return mean_over_positions(channels_last(ops.cast(features, "float32")))
