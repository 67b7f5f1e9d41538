# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own method
#
# A paper came out this morning, or you have an idea of your own. A method is a class
# that says which signals it wants and turns them into one value per example. All else
# is done for you: fetching the signals in the one forward pass, weights and schedules,
# sample weights and masks, metrics, mixed precision, saving, three backends.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # Or "tensorflow", or "torch".

import keras
import numpy as np
from keras import layers, ops
from sklearn.datasets import load_digits

import keras_kd

# %% [markdown]
# ## The method
#
# Ours is the pairwise distillation of Liu et al. (2019, arXiv:1903.04197), made for
# segmentation: how similar is each position of a feature map to each other one? The
# student shall see the same similarities. Its map may have any number of channels.


# %%
@keras.saving.register_keras_serializable(package="my_methods")
class PairwiseSimilarity(keras_kd.DistillationLoss):
    """Mean squared difference of the cosines between the positions of a map."""

    def __init__(self, teacher_layer_name, student_layer_name, name=None):
        self.teacher_layer_name = teacher_layer_name
        self.student_layer_name = student_layer_name
        self.name = name

    def call(self, teacher, student, step):
        cosines = []
        for maps in (teacher, student):
            x = ops.cast(maps, "float32")
            x = ops.reshape(x, (ops.shape(x)[0], -1, x.shape[-1]))
            x = ops.normalize(x, axis=-1)
            cosines.append(ops.matmul(x, ops.transpose(x, (0, 2, 1))))
        return ops.mean(ops.square(cosines[0] - cosines[1]), axis=(1, 2))

    def get_config(self):
        names = ("teacher_layer_name", "student_layer_name")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


# %% [markdown]
# That is all of it. The names of the layers say which signals are wanted; a method that
# wants others (several layers, attention, inputs of a layer, nothing) overrides
# `teacher_signals` and `student_signals`. Compute in float32: the signals may come in
# half precision. Return one value per example, and not their mean: weights and masks
# come after.
#
# ## Is it right?
#
# Compare it with the formula in plain NumPy, written once more. A loss that is wrong
# still falls.

# %%
rng = np.random.default_rng(0)
t, s = rng.normal(size=(2, 4, 4, 5)), rng.normal(size=(2, 4, 4, 3))
loss = PairwiseSimilarity("features", "features")
values = loss.call(
    ops.convert_to_tensor(t), ops.convert_to_tensor(s), keras_kd.StepContext()
)


def reference(example):
    cosines = []
    for maps in (t[example].reshape(16, 5), s[example].reshape(16, 3)):
        lengths = np.linalg.norm(maps, axis=1)
        cosines.append(maps @ maps.T / np.outer(lengths, lengths))
    return np.mean((cosines[0] - cosines[1]) ** 2)


wanted = [reference(example) for example in range(2)]
np.testing.assert_allclose(ops.convert_to_numpy(values), wanted, rtol=1e-5)
print("as the paper says:", wanted)

# %% [markdown]
# ## It trains
#
# Through `fit`, compiled, beside any other loss, with a weight that may follow a
# schedule.

# %%
x, y = load_digits(return_X_y=True)
x = (x.reshape(-1, 8, 8, 1) / 16.0).astype("float32")
x, y, x_test, y_test = x[:800], y[:800], x[800:], y[800:]


def convnet(width, name):
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(width, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(
                2 * width, 3, padding="same", activation="relu", name="features"
            ),
            layers.Flatten(),
            layers.Dense(10),
        ],
        name=name,
    )


def compiled(model):
    model.compile(
        keras.optimizers.Adam(3e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


keras.utils.set_random_seed(0)
teacher = compiled(convnet(32, "teacher"))
teacher.fit(x, y, epochs=15, verbose=0)
distiller = compiled(
    keras_kd.Distiller(
        teacher,
        convnet(8, "student"),
        [keras_kd.LogitsDistillation(4.0), loss],
        [1.0, keras.optimizers.schedules.CosineDecay(50.0, decay_steps=500)],
        student_loss_weight=0.1,
    )
)
weights = np.where(np.arange(len(x)) < 400, 1.0, 0.5)
log = distiller.fit(
    x, y, sample_weight=weights, validation_data=(x_test, y_test), epochs=15, verbose=0
).history
for name in ("pairwise_similarity", "val_pairwise_similarity", "val_accuracy"):
    print(f"{name:24} {log[name][0]:.4f} -> {log[name][-1]:.4f}")
assert log["pairwise_similarity"][-1] < 0.5 * log["pairwise_similarity"][0]

# %% [markdown]
# ## It is saved
#
# `get_config` and the decorator are what a file needs to make it again.

# %%
distiller.save("distiller.keras")
again = keras.saving.load_model("distiller.keras")
assert isinstance(again.distillation_losses[1], PairwiseSimilarity)
one, other = (
    model.evaluate(x_test, y_test, verbose=0, return_dict=True)
    for model in (distiller, again)
)
assert one["pairwise_similarity"] == other["pairwise_similarity"]

# %% [markdown]
# ## It has a name
#
# Registered, it stands beside the others, for everyone who works with names: searches,
# configuration files, benchmarks.

# %%
keras_kd.losses.register(
    keras_kd.losses.Method(
        name="pairwise",
        make=PairwiseSimilarity,
        paper="Liu et al., 2019, arXiv:1903.04197",
        signals="feature",
        weight=50.0,
        student_loss_weight=1.0,
        when="Dense prediction: which positions belong together.",
    )
)
keras_kd.losses.get("pairwise", teacher_layer_name="a", student_layer_name="b").name

# %% [markdown]
# ## More than a formula
#
# - **Something that trains**: create a layer in `build(teacher, student)`, which gets
#   the shapes of the signals, and list it in the property `layers`. It trains with the
#   student, is saved with the Distiller, and is no part of the student.
# - **A number that may follow a schedule**: a class attribute
#   `temperature = keras_kd.Hyperparameter(above=0)`, read in `call` by
#   `step.value(self, "temperature")`.
# - **Labels, the batch, the masks**: `step.y`, `step.x`, `step.student_mask`.
# - **Relations between examples**: `step.included(batch)` says which of them count.
# - **Layers of both sides that differ in width**: subclass
#   `keras_kd.FeatureDistillation` and override `distance`; the projector is there.
