"""Data, models and values whose fault shows on the first batch, before compiling."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_kd import (
    DistillationLoss,
    Distiller,
    FeatureDistillation,
    HardLabelDistillation,
    LogitsDistillation,
)
from tests.errors.malformed import (
    CROSSENTROPY,
    Table,
    Use,
    X,
    Y,
    distil,
    distil_eagerly,
    network,
    pair,
    stack,
    use,
)

table = Table()


# The data


@table.case("Data cardinality is ambiguous")
def labels_of_another_number():
    return use(None, y=Y[:7])


@table.case("Data cardinality is ambiguous")
def weights_of_another_number():
    return use(None, fitting={"sample_weight": np.ones(7)})


@table.case(
    "(?s)The weights.*must have its batch size.*shape \\(3,\\) .* shape \\(4,\\)"
)
def weights_of_another_batch_size():
    teacher, student = pair()
    batches = ((X[:4], Y[:4], np.ones(3, "float32")) for _ in range(2))
    return Use(teacher, student, lambda: distil(teacher, student, None, batches, None))


@table.case("(?s)The teacher must accept the batch's x.*float32\\(4, 4, 2\\).*raised")
def wrong_rank():
    teacher, student = pair()
    return Use(
        teacher, student, lambda: distil(teacher, student, x=np.stack([X, X], -1))
    )


@table.case("`x` must hold at least one")
def empty_array():
    teacher, student = pair()
    return Use(teacher, student, lambda: distil(teacher, student, x=X[:0], y=Y[:0]))


@table.case("(?s)`x` must hold at least one example.*shape \\(0, 4\\)")
def empty_batch():
    teacher, student = pair()
    batches = ((X[:0], Y[:0]) for _ in range(2))
    return Use(teacher, student, lambda: distil(teacher, student, None, batches, None))


@table.case("`x` must yield at least one batch. Received: an exhausted generator")
def exhausted_generator():
    teacher, student = pair()
    batches = iter([(X, Y)])
    next(batches)
    exhausted = (batch for batch in batches)
    return Use(
        teacher, student, lambda: distil(teacher, student, None, exhausted, None)
    )


@table.case("(?s)`x` must be numeric.*Tokenise it in the data pipeline")
def strings():
    teacher, student = pair()
    text = np.array(["a", "b"] * 4)
    return Use(teacher, student, lambda: distil(teacher, student, x=text))


@table.case("(?s)`x` must be numeric.*Tokenise it in the data pipeline")
def objects():
    teacher, student = pair()
    text = np.array([["a", 1], ["b", 2]] * 4, dtype="object")
    return Use(teacher, student, lambda: distil(teacher, student, x=text))


@table.case("`y` must hold classes from 0 to 2, .*Received: labels from 0 to 3")
def label_above_the_classes():
    return use(None, y=np.arange(8) % 4, fitting={"batch_size": 8})


@table.case("`y` must hold classes from 0 to 2, .*Received: labels from -1 to 1")
def label_below_zero():
    return use(None, y=np.arange(8) % 3 - 1, fitting={"batch_size": 8})


@table.case("`metrics` given to `compile` need labels. Received: data without y")
def metrics_without_labels():
    return use(None, y=None, compiling={"loss": None, "metrics": ["accuracy"]})


@table.case("(?s)Could not interpret.*cross_entropie")
def task_loss_unknown():
    return use(None, compiling={"loss": "cross_entropie"})


# The models


@table.case(
    "(?s)The teacher must accept the batch's x.*float32\\(4, 4\\).*teacher_inputs="
)
def teacher_of_another_input():
    teacher = stack(layers.Dense(3), shape=(2,), name="teacher")
    student = network(5, name="student")
    return Use(
        teacher,
        student,
        lambda: distil(teacher, student),
        lambda: distil_eagerly(teacher, student, teacher_inputs=lambda x: x[:, :2]),
        teacher_x=X[:, :2],
    )


@table.case(
    "(?s)The student must accept the batch's x.*float32\\(4, 4\\).*student_inputs="
)
def student_of_another_input():
    teacher = network(5, name="teacher")
    student = stack(layers.Dense(3), shape=(2,), name="student")
    return Use(
        teacher,
        student,
        lambda: distil(teacher, student),
        lambda: distil_eagerly(teacher, student, student_inputs=lambda x: x[:, :2]),
        x=X[:, :2],
        teacher_x=X,
    )


@table.case("(?s)for the same examples.*2 examples of the teacher and 4 of the student")
def teacher_of_half_the_batch():
    teacher, student = pair()
    return Use(
        teacher,
        student,
        lambda: distil(teacher, student, teacher_inputs=lambda x: x[::2]),
    )


@keras.saving.register_keras_serializable("tests")
class Unbuildable(keras.Model):
    """Builds only for an even width."""

    def build(self, shape):
        if shape[-1] % 3:
            raise RuntimeError(f"no heads for width {shape[-1]}")
        self.dense = layers.Dense(3)
        self.dense.build(shape)

    def call(self, x):
        return self.dense(x)


@table.case("(?s)The student must accept the batch's x.*no heads for width 4")
def student_that_cannot_be_built():
    teacher, student = network(5, name="teacher"), Unbuildable(name="student")
    return Use(
        teacher,
        student,
        lambda: distil(teacher, student),
        lambda: distil_eagerly(teacher, student, student_inputs=lambda x: x[:, :3]),
    )


@table.case("(?s)The teacher must accept the batch's x.*no heads for width 4")
def teacher_that_cannot_be_built():
    teacher, student = Unbuildable(name="teacher"), network(5, name="student")
    trained = network(6, name="trained")
    return Use(
        teacher,
        student,
        lambda: distil(teacher, student),
        lambda: distil_eagerly(trained, student),
    )


@table.case("(?s)The teacher must accept the batch's x.*raised KeyError: 'image'")
def teacher_function_that_raises():
    student = network(5, name="student")
    trained = network(6, name="trained")
    return Use(
        lambda x: {}["image"],
        student,
        lambda: distil(lambda x: {}["image"], student),
        lambda: distil_eagerly(trained, student),
    )


@table.case("(?s)The teacher must return tensors. Received: None")
def teacher_function_without_return():
    student = network(5, name="student")
    trained = network(6, name="trained")
    return Use(
        None,
        student,
        lambda: distil(lambda x: None, student),
        lambda: distil_eagerly(trained, student),
    )


# Values that no compiled step can raise on


def spoilt(value):
    teacher = network(6, name="teacher")
    weights = teacher.get_layer("logits").get_weights()
    weights[1][0] = value
    teacher.get_layer("logits").set_weights(weights)
    return teacher


@table.case(
    "(?s)teacher's signal for LogitsDistillation must be finite.*4 of 12 values"
)
def teacher_gives_nan():
    student = network(5, name="student")
    trained = network(6, name="trained")
    teacher = spoilt(np.nan)
    return Use(
        teacher,
        student,
        lambda: distil(teacher, student),
        lambda: distil_eagerly(trained, student),
    )


@table.case("(?s)teacher's signal for HardLabelDistillation must be finite.*4 of 12")
def teacher_gives_inf():
    student = network(5, name="student")
    trained = network(6, name="trained")
    teacher = spoilt(np.inf)
    return Use(
        teacher,
        student,
        lambda: distil(teacher, student, HardLabelDistillation()),
        lambda: distil_eagerly(trained, student),
    )


@table.case("(?s)teacher's signal for FeatureDistillation must be finite")
def features_of_nan_inputs():
    x = X.copy()
    x[:, 0] = np.nan
    loss = FeatureDistillation("mse", "hidden", "hidden")
    teacher, student = pair()
    return Use(teacher, student, lambda: distil(teacher, student, loss, x))


@table.case("(?s)needs logits.*outputs of the teacher that are prob.*after a softmax")
def softmax_teacher():
    return use(
        None,
        HardLabelDistillation(),
        teacher=network(6, name="teacher", activation="softmax"),
    )


@table.case("(?s)needs logits.*outputs of the student that are prob.*from_logits=False")
def softmax_student():
    teacher, student = pair()
    student = network(5, name="student", activation="softmax")
    teacher = network(6, name="teacher", activation="softmax")
    logits = keras.Model(teacher.inputs[0], ops.log(teacher.outputs[0]), name="logits")
    return Use(
        logits,
        student,
        lambda: distil(logits, student),
        lambda: distil_eagerly(
            teacher,
            student,
            LogitsDistillation(from_logits=False),
            compiling={"loss": "sparse_categorical_crossentropy"},
        ),
    )


@table.case("(?s)needs logits.*outputs of the teacher that are prob.*after a sigmoid")
def sigmoid_teacher():
    return use(
        LogitsDistillation(loss="binary_kl_divergence"),
        teacher=network(6, name="teacher", activation="sigmoid"),
        compiling={"loss": None},
    )


@table.case("(?s)needs at least 2 classes.*\\(None, 1\\).*loss='binary_kl_divergence'")
def one_class():
    teacher = network(6, classes=1, name="teacher")
    student = network(5, classes=1, name="student")
    binary = LogitsDistillation(loss="binary_kl_divergence")
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    return Use(
        teacher,
        student,
        lambda: distil(teacher, student, y=Y % 2, compiling={"loss": loss}),
        lambda: distil_eagerly(
            teacher, student, binary, y=(Y % 2)[:, None], compiling={"loss": loss}
        ),
    )


class Summed(DistillationLoss):
    def call(self, teacher, student, step):
        return keras.ops.sum(keras.ops.square(teacher - student), axis=0)


class RootOfZero(DistillationLoss):
    def call(self, teacher, student, step):
        return keras.ops.sum(keras.ops.log(0.0 * (teacher - student)), axis=-1)


@table.case(
    "(?s)Summed.*first axis is the batch, of 4.*Received: shapes \\[\\(3,\\)\\]"
)
def sums_over_the_batch():
    return use(Summed())


@table.case("(?s)finite on the first batch.*root_of_zero=-inf")
def infinite_loss():
    return use(RootOfZero())


@pytest.mark.parametrize("make, match, error", table)
def test_is_refused_and_changes_nothing(make, match, error):
    make().check(match, error)


def test_a_teacher_without_weights_is_warned_of():
    teacher = keras.Sequential([layers.Dense(3)], name="teacher")
    student = network(5, name="student")
    with pytest.warns(UserWarning, match="(?s)'teacher' had no weights.*random"):
        distil(teacher, student)
    with warnings.catch_warnings():  # "error": there is nothing to warn of any more
        Use(teacher, student, lambda: distil(teacher, student, [])).check("at least")


def test_the_first_batch_of_a_good_use_warns_of_nothing():
    distiller = Distiller(*pair(), LogitsDistillation())
    distiller.compile("sgd", CROSSENTROPY)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        distiller.fit(X, Y, verbose=0)
    assert [str(w.message) for w in caught if w.category is UserWarning] == []


def test_an_error_in_train_on_batch_leaves_the_student_usable():
    """JAX gives the student's memory away before a step; an error must not keep it."""
    teacher, student = pair()
    distiller = Distiller(teacher, student, LogitsDistillation())
    distiller.compile("sgd", CROSSENTROPY)
    before = student.get_weights()
    with pytest.raises(ValueError, match="classes from 0 to"):
        distiller.train_on_batch(X, Y + 100)
    for old, new in zip(before, student.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    distiller.train_on_batch(X, Y)
