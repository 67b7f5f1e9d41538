"""Several students that train together, each a teacher of the others."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_kd import _backend
from keras_kd.students.several_students import SeveralStudents


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

    @property
    def plain_paths(self) -> list[str]:
        return [f"peers[{index}]" for index in range(self.count)]

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
                    "`keras_kd.students.BranchedStudent`."
                )
