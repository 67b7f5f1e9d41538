"""Students that train together: what each learns, and from whom."""

import keras
import numpy as np
import pytest

import keras_kd
from keras_kd import losses
from keras_kd.students import BranchedStudent, PeerGroup
from tests.gradients import value_and_gradient
from tests.losses.calls import called
from tests.training.helpers import (
    CROSSENTROPY,
    Subclassed,
    assert_same,
    classifier,
    copy_of,
    counted_classifier,
    data,
    fit_steps,
    log_softmax,
    values_of,
)

LABELS = np.array([0, 2, 1, 1, 0, 2])


def three(seed=0):
    """Return the logits of three students, float64."""
    return np.random.default_rng(seed).normal(0, 2, (3, 6, 3))


def kl(p_logits, q_logits, temperature):
    log_p = log_softmax(p_logits / temperature)
    log_q = log_softmax(q_logits / temperature)
    return temperature**2 * (np.exp(log_p) * (log_p - log_q)).sum(-1)


def mutual(fixed, z, temperature=1.0, teachers=None):
    """Return the value by its definition, the targets held fixed."""
    value = np.zeros(z.shape[1:-1])
    for k in range(len(z)):
        sources = range(len(z)) if teachers is None else teachers
        if teachers is not None and k in teachers:
            continue
        others = [place for place in sources if place != k]
        for other in others:
            value += kl(fixed[other], z[k], temperature) / len(others)
    return value


def joint(fixed, combine):
    """Return the students' joint logits, example by example."""
    if combine == "mean":
        return fixed.mean(0)
    rows = []
    for place, label in enumerate(LABELS):
        mine = fixed[:, place]
        if combine == "best":
            rows.append(mine[log_softmax(mine)[:, label].argmax()])
        else:
            rows.append((mine - mine[:, [label]]).min(0))
    return np.stack(rows)


def collaborative(fixed, z, combine, temperature=2.0):
    target = joint(fixed, combine)
    return sum(kl(target, mine, temperature) for mine in z)


ROWS = {
    "mutual": (losses.MutualDistillation(2.0), lambda f, z: mutual(f, z, 2.0)),
    "one_way": (
        losses.MutualDistillation(teachers=[0]),
        lambda f, z: mutual(f, z, 1.0, [0]),
    ),
    "two_teachers": (
        losses.MutualDistillation(teachers=[0, 2]),
        lambda f, z: mutual(f, z, 1.0, [0, 2]),
    ),
    **{
        combine: (
            losses.CollaborativeDistillation(combine),
            lambda f, z, combine=combine: collaborative(f, z, combine),
        )
        for combine in ("mean", "best", "lowest_margin")
    },
}


@pytest.mark.parametrize("name", ROWS)
def test_value_and_gradient(name):
    """A target with a gradient would pull the teacher down to its student."""
    loss, reference = ROWS[name]
    z = three()
    step = keras_kd.StepContext(y=LABELS)

    def total(x):
        parts = [x[place] for place in range(3)]
        return keras.ops.sum(called(loss, None, parts, step))

    value, gradient = value_and_gradient(total, z.astype("float32"))
    np.testing.assert_allclose(value, reference(z, z).sum(), rtol=2e-5)
    wanted, step_size = np.zeros_like(z), 1e-5
    for place in np.ndindex(z.shape):
        moved = [z.copy(), z.copy()]
        moved[0][place] += step_size
        moved[1][place] -= step_size
        up, down = (reference(z, m).sum() for m in moved)
        wanted[place] = (up - down) / (2 * step_size)
    assert np.abs(gradient - wanted).max() < 1e-3 * np.abs(wanted).max()


