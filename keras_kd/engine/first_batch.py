"""The first batch: build what is missing, and find what a compiled step cannot tell.

A compiled step cannot raise on a value, and an error while it is traced comes after
Keras has emptied the variables. So the first batch goes once through both models and
all losses eagerly, in a scope that lets no variable change.
"""

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd import _backend
from keras_kd.engine.active_step import ActiveStep, running


def check_batch(distiller: Any, batch: Any) -> None:
    """Build models and losses on a batch, and run the whole step on it without effect.

    Args:
        distiller: The Distiller.
        batch: The batch as Keras's data adapters give it.

    Raises:
        ValueError: Something does not fit; the message says what and what to do.
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    check_inputs(x)
    x, y, sample_weight = _as_tensors(x), _as_tensors(y), _as_tensors(sample_weight)
    _check_labels(distiller, y)
    objective, teacher = distiller.objective, distiller.frozen_teacher
    if teacher is not None and not teacher.built:
        _attempt("teacher", x, lambda: teacher.run(x))
        if teacher.variables:
            warnings.warn(
                f"The teacher '{teacher.model.name}' had no weights before the first "
                "batch: its answers are those of a random network. Train it, or load "
                "its weights, before distillation.",
                stacklevel=2,
            )
    _attempt("student", x, lambda: distiller.run_student(x, training=False))
    objective.bind(None if teacher is None else teacher.model, distiller.student)

    step = ActiveStep(distiller, training=False, checks=True)
    step.values = distiller.bank.values(0)
    step.step = 0
    if teacher is not None and objective.needs_teacher:
        step.teacher = _attempt(
            "teacher",
            x,
            lambda: teacher.forward(x, objective.requests("teacher"), check_calls=True),
        )
    with _backend.no_gradient(), keras.StatelessScope(), running(step):
        y_pred = _attempt(
            "student", x, lambda: distiller.run_student(x, training=False)
        )
    _check_same_batch(step.teacher, step.student)
    objective.build(step.teacher, step.student)
    with _backend.no_gradient(), keras.StatelessScope(), running(step):
        objective.check(step.teacher, step.student)
        terms = objective.terms(step, x, y, sample_weight)
    _check_terms(objective.names, terms)
    _check_task(distiller, y, y_pred)


def _check_terms(names: list[str], terms: list[Any]) -> None:
    for name, term in zip(names, terms, strict=True):
        value = float(ops.convert_to_numpy(term))
        if not np.isfinite(value):
            raise ValueError(
                f"The losses must be finite on the first batch. Received: {name}="
                f"{value}. Check the loss: a logarithm or a root of 0, a division by 0."
            )


def _attempt(side: str, x: Any, run: Callable[[], Any]) -> Any:
    try:
        return run()
    except _backend.PlainError:
        raise
    except Exception as error:
        shapes = keras.tree.map_structure(
            lambda value: (
                f"{keras.backend.standardize_dtype(value.dtype)}{tuple(value.shape)}"
            ),
            x,
        )
        raise ValueError(
            f"The {side} must accept the batch's x. Received: x={shapes}, on which it "
            f"raised {type(error).__name__}: {error}\nWhere teacher and student take "
            "different inputs, pass `teacher_inputs=` or `student_inputs=`, functions "
            "of x."
        ) from error


def check_inputs(x: Any) -> None:
    """Raise where `x` is empty or text; data sets and generators pass.

    Raises:
        ValueError: It is.
    """
    leaves = [leaf for leaf in keras.tree.flatten(x) if leaf is not None]
    if not leaves:
        raise ValueError(f"`x` must hold at least one array. Received: x={x!r}")
    for leaf in leaves:
        dtype = getattr(leaf, "dtype", None)
        columns = _text_columns(leaf)
        is_text = isinstance(leaf, str) or getattr(dtype, "kind", " ") in "USO"
        if columns or (is_text and not _is_tensorflow_text(leaf)):
            received = (
                f"columns {columns} with text" if columns else "strings or objects"
            )
            raise ValueError(
                f"`x` must be numeric. Received: {received}, "
                f"dtype={dtype or type(leaf).__name__}. Tokenise it in the data "
                f"pipeline. {_WAY_OUT_OF_TEXT}"
            )
        shape = tuple(getattr(leaf, "shape", None) or ())
        if shape and shape[0] == 0:
            raise ValueError(
                "`x` must hold at least one example. Received: an empty batch, of "
                f"shape {shape}."
            )


# What Keras itself takes where a model holds its own `TextVectorization`.
_WAY_OUT_OF_TEXT = (
    "Where the models hold their own `TextVectorization`, Keras takes text as a "
    "one-dimensional array of objects: `x.astype(object)`, for a column of a DataFrame "
    "`x[column].to_numpy(object)`."
    if _backend.BACKEND == "tensorflow"
    else "No tensor of this backend holds text: apply the models' `TextVectorization` "
    "in a `tf.data.Dataset`, as `dataset.map(lambda x, y: (vectorize(x), y))`, and "
    "give the Distiller the models without it."
)


def _text_columns(leaf: Any) -> list[Any]:
    """List the columns of a pandas DataFrame that hold no numbers."""
    if not hasattr(leaf, "columns") or not hasattr(leaf, "dtypes"):
        return []
    pairs = zip(leaf.columns, leaf.dtypes, strict=True)
    return [name for name, dtype in pairs if getattr(dtype, "kind", "O") in "USO"]


def _is_tensorflow_text(leaf: Any) -> bool:
    """Say whether Keras makes a string tensor of it, which layers may take."""
    is_array = isinstance(leaf, np.ndarray) and leaf.ndim == 1
    if _backend.BACKEND != "tensorflow" or not is_array:
        return False
    return bool(leaf.dtype.kind == "O") and all(isinstance(e, str) for e in leaf)


def _check_labels(distiller: Any, y: Any) -> None:
    if y is None and distiller.reads_labels:
        raise ValueError(
            "`metrics` given to `compile` need labels. Received: data without y. Give "
            "labels, or compile without metrics."
        )


def _as_tensors(values: Any) -> Any:
    return keras.tree.map_structure(
        lambda value: None if value is None else ops.convert_to_tensor(value), values
    )


def _check_same_batch(teacher: Any, student: Any) -> None:
    for record in (teacher, student):
        outputs = [] if record is None else keras.tree.flatten(record.output)
        if record is not None and any(
            getattr(v, "shape", None) is None for v in outputs
        ):
            raise ValueError(
                f"The {record.side} must return tensors. Received: {record.output!r}"
            )
    if teacher is None:
        return
    sizes = [
        next((v.shape[0] for v in keras.tree.flatten(record.output) if v.shape), None)
        for record in (teacher, student)
    ]
    if sizes[0] != sizes[1]:
        raise ValueError(
            "Teacher and student must answer for the same examples. Received: outputs "
            f"for {sizes[0]} examples of the teacher and {sizes[1]} of the student. "
            "Check `teacher_inputs=` and `student_inputs=`."
        )


def _check_task(distiller: Any, y: Any, y_pred: Any) -> None:
    """Raise where integer labels name classes that the student does not have."""
    sparse = distiller.loss in (
        "sparse_categorical_crossentropy",
        "SparseCategoricalCrossentropy",
    ) or isinstance(distiller.loss, keras.losses.SparseCategoricalCrossentropy)
    if y is None or not sparse or keras.tree.is_nested(y_pred):
        return
    labels = ops.convert_to_numpy(y)
    classes = y_pred.shape[-1]
    ignored = getattr(distiller.loss, "ignore_class", None)
    labels = labels[labels != ignored] if ignored is not None else labels
    if labels.size and (np.min(labels) < 0 or np.max(labels) >= classes):
        raise ValueError(
            f"`y` must hold classes from 0 to {classes - 1}, as many as the student "
            f"has outputs. Received: labels from {np.min(labels)} to {np.max(labels)}."
        )
