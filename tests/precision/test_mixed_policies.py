"""Training in mixed precision, also where the two models differ in type."""

import keras
import numpy as np
import pytest

import keras_kd

X = np.random.default_rng(0).normal(size=(32, 8, 8, 2)).astype("float32")
Y = np.random.default_rng(1).integers(0, 5, 32)
# (teacher's, student's)
POLICIES = [
    ("mixed_bfloat16", "mixed_bfloat16"),
    ("mixed_float16", "mixed_float16"),
    ("float32", "mixed_bfloat16"),
    ("mixed_bfloat16", "float32"),
    ("float32", "mixed_float16"),
    ("mixed_float16", "mixed_bfloat16"),
]


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


@pytest.mark.parametrize("of_teacher, of_student", POLICIES)
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


def token_model(policy, table=None):
    """A model from token ids to the logits of as many classes, in one dtype policy."""
    keras.config.set_dtype_policy(policy)
    try:
        ids = keras.Input((1,), dtype="int32", name="token_ids")
        embedding = keras.layers.Embedding(TOKENS, TOKENS if table is not None else 4)
        x = keras.layers.Flatten()(embedding(ids))
        if table is None:
            x = keras.layers.Dense(TOKENS, kernel_initializer="zeros")(x)
    finally:
        keras.config.set_dtype_policy("float32")
    if table is not None:
        embedding.set_weights([table])
    return keras.Model({"token_ids": ids}, x)


# bfloat16 has no number between 1000 and 1004.
TOKENS, TOKEN = 1002, 1001


@pytest.mark.parametrize("of_student", ["mixed_bfloat16", "mixed_float16"])
def test_token_ids_and_labels_are_not_rounded(of_student):
    """Cast to bfloat16, token 1001 would read the embedding of token 1000."""
    table = np.zeros((TOKENS, TOKENS), "float32")
    table[TOKEN, 7] = table[TOKEN - 1, 3] = 20.0
    teacher = token_model("mixed_bfloat16", table)
    ids = {"token_ids": np.full((4, 1), TOKEN, "int32")}
    for task_weight, labels, learned in (
        (0.0, np.zeros(4, "int32"), 7),  # what the teacher says of this token
        (1.0, np.full(4, TOKEN, "int32"), TOKEN),
    ):
        student = token_model(of_student)
        distiller = keras_kd.Distiller(
            teacher,
            student,
            keras_kd.LogitsDistillation(1.0),
            student_loss_weight=task_weight,
        )
        distiller.compile(
            keras.optimizers.SGD(0.5),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        before = student.get_weights()
        distiller.fit(ids, labels, epochs=3, verbose=0)
        embeddings, _, bias = student.get_weights()
        assert np.argmax(bias) == learned
        moved = np.any(embeddings != before[0], axis=-1)
        assert np.flatnonzero(moved).tolist() == [TOKEN]
        outputs = distiller.predict(ids, verbose=0)
        assert np.argmax(outputs, axis=-1).tolist() == [learned] * 4


def test_a_function_sees_the_batch_as_it_is():
    """Functions of x must not meet numbers that a cast has changed before them."""
    seen = []

    def teacher(x):
        seen.append(x)
        return keras.ops.one_hot(keras.ops.squeeze(x["token_ids"], -1), TOKENS)

    ids = {"token_ids": np.full((4, 1), TOKEN, "int32")}
    student = token_model("mixed_bfloat16")
    distiller = keras_kd.Distiller(teacher, student, keras_kd.HardLabelDistillation())
    distiller.compile("sgd")
    distiller.evaluate(ids, verbose=0)
    assert seen
    for x in seen:
        dtype = keras.backend.standardize_dtype(x["token_ids"].dtype)
        assert dtype == "int32"
    assert keras.ops.convert_to_numpy(seen[0]["token_ids"]).max() == TOKEN
