"""A loss that sets in slowly."""

from typing import Any

from keras_kd.callbacks.epoch_schedule import EpochSchedule
from keras_kd.hyperparameters import Schedule, check_scalar


class LossWarmup(EpochSchedule):
    """Raises the weight of one loss from epoch to epoch until it has its full weight.

    weight · min((epoch + 1) / (share · epochs), 1), with epochs counted from 0. The
    student first learns from the labels; decoupled and refined logit distillation and
    the review of features are trained so.

    Args:
        weight: The full weight, at least 0.
        loss: The loss. Defaults to None: the only one.
        share: The share of the training until the full weight, above 0 and at most 1.
            Defaults to 20 of 240 epochs, as published.

    Raises:
        ValueError: If an argument is not one of these, or, when training begins, if
            the Distiller has not got the loss.

    Example:
    ```python
    loss = keras_kd.losses.DecoupledDistillation()
    distiller = keras_kd.Distiller(teacher, student, loss)
    distiller.compile("adam", "sparse_categorical_crossentropy")
    distiller.fit(x, y, epochs=240, callbacks=[keras_kd.callbacks.LossWarmup(1.0)])
    ```

    References: Chen et al., 2021, arXiv:2104.09044; Zhao et al., 2022,
    arXiv:2203.08679.
    """

    def __init__(
        self, weight: float, loss: Any = None, *, share: float = 20 / 240
    ) -> None:
        for name, value in (("weight", weight), ("share", share)):
            if isinstance(value, Schedule):
                raise ValueError(
                    f"`{name}` must be a number. Received: {name}={value!r}. Give a "
                    "schedule of the step as weight to the Distiller itself."
                )
        check_scalar("weight", weight, minimum=0)
        check_scalar("share", share, above=0, maximum=1)
        super().__init__("distillation_loss_weights", self._weight_at, loss)
        self.weight, self.share = float(weight), float(share)

    def _weight_at(self, epoch: int, logs: dict[str, float]) -> float:
        del logs
        return self.weight * min((epoch + 1) / (self.share * self.params["epochs"]), 1)
