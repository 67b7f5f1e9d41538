"""Published recipes for encoders that are compositions of the losses at hand."""

from collections.abc import Sequence
from typing import Any

from keras_kd.losses.attention.attention_distillation import AttentionDistillation
from keras_kd.losses.attention.layer_map import evenly_spread
from keras_kd.losses.base import DistillationLoss
from keras_kd.losses.features.feature_distillation import FeatureDistillation
from keras_kd.losses.logits.logits_distillation import LogitsDistillation


def hidden_states(
    teacher_layers: Sequence[Any],
    student_layers: Sequence[Any],
    *,
    loss: Any = "mse",
    projector: Any = "auto",
) -> list[FeatureDistillation]:
    """Return one `FeatureDistillation` for each student layer.

    The teacher's layers are spread evenly over the student's, the last for the last.

    Args:
        teacher_layers: The teacher's N layers, in their order.
        student_layers: The student's M layers, in their order.
        loss: How the states are compared, as in `FeatureDistillation`.
        projector: As in `FeatureDistillation`.

    Returns:
        M losses.

    Raises:
        ValueError: A list is empty, or the student has more layers.

    Example:
    >>> losses = hidden_states(["t_0", "t_1", "t_2", "t_3"], ["s_0", "s_1"])
    >>> [loss.teacher_layer_name for loss in losses]
    ['t_1', 't_3']
    """
    n, m = len(teacher_layers), len(student_layers)
    if not 1 <= m <= n:
        raise ValueError(
            "`student_layers` must name at least one layer, and no more than "
            f"`teacher_layers`. Received: {m} of the student, {n} of the teacher."
        )
    pairs = zip(evenly_spread(n, m), student_layers, strict=True)
    return [
        FeatureDistillation(
            loss,
            teacher_layers[place],
            layer,
            projector=projector,
            name=f"hidden_state_{number}",
        )
        for number, (place, layer) in enumerate(pairs)
    ]


def distilbert(teacher_layer: Any, student_layer: Any) -> dict[str, Any]:
    """Return the arguments of a `Distiller` that trains as DistilBERT was.

    5 · T² KL of the token logits at T = 2, plus 2 · the task loss (of the masked
    tokens), plus 1 · (1 − cosine) of the last hidden states. The student has the
    teacher's width and starts from the teacher's layers 0, 2, 4, 7, 9 and 11 of 12.

    Args:
        teacher_layer: The teacher's last hidden layer.
        student_layer: The student's last hidden layer.

    Returns:
        Keyword arguments: `Distiller(teacher, student, **distilbert(...))`.

    Example:
    >>> distilbert("layer_11", "layer_5")["distillation_loss_weights"]
    [2.5, 0.5]

    Reference: Sanh et al., 2019, arXiv:1910.01108. The weights are half of theirs, so
    that the task's is 1. The logged cosine is −cos: the constant 1 is left out.
    """
    losses: list[DistillationLoss] = [
        LogitsDistillation(2.0),
        FeatureDistillation("cosine_similarity", teacher_layer, student_layer),
    ]
    return {
        "distillation_losses": losses,
        "distillation_loss_weights": [2.5, 0.5],
        "student_loss_weight": 1.0,
        "distillation_weight": 1.0,
    }


def tinybert(
    teacher_layers: Sequence[Any],
    student_layers: Sequence[Any],
    *,
    embeddings: tuple[Any, Any] | None = None,
) -> dict[str, Any]:
    """Return the arguments of a `Distiller` for TinyBERT's first stage.

    Squared differences of the attention of evenly spread layers, of their hidden
    states through a linear projector, and of the embeddings; no labels and no logits.
    The second stage is `LogitsDistillation(1.0)` on the student of the first.

    Args:
        teacher_layers: The teacher's transformer layers, in their order.
        student_layers: The student's, as many or fewer.
        embeddings: The embedding layers, `(teacher's, student's)`, or None.

    Returns:
        Keyword arguments: `Distiller(teacher, student, **tinybert(...))`.

    Example:
    >>> len(tinybert(["t_0", "t_1"], ["s_0"])["distillation_losses"])
    2

    Reference: Jiao et al., 2020, arXiv:1909.10351, which compares the attention scores
    before the softmax; Keras's layers give the probabilities, which are compared here.
    """
    losses: list[DistillationLoss] = [
        AttentionDistillation(loss="mse"),
        *hidden_states(teacher_layers, student_layers),
    ]
    if embeddings is not None:
        losses.append(FeatureDistillation("mse", *embeddings, name="embeddings"))
    return {
        "distillation_losses": losses,
        "student_loss_weight": 0.0,
        "distillation_weight": 1.0,
    }
