"""A student a tenth of its teacher's size, trained alone and trained by the teacher.

The images are scikit-learn's handwritten digits: 8x8 pixels, 1,797 of them, on disk
with the package. 500 are the training set, the same for the teacher and both students;
the other 1,297 only measure. The teacher is trained once. Then, for each seed, the
student alone and the distilled student start from the same weights and see the same
batches for the same number of epochs. All that differs is that one of them is also told
what the teacher sees in each image.

Run it with `make demo`, or `python guides/demo.py --seeds 5`.
"""

import argparse
import math
import os
import time
import timeit

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("MPLBACKEND", "Agg")  # Draws into a file: no screen is needed.

import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_kd

BATCH = 64
TEACHER_EPOCHS = 60
STUDENT_EPOCHS = 100
TEST_EVERY = 10  # epochs
RUNS = ("teacher", "student alone", "student distilled")
COLOURS = ("#777777", "#d95f02", "#1b9e77")


def load_data():
    x, y = load_digits(return_X_y=True)
    x = (x.reshape(-1, 8, 8, 1) / 16.0).astype("float32")
    return train_test_split(x, y, train_size=500, stratify=y, random_state=0)


def make_teacher():
    model = keras.Sequential([keras.Input((8, 8, 1))], name="teacher")
    for filters, pool in [(32, False), (64, True), (64, True)]:
        model.add(layers.Conv2D(filters, 3, padding="same"))
        # A few hundred steps: at the default momentum the averages would lag behind.
        model.add(layers.BatchNormalization(momentum=0.9))
        model.add(layers.ReLU())
        if pool:
            model.add(layers.MaxPooling2D())
        model.add(layers.Dropout(0.2))
    model.add(layers.Flatten())
    model.add(layers.Dense(192, activation="relu"))
    model.add(layers.Dropout(0.5))
    model.add(layers.Dense(10))  # Logits: the losses below apply the softmax.
    return model


def make_student():
    model = keras.Sequential([keras.Input((8, 8, 1))], name="student")
    model.add(layers.Conv2D(16, 3, padding="same", activation="relu"))
    model.add(layers.MaxPooling2D())
    model.add(layers.Conv2D(32, 3, padding="same", activation="relu"))
    model.add(layers.Flatten())
    model.add(layers.Dense(10))
    return model


def train(model, data, epochs, learning_rate, seed):
    """Compiles and fits any of the three; returns its test accuracy (%) in time."""
    x_train, x_test, y_train, y_test = data
    steps = epochs * math.ceil(len(x_train) / BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    model.compile(
        optimizer=keras.optimizers.Adam(schedule),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    keras.utils.set_random_seed(seed)  # The same order of batches for both students.
    history = model.fit(
        x_train,
        y_train,
        batch_size=BATCH,
        epochs=epochs,
        validation_data=(x_test, y_test),
        validation_batch_size=len(x_test),
        validation_freq=TEST_EVERY,
        verbose=0,
    )
    return 100 * np.array(history.history["val_accuracy"])


def train_students(teacher, data, seed):
    """Trains the student alone and distilled; returns both models and both curves."""
    keras.utils.set_random_seed(seed)
    alone, student = make_student(), make_student()
    student.set_weights(alone.get_weights())
    distiller = keras_kd.Distiller(
        teacher=teacher,
        student=student,
        distillation_losses=keras_kd.LogitsDistillation(temperature=10.0),
        student_loss_weight=0.1,
    )
    pair = [
        train(model, data, STUDENT_EPOCHS, 5e-3, seed) for model in (alone, distiller)
    ]
    return (alone, distiller.student), pair


def microseconds_per_image(model, images):
    """The best of some timings, without the first, which pays for compiling."""

    timings = timeit.repeat(
        lambda: model.predict(images, len(images), verbose=0), number=1, repeat=20
    )
    return min(timings[1:]) / len(images) * 1e6


def standard_error(values):
    return np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan


def show(values):
    error = f" ± {standard_error(values):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{error}"


def kilobytes(model):
    return model.count_params() * 4 / 1024  # float32


def print_results(models, accuracies, images):
    print(f"\n{'':<19}{'accuracy (%)':>15}{'parameters':>12}{'size':>10}{'time':>16}")
    for name, model, values in zip(RUNS, models, accuracies, strict=True):
        print(
            f"{name:<19}{show(values):>15}{model.count_params():12,}"
            f"{kilobytes(model):7.0f} KB"
            f"{microseconds_per_image(model, images):7.1f} µs/image"
        )
    teacher, alone, distilled = accuracies
    print(f"\nIn points, over {len(alone)} seeds (mean ± standard error, paired):")
    print(f"distilled minus alone    {show(distilled - alone)}")
    print(f"distilled minus teacher  {show(distilled - teacher)}")


def draw(models, curves, path):
    """Learning curves beside accuracy and size."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    teacher = curves[0][0, -1]
    left.axhline(teacher, color=COLOURS[0], ls="--", label="teacher, trained")
    for name, model, colour, curve in zip(RUNS, models, COLOURS, curves, strict=True):
        if name != "teacher":
            epochs = TEST_EVERY * np.arange(1, curve.shape[1] + 1)
            left.plot(epochs, curve.T, color=colour, lw=0.7, alpha=0.4)
            left.plot(epochs, curve.mean(0), color=colour, lw=2, label=name)
        final, label = curve[:, -1], f"{name}\n{kilobytes(model):.0f} KB"
        error = standard_error(final)
        bar = right.bar(label, final.mean(), yerr=error, capsize=5, color=colour)
        right.bar_label(bar, fmt="%.2f", padding=3)

    left.set(xlabel="epoch", ylabel="test accuracy (%)", title="While learning")
    left.set_ylim(teacher - 6, 100)
    left.legend(loc="lower right")
    # From 90 %, or the difference would be too small to see: the axis says so.
    right.set(ylim=(90, 100), ylabel="test accuracy (%), from 90", title="At the end")
    figure.suptitle("One small student, 500 images: without and with a teacher")
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many student pairs")
    seeds = parser.parse_args().seeds

    start = time.perf_counter()
    data = load_data()
    keras.utils.set_random_seed(0)
    teacher = make_teacher()
    teacher_curve = train(teacher, data, TEACHER_EPOCHS, 3e-3, seed=0)
    print(
        f"On {keras.config.backend()}. Teacher: {teacher_curve[-1]:.2f} %", flush=True
    )

    pairs = []
    for seed in range(seeds):
        students, pair = train_students(teacher, data, seed)
        pairs.append(pair)
        print(f"seed {seed}: alone {pair[0][-1]:.2f} %, distilled {pair[1][-1]:.2f} %")

    # A row for each seed; the teacher has one.
    curves = [teacher_curve[None], *np.swapaxes(pairs, 0, 1)]
    models = (teacher, *students)
    print_results(models, [curve[:, -1] for curve in curves], data[1])
    draw(models, curves, "demo.png")
    print(f"\nAll this took {time.perf_counter() - start:.0f} s. See demo.png.")


if __name__ == "__main__":
    main()
