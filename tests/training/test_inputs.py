"""What the two models read: inputs of their own, structures, types."""

import keras
import numpy as np

import keras_kd
from tests.training.helpers import (
    FEATURES,
    classifier,
    copy_of,
    data,
    distil,
    fit_steps,
    outputs,
    pair,
    soft_targets,
    values_of,
)

X, Y = data()


def two_inputs(wrap):
    """Return a model of the inputs "a" and "b", in a structure made by `wrap`."""
    a, b = keras.Input((FEATURES,), name="a"), keras.Input((2,), name="b")
    y = keras.layers.Dense(3)(keras.layers.Concatenate()([a, b]))
    return keras.Model(wrap(a, b), y)


def check_distillation(distiller, x, teacher_x, student_x):
    """Check one step's distillation loss against what both models answer alone."""
    t = outputs(distiller.teacher, teacher_x)
    s = outputs(distiller.student, student_x)
    expected = soft_targets(t, s, 2.0).mean()
    history = fit_steps(distiller, x, Y)
    np.testing.assert_allclose(history["distillation_loss"], [expected], rtol=1e-4)


def test_each_side_reads_inputs_of_its_own():
    """Two tokenizers or image sizes would need a model that wraps both."""
    teacher = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    student = classifier()
    distiller = distil(
        teacher,
        student,
        teacher_inputs=lambda x: x["teacher"],
        student_inputs=lambda x: x["student"],
    )
    x = {"teacher": X[:, :2], "student": X * 0.5}
    check_distillation(distiller, x, x["teacher"], x["student"])
    np.testing.assert_allclose(
        distiller.predict(x, verbose=0), outputs(student, x["student"]), rtol=1e-5
    )


def test_one_side_preprocesses_the_shared_inputs():
    """A teacher with its own normalisation would be shown wrong pixels."""
    teacher, student = pair()
    distiller = distil(teacher, student, teacher_inputs=lambda x: (x - 0.5) / 0.25)
    check_distillation(distiller, X, (X - 0.5) / 0.25, X)


def test_inputs_in_a_dict():
    """Models with named inputs, as all of KerasHub's, could not be distilled."""
    wrap = lambda a, b: {"a": a, "b": b}  # noqa: E731
    x = {"a": X, "b": X[:, 2:]}
    distiller = distil(two_inputs(wrap), two_inputs(wrap))
    check_distillation(distiller, x, x, x)


def test_inputs_in_a_list():
    """Models with several inputs could not be distilled."""
    wrap = lambda a, b: [a, b]  # noqa: E731
    x = [X, X[:, 2:]]
    distiller = distil(two_inputs(wrap), two_inputs(wrap))
    check_distillation(distiller, x, x, x)


def test_token_ids_are_not_rounded_to_the_students_precision():
    """In bfloat16 token 1001 is token 1000: a wrong word, and no error."""

    def model(policy):
        return keras.Sequential(
            [
                keras.Input((2,), dtype="float32"),
                keras.layers.Embedding(1100, 4, dtype=policy),
                keras.layers.Flatten(dtype=policy),
                keras.layers.Dense(3, dtype=policy),
            ]
        )

    student = model("mixed_bfloat16")
    student.dtype_policy = keras.DTypePolicy("mixed_bfloat16")
    distiller = distil(model("float32"), student, rate=1.0, student_loss_weight=0.0)
    ids = np.full((8, 2), 1001.0, "float32")
    (before,) = values_of(student.layers[0].variables)
    fit_steps(distiller, ids, Y)
    (after,) = values_of(student.layers[0].variables)
    changed = np.flatnonzero(np.any(before != after, axis=1))
    assert changed.tolist() == [1001]


def test_teacher_and_student_of_different_precision():
    """A float32 teacher would answer in half precision, or refuse the student's."""
    for policy, tolerance in (("mixed_bfloat16", 2e-2), ("mixed_float16", 5e-3)):
        teacher = classifier(7)
        student = classifier(5, dtype=policy)
        student.dtype_policy = keras.DTypePolicy(policy)
        losses = [
            keras_kd.LogitsDistillation(2.0),
            keras_kd.FeatureDistillation("mse", "hidden", "hidden"),
        ]
        distiller = distil(teacher, student, losses, rate=0.1)
        t, s = outputs(teacher, X), outputs(student, X)
        history = fit_steps(distiller, X, Y)
        np.testing.assert_allclose(
            history["logits_distillation"],
            [soft_targets(t, s, 2.0).mean()],
            rtol=tolerance,
        )
        assert np.isfinite(history["feature_distillation"]).all()
        assert all(v.dtype == "float32" for v in student.trainable_variables)


def test_a_half_precision_teacher_of_a_float32_student():
    """The usual way to fit a large teacher into memory would fail on types."""
    teacher = classifier(7)
    student = classifier(5)
    half = copy_of(classifier(7, dtype="float16"))
    half.set_weights(teacher.get_weights())
    t, s = outputs(teacher, X), outputs(student, X)
    history = fit_steps(distil(half, student), X, Y)
    expected = soft_targets(t, s, 2.0).mean()
    np.testing.assert_allclose(history["distillation_loss"], [expected], rtol=2e-2)
