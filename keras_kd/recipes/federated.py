"""Clients that teach each other by what they predict on public data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_kd.data.labels import labels_like
from keras_kd.distiller import Distiller
from keras_kd.hyperparameters import check_scalar
from keras_kd.losses.logits.logits_distillation import LogitsDistillation
from keras_kd.recipes.chains import Build, check_builds, going_on
from keras_kd.recipes.description import weights_digest
from keras_kd.recipes.public import logits_of_one
from keras_kd.recipes.rehearsal import Rehearsal
from keras_kd.recipes.run import Run
from keras_kd.recipes.training import Stage, Training, check_count, check_own_data


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
    """Federated distillation: clients share predictions on public data, nothing else.

    In each round every client trains on its own examples, predicts the public ones,
    and learns the mean of all clients' probabilities. Neither weights nor examples are
    shared, so the clients may have different architectures. What is shared lies in the
    folders "shared_0", "shared_1" and so on: one client's probabilities per row of the
    public data.

    Args:
        builds: One function per client, which returns its new, built model.
        clients: One pair (x, y) of arrays per client.
        public: Unlabelled inputs that all clients have, arrays.
        training: How a client trains on its own examples in a round; x and y are
            theirs. Each measures itself on the `validation_data`, which all have.
        directory: Where the run is kept, see `keras_kd.recipes.Run`.
        rounds: Number of rounds, at least 1; a directory can be continued with more.
            Defaults to 3.
        temperature: Positive number T of the shared probabilities. Defaults to 1.0.
        public_training: How a client learns the mean. Defaults to `training`.
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
    check_scalar("temperature", temperature, above=0)
    check_own_data(training, "sample_weight")
    classes = _check_clients(builds, clients, public)
    federation = _Federation(
        builds,
        [replace(training, x=x, y=y) for x, y in clients],
        public,
        public_training or training,
        temperature,
        classes,
    )

    def recipe(run: Run | Rehearsal) -> list[Stage]:
        last: list[Stage] = []
        # All rounds are alike: one shows what does not fit.
        for number in range(1 if run.is_rehearsal else rounds):
            last = federation.train_on_own_data(run, number, last)
            shared = federation.shared_probabilities(run, number, last)
            last = federation.train_on_public_data(run, number, last, shared)
        return last

    settings = {"clients": len(builds), "temperature": temperature}
    return Run(directory, "federated", settings, verbose=verbose).carry_out(recipe)


@dataclass(frozen=True)
class _Federation:
    """What stays the same in all rounds."""

    builds: Sequence[Build]
    own: Sequence[Training]
    public: Any
    public_training: Training
    temperature: float
    classes: int

    def train_on_own_data(
        self, run: Run | Rehearsal, number: int, last: list[Stage]
    ) -> list[Stage]:
        """Train each client on its own examples."""
        befores = [stage.student for stage in last] or [None] * len(self.builds)
        return [
            run.stage(
                f"round_{number}_client_{client}_own",
                going_on(build, befores[client]),
                self.own[client],
            )
            for client, build in enumerate(self.builds)
        ]

    def shared_probabilities(
        self, run: Run | Rehearsal, number: int, last: list[Stage]
    ) -> dict[str, np.ndarray]:
        """Return what each client shares: its probabilities for the public data."""

        def share() -> dict[str, np.ndarray]:
            return {
                f"client_{client}": _probabilities(
                    stage.student.predict(self.public, verbose=0), self.temperature
                )
                for client, stage in enumerate(last)
            }

        rows = len(keras.tree.flatten(self.public)[0])
        uniform = np.full((rows, self.classes), 1 / self.classes, "float32")
        return run.value(
            f"shared_{number}",
            share,
            {
                "public": self.public,
                "clients": [weights_digest(stage.student.weights) for stage in last],
            },
            rehearsed={f"client_{client}": uniform for client in range(len(last))},
        )

    def train_on_public_data(
        self,
        run: Run | Rehearsal,
        number: int,
        last: list[Stage],
        shared: dict[str, np.ndarray],
    ) -> list[Stage]:
        """Train each client on the mean of what all have shared."""
        names = [f"client_{client}" for client in range(len(last))]
        mean = np.mean([shared[name] for name in names], axis=0)
        log_probabilities = np.log(np.maximum(mean, 1e-30))
        given = replace(
            self.public_training,
            x={"public": self.public, "log_probabilities": log_probabilities},
            # Of weight 0 in the loss: what the metrics are measured against.
            y=labels_like(self.own[0].y, mean.argmax(axis=-1), self.classes),
            validation_data=None,
        )
        return [
            run.stage(
                f"round_{number}_client_{client}_shared",
                going_on(build, last[client].student),
                given,
                _taught_by_the_mean(self.temperature),
            )
            for client, build in enumerate(self.builds)
        ]


def _check_clients(
    builds: Sequence[Build], clients: Sequence[tuple[Any, Any]], public: Any
) -> int:
    """Return the number of classes, and raise where clients do not fit together.

    Raises:
        ValueError: If they do not.
    """
    pairs = all(isinstance(c, (list, tuple)) and len(c) == 2 for c in clients)
    if len(clients) != len(builds) or not pairs:
        raise ValueError(
            "`clients` must hold one pair (x, y) per function of `builds`. Received: "
            f"{len(clients)} clients, {len(builds)} functions."
        )
    counts = [logits_of_one(build, public, "builds", "public") for build in builds]
    if len(set(counts)) > 1:
        raise ValueError(
            "`builds` must return models with the same number of classes. Received: "
            f"models with {counts} logits."
        )
    return counts[0]


def _taught_by_the_mean(temperature: float) -> Any:
    """Return what trains a student on the mean of all clients' probabilities."""

    def distil(student: keras.Model) -> Distiller:
        return Distiller(
            lambda x: temperature * x["log_probabilities"],
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
