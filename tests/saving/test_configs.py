"""Every public object tells in JSON what it is made of, and is made again from that."""

import inspect
import json

import keras
import numpy as np
import pytest
from keras import layers
from keras.optimizers import schedules
from keras.saving import (
    deserialize_keras_object,
    load_model,
    serialize_keras_object,
)

import keras_kd
from tests.saving import runs
from tests.saving.loss_table import LOSSES, absolute_gap


def again(thing):
    """Return an object as it comes back from the JSON of a file."""
    return deserialize_keras_object(
        json.loads(json.dumps(serialize_keras_object(thing)))
    )


def without_identities(config):
    """Leave out what tells two equal objects apart within one file."""
    if isinstance(config, dict):
        kept = {k: v for k, v in config.items() if k != "shared_object_id"}
        return {key: without_identities(value) for key, value in kept.items()}
    if isinstance(config, (list, tuple)):
        return [without_identities(value) for value in config]
    return config


def assert_same_config(one, other):
    configs = [
        without_identities(json.loads(json.dumps(serialize_keras_object(thing))))
        for thing in (one, other)
    ]
    assert configs[0] == configs[1]


@pytest.mark.parametrize("name", LOSSES)
def test_loss_with_all_arguments(name):
    """An argument lost on the way would change the training without a word."""
    loss = LOSSES[name]()
    back = again(loss)
    assert type(back) is type(loss)
    assert back.name == loss.name
    assert_same_config(loss, back)
    config = loss.get_config()
    for argument, parameter in inspect.signature(type(loss)).parameters.items():
        assert argument in config, f"{argument} is not in the config"
        assert config[argument] != parameter.default or argument == "projector"


def test_every_public_loss_is_in_the_table():
    """A loss added later must not be forgotten here."""
    public = {
        value
        for value in vars(keras_kd.losses).values()
        if inspect.isclass(value) and issubclass(value, keras_kd.DistillationLoss)
    }
    covered = {type(make()) for make in LOSSES.values()}
    assert public - {keras_kd.DistillationLoss} == covered


@keras.saving.register_keras_serializable(package="tests_saving")
class Scaled(keras_kd.DistillationLoss):
    """A user's loss around another one, without a config of its own."""

    temperature = keras_kd.Hyperparameter(above=0)

    def __init__(self, inner, factors=(1.0, 2.0), temperature=1.0, *, name=None):
        super().__init__(name=name)
        self.inner, self.factors, self.temperature = inner, factors, temperature


def test_a_loss_of_ones_own_needs_no_config():
    """Who forgets one argument in `get_config` would load another loss."""
    decay = schedules.ExponentialDecay(4.0, 100, 0.5)
    loss = Scaled(LOSSES["logits"](), (3.0, 4.0), decay, name="mine")
    back = again(loss)
    assert_same_config(loss, back)
    assert_same_config(loss.inner, back.inner)
    assert (back.name, list(back.factors)) == ("mine", [3.0, 4.0])
    assert back.temperature.get_config() == decay.get_config()


def kinds():
    """List the classes that can be made without any argument."""
    made = {type(make()) for make in LOSSES.values()}
    return [
        kind
        for kind in sorted(made, key=lambda kind: kind.__name__)
        if all(
            parameter.default is not parameter.empty
            for parameter in inspect.signature(kind).parameters.values()
        )
    ]


@pytest.mark.parametrize("kind", kinds())
def test_default_arguments(kind):
    """The plain loss is what most people save."""
    loss = kind()
    back = again(loss)
    assert back.name == loss.name
    assert_same_config(loss, back)


def test_loss_computes_the_same_after_the_round_trip():
    """A config may look right and build something else."""
    rng = np.random.default_rng(5)
    teacher, student = rng.normal(size=(2, 4, 3)).astype("float32")
    for divergence in (
        keras_kd.Divergence("jensen_shannon_divergence", beta=0.2),
        keras_kd.Divergence("skew_reverse_kl_divergence", alpha=0.4),
        keras.losses.CategoricalFocalCrossentropy(gamma=3.0, from_logits=True),
        absolute_gap,
        "total_variation_distance",
    ):
        loss = keras_kd.LogitsDistillation(1.7, divergence, standardize=True)
        values = [
            float(one.compute_loss(teacher, student)) for one in (loss, again(loss))
        ]
        assert values[0] == values[1]


@pytest.mark.parametrize(
    "thing",
    [
        keras_kd.Divergence("kl_divergence"),
        keras_kd.Divergence("jensen_shannon_divergence", beta=0.25),
        keras_kd.Divergence("skew_kl_divergence", alpha=0.4),
        keras_kd.Tap("a/b"),
        keras_kd.Tap("a/b", call=-2, of="input"),
        keras_kd.Tap("a/b", of="attention"),
        keras_kd.Output(),
        keras_kd.Output("digit"),
        keras_kd.Output(2),
    ],
    ids=repr,
)
def test_small_objects(thing):
    """They stand inside of the losses' configs."""
    back = again(thing)
    assert type(back) is type(thing)
    assert vars(back).keys() == vars(thing).keys()
    assert back.get_config() == thing.get_config()


def test_divergence_keeps_its_numbers():
    """beta and alpha decide between mode-covering and mode-seeking."""
    back = again(keras_kd.Divergence("jensen_shannon_divergence", beta=0.25))
    assert back.parameters == {"beta": 0.25}


