"""Images and sequences of a size that a compiled step does not know."""

import keras
import numpy as np
from keras import layers

import keras_kd
from keras_kd import losses
from tests.training.helpers import BACKEND, CROSSENTROPY, EachStep

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


def assert_trained_alike(known, unknown, x, larger):
    """Check that a Distiller of unknown sizes logs of `x` what one of known ones does.

    It is given a batch of another size first: TensorFlow then traces its step for all.
    """
    steps = []
    for distiller, batches in ((known, [x]), (unknown, [larger, x])):
        each = EachStep()
        data = ((batch, LABELS) for batch in batches)
        keras.utils.set_random_seed(4)  # the same projectors
        how = {"steps_per_epoch": len(batches), "shuffle": False, "verbose": 0}
        distiller.fit(data, callbacks=[each], **how)
        steps.append(each)
    for name in (loss.name for loss in unknown.distillation_losses):
        if name == "ofd":  # its margin is a mean over all batches so far
            assert np.isfinite(steps[1].values(name)).all()
            continue
        logged = [step.values(name)[-1] for step in steps]
        np.testing.assert_allclose(
            logged[1], logged[0], rtol=1e-3, atol=1e-5, err_msg=name
        )


def test_unknown_image_sizes_train_as_known_ones():
    """Detectors and segmenters take images of any size, which must not end `fit`."""
    assert_trained_alike(
        image_distiller((12, 8, 3), run_eagerly=True),
        image_distiller((None, None, 3), jit_compile=JITTED),
        IMAGES,
        np.tile(IMAGES, (1, 2, 2, 1)),
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
    assert_trained_alike(
        text_distiller(6, run_eagerly=True),
        text_distiller(None, jit_compile=JITTED),
        tokens,
        np.tile(tokens, 2),
    )
