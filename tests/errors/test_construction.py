"""Uses that are wrong before any batch is seen: arguments, names and settings."""

import keras
import numpy as np
import pytest
from keras.optimizers.schedules import ExponentialDecay

from keras_kd import (
    AttentionDistillation,
    AttentionTransfer,
    DistillationLoss,
    Distiller,
    Divergence,
    FeatureDistillation,
    HardLabelDistillation,
    LogitsDistillation,
    Output,
    Tap,
    load_distiller,
)
from tests.errors.malformed import CROSSENTROPY, Use, X, Y, pair, predicts, unchanged

Logits = LogitsDistillation
NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module")
def models():
    """Two models that live through all malformed uses of this file."""
    return pair()


def nested(name):
    """Return a model in which the layer name "relu" stands for two layers."""
    blocks = [
        keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(4, name="relu")], name=block
        )
        for block in ("block_0", "block_1")
    ]
    head = keras.layers.Dense(3, name="logits")
    return keras.Sequential([keras.Input((4,)), *blocks, head], name=name)


def attending(name, count):
    inputs = hidden = keras.Input((3, 4))
    for place in range(count):
        layer = keras.layers.MultiHeadAttention(1, 2, name=f"attention_{place}")
        hidden = layer(hidden, hidden)
    outputs = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(hidden))
    return keras.Model(inputs, outputs, name=name)


def attention(**settings):
    def construct(t, s):
        del t, s
        return Distiller(
            attending("t", 2), attending("s", 1), AttentionDistillation(**settings)
        )

    return construct


def assign_weight(t, s, place, value):
    distiller = Distiller(t, s, Logits())
    distiller.distillation_loss_weights[place] = value


def assign(owner, name, value):
    setattr(owner, name, value)


NUMBERS = [
    (
        "temperature_zero",
        lambda t, s: Logits(temperature=0),
        r"`temperature` must be a number that is greater than 0.*temperature=0",
    ),
    (
        "temperature_negative",
        lambda t, s: Logits(temperature=-2.0),
        r"`temperature` must be .* greater than 0.*temperature=-2.0",
    ),
    (
        "temperature_nan",
        lambda t, s: Logits(temperature=NAN),
        r"`temperature` must be .*temperature=nan",
    ),
    (
        "temperature_bool",
        lambda t, s: Logits(temperature=True),
        r"`temperature` must be .*temperature=True \(of type bool\)",
    ),
    (
        "temperature_string",
        lambda t, s: Logits(temperature="3"),
        r"`temperature` must be .*temperature='3' \(of type str\)",
    ),
    (
        "temperature_assigned",
        lambda t, s: assign(Logits(), "temperature", 0.0),
        r"`temperature` must be .* greater than 0.*temperature=0.0",
    ),
    (
        "temperature_schedule_outside_of_a_step",
        lambda t, s: Logits(temperature=ExponentialDecay(4.0, 10, 0.5)).compute_loss(
            np.eye(3), np.eye(3)
        ),
        r"`temperature` of LogitsDistillation follows a schedule.*outside of a train",
    ),
    (
        "student_loss_weight_string",
        lambda t, s: Distiller(t, s, Logits(), student_loss_weight="half"),
        r"`student_loss_weight` must be .*='half' \(of type str\)",
    ),
    (
        "student_loss_weight_above_1",
        lambda t, s: Distiller(t, s, Logits(), student_loss_weight=1.5),
        r"`student_loss_weight` must be .* at most 1.*student_loss_weight=1.5",
    ),
    (
        "student_loss_weight_assigned",
        lambda t, s: assign(Distiller(t, s, Logits()), "student_loss_weight", -0.1),
        r"`student_loss_weight` must be .* at least 0.*student_loss_weight=-0.1",
    ),
    (
        "distillation_weight_negative",
        lambda t, s: Distiller(t, s, Logits(), distillation_weight=-1),
        r"`distillation_weight` must be .* at least 0.*distillation_weight=-1",
    ),
    (
        "loss_weight_negative",
        lambda t, s: Distiller(t, s, Logits(), [-1.0]),
        r"`distillation_loss_weights` must be .* at least 0.*weights=-1.0",
    ),
    (
        "loss_weight_infinite",
        lambda t, s: Distiller(t, s, Logits(), [INF]),
        r"`distillation_loss_weights` must be .*weights=inf",
    ),
    (
        "loss_weights_of_the_wrong_length",
        lambda t, s: Distiller(t, s, [Logits(), HardLabelDistillation()], [1.0]),
        r"`distillation_loss_weights` must hold one weight per loss, 2. Received: 1",
    ),
    (
        "loss_weights_as_text",
        lambda t, s: Distiller(t, s, Logits(), "1.0"),
        r"`distillation_loss_weights` must be None or a list.*='1.0'",
    ),
    (
        "loss_weight_assigned",
        lambda t, s: assign_weight(t, s, 0, "much"),
        r"`distillation_loss_weights` must be .*='much'",
    ),
    (
        "power_zero",
        lambda t, s: AttentionTransfer(power=0),
        r"`power` must be a positive number. Received: power=0",
    ),
    (
        "power_nan",
        lambda t, s: AttentionTransfer(power=NAN),
        r"`power` must be a positive number. Received: power=nan",
    ),
]

