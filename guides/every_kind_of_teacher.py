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
# # Every kind of teacher
#
# One large frozen model is not the only teacher. A student can learn from several,
# from its own past, from a peer that learns beside it, or step by step. Each of these
# is a few lines around the same `Distiller`, and each can be saved in the middle and
# resumed.
#
# The examples are small enough for a minute. They show how it is done, and not what is
# best: see below.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # Or "tensorflow", or "torch".

import tempfile

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_kd
from keras_kd import losses, recipes, students, teachers
from keras_kd.data import CurriculumBatches, LinearPacing, difficulty

digits = load_digits()
images = (digits.images[..., None] / 16.0).astype("float32")
x_train, x_test, y_train, y_test = train_test_split(
    images, digits.target.astype("int32"), train_size=500, random_state=0
)


def convnet(width):
    x = inputs = keras.Input((8, 8, 1))
    for name, channels, strides in (("low", width, 1), ("high", 2 * width, 2)):
        x = layers.Conv2D(channels, 3, strides, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.ReLU(name=name)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, name="logits")(x))


EPOCHS, BATCH_SIZE = 30, 64
STEPS = EPOCHS * -(-len(x_train) // BATCH_SIZE)
# It ends near zero: at a constant rate the last few batches would decide who is better.
RATE = keras.optimizers.schedules.CosineDecay(0.03, STEPS)


def compile_model(model):
    model.compile(
        keras.optimizers.Adam(RATE),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )


def accuracy(model):
    answers = model.predict(x_test, verbose=0).argmax(-1)
    return f"{100 * (answers == y_test).mean():.1f} %"


def fit(model):
    compile_model(model)
    model.fit(x_train, y_train, BATCH_SIZE, EPOCHS, verbose=0)


def new_student():
    keras.utils.set_random_seed(1)
    return convnet(8)


# %% [markdown]
# ## Alone, and by one teacher
#
# What all that follows stands beside. Every student has the same architecture and is
# trained for as long, by the same optimizer; those outside of the recipe start from the
# same weights.
#
# These digits are so easy that the student alone comes close to its teacher. Where two
# students differ by a point or so, another seed may turn them round: one run on 1297
# test images tells no more. What the methods do for accuracy, on larger sets and with
# three seeds, stands in `benchmarks/results/schemes.md`.

# %%
members = []
for seed in (2, 3, 4):
    keras.utils.set_random_seed(seed)
    members.append(convnet(32))
    fit(members[-1])
print("the teacher", accuracy(members[0]))

student = new_student()
fit(student)
print("alone", accuracy(student))

student = new_student()
fit(
    keras_kd.Distiller(
        members[0], student, keras_kd.LogitsDistillation(4.0), student_loss_weight=0.1
    )
)
print("by one teacher", accuracy(student))

# %% [markdown]
# ## Several teachers
#
# An `Ensemble` answers as one. Each of its members runs once a step, the student too.

# %%
student = new_student()
fit(
    keras_kd.Distiller(
        teachers.Ensemble(members, temperature=4.0),
        student,
        keras_kd.LogitsDistillation(4.0),
        student_loss_weight=0.1,
    )
)
print("by three teachers", accuracy(student))

# %% [markdown]
# Where a teacher may be wrong, `ConfidenceWeightedDistillation` lets each count as
# far as it is right about the example; `TeacherDroppingDistillation` drops some at
# random. Teachers that each know some classes are joined by `teachers.Specialists`
# and one `ClassSubsetDistillation` for each.
#
# ## Oneself
#
# The moving average of the student's own weights teaches it. It is updated inside of
# the compiled step, and is a model that can be used in the student's place.

# %%
student = new_student()
average = teachers.MovingAverage(student, momentum=0.98)
fit(
    keras_kd.Distiller(
        average,
        student,
        keras_kd.LogitsDistillation(1.0),
        student_loss_weight=1.0,
        distillation_weight=1.0,
    )
)
print("the student", accuracy(student), "its average", accuracy(average.model))

# %% [markdown]
# The student of the last epoch is another teacher (`EarlierSelf`), and so are exits
# on shallow layers that learn from the deepest. The exits are built by the loss,
# trained beside the student, and no part of it.

# %%
student = new_student()
exits = losses.ExitDistillation(["low", "high"])
fit(
    keras_kd.Distiller(
        None, student, exits, student_loss_weight=1.0, distillation_weight=1.0
    )
)
print("with exits", accuracy(student))

# %% [markdown]
# ## Peers
#
# Students that train together learn each other's present answers. A `PeerGroup` is a
# model like any other; each peer stays a plain Keras model. Here the second is wider.

# %%
peers = students.PeerGroup([new_student(), convnet(12)])
distiller = keras_kd.Distiller(
    None,
    peers,
    losses.MutualDistillation(),
    student_loss_weight=1.0,
    distillation_weight=1.0,
)
distiller.compile(
    keras_kd.optimizers.PerPart(
        {
            "peers[0]": keras.optimizers.Adam(RATE),
            "peers[1]": keras.optimizers.Adam(RATE),
        }
    ),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
distiller.fit(x_train, y_train, BATCH_SIZE, EPOCHS, verbose=0)
print("two peers", [accuracy(peer) for peer in peers.peers])

# %% [markdown]
# ## From easy to hard
#
# What the teacher is sure of comes first. Every epoch shows as many images as before,
# so schedules of steps keep their meaning.

# %%
batches = CurriculumBatches(
    x_train,
    y_train,
    BATCH_SIZE,
    difficulty=difficulty(members[0], x_train, y_train),
    pacing=LinearPacing(0.3, epochs=5),
)
student = new_student()
distiller = keras_kd.Distiller(
    members[0], student, keras_kd.LogitsDistillation(4.0), student_loss_weight=0.1
)
compile_model(distiller)
distiller.fit(batches, epochs=EPOCHS, shuffle=False, verbose=0)
print("from easy to hard", accuracy(student))

# %% [markdown]
# ## Runs of several fits
#
# A recipe takes functions that build models, keeps a directory, and goes on where it
# stopped: after a power cut in the midst of an epoch the same call gives the same
# student as an unbroken run. Here is a chain from the teacher over an assistant to
# the student.

# %%
training = recipes.Training(
    x_train, y_train, compile=compile_model, epochs=EPOCHS, batch_size=BATCH_SIZE
)
directory = tempfile.mkdtemp()


def chain():
    return recipes.assistant_chain(
        [lambda: convnet(16), lambda: convnet(8)],
        training,
        teacher=members[0],
        directory=directory,
    )


assistant, last = chain()
print("assistant", accuracy(assistant.student), "student", accuracy(last.student))

# %% [markdown]
# Called again, it reads what is finished:

# %%
again = chain()[-1].student
same = zip(again.get_weights(), last.student.get_weights(), strict=True)
print("the same student:", all(np.array_equal(a, b) for a, b in same))

# %% [markdown]
# Of the same kind: `born_again`, `ensemble`, `snapshots`, `stage_wise`, `grow`,
# `mutual_learning`, `learn_without_forgetting` for new classes, `federated` for
# clients that share neither weights nor data, and `pate`, whose student learns from
# private data by noisy votes and reports what it gives away as the ε of differential
# privacy.
