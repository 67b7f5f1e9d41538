"""Clients that teach each other by their answers to public data."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_kd.distiller import Distiller
from keras_kd.hyperparameters import check_scalar
from keras_kd.losses.logits.logits_distillation import LogitsDistillation
from keras_kd.recipes.chains import Build, check_builds
from keras_kd.recipes.public import answers_of, labels_like
from keras_kd.recipes.run import Run
from keras_kd.recipes.training import (
    Stage,
    Training,
    check_count,
    check_own_data,
    digest,
)


def federated(
    builds: Sequence[Build],
    clients: Sequence[tuple[Any, Any]],
    public: Any,
    training: Training,
    *,
    directory: Any,
    rounds: int = 3,
    temperature: float = 1.0,
    public_training: Training | None = None,
    verbose: int = 1,
) -> list[Stage]:
    """Federated distillation: clients share answers to public data, nothing else.

    In each round every client trains on its own examples, answers the public ones, and
    learns the mean of all clients' answers. Neither weights nor examples are shared,
    so the clients may have different architectures. What is shared lies in the folders
    "shared_0", "shared_1" and so on: one client's probabilities per row of the public
    data.

    Args:
        builds: One function per client, which returns its new, built model.
        clients: One pair (x, y) of arrays per client.
        public: Unlabelled inputs that all clients have, arrays.
        training: How a client trains on its own examples in a round; x and y are
            theirs. Each measures itself on the `validation_data`, which all have.
        directory: Where the run is kept, see `keras_kd.recipes.Run`.
        rounds: Number of rounds, at least 1. Defaults to 3.
        temperature: Positive number T of the shared probabilities. Defaults to 1.0.
        public_training: How a client learns the mean answers. Defaults to `training`.
        verbose: 0, 1 or 2, see `Run`.

    Returns:
        The last stage of each client, with its student.

    Raises:
        ValueError: An argument is none of these.

    Example:
    ```python
    stages = keras_kd.recipes.federated(
        [build_small, build_large],
        [(x_0, y_0), (x_1, y_1)],
        x_public,
        training,
        directory="runs/federated",
        rounds=5,
    )
    students = [stage.student for stage in stages]
    ```

    Reference: Li and Wang, 2019, FedMD, arXiv:1910.03581, who share logits and learn
    them by an L1 distance.
    """
    check_builds("builds", builds, 2)
    check_count("rounds", rounds, 1)
    pairs = all(isinstance(c, (list, tuple)) and len(c) == 2 for c in clients)
    if len(clients) != len(builds) or not pairs:
        raise ValueError(
            "`clients` must hold one pair (x, y) per function of `builds`. Received: "
            f"{len(clients)} clients, {len(builds)} functions."
        )
    check_scalar("temperature", temperature, above=0)
    check_own_data(training, "sample_weight")
    shapes = {answers_of(build, public, "builds") for build in builds}
    if len(shapes) > 1:
        raise ValueError(
            "`builds` must return models with the same number of classes. Received: "
            f"answers to one row of shapes {sorted(shapes)}."
        )
    own = [replace(training, x=x, y=y) for x, y in clients]
    for data in own:
        data.data(0, 0)  # which checks x and y before the first hour of training
    run = Run(
        directory,
        "federated",
        {"clients": len(builds), "rounds": rounds, "temperature": temperature},
        verbose=verbose,
    )
    last: list[Stage] = []
    for number in range(rounds):
        for place, build in enumerate(builds):
            before = last[place].student if number else None
            name = f"round_{number}_client_{place}_own"
            trained = run.stage(name, _going_on(build, before), own[place])
            last[place : place + 1] = [trained]
        answers = {
            f"client_{place}": _probabilities(
                stage.student.predict(public, verbose=0), temperature
            )
            for place, stage in enumerate(last)
        }
        shared = run.value(
            f"shared_{number}", partial(dict, answers), {"public": digest(public)}
        )
        mean = np.mean([shared[name] for name in answers], axis=0)
        given = replace(
            public_training or training,
            x={"public": public, "answers": np.log(np.maximum(mean, 1e-30))},
            # Of weight 0 in the loss: what the metrics are measured against.
            y=labels_like(clients[0][1], mean.argmax(axis=-1), mean.shape[-1]),
            validation_data=None,
        )
        for place, build in enumerate(builds):
            name = f"round_{number}_client_{place}_shared"
            last[place] = run.stage(
                name, _going_on(build, last[place].student), given, _from(temperature)
            )
    return last


def _going_on(build: Build, before: keras.Model | None) -> Build:
    """Return a function that builds a model with the weights of another."""

    def build_on() -> keras.Model:
        model = build()
        if before is not None:
            model.set_weights(before.get_weights())
        return model

    return build_on


def _from(temperature: float) -> Any:
    """Return what trains a student on the mean answers."""

    def distil(student: keras.Model) -> Distiller:
        return Distiller(
            lambda x: temperature * x["answers"],
            student,
            LogitsDistillation(temperature),
            student_loss_weight=0.0,
            student_inputs=lambda x: x["public"],
        )

    return distil


def _probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    tempered = np.asarray(logits, "float64") / temperature
    exponents = np.exp(tempered - tempered.max(axis=-1, keepdims=True))
    return (exponents / exponents.sum(axis=-1, keepdims=True)).astype("float32")