def full_distiller():
    """A Distiller with every argument set, and layer objects for addresses."""
    teacher, student = runs.make_teacher(), runs.make_student()
    return keras_kd.Distiller(
        teacher,
        student,
        [
            keras_kd.LogitsDistillation(schedules.ExponentialDecay(4.0, 5, 0.8)),
            keras_kd.FeatureDistillation(
                "mse",
                teacher.get_layer("features"),
                keras_kd.Tap(student.get_layer("features")),
            ),
            keras_kd.AttentionTransfer(
                keras_kd.Tap(teacher.get_layer("features"), of="input"),
                student.get_layer("features"),
            ),
        ],
        [0.25, schedules.CosineDecay(1.0, 10), 2],
        schedules.PiecewiseConstantDecay([5], [0.1, 0.9]),
        "all_of_it",
        distillation_weight=0.75,
        teacher_inputs=runs.halved,
        student_inputs=runs.halved,
        evaluate_distillation=False,
        save_teacher=True,
    )


def test_distiller_with_all_arguments():
    """What the constructor took must come back, schedules and functions included."""
    distiller = full_distiller()
    config = distiller.get_config()
    arguments = set(inspect.signature(keras_kd.Distiller).parameters) - {"kwargs"}
    assert arguments <= set(config)
    back = again(distiller)
    assert_same_config(distiller, back)
    assert back.name == "all_of_it"
    assert back.distillation_weight == 0.75
    assert back.distillation_loss_weights[0] == 0.25
    assert isinstance(back.distillation_loss_weights[1], schedules.CosineDecay)
    assert isinstance(back.student_loss_weight, schedules.PiecewiseConstantDecay)
    temperature = back.distillation_losses[0].temperature
    assert isinstance(temperature, schedules.ExponentialDecay)
    assert back.teacher_inputs is back.student_inputs is runs.halved
    assert back.evaluate_distillation is False
    assert type(back.teacher) is type(distiller.teacher)


def test_layer_objects_become_paths():
    """A layer object would be saved as a second layer that no forward pass calls."""
    config = full_distiller().get_config()
    features, maps = (loss["config"] for loss in config["distillation_losses"][1:])
    assert features["teacher_layer_name"] == "features"
    assert features["student_layer_name"]["config"]["layer"] == "features"
    assert maps["teacher_layer_name"]["config"]["layer"] == "features"
    assert maps["student_layer_name"] == "features"


def test_layer_objects_inside_of_blocks(tmp_path):
    """The path must lead to the very layer, also where names repeat."""

    def model(width):
        blocks = [
            keras.Sequential([layers.Dense(width, name="dense")], name=name)
            for name in ("first", "second")
        ]
        return keras.Sequential([keras.Input((4,)), *blocks])

    teacher, student = model(3), model(2)
    tapped = teacher.get_layer("second").get_layer("dense")
    hint = keras_kd.FeatureDistillation("mse", tapped, student.get_layer("second"))
    distiller = keras_kd.Distiller(teacher, student, hint)
    distiller.compile("sgd")
    x = np.ones((4, 4), "float32")
    distiller.fit(x, verbose=0)
    distiller.save(tmp_path / "distiller.keras")
    loaded = load_model(tmp_path / "distiller.keras")
    config = loaded.distillation_losses[0].get_config()
    assert config["teacher_layer_name"] == "second/dense"
    assert config["student_layer_name"] == "second"
    losses = [
        one.evaluate(x, verbose=0, return_dict=True)["feature_distillation"]
        for one in (distiller, loaded)
    ]
    assert losses[0] == losses[1]


def test_lambda_is_refused_at_loading(tmp_path):
    """An error must come, as Keras cannot find it again, and no other function."""
    given = runs.make_distiller()
    distiller = keras_kd.Distiller(
        given.teacher,
        given.student,
        keras_kd.LogitsDistillation(),
        student_inputs=lambda x: 0.25 * x,
    )
    with pytest.warns(UserWarning, match="lambda"):
        distiller.save(tmp_path / "distiller.keras")
    with pytest.raises(ValueError, match="lambda"):
        load_model(tmp_path / "distiller.keras")


def test_assigned_values_are_saved(tmp_path):
    """What was changed by hand during a training counts, not what it began with."""
    distiller = runs.make_distiller()
    distiller.student_loss_weight = 0.125
    distiller.distillation_loss_weights[1] = 7.0
    distiller.distillation_losses[0].temperature = 9.0
    distiller.save(tmp_path / "distiller.keras")
    loaded = load_model(tmp_path / "distiller.keras")
    assert loaded.student_loss_weight == 0.125
    assert loaded.distillation_loss_weights[1] == 7.0
    assert loaded.distillation_losses[0].temperature == 9.0
    values = {name: v for (_, name), v in loaded._engine.values.at(0).items()}
    assert float(values["temperature"]) == 9.0
    assert float(values["student_loss_weight"]) == 0.125


def own_inputs(x):
    return 0.5 * x


def own_activation(x):
    return keras.ops.relu(x)


@pytest.mark.parametrize("how", ["argument", "load_distiller", "scope"])
def test_functions_of_ones_own_are_found_in_custom_objects(how, tmp_path):
    """Keras loads a model with them; inside of a Distiller it must do so too."""
    student = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, activation=own_activation)]
    )
    teacher = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    distiller = keras_kd.Distiller(
        teacher, student, keras_kd.LogitsDistillation(), student_inputs=own_inputs
    )
    path, x = tmp_path / "distiller.keras", np.ones((2, 4), "float32")
    wanted = distiller.predict(x, verbose=0)
    distiller.save(path)
    found = {"own_inputs": own_inputs, "own_activation": own_activation}
    if how == "scope":
        with keras.saving.custom_object_scope(found):
            loaded = keras.saving.load_model(path)
    else:
        load = {"argument": keras.saving.load_model}.get(how, keras_kd.load_distiller)
        loaded = load(path, custom_objects=found)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), wanted)
