"""The student's features, in part hidden, must still generate the teacher's."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.context import StepContext
from keras_kd.losses.features.projected_comparison import ProjectedComparison
from keras_kd.losses.features.shapes import width_of
from keras_kd.losses.registry import Method

_MASKS = {"pixels": 0.65, "channels": 0.15}


@keras.saving.register_keras_serializable(package="keras_kd")
class MaskedGenerativeDistillation(ProjectedComparison):
    """Masked generative distillation: MGD.

    Σ over positions and channels of (G(M · W s) − t)², where M hides a random part of
    the projected student's feature and the generator G, 3×3 convolution, ReLU, 3×3
    convolution, makes the teacher's of the rest. In evaluation nothing is hidden. One
    value per example; the sum wants a very small weight.

    Args:
        teacher_layer_name: The teacher's layer, with images as output: a path, a layer
            object or a `Tap`.
        student_layer_name: The same for the student.
        mask: "pixels", for dense prediction, or "channels", for classification.
            Defaults to "channels".
        mask_ratio: The share that is hidden, from 0 to below 1. None for the published
            0.65 of the pixels or 0.15 of the channels.
        seed: Seed of the masks, or None.
        projector: As in `FeatureDistillation`. Defaults to "auto".
        name: The name in the logs. Defaults to "masked_generative_distillation".

    Raises:
        ValueError: If `mask` is not one of these, `mask_ratio` is not in its range, or
            the features are not images.

    Example:
    >>> loss = MaskedGenerativeDistillation("stage_3", "stage_3")
    >>> feature = keras.KerasTensor((None, 8, 8, 4))
    >>> loss.build(feature, feature)
    >>> len(loss.layers)
    1

    Reference: Yang et al., 2022, arXiv:2205.01529; weight 2e-5 on dense prediction,
    7e-5 on classification.
    """

    def __init__(
        self,
        teacher_layer_name: Any = None,
        student_layer_name: Any = None,
        *,
        mask: str = "channels",
        mask_ratio: float | None = None,
        seed: int | None = None,
        projector: Any = "auto",
        name: str | None = None,
    ) -> None:
        super().__init__(
            teacher_layer_name,
            student_layer_name,
            projector=projector,
            name=name,
        )
        if mask not in _MASKS:
            raise ValueError(
                f"`mask` must be one of {', '.join(_MASKS)}. Received: mask={mask!r}"
            )
        ratio = _MASKS[mask] if mask_ratio is None else mask_ratio
        if not isinstance(ratio, (int, float)) or not 0.0 <= ratio < 1.0:
            raise ValueError(
                "`mask_ratio` must be None or at least 0 and below 1. "
                f"Received: mask_ratio={mask_ratio!r}"
            )
        self.mask = mask
        self.mask_ratio = float(ratio)
        self.seed = seed
        self._generator: Any = None

    @property
    def layers(self) -> list[keras.layers.Layer]:
        own = [] if self._generator is None else [self._generator]
        return super().layers + own

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        if len(student.shape) != 4:
            raise ValueError(
                "MaskedGenerativeDistillation compares images, of shape `(batch, "
                f"height, width, channels)`. Received: student {tuple(student.shape)}. "
                "Tap a layer before the global pooling."
            )
        if self._generator is None:
            layer = MaskedGenerator(
                self.mask, self.mask_ratio, self.seed, name=f"{self.name}_generator"
            )
            layer.build((None, None, None, width_of(teacher)))
            self._generator = layer

    def distance(self, loss: Any, teacher: Any, student: Any, step: StepContext) -> Any:
        del loss
        made = self._generator(student, training=step.training)
        return ops.sum(ops.square(made - teacher), axis=(1, 2, 3))


METHODS = (
    Method(
        "mgd",
        MaskedGenerativeDistillation,
        paper="Yang et al., 2022, arXiv:2205.01529",
        signals="feature",
        weight=7e-05,
        student_loss_weight=1.0,
        when="Dense prediction, with `mask='pixels'` and a weight of 2e-5.",
    ),
)


@keras.saving.register_keras_serializable(package="keras_kd")
class MaskedGenerator(keras.layers.Layer):
    """Hides a random part of an image's features, and generates all of them again.

    Args:
        mask: "pixels" or "channels".
        ratio: The share that is hidden.
        seed: Seed of the masks, or None.
        **kwargs: Those of `keras.layers.Layer`.

    Example:
    >>> layer = MaskedGenerator("pixels", 0.5, seed=0)
    >>> tuple(layer(np.ones((1, 4, 4, 3), "float32")).shape)
    (1, 4, 4, 3)
    """

    def __init__(
        self, mask: str, ratio: float, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.mask, self.ratio, self.seed = mask, ratio, seed
        self.random = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Any) -> None:
        def convolution(activation: str | None) -> Any:
            layer = keras.layers.Conv2D(
                input_shape[-1],
                3,
                padding="same",
                activation=activation,
                data_format="channels_last",
                dtype=self.dtype_policy,
            )
            layer.build(input_shape)
            return layer

        self.first, self.second = convolution("relu"), convolution(None)

    def call(self, features: Any, training: bool = False) -> Any:
        """Return features of the same shape, made of a part of the given ones."""
        if training and self.ratio > 0.0:
            batch, height, width, channels = ops.shape(features)
            shape = (
                (batch, height, width, 1)
                if self.mask == "pixels"
                else (batch, 1, 1, channels)
            )
            drawn = keras.random.uniform(shape, seed=self.random)
            features = features * ops.cast(drawn >= self.ratio, features.dtype)
        return self.second(self.first(features))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "mask": self.mask,
            "ratio": self.ratio,
            "seed": self.seed,
        }
