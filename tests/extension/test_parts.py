"""A user's own teacher, student, optimizer and losses do all that ours do."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_kd
from tests.extension import parts
from tests.extension.parts import Around, Pair, StoredRows, SureOnly, TaskFirst
from tests.training.helpers import log_softmax

CE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
SCHEDULE = keras.optimizers.schedules.PolynomialDecay(4.0, 6, 1.0)


def stored():
    """Rows of a table teach, found by the numbers of the examples."""
    x, y, table = parts.data()
    distiller = keras_kd.Distiller(
        StoredRows(table),
        parts.network(1),
        [keras_kd.LogitsDistillation(2.0), SureOnly()],
        sample_ids="id",
        student_inputs=parts.features,
    )
    distiller.compile(keras.optimizers.Adam(0.01), CE)
    return distiller, x, y


def two():
    """Two models are one student, trained by an optimizer that wants two gradients."""
    x, y, _ = parts.data()
    loss = keras_kd.LogitsDistillation(2.0, output=(None, "left"))
    distiller = keras_kd.Distiller(
        parts.network(0), Pair(parts.network(1), parts.network(2)), loss
    )
    distiller.compile(TaskFirst(0.1), {"left": CE, "right": CE})
    return distiller, x["x"], y


def composed():
    """A temperature follows its schedule three losses deep, beside learned factors."""
    x, y, _ = parts.data()
    loss = Around(Around(keras_kd.LogitsDistillation(SCHEDULE)), name="outer")
    distiller = keras_kd.Distiller(parts.network(0), parts.network(1), loss)
    distiller.compile(keras.optimizers.Adam(0.01), CE)
    return distiller, x["x"], y


CASES = {"stored": stored, "two": two, "composed": composed}


@pytest.mark.parametrize("case", CASES)
def test_saved_in_the_middle_a_run_resumes_bit_for_bit(case, tmp_path):
    """A part that loses a number in a file makes every later epoch another one."""
    runs = []
    for resumed in (False, True):
        keras.utils.set_random_seed(0)
        distiller, x, y = CASES[case]()
        distiller.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        if resumed:
            distiller.save(tmp_path / "run.keras")
            distiller = keras.saving.load_model(tmp_path / "run.keras")
        history = distiller.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        runs.append((history.history, distiller.get_weights()))
    (one, weights), (other, loaded) = runs
    assert one == other
    for left, right in zip(weights, loaded, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("how", ["fit", "evaluate", "train_on_batch", "dataset"])
def test_rows_reach_the_examples_that_they_belong_to(how):
    """Rows of other examples would teach the student something else, silently."""
    distiller, x, y = stored()
    table, student = distiller.teacher.table, distiller.student
    logits = ops.convert_to_numpy(student(x["x"]))
    gap = np.square(table[x["id"]] - logits).mean(-1)
    spread = table[x["id"]].max(-1) - table[x["id"]].min(-1)
    wanted = gap[spread > 1.0].mean()
    distiller.compile("sgd", CE)
    distiller.optimizer.learning_rate = 0.0
    if how == "train_on_batch":
        logs = distiller.train_on_batch(x, y, return_dict=True)
    elif how == "evaluate":
        logs = distiller.evaluate(x, y, batch_size=16, verbose=0, return_dict=True)
    else:
        given = (x, y)
        if how == "dataset":
            given = (Batches(x, y),)
        history = distiller.fit(*given, batch_size=16, verbose=0, shuffle=False)
        logs = {name: values[-1] for name, values in history.history.items()}
    assert float(logs["sure_only"]) == pytest.approx(wanted, rel=1e-5)


class Batches(keras.utils.PyDataset):
    """One batch of the data, as a user's own data set."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.x, self.y


