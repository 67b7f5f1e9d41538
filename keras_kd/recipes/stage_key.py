"""What a stage follows from: by this a directory knows it again."""

import inspect
import json
from typing import Any

import keras
import numpy as np

from keras_kd.data import ShuffledBatches
from keras_kd.distiller import Distiller
from keras_kd.recipes.description import (
    describe,
    digest,
    is_array,
    is_plain,
    model_config,
    weights_digest,
)
from keras_kd.recipes.training import Training

# What stands around the values in a description, and tells a reader nothing.
_FRAMES = ("config", "attributes")
# They look on, and change no weight.
_OBSERVERS = (
    keras.callbacks.BackupAndRestore,
    keras.callbacks.CSVLogger,
    keras.callbacks.History,
    keras.callbacks.LambdaCallback,
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.ProgbarLogger,
    keras.callbacks.RemoteMonitor,
    keras.callbacks.TensorBoard,
)


def stage_key(
    training: Training,
    model: keras.Model,
    student: keras.Model,
    settings: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return all that the result of a stage depends on, but for the number of epochs.

    Args:
        training: How the stage trains.
        model: The compiled model that it trains: the student, or its Distiller.
        student: The student, with the weights that it begins with.
        settings: What else it depends on.

    Returns:
        A description of each part, by the name that messages call it.
    """
    return {
        "`x`": _data(training.x, training.epochs),
        "`y`": _short(training.y),
        "`sample_weight`": _short(training.sample_weight),
        "`validation_data`": _data(training.validation_data, training.epochs),
        "`class_weight`": describe(training.class_weight),
        "`batch_size`": training.batch_size,
        "`seed`": training.seed,
        "`callbacks`": _callbacks(training),
        "backend": keras.config.backend(),
        "`student`": digest(model_config(student)),
        "`student` weights": weights_digest(student.weights),
        **_distillation(model),
        **_compiled(model),
        **{f"`{key}`": _short(value) for key, value in (settings or {}).items()},
    }


def differences(found: dict[str, Any], given: dict[str, Any]) -> list[str]:
    """Name the parts in which two keys differ, with their values where these are short.

    Args:
        found: The key that a directory holds.
        given: The key of what is asked for.
    """
    return [
        _difference(name, found.get(name), given.get(name))
        for name in _differing(found, given)
    ]


def _differing(found: dict[str, Any], given: dict[str, Any]) -> list[str]:
    return [
        name
        for name in {**found, **given}
        # As text, in which what is not a number is equal to itself.
        if json.dumps(found.get(name)) != json.dumps(given.get(name))
    ]


def _difference(name: str, found: Any, given: Any) -> str:
    if isinstance(found, dict) and isinstance(given, dict):
        key = _differing(found, given)[0]
        inner = name if key in _FRAMES else f"{name} {key}"
        return _difference(inner, found.get(key), given.get(key))
    if isinstance(found, list) and isinstance(given, list) and len(found) == len(given):
        pairs = zip(found, given, strict=True)
        index = next(i for i, (one, other) in enumerate(pairs) if one != other)
        return _difference(f"{name}[{index}]", found[index], given[index])
    shown = [value for value in (found, given) if not isinstance(value, (dict, list))]
    if len(shown) < 2 or any(len(str(value)) >= 64 for value in shown):
        return name
    return f"{name} ({found!r} there, {given!r} now)"


def _short(value: Any) -> Any:
    """Describe a value, by its hash where the description is long."""
    described = describe(value)
    return described if len(str(described)) < 200 else digest(value)


def _distillation(model: keras.Model) -> dict[str, Any]:
    if not isinstance(model, Distiller):
        return {}
    teacher = model.teacher
    is_model = isinstance(teacher, keras.layers.Layer)
    return {
        # A function, in place of its configuration, with the weights that it holds.
        "`teacher`": digest(model_config(teacher) if is_model else describe(teacher)),
        "`teacher` weights": weights_digest(teacher.weights) if is_model else None,
        "`distillation_losses`": describe(model.distillation_losses),
        "`distillation_loss_weights`": describe(list(model.distillation_loss_weights)),
        "`student_loss_weight`": describe(model.student_loss_weight),
        "`distillation_weight`": describe(model.distillation_weight),
        "`teacher_inputs`": describe(model.teacher_inputs),
        "`student_inputs`": describe(model.student_inputs),
    }


def _compiled(model: keras.Model) -> dict[str, Any]:
    try:
        compiled = describe(dict(model.get_compile_config()))
    except Exception:  # whatever `get_config` of a user's loss or metric raises
        compiled = {}
    return {
        "optimizer": describe(model.optimizer),
        "task loss": describe(model.loss),
        "`loss_weights`": compiled.get("loss_weights"),
        "`metrics`": [compiled.get(k) for k in ("metrics", "weighted_metrics")],
    }


def _callbacks(training: Training) -> Any:
    """Describe the callbacks that train; one's own say so by a `get_config`."""
    made = [] if training.callbacks is None else list(training.callbacks())
    return [
        _callback(callback, training.epochs)
        for callback in made
        if not isinstance(callback, _OBSERVERS)
        and (_is_known(callback) or hasattr(callback, "get_config"))
    ]


def _is_known(callback: Any) -> bool:
    kind = type(callback)
    is_base = kind is keras.callbacks.Callback
    return not is_base and kind.__module__.split(".")[0] in ("keras", "keras_kd")


def _callback(callback: Any, epochs: int) -> Any:
    if not _is_known(callback):
        return describe(callback)
    held = {
        key: value
        for key, value in vars(callback).items()
        if key != "verbose" and not key.startswith("_") and is_plain(value)
    }
    schedule = getattr(callback, "schedule", None)
    if isinstance(callback, keras.callbacks.LearningRateScheduler):
        # By what it returns: it is most often written as a lambda.
        both = len(inspect.signature(callback.schedule).parameters) > 1
        rates = [(epoch, 1.0) if both else (epoch,) for epoch in range(epochs)]
        schedule = [float(callback.schedule(*rate)) for rate in rates]
    return describe([type(callback).__qualname__, held, schedule])


def _data(data: Any, epochs: int) -> Any:
    """Describe arrays by their content, and a data set by what it gives."""
    parts = keras.tree.flatten(data)
    if all(part is None or is_array(part) for part in parts):
        return _short(data)
    if not callable(data) or isinstance(data, keras.utils.PyDataset):
        return _data_set(lambda: data, epochs)
    return _data_set(lambda: data(0), epochs)


def _data_set(make: Any, epochs: int) -> Any:
    data = make()
    kind = type(data).__qualname__
    if isinstance(data, ShuffledBatches):
        orders = [data.order(epoch) for epoch in (0, epochs - 1)]
        batch = data[0] if len(data) else None
        return {"kind": kind, "content": digest([_parts_of(data), orders, batch])}
    if make() is data and _iterator_of(data) is data:
        return {"kind": kind}  # what is read of it once is gone
    first, again = (batch_of(held) for held in (data, make()))
    if digest(first) == digest(again):
        return {"kind": kind, "content": digest(first)}
    # In another order each time: what is in it cannot be told.
    return {"kind": kind, "form": describe(keras.tree.map_structure(_form, first))}


def _parts_of(batches: ShuffledBatches) -> dict[str, Any]:
    """Return what a data set of ours is made of."""
    names = ("x", "y", "sample_weight", "batch_size", "seed", "augment", "group")
    return {name: getattr(batches, name) for name in names}


def _iterator_of(data: Any) -> Any:
    """Return the iterator of a data set, or None where it is read by index."""
    return None if isinstance(data, keras.utils.PyDataset) else iter(data)


def batch_of(data: Any) -> Any:
    """Return the first batch of a data set, in arrays."""
    batch = data[0] if isinstance(data, keras.utils.PyDataset) else next(iter(data))
    return keras.tree.map_structure(
        lambda part: None if part is None else np.asarray(part), batch
    )


def _form(part: Any) -> Any:
    return None if part is None else [str(part.dtype), *part.shape[1:]]
