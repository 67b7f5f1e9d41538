"""A run without training: each stage is built and takes one small step on paper."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import keras
import numpy as np

from keras_kd import _backend
from keras_kd.distiller import Distiller
from keras_kd.hyperparameters import Schedule
from keras_kd.recipes.description import is_array
from keras_kd.recipes.stage_key import batch_of
from keras_kd.recipes.training import Stage, Training

_FEW = 4


class Rehearsal:
    """Stands for a `Run` while a recipe is checked, before its first stage trains.

    Nothing is written and nothing is trained. A stage's student, Distiller and
    compiled losses are made, as in the run, and run on a few examples.
    """

    is_rehearsal = True

    def __init__(self) -> None:
        self.stages: list[Stage] = []

    def stage(
        self,
        name: str,
        build: Callable[[], keras.Model],
        training: Training,
        distil: Callable[[keras.Model], keras.Model] | None = None,
        during: Callable[[keras.Model], AbstractContextManager[None]] = nullcontext,
        settings: dict[str, Any] | None = None,
    ) -> Stage:
        """Check a stage; the arguments are those of `Run.stage`.

        Returns:
            The stage with its untrained student, for the stages after it.

        Raises:
            ValueError: If its training would fail, or train nothing.
        """
        del settings
        with _naming(name), warnings.catch_warnings():
            # A few examples may lack what a batch has, pairs of one class for instance.
            warnings.simplefilter("ignore")
            student = build()
            check_student(student)
            model = student if distil is None else distil(student)
            training.compile(model)
            with during(student):
                check_training(model, student, training)
            training.compile(student)
        stage = Stage(name, student, {})
        self.stages.append(stage)
        return stage

    def value(
        self,
        name: str,
        make: Callable[[], dict[str, Any]],
        settings: dict[str, Any] | None = None,
        rehearsed: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return what stands for the arrays of a run."""
        del name, settings
        return make() if rehearsed is None else rehearsed


def check_student(student: Any, argument: str = "build") -> None:
    """Raise where a function has returned no model that can be trained and kept.

    Raises:
        ValueError: If it has not.
    """
    if not isinstance(student, keras.Model) or not _backend.is_built(student):
        raise ValueError(
            f"`{argument}` must return a Keras model that has its weights. Received: "
            f"{student!r}. Start it with a `keras.Input`, or call it on a batch."
        )


def check_training(
    model: keras.Model, student: keras.Model, training: Training
) -> None:
    """Run a compiled model on a few examples.

    Args:
        model: The student, or its Distiller, which is of no use afterwards.
        student: The student.
        training: How it trains.

    Raises:
        ValueError: If models, losses and data do not fit, or no trainable weight of the
            student reaches a loss.
    """
    if not student.trainable_variables:
        raise ValueError(_without_gradient(student, "which has no trainable weights"))
    _check_labels(model, training)
    if not isinstance(model, Distiller) and _trains_by_itself(model):
        return
    model.run_eagerly = True  # once: nothing is compiled for it
    if isinstance(model, Distiller):
        model.evaluate_distillation = True
    batch = _few_examples(training)
    before = _losses(model, batch)
    validation = training.validation_data
    if isinstance(validation, (list, tuple)):
        _losses(model, _rows(tuple(validation), slice(_FEW)))
    counted = _counted(model, training, before)
    if not counted:
        raise ValueError(_without_gradient(student, "all of whose losses weigh 0"))
    if not any(before[name] for name in counted):
        return  # what is 0 at the start, as a loss that waits for a second batch
    if _reach(model, student, batch, {name: before[name] for name in counted}):
        return
    names = sorted({variable.path for variable in student.trainable_variables})
    raise ValueError(
        _without_gradient(
            student,
            f"whose trainable weights {names[:6]} change none of {counted}. Train the "
            "layers that the losses compare, or those below them; a loss between "
            "features needs them to be the student's own",
        )
    )


