"""Training in mixed precision, also where the two models differ in type."""

import keras
import numpy as np
import pytest

import keras_kd

X = np.random.default_rng(0).normal(size=(32, 8, 8, 2)).astype("float32")
Y = np.random.default_rng(1).integers(0, 5, 32)
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


def convnet(policy, width):
    """A small network all of whose layers have one dtype policy."""
    keras.config.set_dtype_policy(policy)
    try:
        return keras.Sequential(
            [
                keras.Input((8, 8, 2)),
                keras.layers.Conv2D(width, 3, name="conv"),
                keras.layers.BatchNormalization(),
                keras.layers.ReLU(name="feature"),
                keras.layers.GlobalAveragePooling2D(),
                keras.layers.Dense(5),
            ]
        )
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("of_student", POLICIES)
@pytest.mark.parametrize("of_teacher", POLICIES)
def test_trains_through_fit(of_teacher, of_student):
    """The peer refuses a bfloat16 teacher beside a float32 student."""
    teacher, student = convnet(of_teacher, 8), convnet(of_student, 4)
    before = [w.copy() for w in teacher.get_weights()]
    losses = [
        keras_kd.LogitsDistillation(4.0),
        keras_kd.FeatureDistillation("mse", "feature", "feature"),
        keras_kd.AttentionTransfer("feature", "feature"),
    ]
    distiller = keras_kd.Distiller(teacher, student, losses, [1.0, 0.5, 10.0])
    distiller.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    scales = isinstance(distiller.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scales is (of_student == "mixed_float16")
    history = distiller.fit(X, Y, batch_size=8, epochs=12, verbose=0).history
    for values in history.values():
        assert np.isfinite(values).all()
    assert history["distillation_loss"][-1] < history["distillation_loss"][0]
    for old, new in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_token_ids_are_not_rounded():
    """Cast to bfloat16, token 1001 would read the embedding of token 1000."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        embedding = keras.layers.Embedding(1002, 1, embeddings_initializer="zeros")
        student = keras.Sequential(
            [
                keras.Input((1,), dtype="float32"),
                keras.layers.Lambda(lambda x: x, autocast=False, dtype="float32"),
                embedding,
                keras.layers.Flatten(),
                keras.layers.Dense(2),
            ]
        )
    finally:
        keras.config.set_dtype_policy("float32")
    table = np.zeros((1002, 1), "float32")
    table[1001] = 7.0
    embedding.set_weights([table])
    seen = []

    def teacher(x):
        seen.append(x)
        return keras.ops.concatenate([x, -x], axis=-1)

    ids = np.full((4, 1), 1001, "int32")
    distiller = keras_kd.Distiller(
        teacher,
        keras.Sequential([keras.Input((1,), dtype="int32"), *student.layers[1:]]),
        keras_kd.LogitsDistillation(),
    )
    distiller.compile("sgd")
    distiller.evaluate(ids, verbose=0)
    assert all(keras.backend.standardize_dtype(x.dtype) == "int32" for x in seen)
    assert keras.ops.convert_to_numpy(seen[0]).max() == 1001
