"""Uses whose fault shows on the first batch, before anything is compiled."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_kd import (
    AttentionDistillation,
    AttentionTransfer,
    DistillationLoss,
    Distiller,
    FeatureDistillation,
    HardLabelDistillation,
    LogitsDistillation,
    Tap,
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
)

table = Table()
IMAGES = np.linspace(0.0, 1.0, 8 * 36, dtype="float32").reshape(8, 6, 6, 1)
WORDS = np.linspace(-1.0, 1.0, 8 * 12, dtype="float32").reshape(8, 3, 4)


def use(losses, right=None, *, teacher=None, student=None, x=X, y=Y, **settings):
    """Return the use of `losses` on two models; `right` are losses that fit them."""
    made = pair()
    teacher, student = teacher or made[0], student or made[1]
    return Use(
        teacher,
        student,
        lambda: distil(teacher, student, losses, x, y, **settings),
        lambda: distil_eagerly(teacher, student, right, x),
        x=x,
    )


def model(*parts, shape=(4,), name="model"):
    return keras.Sequential([keras.Input(shape), *parts], name=name)


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


@table.case("(?s)The student must accept the batch's x.*float32\\(4, 4, 2\\).*raised")
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
    teacher = model(layers.Dense(3), shape=(2,), name="teacher")
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
    student = model(layers.Dense(3), shape=(2,), name="student")
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


# Signals that do not fit


@table.case(
    "(?s)one shape after the batch axis.*teacher \\(None, 4\\), student \\(None, 3\\)"
)
def other_classes():
    feature = FeatureDistillation("mse", "hidden", "hidden")
    return use(None, feature, teacher=network(6, classes=4, name="teacher"))


@table.case("(?s)features of one rank.*teacher \\(None, 3, 2\\), student \\(None, 2\\)")
def features_of_another_rank():
    teacher = model(
        layers.Reshape((2, 2)), layers.Dense(2), layers.Flatten(), layers.Dense(3)
    )
    teacher = model(
        layers.Reshape((2, 2), name="tokens"),
        layers.ZeroPadding1D((1, 0), name="three"),
        layers.Flatten(),
        layers.Dense(3),
        name="teacher",
    )
    student = model(layers.Dense(2, name="hidden"), layers.Dense(3), name="student")
    return use(
        FeatureDistillation("mse", "three", "hidden"),
        teacher=teacher,
        student=student,
    )


@table.case(
    "(?s)position by position.*\\(None, 3, 2\\).*\\(None, 2, 2\\).*different length"
)
def features_of_another_length():
    teacher = model(
        layers.Reshape((2, 2)),
        layers.ZeroPadding1D((1, 0), name="three"),
        layers.Flatten(),
        layers.Dense(3),
        name="teacher",
    )
    student = model(
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


@table.case(
    "(?s)`projector` must map .* width.*from \\(None, 5\\) to \\(None, 7\\).*6\\)"
)
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
        return model(block, layers.Dense(3, name="logits"), name=name)

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
    distiller.fit(X, Y, verbose=0)
