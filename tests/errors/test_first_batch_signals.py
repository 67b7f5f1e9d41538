"""Signals, taps and losses whose fault shows on the first batch, before compiling."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_kd import (
    AttentionDistillation,
    AttentionTransfer,
    DistillationLoss,
    FeatureDistillation,
    LogitsDistillation,
    Tap,
)
from tests.errors.malformed import (
    CROSSENTROPY,
    Table,
    Use,
    Y,
    distil,
    distil_eagerly,
    network,
    pair,
    stack,
    use,
)

table = Table()
WORDS = np.linspace(-1.0, 1.0, 8 * 12, dtype="float32").reshape(8, 3, 4)


# Signals that do not fit


@table.case(
    "(?s)one shape after the batch axis.*teacher \\(None, 4\\), student \\(None, 3\\)"
)
def other_classes():
    feature = FeatureDistillation("mse", "hidden", "hidden")
    return use(None, feature, teacher=network(6, classes=4, name="teacher"))


@table.case("(?s)features of one rank.*teacher \\(None, 3, 2\\), student \\(None, 2\\)")
def features_of_another_rank():
    teacher = stack(
        layers.Reshape((2, 2)),
        layers.ZeroPadding1D((1, 0), name="three"),
        layers.Flatten(),
        layers.Dense(3),
        name="teacher",
    )
    student = stack(layers.Dense(2, name="hidden"), layers.Dense(3), name="student")
    return use(
        FeatureDistillation("mse", "three", "hidden"),
        teacher=teacher,
        student=student,
    )


@table.case(
    "(?s)position by position.*\\(None, 3, 2\\).*\\(None, 2, 2\\).*different length"
)
def features_of_another_length():
    teacher = stack(
        layers.Reshape((2, 2)),
        layers.ZeroPadding1D((1, 0), name="three"),
        layers.Flatten(),
        layers.Dense(3),
        name="teacher",
    )
    student = stack(
        layers.Reshape((2, 2), name="two"),
        layers.Flatten(),
        layers.Dense(3),
        name="student",
    )
    return use(
        FeatureDistillation("mse", "three", "two"), teacher=teacher, student=student
    )


@table.case(
    "(?s)Without a projector.*teacher \\(None, 6\\), student \\(None, 5\\).*'auto'"
)
def no_projector():
    return use(
        FeatureDistillation("mse", "hidden", "hidden", projector=None),
        FeatureDistillation("mse", "hidden", "hidden", projector="auto"),
    )


@table.case("(?s)`projector` must map .*from \\(None, 5\\) to \\(None, 7\\).*6\\)")
def projector_of_another_width():
    def loss(width):
        projector = layers.Dense(width)
        return FeatureDistillation("mse", "hidden", "hidden", projector=projector)

    return use(loss(7), loss(6))


@table.case("(?s)serves features of one width.*\\[\\(6, 9\\)\\] after \\[\\(6, 5\\)\\]")
def projector_for_another_pair():
    teacher, student = pair()
    loss = FeatureDistillation("mse", "hidden", "hidden")
    distil_eagerly(teacher, network(5, name="first"), loss)
    return use(
        loss,
        FeatureDistillation("mse", "hidden", "hidden"),
        teacher=teacher,
        student=network(9, name="student"),
    )


@table.case("(?s)AttentionTransfer compares images.*the teacher's signal \\(None, 6\\)")
def attention_transfer_of_vectors():
    return use(AttentionTransfer("hidden", "hidden"))


def attending(name, *, length=3, heads=2):
    """Return a classifier of three vectors, with attention over `length` of them."""
    inputs = keras.Input((3, 4))
    hidden = layers.Cropping1D((0, 3 - length))(inputs)
    attention = layers.MultiHeadAttention(heads, 2, name="attention")
    hidden = layers.GlobalAveragePooling1D()(attention(hidden, hidden))
    return keras.Model(inputs, layers.Dense(3)(hidden), name=name)


@table.case("(?s)the same queries and keys.*\\(None, 2, 3, 3\\).*\\(None, 2, 2, 2\\)")
def attention_of_another_length():
    return use(
        AttentionDistillation(),
        teacher=attending("teacher"),
        student=attending("student", length=2),
        x=WORDS,
    )


@table.case("(?s)`heads='paired'` needs .*\\(None, 4, 3, 3\\).*heads='averaged'")
def attention_of_other_heads():
    return use(
        AttentionDistillation(heads="paired"),
        AttentionDistillation(heads="averaged"),
        teacher=attending("teacher", heads=4),
        student=attending("student"),
        x=WORDS,
    )


def two_headed(name):
    inputs = keras.Input((4,))
    heads = {key: layers.Dense(3, name=key)(inputs) for key in ("digit", "colour")}
    return keras.Model(inputs, heads, name=name)


def two_headed_use(wrong, right):
    teacher, student = two_headed("teacher"), two_headed("student")
    task = {"loss": {"digit": CROSSENTROPY, "colour": CROSSENTROPY}}
    labels = {"digit": Y, "colour": Y}
    return Use(
        teacher,
        student,
        lambda: wrong(teacher, student, y=labels, compiling=task),
        lambda: distil_eagerly(teacher, student, right, y=labels, compiling=task),
    )


@table.case("(?s)`key` must name an output of the teacher: .*'colour'.*key='form'")
def output_unknown():
    return two_headed_use(
        lambda t, s, **kw: distil(t, s, LogitsDistillation(output="form"), **kw),
        LogitsDistillation(output="colour"),
    )


@table.case(
    "(?s)`loss` must have the structure of the outputs.*losses for \\['digit'\\]"
)
def losses_of_another_structure():
    kl = "kl_divergence"
    return two_headed_use(
        lambda t, s, **kw: distil(t, s, LogitsDistillation(loss={"digit": kl}), **kw),
        LogitsDistillation(loss={"digit": kl, "colour": None}),
    )


@table.case("(?s)`sample_weight` must be one tensor for feature_dist.*for 2 outputs")
def weights_per_output_for_a_feature():
    feature = FeatureDistillation("mse", "digit", "digit")
    weights = {"digit": np.ones(8), "colour": np.ones(8)}
    return two_headed_use(
        lambda t, s, **kw: distil(
            t, s, feature, fitting={"sample_weight": weights}, **kw
        ),
        feature,
    )


@table.case("(?s)compares signals of one structure.*'digit': \\(None, 3\\).*output=")
def outputs_of_another_structure():
    teacher, student = two_headed("teacher"), network(5, name="student")
    return Use(
        teacher,
        student,
        lambda: distil(teacher, student),
        lambda: distil_eagerly(
            teacher, student, LogitsDistillation(output=("digit", None))
        ),
    )


# Taps


@table.case("(?s)`call` must be below the number of calls .*'hidden' of the teacher, 1")
def tap_of_a_call_too_many():
    return use(
        FeatureDistillation("mse", Tap("hidden", call=1), "hidden"),
        FeatureDistillation("mse", Tap("hidden", call=0), "hidden"),
    )


def sequential_words(name, part):
    return keras.Sequential(
        [
            keras.Input((3, 4)),
            part,
            layers.GlobalAveragePooling1D(),
            layers.Dense(3, name="logits"),
        ],
        name=name,
    )


@table.case(
    "(?s)'rnn/cell' cannot be tapped: it runs inside a loop.*Tap its par.*'rnn'"
)
def tap_inside_of_an_rnn():
    def recurrent(name):
        cell = layers.SimpleRNNCell(4, name="cell")
        return sequential_words(name, layers.RNN(cell, True, name="rnn"))

    return use(
        FeatureDistillation("mse", "rnn/cell", "rnn/cell"),
        FeatureDistillation("mse", "rnn", "rnn"),
        teacher=recurrent("teacher"),
        student=recurrent("student"),
        x=WORDS,
    )


@table.case("(?s)'inner' was never called.*tap its parent 'each' instead")
def tap_inside_of_time_distributed():
    def distributed(name):
        inner = layers.Dense(4, name="inner")
        return sequential_words(name, layers.TimeDistributed(inner, name="each"))

    return use(
        FeatureDistillation("mse", "each/inner", "each/inner"),
        FeatureDistillation("mse", "each", "each"),
        teacher=distributed("teacher"),
        student=distributed("student"),
        x=WORDS,
    )


@keras.saving.register_keras_serializable("tests")
class Rematerialised(layers.Layer):
    """Computes its inner layer again in the backward pass."""

    def __init__(self, **options):
        super().__init__(**options)
        self.inner = layers.Dense(4, name="inner")

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        return keras.remat(lambda value: self.inner(value))(x)


@table.case("(?s)'block/inner' cannot be tapped.*rematerialised.*parent .*'block'")
def tap_inside_of_a_rematerialised_block():
    def remat(name):
        block = Rematerialised(name="block")
        return stack(block, layers.Dense(3, name="logits"), name=name)

    return use(
        FeatureDistillation("mse", "block/inner", "block/inner"),
        FeatureDistillation("mse", "block", "block"),
        teacher=remat("teacher"),
        student=remat("student"),
    )


# Losses of the user


class ReturnsNone(DistillationLoss):
    def call(self, teacher, student, step):
        pass


class ReturnsText(DistillationLoss):
    def call(self, teacher, student, step):
        return "small"


class ReturnsVector(DistillationLoss):
    def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
        return ops.mean(ops.square(teacher_outputs - student_outputs), axis=-1)


class Raises(DistillationLoss):
    def call(self, teacher, student, step):
        raise ZeroDivisionError("my own mistake")


class Unfinished(DistillationLoss):
    pass


@table.case("`ReturnsNone.call` must return a tensor .*Received: None")
def loss_that_returns_nothing():
    return use(ReturnsNone())


@table.case("`ReturnsText.call` must return a tensor .*Received: 'small'")
def loss_that_returns_text():
    return use(ReturnsText())


@table.case("(?s)`ReturnsVector.compute_loss` must return a scalar.*shape \\(4,\\)")
def scalar_loss_that_returns_a_vector():
    return use(ReturnsVector())


@table.case("my own mistake", ZeroDivisionError)
def loss_that_raises():
    return use(Raises())


@table.case("Unfinished must override `call`", NotImplementedError)
def loss_without_call():
    return use(Unfinished())


@pytest.mark.parametrize("make, match, error", table)
def test_is_refused_and_changes_nothing(make, match, error):
    make().check(match, error)