def test_the_gated_ensemble_by_its_definition():
    """The branches learn from the ensemble, the gate from the labels."""
    z = three()
    features = np.random.default_rng(1).normal(size=(6, 4)).astype("float32")
    loss = losses.GatedEnsembleDistillation(temperature=2.0)
    spec = keras.KerasTensor((None, 3))
    loss.build(None, {"outputs": [spec] * 3, "features": keras.KerasTensor((None, 4))})
    (gate,) = loss.layers
    gate.dense.kernel.assign(np.random.default_rng(2).normal(size=(4, 3)))
    student = {
        "outputs": [keras.ops.convert_to_tensor(a.astype("float32")) for a in z],
        "features": keras.ops.convert_to_tensor(features),
    }
    step = keras_kd.StepContext(y=LABELS, training=False)
    got = keras.ops.convert_to_numpy(called(loss, None, student, step))
    hidden = features @ keras.ops.convert_to_numpy(gate.dense.kernel)
    hidden = np.maximum(hidden / np.sqrt(1.0 + 1e-3), 0)
    shares = np.exp(log_softmax(hidden))
    ensemble = (shares.T[..., None] * z).sum(0)
    wanted = sum(kl(ensemble, mine, 2.0) for mine in z)
    wanted = wanted - log_softmax(ensemble)[np.arange(6), LABELS]
    np.testing.assert_allclose(got, wanted, rtol=1e-4)


def group_distiller(models, loss=None, rate=0.1, **compile_arguments):
    distiller = keras_kd.Distiller(
        None,
        PeerGroup(models),
        loss or losses.MutualDistillation(),
        student_loss_weight=1.0,
        distillation_weight=1.0,
    )
    compile_arguments.setdefault("optimizer", keras.optimizers.SGD(rate))
    compile_arguments.setdefault("loss", CROSSENTROPY)
    distiller.compile(**compile_arguments)
    return distiller


def test_without_the_mutual_loss_each_peer_trains_as_it_would_alone():
    """Two students in one model must not disturb each other."""
    x, y = data()
    first, second = classifier(4), classifier(6)
    alone = [copy_of(first), copy_of(second)]
    distiller = group_distiller([first, second])
    distiller.distillation_weight = 0.0
    fit_steps(distiller, x, y, steps=3, shuffle=False)
    for model, single in zip((first, second), alone, strict=True):
        single.trainable = True
        single.compile(keras.optimizers.SGD(0.1), CROSSENTROPY)
        single.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
        assert_same(
            values_of(model.weights), values_of(single.weights), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("eager", [False, True])
def test_peers_come_closer_in_a_compiled_fit(eager):
    """What mutual learning is for: peers that agree more than the labels make them."""
    x, y = data(32)
    weighted = {"sample_weight": np.linspace(0, 1, 32)}
    for arguments in ({}, weighted):
        distiller = group_distiller(
            [classifier(4), classifier(6)],
            rate=0.5,
            run_eagerly=eager,
            metrics=["accuracy"],
        )
        history = fit_steps(distiller, x, y, steps=15, **arguments)
        values = history["mutual_distillation"]
        assert values[-1] < 0.5 * values[0]
        assert {"peer_0_accuracy", "peer_1_accuracy"} <= set(history)
        results = distiller.evaluate(x, y, verbose=0, return_dict=True)
        assert results["peer_1_accuracy"] > 0


def test_labels_as_a_list_or_a_data_set():
    """Labels arrive as Keras delivers them, whatever they come from."""
    x, y = data(16)
    for given in (
        ((x, y),),
        ((x, [y, y]),),
        (Batches(x, y),),
    ):
        distiller = group_distiller([classifier(4), classifier(6)])
        args = given[0] if isinstance(given[0], tuple) else given
        history = distiller.fit(*args, verbose=0).history
        results = distiller.evaluate(*args, verbose=0, return_dict=True)
        assert history["student_loss"][0] > 0
        assert {"peer_0_loss", "peer_1_loss"} <= set(results)


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return 2

    def __getitem__(self, place):
        rows = slice(8 * place, 8 * place + 8)
        return self.x[rows], self.y[rows], np.ones(8, "float32")


def test_each_peer_runs_once():
    """A peer that runs once per other peer makes N peers cost N² forwards."""
    made = [counted_classifier(4), counted_classifier(6)]
    x, y = data()
    distiller = group_distiller([model for model, _ in made])
    distiller.train_on_batch(x, y)
    for _, counter in made:
        counter.calls = 0
    distiller.make_train_function(force=True)
    distiller.train_on_batch(x, y)
    assert [counter.calls for _, counter in made] == [1, 1]


def test_a_teacher_that_trains_beside_its_student_does_not_learn_from_it():
    """A co-trained teacher must be what it would be without a student."""
    x, y = data()
    teacher, student = classifier(9), classifier(4)
    alone = copy_of(teacher)
    distiller = group_distiller(
        [teacher, student], losses.MutualDistillation(teachers=[0])
    )
    fit_steps(distiller, x, y, steps=3, shuffle=False)
    alone.compile(keras.optimizers.SGD(0.1), CROSSENTROPY)
    alone.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
    assert_same(
        values_of(teacher.weights), values_of(alone.weights), rtol=1e-5, atol=1e-6
    )


def functional(width=8):
    x = inputs = keras.Input((4,))
    x = keras.layers.Dense(width, "relu", name="low")(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dense(width, "relu", name="high")(x)
    return keras.Model(inputs, keras.layers.Dense(3)(x))


def branched_distiller(**compile_arguments):
    distiller = keras_kd.Distiller(
        None,
        BranchedStudent.of(functional(), "low", 3),
        losses.GatedEnsembleDistillation(),
        student_loss_weight=1.0,
        distillation_weight=1.0,
    )
    compile_arguments.setdefault("optimizer", keras.optimizers.Adam(0.02))
    distiller.compile(loss=CROSSENTROPY, **compile_arguments)
    return distiller


def test_branches_and_their_gate_train():
    """A gate that does not train makes the ensemble a plain mean."""
    x, y = data(32)
    distiller = branched_distiller(metrics=["accuracy"])
    distiller.train_on_batch(x, y)
    (gate,) = distiller.distillation_losses[0].layers
    before = values_of(gate.trainable_weights)
    history = fit_steps(distiller, x, y, steps=40)
    assert history["loss"][-1] < 0.6 * history["loss"][0]
    moved = values_of(gate.trainable_weights)
    assert all(np.abs(a - b).max() > 1e-3 for a, b in zip(before, moved, strict=True))
    assert "branch_2_accuracy" in history


def test_a_branch_is_a_plain_model(tmp_path):
    """What is deployed costs what the model cost before it was branched."""
    model = functional()
    branched = BranchedStudent.of(model, "low", 3)
    x, _ = data()
    first = branched.branch(0)
    assert first.count_params() == model.count_params()
    wanted = keras.ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(first(x)), wanted, rtol=1e-5)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(branched(x)[0]), wanted, rtol=1e-5
    )
    first.save(tmp_path / "branch.keras")
    assert b"keras_kd" not in (tmp_path / "branch.keras").read_bytes()


