"""Signals that users write, against the base only, through training and saving."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_kd
from keras_kd.signals import Mask, Signal, Weights

X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")

# With features alone, nothing trains the layers above, and Keras says so.
pytestmark = pytest.mark.filterwarnings("ignore:Gradients do not exist")


@keras.saving.register_keras_serializable(package="tests_signals")
class Difference(Signal):
    """The difference of the outputs of two layers."""

    def __init__(self, first, second):
        self.first, self.second = first, second
        self.parts = [keras_kd.Tap(second), keras_kd.Tap(first)]

    def value(self, recording):
        after, before = (part.value(recording) for part in self.parts)
        return after - before

    def get_config(self):
        return {"first": self.first, "second": self.second}


@keras.saving.register_keras_serializable(package="tests_signals")
class KernelNorm(Signal):
    """The Euclidean norm of a kernel."""

    per_example = False

    def __init__(self, layer):
        self.layer = layer
        self.parts = [Weights(layer, "kernel")]

    def value(self, recording):
        return ops.norm(self.parts[0].value(recording))

    def get_config(self):
        return {"layer": self.layer}


@keras.saving.register_keras_serializable(package="tests_signals")
class Gap(keras_kd.DistillationLoss):
    """The squared difference of two signals, whatever they are."""

    def __init__(self, signal, name=None):
        self.signal = signal
        self.name = name

    def teacher_signals(self):
        return self.signal

    def student_signals(self):
        return self.signal

    def call(self, teacher, student, step):
        squared = ops.square(student - teacher)
        if not self.signal.per_example:
            return ops.mean(squared)
        return ops.mean(squared, axis=tuple(range(1, len(squared.shape))))

    def get_config(self):
        signal = keras.saving.serialize_keras_object(self.signal)
        return {**super().get_config(), "signal": signal}


def model():
    return keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, use_bias=False, name="low"),
            keras.layers.Dense(4, "tanh", use_bias=False, name="high"),
            keras.layers.Dense(2, name="head"),
        ]
    )


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def difference_by_hand(model):
    low = X @ array(model.get_layer("low").kernel)
    return np.tanh(low @ array(model.get_layer("high").kernel)) - low


def norm_by_hand(model):
    return np.linalg.norm(array(model.get_layer("low").kernel))


CASES = {
    "difference": (lambda: Difference("low", "high"), difference_by_hand),
    "kernel_norm": (lambda: KernelNorm("low"), norm_by_hand),
    "kernel": (lambda: Weights("head"), lambda m: array(m.get_layer("head").kernel)),
}


@pytest.mark.parametrize("eager", [True, False], ids=["eager", "compiled"])
@pytest.mark.parametrize("case", CASES)
def test_a_signal_of_ones_own_trains_and_is_saved(case, eager, tmp_path):
    """Without this, every new kind of signal would have to be built into the core."""
    signal, by_hand = CASES[case]
    teacher, student = model(), model()
    distiller = keras_kd.Distiller(teacher, student, Gap(signal(), name="gap"))
    distiller.compile(keras.optimizers.SGD(0.05), run_eagerly=eager)
    wanted = np.mean((by_hand(teacher) - by_hand(student)) ** 2)
    logs = distiller.fit(X, batch_size=8, epochs=5, verbose=0).history["gap"]
    assert logs[0] == pytest.approx(wanted, rel=1e-4)
    assert logs[-1] < logs[0]
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    results = [d.evaluate(X, verbose=0, return_dict=True) for d in (distiller, loaded)]
    now = np.mean((by_hand(teacher) - by_hand(student)) ** 2)
    assert [r["gap"] for r in results] == pytest.approx([now, now], rel=1e-4)


def test_weights_have_a_gradient_in_the_student_and_none_in_the_teacher():
    """A wrong gradient trains nothing; one in the teacher would change it."""
    teacher, student = model(), model()
    start, goal = (array(m.get_layer("head").kernel).copy() for m in (student, teacher))
    distiller = keras_kd.Distiller(
        teacher, student, Gap(Weights("head")), student_loss_weight=0.0
    )
    distiller.compile(keras.optimizers.SGD(1.0))
    distiller.train_on_batch(X)
    # The gradient of the mean over 8 entries: 2 (s - t) / 8.
    np.testing.assert_allclose(
        array(student.get_layer("head").kernel),
        start - (start - goal) / 4.0,
        rtol=1e-5,
        atol=1e-6,
    )
    np.testing.assert_array_equal(array(teacher.get_layer("head").kernel), goal)
    if keras.backend.backend() == "torch":
        assert teacher.get_layer("head").kernel.value.grad is None


def test_sample_weights_leave_a_kernel_alone():
    """Its rows are no examples: zeros in their place would be another kernel."""
    teacher, student = model(), model()
    distiller = keras_kd.Distiller(teacher, student, Gap(Weights("head"), name="gap"))
    distiller.compile(keras.optimizers.SGD(0.0))
    rows, weight = X[:4], np.array([0.0, 1.0, 0.0, 1.0])  # as many as the kernel's
    told = distiller.fit(rows, None, sample_weight=weight, verbose=0).history["gap"][0]
    kernels = [array(m.get_layer("head").kernel) for m in (teacher, student)]
    assert told == pytest.approx(np.mean((kernels[0] - kernels[1]) ** 2), rel=1e-4)


def test_a_teachers_weights_are_those_of_the_step():
    """JAX would keep the values of the first step where they are read by closure."""
    teacher, student = model(), model()
    distiller = keras_kd.Distiller(teacher, student, Gap(KernelNorm("low"), name="gap"))
    distiller.compile(keras.optimizers.SGD(0.0))
    distiller.fit(X, batch_size=8, verbose=0)
    teacher.set_weights([3.0 * w for w in teacher.get_weights()])
    told = distiller.fit(X, batch_size=8, verbose=0).history["gap"][0]
    wanted = (norm_by_hand(teacher) - norm_by_hand(student)) ** 2
    assert told == pytest.approx(wanted, rel=1e-4)


def test_weights_with_lora_are_the_sum():
    """The frozen part alone would be another classifier than the one that answers."""
    student = model()
    head = student.get_layer("head")
    head.enable_lora(1)
    head.lora_kernel_b.assign(np.ones(head.lora_kernel_b.shape))
    signal = Weights("head")
    with keras_kd.signals.recording.recording(student, [signal], side="student") as r:
        r.output = student(X)
    low = np.tanh(
        X
        @ array(student.get_layer("low").kernel)
        @ array(student.get_layer("high").kernel)
    )
    np.testing.assert_allclose(low @ array(signal.value(r)), array(r.output), rtol=1e-4)


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (lambda: Weights("head", "kern"), "weight of the student's layer 'head': 'ker"),
        (lambda: Weights("nothing"), "No layer 'nothing' in the student"),
        (lambda: Weights("head", "a b"), "`attribute` must be the name of the attribu"),
        (lambda: Weights(3), "`layer` must be the path of a layer"),
        (lambda: Weights(keras.layers.Dense(2)), "must be a part of the student"),
    ],
)
def test_weights_that_are_not_there(signal, message):
    """The message is all that tells the user which name is wrong."""
    with pytest.raises(ValueError, match=message):
        signal().bind(model(), side="student")


def test_quantized_weights_are_refused():
    """Integers without their scale are no kernel."""
    student = model()
    student.get_layer("head").quantize("int8")
    with pytest.raises(ValueError, match="of floating point.*int8.*as it was before"):
        Weights("head", "_kernel").bind(student, side="student")


def test_a_mask_is_that_of_another_signal():
    """A loss that needs the mask of the tokens has no other way to it."""
    tokens = np.array([[1, 2, 0], [3, 0, 0]])
    inputs = keras.Input((3,), dtype="int32")
    embedded = keras.layers.Embedding(4, 2, mask_zero=True, name="embedding")(inputs)
    student = keras.Model(inputs, keras.layers.Dense(2)(embedded))
    masks = [Mask("embedding"), Mask(keras_kd.Tap("embedding", of="input"))]
    with keras_kd.signals.recording.recording(student, masks, side="student") as r:
        r.output = student(tokens)
    np.testing.assert_array_equal(array(masks[0].value(r)), tokens != 0)
    assert masks[1].value(r) is None
    config = keras.saving.serialize_keras_object(masks[0])
    assert repr(keras.saving.deserialize_keras_object(config)) == repr(masks[0])


@keras.saving.register_keras_serializable(package="tests_signals")
class Doubled(Signal):
    """Two times an output."""

    def __init__(self, key):
        self.parts = [keras_kd.Output(key)]

    def value(self, recording):
        return 2.0 * self.parts[0].value(recording)


def test_sample_weights_of_the_output_that_a_signal_reads():
    """The weights of another output would count other examples."""
    inputs = keras.Input((3,))
    heads = {name: keras.layers.Dense(2, name=name)(inputs) for name in "ab"}
    teacher, student = keras.Model(inputs, heads), keras.Model(inputs, heads)
    teacher = keras.models.clone_model(teacher)
    weight = {"a": np.zeros(8), "b": np.arange(8) % 2}
    distiller = keras_kd.Distiller(teacher, student, Gap(Doubled("b"), name="gap"))
    distiller.compile(keras.optimizers.SGD(0.0), loss={"a": "mse", "b": "mse"})
    y = {name: np.zeros((8, 2), "float32") for name in "ab"}
    told = distiller.fit(X, y, sample_weight=weight, batch_size=8, verbose=0)
    gap = array(teacher(X)["b"]) - array(student(X)["b"])
    wanted = np.mean((2.0 * gap[1::2]) ** 2)
    assert told.history["gap"][0] == pytest.approx(wanted, rel=1e-4)


def test_a_signal_without_value_says_so():
    """The base alone cannot know what is wanted."""
    with pytest.raises(NotImplementedError, match="Signal must override `value"):
        Signal().value(None)
