"""Rows for the losses that own more than a projector."""

import keras
import numpy as np

from keras_kd import losses
from keras_kd.losses.logits.curriculum_temperature import CurriculumTemperature
from tests.losses import references
from tests.losses import references_learned as ref
from tests.losses.row import Row

OWN = {"kind": "features", "minimum": None, "scale": 1.0, "learned": True}
IMAGES = {"teacher": (3, 4, 4, 3), "student": (3, 4, 4, 2), **OWN}
STAGES = {
    "teacher": [(3, 4, 4, 3), (3, 2, 2, 4)],
    "student": [(3, 4, 4, 2), (3, 2, 2, 3)],
    **OWN,
}


def _others():
    drawn = keras.random.randint((4,), 0, 8, seed=0)
    return np.asarray(keras.ops.convert_to_numpy(drawn))


TABLE = {
    "variational": Row(
        lambda: losses.VariationalInformation("a", "a"), ref.variational, **OWN
    ),
    "variational_projected": Row(
        lambda: losses.VariationalInformation("a", "a"), ref.variational, **IMAGES
    ),
    "simple_recipe": Row(
        lambda: losses.SimpleRecipeDistillation("a", "a"),
        ref.simple_recipe,
        (6, 5),
        (6, 3),
        relational=True,
        **OWN,
    ),
    "simple_recipe_power": Row(
        lambda: losses.SimpleRecipeDistillation("a", "a", power=2.5),
        lambda t, s, w: ref.simple_recipe(t, s, w, 2.5),
        relational=True,
        **OWN,
    ),
    "orthogonal": Row(
        lambda: losses.OrthogonalDistillation("a", "a"),
        ref.orthogonal,
        (6, 5),
        (6, 3),
        **OWN,
    ),
    "orthogonal_narrower": Row(
        lambda: losses.OrthogonalDistillation("a", "a"),
        ref.orthogonal,
        (3, 2, 4),
        (3, 2, 5),
        **OWN,
    ),
    "masked_generation": Row(
        lambda: losses.MaskedGenerativeDistillation("a", "a"),
        ref.masked_generation,
        weight=2e-5,
        **IMAGES,
    ),
    "overhaul": Row(
        lambda: losses.OverhaulDistillation(["a", "b"], ["a", "b"]),
        ref.overhaul,
        **STAGES,
    ),
    "review": Row(
        lambda: losses.ReviewDistillation(["a", "b"], ["a", "b"], width=2),
        ref.review,
        **STAGES,
    ),
    "one_for_all": Row(
        lambda: losses.OneForAllDistillation(["a", "b"], epsilon=1.5, temperature=2.0),
        lambda t, s, y, w: ref.one_for_all(t, s, y, w, 1.5, 2.0),
        (3, 5),
        {"output": (3, 5), "stages": [(3, 4, 4, 2), (3, 2, 2, 3)]},
        labels=True,
        **OWN,
    ),
    "one_for_all_tokens": Row(
        lambda: losses.OneForAllDistillation(["a"]),
        ref.one_for_all,
        (3, 2),
        {"output": (3, 2), "stages": [(3, 4, 2)]},
        labels=True,
        **OWN,
    ),
    # The number of an example is its place, so no example can stand there twice.
    "contrastive": Row(
        lambda: losses.ContrastiveDistillation(
            "a", "a", num_examples=8, size=3, negatives=4, temperature=0.5
        ),
        lambda t, s, w: ref.contrastive(t, s, w, _others(), 0.5),
        relational=True,
        numbered=1,
        **OWN,
    ),
    "curriculum": Row(
        lambda: CurriculumTemperature(0.5, initial_theta=0.0),
        lambda t, s: references.kl(t, s, 11.0),
    ),
}