def seeded(**kwargs):
    """Return a model whose initialisers and dropout have seeds."""
    initializer = keras.initializers.GlorotUniform
    x = inputs = keras.Input((4,))
    x = keras.layers.Dense(8, kernel_initializer=initializer(seed=1), name="low")(x)
    inner = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(5, kernel_initializer=initializer(2))]
    )
    x = keras.layers.Dropout(0.5, seed=3)(inner(x))
    last = keras.layers.Dense(3, **{"kernel_initializer": initializer(4), **kwargs})
    return keras.Model(inputs, last(x))


def test_branches_of_a_seeded_model_differ():
    """Equal branches stay equal: three times the cost, and nothing to learn."""
    model = seeded()
    branches = BranchedStudent.of(model, "low", 3).branches
    assert_same(values_of(branches[0].weights), values_of(model.weights)[2:])
    kernels = [values_of(branch.weights)[::2] for branch in branches]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        for one, other in zip(kernels[first], kernels[second], strict=True):
            assert np.abs(one - other).min() > 0
    assert len({branch.layers[2].seed for branch in branches}) == 3
    again = BranchedStudent.of(model, "low", 3)  # a seed is there to be repeated
    assert_same(values_of(again.branches[2].weights), values_of(branches[2].weights))
    flat = keras.Model(
        model.input, keras.layers.Dense(3, "relu", False, "ones")(model.output)
    )
    with pytest.raises(ValueError, match="must have a random initialiser"):
        BranchedStudent.of(flat, model.layers[-1].name, 3)


def test_peers_that_share_a_layer():
    """Loaded from a file they would share nothing, and train another way."""
    inputs, shared = keras.Input((4,)), keras.layers.Dense(5, name="shared")
    first, second = (
        keras.Model(inputs, keras.layers.Dense(3)(shared(inputs)), name=name)
        for name in ("first", "second")
    )
    with pytest.raises(
        ValueError, match="'first' and 'second', which share the layer 'shared'"
    ):
        PeerGroup([first, second])
    act = keras.layers.ReLU()  # this and the inputs hold nothing
    first, second = (
        keras.Model(inputs, keras.layers.Dense(3)(act(keras.layers.Dense(5)(inputs))))
        for _ in range(2)
    )
    assert PeerGroup([first, second]).built


