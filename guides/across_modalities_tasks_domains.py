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
# # Across modalities, tasks and domains
#
# Teacher and student need not see the same, do the same, or come from the same place.
# All that the `Distiller` asks for is that both answer for the same examples, and
# that a loss compares something that they have in common.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # Or "tensorflow", or "torch".

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_kd

digits = load_digits()
images = (digits.images / 16.0).astype("float32")
x_train, x_test, y_train, y_test = train_test_split(
    images, digits.target.astype("int32"), train_size=600, random_state=0
)
crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


few = slice(60)


def reader(shape, units=10, width=64):
    x = inputs = keras.Input(shape)
    x = layers.Flatten()(x)
    x = layers.Dense(width, "relu")(x)
    x = layers.Dense(32, "relu", name="features")(x)
    return keras.Model(inputs, layers.Dense(units, name="logits")(x))


def fit(model, x, y, epochs=20):
    keras.utils.set_random_seed(0)
    model.compile(keras.optimizers.Adam(0.003), crossentropy)
    model.fit(x, y, epochs=epochs, verbose=0)


def accuracy(model, x, y):
    return f"{100 * (model.predict(x, verbose=0).argmax(-1) == y).mean():.1f} %"


# %% [markdown]
# ## Modalities: the teacher has a sensor that the student has not
#
# The teacher sees the whole image; the student only how much ink stands in each row
# and column, sixteen numbers, and only 60 of its images have a label. In training
# both are at hand, so the batch carries both, and `teacher_inputs=` and
# `student_inputs=` hand each its own. The teacher's answers need no label. (The same
# lines teach a model of pictures or of sounds by a reader of their names: see
# `pictures_words_and_sounds.py`, on real ones.)


# %%
def profile(x):
    return np.concatenate([x.sum(1), x.sum(2)], axis=1)


teacher = reader((8, 8), width=256)
fit(teacher, x_train, y_train)

alone, student = reader((16,)), reader((16,))
fit(alone, profile(x_train[few]), y_train[few], epochs=200)

distiller = keras_kd.Distiller(
    teacher,
    student,
    keras_kd.LogitsDistillation(4.0),
    student_loss_weight=0.0,
    teacher_inputs=lambda x: x["image"],
    student_inputs=lambda x: x["profile"],
)
keras.utils.set_random_seed(0)
distiller.compile(keras.optimizers.Adam(0.003))
distiller.fit({"image": x_train, "profile": profile(x_train)}, epochs=30, verbose=0)
print("teacher", accuracy(teacher, x_test, y_test))
print("student alone", accuracy(alone, profile(x_test), y_test))
print("student taught", accuracy(student, profile(x_test), y_test))

# %% [markdown]
# ## Tasks: the teacher answers another question
#
# The student shall tell even digits from odd ones, and has 60 labelled images. The
# teacher knows the ten digits. Their answers cannot be compared; their features can,
# through a projector where the widths differ. First the student learns the teacher's
# features, on all images and without labels, then its own task. (Keras
# warns that the last layer gets no gradient at first; it is not part of the features.)

# %%
parity_train, parity_test = y_train % 2, y_test % 2

alone, student = reader((8, 8), 2), reader((8, 8), 2)
fit(alone, x_train[few], parity_train[few], epochs=100)

distiller = keras_kd.Distiller(
    teacher,
    student,
    keras_kd.FeatureDistillation("mse", "features", "features"),
    student_loss_weight=0.0,
)
keras.utils.set_random_seed(0)
distiller.compile(keras.optimizers.Adam(0.003))
distiller.fit(x_train, epochs=30, verbose=0)
fit(student, x_train[few], parity_train[few], epochs=100)
print("student alone", accuracy(alone, x_test, parity_test))
print("student taught", accuracy(student, x_test, parity_test))

# %% [markdown]
# ## Domains: the student's images have no labels
#
# A new camera shows digits inverted, darker, and with noise. The teacher fails on its
# images, but these are paired: both cameras took the same digits, and the teacher sees
# the old image, the student the new one. No label is used; the task has no weight and
# no loss.

# %%
random = np.random.default_rng(0)


def new_camera(x):
    noisy = 0.6 * (1.0 - x) + 0.1 * random.normal(size=x.shape)
    return noisy.astype("float32")


x_new, x_new_test = new_camera(x_train), new_camera(x_test)
student = reader((8, 8))
distiller = keras_kd.Distiller(
    teacher,
    student,
    keras_kd.LogitsDistillation(2.0),
    student_loss_weight=0.0,
    teacher_inputs=lambda x: x["old"],
    student_inputs=lambda x: x["new"],
)
keras.utils.set_random_seed(0)
distiller.compile(keras.optimizers.Adam(0.003))
distiller.fit({"old": x_train, "new": x_new}, epochs=20, verbose=0)
print("teacher, new camera", accuracy(teacher, x_new_test, y_test))
print("student, new camera", accuracy(student, x_new_test, y_test))
