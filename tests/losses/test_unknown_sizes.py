"""Images and sequences of a size that a compiled step does not know."""

import keras
import numpy as np
from keras import layers

import keras_kd
from keras_kd import losses
from tests.training.helpers import BACKEND, CROSSENTROPY

IMAGES = np.random.default_rng(0).normal(size=(4, 12, 8, 3)).astype("float32")
LABELS = np.array([0, 1, 2, 1])
# XLA would compile each size anew, for a minute: what is unknown, is in the trace.
JITTED = BACKEND == "jax"


def convnet(width, seed, size, stride=2):
    def start(place):
        return keras.initializers.RandomNormal(stddev=0.4, seed=10 * seed + place)

    x = inputs = keras.Input(size)
    for place, name in enumerate(("low", "high")):
        x = layers.Conv2D(
            width,
            3,
            strides=1 if place == 0 else stride,
            padding="same",
            kernel_initializer=start(place),
            name=name,
        )(x)
    pooled = layers.GlobalAveragePooling2D()(x)
    logits = layers.Dense(3, kernel_initializer=start(5))(pooled)
    return keras.Model(inputs, logits)


ONE_LAYER = ("hint", "at", "nst", "vid", "mgd", "cwd", "pkd", "itrd", "srd", "vkd")
STAGES = ("ofd", "review")


def loss_for(name):
    if name in STAGES:
        return losses.get(
            name,
            teacher_layer_names=["low", "high"],
            student_layer_names=["low", "high"],
        )
    extra = {"mask_ratio": 0.0} if name == "mgd" else {}
    return losses.get(
        name, teacher_layer_name="high", student_layer_name="high", **extra
    )


def image_distiller(size, **compiled):
    """Return a Distiller with all twelve losses at once, which does not move."""
    keras.utils.set_random_seed(3)
    made = [loss_for(name) for name in ONE_LAYER + STAGES]
    for name, loss in zip(ONE_LAYER + STAGES, made, strict=True):
        loss.name = name
    distiller = keras_kd.Distiller(
        convnet(4, 5, size, stride=2), convnet(3, 1, size, stride=4), made
    )
    distiller.compile(keras.optimizers.SGD(0.0), CROSSENTROPY, **compiled)
    return distiller


def test_unknown_image_sizes_train_as_known_ones():
    """Detectors and segmenters take images of any size, which must not end `fit`."""

    def log_of(distiller, images):
        return distiller.fit(images, LABELS, batch_size=4, verbose=0).history

    known = log_of(image_distiller((12, 8, 3), run_eagerly=True), IMAGES)
    distiller = image_distiller((None, None, 3), jit_compile=JITTED)
    # After two sizes TensorFlow traces its step for all.
    first = log_of(distiller, np.tile(IMAGES, (1, 1, 2, 1)))
    unknown = log_of(distiller, IMAGES)
    for name in ONE_LAYER + STAGES:
        assert np.isfinite(first[name]).all()
        if name != "ofd":  # its margin is a mean over all batches so far
            np.testing.assert_allclose(
                unknown[name], known[name], rtol=1e-4, atol=1e-6, err_msg=name
            )


def encoder(width, heads, seed, length):
    def start(place):
        return keras.initializers.RandomNormal(stddev=0.4, seed=10 * seed + place)

    tokens = keras.Input((length,), dtype="int32")
    x = layers.Embedding(20, width, embeddings_initializer=start(0))(tokens)
    x = layers.MultiHeadAttention(
        heads, 4, kernel_initializer=start(1), name="attention"
    )(x, x)
    x = layers.Dense(width, kernel_initializer=start(2), name="hidden")(x)
    pooled = layers.GlobalAveragePooling1D()(x)
    return keras.Model(tokens, layers.Dense(3, kernel_initializer=start(3))(pooled))


def text_distiller(length, **compiled):
    keras.utils.set_random_seed(3)
    layer = {"teacher_layer_name": "hidden", "student_layer_name": "hidden"}
    by_layer = ("hint", "cwd", "nst", "pkd", "srd", "vkd", "sp")
    distiller = keras_kd.Distiller(
        encoder(8, 4, 5, length),
        encoder(4, 2, 1, length),
        [
            losses.get("attention"),
            losses.get("minilm"),
            *(losses.get(name, **layer) for name in by_layer),
        ],
    )
    distiller.compile(keras.optimizers.SGD(0.0), CROSSENTROPY, **compiled)
    return distiller


def test_unknown_lengths_train_as_known_ones():
    """Sentences have any length; a step that is traced for all of them knows none."""
    tokens = np.random.default_rng(1).integers(1, 20, (4, 6)).astype("int32")

    def log_of(distiller, tokens):
        return distiller.fit(tokens, LABELS, batch_size=4, verbose=0).history

    known = log_of(text_distiller(6, run_eagerly=True), tokens)
    distiller = text_distiller(None, jit_compile=JITTED)
    log_of(distiller, np.tile(tokens, 2))
    unknown = log_of(distiller, tokens)
    for name in (loss.name for loss in distiller.distillation_losses):
        np.testing.assert_allclose(
            unknown[name], known[name], rtol=1e-4, atol=1e-6, err_msg=name
        )
