"""Momentum that lets distillation lead over the task."""

from dataclasses import dataclass, field
from typing import Any

import keras
from keras import ops

from keras_kd import _backend
from keras_kd.hyperparameters import check_scalar
from keras_kd.optimizers.base import DistillationOptimizer

_REFUSED = ("clipnorm", "clipvalue", "global_clipnorm", "gradient_accumulation_steps")


@dataclass
class _Step:
    """The task's gradients, by the indices of their variables, in the present update.

    An object and no dict, which Keras would wrap and look for variables in.
    """

    gradients: dict[int, Any] = field(default_factory=dict)


@keras.saving.register_keras_serializable(package="keras_kd")
class DistillationOriented(DistillationOptimizer):
    """Stochastic gradient descent with a momentum each for task and distillation: DOT.

    With g the gradient of the weighted task loss and its penalties, and d that of the
    weighted distillation losses: v ← (μ − Δ) v + g, w ← (μ + Δ) w + d, and
    θ ← θ − rate · (v + w). Near a trade-off of the two, the longer memory of w lets the
    student follow its teacher first. With Δ = 0 it is plain momentum.

    A Distiller that is compiled with it goes backwards twice in each step, from the
    task and from the whole loss; there is still one forward pass. TensorFlow trains on
    one replica only.

    Args:
        learning_rate: Number, or a `LearningRateSchedule`. Defaults to 0.01.
        momentum: The number μ, from 0 to 1. Defaults to 0.9.
        delta: The number Δ ≥ 0, at most μ, with μ + Δ at most 1. Defaults to 0.075;
            0.09 on ImageNet.
        name: The name. Defaults to "distillation_oriented".
        **kwargs: Those of `keras.optimizers.Optimizer`. `clipnorm` and the like would
            act on the sum of the two gradients alone and are refused, as is gradient
            accumulation. `weight_decay` is Keras's, apart from the momenta.

    Raises:
        ValueError: An argument is none of these, or, in the first step, there is no
            Distiller to give it the task's gradient.

    Example:
    >>> DistillationOriented(0.05, delta=0.09).delta
    0.09

    Reference: Zhao et al., 2023, arXiv:2307.08436. The authors' code adds the decay
    λ · θ to g; regularisers `keras.regularizers.L2(λ / 2)` do the same. It takes μ for
    variables with one kind of gradient, as projectors; here these keep μ ± Δ.
    """

    wants_task_gradients = True

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.9,
        delta: float = 0.075,
        name: str = "distillation_oriented",
        **kwargs: Any,
    ) -> None:
        for argument in _REFUSED:
            if kwargs.get(argument) is not None:
                raise ValueError(
                    f"`{argument}` must be None: it would change the sum of the two "
                    "gradients and not each. "
                    f"Received: {argument}={kwargs[argument]!r}"
                )
        check_scalar("momentum", momentum, minimum=0, maximum=1)
        check_scalar("delta", delta, minimum=0, maximum=min(momentum, 1.0 - momentum))
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum, self.delta = float(momentum), float(delta)
        self._step = _Step()

    def build(self, variables: Any) -> None:
        """Create the two momenta of each variable."""
        super().build(variables)
        self._task, self._distillation = (
            self.add_optimizer_variables(variables, name)
            for name in ("task_momentum", "distillation_momentum")
        )

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Update the variables by the gradients and those of the task."""
        if self.task_gradients is None:
            raise ValueError(
                "DistillationOriented needs the gradient of the task apart. Received: "
                "a model that gives one gradient only. Train it by a "
                "`keras_kd.Distiller`."
            )
        indices: Any = range(len(self.task_gradients))
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
            if not self.built:
                self.build(trainable_variables)
            # Fewer than it was built for, where a layer was frozen since.
            indices = [_backend.index_of(self, v) for v in trainable_variables]
        given = zip(indices, self.task_gradients, strict=True)
        self._step.gradients = dict(given)
        try:
            super().apply(grads, trainable_variables)
        finally:
            # As large as the student, and no tracer may outlive its trace.
            self.task_gradients, self._step.gradients = None, {}

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable."""
        index = _backend.index_of(self, variable)
        total = ops.cast(gradient, variable.dtype)
        of_task = self._step.gradients[index]
        of_task = (
            ops.zeros_like(total) if of_task is None else ops.cast(of_task, total.dtype)
        )
        rate = ops.cast(learning_rate, variable.dtype)
        task, distillation = self._task[index], self._distillation[index]
        self.assign(task, (self.momentum - self.delta) * task + of_task)
        self.assign(
            distillation,
            (self.momentum + self.delta) * distillation + (total - of_task),
        )
        self.assign_sub(variable, rate * (task + distillation))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for argument in _REFUSED:
            del config[argument]
        return {**config, "momentum": self.momentum, "delta": self.delta}