MODELS = [
    (
        "teacher_as_text",
        lambda t, s: Distiller("resnet50", s, Logits()),
        r"`teacher` must be a keras.Model.*teacher='resnet50' \(of type str\)",
    ),
    (
        "teacher_as_class",
        lambda t, s: Distiller(keras.Sequential, s, Logits()),
        r"`teacher` must be a keras.Model.*of type type",
    ),
    (
        "teacher_missing",
        lambda t, s: Distiller(None, s, Logits()),
        r"`teacher` must be given.*teacher=None with \['logits_distillation'\]",
    ),
    (
        "student_missing",
        lambda t, s: Distiller(t, None, Logits()),
        r"`student` must be a keras.Model. Received: student=None",
    ),
    (
        "student_as_layer",
        lambda t, s: Distiller(t, s.get_layer("logits"), Logits()),
        r"`student` must be a keras.Model. .* \(of type Dense\)",
    ),
    (
        "student_as_class",
        lambda t, s: Distiller(t, keras.Sequential, Logits()),
        r"`student` must be a keras.Model. .* \(of type type\)",
    ),
    (
        "teacher_inputs_as_text",
        lambda t, s: Distiller(t, s, Logits(), teacher_inputs="image"),
        r"`teacher_inputs` must be None or a function.*teacher_inputs='image'",
    ),
    (
        "fit_before_compile",
        lambda t, s: Distiller(t, s, Logits()).fit(X, Y),
        r"call `compile\(\)` before",
    ),
]

LOSSES = [
    (
        "teacher_is_the_student",
        lambda t, s: Distiller(s, s, LogitsDistillation()),
        r"`teacher` must be another model.*for both.*MovingAverage",
    ),
    (
        "losses_empty",
        lambda t, s: Distiller(t, s, []),
        r"`distillation_losses` must hold at least one.*distillation_losses=\[\]",
    ),
    (
        "loss_as_class",
        lambda t, s: Distiller(t, s, LogitsDistillation),
        r"`distillation_losses` must be .*Give an object: LogitsDistillation\(\)",
    ),
    (
        "loss_of_keras",
        lambda t, s: Distiller(t, s, keras.losses.KLDivergence()),
        r"`distillation_losses` must be .*Wrap it: LogitsDistillation\(loss=...\)",
    ),
    (
        "loss_as_text",
        lambda t, s: Distiller(t, s, "kl_divergence"),
        r"`distillation_losses` must be .*Received: 'kl_divergence'.*Wrap it",
    ),
    (
        "loss_twice",
        lambda t, s: Distiller(t, s, [Logits()] * 2),
        r"`distillation_losses` must not hold the same object twice",
    ),
    (
        "loss_without_call",
        lambda t, s: DistillationLoss().compute_loss(np.eye(3), np.eye(3)),
        r"DistillationLoss must override `call`",
    ),
    (
        "losses_all_none",
        lambda t, s: Logits(loss={"a": None, "b": None}),
        r"`loss` must hold a loss for at least one output. Received: loss=",
    ),
    (
        "loss_nameless",
        lambda t, s: Logits(name=""),
        r"`name` must be None or a non-empty string. Received: name=''",
    ),
    (
        "divergence_unknown",
        lambda t, s: Divergence("kl_divergance"),
        r"`name` must be one of kl_divergence, .*name='kl_divergance'",
    ),
    (
        "divergence_unknown_in_a_loss",
        lambda t, s: Logits(loss="kl_divergance"),
        r"`loss` must be the name of a divergence .*Received: 'kl_divergance'",
    ),
    (
        "divergence_parameter_unknown",
        lambda t, s: Divergence("kl_divergence", beta=0.5),
        r"`kl_divergence` takes no parameters. Received: beta",
    ),
    (
        "divergence_beta",
        lambda t, s: Divergence("jensen_shannon_divergence", beta=1.5),
        r"`beta` must be from 0 to 1. Received: beta=1.5",
    ),
    (
        "divergence_alpha",
        lambda t, s: Divergence("skew_kl_divergence", alpha=1),
        r"`alpha` must be at least 0 and below 1. Received: alpha=1",
    ),
    (
        "divergence_beta_as_text",
        lambda t, s: Divergence("jensen_shannon_divergence", beta="half"),
        r"`beta` must be a number. Received: beta='half' \(of type str\)",
    ),
    (
        "output_of_three",
        lambda t, s: Logits(output=("a", "b", "c")),
        r"`output` must be None, a name or index, or a pair.*output=\('a', 'b', 'c'\)",
    ),
    (
        "output_bool",
        lambda t, s: Output(True),
        r"`key` must be None, or the name or index of an output. Received: key=True",
    ),
    (
        "projector_as_text",
        lambda t, s: FeatureDistillation(projector="linear"),
        r"`projector` must be 'auto', None or a Keras layer.*projector='linear'",
    ),
]

