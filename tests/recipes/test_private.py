"""What a private run gives away, and to whom."""

import builtins
import math
import shutil

import keras
import numpy as np
import pytest

from keras_kd import recipes
from tests.recipes.settings import build, data, quick, training
from tests.recipes.test_recipes import Interruption, Stop
from tests.training.helpers import assert_same, values_of

dp_accounting = pytest.importorskip("dp_accounting")


def run(folder, made=None, **changes):
    settings = {
        "classes": 4,
        "num_teachers": 4,
        "scale": 0.5,
        "delta": 1e-3,
        "verbose": 0,
        **changes,
    }
    public = settings.pop("public", data(40, seed=8)[0])
    return recipes.pate(
        build, build, public, made or training(), directory=folder, **settings
    )


def pld_epsilon(event, count, delta):
    """Return what another accountant of the library says: tighter, and slower."""
    from dp_accounting import pld

    accountant = pld.PLDAccountant()
    accountant.compose(dp_accounting.SelfComposedDpEvent(event, count))
    return accountant.get_epsilon(delta)


@pytest.mark.parametrize("scale", [20.0, 40.0])
def test_epsilon_against_the_formula_and_another_accountant(scale):
    """An ε that is too small is a promise that is broken."""
    count, delta = 100, 1e-5
    got = recipes.privacy_spent(count, scale=scale, delta=delta)
    # Gaussian mechanism of sensitivity √2, composed: RDP α · count / scale², turned
    # into (ε, δ) by the classical bound, for the best α.
    orders = np.concatenate([np.arange(1.01, 10, 0.01), np.arange(10, 200)])
    classical = (orders * count / scale**2 + math.log(1 / delta) / (orders - 1)).min()
    tight = pld_epsilon(
        dp_accounting.GaussianDpEvent(scale / math.sqrt(2)), count, delta
    )
    assert tight <= got <= classical
    assert got < 1.25 * tight


def test_epsilon_of_laplace_noise():
    """One answer by Laplace noise of scale b costs at most 2 / b."""
    spent = [
        recipes.privacy_spent(count, noise="laplace", scale=20.0, delta=1e-5)
        for count in (1, 100)
    ]
    event = dp_accounting.LaplaceDpEvent(10.0)
    for got, count in zip(spent, (1, 100), strict=True):
        tight = pld_epsilon(event, count, 1e-5)
        assert tight <= got < 1.25 * tight
        assert got < 1.05 * count * 2 / 20.0


def test_checks_against_the_threshold_cost_too():
    """Refused queries tell something as well."""
    one = recipes.privacy_spent(10, scale=20.0, delta=1e-5)
    both = recipes.privacy_spent(
        10, scale=20.0, delta=1e-5, queries=1000, threshold_scale=50.0
    )
    assert both > one
    only = recipes.privacy_spent(
        0, scale=20.0, delta=1e-5, queries=1000, threshold_scale=50.0
    )
    tight = pld_epsilon(dp_accounting.GaussianDpEvent(50.0), 1000, 1e-5)
    assert tight <= only < 1.25 * tight


def test_the_noise_is_as_large_as_it_says():
    """With less noise the reported ε would be another's."""
    random = np.random.default_rng(0)
    votes = np.tile(np.array([[12, 10]]), (40000, 1))
    for noise in ("gaussian", "laplace"):
        _, labels = recipes.noisy_labels(votes, noise=noise, scale=3.0, random=random)
        share = (labels == 0).mean()
        draws = np.random.default_rng(1)
        draw = draws.normal if noise == "gaussian" else draws.laplace
        gap = draw(0, 3.0, 400000) - draw(0, 3.0, 400000)
        assert share == pytest.approx((gap > -2).mean(), abs=0.01)
    answered, _ = recipes.noisy_labels(
        votes, scale=1.0, threshold=13.0, threshold_scale=2.0, random=random
    )
    assert answered.mean() == pytest.approx(
        0.5 * math.erfc(0.5 / math.sqrt(2)), abs=0.01
    )


def test_two_draws_differ():
    """Noise that can be repeated can be subtracted."""
    votes = np.full((200, 4), 3)
    first, second = (recipes.noisy_labels(votes, scale=1.0)[1] for _ in range(2))
    assert (first != second).any()


