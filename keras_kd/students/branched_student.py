"""A network whose upper part exists several times."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_kd.signals.layer_paths import ends_of, find_layer
from keras_kd.students.several_students import SeveralStudents


@keras.saving.register_keras_serializable(package="keras_kd")
class BranchedStudent(SeveralStudents):
    """A network whose upper part exists several times on one shared trunk.

    The outputs are the list of the branches' outputs. `branched.branch(0)` is a plain
    Keras model of the trunk and one branch: what is used in the end, at the cost of
    the model that was branched. The shared features are tapped by the path "trunk".

    Args:
        trunk: The shared Keras model, from inputs to features.
        branches: At least two Keras models, from features to the outputs.
        **kwargs: Those of `keras.Model`.

    Raises:
        ValueError: An argument is none of these.

    Example:
    >>> x = inputs = keras.Input((4,))
    >>> x = keras.layers.Dense(8, "relu", name="low")(x)
    >>> x = keras.layers.Dense(8, "relu")(x)
    >>> model = keras.Model(inputs, keras.layers.Dense(3)(x))
    >>> branched = BranchedStudent.of(model, "low", 3)
    >>> len(branched(np.ones((2, 4)))), branched.branch(1).output_shape
    (3, (None, 3))

    Reference: Lan, Zhu and Gong, 2018, ONE, arXiv:1806.04606.
    """

    def __init__(
        self, trunk: keras.Model, branches: Sequence[keras.Model], **kwargs: Any
    ) -> None:
        is_list = isinstance(branches, (list, tuple))
        if not is_list or len(branches) < 2:
            raise ValueError(
                "`branches` must be a list of at least two Keras models. "
                f"Received: branches={branches!r}"
            )
        if not all(isinstance(part, keras.Model) for part in (trunk, *branches)):
            kinds = [type(part).__name__ for part in (trunk, *branches)]
            raise ValueError(
                f"`trunk` and `branches` must be Keras models. Received: {kinds}. "
                "Make them with `BranchedStudent.of`."
            )
        kwargs.setdefault("dtype", trunk.dtype_policy)
        super().__init__(autocast=False, **kwargs)
        self.trunk = trunk
        self.branches = self.hold("branch", branches)
        self.built = True

    @classmethod
    def of(
        cls, model: keras.Model, layer_name: str, count: int, **kwargs: Any
    ) -> "BranchedStudent":
        """Return a model branched after one of its layers.

        Args:
            model: A Functional model. It is left as it is.
            layer_name: The path of the last shared layer; nothing may pass around it.
            count: Number of branches, at least 2.
            **kwargs: Those of the class.

        Returns:
            The branched student: the first branch has the model's weights, the others
            new random ones, also where the model's initialisers have seeds; the trunk
            has a copy of the model's.

        Raises:
            ValueError: The model cannot be cut there, `count` is below 2, or branches
                would begin as equals.
        """
        if not isinstance(count, int) or count < 2:
            raise ValueError(f"`count` must be at least 2. Received: count={count}")
        layer = find_layer(model, layer_name, side="student")
        try:
            given, answer = ends_of(model)
            lower = keras.Model(given, layer.output)
            upper = keras.Model(layer.output, answer)
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(
                "`model` must be a Functional model that can be cut after "
                f"{layer_name!r}. Received: model={model.name!r}, which gave: {error}"
            ) from error
        trunk = keras.models.clone_model(lower)
        trunk.set_weights(lower.get_weights())
        branches = [
            keras.models.clone_model(upper, clone_function=partial(_reseeded, index))
            for index in range(count)
        ]
        branches[0].set_weights(upper.get_weights())
        _check_different(branches)
        return cls(trunk, branches, **kwargs)

    def call(self, inputs: Any, training: Any = None) -> list[Any]:
        """Return the list of the branches' outputs."""
        features = self.trunk(inputs, training=training)
        return [branch(features, training=training) for branch in self.branches]

    @property
    def plain_paths(self) -> list[str]:
        return [f"branches[{index}]" for index in range(self.count)]

    def plain_part(self, path: str | None) -> keras.Model | None:
        """Return the part at a path; a branch comes with the trunk."""
        part = super().plain_part(path)
        for index, branch in enumerate(self.branches):
            if branch is part:
                return self.branch(index)
        return part

    def branch(self, index: int) -> keras.Model:
        """Return the plain Keras model of the trunk and one branch."""
        given, features = ends_of(self.trunk)
        return keras.Model(given, self.branches[index](features))

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "trunk": serialize(self.trunk),
            "branches": [serialize(branch) for branch in self.branches],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        deserialize = keras.saving.deserialize_keras_object
        branches = [deserialize(b, custom_objects) for b in config["branches"]]
        trunk = deserialize(config["trunk"], custom_objects)
        return cls(**{**config, "trunk": trunk, "branches": branches})


def _reseeded(index: int, layer: keras.layers.Layer) -> keras.layers.Layer:
    """Return a copy of a layer that draws other numbers, except in the first index."""
    config = layer.get_config()
    return type(layer).from_config(_with_seeds(config, index) if index else config)


def _with_seeds(config: Any, index: int) -> Any:
    if isinstance(config, dict):
        return {
            key: int(np.random.SeedSequence([value, index]).generate_state(1)[0] >> 1)
            if key == "seed" and isinstance(value, int)
            else _with_seeds(value, index)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return type(config)(_with_seeds(item, index) for item in config)
    return config


def _check_different(branches: Sequence[keras.Model]) -> None:
    for index, branch in enumerate(branches):
        mine = branch.get_weights()
        for other in branches[:index]:
            pairs = zip(mine, other.get_weights(), strict=True)
            if mine and all(np.array_equal(one, its) for one, its in pairs):
                raise ValueError(
                    "The layers above `layer_name` must have a random initialiser, "
                    "for the branches to differ. Received: branches that are equal, "
                    f"of the layers {[part.name for part in branch.layers]}."
                )
