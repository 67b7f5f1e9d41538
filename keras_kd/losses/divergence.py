"""How two signals are compared: the objects behind the `loss=` of a method."""

from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any

import keras
from keras import ops

from keras_kd import _backend
from keras_kd.ops import divergences
from keras_kd.ops.selection import unit_vectors


@keras.saving.register_keras_serializable(package="keras_kd")
class Divergence:
    """A divergence between the distributions of two sets of logits, with its numbers.

    Args:
        name: One of "kl_divergence", "reverse_kl_divergence",
            "jensen_shannon_divergence" (`beta`), "skew_kl_divergence" (`alpha`),
            "skew_reverse_kl_divergence" (`alpha`), "symmetric_kl_divergence"
            (`forward_weight`), "adaptive_kl_divergence" (`alpha`),
            "total_variation_distance", "categorical_crossentropy" and
            "binary_kl_divergence". Each is a function of `keras_kd.ops`, where its
            formula stands.
        **parameters: The numbers in brackets above.

    Raises:
        ValueError: If `name` is not one of these, or a parameter is not one of its
            numbers.

    Example:
    >>> divergence = Divergence("jensen_shannon_divergence", beta=0.1)
    >>> divergence(np.eye(3), np.eye(3), temperature=2.0).shape[0]
    3
    """

    _functions: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
        "kl_divergence": (divergences.kl_divergence, ()),
        "reverse_kl_divergence": (divergences.reverse_kl_divergence, ()),
        "jensen_shannon_divergence": (divergences.jensen_shannon_divergence, ("beta",)),
        "skew_kl_divergence": (divergences.skew_kl_divergence, ("alpha",)),
        "skew_reverse_kl_divergence": (
            divergences.skew_reverse_kl_divergence,
            ("alpha",),
        ),
        "symmetric_kl_divergence": (
            divergences.symmetric_kl_divergence,
            ("forward_weight",),
        ),
        "adaptive_kl_divergence": (divergences.adaptive_kl_divergence, ("alpha",)),
        "total_variation_distance": (divergences.total_variation_distance, ()),
        "categorical_crossentropy": (divergences.categorical_crossentropy, ()),
        "binary_kl_divergence": (divergences.binary_kl_divergence, ()),
    }

    def __init__(self, name: str, **parameters: float) -> None:
        if name not in self._functions:
            raise ValueError(
                f"`name` must be one of {', '.join(self._functions)}. "
                f"Received: name={name!r}"
            )
        self.name = name
        self.parameters = parameters
        self._function, known = self._functions[name]
        unknown = set(parameters) - set(known)
        if unknown:
            raise ValueError(
                f"`{name}` takes {', '.join(known) or 'no parameters'}. "
                f"Received: {', '.join(sorted(unknown))}"
            )
        for key, value in parameters.items():
            if isinstance(value, bool) or not isinstance(value, Real):
                raise ValueError(
                    f"`{key}` must be a number. "
                    f"Received: {key}={value!r} (of type {type(value).__name__})"
                )
        # A wrong number shows here and not in the first compiled step.
        self(ops.zeros((1, 2)), ops.zeros((1, 2)))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """List the names of the divergences."""
        return tuple(cls._functions)

    @property
    def is_binary(self) -> bool:
        """Whether each class is a yes-or-no question of its own."""
        return self.name == "binary_kl_divergence"

    def __call__(self, teacher: Any, student: Any, *, temperature: Any = 1.0) -> Any:
        return self._function(
            teacher, student, temperature=temperature, **self.parameters
        )

    def __repr__(self) -> str:
        given = "".join(f", {key}={value}" for key, value in self.parameters.items())
        return f"Divergence({self.name!r}{given})"

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, **self.parameters}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Divergence":
        return cls(**config)


def unreduced(loss: Any) -> Callable[[Any, Any], Any]:
    """Return `loss` as a function of `(target, prediction)` that averages nothing away.

    A `keras.losses.Loss` reduces to a scalar in `__call__`, after which weights and
    masks come too late; its `call` gives one value per example or position.
    """
    if loss is keras.losses.cosine_similarity:
        return _cosine_similarity
    if type(loss) is keras.losses.CosineSimilarity:
        return partial(_cosine_similarity, axis=_backend.axis_of(loss))
    if isinstance(loss, keras.losses.Loss):
        return loss.call
    return loss


def _cosine_similarity(target: Any, prediction: Any, axis: int = -1) -> Any:
    """Return −cos, as Keras does, but with the gradient −t / |t| at a zero prediction.

    Keras's is not a number there (JAX, torch) or ten million times too large
    (TensorFlow): a head that starts at zero would not survive its first step.
    """
    target, prediction = (ops.cast(x, "float32") for x in (target, prediction))
    cosines = unit_vectors(target, axis=axis) * unit_vectors(prediction, axis=axis)
    return -ops.sum(cosines, axis=axis)


