"""Each function that differs between backends means the same on all of them."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_kd import _backend
from tests.gradients import value_and_gradient


def test_masks_travel_on_tensors():
    """Without the mask, padding would count in the distillation loss."""
    embedded = keras.layers.Embedding(4, 2, mask_zero=True)(np.array([[1, 0]]))
    mask = ops.convert_to_numpy(_backend.mask_of(embedded))
    np.testing.assert_array_equal(mask, [[True, False]])
    assert _backend.mask_of(ops.ones((2,))) is None
    copied = _backend.attach_mask(ops.ones((1, 2)), _backend.mask_of(embedded))
    assert _backend.mask_of(copied) is _backend.mask_of(embedded)
    assert _backend.mask_of(_backend.attach_mask(ops.ones((1,)), None)) is None


def test_children_answer_to_name_attribute_and_place():
    """A path that worked for one model kind and not another would be no address."""

    class Parent(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.head = keras.layers.Dense(1, name="out")
            self.blocks = [keras.layers.ReLU(name="a"), keras.layers.ReLU(name="b")]

    names = {child.name: names for child, names in _backend.children(Parent())}
    assert names == {
        "out": {"out", "head"},
        "a": {"a", "blocks[0]"},
        "b": {"b", "blocks[1]"},
    }


def test_children_answer_to_the_property_of_a_private_attribute():
    """KerasHub's tasks hold their backbone so; its own name has a changing number."""

    class Parent(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self._body = keras.layers.ReLU(name="a")
            self._hidden = keras.layers.ReLU(name="b")

        @property
        def body(self):
            return self._body

    names = {child.name: names for child, names in _backend.children(Parent())}
    assert names == {"a": {"a", "body"}, "b": {"b"}}


def test_names_that_keras_made_up():
    """A path with such a name would not find the layer in the next instance."""

    class HTTPHead2D(keras.layers.Layer):
        pass

    for make in (HTTPHead2D, keras.layers.ReLU, lambda: keras.layers.Dense(1)):
        assert all(_backend.is_auto_named(make()) for _ in range(2))
    assert not _backend.is_auto_named(keras.layers.ReLU(name="relu_of_block"))


def test_attention_is_noted_where_a_layer_attends():
    """Without it, a subclass with a `call` of its own gives no probabilities."""
    noted = []
    plain = keras.layers.MultiHeadAttention
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    for wanted in (False, True):
        methods = _backend.noting_attention(
            plain,
            lambda layer, wanted=wanted: wanted,
            lambda layer, scores: noted.append(scores),
        )
        assert len(methods) == 1
        layer = type(plain)("Noting", (plain,), methods)(2, 2)
        assert _backend.has_attention_method(layer)
        layer(x, x)
        assert len(noted) == wanted
    _, scores = layer(x, x, return_attention_scores=True)
    np.testing.assert_allclose(
        ops.convert_to_numpy(noted[0]), ops.convert_to_numpy(scores), atol=1e-6
    )
    assert _backend.noting_attention(keras.layers.Dense, print, print) == {}
    assert not _backend.has_attention_method(keras.layers.ReLU())


def test_calls_in_graphs_are_counted():
    """By their number a saved model finds the call of a layer that it shares."""
    shared = keras.layers.Dense(2)
    assert _backend.symbolic_calls(shared) == 0
    for count in (1, 2):
        inputs = keras.Input((2,))
        keras.Model(inputs, shared(inputs))
        assert _backend.symbolic_calls(shared) == count
    shared(np.zeros((1, 2)))
    assert _backend.symbolic_calls(shared) == 2


def test_no_gradient_reaches_what_was_computed_outside():
    """A gradient into the teacher would cost time and memory, and train it."""
    weight = ops.convert_to_tensor([2.0])
    with _backend.no_gradient():
        answer = weight * 3.0
    _, gradient = value_and_gradient(
        lambda x: ops.sum(x * answer), np.array([5.0], "float32")
    )
    np.testing.assert_allclose(gradient, [6.0])


def test_one_replica_sums_to_itself():
    """A factor of the number of replicas would change the learning rate."""
    value = ops.convert_to_tensor(3.0)
    assert float(_backend.sum_over_replicas(value)) == 3.0


def test_preserve_state_gives_back_what_an_exception_took():
    """Keras empties the variables before the first step; an error must not."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    before = model.get_weights()

    def fail():
        with _backend.preserve_state(model):
            if _backend.BACKEND == "jax":
                for variable in model.trainable_variables:
                    variable._value = None
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        fail()
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_private_facts_of_keras_still_hold():
    """An upgrade of Keras that moves these must fail here, not in a user's fit."""
    dense = keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L2(0.5))
    model = keras.Sequential([keras.Input((2,)), dense])
    assert not _backend.reads_labels(model)
    model.compile("sgd", "mse", metrics=["mae"])
    assert _backend.reads_labels(model)
    assert _backend.is_built(model)
    assert _backend.supports_jit(model)
    assert _backend.supports_jit(lambda x: x)
    loss = _backend.compiled_loss(model)(ops.ones((2, 1)), ops.zeros((2, 1)))
    assert ops.convert_to_numpy(loss) == pytest.approx(1.0)
    kernel = ops.convert_to_numpy(model.layers[0].kernel)
    (penalty,) = _backend.penalties(model)
    assert ops.convert_to_numpy(penalty) == pytest.approx(
        0.5 * (kernel**2).sum(), rel=1e-5
    )
    assert not _backend.is_built(keras.layers.Dense(1))