def test_the_student_learns_and_reports_its_epsilon(tmp_path):
    """The ε of a student is that of the answers it was taught by."""
    x, y = data(400, seed=3)
    private = data(600, seed=4)
    made = quick(*private, epochs=12)
    public = data(300, seed=8)[0]
    student = run(tmp_path, made, public=public, threshold=2.0, threshold_scale=0.5)
    assert (student.student.predict(x, verbose=0).argmax(-1) == y).mean() > 0.8
    wanted = recipes.privacy_spent(
        len(student.labels),
        scale=0.5,
        delta=1e-3,
        queries=300,
        threshold_scale=0.5,
    )
    assert student.epsilon == wanted > 0
    assert student.answered.sum() == len(student.labels)


def test_no_private_label_reaches_the_student(tmp_path, monkeypatch):
    """One planted label, of a class that nobody else has, must leave no trace."""
    x, y = data(80, seed=4)
    y = y % 3
    secret = 3
    y[17] = secret
    seen = []
    fit = keras.Model.fit

    def spy(model, x, **arguments):
        seen.append((x.x, x.y))
        return fit(model, x, **arguments)

    monkeypatch.setattr(keras.Model, "fit", spy)
    made = quick(x, y, epochs=20, batch_size=20)
    public = data(40, seed=8)[0]
    result = run(tmp_path, made, public=public, scale=0.1)
    *teachers, (student_x, student_y) = seen
    rows = [row.tobytes() for part, _ in teachers for row in part]
    # Each private example trains one teacher; so does the planted one.
    assert sorted(rows) == sorted(row.tobytes() for row in x)
    assert sum((labels == secret).any() for _, labels in teachers) == 1
    # The student sees public inputs, and as labels the noisy votes alone.
    np.testing.assert_array_equal(student_x, public[result.answered])
    np.testing.assert_array_equal(student_y, result.labels)
    assert not {row.tobytes() for row in student_x} & set(rows)
    assert secret not in result.labels
    predicted = result.student.predict(x, verbose=0).argmax(-1)
    assert (predicted != secret).all()


def test_an_interrupted_run_asks_no_second_time(tmp_path):
    """New noise after an interruption would spend the privacy twice, unnoticed."""
    Stop.left = 13  # in the student's second epoch, after four teachers
    with pytest.raises(Interruption):
        run(tmp_path, training(callbacks=lambda: [Stop()]))
    votes = (tmp_path / "votes/arrays.npz").read_bytes()
    first = run(tmp_path)
    assert (tmp_path / "votes/arrays.npz").read_bytes() == votes
    second = run(tmp_path)
    assert_same(values_of(first.student.weights), values_of(second.student.weights))
    np.testing.assert_array_equal(first.labels, second.labels)


OF_ALL_LABELS = {
    "validation_data": data(20),
    "class_weight": {0: 1.0, 1: 2.0, 2: 1.0, 3: 1.0},
    "sample_weight": np.ones(48),
}


@pytest.mark.parametrize("name", OF_ALL_LABELS)
def test_nobody_sees_what_follows_from_the_examples_of_all_teachers(name, tmp_path):
    """One label that changes all weights, or all stops, moves the votes of all.

    The reported ε is that of one vote.
    """
    changed = training(**{name: OF_ALL_LABELS[name]})
    with pytest.raises(ValueError, match=f"`training.{name}` must be None.*ε"):
        run(tmp_path, changed)
    if name != "validation_data":  # that of the student may be public
        with pytest.raises(ValueError, match=f"`student_training.{name}` must be"):
            run(tmp_path, student_training=changed)
    assert not list(tmp_path.iterdir())


def test_one_example_moves_the_votes_of_one_teacher(tmp_path):
    """That is what ε is computed from."""
    x, y = data(48, seed=4)
    other = y.copy()
    other[17] = (y[17] + 1) % 4
    weights = []
    for name, labels in (("one", y), ("other", other)):
        run(tmp_path / name, training(x=x, y=labels, epochs=2))
        weights.append(
            [
                build_from(tmp_path / name / f"teacher_{number}").get_weights()
                for number in range(4)
            ]
        )
    changed = [
        any(not np.array_equal(a, b) for a, b in zip(one, two, strict=True))
        for one, two in zip(*weights, strict=True)
    ]
    assert sum(changed) == 1


