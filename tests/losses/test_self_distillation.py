"""What a student learns from itself: other examples, other views, the step before."""

import functools

import keras
import numpy as np
import pytest
from keras import ops
from sklearn.datasets import load_digits

import keras_kd
from keras_kd import data, losses
from keras_kd.engine.reduction import reduce_loss
from keras_kd.layers import LastOutputs
from keras_kd.ops import pair_indices
from tests.gradients import value_and_gradient
from tests.losses.calls import called
from tests.training.helpers import log_softmax

KEYS = np.array([2, 0, 2, 1, 0, 2, -1, -1])
BATCH, CLASSES = len(KEYS), 4
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def array(x):
    return ops.convert_to_numpy(x)


def logits_of(seed=0, shape=(BATCH, CLASSES)):
    return np.random.default_rng(seed).normal(size=shape) * 2


def kl(target, own, temperature):
    """T² · KL of one pair of distributions, in float64."""
    log_p, log_q = log_softmax(target / temperature), log_softmax(own / temperature)
    return temperature**2 * (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)


def expected(logits, keys, temperature, targets=None, included=None):
    """The value of each example, by a walk through the batch."""
    targets = logits if targets is None else targets
    count = len(keys)
    included = np.ones(count) if included is None else included
    values = np.zeros(logits.shape[:-1])
    for i in range(count):
        for j in [(i + k) % count for k in range(1, count)]:
            if keys[i] == keys[j] >= 0 and included[i] and included[j]:
                values[i] = kl(targets[j], logits[i], temperature)
                break
    return values


def same_class(**arguments):
    return losses.SameClassDistillation(temperature=2.0, **arguments)


def views(**arguments):
    return losses.ViewAgreementDistillation(temperature=2.0, **arguments)


PAIRS = {
    "same_class": same_class,
    "views": views,
    "views_both": functools.partial(views, stop_gradient=False),
}
WITH_PAIRS = pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS.keys())


def step_of(keys=KEYS, **context):
    keys = ops.convert_to_tensor(keys)
    return keras_kd.StepContext(x={"sample_id": keys}, y=keys, **context)


def call(loss, logits, step, dtype="float32"):
    if not ops.is_tensor(logits):
        logits = ops.convert_to_tensor(np.asarray(logits, dtype))
    return called(loss, None, logits, step)


def last_batch(logits_before, ids_before, **arguments):
    """Return a loss that has seen a batch."""
    loss = losses.LastBatchDistillation(batch_size=BATCH, temperature=2.0, **arguments)
    loss.build(None, keras.KerasTensor((None, *np.shape(logits_before)[1:])))
    call(loss, logits_before, step_of(ids_before))
    return loss


# Pairs


@WITH_PAIRS
@pytest.mark.parametrize("shape", [(BATCH, CLASSES), (BATCH, 3, CLASSES), (BATCH, 2)])
def test_value_equals_a_walk_through_the_batch(make, shape):
    """Another pair, or another order of target and learner, is another method."""
    loss = make()
    if len(shape) == 3 and isinstance(loss, losses.SameClassDistillation):
        pytest.skip("one label per example")
    logits = logits_of(shape=shape)
    keys = np.where(shape[-1] > KEYS, KEYS, -1)
    values = array(call(loss, logits, step_of(keys)))
    np.testing.assert_allclose(
        values, expected(logits, keys, 2.0), rtol=2e-5, atol=1e-6
    )
    assert (values[[3, 6, 7]] == 0).all()  # alone in its class, or of none


@WITH_PAIRS
def test_gradient_equals_finite_differences(make):
    """A target that is pulled along is another method."""
    loss, logits = make(), logits_of(1)
    scale = np.random.default_rng(2).normal(size=BATCH)

    def scalar(x):
        values = call(loss, x, step_of())
        return ops.sum(values * ops.convert_to_tensor(scale, "float32"))

    _, gradient = value_and_gradient(scalar, logits.astype("float32"))
    wanted = np.zeros_like(logits)
    for index in np.ndindex(*logits.shape):
        sides = []
        for sign in (1, -1):
            moved = logits.copy()
            moved[index] += sign * 1e-5
            targets = logits if loss.stop_gradient else moved
            sides.append((expected(moved, KEYS, 2.0, targets) * scale).sum())
        wanted[index] = (sides[0] - sides[1]) / 2e-5
    np.testing.assert_allclose(gradient, wanted, rtol=1e-3, atol=1e-3)


