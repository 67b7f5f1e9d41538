"""The first batch: build what is missing, and find what a compiled step cannot tell.

A compiled step cannot raise on a value, and an error while it is traced comes after
Keras has emptied the variables. So a few examples of the first batch go once through
both models and all losses beforehand, in a scope that lets nothing change.
"""

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd import _backend
from keras_kd.data.check_inputs import check_inputs, check_sample_weights
from keras_kd.data.inputs import check_ids
from keras_kd.data.task_labels import check_task_labels, task_counts
from keras_kd.engine.engine import Engine
from keras_kd.engine.step import Step, run_student, running
from keras_kd.losses.context import StepContext

# Enough for losses that compare examples; their cost must not be seen beside a step's.
FEW = 8


def check_first_batch(engine: Engine, batch: Any) -> None:
    """Build models and losses, and run the whole step on a few examples of a batch.

    Args:
        engine: The parts of the Distiller.
        batch: The batch as Keras's data adapters give it.

    Raises:
        ValueError: If something does not fit; the message says what and what to do.
    """
    x, y, sample_weight = engine.prepare_batch(batch)
    check_inputs(x)
    _check_labels(engine, y)
    check_sample_weights(engine.objective.names[0], x, sample_weight)
    _check_ids(engine, x)
    fed = engine.on_batch((x, y, sample_weight), training=True)
    _check_fed(engine, x, fed)
    whole = (x, y, sample_weight, fed)
    few = _first_examples(engine, whole)
    _on_few(lambda part: _build(engine, part[0]), few, whole)
    context = StepContext(
        x=x,
        y=y,
        sample_weight=sample_weight,
        step=0,
        sample_ids=engine.inputs.sample_ids(x),
        values=engine.values.at(0),
    )
    for loss in engine.objective.losses:
        loss.check_batch(context)
    result = _on_few(lambda part: _Trial(engine, part).run(), few, whole)
    for loss, (teacher, student) in zip(
        engine.objective.losses, result["signals"], strict=True
    ):
        loss.check(teacher, student)
    _check_terms(engine.objective.names, result["terms"])
    check_task_labels(engine.distiller.loss, y, result["outputs"])


def _on_few(run: Callable[[Any], Any], few: Any, whole: Any) -> Any:
    """Return `run` of a few examples, or of all where a model wants all of them."""
    try:
        return run(few)
    except Exception:
        if few is whole:
            raise
    # A model that takes one number of examples only; or the error shows again.
    return run(whole)


def _check_ids(engine: Engine, x: Any) -> None:
    ids = engine.inputs.given_ids(x)
    if ids is not None:
        check_ids(ids, _count(x))


def _check_fed(engine: Engine, x: Any, fed: Any) -> None:
    """Raise where a teacher's `on_batch` gave more or fewer rows than examples."""
    for leaf in keras.tree.flatten(fed):
        if leaf is not None and tuple(leaf.shape[:1]) != (_count(x),):
            raise ValueError(
                f"`on_batch` of {type(engine.teacher).__name__} must return one row "
                f"for each example. Received: shape {tuple(leaf.shape)}, for "
                f"{_count(x)} examples."
            )


def _count(x: Any) -> int:
    return int(next(v.shape[0] for v in keras.tree.flatten(x) if v is not None))


def _first_examples(engine: Engine, batch: Any) -> Any:
    models = (engine.teacher_network, engine.student.network())
    fixed = any(_backend.has_fixed_batch_size(model) for model in models)
    if fixed or _count(batch[0]) <= FEW:
        return batch
    try:
        return keras.tree.map_structure(
            lambda leaf: None if leaf is None else _backend.first_rows(leaf, FEW), batch
        )
    except Exception:  # whatever a tensor that cannot be sliced raises
        return batch


