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
# # Distil your first model
#
# You have a model that is good but too large or too slow: the *teacher*. You want a
# small one, the *student*, that is nearly as good. Labels alone tell the student only
# which class is right. The teacher also knows which of the other classes come close:
# this 9 could almost be a 4, and is nothing like a 0. Distillation hands that on.
#
# You need to know `compile()` and `fit()`. Everything here runs in about a minute on a
# laptop, on JAX, TensorFlow or PyTorch.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # Or "tensorflow", or "torch".

import keras
import numpy as np
from keras import layers, ops
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_kd

# %% [markdown]
# ## The data
#
# 1,797 handwritten digits of 8x8 pixels, which come with scikit-learn. We train on 500
# of them. Three hundred are for validation: every choice is made by them. The rest are
# the test set, looked at once for each result.

# %%
x, y = load_digits(return_X_y=True)
x = (x.reshape(-1, 8, 8, 1) / 16.0).astype("float32")
x_train, x_rest, y_train, y_rest = train_test_split(
    x, y, train_size=500, stratify=y, random_state=0
)
x_val, x_test, y_val, y_test = train_test_split(
    x_rest, y_rest, train_size=300, stratify=y_rest, random_state=0
)
x_train.shape, x_val.shape, x_test.shape

# %% [markdown]
# ## The teacher
#
# Any trained Keras model will do, and you probably have one. Ours is a convnet. Like
# most losses for classifiers, ours want *logits*: no softmax in the last layer, and
# `from_logits=True` in the loss.


# %%
def make_teacher():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            # Only 400 steps: with the default momentum the averages would lag behind.
            layers.Conv2D(32, 3, padding="same"),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same"),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(name="features"),
            layers.Dropout(0.3),
            layers.Flatten(),
            layers.Dense(96, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(10),
        ],
        name="teacher",
    )


def fit(model, epochs, x=x_train, validation_x=x_val, rate=5e-3, callbacks=()):
    """Compiles and trains whatever it is given, always in the same way."""
    steps = epochs * int(np.ceil(len(y_train) / 64))
    model.compile(
        optimizer=keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(rate, steps)
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    keras.utils.set_random_seed(0)  # The same batches each time.
    return model.fit(
        x,
        y_train,
        batch_size=64,
        epochs=epochs,
        validation_data=(validation_x, y_val),
        callbacks=list(callbacks),
        verbose=0,
    )


def accuracy_of(model, x=x_test):
    predicted = np.argmax(model.predict(x, verbose=0), axis=-1)
    return f"{100 * np.mean(predicted == y_test):.2f} %"


keras.utils.set_random_seed(0)
teacher = make_teacher()
fit(teacher, epochs=50, rate=2e-3)
print(f"teacher: {teacher.count_params():,} parameters, {accuracy_of(teacher)}")

# %% [markdown]
# ## The student alone
#
# Without this result nobody can tell whether distillation helped. It has to be a fair
# one: the same first weights, the same batches, the same number of epochs.


# %%
def make_student():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu", name="features"),
            layers.Flatten(),
            layers.Dense(10),
        ],
        name="student",
    )


EPOCHS = 80
alone = make_student()
first_weights = alone.get_weights()


def same_student():
    student = make_student()
    student.set_weights(first_weights)
    return student


fit(alone, EPOCHS)
print(f"alone: {alone.count_params():,} parameters, {accuracy_of(alone)}")

# %% [markdown]
# ## The distilled student
#
# A `Distiller` is a Keras model that trains another one. `LogitsDistillation` compares
# what the two models think of all the classes. `student_loss_weight=0.1` says: a tenth
# of the loss is the labels', nine tenths are the teacher's.

# %%
distiller = keras_kd.Distiller(
    teacher=teacher,
    student=same_student(),
    distillation_losses=keras_kd.LogitsDistillation(temperature=10.0),
    student_loss_weight=0.1,
)
history = fit(distiller, EPOCHS).history
print(f"distilled: {accuracy_of(distiller.student)}")

# %% [markdown]
# The teacher only looked: its weights, its statistics and its `trainable` flags are
# what they were. `distiller.student` is the model that you passed in, now trained.
#
# ### What the numbers in the log mean

# %%
for name in sorted(history):
    print(f"{name:28} {history[name][0]:8.3f} -> {history[name][-1]:8.3f}")

# %% [markdown]
# - `student_loss` is the task: the loss you gave to `compile`.
# - `logits_distillation` is that distillation loss, before its weight. There is one
#   such entry for each distillation loss.
# - `distillation_loss` is the sum of them, each times its own weight.
# - `total_loss` and `loss` are what the optimizer sees: 0.1 × `student_loss` + 0.9 ×
#   `distillation_loss`, plus the student's own regularisers.
# - `accuracy` is the student's. It, and not a loss, tells whether training goes well: a
#   loss at temperature 10 has another scale than one at temperature 2.
#
# `evaluate` and `validation_data` report the same names and train nothing.

# %% [markdown]
# ## Temperature
#
# A good teacher is so sure of itself that little can be seen beside the right answer. A
# temperature above 1 divides the logits before the softmax and brings the rest to
# light. Here is the test image on which our teacher hesitates most:

# %%
logits = teacher.predict(x_test, verbose=0)
sure = ops.convert_to_numpy(ops.max(ops.softmax(logits), axis=-1))
print("class          " + "".join(f"{digit:6}" for digit in range(10)))
for temperature in (1.0, 4.0, 10.0):
    shown = ops.convert_to_numpy(ops.softmax(logits[np.argmin(sure)] / temperature))
    print(f"temperature {temperature:3.0f}" + "".join(f"{p:6.2f}" for p in shown))

# %% [markdown]
# Try 2, 4 and 10, and choose by validation accuracy. The loss is multiplied by the
# square of the temperature, so that its gradient keeps its size and the other weights
# need not change with it. You can also assign a new value between two calls of `fit`,
# or from a callback: `loss.temperature = 2.0` takes effect in the compiled step.
#
# ## A weight that changes while training
#
# Every weight and every temperature takes a number or a learning-rate schedule, read at
# the optimizer's step. This student begins by imitating and ends by listening to the
# labels:

# %%
steps = EPOCHS * 8  # 500 images in batches of 64.
scheduled = keras_kd.Distiller(
    teacher=teacher,
    student=same_student(),
    distillation_losses=keras_kd.LogitsDistillation(temperature=10.0),
    student_loss_weight=keras.optimizers.schedules.PolynomialDecay(
        0.0, decay_steps=steps, end_learning_rate=0.5
    ),
)
fit(scheduled, EPOCHS)
print(f"from imitation to labels: {accuracy_of(scheduled.student)}")

# %% [markdown]
# ## Learning from inside the teacher
#
# A `FeatureDistillation` compares two layers. Ours differ in width, 64 channels against
# 32, so a trainable projection is put between them. It lives in the Distiller and not
# in the student. Layers inside other models are named by their path, as in
# `"backbone/block_3/relu"`. The student still runs once a step.
#
# The best weights are kept by a callback, which saves the student alone.

# %%
checkpoint = keras_kd.callbacks.StudentCheckpoint(
    "best.keras", monitor="val_accuracy", mode="max", save_best_only=True
)
with_features = keras_kd.Distiller(
    teacher=teacher,
    student=same_student(),
    distillation_losses=[
        keras_kd.LogitsDistillation(temperature=10.0),
        keras_kd.FeatureDistillation(
            loss="mse", teacher_layer_name="features", student_layer_name="features"
        ),
    ],
    distillation_loss_weights=[1.0, 1.0],
    student_loss_weight=0.1,
)
history = fit(with_features, EPOCHS, callbacks=[checkpoint]).history
print(f"logits:   {history['logits_distillation'][-1]:.3f}")
print(f"features: {history['feature_distillation'][-1]:.3f}")
print(f"with a feature loss: {accuracy_of(with_features.student)}")

# %% [markdown]
# More losses are not always better. Add one at a time, and keep it if the validation
# accuracy says so. Look at the unweighted entries in the log to choose the weights:
# none of the terms should drown the others by accident.

# %% [markdown]
# ## Two models that want different inputs
#
# Here the student gets thumbnails of 4x4 pixels, and learns from a teacher that sees
# the full image. The batch holds both, and each side picks its own.


# %%
def two_sizes(images):
    thumbnails = images.reshape(-1, 4, 2, 4, 2, 1).mean(axis=(2, 4))
    return {"full": images, "thumbnail": thumbnails}


small_inputs = keras_kd.Distiller(
    teacher=teacher,
    student=keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10),
        ]
    ),
    distillation_losses=keras_kd.LogitsDistillation(temperature=4.0),
    student_loss_weight=0.1,
    teacher_inputs=lambda x: x["full"],
    student_inputs=lambda x: x["thumbnail"],
)
fit(small_inputs, EPOCHS, two_sizes(x_train), two_sizes(x_val))
thumbnails = two_sizes(x_test)["thumbnail"]
print(f"from thumbnails: {accuracy_of(small_inputs.student, thumbnails)}")

# %% [markdown]
# ## Saving
#
# What you ship is the student: a plain Keras model, whose file opens where keras_kd is
# not installed.

# %%
distiller.student.save("student.keras")
shipped = keras.saving.load_model("student.keras")
best = keras.saving.load_model("best.keras")
print(f"saved at the end: {accuracy_of(shipped)}")
print(f"best epoch of the run with features: {accuracy_of(best)}")

# %% [markdown]
# On 300 validation images many epochs tie, and the callback keeps the first of them: a
# later one may well be better. The more validation data, the more its choice is worth.
#
# To go on training later, save the Distiller: `distiller.save("distiller.keras")` also
# holds the optimizer, the projections and the teacher.
#
# ## How to read your results
#
# 1. **Compare with the student alone**, trained from the same first weights with the
#    same batches. The teacher's accuracy is where the scale ends, not what you compare
#    with.
# 2. **Repeat it.** On 997 images, half a point is five images. Train with five seeds,
#    take the difference within each seed, and believe a mean that is larger than two
#    standard errors. `guides/demo.py` does this.
# 3. **No gain?** Check that both models give logits. Train for longer: imitating takes
#    more epochs than memorising labels, and pays off late. Try temperatures. If the
#    student cannot even fit the training set, it is too small to learn more from
#    anyone; if the student alone is as good as the teacher, there is nothing to hand
#    on.
# 4. **Better than the teacher?** It happens, with few labels: the teacher's answers
#    keep the student from learning its 500 images by heart.