@WITH_PAIRS
@pytest.mark.parametrize("how", ["sample_weight", "student_mask"])
def test_left_out_equals_not_in_the_batch(make, how):
    """Padding rows must not become the target of a real example."""
    loss, logits = make(), logits_of()
    keep = np.array([1, 1, 0, 1, 1, 1, 1, 0])
    weight = ops.convert_to_tensor(keep.astype("bool" if "mask" in how else "float32"))
    step = step_of(**{how: weight})
    whole = float(array(reduce_loss(loss, call(loss, logits, step), step)))
    rows, step = keep > 0, step_of(KEYS[keep > 0])
    part = float(array(reduce_loss(loss, call(loss, logits[rows], step), step)))
    assert whole == pytest.approx(part, rel=1e-6)
    # Its row may hold anything, as padding does.
    logits[~rows] = 1e9
    values = array(call(loss, logits, step_of(**{how: weight})))
    np.testing.assert_allclose(
        values[rows], expected(logits, KEYS, 2.0, included=keep)[rows], rtol=2e-5
    )


@WITH_PAIRS
def test_batch_of_one_gives_nothing(make):
    """The last batch of an epoch may hold one example, and must not divide by zero."""

    def scalar(x):
        return ops.sum(call(make(), x, step_of(KEYS[:1])))

    value, gradient = value_and_gradient(scalar, logits_of()[:1].astype("float32"))
    assert value == 0
    assert (gradient == 0).all()


@WITH_PAIRS
def test_survives_large_float16_logits(make):
    """One large logit in half precision must not end a training run with NaN."""
    logits = (1e4 * np.sign(logits_of())).astype("float16")

    def scalar(x):
        return ops.sum(call(make(), x, step_of()))

    value, gradient = value_and_gradient(scalar, logits)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("form", ["column", "one_hot"])
def test_labels_in_every_form_keras_takes(form):
    """Labels in another form would pair the examples by something else."""
    keys = np.array([0, 1, 0, 1, 2, 2, 3, 0])
    y = {"column": keys[:, None], "one_hot": np.eye(CLASSES)[keys]}[form]
    step = keras_kd.StepContext(y=ops.convert_to_tensor(y))
    values = array(call(same_class(), logits_of(), step))
    np.testing.assert_allclose(
        values, expected(logits_of(), keys, 2.0), rtol=2e-5, atol=1e-6
    )


def test_labels_that_name_no_class_are_no_class():
    """Two pixels of the border, 255, are no pair."""
    keys = np.array([255, 0, 255, -100, 0, -100, -1, -1])
    values = array(call(same_class(), logits_of(), step_of(keys)))
    wanted = expected(logits_of(), np.where(keys == 0, 0, -1), 2.0)
    np.testing.assert_allclose(values, wanted, rtol=2e-5, atol=1e-6)
    assert (values > 0).sum() == 2


@pytest.mark.parametrize("wrong", [2**32 + 5, 2**31, 4.5])
@pytest.mark.parametrize("make", [views, lambda: last_batch(logits_of(), KEYS)])
def test_ids_that_are_no_int32_are_refused(wrong, make):
    """As int32, 5 and 2³² + 5 would be two views of one example."""
    ids = np.array([5, wrong, *range(6)])
    step = keras_kd.StepContext(x={"sample_id": ids})
    with pytest.raises(ValueError, match="`sample_ids` must be the key of integers"):
        make().check_batch(step)


@pytest.mark.skipif(
    keras.config.backend() == "jax", reason="JAX makes int32 of all integers"
)
def test_ids_that_are_no_int32_are_refused_by_fit():
    """Found in the compiled step, it would be too late to tell."""
    x, y = digits()
    ids = np.arange(COUNT) + 2**32
    with pytest.raises(ValueError, match="with 4294967.*Number the examples"):
        distiller_for(views()).fit({"x": x, "sample_id": ids}, y, verbose=0)


