"""An optimizer for each part of a student that is made of several."""

from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import keras
from keras import ops

from keras_kd import _backend
from keras_kd.optimizers.base import DistillationOptimizer
from keras_kd.signals.layer_paths import find_layer


@dataclass
class _Routes:
    """Which optimizer trains which variables of which model.

    An object and no list, which Keras would take for a state of the optimizer.
    """

    model: Any = None
    variables: list[Any] = field(default_factory=list)
    groups: list[tuple[keras.optimizers.Optimizer, list[Any]]] = field(
        default_factory=list
    )


@keras.saving.register_keras_serializable(package="keras_kd")
class PerPart(DistillationOptimizer):
    """Trains the parts of a student by optimizers of their own.

    For the peers of a `keras_kd.students.PeerGroup`, or for generator and student of a
    `DataFreeStudent`. The Distiller that is compiled with it finds the parts.

    `learning_rate` is that of the first optimizer; a new value multiplies the rates of
    all by the same factor. `iterations` counts the steps of the one that took most.

    Args:
        optimizers: A dict from the path of a part of the student, as "peers[0]" or
            "generator", to its Keras optimizer. What belongs to several parts is
            trained by the first of them.
        default: The optimizer of what belongs to no part, as projectors of the losses.
            Defaults to None: the first of `optimizers`.
        name: The name. Defaults to "per_part".

    Raises:
        ValueError: An argument is none of these; a part is missing; the optimizer is
            used before `bind`, for variables that it was not built for, or without a
            gradient; or its rates cannot be scaled.

    Example:
    >>> def classifier():
    ...     return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> peers = keras_kd.students.PeerGroup([classifier(), classifier()])
    >>> distiller = Distiller(
    ...     None, peers, keras_kd.losses.MutualDistillation(), None, 1.0
    ... )
    >>> optimizer = PerPart(
    ...     {
    ...         "peers[0]": keras.optimizers.Adam(1e-3),
    ...         "peers[1]": keras.optimizers.SGD(0.1, momentum=0.9),
    ...     }
    ... )
    >>> distiller.compile(
    ...     optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    ... )
    >>> history = distiller.fit(np.ones((8, 4)), np.zeros(8, "int32"), verbose=0)
    >>> int(optimizer.iterations)
    1
    """

    def __init__(
        self,
        optimizers: dict[str, keras.optimizers.Optimizer],
        default: keras.optimizers.Optimizer | None = None,
        name: str = "per_part",
    ) -> None:
        if not isinstance(optimizers, dict) or not optimizers:
            raise ValueError(
                "`optimizers` must be a dict from the path of a part to its optimizer. "
                f"Received: optimizers={optimizers!r}"
            )
        given = [*optimizers.values(), *([] if default is None else [default])]
        for optimizer in given:
            _check_inner(optimizer)
        if len({id(optimizer) for optimizer in given}) < len(given):
            raise ValueError(
                "`optimizers` must not hold the same object twice. "
                f"Received: {list(optimizers)}"
            )
        super().__init__(learning_rate=0.0, name=name)
        self.parts = dict(optimizers)
        self.default = default
        self._inner = given
        self._routes = _Routes()
        # The rates as multiples of the first, from before all were set to zero.
        self._shares: tuple[float, ...] | None = None
        if all(map(_has_number, given)):
            self._note_shares()

    def bind(self, model: keras.Model) -> None:
        """Find the parts in the model; a Distiller calls this when it is compiled.

        Args:
            model: The student.

        Raises:
            ValueError: It has no such part.
        """
        self._routes.model = model
        # A student that has seen no batch has no variables yet, and perhaps no layers.
        if _backend.is_built(model):
            self._indices_of_parts()

    def _indices_of_parts(self) -> dict[int, int]:
        indices: dict[int, int] = {}
        for place, path in enumerate(self.parts):
            part = find_layer(self._routes.model, path, side="student")
            for variable in part.trainable_variables:
                indices.setdefault(id(variable), place)
        return indices

    def build(self, variables: Any) -> None:
        """Create the state of every optimizer."""
        if self._routes.model is None:
            raise ValueError(
                "PerPart must know the model before it trains. Received: an optimizer "
                "that no Distiller was compiled with. Call `optimizer.bind(model)`."
            )
        indices = self._indices_of_parts()
        other = 0 if self.default is None else len(self.parts)
        groups: list[Any] = [(optimizer, []) for optimizer in self._inner]
        for variable in variables:
            groups[indices.get(id(variable), other)][1].append(variable)
        for optimizer, members in groups:
            optimizer.build(members)
        self._routes.variables, self._routes.groups = list(variables), groups
        super().build(variables)

    @property
    def variables(self) -> list[keras.Variable]:
        """The state of every optimizer."""
        inner = [v for optimizer in self._inner for v in optimizer.variables]
        return [*super().variables, *inner]

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Update the variables, each by the optimizer of its part."""
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
            if not self.built:
                self.build(trainable_variables)
        built_for = self._routes.variables
        updated = built_for if trainable_variables is None else trainable_variables
        given = dict(zip(map(id, updated), grads, strict=True))
        if not given.keys() <= set(map(id, built_for)):
            raise ValueError(
                "PerPart can update only the variables that it was built for. "
                "Received: others, as of a layer that was frozen then. Compile with a "
                "new optimizer after such a change."
            )
        if given and all(gradient is None for gradient in given.values()):
            raise ValueError(
                "`grads` must hold a gradient for at least one variable. Received: "
                "None for each. The loss depends on no trainable variable."
            )
        for optimizer, members in self._routes.groups:
            variables = [variable for variable in members if id(variable) in given]
            gradients = [given[id(variable)] for variable in variables]
            if any(gradient is not None for gradient in gradients):
                optimizer.apply(gradients, variables)

    @property
    def iterations(self) -> Any:
        """The number of steps of the optimizer that took most.

        Any one of them may train a part that is frozen now, and stand still.
        """
        return reduce(ops.maximum, [optimizer.iterations for optimizer in self._inner])

    @property
    def updates(self) -> Any:
        """A number that grows whenever an optimizer updates its part."""
        return sum(optimizer.iterations for optimizer in self._inner)

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the first optimizer."""
        return self._inner[0].learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        for optimizer in self._inner:
            # Checked before any changes: half of the rates must not be new.
            if callable(value) or not _has_number(optimizer):
                own = optimizer.get_config().get("learning_rate")
                raise ValueError(
                    "`learning_rate` must be a number, and scales numbers only. "
                    f"Received: learning_rate={value!r}, and {own!r} in "
                    f"'{optimizer.name}'. Set `learning_rate` of each of "
                    "`optimizer.parts`."
                )
        rates = self._note_shares()
        if self._shares is None:
            raise ValueError(
                "`learning_rate` scales the rates of all parts by that of the first, "
                f"which must not be 0. Received: {rates}. Set `learning_rate` of each "
                "of `optimizer.parts`."
            )
        if not isinstance(value, (int, float)):
            value = float(ops.convert_to_numpy(value))
        for optimizer, share in zip(self._inner, self._shares, strict=True):
            optimizer.learning_rate = value * share

    def _note_shares(self) -> list[float]:
        """Note the rates as multiples of the first, and return them."""
        rates = [float(ops.convert_to_numpy(o.learning_rate)) for o in self._inner]
        if rates[0]:
            self._shares = tuple(rate / rates[0] for rate in rates)
        return rates

    def exclude_from_weight_decay(
        self, var_list: Any = None, var_names: Any = None
    ) -> None:
        """Exclude variables from the weight decay of every optimizer.

        Args:
            var_list: The variables, or None.
            var_names: Parts of the names of variables, or None.
        """
        for optimizer in self._inner:
            optimizer.exclude_from_weight_decay(var_list, var_names)

    def finalize_variable_values(self, var_list: Any) -> None:
        """Give the variables their final values, as of a weight average."""
        del var_list
        for optimizer, members in self._routes.groups:
            optimizer.finalize_variable_values(members)

    def get_config(self) -> dict[str, Any]:
        serialize = keras.optimizers.serialize
        return {
            "optimizers": {path: serialize(o) for path, o in self.parts.items()},
            "default": None if self.default is None else serialize(self.default),
            "name": self.name,
            "rate_shares": None if self._shares is None else list(self._shares),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        def made(given: Any) -> Any:
            return keras.optimizers.deserialize(given, custom_objects)

        default = config["default"]
        optimizer = cls(
            {path: made(given) for path, given in config["optimizers"].items()},
            None if default is None else made(default),
            name=config["name"],
        )
        shares = config.get("rate_shares")
        # The rates themselves do not tell, if they were all zero.
        optimizer._shares = None if shares is None else tuple(shares)
        return optimizer

    def __dir__(self) -> list[str]:
        # Keras saves what `dir` lists, and `variables` hold these states already.
        saved = {"parts", "default", "_inner"}
        return [name for name in super().__dir__() if name not in saved]


def _has_number(optimizer: keras.optimizers.Optimizer) -> bool:
    """Say whether the learning rate is a number, and no schedule."""
    return isinstance(optimizer.get_config().get("learning_rate"), (int, float))


def _check_inner(optimizer: Any) -> None:
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise ValueError(
            f"`optimizers` must all be Keras optimizers. Received: {optimizer!r}"
        )
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise ValueError(
            "`optimizers` must not scale the loss, which all share. Received: a "
            "LossScaleOptimizer. Wrap the PerPart in it instead."
        )
    if optimizer.loss_scale_factor is not None:
        raise ValueError(
            "`optimizers` must have no `loss_scale_factor`: all share one loss."
            f" Received: loss_scale_factor={optimizer.loss_scale_factor}. "
            "Wrap the PerPart in a `keras.optimizers.LossScaleOptimizer`."
        )
    if isinstance(optimizer, DistillationOptimizer):
        raise ValueError(
            "`optimizers` must each need its gradients only. Received: a "
            f"{type(optimizer).__name__}, which a Distiller must be compiled with "
            "directly."
        )