def _reach(
    model: keras.Model, student: keras.Model, batch: Any, losses: dict[str, float]
) -> bool:
    """Say whether a change of the student's trainable weights changes a loss.

    The last weights come first, in groups of growing size: of a large model they are
    the few that most losses see.
    """
    random = np.random.default_rng(0)
    variables = list(student.trainable_variables)[::-1]
    kept = []
    try:
        for size in (0.3, 3.0):
            end = 0
            while end < len(variables):
                start, end = end, 2 * end + 1
                for variable in variables[start:end]:
                    value = np.array(variable.numpy())
                    kept.append((variable, value))
                    value = value.astype("float32")
                    noise = random.standard_normal(value.shape, "float32")
                    variable.assign(value + size * (0.1 + value.std()) * noise)
                after = _losses(model, batch)
                # What is not a number has been reached, too.
                if any(after[name] != losses[name] for name in losses):
                    return True
        return False
    finally:
        for variable, value in reversed(kept):
            variable.assign(value)


def _without_gradient(student: keras.Model, why: str) -> str:
    return (
        "A training without gradient is refused: it would leave the student as it is. "
        f"Received: the student {student.name!r}, {why}."
    )


@contextmanager
def _naming(stage: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        error.add_note(f"In the stage {stage!r}, before any training of the recipe.")
        raise


def _trains_by_itself(model: keras.Model) -> bool:
    """Say whether a model of one's own has a step that need not use its loss."""
    own = type(model)
    return (
        own.train_step is not keras.Model.train_step
        or own.compute_loss is not keras.Model.compute_loss
    )


def _few_examples(training: Training) -> Any:
    """Return the first batch of a data set; of arrays, examples of all their range."""
    if callable(training.x):
        return batch_of(training.x(0))
    data = training.data(0, 0)  # which checks that the arrays fit together
    labels = np.asarray(data.y) if is_array(data.y) else np.zeros((1, 2))
    rows = list(range(min(_FEW, data.count)))
    if labels.size == len(labels):  # the classes
        rows += [int(labels.argmin()), int(labels.argmax())]
    return _rows((data.x, data.y, data.sample_weight), sorted(set(rows)))


def _rows(parts: Any, rows: Any) -> Any:
    return keras.tree.map_structure(
        lambda part: None if part is None else np.asarray(part)[rows], parts
    )


def _losses(model: keras.Model, batch: Any) -> dict[str, float]:
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    model.reset_metrics()
    logs = model.test_on_batch(x, y, sample_weight, return_dict=True)
    return {name: float(np.mean(value)) for name, value in logs.items()}


def _counted(
    model: keras.Model, training: Training, losses: dict[str, float]
) -> list[str]:
    """Name the losses that count in the training, now or later."""
    if not isinstance(model, Distiller):
        return ["loss"]
    weights = [model.student_loss_weight, model.distillation_weight]
    weights += model.distillation_loss_weights
    may_change = training.callbacks is not None
    if may_change or any(isinstance(weight, Schedule) for weight in weights):
        return [name for name in losses if name not in ("loss", "total_loss")]
    rest = 1.0 - weights[0] if weights[1] is None else weights[1]
    pairs = (("student_loss", weights[0]), ("distillation_loss", rest))
    return [name for name, weight in pairs if weight]


def _check_labels(model: keras.Model, training: Training) -> None:
    """Raise where integer labels, of all examples, name classes that are not there."""
    student = model.student if isinstance(model, Distiller) else model
    sparse = isinstance(model.loss, keras.losses.SparseCategoricalCrossentropy) or (
        model.loss in ("sparse_categorical_crossentropy",)
    )
    shape = getattr(student, "output_shape", None)
    classes = shape[-1] if isinstance(shape, tuple) and shape else None
    if not sparse or not isinstance(classes, int) or not is_array(training.y):
        return
    labels = np.asarray(training.y)
    ignored = getattr(model.loss, "ignore_class", None)
    labels = labels[labels != ignored] if ignored is not None else labels
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f"`y` must hold classes from 0 to {classes - 1}, as many as the model has "
            f"outputs. Received: labels from {labels.min()} to {labels.max()}, and the "
            f"model {student.name!r}."
        )