def test_two_views_without_stop_gradient_are_r_drop():
    """The docstring says so; whoever reproduces R-Drop relies on it."""
    logits = logits_of(shape=(2, CLASSES))
    loss = losses.ViewAgreementDistillation(stop_gradient=False)
    mean = array(call(loss, logits, step_of(np.array([5, 5])))).mean()
    wanted = (kl(logits[0], logits[1], 1.0) + kl(logits[1], logits[0], 1.0)) / 2
    assert mean == pytest.approx(wanted, rel=1e-5)


def test_pairs_go_round_and_skip_those_left_out():
    """A pair for each: in a class of three the third teaches the second."""
    keys = ops.convert_to_tensor([3, 3, 3, 1])
    index, has = pair_indices(keys)
    assert array(index).tolist() == [1, 2, 0, 3]
    assert array(has).tolist() == [True, True, True, False]
    index, has = pair_indices(keys, ops.convert_to_tensor([1.0, 0.0, 1.0, 1.0]))
    assert array(index).tolist() == [2, 1, 0, 3]
    assert array(has).tolist() == [True, False, True, False]


# The last batch


def test_last_batch_by_id_and_not_by_place():
    """Matched by place, a shuffled batch would learn the answers to other examples."""
    old, new = logits_of(0), logits_of(1)
    before = np.arange(8) + 10
    now = np.array([17, 3, 10, 12, 99, 11, -1, 10])
    loss = last_batch(old, before)
    values = array(call(loss, new, step_of(now)))
    wanted = [
        kl(old[i - 10], new[row], 2.0) if i in before else 0.0
        for row, i in enumerate(now)
    ]
    np.testing.assert_allclose(values, wanted, rtol=2e-5, atol=1e-6)
    # And from now on it is the second batch that counts, not the first.
    values = array(call(loss, old, step_of(now)))
    wanted = [kl(new[0 if i == 17 else n], old[n], 2.0) for n, i in enumerate(now)]
    wanted[6], wanted[7] = 0.0, kl(new[2], old[7], 2.0)
    np.testing.assert_allclose(values, wanted, rtol=2e-5, atol=1e-6)


def test_last_batch_gradient_equals_finite_differences():
    """The old answers are a target: the gradient is that of the new ones alone."""
    old, new = logits_of(0), logits_of(1)
    scale = np.random.default_rng(2).normal(size=BATCH)
    loss = last_batch(old, np.arange(BATCH))
    fixed = step_of(np.arange(BATCH))
    memory = [array(w) for w in loss.layers[0].weights]

    def scalar(x):
        with keras.StatelessScope():
            values = call(loss, x, fixed)
        return ops.sum(values * ops.convert_to_tensor(scale, "float32"))

    _, gradient = value_and_gradient(scalar, new.astype("float32"))
    for weight, value in zip(loss.layers[0].weights, memory, strict=True):
        weight.assign(value)
    p, q = np.exp(log_softmax(old / 2.0)), np.exp(log_softmax(new / 2.0))
    np.testing.assert_allclose(gradient, 2.0 * (q - p) * scale[:, None], atol=1e-5)


def test_last_batch_of_another_size():
    """The last batch of an epoch is smaller; its rows must not stay from before."""
    old, small, new = logits_of(0), logits_of(1)[:3], logits_of(2)
    loss = last_batch(old, np.arange(BATCH))
    call(loss, small, step_of(np.arange(3)))
    values = array(call(loss, new, step_of(np.arange(BATCH))))
    wanted = [kl(small[i], new[i], 2.0) if i < 3 else 0.0 for i in range(BATCH)]
    np.testing.assert_allclose(values, wanted, rtol=2e-5, atol=1e-6)
    memory = LastOutputs(2, (CLASSES,))
    memory.build()
    tensors = [ops.convert_to_tensor(v) for v in (KEYS[:5], old[:5], np.ones(5))]
    memory.update(*tensors)  # more than there is room for: the last ones stay
    assert array(memory.ids).tolist() == KEYS[3:5].tolist()
    np.testing.assert_allclose(array(memory.outputs), old[3:5], rtol=1e-6)


def test_last_batch_stores_no_example_that_is_left_out():
    """What a padding row once answered is no target for a real example."""
    loss = losses.LastBatchDistillation(batch_size=BATCH)
    loss.build(None, keras.KerasTensor((None, CLASSES)))
    keep = (np.arange(BATCH) % 2).astype("float32")
    ids = np.arange(BATCH)
    call(loss, logits_of(0), step_of(ids, sample_weight=ops.convert_to_tensor(keep)))
    values = array(call(loss, logits_of(1), step_of(ids)))
    assert ((values > 0) == (keep > 0)).all()


