"""A student that keeps the teacher's classifier."""

from typing import Any

import keras

from keras_kd import _backend
from keras_kd.losses.features.feature_distillation import FeatureDistillation
from keras_kd.losses.features.shapes import is_channels_first, width_of
from keras_kd.signals.layer_paths import ends_of, find_layer

FEATURES = "reused_features"


def reuse_classifier(
    student: keras.Model,
    teacher: keras.Model,
    student_layer_name: str,
    teacher_layer_name: str,
    *,
    bottleneck: int = 2,
) -> tuple[keras.Model, FeatureDistillation]:
    """Return a student that ends in the teacher's own layers, and its only loss.

    Where the features agree, so do the logits: SimKD trains the student's features
    alone. What follows the student's layer is replaced by a projector (1×1, 3×3 and
    1×1 convolution, or dense layers on vectors, each with batch normalisation and a
    ReLU) and a frozen copy of what follows the teacher's layer.

    Args:
        student: A Functional model. It is left as it is; the new student shares its
            layers up to `student_layer_name`.
        teacher: A Functional model.
        student_layer_name: The path of the student's last feature layer, an image
            or a vector.
        teacher_layer_name: The same for the teacher. Its features must be at least 0
            (after a ReLU), as the projector's are.
        bottleneck: How many times narrower the projector's inside is than the
            teacher's features. Defaults to 2.

    Returns:
        The new student, a plain Keras model, and the loss: to be trained by a
        `Distiller` with `student_loss_weight=0.0`.

    Raises:
        ValueError: A model is not Functional, a layer is missing, or `bottleneck` is
            no positive integer.

    Example:
    >>> def convnet(width):
    ...     x = inputs = keras.Input((8, 8, 1))
    ...     x = keras.layers.Conv2D(width, 3, activation="relu", name="last")(x)
    ...     x = keras.layers.GlobalAveragePooling2D()(x)
    ...     return keras.Model(inputs, keras.layers.Dense(10)(x))
    >>> student, loss = reuse_classifier(convnet(4), convnet(16), "last", "last")
    >>> student.output_shape
    (None, 10)

    Reference: Chen et al., 2022, SimKD, arXiv:2203.14001; weight 1, neither the
    labels' loss nor the logits'.
    """
    if not isinstance(bottleneck, int) or bottleneck < 1:
        raise ValueError(
            f"`bottleneck` must be a positive integer. Received: {bottleneck!r}"
        )
    x = _output_of(student, student_layer_name, side="student")
    wanted = _output_of(teacher, teacher_layer_name, side="teacher")
    if len(x.shape) != len(wanted.shape):
        raise ValueError(
            "The two layers must both give images or both give vectors. Received: "
            f"teacher {tuple(wanted.shape)}, student {tuple(x.shape)}."
        )
    width = width_of(wanted)
    axis = 1 if is_channels_first(wanted) else -1
    inner = max(1, width // bottleneck)
    for index, (size, channels) in enumerate(((1, inner), (3, inner), (1, width))):
        last = index == 2
        x = _mapped(x, channels, size)
        x = keras.layers.BatchNormalization(axis=axis)(x)
        x = keras.layers.ReLU(name=FEATURES if last else None)(x)
    _, logits = ends_of(teacher)
    head = keras.Model(wanted, logits, name="teachers_classifier")
    copied = keras.models.clone_model(head)
    copied.set_weights(head.get_weights())
    _backend.freeze(copied)
    given, _ = ends_of(student)
    made = keras.Model(given, copied(x), name=student.name)
    loss = FeatureDistillation("mse", teacher_layer_name, FEATURES, projector=None)
    return made, loss


def _output_of(model: keras.Model, path: str, *, side: str) -> Any:
    """Return the symbolic output of a layer of a Functional model."""
    layer = find_layer(model, path, side=side)
    try:
        return keras.Model(ends_of(model)[0], layer.output).output
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"`{side}` must be a Functional model, which can be cut at a layer of its "
            f"own. Received: {side}={model.name!r}, a {type(model).__name__}, and the "
            f"layer {path!r}."
        ) from error


def _mapped(x: Any, channels: int, size: int) -> Any:
    if len(x.shape) == 4:
        return keras.layers.Conv2D(channels, size, padding="same", use_bias=False)(x)
    return keras.layers.Dense(channels, use_bias=False)(x)