def test_a_temperature_three_levels_deep_follows_its_schedule():
    """Frozen into the compiled step, it would stay what it was in the first."""
    distiller, x, y = composed()
    inner = distiller.distillation_losses[0].inner.inner
    logs = distiller.fit(x, y, batch_size=4, epochs=3, verbose=0, shuffle=False).history
    inner.temperature = 1.0
    fixed = distiller.evaluate(x, y, verbose=0, return_dict=True)["outer"]
    factors = [
        float(np.squeeze(ops.convert_to_numpy(part.factor.kernel)))
        for part in (distiller.distillation_losses[0],)
        for part in (part, part.inner)
    ]
    teacher, student = (
        ops.convert_to_numpy(model(x))
        for model in (distiller.teacher, distiller.student)
    )
    log_p, log_q = map(log_softmax, (teacher, student))
    wanted = np.prod(factors) * (np.exp(log_p) * (log_p - log_q)).sum(-1).mean()
    assert fixed == pytest.approx(wanted, rel=1e-4)
    assert len(set(logs["outer"])) == 3


def test_two_gradients_are_handed_over():
    """Without the task's gradient apart, half of it would be lost in silence."""
    distiller, x, y = two()
    plain, _, _ = two()
    plain.compile(keras.optimizers.SGD(0.1), dict.fromkeys(("left", "right"), CE))
    start = distiller.student.right.get_weights()
    for model in (distiller, plain):
        model.fit(x, y, batch_size=16, verbose=0)
    # No loss but the task reaches the model on the right: both are plain descent.
    for old, one, other in zip(
        start,
        distiller.student.right.get_weights(),
        plain.student.right.get_weights(),
        strict=True,
    ):
        assert np.abs(one - old).max() > 0
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_rows_are_not_looked_up_where_nothing_distils():
    """Validation data have other numbers, which the table does not know."""
    distiller, x, y = stored()
    distiller.evaluate_distillation = False
    other = {**x, "id": x["id"] + 1000}
    logs = distiller.fit(x, y, batch_size=8, verbose=0, validation_data=(other, y))
    assert "val_student_loss" in logs.history
    assert "val_distillation_loss" not in logs.history


def test_a_teacher_that_gives_no_recording_is_named():
    """ "'NoneType' has no attribute 'shape'" tells nobody what to return."""

    class Wrong(keras_kd.teachers.Teacher):
        def signals(self, x, requests, *, fed, check_calls):
            return None

    distiller = keras_kd.Distiller(
        Wrong(), parts.network(1), keras_kd.LogitsDistillation()
    )
    distiller.compile("sgd", CE)
    with pytest.raises(ValueError, match="`signals` of Wrong must return a"):
        distiller.fit(parts.data()[0]["x"], parts.data()[1], verbose=0)


@keras.saving.register_keras_serializable(package="tests")
class Holding(keras_kd.teachers.Teacher):
    """A model that is held by a teacher of one's own."""

    def __init__(self, model):
        self.model = model

    @property
    def frozen_variables(self):
        return list(self.model.variables)

    def signals(self, x, requests, *, fed, check_calls):
        return keras_kd.signals.Recording(None, "teacher", output=self.model(x))

    def get_config(self):
        return {"model": keras.saving.serialize_keras_object(self.model)}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config["model"]))


def test_a_teacher_of_ones_own_comes_back_with_its_weights(tmp_path):
    """A random network in its place would teach on, without a word."""
    x, y, _ = parts.data()
    distiller = keras_kd.Distiller(
        Holding(parts.network(3)), parts.network(1), keras_kd.LogitsDistillation()
    )
    distiller.compile("sgd", CE)
    distiller.fit(x["x"], y, verbose=0)
    distiller.save(tmp_path / "own.keras")
    loaded = keras.saving.load_model(tmp_path / "own.keras")
    one, other = (
        model.evaluate(x["x"], y, verbose=0, return_dict=True)
        for model in (distiller, loaded)
    )
    assert one == pytest.approx(other, rel=1e-6)


def test_teacher_and_student_stay():
    """Assigned, another teacher would be shown and the old one would teach."""
    distiller, _, _ = composed()
    for name in ("teacher", "student"):
        with pytest.raises(AttributeError, match=f"`{name}` of a Distiller cannot"):
            setattr(distiller, name, parts.network(5))