def build_from(folder):
    model = build()
    model.load_weights(folder / "student.weights.h5")
    return model


def test_votes_without_an_answer(tmp_path, monkeypatch):
    """Whoever asks again must know what the first time has cost."""
    none = np.zeros(40, bool), np.zeros(0, "int64")
    monkeypatch.setattr(recipes.voting, "noisy_labels", lambda *_, **__: none)
    with pytest.raises(ValueError, match="no query answered, at an ε of .*'votes'"):
        run(tmp_path, training(epochs=1), threshold=4.0, threshold_scale=1.0)


def test_the_teachers_can_be_asked_anew_and_the_votes_not(tmp_path):
    """Hours of training must not be lost to a number, nor two draws be mixed."""
    first = run(tmp_path, training(epochs=1))
    with pytest.raises(ValueError, match="made with other `noise`"):
        run(tmp_path, training(epochs=1), scale=5.0)
    (tmp_path / "votes/arrays.npz").unlink()
    with pytest.raises(ValueError, match="a student without votes"):
        run(tmp_path, training(epochs=1))
    for folder in ("votes", "student"):
        shutil.rmtree(tmp_path / folder)
    before = (tmp_path / "teacher_0/student.weights.h5").stat().st_mtime_ns
    second = run(tmp_path, training(epochs=1), scale=5.0)
    assert (tmp_path / "teacher_0/student.weights.h5").stat().st_mtime_ns == before
    assert second.epsilon < first.epsilon


def test_labels_may_be_a_column_or_one_hot(tmp_path, monkeypatch):
    """The student is compiled like its teachers, and needs labels like theirs."""
    seen = []
    fit = keras.Model.fit

    def spy(model, x, **arguments):
        seen.append(x.y)
        return fit(model, x, **arguments)

    monkeypatch.setattr(keras.Model, "fit", spy)
    x, y = data()
    run(tmp_path / "column", training(x=x, y=y[:, None], epochs=1))
    assert [labels.shape[1:] for labels in seen] == 5 * [(1,)]

    def compile_one_hot(model):
        model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))

    made = training(x=x, y=np.eye(4)[y], compile=compile_one_hot, epochs=1)
    student = run(tmp_path / "one_hot", made)
    assert student.labels.shape == (40,)


def test_without_the_accountant(monkeypatch, tmp_path):
    """The message must name the command before hours of training are lost."""
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("dp_accounting"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"pip install 'keras-kd\[private\]'"):
        run(tmp_path)


def test_malformed(tmp_path):
    """A setting that gives no privacy must not run."""
    for changes, message in (
        ({"scale": 0.0}, "`scale` must be a number above 0"),
        ({"delta": 0.0}, "`delta` must be between 0 and 1"),
        ({"noise": "uniform"}, "`noise` must be one of"),
        ({"threshold": 3.0}, "`threshold_scale` must be a number above 0"),
        ({"num_teachers": 1}, "`num_teachers` must be an integer"),
        ({"num_teachers": 1000}, "`num_teachers` must be no larger"),
        ({"delta": 0.1}, "`delta` must be below 1 / the number of private"),
        ({"threshold_scale": 3.0}, "`threshold_scale` must be given together with"),
        ({"threshold": math.nan, "threshold_scale": 1.0}, "`threshold` must be None"),
        ({"threshold": 5.0, "threshold_scale": 1.0}, "at most `num_teachers`"),
        ({"classes": 3}, "one logit for each of `classes`"),
        ({"public": np.zeros((40, 5))}, "must return a model that takes `public`"),
    ):
        with pytest.raises(ValueError, match=message):
            run(tmp_path, **changes)
    with pytest.raises(ValueError, match="`training` must hold arrays x and y"):
        run(tmp_path, training(x=lambda epoch: None))
    # Nothing was trained for any of these.
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="`queries` must be given together"):
        recipes.privacy_spent(1, scale=1.0, delta=0.1, queries=3)
    with pytest.raises(ValueError, match="`answered` must be an integer"):
        recipes.privacy_spent(-1, scale=1.0, delta=0.1)
