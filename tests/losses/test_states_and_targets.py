"""What a loss keeps of a batch, and which of its parts are targets."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_kd
from keras_kd import losses
from keras_kd.layers import EmbeddingMemory
from tests.gradients import value_and_gradient
from tests.losses.every import CASES, step_of, values_in
from tests.losses.references import softmax
from tests.training.helpers import CROSSENTROPY


def memory_of(banks):
    memory = EmbeddingMemory(*banks[0].shape, seed=0)
    memory.build()
    for variable, bank in zip(memory.banks, banks, strict=True):
        variable.assign(bank)
    return memory


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize("momentum", [0.0, 0.25, 0.9])
def test_the_memory_keeps_the_share_of_the_old_vector(momentum):
    """Swapped, a slow memory would forget all but the last batch."""
    banks = [unit(drawn(seed, 5, 3)) for seed in (0, 1)]
    new = [unit(drawn(seed, 2, 3)) for seed in (2, 3)]
    memory = memory_of(banks)
    memory.update(
        ops.convert_to_tensor(np.array([3, 1], "int32")),
        [ops.convert_to_tensor(x) for x in new],
        [ops.ones(()), ops.ones(())],
        ops.ones((2,)),
        momentum=momentum,
    )
    for variable, bank, vectors in zip(memory.banks, banks, new, strict=True):
        wanted = bank.copy()
        wanted[[3, 1]] = unit(momentum * bank[[3, 1]] + (1 - momentum) * vectors)
        np.testing.assert_allclose(
            ops.convert_to_numpy(variable.value), wanted, rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("kept", [[1, 0, 1], [0, 1, 1], [0, 0, 0]])
def test_what_is_left_out_overwrites_nothing(kept):
    """The same example may stand in the batch once more, with weight."""
    bank, new = unit(drawn(0, 5, 3)), unit(drawn(1, 3, 3))
    ids = np.array([3, 3, 1], "int32")
    memory = memory_of([bank, bank])
    memory.update(
        ops.convert_to_tensor(ids),
        [ops.convert_to_tensor(new)] * 2,
        [ops.ones(()), ops.ones(())],
        ops.convert_to_tensor(np.array(kept, "float32")),
        momentum=0.0,
    )
    wanted = bank.copy()
    for number, vector, counts in zip(ids, new, kept, strict=True):
        if counts:
            wanted[number] = vector
    for variable in memory.banks:
        np.testing.assert_allclose(
            ops.convert_to_numpy(variable.value), wanted, rtol=1e-5, atol=1e-6
        )


def test_the_ensemble_of_branches_is_a_target():
    """With a gradient the branches would pull their own target towards themselves."""
    loss = CASES["gated"].build()
    logits, features = [drawn(seed, 6, 4) for seed in (0, 1)], drawn(2, 6, 5)
    step = step_of(training=False)
    temperature = loss.temperature

    def total(first):
        signals = {
            "outputs": [first, ops.convert_to_tensor(logits[1])],
            "features": ops.convert_to_tensor(features),
        }
        return ops.sum(values_in(loss.call(None, signals, step))[0])

    _, slope = value_and_gradient(total, logits[0])
    (gate,) = loss.layers
    shares = ops.convert_to_numpy(gate(features)).astype("float64")
    ensemble = shares[:, :1] * logits[0] + shares[:, 1:] * logits[1]
    target = softmax(ensemble / temperature)
    own = softmax(logits[0] / temperature)
    labels = np.eye(4)[ops.convert_to_numpy(step.y)]
    # T² KL has T (q − p); the cross-entropy reaches a branch by its share.
    wanted = temperature * (own - target)
    wanted += shares[:, :1] * (softmax(ensemble) - labels)
    np.testing.assert_allclose(slope, wanted, rtol=1e-3, atol=1e-5)


def test_cosine_has_keras_value_and_a_gradient_at_zero():
    """Keras's is NaN there: a head that starts at zero would not survive a step."""
    teacher, student = drawn(0, 6, 4), drawn(1, 6, 4)
    for given in ("cosine_similarity", keras.losses.CosineSimilarity(axis=0)):
        loss = losses.LogitsDistillation(1.0, given)
        step = keras_kd.StepContext()
        axis = -1 if isinstance(given, str) else 0
        made = ops.convert_to_numpy(
            loss.call(
                ops.convert_to_tensor(teacher), ops.convert_to_tensor(student), step
            )
        )
        norms = [np.linalg.norm(x, axis=axis) for x in (teacher, student)]
        wanted = -(teacher * student).sum(axis=axis) / (norms[0] * norms[1])
        np.testing.assert_allclose(made, wanted, rtol=1e-5)

        def total(s, loss=loss, step=step):
            return ops.sum(loss.call(ops.convert_to_tensor(teacher), s, step))

        _, slope = value_and_gradient(total, 0.0 * student)
        pulled = -teacher / np.linalg.norm(teacher, axis=axis, keepdims=True)
        np.testing.assert_allclose(slope, pulled, rtol=1e-5)
        for scale in (1e-4, 1e20):
            value, slope = value_and_gradient(total, np.float32(scale) * student)
            assert value == pytest.approx(wanted.sum(), rel=1e-4)
            assert np.isfinite(slope).all()


def test_a_student_with_a_zero_head_takes_the_right_first_step():
    """Every weight was NaN after one step."""
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(5, activation="tanh")(inputs)
    head = keras.layers.Dense(3, kernel_initializer="zeros")
    student = keras.Model(inputs, head(hidden))
    teacher = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    x, y = drawn(0, 8, 4), np.arange(8) % 3
    before = ops.convert_to_numpy(keras.Model(inputs, hidden)(x))
    answers = ops.convert_to_numpy(teacher(x))
    distiller = keras_kd.Distiller(
        teacher,
        student,
        losses.get("logit_cosine"),
        student_loss_weight=1.0,
        distillation_weight=1.0,
    )
    distiller.compile(keras.optimizers.SGD(0.1), CROSSENTROPY)
    distiller.fit(x, y, batch_size=8, verbose=0)
    pull = softmax(np.zeros((8, 3))) - np.eye(3)[y] - unit(answers)
    kernel = ops.convert_to_numpy(head.kernel)
    np.testing.assert_allclose(kernel, -0.1 * before.T @ pull / 8, rtol=1e-4, atol=1e-6)
    assert all(np.isfinite(weight).all() for weight in student.get_weights())
