"""Several students that train together, each a teacher of the others."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_kd import _backend
from keras_kd.signals.layer_paths import ends_of, find_layer


class SeveralStudents(keras.Model):
    """A model with one output per student, all of them for the same labels."""

    count: int

    def hold(self, kind: str, models: Sequence[keras.Model]) -> list[keras.Model]:
        """Keep the students as attributes too, and return their list.

        By these names files and the parameters of torch know them.
        """
        self.output_names = [f"{kind}_{place}" for place in range(len(models))]
        for name, model in zip(self.output_names, models, strict=True):
            setattr(self, name, model)
        self.count = len(models)
        return list(models)

    def share_labels(self, y: Any) -> Any:
        """Return the labels of each student, given those of all.

        Labels that already are a list or tuple with one entry per student stay.
        """
        if y is None or (isinstance(y, (list, tuple)) and len(y) == self.count):
            return y
        return [y] * self.count

    def share_metrics(self, metrics: Any) -> Any:
        """Return the metrics of each student, given those of all.

        A dict, or a list with a list for each student, stays.
        """
        if not isinstance(metrics, (list, tuple)) or not metrics:
            return metrics
        if any(metric is None or keras.tree.is_nested(metric) for metric in metrics):
            return metrics
        return [list(metrics), *[_fresh(metrics) for _ in range(self.count - 1)]]


@keras.saving.register_keras_serializable(package="keras_kd")
class PeerGroup(SeveralStudents):
    """Peers that learn together: a list of models in one, called once each.

    The outputs are the list of the peers' outputs. A `Distiller` that trains a group
    gives the labels to each of them, and `compile` takes one task loss for all. Each
    peer remains a plain Keras model, `group.peers[0]`; its layers are tapped by paths
    as "peers[0]/stage_3".

    Args:
        peers: At least two Keras models, with the same inputs and one output each, of
            the same classes. Their architectures may differ.
        **kwargs: Those of `keras.Model`.

    Raises:
        ValueError: `peers` is no list of at least two different Keras models, or two
            of them share a layer.

    Example:
    >>> def classifier(width):
    ...     return keras.Sequential(
    ...         [
    ...             keras.Input((4,)),
    ...             keras.layers.Dense(width, "relu"),
    ...             keras.layers.Dense(3),
    ...         ]
    ...     )
    >>> peers = PeerGroup([classifier(4), classifier(8)])
    >>> distiller = Distiller(
    ...     None,
    ...     peers,
    ...     keras_kd.losses.MutualDistillation(),
    ...     student_loss_weight=1.0,
    ...     distillation_weight=1.0,
    ... )
    >>> distiller.compile("adam", keras.losses.SparseCategoricalCrossentropy(True))
    >>> history = distiller.fit(np.ones((8, 4)), np.zeros(8, "int32"), verbose=0)
    >>> len(peers(np.ones((2, 4))))
    2
    """

    def __init__(self, peers: Sequence[keras.Model], **kwargs: Any) -> None:
        is_list = isinstance(peers, (list, tuple))
        if not is_list or len({id(peer) for peer in peers}) < 2:
            raise ValueError(
                "`peers` must be a list of at least two different Keras models. "
                f"Received: peers={peers!r}"
            )
        if not all(isinstance(peer, keras.Model) for peer in peers):
            kinds = [type(peer).__name__ for peer in peers]
            raise ValueError(f"`peers` must all be Keras models. Received: {kinds}")
        if len({id(peer) for peer in peers}) < len(peers):
            raise ValueError(
                "`peers` must not hold the same model twice. "
                f"Received: {[peer.name for peer in peers]}"
            )
        _check_apart(peers)
        kwargs.setdefault("dtype", peers[0].dtype_policy)
        # Each peer casts its own inputs.
        super().__init__(autocast=False, **kwargs)
        self.peers = self.hold("peer", peers)
        self.built = all(peer.built for peer in self.peers)

    def call(self, inputs: Any, training: Any = None) -> list[Any]:
        """Return the list of the peers' outputs."""
        return [peer(inputs, training=training) for peer in self.peers]

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "peers": [serialize(peer) for peer in self.peers],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        made = [
            keras.saving.deserialize_keras_object(peer, custom_objects)
            for peer in config["peers"]
        ]
        return cls(**{**config, "peers": made})


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
            keras.models.clone_model(upper, clone_function=partial(_reseeded, place))
            for place in range(count)
        ]
        branches[0].set_weights(upper.get_weights())
        _check_different(branches)
        return cls(trunk, branches, **kwargs)

    def call(self, inputs: Any, training: Any = None) -> list[Any]:
        """Return the list of the branches' outputs."""
        features = self.trunk(inputs, training=training)
        return [branch(features, training=training) for branch in self.branches]

    def branch(self, place: int) -> keras.Model:
        """Return the plain Keras model of the trunk and one branch."""
        given, features = ends_of(self.trunk)
        return keras.Model(given, self.branches[place](features))

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


def _check_apart(peers: Sequence[keras.Model]) -> None:
    owner: dict[int, keras.Model] = {}
    for peer in peers:
        for part in _backend.parts_of(peer):
            first = owner.setdefault(id(part), peer)
            # Inputs and activations hold nothing that a file could lose.
            if first is not peer and (part.variables or not part.built):
                raise ValueError(
                    "`peers` must not share layers: a file would hold them apart. "
                    f"Received: {first.name!r} and {peer.name!r}, which share the "
                    f"layer {part.name!r}. For a shared lower part use "
                    "`keras_kd.teachers.BranchedStudent`."
                )


def _reseeded(place: int, layer: keras.layers.Layer) -> keras.layers.Layer:
    """Return a copy of a layer that draws other numbers, except in the first place."""
    config = layer.get_config()
    return type(layer).from_config(_with_seeds(config, place) if place else config)


def _with_seeds(config: Any, place: int) -> Any:
    if isinstance(config, dict):
        return {
            key: int(np.random.SeedSequence([value, place]).generate_state(1)[0] >> 1)
            if key == "seed" and isinstance(value, int)
            else _with_seeds(value, place)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return type(config)(_with_seeds(item, place) for item in config)
    return config


def _check_different(branches: Sequence[keras.Model]) -> None:
    for place, branch in enumerate(branches):
        mine = branch.get_weights()
        for other in branches[:place]:
            pairs = zip(mine, other.get_weights(), strict=True)
            if mine and all(np.array_equal(one, its) for one, its in pairs):
                raise ValueError(
                    "The layers above `layer_name` must have a random initialiser, "
                    "for the branches to differ. Received: branches that are equal, "
                    f"of the layers {[part.name for part in branch.layers]}."
                )


def _fresh(metrics: Sequence[Any]) -> list[Any]:
    """Return the same metrics with a state of their own."""
    return [
        type(metric).from_config(metric.get_config())
        if isinstance(metric, keras.metrics.Metric)
        else metric
        for metric in metrics
    ]
