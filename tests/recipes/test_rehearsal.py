"""What is wrong in a later stage shows before the first one trains."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd
from keras_kd import losses, recipes
from tests.recipes.settings import CROSSENTROPY, build, data, tasks, teacher, training


def unnamed(classes):
    return keras.Sequential(
        [keras.Input((6,)), layers.Dense(8), layers.Dense(classes, name="logits")]
    )


def by_three_teachers(teacher, student):
    return keras_kd.Distiller(
        teacher, student, losses.TeacherDroppingDistillation(3), student_loss_weight=0.1
    )


def phases(*made):
    return lambda made_training, **given: recipes.stage_wise(
        lambda: build(8, depth=2),
        teacher(),
        [recipes.Phase(lambda: keras_kd.LogitsDistillation(2.0)), *made],
        made_training,
        **given,
    )


def features(**changes):
    """Return a phase that compares the first block: of equal width, no projector."""
    loss = losses.FeatureDistillation
    return recipes.Phase(lambda: loss("mse", "block_0", "block_0"), **changes)


def chain(*builds):
    return lambda made, **given: recipes.assistant_chain(builds, made, **given)


def no_loss(model):
    model.compile("adam", CROSSENTROPY, metrics=["no_such_metric"])


LATER = {
    "cannot take over.*Name all layers": lambda made, **given: (
        recipes.learn_without_forgetting(unnamed, tasks(), made, **given)
    ),
    r"as many logits as it is asked for. Received: build\(2\).* with 4 logits": (
        lambda made, **given: recipes.learn_without_forgetting(
            lambda classes: build(), tasks(), made, **given
        )
    ),
    "labels from 0 to 3": chain(build, build, lambda: build(8, classes=3)),
    "3 teachers|num_teachers": lambda made, **given: recipes.ensemble(
        [build] * 2, build, made, distil=by_three_teachers, **given
    ),
    "No layer 'dense_9'": phases(features(trainable=["dense_9"])),
    "`trainable` must name layers that have weights": phases(
        features(trainable=["block_0"])
    ),
    "No layer 'block_7'": phases(
        recipes.Phase(lambda: losses.FeatureDistillation("mse", "block_7", "block_0"))
    ),
    "must have layers of the same name": lambda made, **given: recipes.grow(
        [build, build, lambda: keras.Sequential([keras.Input((6,)), layers.Dense(4)])],
        made,
        **given,
    ),
    "no_such_metric": lambda made, **given: recipes.born_again(
        build, training(compile=no_loss), **given
    ),
    "`build` must return a Keras model": chain(build, build, lambda: None),
}


@pytest.mark.parametrize("message", LATER)
def test_nothing_is_trained_before_all_stages_fit(message, tmp_path, monkeypatch):
    """A message after the first stage comes hours too late."""
    monkeypatch.setattr(keras.Model, "fit", None)
    with pytest.raises(ValueError, match=message) as caught:
        LATER[message](training(), directory=tmp_path, verbose=0)
    assert not list(tmp_path.iterdir())
    if "asked for" not in message:
        assert "before any training of the recipe" in "".join(caught.value.__notes__)


def distant(student_loss_weight=0.0, **changes):
    return phases(
        features(
            trainable=["dense_1", "logits"],
            student_loss_weight=student_loss_weight,
            **changes,
        )
    )


def test_a_training_without_gradient_is_refused(tmp_path):
    """Hours of epochs, after which the student is what it was."""
    teacher_of_equal_width = build(8, depth=2)

    def run(*made, **changes):
        recipes.stage_wise(
            lambda: build(8, depth=2),
            teacher_of_equal_width,
            made,
            training(epochs=1, **changes),
            directory=tmp_path,
            verbose=0,
        )

    above = ["dense_1", "logits"]
    with pytest.raises(ValueError, match="without gradient.*logits.*change none of"):
        run(features(trainable=above))
    with pytest.raises(ValueError, match="all of whose losses weigh 0"):
        run(features(distillation_weight=0.0))

    def frozen():
        model = build()
        model.trainable = False
        return model

    with pytest.raises(ValueError, match="which has no trainable weights"):
        recipes.born_again(frozen, training(), directory=tmp_path, verbose=0)
    with pytest.raises(ValueError, match="without gradient"):
        recipes.Run(tmp_path, "own", verbose=0).stage(
            "one",
            lambda: build(8, depth=2),
            training(),
            lambda student: features().distiller(teacher_of_equal_width, student),
            recipes.progressive._only(above),
        )
    assert not list(tmp_path.iterdir())
    # Labels reach them, and so does a weight that rises from 0.
    run(features(trainable=above, student_loss_weight=0.5))


def test_a_weight_that_rises_from_zero_is_no_training_without_gradient(tmp_path):
    """A warm-up begins with 0."""
    rising = keras.optimizers.schedules.PolynomialDecay(0.0, 4, 1.0)
    stages = recipes.stage_wise(
        build,
        teacher(),
        [
            recipes.Phase(
                lambda: keras_kd.LogitsDistillation(2.0), distillation_weight=rising
            )
        ],
        training(epochs=1),
        directory=tmp_path,
        verbose=0,
    )
    assert len(stages) == 1


def test_the_check_leaves_no_trace_in_the_teacher(tmp_path):
    """The students that it moves are its own."""
    given = teacher()
    before = given.get_weights()
    with pytest.raises(ValueError, match="without gradient"):
        recipes.stage_wise(
            lambda: build(16, depth=2),
            given,
            [features(trainable=["dense_1"])],
            training(),
            directory=tmp_path,
            verbose=0,
        )
    for old, new in zip(before, given.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_labels_that_only_later_rows_have_are_checked(tmp_path):
    """The first batch says nothing of a class that comes in the last one."""
    x, y = data()
    y = np.where(np.arange(len(y)) == 40, 9, y)
    with pytest.raises(ValueError, match="classes from 0 to 3.*labels from 0 to 9"):
        recipes.born_again(
            build, training(x=x, y=y), directory=tmp_path / "runs", verbose=0
        )
