"""Twenty training steps, against a float64 loop in NumPy.

The loop knows nothing of Keras or of the library: the whole objective is written out,
and its gradient is taken by central differences. A backend that equals it equals the
other two.
"""

import keras
import numpy as np
import pytest

import keras_kd
from tests.losses import references as ref

LENGTH, WIDTH, CLASSES, TEACHER_WIDTH = 3, 4, 3, 5
STEPS, BATCH, RATE = 20, 4, 0.1
TASK_WEIGHT, LOSS_WEIGHTS, TEMPERATURE = 0.3, (1.0, 0.5, 2.0), 2.0


def encoder(heads, width):
    """Attention over the tokens, the mean of what it gives, and a classifier."""
    inputs = keras.Input((LENGTH, WIDTH))
    attention = keras.layers.MultiHeadAttention(heads, 2, name="attention")
    x = keras.layers.Add()([inputs, attention(inputs, inputs)])
    x = keras.layers.GlobalAveragePooling1D()(x)
    x = keras.layers.Dense(width, activation="tanh", name="feature")(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES)(x))


def seeded_weights(model, seed):
    random = np.random.default_rng(seed)
    model.set_weights([random.normal(0, 0.7, w.shape) for w in model.get_weights()])
    return [w.astype("float64") for w in model.get_weights()]


def forward(weights, x):
    """Return logits, feature and attention probabilities in float64."""
    q, bq, k, bk, v, bv, o, bo, feature, bf, head, bh = weights
    queries = np.einsum("bld,dhk->blhk", x, q) + bq
    keys = np.einsum("bld,dhk->blhk", x, k) + bk
    values = np.einsum("bld,dhk->blhk", x, v) + bv
    scores = np.einsum("blhk,bmhk->bhlm", queries, keys) / np.sqrt(q.shape[-1])
    attention = ref.softmax(scores)
    mixed = np.einsum("bhlm,bmhk->blhk", attention, values)
    pooled = (x + np.einsum("blhk,hkd->bld", mixed, o) + bo).mean(1)
    feature = np.tanh(pooled @ feature + bf)
    return feature @ head + bh, feature, attention


def objective(weights, projector, teacher, x, y, w):
    logits, feature, attention = forward(weights, x)
    t_logits, t_feature, t_attention = teacher
    task = (w * -ref.log_softmax(logits)[np.arange(len(y)), y]).mean()
    projected = feature @ projector[0] + projector[1]
    terms = [
        (w * ref.kl(t_logits, logits, TEMPERATURE)).sum() / w.sum(),
        (w * ref.mse(t_feature, projected)).sum() / w.sum(),
        (w[:, None] * ref.attention_kl(t_attention, attention, averaged=True)).sum()
        / (w.sum() * LENGTH),
    ]
    distillation = sum(a * b for a, b in zip(LOSS_WEIGHTS, terms, strict=True))
    return TASK_WEIGHT * task + (1 - TASK_WEIGHT) * distillation


def train_in_numpy(weights, projector, teacher_weights, x, y, w):
    parameters = [*weights, *projector]

    def value():
        count = len(weights)
        pair = parameters[:count], parameters[count:]
        return objective(*pair, teacher, x[part], y[part], w[part])

    for step in range(STEPS):
        start = step * BATCH % len(x)
        part = slice(start, start + BATCH)
        teacher = forward(teacher_weights, x[part])
        gradients = [np.zeros_like(p) for p in parameters]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            for place in np.ndindex(*parameter.shape):
                kept = parameter[place]
                parameter[place] = kept + 1e-6
                high = value()
                parameter[place] = kept - 1e-6
                gradient[place] = (high - value()) / 2e-6
                parameter[place] = kept
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= RATE * gradient
    return parameters


@pytest.mark.filterwarnings("ignore:.*float64.*:UserWarning")
def test_the_student_ends_where_a_float64_loop_ends():
    """Users who switch KERAS_BACKEND expect the same student."""
    random = np.random.default_rng(5)
    x = random.normal(size=(16, LENGTH, WIDTH))
    y = random.integers(0, CLASSES, 16)
    w = random.uniform(0.2, 2.0, 16)
    teacher, student = encoder(2, TEACHER_WIDTH), encoder(1, WIDTH)
    teacher_weights = seeded_weights(teacher, 1)
    weights = seeded_weights(student, 2)
    hint = keras_kd.FeatureDistillation("mse", "feature", "feature")
    losses = [
        keras_kd.LogitsDistillation(TEMPERATURE),
        hint,
        keras_kd.AttentionDistillation(),
    ]
    distiller = keras_kd.Distiller(
        teacher, student, losses, list(LOSS_WEIGHTS), TASK_WEIGHT
    )
    distiller.compile(
        keras.optimizers.SGD(RATE),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    batch = [a.astype("float32") for a in (x, w)]
    distiller.evaluate(batch[0], y, verbose=0)  # shows the projector its shapes
    projector = random.normal(0, 0.5, (WIDTH, TEACHER_WIDTH)), np.zeros(TEACHER_WIDTH)
    hint.layers[0].set_weights(projector)
    distiller.fit(
        batch[0],
        y,
        sample_weight=batch[1],
        batch_size=BATCH,
        epochs=STEPS * BATCH // len(x),
        shuffle=False,
        verbose=0,
    )
    wanted = train_in_numpy(weights, list(projector), teacher_weights, x, y, w)
    given = [*student.get_weights(), *hint.layers[0].get_weights()]
    for ours, reference in zip(given, wanted, strict=True):
        size = np.abs(reference).max()
        assert np.abs(ours - reference).max() <= 1e-4 * max(size, 1e-3)
