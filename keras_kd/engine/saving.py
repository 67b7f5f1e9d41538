"""What a Distiller's file says of it, and how it is read back."""

import copy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from keras_kd._backend.shared_layers import moved_on
from keras_kd.engine.engine import Engine
from keras_kd.hyperparameters import from_config, to_config
from keras_kd.signals.specs import decode_specs, encode_specs
from keras_kd.teachers.base import Teacher


# `keras.saving.load_model` calls `from_config` and has no argument to hand a teacher
# over by.
class _Loading(threading.local):
    teacher: Any = None


_loading = _Loading()
_FUNCTIONS = ("teacher_inputs", "student_inputs", "sample_ids", "padding_mask")
_BUILD_CONFIG = "build_config"


def load_distiller(
    filepath: Any,
    teacher: Any = None,
    *,
    custom_objects: dict[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Any:
    """Load a Distiller, with a teacher that its file does not hold.

    `keras.saving.load_model` does where the file holds the teacher.

    Args:
        filepath: The `.keras` file.
        teacher: The teacher to go on with. None to take the one of the file.
        custom_objects: As in `keras.saving.load_model`.
        compile: As in `keras.saving.load_model`.
        safe_mode: As in `keras.saving.load_model`.

    Returns:
        The Distiller, compiled and ready to go on where it stopped.

    Raises:
        ValueError: The file holds no teacher and none is given.

    Example:
    ```python
    distiller.save("distiller.keras")  # built with save_teacher=False
    distiller = keras_kd.load_distiller("distiller.keras", teacher=teacher)
    distiller.fit(x, y, initial_epoch=3, epochs=10)
    ```
    """
    with _teacher_for_loading(teacher):
        return keras.saving.load_model(
            filepath,
            custom_objects=custom_objects,
            compile=compile,
            safe_mode=safe_mode,
        )


@contextmanager
def _teacher_for_loading(teacher: Any) -> Iterator[None]:
    outer = _loading.teacher
    _loading.teacher = teacher
    try:
        yield
    finally:
        _loading.teacher = outer


def config_of(distiller: Any, engine: Engine) -> dict[str, Any]:
    """Return what the constructor of a Distiller takes, in JSON form."""
    serialize = keras.saving.serialize_keras_object
    saves, has_teacher = saves_teacher(distiller, engine), engine.teacher is not None
    return {
        "teacher": serialize(distiller.teacher) if saves else None,
        "asks_for_teacher": has_teacher and not saves,
        "student": serialize(distiller.student),
        "distillation_losses": [
            serialize(loss) for loss in distiller.distillation_losses
        ],
        "distillation_loss_weights": [
            to_config(weight) for weight in distiller.distillation_loss_weights
        ],
        "student_loss_weight": to_config(distiller.student_loss_weight),
        "distillation_weight": to_config(distiller.distillation_weight),
        **{name: serialize(getattr(distiller, name)) for name in _FUNCTIONS},
        "evaluate_distillation": distiller.evaluate_distillation,
        "save_teacher": distiller.save_teacher,
    }


def saves_teacher(distiller: Any, engine: Engine) -> bool:
    """Say whether the Distiller's file describes the teacher.

    One that training has changed cannot be had from elsewhere.
    """
    teacher = engine.teacher
    if teacher is None:
        return False
    wanted = distiller.save_teacher or teacher.follows_student
    return wanted and is_serialisable(teacher.given())


def holds_teacher(distiller: Any, engine: Engine) -> bool:
    """Say whether the file holds the teacher's weights beside its `state`."""
    return (
        saves_teacher(distiller, engine)
        and engine.teacher is not None
        and not engine.teacher.state
    )


def arguments_from(config: dict[str, Any]) -> dict[str, Any]:
    """Return the constructor's arguments for what `config_of` returned.

    Raises:
        ValueError: The file holds no teacher, and `load_distiller` was given none.
    """
    config = dict(config)
    # A copy, because Keras takes a model's config apart when it builds the model.
    saved = copy.deepcopy(config["teacher"])
    for key in ("teacher", "student", *_FUNCTIONS):
        if key in config:
            if key == "student":
                config[key] = moved_on(config[key], saved, config["teacher"])
            config[key] = keras.saving.deserialize_keras_object(config[key])
    config["distillation_losses"] = [
        keras.saving.deserialize_keras_object(loss)
        for loss in config["distillation_losses"]
    ]
    config["distillation_loss_weights"] = [
        from_config(weight) for weight in config["distillation_loss_weights"]
    ]
    for key in ("student_loss_weight", "distillation_weight"):
        config[key] = from_config(config.get(key))
    asks = config.pop("asks_for_teacher", False)
    given = _loading.teacher
    if given is not None:
        # The file's weights of its own teacher, if any, must not reach this one.
        config.update(teacher=given, save_teacher=False)
    elif asks:
        raise ValueError(
            "The file of this Distiller holds no teacher (`save_teacher=False`, or a "
            "teacher that cannot be serialised). Received: no teacher. Load it with "
            "`keras_kd.load_distiller(filepath, teacher=teacher)`."
        )
    return config


def build_optimizer(distiller: Any, engine: Engine) -> None:
    """Make room for the optimizer's state, once all that it trains is there."""
    # Before the first batch there may be projectors to come.
    complete = engine.objective.signal_specs is not None
    if not complete or not distiller.compiled or distiller.optimizer is None:
        return
    if not distiller.optimizer.built:
        distiller.optimizer.build(distiller.trainable_variables)


def build_config_of(engine: Engine) -> dict[str, Any] | None:
    """Return the shapes of the signals in JSON form, once they are known."""
    if engine.objective.signal_specs is None:
        return None
    return {"signals": encode_specs(engine.objective.signal_specs)}


def build_losses(engine: Engine, config: dict[str, Any]) -> None:
    """Create the layers of the losses for the shapes of `build_config_of`."""
    engine.objective.bind(engine.teacher_network, engine.student.network())
    engine.objective.build(decode_specs(config["signals"]))
    engine.find_parts()


def save_seeds(distiller: Any, engine: Engine, store: Any) -> None:
    """Save the seeds, without which a resumed run draws other dropout masks.

    A file of weights has no place for the shapes of the signals, from which the
    projectors are rebuilt: they go the same way.
    """
    for index, seed in enumerate(_seeds(distiller)):
        store[str(index)] = seed
    for name, variable in _teacher_variables(distiller, engine):
        store[name] = variable
    build_config = build_config_of(engine)
    if build_config is not None:
        text = json.dumps(build_config).encode()
        store[_BUILD_CONFIG] = np.frombuffer(text, "uint8")


def load_seeds(distiller: Any, engine: Engine, store: Any) -> None:
    """Load the seeds, and make room for the projectors and the optimizer's state.

    Keras fills in what is there, and passes over what is not.
    """
    if _BUILD_CONFIG in store and engine.objective.signal_specs is None:
        text = np.array(store[_BUILD_CONFIG]).tobytes()
        build_losses(engine, json.loads(text))
        distiller.built = True
    build_optimizer(distiller, engine)
    for index, seed in enumerate(_seeds(distiller)):
        if str(index) in store:
            seed.assign(store[str(index)])
    for name, variable in _teacher_variables(distiller, engine):
        if name in store:
            variable.assign(store[name])


def _teacher_variables(distiller: Any, engine: Engine) -> list[tuple[str, Any]]:
    """List what a teacher reads that is no Keras layer, which Keras does not save."""
    teacher = engine.teacher
    if teacher is None or teacher.given() is not teacher:
        return []
    if not saves_teacher(distiller, engine) or teacher.state:
        return []
    return [(f"teacher_{n}", v) for n, v in enumerate(teacher.frozen_variables)]


def _seeds(distiller: Any) -> list[keras.Variable]:
    weights = {id(variable) for variable in distiller.weights}
    return [v for v in distiller.variables if id(v) not in weights]


def is_serialisable(teacher: Any) -> bool:
    """Say whether a `.keras` file can hold what a user gave as a teacher."""
    if not isinstance(teacher, (keras.layers.Layer, Teacher)):
        return False
    try:
        keras.saving.serialize_keras_object(teacher)
    except Exception:  # whatever `get_config` of a user's class raises
        return False
    return True
