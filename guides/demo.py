"""A student a twelfth of its teacher's size, trained alone and trained by the teacher.

The images are scikit-learn's handwritten digits (8x8 pixels, 1,797 of them, on disk with
the package). 500 of them are labelled training data, the same 500 for everyone; the
others are the test set, which nothing is chosen by. The student alone and the distilled
student start from the same weights and see the same batches for the same number of
epochs: what differs is that one of them is also told what the teacher sees.

Run it with `make demo`, or `python guides/demo.py --seeds 5`.
"""

import argparse
import os
import time

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import matplotlib
import numpy as np
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_kd

matplotlib.use("Agg")  # Draws into a file: no screen is needed.
import matplotlib.pyplot as plt

TRAINING_IMAGES = 500
BATCH = 64
TEACHER_EPOCHS = 80
STUDENT_EPOCHS = 180
TEST_EVERY = 10  # epochs
RUNS = ("teacher", "student alone", "student distilled")
COLOURS = ("#777777", "#d95f02", "#1b9e77")


def load_data():
    digits = load_digits()
    images = (digits.images[..., None] / 16.0).astype("float32")
    return train_test_split(
        images,
        digits.target,
        train_size=TRAINING_IMAGES,
        stratify=digits.target,
        random_state=0,
    )


def make_teacher():
    model = keras.Sequential([keras.Input((8, 8, 1))], name="teacher")
    for filters, pool in [(32, False), (64, True), (64, False)]:
        model.add(layers.Conv2D(filters, 3, padding="same", use_bias=False))
        model.add(layers.BatchNormalization())
        model.add(layers.ReLU())
        if pool:
            model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    model.add(layers.Dropout(0.3))
    model.add(layers.Dense(64, activation="relu"))
    model.add(layers.Dropout(0.3))
    model.add(layers.Dense(10))  # Logits: the losses below apply the softmax.
    return model


def make_student():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(10),
        ],
        name="student",
    )


def train(model, data, epochs, learning_rate, seed):
    """Compiles and fits any of the three; returns its test accuracy over the epochs."""
    x_train, x_test, y_train, y_test = data
    steps = epochs * -(-len(x_train) // BATCH)
    keras.utils.set_random_seed(seed)  # The same order of batches for both students.
    model.compile(
        optimizer=keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(learning_rate, steps)
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = model.fit(
        x_train,
        y_train,
        batch_size=BATCH,
        epochs=epochs,
        validation_data=(x_test, y_test),
        validation_freq=TEST_EVERY,
        validation_batch_size=len(x_test),
        verbose=0,
    )
    return history.history["val_accuracy"]


def run_once(data, seed):
    """Trains the three once; returns the models and their curves, in order of RUNS."""
    keras.utils.set_random_seed(seed)
    teacher, alone, student = make_teacher(), make_student(), make_student()
    student.set_weights(alone.get_weights())

    curves = [
        train(teacher, data, TEACHER_EPOCHS, 2e-3, seed),
        train(alone, data, STUDENT_EPOCHS, 5e-3, seed),
    ]

    distiller = keras_kd.Distiller(
        teacher=teacher,
        student=student,
        distillation_losses=keras_kd.LogitsDistillation(temperature=10.0),
        student_loss_weight=0.1,
    )
    curves.append(train(distiller, data, STUDENT_EPOCHS, 5e-3, seed))
    return [teacher, alone, distiller.student], curves


def microseconds_per_image(model, images, repeats=5):
    """The best of a few timings, after one run that pays for compiling."""
    timings = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        model.predict(images, batch_size=len(images), verbose=0)
        timings.append(time.perf_counter() - start)
    return min(timings[1:]) / len(images) * 1e6


def standard_error(values):
    """Of the mean; not a number where there is one value only."""
    return np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan


def print_table(models, accuracies, images):
    print(f"\n{'':<19}{'accuracy':>15}{'parameters':>13}{'size':>10}{'time':>15}")
    for name, model, values in zip(RUNS, models, accuracies, strict=True):
        size = model.count_params() * 4 / 1024  # float32
        print(
            f"{name:<19}{np.mean(values):8.2f} ± {standard_error(values):4.2f}"
            f"{model.count_params():13,}{size:7.0f} KB"
            f"{microseconds_per_image(model, images):7.1f} µs/image"
        )


def print_verdict(accuracies):
    teacher, alone, distilled = accuracies
    gain = distilled - alone
    print(
        f"\nDistilled minus alone: {gain.mean():+.2f} ± {standard_error(gain):.2f} points"
        f" ({len(gain)} seeds, mean ± standard error of the paired difference)."
        f"\nDistilled minus teacher: {(distilled - teacher).mean():+.2f} points."
    )


def plot(models, curves, path):
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for index in (1, 2):
        epochs = TEST_EVERY * np.arange(1, curves[index].shape[1] + 1)
        left.plot(epochs, curves[index].T, color=COLOURS[index], lw=0.7, alpha=0.4)
        left.plot(
            epochs, curves[index].mean(0), color=COLOURS[index], lw=2, label=RUNS[index]
        )
    teacher = curves[0][:, -1].mean()
    left.axhline(teacher, color=COLOURS[0], ls="--", label="teacher, when trained")
    left.set(xlabel="epoch", ylabel="test accuracy (%)", title="While learning")
    left.set_ylim(bottom=max(left.get_ylim()[0], teacher - 8))
    left.legend(loc="lower right")

    final = [c[:, -1] for c in curves]
    means = [f.mean() for f in final]
    labels = [
        f"{name}\n{model.count_params() * 4 / 1024:.0f} KB"
        for name, model in zip(RUNS, models, strict=True)
    ]
    errors = np.nan_to_num([standard_error(f) for f in final])
    bars = right.bar(labels, means, yerr=errors, capsize=5, color=COLOURS)
    right.bar_label(bars, [f"{m:.2f}" for m in means], padding=6)
    right.set(ylim=(min(means) - 2, 100), title="Accuracy and size")
    figure.suptitle("The same student, the same 500 images, with and without a teacher")
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="how often to repeat")
    parser.add_argument("--plot", default="demo.png", help="where the picture goes")
    arguments = parser.parse_args()

    start = time.perf_counter()
    data = load_data()
    runs = []
    print(f"Backend: {keras.config.backend()}. Three models, {arguments.seeds} seeds.")
    for seed in range(arguments.seeds):
        models, curves = run_once(data, seed)
        runs.append(100 * np.array([c[-1] for c in curves]))
        scores = ", ".join(
            f"{n} {a:.2f}" for n, a in zip(RUNS, runs[-1], strict=True)
        )
        print(f"seed {seed} ({time.perf_counter() - start:3.0f} s): {scores}", flush=True)
        if seed == 0:
            all_curves = [[] for _ in RUNS]
        for kept, curve in zip(all_curves, curves, strict=True):
            kept.append(100 * np.array(curve))

    curves = [np.array(c) for c in all_curves]
    accuracies = [c[:, -1] for c in curves]
    print_table(models, accuracies, data[1])
    print_verdict(accuracies)
    plot(models, curves, arguments.plot)
    print(f"Picture: {arguments.plot}. Took {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