# What Keras calls the divergences that we compute from logits.
_KERAS_NAMES = {
    "kl_divergence": "kl_divergence",
    "kullback_leibler_divergence": "kl_divergence",
    "KLDivergence": "kl_divergence",
    "categorical_crossentropy": "categorical_crossentropy",
    "CategoricalCrossentropy": "categorical_crossentropy",
}


def resolve_losses(losses: Any) -> Any:
    """Return what a loss, or a list or dict of losses and None, stands for.

    Args:
        losses: Names, `Divergence` objects, Keras losses, functions, their
            serialised forms, or a structure of these.

    Returns:
        The same structure of `Divergence`, `keras.losses.Loss`, callables and None.

    Raises:
        ValueError: If a part of it cannot compare two tensors, or there is nothing in
            it but None.
    """
    resolved = _map_losses(_resolve, losses)
    if not any(_leaves(resolved)):
        raise ValueError(
            "`loss` must hold a loss for at least one output. "
            f"Received: loss={losses!r}"
        )
    return resolved


def serialize_losses(losses: Any) -> Any:
    """Return the JSON form of what `resolve_losses` returned."""
    return _map_losses(_serialize, losses)


def _resolve(loss: Any) -> Any:
    if isinstance(loss, dict):
        loss = keras.saving.deserialize_keras_object(loss)
    if loss is None or isinstance(loss, Divergence):
        return loss
    if isinstance(
        loss, (keras.losses.KLDivergence, keras.losses.CategoricalCrossentropy)
    ):
        return Divergence(_KERAS_NAMES[type(loss).__name__])
    if isinstance(loss, str):
        name = _KERAS_NAMES.get(loss, loss)
        if name in Divergence.names():
            return Divergence(name)
        try:
            return keras.losses.get(loss)
        except ValueError:
            pass
    elif isinstance(loss, keras.losses.Loss):
        return loss
    elif callable(loss):
        if loss is keras.losses.kl_divergence:
            return Divergence("kl_divergence")
        if loss is keras.losses.categorical_crossentropy:
            return Divergence("categorical_crossentropy")
        return loss
    raise ValueError(
        "`loss` must be the name of a divergence "
        f"({', '.join(Divergence.names())}) or of a Keras loss, a `Divergence`, a "
        "`keras.losses.Loss`, a function of (target, prediction), or a list or dict "
        f"of these and None. Received: {loss!r}"
    )


def _map_losses(function: Callable[[Any], Any], losses: Any) -> Any:
    """Map over a structure of losses; a serialised loss is a leaf of it."""
    if isinstance(losses, dict) and "class_name" not in losses:
        return {key: _map_losses(function, value) for key, value in losses.items()}
    if isinstance(losses, (list, tuple)):
        return [_map_losses(function, value) for value in losses]
    return function(losses)


def _leaves(losses: Any) -> list[Any]:
    found: list[Any] = []
    _map_losses(found.append, losses)
    return found


def compare(
    losses: Any, teacher: Any, student: Any, function: Callable[[Any, Any, Any], Any]
) -> Any:
    """Return `function(loss, teacher, student)` for each output that has a loss.

    Args:
        losses: One loss for all outputs, or one for each in the outputs' structure.
        teacher: The teacher's signals.
        student: The student's signals.
        function: What to do with one loss and one pair of tensors.

    Returns:
        The results in the structure of the signals.

    Raises:
        ValueError: If the structures differ.
    """
    if not isinstance(teacher, (dict, list, tuple)):
        if isinstance(losses, (dict, list)):
            raise ValueError(
                "`loss` must be one loss where the signal is one tensor. "
                f"Received: a {type(losses).__name__} of {len(losses)} losses."
            )
        return None if losses is None else function(losses, teacher, student)
    keys = list(teacher) if isinstance(teacher, dict) else list(range(len(teacher)))
    if isinstance(losses, (dict, list)):
        known = list(losses) if isinstance(losses, dict) else list(range(len(losses)))
        if set(known) != set(keys):
            raise ValueError(
                "`loss` must have the structure of the outputs, with None for an "
                f"output to skip. Received: losses for {known}, outputs {keys}"
            )
    else:
        losses = dict.fromkeys(keys, losses)
    values = {
        key: compare(losses[key], teacher[key], student[key], function) for key in keys
    }
    return values if isinstance(teacher, dict) else list(values.values())


def _serialize(loss: Any) -> Any:
    if isinstance(loss, Divergence) and not loss.parameters:
        return loss.name
    if loss is None:
        return None
    if isinstance(loss, Divergence):
        return keras.saving.serialize_keras_object(loss)
    return keras.losses.serialize(loss)
