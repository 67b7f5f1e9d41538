"""Every way to have a teacher, small, with all state that a break could lose.

Runs of several fits stand in `tests.recipes.settings`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers
from keras.optimizers import schedules

import keras_kd
from keras_kd import data, losses, optimizers, students, teachers

CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
ROWS, BATCH = 24, 8
# On torch Keras draws the masks of a Dropout without a seed from the generator of the
# process, which is no part of a model.
SEED = 5 if keras.config.backend() == "torch" else None


def arrays() -> tuple[np.ndarray, np.ndarray]:
    """Return points around a centre for each of four classes."""
    random = np.random.default_rng(3)
    centres = 2 * random.normal(size=(4, 6))
    y = np.arange(ROWS) % 4
    x = centres[y] + random.normal(size=(ROWS, 6))
    return x.astype("float32"), y.astype("int32")


def network(width: int = 8, classes: int = 4, name: str | None = None) -> keras.Model:
    """Return a classifier with statistics, random numbers and penalties."""
    x = inputs = keras.Input((6,))
    for stage in ("low", "high"):
        x = layers.Dense(width, name=f"{stage}_dense", kernel_regularizer="l2")(x)
        x = layers.BatchNormalization(name=f"{stage}_norm")(x)
        x = layers.ReLU(name=stage)(x)
        x = layers.Dropout(0.2, seed=SEED)(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name=name)


def compiled(
    teacher: Any,
    student: keras.Model,
    losses_: Any,
    optimizer: Any = None,
    task: Any = CROSSENTROPY,
    **arguments: Any,
) -> keras_kd.Distiller:
    """Return a compiled Distiller with labels and distillation of weight 1."""
    arguments = {"student_loss_weight": 1.0, "distillation_weight": 1.0, **arguments}
    distiller = keras_kd.Distiller(teacher, student, losses_, **arguments)
    distiller.compile(optimizer or keras.optimizers.Adam(0.01), task)
    return distiller


def shuffled(epoch: int) -> Any:
    return data.ShuffledBatches(*arrays(), BATCH, seed=1, epoch=epoch)


@dataclass(frozen=True)
class Row:
    """A training scheme.

    Attributes:
        make: Returns the compiled Distiller.
        data: Returns the batches from an epoch on.
        callbacks: Returns what happens between epochs, given the Distiller.
    """

    make: Callable[[], keras_kd.Distiller]
    data: Callable[[int], Any] = shuffled
    callbacks: Callable[[Any], list[Any]] = lambda distiller: []


def _members(count: int = 2, classes: int = 4) -> list[keras.Model]:
    return [network(6 + 4 * place, classes) for place in range(count)]


def _ensemble(loss: Callable[[], Any], **ensemble: Any) -> Row:
    return Row(
        lambda: compiled(teachers.Ensemble(_members(), **ensemble), network(), loss())
    )


def _confidence_losses() -> list[Any]:
    return [
        losses.ConfidenceWeightedDistillation(2),
        losses.ConfidenceWeightedFeatures(2, "high", "high", "logits"),
    ]


def _specialist_losses() -> list[Any]:
    return [
        losses.ClassSubsetDistillation(
            [2 * n, 2 * n + 1], 2.0, output=(n, None), name=f"specialist_{n}"
        )
        for n in range(2)
    ]


def _moving_average() -> keras_kd.Distiller:
    student = network()
    return compiled(
        teachers.MovingAverage(student, 0.9), student, keras_kd.LogitsDistillation(1.0)
    )


def _earlier_self() -> keras_kd.Distiller:
    student = network()
    return compiled(
        teachers.EarlierSelf(student),
        student,
        keras_kd.LogitsDistillation(1.0, "categorical_crossentropy"),
        student_loss_weight=schedules.PolynomialDecay(1.0, 12, 0.2),
        distillation_weight=None,
    )


def _own(loss: Callable[[], Any], made: Callable[[int], Any] = shuffled) -> Row:
    return Row(
        lambda: compiled(
            None, network(), loss(), student_inputs=data.without_sample_ids
        ),
        made,
    )


@keras.saving.register_keras_serializable(package="tests_schemes")
def noisy(x: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return x + 0.1 * random.normal(size=x.shape).astype("float32")


def _peers(loss: Callable[[], Any], optimizer: Callable[[], Any] = lambda: None) -> Row:
    return Row(
        lambda: compiled(
            None,
            students.PeerGroup([network(8), network(6)]),
            loss(),
            optimizer(),
        )
    )


def _gated() -> keras_kd.Distiller:
    branched = students.BranchedStudent.of(network(), "low", 3)
    return compiled(None, branched, losses.GatedEnsembleDistillation("trunk"))


def _an_optimizer_each(*paths: str) -> optimizers.PerPart:
    return optimizers.PerPart(
        {
            path: keras.optimizers.Adam(0.02 / (1 + place))
            for place, path in enumerate(paths)
        }
    )


def _data_free() -> keras_kd.Distiller:
    generator = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, "relu"), layers.BatchNormalization()]
    )
    generator.add(layers.Dense(6))
    return compiled(
        None,
        students.DataFreeStudent(generator, network(10), network()),
        losses.DataFreeDistillation(layer_name="teacher/high"),
        _an_optimizer_each("generator", "student"),
        task=None,
        student_loss_weight=0.0,
    )


def _unlabelled(epoch: int) -> Any:
    return data.ShuffledBatches(arrays()[0], None, BATCH, seed=1, epoch=epoch)


def _taught(loss: Any = None, optimizer: Any = None) -> keras_kd.Distiller:
    loss = loss or keras_kd.LogitsDistillation(2.0)
    return compiled(network(12), network(), loss, optimizer)


def _curriculum(epoch: int) -> Any:
    return data.CurriculumBatches(
        *arrays(),
        BATCH,
        seed=1,
        epoch=epoch,
        difficulty=np.arange(ROWS),
        pacing=data.LinearPacing(0.3, epochs=3),
    )


def _cooling(distiller: Any) -> list[Any]:
    (loss,) = distiller.distillation_losses
    return [
        keras_kd.callbacks.EpochSchedule(
            "temperature", lambda epoch, logs: 8.0 / (1 + epoch), loss=loss
        ),
        keras_kd.callbacks.EpochSchedule(
            "student_loss_weight", lambda epoch, logs: 0.1 + 0.2 * epoch
        ),
    ]


SCHEMES: dict[str, Row] = {
    "ensemble": _ensemble(lambda: keras_kd.LogitsDistillation(4.0), temperature=4.0),
    "ensemble_of_logits": _ensemble(
        lambda: keras_kd.LogitsDistillation(4.0), combine="logits", weights=[0.3, 0.7]
    ),
    "ensemble_by_entropy": _ensemble(
        lambda: keras_kd.LogitsDistillation(4.0), temperature=4.0, weights="entropy"
    ),
    "ensemble_by_confidence": _ensemble(_confidence_losses),
    "teacher_dropping": _ensemble(lambda: losses.TeacherDroppingDistillation(2)),
    "specialists": Row(
        lambda: compiled(
            teachers.Specialists(_members(classes=2)), network(), _specialist_losses()
        )
    ),
    "moving_average": Row(_moving_average),
    "earlier_self": Row(_earlier_self),
    "own_exits": _own(lambda: losses.ExitDistillation(["low", "high"])),
    "virtual_teacher": _own(losses.VirtualTeacherDistillation),
    "last_batch": _own(
        lambda: losses.LastBatchDistillation(BATCH),
        lambda epoch: data.OverlappingBatches(*arrays(), BATCH, seed=1, epoch=epoch),
    ),
    "same_class": _own(
        losses.SameClassDistillation,
        lambda epoch: data.SameClassBatches(*arrays(), BATCH, seed=1, epoch=epoch),
    ),
    "two_views": _own(
        losses.ViewAgreementDistillation,
        lambda epoch: data.Views(*arrays(), BATCH, noisy, seed=1, epoch=epoch),
    ),
    "mutual_learning": _peers(losses.MutualDistillation),
    "an_optimizer_each": _peers(
        losses.MutualDistillation, lambda: _an_optimizer_each("peers[0]", "peers[1]")
    ),
    "collaborative": _peers(lambda: losses.CollaborativeDistillation("lowest_margin")),
    "co_trained_teacher": _peers(lambda: losses.MutualDistillation(4.0, teachers=[0])),
    "gated_branches": Row(_gated),
    "curriculum": Row(_taught, _curriculum),
    "cooling": Row(_taught, callbacks=_cooling),
    "two_momenta": Row(
        lambda: _taught(optimizer=optimizers.DistillationOriented(0.05))
    ),
    "data_free": Row(_data_free, _unlabelled),
}
