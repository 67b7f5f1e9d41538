"""Students that train together, in a directory from which they go on."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_kd.distiller import Distiller
from keras_kd.losses.peers.mutual_distillation import MutualDistillation
from keras_kd.recipes.chains import Build, check_builds
from keras_kd.recipes.rehearsal import Rehearsal
from keras_kd.recipes.run import Run
from keras_kd.recipes.training import Stage, Training
from keras_kd.students.peer_group import PeerGroup


def mutual_learning(
    builds: Sequence[Build],
    training: Training,
    *,
    directory: Any,
    loss: Any = None,
    verbose: int = 1,
) -> list[Stage]:
    """Train several students at once that learn from each other's predictions.

    Args:
        builds: At least two functions that return a new, built student; their
            architectures may differ.
        training: How they train. Its `compile` sees the Distiller of them all: give
            it a `keras_kd.optimizers.PerPart` for an optimizer each.
        directory: Where the run is kept, see `keras_kd.recipes.Run`.
        loss: Returns a new loss among the students. Defaults to
            `keras_kd.losses.MutualDistillation`.
        verbose: 0, 1 or 2, see `Run`.

    Returns:
        One stage per student, "peer_0", "peer_1" and so on, with the history of all.

    Raises:
        ValueError: An argument is none of these.

    Example:
    ```python
    stages = keras_kd.recipes.mutual_learning(
        [build_small, build_large], training, directory="runs/mutual"
    )
    small, large = [stage.student for stage in stages]
    ```

    Reference: Zhang et al., 2018, deep mutual learning, arXiv:1706.00384.
    """
    check_builds("builds", builds, 2)

    def together(group: keras.Model) -> Distiller:
        return Distiller(
            None,
            group,
            MutualDistillation() if loss is None else loss(),
            student_loss_weight=1.0,
            distillation_weight=1.0,
        )

    def recipe(run: Run | Rehearsal) -> list[Stage]:
        stage = run.stage(
            "peers",
            lambda: PeerGroup([build() for build in builds]),
            training,
            together,
        )
        for peer in stage.student.peers:
            training.compile(peer)
        return [
            Stage(f"peer_{number}", peer, stage.history)
            for number, peer in enumerate(stage.student.peers)
        ]

    settings = {"peers": len(builds)}
    return Run(directory, "mutual_learning", settings, verbose=verbose).carry_out(
        recipe
    )