def _build(engine: Engine, x: Any) -> None:
    """Give both models their variables, without a forward pass."""
    teacher, student = engine.teacher, engine.student.network()
    if teacher is not None and not teacher.ready:
        unbuilt = teacher

        def run_teacher(x: Any) -> Any:
            x = engine.inputs.of("teacher", x)
            return unbuilt.signals(x, [], fed=None, check_calls=False).output

        before = {id(variable) for variable in teacher.frozen_variables}
        _attempt("teacher", x, lambda: _backend.build_by(run_teacher, x))
        new = [v for v in teacher.frozen_variables if id(v) not in before]
        if any(variable.trainable for variable in new):
            warnings.warn(
                f"The teacher '{engine.teacher_network.name}' had no weights before "
                "the first batch: its outputs are those of a random network. Train it, "
                "or load its weights, before distillation.",
                stacklevel=2,
            )
    if not _backend.is_built(student):

        def run_student(x: Any) -> Any:
            return student(engine.inputs.of("student", x), training=False)

        _attempt("student", x, lambda: _backend.build_by(run_student, x))
    engine.bind_teacher()
    engine.objective.bind(engine.teacher_network, student)
    engine.find_parts()


class _Trial:
    """One step on a few examples, without effect.

    Args:
        engine: The parts of the Distiller.
        few: x, y, sample_weight and what the teacher's `on_batch` gave.
    """

    def __init__(self, engine: Engine, few: Any) -> None:
        self._engine = engine
        self._x, self._y, self._weight, self._fed = few
        self._noted: list[keras.Variable] = []
        model = engine.distiller
        own = [*model.variables, *engine.frozen_variables()]
        self._variables = list({id(v): v for v in own}.values())
        self._compiled = bool(model.compiled and model.jit_compile)
        self._compiled = self._compiled and not model.run_eagerly

    def run(self) -> dict[str, Any]:
        """Build the losses; return signals, terms and outputs of the step."""
        engine = self._engine
        if engine.objective.signal_specs is None or not _all_built(engine):
            shapes = _backend.shapes_of(self._signals, self._variables, self._compiled)
            engine.objective.build(engine.objective.specs(shapes))
            engine.find_parts()
            own = [*engine.distiller.variables, *engine.frozen_variables()]
            self._variables = list({id(v): v for v in own}.values())
        result: dict[str, Any] = _backend.run_trial(
            self._step, self._variables, self._compiled
        )
        known = {id(variable) for variable in self._variables}
        found = {id(v): v for v in self._noted if id(v) not in known}
        engine.closures = [*engine.closures, *found.values()]
        return result

    def _open(self, state: Any) -> Step:
        """Return a step in which both sides have run."""
        engine = self._engine
        step = Step(engine.distiller, training=False, checks=True, number=0)
        step.fed, step.noted = _backend.as_tensors(self._fed), self._noted
        with _backend.reading(state):
            step.values = engine.values.at(0)
        _attempt("teacher", self._x, lambda: engine.teach(step, self._x, state))
        with _backend.reading(state, self._noted), running(step):
            _attempt("student", self._x, lambda: self._run_student(step))
        _check_same_batch(step.teacher, step.student)
        return step

    def _run_student(self, step: Step) -> None:
        engine = self._engine
        x = engine.inputs.of("student", self._x)
        step.padding["student"] = engine.inputs.padding(x)
        wanted = engine.objective.requests("student")
        run_student(engine.student.network(), x, step, wanted, training=False)

    def _signals(self, state: Any) -> Any:
        step = self._open(state)
        return self._engine.objective.signals(step)

    def _step(self, state: Any) -> dict[str, Any]:
        objective, step = self._engine.objective, self._open(state)
        weight = task_counts(self._engine.distiller.loss, self._y, self._weight)
        batch = (self._x, self._y, weight)
        with _backend.reading(state, self._noted), running(step):
            reads = objective.reads(step, batch)
            terms = objective.terms(step, reads)
        return {
            "signals": [(read.teacher, read.student) for read in reads],
            "terms": terms,
            "outputs": step.student.output if step.student else None,
        }


def _all_built(engine: Engine) -> bool:
    return all(loss.built for loss in engine.objective.losses)


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
    except (_backend.PlainError, NotImplementedError):
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


def _check_labels(engine: Engine, y: Any) -> None:
    if y is None and _backend.reads_labels(engine.distiller):
        raise ValueError(
            "`metrics` given to `compile` need labels. Received: data without y. Give "
            "labels, or compile without metrics."
        )


def _check_same_batch(teacher: Any, student: Any) -> None:
    for record in (teacher, student):
        outputs = [] if record is None else keras.tree.flatten(record.output)
        if not all(ops.is_tensor(v) or isinstance(v, np.ndarray) for v in outputs):
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
