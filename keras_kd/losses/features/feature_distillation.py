"""The student imitates what a layer of the teacher produces."""

from typing import Any

import keras
from keras import ops

from keras_kd.layers.projector import projector as make_projector
from keras_kd.losses.base import DistillationLoss, address_config
from keras_kd.losses.context import StepContext
from keras_kd.losses.divergence import (
    Divergence,
    compare,
    resolve_losses,
    serialize_losses,
    unreduced,
)
from keras_kd.losses.features.shapes import (
    channels_last,
    check_same_rank,
    is_channels_first,
    same_spatial_size,
    width_of,
)
from keras_kd.losses.logits.checks import check_finite, check_not_probabilities
from keras_kd.losses.registry import Method


@keras.saving.register_keras_serializable(package="keras_kd")
class FeatureDistillation(DistillationLoss):
    """Distillation of features: hints.

    loss(teacher's feature, projector(student's feature)), averaged over the positions.
    Where the widths differ, a linear projector (a 1×1 convolution on images) maps the
    student's feature to the teacher's width; it trains with the student and is no part
    of it. Where image sizes differ, the larger map is averaged down to the smaller.

    Args:
        loss: How the features are compared, over the channels: the name of a Keras
            loss ("mse", "mae", "cosine_similarity", ...), a `keras.losses.Loss`, a
            function of (target, prediction), or a divergence as in
            `LogitsDistillation`, at temperature 1. For layers with several outputs:
            one for all, or a list or dict in their structure, with None for one to
            skip. Defaults to "mse".
        teacher_layer_name: The teacher's layer: a path ("backbone/block_3/relu"), a
            layer object or a `Tap`. None for the model's output.
        student_layer_name: The same for the student.
        projector: "auto" for a linear map where the widths differ; None for none; or a
            Keras layer that maps the student's feature to the teacher's shape.
        name: The name in the logs. Defaults to "feature_distillation".

    Raises:
        ValueError: If `loss` or `projector` is not one of these, or the features cannot
            be brought to one shape.

    Example:
    >>> loss = FeatureDistillation("mse", "block_3", "block_2")
    >>> float(loss.compute_loss(np.ones((2, 4)), np.zeros((2, 4))))
    1.0

    Reference: Romero et al., 2015, FitNets, arXiv:1412.6550, whose weight is 100.
    """

    def __init__(
        self,
        loss: Any = "mse",
        teacher_layer_name: Any = None,
        student_layer_name: Any = None,
        *,
        projector: Any = "auto",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.loss = resolve_losses(loss)
        self.teacher_layer_name = teacher_layer_name
        self.student_layer_name = student_layer_name
        is_layer = isinstance(projector, keras.layers.Layer)
        if not is_layer and projector not in ("auto", None):
            raise ValueError(
                "`projector` must be 'auto', None or a Keras layer. "
                f"Received: projector={projector!r}"
            )
        self.projector = projector
        self._projectors: list[Any] = []
        self._widths: list[Any] | None = None
        self.teacher_signals()
        self.student_signals()

    @property
    def layers(self) -> list[keras.layers.Layer]:
        return [layer for layer in self._projectors if layer is not None]

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        widths: list[Any] = []
        compare(
            self.loss,
            teacher,
            student,
            lambda _, t, s: widths.append((width_of(t), width_of(s))),
        )
        if self._widths not in (None, widths):
            raise ValueError(
                "A FeatureDistillation that owns projectors serves features of one "
                f"width (teacher's, student's). Received: {widths} after "
                f"{self._widths}. Create a new loss for a new pair of models."
            )
        if self._widths is None:
            made: list[Any] = []
            compare(
                self.loss,
                teacher,
                student,
                lambda _, t, s: made.append(self._projector_for(t, s)),
            )
            self._projectors, self._widths = made, widths

    def _projector_for(self, teacher: Any, student: Any) -> Any:
        if isinstance(self.projector, keras.layers.Layer):
            return self._built_projector(teacher, student)
        check_same_rank(teacher, student, loss_name=type(self).__name__)
        wanted, given = width_of(teacher), width_of(student)
        if given == wanted:
            return None
        if self.projector is None:
            raise ValueError(
                "Without a projector the features must have one width. Received: "
                f"teacher {tuple(teacher.shape)}, student {tuple(student.shape)}. Use "
                "`projector='auto'`."
            )
        # A projector computes in the student's type, as the student's layers do.
        policy = f"mixed_{student.dtype}" if "16" in str(student.dtype) else "float32"
        return make_projector(
            student,
            wanted,
            data_format="channels_first" if is_channels_first(student) else None,
            dtype=policy,
            name=f"{self.name}_projector",
        )

    def _built_projector(self, teacher: Any, student: Any) -> Any:
        """Return the user's projector, which may change the length and the rank."""
        if not self.projector.built:
            self.projector.build(tuple(student.shape))
        made = keras.KerasTensor(
            self.projector.compute_output_shape(tuple(student.shape))
        )
        try:
            check_same_rank(teacher, made, loss_name=type(self).__name__)
            fits = width_of(made) == width_of(teacher)
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                "`projector` must map the student's feature to the teacher's shape and "
                "width. "
                f"Received: a projector from {tuple(student.shape)} to "
                f"{tuple(made.shape)}, for the teacher's {tuple(teacher.shape)}. Only "
                "the sizes of images may differ."
            )
        return self.projector

    def validate_model_compatibility(self, teacher: Any, student: Any) -> None:
        """Raise where `keras.distillation.Distiller` would have to train a layer."""
        super().validate_model_compatibility(teacher, student)
        if isinstance(self.projector, keras.layers.Layer):
            raise ValueError(
                "`projector` trains in `keras_kd.Distiller` only. Received: "
                f"projector={self.projector.name!r}, in `keras.distillation.Distiller`."
                " Change the import."
            )

    def check(self, teacher: Any, student: Any) -> None:
        def check_pair(loss: Any, t: Any, s: Any) -> None:
            check_finite(t, side="teacher", loss_name=type(self).__name__)
            check_finite(s, side="student", loss_name=type(self).__name__)
            if isinstance(loss, Divergence):
                for side, values in (("teacher", t), ("student", s)):
                    check_not_probabilities(
                        values,
                        side=side,
                        binary=loss.is_binary,
                        loss_name=f"{type(self).__name__} with {loss}",
                    )

        compare(self.loss, teacher, student, check_pair)

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        projectors = iter(self._projectors)

        def value(loss: Any, t: Any, s: Any) -> Any:
            layer = next(projectors)
            s = s if layer is None else layer(s)
            t, s = ops.cast(t, "float32"), ops.cast(s, "float32")
            t, s = same_spatial_size(channels_last(t), channels_last(s))
            return self.distance(loss, t, s, step)

        return compare(self.loss, teacher, student, value)

    def distance(self, loss: Any, teacher: Any, student: Any, step: StepContext) -> Any:
        """Return how far two features of one shape are from each other.

        Args:
            loss: The loss of this output.
            teacher: Tensor of shape `(batch, ..., channels)`, float32.
            student: Tensor of the same shape, projected.
            step: The step.

        Returns:
            One value per example or position: the first axis is the batch.
        """
        del step
        return unreduced(loss)(teacher, student)

    def get_config(self) -> dict[str, Any]:
        given = self.projector
        is_layer = isinstance(given, keras.layers.Layer)
        return {
            **super().get_config(),
            "loss": serialize_losses(self.loss),
            "teacher_layer_name": address_config(
                self.teacher_layer_name, self.teacher_signals()
            ),
            "student_layer_name": address_config(
                self.student_layer_name, self.student_signals()
            ),
            "projector": keras.saving.serialize_keras_object(given)
            if is_layer
            else given,
        }


METHODS = (
    Method(
        "hint",
        FeatureDistillation,
        paper="Romero et al., 2015, FitNets, arXiv:1412.6550",
        signals="feature",
        weight=100.0,
        student_loss_weight=1.0,
        when="Layers of one meaning; the first thing to try on features.",
        defaults={"loss": "mse"},
    ),
    Method(
        "simkd",
        FeatureDistillation,
        paper="Chen et al., 2022, arXiv:2203.14001",
        signals="feature",
        weight=1.0,
        student_loss_weight=0.0,
        when="The student may keep the teacher's classifier: built by "
        "`keras_kd.recipes.reuse_classifier`.",
        defaults={"loss": "mse", "projector": None},
    ),
)
