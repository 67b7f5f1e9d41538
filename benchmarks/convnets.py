"""The models that the step benchmark trains: plain convnets with three stages."""

from collections.abc import Sequence

import keras

CLASSES = 10


def stage_names(widths: Sequence[int]) -> list[str]:
    """Name the layers whose outputs the feature losses compare."""
    return [f"stage_{place}" for place in range(len(widths))]


def convnet(
    image_size: int, widths: Sequence[int], depth: int, *, name: str
) -> keras.Model:
    """Return a convnet whose stages of `depth` convolutions halve the image.

    Batch normalisation is part of it, because a student that ran twice a step would
    pay for its statistics twice.
    """
    layers = keras.layers
    inputs = keras.Input((image_size, image_size, 3))
    x = inputs
    for stage, (width, stage_name) in enumerate(
        zip(widths, stage_names(widths), strict=True)
    ):
        for block in range(depth):
            strides = 2 if stage and not block else 1
            x = layers.Conv2D(
                width, 3, strides=strides, padding="same", use_bias=False
            )(x)
            last = block == depth - 1
            normalized = f"{stage_name}_normalized" if last else None
            x = layers.BatchNormalization(name=normalized)(x)
            x = layers.ReLU(name=stage_name if last else None)(x)
    x = layers.GlobalAveragePooling2D(name="embedding")(x)
    return keras.Model(inputs, layers.Dense(CLASSES, name="logits")(x), name=name)


class WithProjectors(keras.Model):
    """A student whose stages also pass through trained linear maps.

    The maps lead to the teacher's `widths` and learn to give zero, so that no target
    has to be fed: the least that a training step with these projectors can cost.
    """

    def __init__(self, student: keras.Model, widths: Sequence[int]) -> None:
        super().__init__(name="student_with_projectors")
        stages = [student.get_layer(name).output for name in stage_names(widths)]
        self.student = keras.Model(student.inputs, [student.output, *stages])
        self.maps = [keras.layers.Dense(width) for width in widths]

    def call(self, inputs, training=None):
        logits, *stages = self.student(inputs, training=training)
        for linear_map, stage in zip(self.maps, stages, strict=True):
            self.add_loss(keras.ops.mean(keras.ops.square(linear_map(stage))))
        return logits