def test_last_batch_in_evaluation_neither_reads_nor_writes():
    """The validation set has numbers of its own, which are other examples."""
    loss = last_batch(logits_of(0), np.arange(BATCH))
    before = [array(w) for w in loss.layers[0].weights]
    step = step_of(np.arange(BATCH), training=False)
    assert (array(call(loss, logits_of(1), step)) == 0).all()
    for old, weight in zip(before, loss.layers[0].weights, strict=True):
        np.testing.assert_array_equal(array(weight), old)


def test_last_batch_survives_large_float16_logits():
    """One large logit in half precision must not end a training run with NaN."""
    old = 1e4 * np.sign(logits_of(0))
    loss = last_batch(old, np.arange(BATCH))
    new = (1e4 * np.sign(logits_of(1))).astype("float16")
    step = step_of(np.r_[np.arange(4), np.arange(90, 94)])

    def scalar(x):
        with keras.StatelessScope():
            return ops.sum(call(loss, x, step))

    value, gradient = value_and_gradient(scalar, new)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


# In training

COUNT = 60


@functools.cache
def digits():
    x, y = load_digits(return_X_y=True)
    return (x[:COUNT] / 8 - 1).astype("float32"), y[:COUNT]


def student(dropout=0.0, **kwargs):
    return keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(32, activation="relu", **kwargs),
            keras.layers.Dropout(dropout, seed=3, **kwargs),
            keras.layers.Dense(10, **kwargs),
        ]
    )


def noisy(x, random):
    return x + random.normal(scale=0.5, size=x.shape).astype("float32")


FITS = {
    "same_class": (
        lambda: losses.SameClassDistillation(),
        lambda **kw: data.SameClassBatches(*digits(), 12, **kw),
    ),
    "views": (
        lambda: losses.ViewAgreementDistillation(),
        lambda **kw: data.Views(*digits(), 12, noisy, **kw),
    ),
    "last_batch": (
        lambda: losses.LastBatchDistillation(batch_size=12),
        lambda **kw: data.OverlappingBatches(*digits(), 12, augment=noisy, **kw),
    ),
}
EACH = pytest.mark.parametrize("name", FITS)


def distiller_for(loss, task=0.0, **kwargs):
    keras.utils.set_random_seed(0)
    distiller = keras_kd.Distiller(
        None,
        student(**kwargs),
        loss,
        student_loss_weight=task,
        distillation_weight=1.0,
        student_inputs=data.without_sample_ids,
    )
    distiller.compile(keras.optimizers.Adam(1e-2), CROSSENTROPY)
    return distiller


@EACH
def test_fit_lowers_the_loss(name):
    """A loss that does not fall in a compiled step trains nothing."""
    loss, batches = FITS[name][0](), FITS[name][1]()
    distiller = distiller_for(loss)
    first = distiller.fit(batches, shuffle=False, verbose=0).history[loss.name][-1]
    history = distiller.fit(batches, epochs=30, shuffle=False, verbose=0).history
    assert 0 < history[loss.name][-1] < 0.5 * first


@EACH
def test_fit_in_half_precision(name):
    """mixed_float16 is how these methods are run on a GPU."""
    loss, batches = FITS[name][0](), FITS[name][1]()
    distiller = distiller_for(loss, task=1.0, dtype="mixed_float16")
    history = distiller.fit(batches, epochs=3, shuffle=False, verbose=0).history
    assert history[loss.name][-1] > 0
    assert np.isfinite(history["loss"]).all()
    for weight in distiller.weights:
        assert np.isfinite(array(weight)).all()