def test_a_plain_error_passes_through_a_layer_as_it_is():
    """Keras adds the call's arguments to other messages, which buries ours."""

    def fail(x):
        raise _backend.PlainError("tap the parent")

    with pytest.raises(ValueError, match="^tap the parent$"):
        keras.Sequential([keras.layers.Lambda(fail)])(ops.ones((1, 2)))


def test_variables_move_by_a_share_and_whole_numbers_at_once():
    """A moving average that moves otherwise on one backend is another teacher."""
    mine = [
        keras.Variable([0.0, 4.0]),
        keras.Variable(1, dtype="int32", trainable=False),
    ]
    target = [
        keras.Variable([8.0, 0.0]),
        keras.Variable(7, dtype="int32", trainable=False),
    ]
    share = ops.convert_to_tensor(0.25)
    _backend.move_towards(mine, target, share)
    np.testing.assert_allclose(ops.convert_to_numpy(mine[0]), [2.0, 3.0])
    assert int(ops.convert_to_numpy(mine[1])) == 7
    np.testing.assert_allclose(ops.convert_to_numpy(target[0]), [8.0, 0.0])


def test_what_is_frozen_is_frozen_to_the_bottom():
    """A copy that says it is frozen, and is not, trains unseen."""
    dense = keras.layers.Dense(1)
    dense.build((None, 2))
    outer = keras.Sequential([keras.Sequential([keras.Input((2,)), dense])])
    outer._trainable = False  # as it is read from a file
    _backend.freeze(outer)
    assert dense in _backend.parts_of(outer)
    assert not any(part.trainable for part in _backend.parts_of(outer))
    assert not any(variable.trainable for variable in outer.variables)


def test_an_optimizer_knows_the_index_of_a_variable():
    """Momenta of another variable would train, and wrongly."""
    variables = [keras.Variable([1.0]), keras.Variable([2.0])]
    optimizer = keras.optimizers.SGD()
    optimizer.build(variables)
    assert [_backend.index_of(optimizer, v) for v in variables] == [0, 1]


def test_names_of_metrics_are_known_before_they_are_built():
    """A loss of the same name would be found out in the second epoch only."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae", keras.metrics.Mean(name="mine")])
    assert {"mae", "mine"} <= set(_backend.metric_names(model))
    model.compile("sgd", "mse", metrics=["mae"])
    x = np.ones((2, 2), "float32")
    model.fit(x, x[:, :1], verbose=0)
    assert "mae" in _backend.metric_names(model)


def test_nothing_compiled_is_left():
    """Keras keeps a loss for which the next `compile` is given None."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    _backend.forget_compiled(model)
    assert _backend.compiled_loss(model) is None
    assert not _backend.reads_labels(model)
    assert model.loss is None


def test_models_are_built_without_being_run():
    """A forward pass would move statistics and counters."""

    class Once(keras.Model):
        def __init__(self):
            super().__init__()
            self.norm = keras.layers.BatchNormalization(momentum=0.0)

        def call(self, x):
            return self.norm(x, training=True)

    model = Once()
    _backend.build_by(model, np.ones((4, 2), "float32"))
    assert _backend.is_built(model)
    moving = model.norm.moving_mean
    np.testing.assert_array_equal(ops.convert_to_numpy(moving), [0.0, 0.0])


def test_fixed_batch_sizes_are_seen():
    """A part of its batch is no batch to such a model."""
    free = keras.Sequential([keras.Input((3, 2)), keras.layers.GRU(1)])
    fixed = keras.Sequential(
        [keras.Input(batch_shape=(4, 3, 2)), keras.layers.GRU(1, stateful=True)]
    )
    assert not _backend.has_fixed_batch_size(free)
    assert not _backend.has_fixed_batch_size(lambda x: x)
    assert _backend.has_fixed_batch_size(fixed)


def test_what_is_read_beside_the_state_is_noted():
    """Not noted, it would be frozen into JAX's compiled step."""
    one, other = (keras.Variable([float(n)], name=f"v{n}") for n in (1, 2))
    noted = []
    with _backend.reading([(one, ops.convert_to_tensor([5.0]))], noted):
        total = one.value + other.value
    np.testing.assert_array_equal(ops.convert_to_numpy(total), [7.0])
    assert [variable.name for variable in noted] == ["v2"]
    with _backend.reading([]):
        _backend.map_also([(other, ops.convert_to_tensor([9.0]))])
        seen = other.value
    np.testing.assert_array_equal(ops.convert_to_numpy(seen), [9.0])


def test_a_trial_computes_and_changes_nothing():
    """Its values must be those of the step, from the variables that it is given."""
    variable = keras.Variable([2.0])

    def function(state):
        with _backend.reading(state):
            return {"doubled": 2.0 * variable.value}

    for compiled in (False, True):
        result = _backend.run_trial(function, [variable], compiled)
        np.testing.assert_array_equal(ops.convert_to_numpy(result["doubled"]), [4.0])
        shapes = _backend.shapes_of(function, [variable], compiled)
        assert tuple(shapes["doubled"].shape) == (1,)
    rows = _backend.first_rows(np.arange(6).reshape(3, 2), 2)
    np.testing.assert_array_equal(ops.convert_to_numpy(rows), [[0, 1], [2, 3]])
