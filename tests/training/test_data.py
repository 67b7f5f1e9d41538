"""Every kind of data that `fit` takes."""

import keras
import numpy as np
import pytest

import keras_kd
from tests.training.helpers import (
    BACKEND,
    assert_same,
    compiled,
    data,
    pair,
    values_of,
)

X, Y = data(12)
W = np.linspace(0.5, 2.0, 12).astype("float32")
BATCHES = [(X[i : i + 4], Y[i : i + 4], W[i : i + 4]) for i in (0, 4, 8)]


def trained(*args, **kwargs):
    """Train the same student on the data given; return its weights and the steps."""
    keras.utils.set_random_seed(3)
    distiller = compiled(
        keras_kd.Distiller(*pair(), keras_kd.LogitsDistillation(2.0)), rate=0.5
    )
    distiller.fit(*args, epochs=2, shuffle=False, verbose=0, **kwargs)
    return values_of(distiller.student.variables), int(distiller.optimizer.iterations)


@pytest.fixture(scope="module")
def from_arrays():
    return trained(X, Y, sample_weight=W, batch_size=4)


def check(found, expected):
    """Check that the same batches have made the same student."""
    assert found[1] == expected[1]
    assert_same(found[0], expected[0], rtol=1e-5, atol=1e-6)


class Sequence(keras.utils.PyDataset):
    """The batches as a `PyDataset`."""

    def __init__(self, batches=BATCHES):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def test_a_py_dataset(from_arrays):
    """Data that does not fit into memory could not be used."""
    check(trained(Sequence()), from_arrays)


def test_a_generator_loses_no_batch(from_arrays):
    """The look at the first batch would eat it: wrong order, one step less."""
    taken = []

    def batches():
        for number in range(6):
            taken.append(number)
            yield BATCHES[number % 3]

    check(trained(batches(), steps_per_epoch=3), from_arrays)
    assert taken == list(range(6))


def test_an_empty_generator_is_an_error():
    """Training on nothing would end without a word."""
    with pytest.raises(ValueError, match="at least one batch"):
        trained(iter(batch for batch in BATCHES[:0]))


def test_batches_of_labels_or_inputs_alone(from_arrays):
    """A data set without labels would need dummy labels."""
    found, steps = trained(Sequence([(x,) for x, _, _ in BATCHES]))
    expected, _ = trained(X, batch_size=4)
    assert steps == from_arrays[1]
    assert_same(found, expected, rtol=1e-5, atol=1e-6)


def test_single_batches(from_arrays):
    """A training loop of one's own, by `train_on_batch`, would fail."""
    keras.utils.set_random_seed(3)
    distiller = compiled(
        keras_kd.Distiller(*pair(), keras_kd.LogitsDistillation(2.0)), rate=0.5
    )
    for x, y, w in BATCHES * 2:
        logs = distiller.train_on_batch(x, y, w, return_dict=True)
    assert {"loss", "student_loss", "distillation_loss"} <= set(logs)
    steps = int(distiller.optimizer.iterations)
    check((values_of(distiller.student.variables), steps), from_arrays)
    tested = distiller.test_on_batch(X, Y, W, return_dict=True)
    evaluated = distiller.evaluate(
        X, Y, sample_weight=W, batch_size=12, verbose=0, return_dict=True
    )
    for name, value in evaluated.items():
        np.testing.assert_allclose(tested[name], value, rtol=1e-5)


@pytest.mark.skipif(BACKEND == "torch", reason="a torch user has torch's DataLoader")
def test_a_tf_data_set(from_arrays):
    """The usual pipeline of TensorFlow and JAX users could not be used."""
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((X, Y, W)).batch(4)
    check(trained(dataset.prefetch(2)), from_arrays)


@pytest.mark.skipif(BACKEND != "torch", reason="torch's own")
def test_a_torch_data_loader(from_arrays):
    """The usual pipeline of torch users could not be used."""
    import torch

    tensors = [torch.from_numpy(array) for array in (X, Y, W)]
    dataset = torch.utils.data.TensorDataset(*tensors)
    check(trained(torch.utils.data.DataLoader(dataset, batch_size=4)), from_arrays)