@EACH
def test_saved_in_the_middle_it_goes_on_bit_for_bit(name, tmp_path):
    """A resumed run without the last answers, or in another order, is another run."""
    loss, make = FITS[name]
    whole = distiller_for(loss(), task=1.0, dropout=0.2)
    whole.fit(make(seed=5), epochs=3, shuffle=False, verbose=0)
    part = distiller_for(loss(), task=1.0, dropout=0.2)
    part.fit(make(seed=5), epochs=2, shuffle=False, verbose=0)
    part.save(tmp_path / "distiller.keras")
    again = keras.saving.load_model(tmp_path / "distiller.keras")
    again.fit(make(seed=5, epoch=2), epochs=1, shuffle=False, verbose=0)
    assert len(whole.weights) == len(again.weights)
    for one, other in zip(whole.weights, again.weights, strict=True):
        np.testing.assert_array_equal(array(one), array(other))


def test_last_batch_in_fit_is_the_student_before_its_update():
    """One step too late, the target would be the answer that it is compared with."""
    x, y = digits()
    loss = losses.LastBatchDistillation(batch_size=6, temperature=1.0)
    distiller = distiller_for(loss, task=1.0)
    ids = np.arange(6)
    old = array(distiller.student(x[:6]))
    batch = {"x": x[:6], "sample_id": ids}
    assert distiller.train_on_batch(batch, y[:6], return_dict=True)[loss.name] == 0
    new = array(distiller.student(x[:6]))
    logs = distiller.train_on_batch(batch, y[:6], return_dict=True)
    assert logs[loss.name] == pytest.approx(kl(old, new, 1.0).mean(), rel=1e-3)
    before = [array(w) for w in loss.layers[0].weights]
    logs = distiller.evaluate(x, y, verbose=0, return_dict=True)  # needs no ids
    assert logs[loss.name] == 0
    for one, weight in zip(before, loss.layers[0].weights, strict=True):
        np.testing.assert_array_equal(array(weight), one)


def test_batches_in_any_order_are_never_wrong():
    """fit shuffles the batches unless it is told not to: less to learn, not rubbish."""
    loss = losses.LastBatchDistillation(batch_size=12)
    distiller = distiller_for(loss, task=1.0)
    batches = data.OverlappingBatches(*digits(), 12)
    history = distiller.fit(batches, epochs=3, shuffle=True, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert history["student_loss"][-1] < history["student_loss"][0]


# What the user is told


@pytest.mark.parametrize("name", ["same_class", "views"])
def test_a_batch_without_any_pair_is_told(name):
    """A loss that is 0 for ever looks like a perfect student."""
    loss, x = FITS[name][0](), digits()[0]
    with pytest.warns(UserWarning, match=r"No example .* has a pair.*keras_kd.data"):
        distiller_for(loss).fit(
            {"x": x[:10], "sample_id": np.arange(10)}, np.arange(10), verbose=0
        )


WRONG = {
    "`batch_size` must be a positive": lambda: losses.LastBatchDistillation(0),
    "`batch_size` must be a positive integer": lambda: losses.LastBatchDistillation(
        True
    ),
    "`temperature` must be a number that is greater": lambda: same_class().__class__(0),
    r"SameClassDistillation needs one label per example": lambda: same_class().build(
        None, keras.KerasTensor((None, 5, 3))
    ),
    "needs an output .* at least 2 classes": lambda: views().build(
        None, keras.KerasTensor((None, 1))
    ),
    "keeps outputs of one known size": lambda: losses.LastBatchDistillation(2).build(
        None, keras.KerasTensor((None, None, 3))
    ),
    "works on one output": lambda: views().build(None, [keras.KerasTensor((None, 3))]),
    "SameClassDistillation needs labels": lambda: call(
        same_class(), logits_of(), keras_kd.StepContext()
    ),
    "`sample_ids` must be a key": lambda: call(
        views(sample_ids="row"), logits_of(), step_of()
    ),
    "`batch_size` must be that of the largest batch": lambda: distiller_for(
        losses.LastBatchDistillation(batch_size=6)
    ).fit(FITS["last_batch"][1](), verbose=0),
}


@pytest.mark.parametrize(("message", "make"), WRONG.items(), ids=range(len(WRONG)))
def test_what_is_wrong_is_named(message, make):
    """The user must read which argument it was, before any training."""
    with pytest.raises(ValueError, match=message):
        make()


def test_probabilities_are_refused():
    """Softmax of a softmax is nearly even, and would teach nothing."""
    even = ops.convert_to_tensor(np.full((4, 4), 0.25, "float32"))
    for make in (same_class, views):
        with pytest.raises(ValueError, match="needs logits"):
            make().check(None, even)
