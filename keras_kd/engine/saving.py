"""What a Distiller's file says of it, and how it is read back."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_kd.hyperparameters import from_config, to_config

# A mixin that stands before `keras.Model` among the bases of the Distiller.
if TYPE_CHECKING:
    from keras import Model as Saved
else:
    Saved = object

_loading = threading.local()
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
    outer = getattr(_loading, "teacher", None)
    _loading.teacher = teacher
    try:
        yield
    finally:
        _loading.teacher = outer


def config_of(distiller: Any) -> dict[str, Any]:
    """Return what the constructor of a Distiller takes, in JSON form."""
    serialize = keras.saving.serialize_keras_object
    has_teacher = distiller.teacher is not None
    return {
        "teacher": serialize(distiller.teacher) if distiller.saves_teacher else None,
        "asks_for_teacher": has_teacher and not distiller.saves_teacher,
        "student": serialize(distiller.student),
        "distillation_losses": [
            serialize(loss) for loss in distiller.distillation_losses
        ],
        "distillation_loss_weights": [
            to_config(weight) for weight in distiller.distillation_loss_weights
        ],
        "student_loss_weight": to_config(distiller.student_loss_weight),
        "distillation_weight": to_config(distiller.distillation_weight),
        "teacher_inputs": serialize(distiller.teacher_inputs),
        "student_inputs": serialize(distiller.student_inputs),
        "evaluate_distillation": distiller.evaluate_distillation,
        "save_teacher": distiller.save_teacher,
    }


def arguments_from(config: dict[str, Any]) -> dict[str, Any]:
    """Return the constructor's arguments for what `config_of` returned.

    Raises:
        ValueError: The file holds no teacher, and `load_distiller` was given none.
    """
    config = dict(config)
    for key in ("teacher", "student", "teacher_inputs", "student_inputs"):
        if key in config:
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
    given = getattr(_loading, "teacher", None)
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


class SavedDistiller(Saved):
    """The part of the Distiller that writes it to a file and reads it back."""

    @property
    def saves_teacher(self) -> bool:
        """Whether the Distiller's file holds the teacher.

        One that training has changed cannot be had from elsewhere.
        """
        wanted = self.save_teacher or getattr(self.teacher, "changes", False)
        return wanted and is_serialisable(self.teacher)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("autocast", None)
        return {**config, **config_of(self)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        with keras.saving.custom_object_scope(custom_objects or {}):
            return cls(**arguments_from(config))

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as the saved Distiller was, and make room for its optimizer state."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self._build_optimizer()

    def _build_optimizer(self) -> None:
        # Before the first batch there may be projectors to come.
        complete = self.objective.signal_specs is not None
        optimizer = getattr(self, "optimizer", None)
        if complete and optimizer is not None and not optimizer.built:
            optimizer.build(self.trainable_variables)

    def get_build_config(self) -> dict[str, Any] | None:
        """Return the shapes of the signals, from which the projectors are rebuilt."""
        if self.objective.signal_specs is None:
            return None
        return {"signals": encode_specs(self.objective.signal_specs)}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Create the projectors of a saved Distiller."""
        self.objective.bind(self.teacher, self.student)
        self.objective.build_from_specs(decode_specs(config["signals"]))
        self.loss_layers.hold(self.objective.layers())
        self.built = True

    def save_own_variables(self, store: Any) -> None:
        """Save the seeds, without which a resumed run draws other dropout masks.

        A file of weights has no place for the shapes of the signals, from which the
        projectors are rebuilt: they go the same way.
        """
        for place, seed in enumerate(self._seeds()):
            store[str(place)] = seed
        build_config = self.get_build_config()
        if build_config is not None:
            text = json.dumps(build_config).encode()
            store[_BUILD_CONFIG] = np.frombuffer(text, "uint8")

    def load_own_variables(self, store: Any) -> None:
        """Load the seeds, and make room for the projectors and the optimizer's state.

        Keras fills in what is there, and passes over what is not.
        """
        if _BUILD_CONFIG in store and self.objective.signal_specs is None:
            text = np.array(store[_BUILD_CONFIG]).tobytes()
            self.build_from_config(json.loads(text))
        self._build_optimizer()
        for place, seed in enumerate(self._seeds()):
            if str(place) in store:
                seed.assign(store[str(place)])

    def _seeds(self) -> list[keras.Variable]:
        weights = {id(variable) for variable in self.weights}
        return [v for v in self.variables if id(v) not in weights]

    def __dir__(self) -> list[str]:
        # Keras saves what `dir` lists.
        names = super().__dir__()
        if "frozen_teacher" in self.__dict__ and not self.saves_teacher:
            names = [name for name in names if name != "teacher"]
        return list(names)


def is_serialisable(model: Any) -> bool:
    """Say whether a `.keras` file can hold a model."""
    if not isinstance(model, keras.layers.Layer):
        return False
    try:
        keras.saving.serialize_keras_object(model)
    except Exception:  # whatever `get_config` of a user's class raises
        return False
    return True


def encode_specs(specs: Any) -> Any:
    """Return a structure of `keras.KerasTensor` in JSON form."""
    if isinstance(specs, dict):
        return {key: encode_specs(value) for key, value in specs.items()}
    if isinstance(specs, (list, tuple)):
        return [encode_specs(value) for value in specs]
    if specs is None:
        return None
    return {"spec_shape": list(specs.shape), "spec_dtype": str(specs.dtype)}


def decode_specs(encoded: Any) -> Any:
    """Return what `encode_specs` was given, with lists in place of tuples."""
    if isinstance(encoded, dict) and "spec_shape" in encoded:
        return keras.KerasTensor(
            tuple(encoded["spec_shape"]), dtype=encoded["spec_dtype"]
        )
    if isinstance(encoded, dict):
        return {key: decode_specs(value) for key, value in encoded.items()}
    if isinstance(encoded, (list, tuple)):
        return [decode_specs(value) for value in encoded]
    return None
