"""Rows for several teachers, peers, a student by itself, and generated inputs."""

import keras
import numpy as np

from keras_kd import losses
from keras_kd.teachers import Ensemble
from tests.losses import references_groups as ref
from tests.losses.row import Row

CLASSES = [4, 1, 2]
TEACHERS = {"teacher": [(6, 5)] * 3, "minimum": None}
PEERS = {"student": [(6, 5)] * 3, "minimum": None, "detached": True}
OWN = {"minimum": None, "detached": True}
# What a batch before left in the memory: the logits of three examples.
KEPT = {
    number: np.random.default_rng(number).normal(0, 2, 5).astype("float32")
    for number in (0, 2, 5)
}


def _remember(loss):
    """Fill the memory, and keep it: a value must not depend on the one before."""
    (memory,) = loss.layers
    memory.update(np.array(list(KEPT)), np.stack(list(KEPT.values())), np.ones(3))
    memory.update = lambda *_: None


def _classifier(width, name):
    inputs = keras.Input((2,))
    feature = keras.layers.Dense(width, name="pool")(inputs)
    logits = keras.layers.Dense(3, name="logits")(feature)
    return keras.Model(inputs, logits, name=name)


def _models():
    teachers = [_classifier(width, f"teacher_{width}") for width in (4, 5)]
    return Ensemble(teachers), _classifier(3, "student")


TABLE = {
    "class_subset": Row(
        lambda: losses.ClassSubsetDistillation(CLASSES, 2.0),
        lambda t, s: ref.class_subset(t, s, CLASSES, 2.0),
        (6, 3),
        minimum=None,
    ),
    "teacher_dropping_evaluation": Row(
        lambda: losses.TeacherDroppingDistillation(3, 2.0, seed=3),
        lambda t, s, w: ref.mean_teacher(t, s, 2.0),
        learned=True,
        **TEACHERS,
    ),
    "teacher_dropping_all_but_the_worst": Row(
        lambda: losses.TeacherDroppingDistillation(3, 2.0, drop_rate=1.0, seed=3),
        lambda t, s: ref.worst_teacher(t, s, 2.0),
        **TEACHERS,
    ),
    "confidence_features": Row(
        lambda: losses.ConfidenceWeightedFeatures(2, "pool", "pool", "logits"),
        ref.confidence_features,
        [(6, 4), (6, 5)],
        (6, 3),
        kind="features",
        labels=True,
        learned=True,
        models=_models,
        **OWN,
    ),
    "mutual": Row(
        lambda: losses.MutualDistillation(2.0),
        lambda t, s, fixed: ref.mutual(s, fixed, 2.0),
        **PEERS,
    ),
    "mutual_one_way": Row(
        lambda: losses.MutualDistillation(2.0, teachers=[1, 2]),
        lambda t, s, fixed: ref.mutual(s, fixed, 2.0, [1, 2]),
        **PEERS,
    ),
    "collaborative": Row(
        losses.CollaborativeDistillation,
        lambda t, s, y, fixed: ref.collaborative(s, y, fixed, "best", 2.0),
        labels=True,
        **PEERS,
    ),
    "collaborative_margin": Row(
        lambda: losses.CollaborativeDistillation("lowest_margin", 3.0),
        lambda t, s, y, fixed: ref.collaborative(s, y, fixed, "lowest_margin", 3.0),
        labels=True,
        **PEERS,
    ),
    "collaborative_mean": Row(
        lambda: losses.CollaborativeDistillation("mean", 3.0),
        lambda t, s, fixed: ref.collaborative(s, None, fixed, "mean", 3.0),
        **PEERS,
    ),
    "gated": Row(
        lambda: losses.GatedEnsembleDistillation(temperature=2.0),
        lambda t, s, y, w, fixed: ref.gated(s, y, w, fixed, 2.0),
        student={"outputs": [(6, 5)] * 2, "features": (6, 2, 4)},
        labels=True,
        learned=True,
        shift_invariant=False,
        **OWN,
    ),
    "exits": Row(
        lambda: losses.ExitDistillation(
            ["a", "b"], temperature=2.0, alpha=0.4, feature_weight=0.2
        ),
        lambda t, s, y, w, fixed: ref.exits(s, y, w, fixed, 2.0, 0.4, 0.2),
        (3, 5),
        {"output": (3, 5), "stages": [(3, 4, 4, 2), (3, 2, 2, 3)]},
        kind="features",
        labels=True,
        learned=True,
        scale=1.0,
        **OWN,
    ),
    "same_class": Row(
        lambda: losses.SameClassDistillation(2.0),
        lambda t, s, y, fixed: ref.pairs(s, y, fixed, 2.0),
        labels=True,
        relational=True,
        **OWN,
    ),
    "view_agreement": Row(
        lambda: losses.ViewAgreementDistillation(2.0),
        lambda t, s, fixed: ref.pairs(s, np.arange(len(s)) // 2, fixed, 2.0),
        numbered=2,
        relational=True,
        **OWN,
    ),
    "view_agreement_both_ways": Row(
        lambda: losses.ViewAgreementDistillation(2.0, stop_gradient=False),
        lambda t, s: ref.pairs(s, np.arange(len(s)) // 2, s, 2.0),
        numbered=2,
        relational=True,
        minimum=None,
    ),
    "last_batch": Row(
        lambda: losses.LastBatchDistillation(batch_size=8, temperature=2.0),
        lambda t, s: ref.last_batch(s, KEPT, 2.0),
        numbered=1,
        relational=True,
        minimum=None,
        prepare=_remember,
    ),
    "data_free": Row(
        lambda: losses.DataFreeDistillation(0.7, 0.3, 2.0, 2.0, layer_name="f"),
        lambda t, s, fixed: ref.data_free(s, fixed, 0.7, 0.3, 2.0, 2.0),
        student={"teacher": (6, 5), "student": (6, 5), "features": (6, 4)},
        relational=True,
        shift_invariant=False,
        **OWN,
    ),
}
