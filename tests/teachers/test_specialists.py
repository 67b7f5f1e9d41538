"""Several teachers that answer different questions, and one student for all."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd
from keras_kd import losses
from keras_kd.teachers import Specialists

FEATURES = 4
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Counted(layers.Layer):
    """Counts how often it is run."""

    calls = 0

    def call(self, x):
        Counted.calls += 1
        return 3.0 * x


def array(x):
    return ops.convert_to_numpy(x)


def model(classes, seed=0, width=6):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((FEATURES,))
    x = layers.Dense(width, activation="tanh", name="hidden")(inputs)
    return keras.Model(inputs, Counted()(layers.Dense(classes, name="logits")(x)))


def heads(seed=0, **classes):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((FEATURES,))
    x = layers.Dense(6, activation="tanh", name="hidden")(inputs)
    return keras.Model(
        inputs, {name: layers.Dense(n, name=name)(x) for name, n in classes.items()}
    )


def x_of(count=24):
    return np.random.default_rng(0).normal(size=(count, FEATURES)).astype("float32")


def fitted(teacher, student, distillation, y=None, epochs=150):
    """Fit on the distillation alone; return the logs."""
    distiller = keras_kd.Distiller(
        teacher, student, distillation, student_loss_weight=0.0
    )
    distiller.compile(keras.optimizers.Adam(0.03))
    log = distiller.fit(x_of(), y, epochs=epochs, batch_size=8, verbose=0)
    return distiller, log.history


def test_answers_are_those_of_the_teachers():
    """In the order, or under the names, that were given."""
    x, teachers = x_of(), [model(3), model(2, 1)]
    for one, other in zip(Specialists(teachers)(x), teachers, strict=True):
        np.testing.assert_array_equal(array(one), array(other(x)))
    both = Specialists({"z": teachers[0], "rest": heads(b=2, a=4)})(x)
    assert {name: v.shape[-1] for name, v in both.items()} == {"z": 3, "a": 4, "b": 2}
    np.testing.assert_array_equal(array(both["z"]), array(teachers[0](x)))


@pytest.mark.parametrize("own_examples_only", [False, True])
def test_two_specialists_make_one_student(own_examples_only):
    """The student must order the classes of each as its teacher does."""
    parts = [[0, 3, 1], [4, 2]]
    teacher = Specialists([model(3), model(2, 1)])
    distillation = [
        losses.ClassSubsetDistillation(
            part,
            2.0,
            own_examples_only=own_examples_only,
            output=(place, None),
            name=f"part_{place}",
        )
        for place, part in enumerate(parts)
    ]
    student, y = model(5, 2, 16), np.arange(24) % 5
    before = [w.copy() for w in teacher.get_weights()]
    _, log = fitted(teacher, student, distillation, y)
    for place, part in enumerate(parts):
        assert log[f"part_{place}"][-1] < 0.2 * log[f"part_{place}"][0]
        rows = np.isin(y, part) if own_examples_only else np.full(24, True)
        wanted = array(teacher.teachers[place](x_of()))[rows].argmax(-1)
        got = array(student(x_of()))[rows][:, part].argmax(-1)
        assert (got == wanted).mean() > 0.85
    for one, other in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_heads_of_all_teach_a_student_of_several_tasks():
    """By the names of the heads, without a loss for each."""
    teacher = Specialists({"colour": model(3), "rest": heads(1, size=2, age=4)})
    student = heads(2, age=4, colour=3, size=2)
    distiller, log = fitted(teacher, student, keras_kd.LogitsDistillation(2.0))
    values = log["logits_distillation"]
    assert values[-1] < 0.2 * values[0]
    answers = teacher(x_of())
    for name, logits in student(x_of()).items():
        agree = array(logits).argmax(-1) == array(answers[name]).argmax(-1)
        assert agree.mean() > 0.8, name
    assert set(student(x_of())) == set(answers)


def test_a_layer_inside_a_specialist_is_tapped():
    """Features of one specialist may teach beside its answers."""
    teacher = Specialists({"colour": model(3), "size": model(2, 1)})
    student = heads(2, colour=3, size=2)
    loss = keras_kd.FeatureDistillation("mse", "teachers[1]/hidden", "hidden")
    _, log = fitted(teacher, student, [keras_kd.LogitsDistillation(2.0), loss])
    assert log["feature_distillation"][-1] < 0.5 * log["feature_distillation"][0]


def test_each_specialist_runs_once_a_step():
    """Two losses on one specialist must not run it twice."""
    teacher = Specialists([model(3), model(3, 1)])
    distillation = [
        losses.ClassSubsetDistillation([0, 1, 2], output=(0, None)),
        losses.ClassSubsetDistillation([2, 3, 4], output=(1, None)),
        keras_kd.FeatureDistillation("mse", "teachers[0]/hidden", "hidden"),
    ]
    distiller = keras_kd.Distiller(
        teacher, model(5), distillation, student_loss_weight=0.0
    )
    distiller.compile("adam", run_eagerly=True)
    distiller.train_on_batch(x_of())  # the checks of the first batch
    Counted.calls = 0
    distiller.train_on_batch(x_of())
    assert Counted.calls == 3


@pytest.mark.parametrize("form", ["list", "dict"])
def test_reloaded_specialists_give_the_same_answers(tmp_path, form):
    """A file that lost a member, or its name, would teach something else."""

    def plain(classes):
        return keras.Sequential([keras.Input((FEATURES,)), layers.Dense(classes)])

    members = [plain(3), plain(2)]
    if form == "list":
        teacher, student = Specialists(members), plain(5)
        loss = losses.ClassSubsetDistillation([0, 1, 2], output=(0, None))
    else:
        teacher = Specialists({"z": members[0], "a": members[1]})
        student, loss = heads(z=3, a=2), keras_kd.LogitsDistillation(2.0)
    distiller, _ = fitted(teacher, student, loss, epochs=1)
    distiller.save(tmp_path / "distiller.keras")
    again = keras.saving.load_model(tmp_path / "distiller.keras")
    one, other = teacher(x_of()), again.teacher(x_of())
    keras.tree.assert_same_structure(one, other)
    for left, right in zip(
        keras.tree.flatten(one), keras.tree.flatten(other), strict=True
    ):
        np.testing.assert_array_equal(array(left), array(right))
    assert [t.name for t in again.teacher.teachers] == [t.name for t in members]
    again.fit(x_of(), verbose=0)


def several(classes):
    inputs = keras.Input((FEATURES,))
    return keras.Model(inputs, [layers.Dense(classes)(inputs) for _ in range(2)])


WRONG = {
    "`teachers` must be a list or dict of at least two": lambda: Specialists(
        [model(3)]
    ),
    "`teachers` must all be Keras models": lambda: Specialists([model(3), len]),
    "keys of `teachers` must be strings": lambda: Specialists(
        {0: model(3), 1: model(2)}
    ),
    "different names.*head 'a' of the teacher 'a' and of the teacher 'rest'": lambda: (
        Specialists({"a": model(2), "rest": heads(a=2, b=3)})(x_of())
    ),
    "2 outputs without names of the teacher 'b'": lambda: Specialists(
        {"a": model(2), "b": several(2)}
    )(x_of()),
}


@pytest.mark.parametrize(("message", "make"), WRONG.items())
def test_wrong_arguments_are_named(message, make):
    """By the name of the argument, or of the teacher that does not fit."""
    with pytest.raises(ValueError, match=message):
        make()


def test_a_head_known_twice_is_named_in_a_fit():
    """Without a word about inputs, which are not to blame."""
    teacher = Specialists({"a": model(2), "rest": heads(a=2)})
    with pytest.raises(ValueError, match="^The heads of specialists must have"):
        fitted(teacher, heads(a=2), keras_kd.LogitsDistillation(2.0))