LAYERS = [
    (
        "layer_unknown",
        lambda t, s: Distiller(t, s, FeatureDistillation("mse", "hiden", "hidden")),
        r"No layer 'hiden' in the teacher 'teacher'.*Did you mean 'hidden'\?",
    ),
    (
        "layer_unknown_of_the_student",
        lambda t, s: Distiller(t, s, FeatureDistillation("mse", "hidden", "head/x")),
        r"No layer 'head/x' in the student 'student'",
    ),
    (
        "layer_name_ambiguous",
        lambda t, s: Distiller(
            nested("t"), nested("s"), FeatureDistillation("mse", "relu", "relu")
        ),
        r"'relu' must be unique.*'block_0/relu', 'block_1/relu'. Give one of these",
    ),
    (
        "layer_of_another_model",
        lambda t, s: Distiller(
            t, s, FeatureDistillation("mse", s.get_layer("hidden"), "hidden")
        ),
        r"must be a part of the teacher. Received: layer 'hidden' of type Dense",
    ),
    (
        "layer_as_number",
        lambda t, s: FeatureDistillation("mse", 3, 2),
        r"`layer` must be the path of a layer or a `keras.layers.Layer`.*layer=3",
    ),
    (
        "tap_of_unknown",
        lambda t, s: Tap("hidden", of="activation"),
        r"`of` must be one of .*of='activation'",
    ),
    (
        "tap_call_as_text",
        lambda t, s: Tap("hidden", call="last"),
        r"`call` must be None or an integer.*call='last'",
    ),
    (
        "tap_attention_of_a_dense",
        lambda t, s: Distiller(t, s, AttentionDistillation(["hidden"], ["hidden"])),
        r"Attention probabilities come from .*'hidden' of type Dense",
    ),
    (
        "tap_of_a_function",
        lambda t, s: Distiller(
            lambda x: x, s, FeatureDistillation("mse", "hidden", "hidden")
        ),
        r"Layers can be tapped in a Keras model only. Received: a teacher of type func",
    ),
    (
        "attention_without_attention_layers",
        lambda t, s: Distiller(t, s, AttentionDistillation()),
        r"`teacher_layers` must name layers.*has no `keras.layers.MultiHeadAttention`",
    ),
    (
        "attention_of_no_layers",
        lambda t, s: AttentionDistillation([], ["a"]),
        r"`teacher_layers` must name at least one layer.*teacher_layers=\[\]",
    ),
    (
        "attention_heads_unknown",
        lambda t, s: AttentionDistillation(heads="max"),
        r"`heads` must be one of .*heads='max'",
    ),
    (
        "attention_loss_unknown",
        lambda t, s: AttentionDistillation(loss="cosine"),
        r"`loss` must be one of .*loss='cosine'",
    ),
    (
        "layer_map_of_the_wrong_length",
        attention(layer_map=[0, 1]),
        r"`layer_map` must hold one index below 2 .* 1 student layers.*\[0, 1\]",
    ),
    (
        "layer_map_out_of_range",
        attention(layer_map=[2]),
        r"`layer_map` must hold one index below 2 .*Received: \[2\]",
    ),
    (
        "layer_map_of_names",
        attention(layer_map=["attention_0"]),
        r"`layer_map` must be None or a list of the indices.*\['attention_0'\]",
    ),
]

ALL = [*NUMBERS, *MODELS, *LOSSES, *LAYERS]


@pytest.mark.parametrize(
    "wrong, match", [pytest.param(*case[1:], id=case[0]) for case in ALL]
)
def test_is_refused_and_changes_nothing(models, wrong, match):
    teacher, student = models
    error = NotImplementedError if "override `call`" in match else ValueError
    with unchanged(teacher, student), pytest.raises(error, match=f"(?s){match}"):
        wrong(teacher, student)
    for model in models:
        predicts(model, X)


def test_the_models_of_all_these_uses_still_train(models):
    def slice_of_weights():
        Distiller(*models, Logits()).distillation_loss_weights[:] = [1.0]

    Use(*models, slice_of_weights).check("one by one or as a whole", TypeError)


def test_the_cause_of_each_is_distinct():
    assert len({name for name, _, _ in ALL}) == len(ALL) >= 50


def test_a_file_without_teacher_asks_for_it(tmp_path):
    teacher, student = pair()
    path = str(tmp_path / "distiller.keras")
    _trained(teacher, student, Logits(), save_teacher=False).save(path)

    def right():
        distiller = load_distiller(path, teacher=teacher)
        return distiller.fit(X, Y, verbose=0)

    use = Use(teacher, student, lambda: keras.saving.load_model(path), right)
    use.check(r"holds no teacher.*keras_kd.load_distiller\(filepath, teacher=teacher\)")


def test_a_refused_loss_can_be_used_again():
    teacher, student = pair()
    loss = FeatureDistillation("mse", "hidden", "hidden")
    Use(
        teacher,
        student,
        lambda: Distiller(teacher, student, [loss, loss]),
        lambda: _trained(teacher, student, loss).history,
    ).check("the same object twice")


def _trained(teacher, student, losses, **settings):
    distiller = Distiller(teacher, student, losses, **settings)
    distiller.compile("sgd", CROSSENTROPY, run_eagerly=True)
    distiller.fit(X, Y, verbose=0)
    return distiller