def test_peers_of_one_class_are_saved_and_go_on(tmp_path):
    """Where torch clears one peer's gradients only, the other's add up."""
    x, y = data()
    distiller = group_distiller([Subclassed(), Subclassed()])
    fit_steps(distiller, x, y, steps=2, shuffle=False)
    distiller.save(tmp_path / "d.keras")
    loaded = keras.saving.load_model(tmp_path / "d.keras")
    for each in (distiller, loaded):
        fit_steps(each, x, y, steps=3, shuffle=False)
    assert_same(values_of(loaded.student.weights), values_of(distiller.student.weights))


MAKE = {
    "mutual": lambda: group_distiller(
        [classifier(4), classifier(6)], optimizer=keras.optimizers.Adam(0.01)
    ),
    "collaborative": lambda: group_distiller(
        [classifier(4), classifier(6)],
        losses.CollaborativeDistillation("lowest_margin"),
        optimizer=keras.optimizers.Adam(0.01),
    ),
    "gated": branched_distiller,
}


@pytest.mark.parametrize("name", MAKE)
def test_a_saved_group_goes_on_bit_for_bit(tmp_path, name):
    """Peers that lose their state in the night are two other peers."""
    x, y = data()
    distiller = MAKE[name]()
    fit_steps(distiller, x, y, steps=2, shuffle=False)
    distiller.save(tmp_path / "d.keras")
    loaded = keras.saving.load_model(tmp_path / "d.keras")
    for each in (distiller, loaded):
        fit_steps(each, x, y, steps=2, shuffle=False)
    assert_same(values_of(loaded.variables), values_of(distiller.variables))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", MAKE)
def test_mixed_precision(name, policy):
    """Half precision must train as float32 does."""
    keras.config.set_dtype_policy(policy)
    try:
        distiller = MAKE[name]()
        x, y = data(32)
        history = fit_steps(distiller, x, y, steps=10)
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize("name", ROWS)
def test_extreme_logits_in_half_precision(name):
    """Logits of 10,000 in float16 are a bad start, and no end."""
    loss, _ = ROWS[name]
    z = (1e4 * np.sign(three())).astype("float16")
    step = keras_kd.StepContext(y=LABELS)

    def total(x):
        return keras.ops.sum(called(loss, None, [x[0], x[1], x[2]], step))

    value, gradient = value_and_gradient(total, z.astype("float32"))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_malformed():
    """Messages say what is wrong and what to do."""
    with pytest.raises(ValueError, match="`peers` must be a list of at least two"):
        PeerGroup([classifier()])
    with pytest.raises(ValueError, match="`peers` must all be Keras models"):
        PeerGroup([classifier(), print])
    shared = classifier()
    with pytest.raises(ValueError, match="must not hold the same model twice"):
        PeerGroup([shared, classifier(), shared])
    with pytest.raises(ValueError, match="`branches` must be a list"):
        BranchedStudent(classifier(), [classifier()])
    with pytest.raises(ValueError, match="`trunk` and `branches` must be Keras"):
        BranchedStudent(classifier(), [classifier(), 3])
    with pytest.raises(ValueError, match="`count` must be at least 2"):
        BranchedStudent.of(functional(), "low", 1)
    with pytest.raises(ValueError, match="`combine` must be one of"):
        losses.CollaborativeDistillation("worst")
    with pytest.raises(ValueError, match="`teachers` must be None or a list"):
        losses.MutualDistillation(teachers=["a"])
    x, y = data()
    with pytest.raises(ValueError, match="`teachers` must name some"):
        fit_steps(
            group_distiller(
                [classifier(), classifier()], losses.MutualDistillation(teachers=[2])
            ),
            x,
            y,
        )
    single = keras_kd.Distiller(None, classifier(), losses.MutualDistillation())
    single.compile("sgd", CROSSENTROPY)
    with pytest.raises(ValueError, match="needs the outputs of at least two"):
        fit_steps(single, x, y)
    unlike = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)])
    with pytest.raises(ValueError, match="classes"):
        fit_steps(group_distiller([classifier(), unlike]), x, y)
