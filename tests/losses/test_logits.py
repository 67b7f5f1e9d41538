"""The methods on logits where the common table does not reach."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_kd
from keras_kd.layers.learned_temperature import LearnedTemperature
from keras_kd.losses.logits.correlation_distillation import CorrelationDistillation
from keras_kd.losses.logits.curriculum_temperature import CurriculumTemperature
from keras_kd.losses.logits.decoupled_distillation import DecoupledDistillation
from keras_kd.losses.logits.multi_level_logit_distillation import (
    MultiLevelLogitDistillation,
)
from keras_kd.losses.logits.normalized_distillation import NormalizedDistillation
from keras_kd.losses.logits.refined_logit_distillation import RefinedLogitDistillation
from keras_kd.losses.logits.transformed_teacher_matching import (
    TransformedTeacherMatching,
)
from keras_kd.losses.self_distillation import VirtualTeacherDistillation
from keras_kd.ops import divergences, target_classes
from keras_kd.ops.correlations import pearson_correlation
from keras_kd.schedules import LinearWarmup
from tests.gradients import value_and_gradient
from tests.losses import references as ref
from tests.losses import references_logits
from tests.losses.calls import called
from tests.training.helpers import data, distil, fit_steps, outputs, pair

LABELLED = [
    DecoupledDistillation,
    NormalizedDistillation,
    RefinedLogitDistillation,
    VirtualTeacherDistillation,
]
UNLABELLED = [CorrelationDistillation, TransformedTeacherMatching]
EVERY = [*LABELLED, *UNLABELLED, MultiLevelLogitDistillation, CurriculumTemperature]
LABELS = np.array([0, 2, 1, 2])


def draw(seed=0, shape=(4, 3)):
    random = np.random.default_rng(seed)
    return [random.normal(0, 2, shape).astype("float32") for _ in range(2)]


def spec(*shape):
    return keras.KerasTensor((None, *shape))


def values_of(loss, teacher, student, y=None, **context):
    step = keras_kd.StepContext(y=y, **context)
    return called(
        loss, ops.convert_to_tensor(teacher), ops.convert_to_tensor(student), step
    )


def as_array(tensor):
    return ops.convert_to_numpy(tensor).astype("float64")


# The divergences


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_adaptive_kl_weighs_by_a_constant_share(alpha):
    """A weight that is differentiated would teach the student to move the weight."""
    t, s = draw()
    value, gradient = value_and_gradient(
        lambda x: ops.sum(
            divergences.adaptive_kl_divergence(t, x, alpha=alpha, temperature=2.0)
        ),
        s,
    )
    weight = references_logits.adaptive_weight(t, s, 2.0, alpha)
    wanted = weight * ref.kl(t, s, 2.0) + (1 - weight) * ref.reverse_kl(t, s, 2.0)
    assert value == pytest.approx(wanted.sum(), rel=1e-5)
    p, q = ref.softmax(t / 2.0), ref.softmax(s / 2.0)
    d = np.log(q / p)
    reverse = q * (d - (q * d).sum(-1, keepdims=True))
    slope = 2.0 * (weight[:, None] * (q - p) + (1 - weight)[:, None] * reverse)
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-5)


def test_adaptive_kl_of_equal_and_of_large_logits():
    """0 / 0 in the share would end the training of a student that is perfect."""
    t, _ = draw()
    for name, student in (("equal", t), ("large", -1e4 * t)):
        value, gradient = value_and_gradient(
            lambda x: ops.sum(divergences.adaptive_kl_divergence(t, x)), student
        )
        assert np.isfinite(gradient).all(), name
        assert value == pytest.approx(0.0, abs=1e-6) or name == "large"


def test_symmetric_kl_has_both_divergences_at_its_ends():
    """A weight on the wrong side would swap the two."""
    t, s = draw()
    for weight, wanted in ((1.0, ref.kl), (0.0, ref.reverse_kl)):
        value = divergences.symmetric_kl_divergence(t, s, forward_weight=weight)
        np.testing.assert_allclose(as_array(value), wanted(t, s), rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("symmetric_kl_divergence", "forward_weight"),
        ("adaptive_kl_divergence", "alpha"),
    ],
)
def test_weights_of_divergences_are_checked(name, argument):
    """A weight above 1 would reward the student for being far off."""
    with pytest.raises(ValueError, match=f"`{argument}` must be from 0 to 1. Rec"):
        keras_kd.Divergence(name, **{argument: 1.5})


# The target and the others


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_decoupled_terms_add_up_to_the_kl_divergence(temperature):
    """KL = TCKD + (1 − p_y) NCKD is the identity that the method starts from."""
    t, s = draw()
    p_y = ref.softmax(t / temperature)[np.arange(4), LABELS]

    def scalar(x):
        return ops.sum(
            target_classes.decoupled_kl_divergence(
                t,
                x,
                LABELS,
                alpha=1.0,
                beta=ops.convert_to_tensor(1 - p_y, "float32"),
                temperature=temperature,
            )
        )

    value, gradient = value_and_gradient(scalar, s)
    assert value == pytest.approx(ref.kl(t, s, temperature).sum(), rel=1e-5)
    p, q = ref.softmax(t / temperature), ref.softmax(s / temperature)
    np.testing.assert_allclose(gradient, temperature * (q - p), rtol=1e-4, atol=1e-5)


def test_refined_is_the_plain_confidence_where_all_is_masked():
    """A softmax over no class at all is not a number."""
    teacher = np.array([[1.0, 2.0, 3.0]], "float32")
    student = np.array([[0.3, 0.1, 0.2]], "float32")
    value, gradient = value_and_gradient(
        lambda x: ops.sum(
            target_classes.refined_kl_divergence(
                teacher, x, np.array([0]), alpha=0.0, beta=8.0
            )
        ),
        student,
    )
    assert value == 0.0
    np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("make", [*LABELLED, *UNLABELLED])
def test_a_class_left_out_on_both_sides_is_no_class(make):
    """Padding of the vocabulary, masked by -inf, must change nothing."""
    left_out = np.full((4, 1), -np.inf, "float32")
    t, s = draw()
    kept = [0, 1, 3]

    def scalar(x, teacher, y):
        # A weight for each value, so that no error of one hides behind another.
        return ops.sum(
            called(make(), ops.convert_to_tensor(teacher), x, keras_kd.StepContext(y=y))
            * ops.convert_to_tensor([1.0, -2.0, 0.5, 3.0])
        )

    def padded(x):
        return np.concatenate([x[:, :2], left_out, x[:, 2:]], axis=1)

    wanted, slope = value_and_gradient(lambda x: scalar(x, t, LABELS), s)
    value, gradient = value_and_gradient(
        lambda x: scalar(x, padded(t), np.array(kept)[LABELS]), padded(s)
    )
    assert value == pytest.approx(wanted, rel=1e-4)
    np.testing.assert_allclose(gradient[:, kept], slope, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(gradient[:, 2], 0.0)


@pytest.mark.parametrize("make", LABELLED)
def test_only_the_target_is_left(make):
    """All other classes masked: an empty softmax must not become NaN."""
    logits = np.array([[1.0, -np.inf, -np.inf]], "float32")
    value, gradient = value_and_gradient(
        lambda x: ops.sum(values_of(make(), logits, x, np.array([0]))), logits
    )
    assert value == pytest.approx(0.0, abs=1e-6)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("make", LABELLED)
def test_a_label_that_names_no_class_is_ignored(make):
    """-100 marks the positions of a text that nobody labelled."""
    t, s = draw()
    y = np.array([-100, 2, 1, -1])
    value, gradient = value_and_gradient(
        lambda x: ops.sum(values_of(make(), t, x, y)), s
    )
    wanted = as_array(values_of(make(), t, s, LABELS))
    assert value == pytest.approx(wanted[1:3].sum(), rel=1e-5)
    np.testing.assert_array_equal(gradient[[0, 3]], 0.0)


@pytest.mark.parametrize("make", LABELLED)
@pytest.mark.parametrize(
    "form",
    [
        LABELS.astype("int64"),
        LABELS.astype("float32"),
        LABELS[:, None],
        np.eye(3, dtype="float32")[LABELS],
        0.2 + 0.4 * np.eye(3, dtype="float32")[LABELS],
    ],
    ids=["int64", "float32", "column", "one_hot", "smoothed"],
)
def test_labels_come_in_every_form_that_keras_takes(make, form):
    """One-hot labels read as indices would all be class 0 or 1."""
    t, s = draw()
    wanted = as_array(values_of(make(), t, s, LABELS))
    found = values_of(make(), t, s, ops.convert_to_tensor(form))
    np.testing.assert_array_equal(as_array(found), wanted)


@pytest.mark.parametrize("make", LABELLED)
def test_labels_of_several_outputs_are_selected(make):
    """Labels of another output would be learned."""
    t, s = draw()
    wanted = as_array(values_of(make(), t, s, LABELS))
    other = np.zeros(4)
    for output, y in (("a", {"a": LABELS, "b": other}), (1, [other, LABELS])):
        found = values_of(make(output=output), t, s, y)
        np.testing.assert_array_equal(as_array(found), wanted)


@pytest.mark.parametrize("make", LABELLED)
def test_missing_and_foreign_labels_are_refused(make):
    """A method that quietly learns from wrong labels is worse than none."""
    t, s = draw()
    cases = {
        "labels. Received: data without y": None,
        "labels of one output.*'a', 'b'": {"a": LABELS, "b": LABELS},
        "labels of one output.*a list of 2": [LABELS, LABELS],
        r"index per distribution, of shape \(4,\).*\(3,\)": LABELS[:3],
        r"index per distribution, of shape \(4,\).*\(4, 5\)": np.ones((4, 5)),
        r"index per distribution, of shape \(4,\).*\(4, 3, 1, 2\)": np.ones(
            (4, 3, 1, 2)
        ),
    }
    for message, y in cases.items():
        with pytest.raises(ValueError, match=f"(?s){make.__name__} needs.*{message}"):
            values_of(make(), t, s, y)


# Relations in the batch


def test_pearson_correlation_knows_lines():
    """A covariance without the norms would depend on the scale."""
    x = np.random.default_rng(0).normal(size=(3, 7))
    for slope, wanted in ((2.5, 1.0), (-0.1, -1.0)):
        found = pearson_correlation(x, slope * x + 3.0)
        np.testing.assert_allclose(as_array(found), wanted, atol=1e-5)
    mask = np.ones_like(x)
    mask[:, 5:] = 0
    y = np.random.default_rng(1).normal(size=(3, 7))
    wanted = [np.corrcoef(a[:5], b[:5])[0, 1] for a, b in zip(x, y, strict=True)]
    found = pearson_correlation(x, y, mask=mask)
    np.testing.assert_allclose(as_array(found), wanted, rtol=1e-4)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_an_undecided_student_has_a_gradient_that_half_precision_holds(classes):
    """A last layer that starts at zero: what rounding leaves would be amplified."""
    teacher, _ = draw(shape=(4, classes))
    value, gradient = value_and_gradient(
        lambda x: ops.sum(values_of(CorrelationDistillation(), teacher, x)),
        np.full((4, classes), 0.1, "float16"),
    )
    assert value == pytest.approx(8.0, rel=1e-2)
    assert np.isfinite(gradient).all()
    assert 0 < np.abs(gradient).max() < 100


@pytest.mark.parametrize("make", [CorrelationDistillation, MultiLevelLogitDistillation])
def test_relations_do_not_feel_who_is_left_out(make):
    """A padded example that enters a relation teaches the others nonsense."""
    t, s = draw()
    weights = np.array([1.0, 0.0, 2.0, 1.0], "float32")
    kept = [0, 2, 3]
    masked = values_of(make(), t, s, sample_weight=ops.convert_to_tensor(weights))
    wanted = values_of(make(), t[kept], s[kept])
    np.testing.assert_allclose(as_array(masked)[kept], as_array(wanted), rtol=1e-5)
    nobody = values_of(make(), t, s, sample_weight=ops.zeros((4,)))
    assert np.isfinite(as_array(nobody)).all()


# The temperature that learns


def built_curriculum(*args, **kwargs):
    loss = CurriculumTemperature(*args, **kwargs)
    loss.build(spec(3), spec(3))
    return loss


@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
@pytest.mark.parametrize(
    ("name", "reference"),
    [("kl_divergence", ref.kl), ("reverse_kl_divergence", ref.reverse_kl)],
)
def test_curriculum_reverses_the_gradient_of_its_temperature(strength, name, reference):
    """With the sign of descent it would look for the easiest temperature."""
    t, s = draw()
    loss = built_curriculum(strength, name, minimum=0.5, span=6.0)

    def temperature(theta):
        return 0.5 + 6.0 / (1.0 + np.exp(-theta))

    def scalar(theta):
        pair = [(loss.layers[0].theta, theta)]
        with keras.StatelessScope(state_mapping=pair):
            return ops.sum(values_of(loss, t, s))

    theta, small = 0.3, 1e-5
    value, gradient = value_and_gradient(scalar, np.float32(theta))
    assert value == pytest.approx(reference(t, s, temperature(theta)).sum(), rel=1e-5)
    high, low = (reference(t, s, temperature(theta + e)) for e in (small, -small))
    rise = (high - low).sum() / (2 * small)
    assert float(gradient) == pytest.approx(-strength * rise, rel=1e-3, abs=1e-6)


def test_curriculum_starts_where_the_paper_does_and_teaches_the_student():
    """The student must learn as from the plain divergence at this temperature."""
    t, s = draw()
    loss = built_curriculum(1.0)
    start = 1 + 20 / (1 + np.exp(-1))
    assert loss.temperature == pytest.approx(start)
    value, gradient = value_and_gradient(lambda x: ops.sum(values_of(loss, t, x)), s)
    assert value == pytest.approx(ref.kl(t, s, start).sum(), rel=1e-4)
    slope = start * (ref.softmax(s / start) - ref.softmax(t / start))
    np.testing.assert_allclose(gradient, slope, rtol=1e-3, atol=1e-5)
    standardized = as_array(values_of(built_curriculum(1.0, standardize=True), t, s))
    wanted = ref.kl(ref.standardize(t), ref.standardize(s), start)
    np.testing.assert_allclose(standardized, wanted, rtol=1e-4)


@pytest.mark.parametrize("name", keras_kd.Divergence.names())
def test_curriculum_moves_on_where_classes_are_left_out(name):
    """−∞ / T has an infinite slope in T: one NaN in θ is one for ever."""
    t, s = draw()
    t[:, 1] = s[:, 1] = -np.inf
    loss = built_curriculum(1.0, name)

    def scalar(theta):
        pair = [(loss.layers[0].theta, theta)]
        with keras.StatelessScope(state_mapping=pair):
            return ops.sum(values_of(loss, t, s))

    value, gradient = value_and_gradient(scalar, np.float32(1.0))
    assert np.isfinite(value)
    assert np.isfinite(gradient)


def test_curriculum_survives_large_float16_signals():
    """One large logit in half precision must not end a training run with NaN."""
    t, s = (1e4 * np.sign(x) for x in draw())
    loss = built_curriculum(1.0)
    value, gradient = value_and_gradient(
        lambda x: ops.sum(values_of(loss, t.astype("float16"), x)),
        s.astype("float16"),
    )
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_curriculum_survives_its_own_config():
    """A reloaded loss would start another curriculum."""
    for loss in (
        CurriculumTemperature(),
        CurriculumTemperature(
            LinearWarmup(0.5, 7),
            keras_kd.Divergence("skew_kl_divergence", alpha=0.2),
            minimum=0.5,
            span=3.0,
            initial_theta=-1.0,
            standardize=True,
            name="mine",
        ),
    ):
        again = keras.saving.deserialize_keras_object(
            keras.saving.serialize_keras_object(loss)
        )
        assert again.get_config() == loss.get_config()
        assert again.temperature == loss.temperature
    layer = LearnedTemperature(1.0, 20.0, initial_theta=0.5, name="t")
    config = layer.get_config()
    assert LearnedTemperature.from_config(config).get_config() == config


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_curriculum_moves_its_temperature_in_fit_only(strength):
    """θ has to train with the student, and with nobody in an evaluation."""
    x, y = data()
    teacher, student = pair()
    loss = CurriculumTemperature(strength, initial_theta=0.0)
    distiller = distil(teacher, student, loss, rate=1.0, student_loss_weight=0.0)
    fit_steps(distiller, x, y, steps=3)
    after = loss.temperature
    assert (after != pytest.approx(11.0, abs=1e-6)) == bool(strength)
    distiller.evaluate(x, y, verbose=0)
    assert loss.temperature == after


def test_curriculum_arguments_are_checked():
    """A bound of 0 would divide by a temperature of 0."""
    with pytest.raises(ValueError, match="`minimum` must be a number that is greater"):
        CurriculumTemperature(minimum=0.0)
    with pytest.raises(ValueError, match="`span` must be a number. .*trains by itself"):
        CurriculumTemperature(span=LinearWarmup(1.0, 3))
    with pytest.raises(ValueError, match="`loss` must be one divergence.*'mse'"):
        CurriculumTemperature(loss="mse")
    with pytest.raises(ValueError, match="`reversal_strength` must be .* at least 0"):
        CurriculumTemperature(-1.0)


# What does not fit


@pytest.mark.parametrize("make", EVERY)
def test_several_outputs_have_to_be_selected(make):
    """Two outputs at once have no one set of labels."""
    several = {"a": spec(3), "b": spec(3)}
    with pytest.raises(ValueError, match="(?s)works on one output.*'a', 'b'.*`output="):
        make().build(several, several)
    with pytest.raises(ValueError, match="(?s)works on one output.*2, a list"):
        make().build([spec(3)] * 2, [spec(3)] * 2)


@pytest.mark.parametrize("make", EVERY)
def test_one_class_is_no_choice(make):
    """A sigmoid output has no class to compare with."""
    with pytest.raises(ValueError, match="(?s)at least 2.*classes on the last axis"):
        make().build(spec(1), spec(1))


@pytest.mark.parametrize("make", [CorrelationDistillation, MultiLevelLogitDistillation])
def test_relations_of_tokens_are_refused(make):
    """Tokens related across examples would be another method."""
    with pytest.raises(ValueError, match=r"(?s)relates the examples.*\(None, 4, 3\)"):
        make().build(spec(4, 3), spec(4, 3))


@pytest.mark.parametrize("make", EVERY)
def test_probabilities_and_broken_logits_are_refused(make):
    """A softmax of a softmax trains a student to be undecided."""
    logits = np.array([[1.0, 2.0, 3.0]], "float32")
    probabilities = ref.softmax(logits).astype("float32")
    make().check(logits, logits)
    with pytest.raises(ValueError, match=f"{make.__name__} needs logits. .*student"):
        make().check(logits, probabilities)
    with pytest.raises(ValueError, match="(?s)student's signal.*must be finite"):
        make().check(logits, logits * np.nan)


def test_numbers_out_of_range_are_refused():
    """A typing error in a weight would show as a bad model only."""
    for make, argument in (
        (lambda: DecoupledDistillation(alpha=-1.0), "alpha"),
        (lambda: DecoupledDistillation(beta=-1.0), "beta"),
        (lambda: NormalizedDistillation(gamma=-1.0), "gamma"),
        (lambda: RefinedLogitDistillation(confidence_temperature=0.0), "confidence"),
        (lambda: CorrelationDistillation(temperature=0.0), "temperature"),
        (lambda: TransformedTeacherMatching(0.0), "gamma"),
        (lambda: VirtualTeacherDistillation(1.5), "correct_probability"),
        (lambda: MultiLevelLogitDistillation([1.0, 0.0]), "temperatures"),
        (lambda: MultiLevelLogitDistillation([]), "temperatures` must be a list"),
        (lambda: MultiLevelLogitDistillation(4.0), "temperatures` must be a list"),
        (
            lambda: MultiLevelLogitDistillation([LinearWarmup(1.0, 2)]),
            "temperatures` must be positive numbers",
        ),
    ):
        with pytest.raises(ValueError, match=f"(?s)`{argument}.*Received"):
            make()


# In a run


def test_labels_and_a_warmed_up_weight_reach_the_loss_in_fit():
    """Without the warm-up the random student is torn from the labels at once."""
    x, y = data()
    teacher, student = pair()
    distiller = distil(
        teacher,
        student,
        DecoupledDistillation(beta=2.0),
        distillation_loss_weights=[LinearWarmup(1.0, 4)],
        student_loss_weight=0.0,
        distillation_weight=1.0,
    )
    t, s = outputs(teacher, x), outputs(student, x)
    wanted = references_logits.decoupled(t, s, y, 1.0, 2.0, 4.0).mean()
    weights = distiller.student.get_weights()
    found = []
    for _ in range(5):
        distiller.student.set_weights(weights)
        found += fit_steps(distiller, x, y)["loss"]
    expected = [share * wanted for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_virtual_teacher_needs_no_model():
    """A method without a teacher that asks for one is none."""
    x, y = data()
    _, student = pair()
    loss = VirtualTeacherDistillation(0.9, temperature=0.5)
    distiller = distil(None, student, loss, student_loss_weight=0.0)
    wanted = references_logits.virtual_teacher(outputs(student, x), y, 0.9, 0.5)
    history = fit_steps(distiller, x, y)
    np.testing.assert_allclose(history["loss"], [wanted.mean()], rtol=1e-4)


def test_a_virtual_teacher_learns_from_the_half_of_the_batch_that_counts():
    """Weights must reach a loss that has no teacher's signal."""
    x, y = data()
    _, student = pair()
    distiller = distil(
        None, student, VirtualTeacherDistillation(), student_loss_weight=0.0
    )
    weights = np.array([1, 0] * 4, "float32")
    values = references_logits.virtual_teacher(outputs(student, x), y, 0.99, 20.0)
    found = distiller.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
    assert found["distillation_loss"] == pytest.approx(values[::2].mean(), rel=1e-4)
