"""Teachers of a run that vote once."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from keras_kd.recipes.description import weights_digest
from keras_kd.recipes.rehearsal import Rehearsal
from keras_kd.recipes.run import Run
from keras_kd.recipes.training import Stage
from keras_kd.recipes.votes import count_votes, noisy_labels, privacy_spent


@dataclass(frozen=True)
class Voting:
    """How the teachers vote, and what that gives away.

    Args:
        classes: Number of classes.
        noise: See `noisy_labels`.
        scale: See `noisy_labels`.
        threshold: See `noisy_labels`.
        threshold_scale: See `noisy_labels`.
        delta: The number δ.
        queries: Number of public examples.
    """

    classes: int
    noise: str
    scale: float
    threshold: float | None
    threshold_scale: float | None
    delta: float
    queries: int

    def epsilon(self, answered: int) -> float:
        """Return the ε of so many labels."""
        return privacy_spent(
            answered,
            noise=self.noise,
            scale=self.scale,
            delta=self.delta,
            queries=None if self.threshold is None else self.queries,
            threshold_scale=self.threshold_scale,
        )

    def labels(
        self, run: Run | Rehearsal, teachers: list[Stage], public: Any
    ) -> dict[str, np.ndarray]:
        """Return which rows are answered, and their noisy labels.

        They are kept: to draw again after an interruption would spend the privacy
        twice.
        """
        asked = {
            "noise": [self.noise, self.scale, self.threshold, self.threshold_scale],
            "public": public,
            "teachers": [weights_digest(stage.student.weights) for stage in teachers],
        }
        rehearsed = {
            "answered": np.ones(self.queries, bool),
            "labels": np.zeros(self.queries, "int64"),
        }
        draw = partial(self._draw, run, teachers, public)
        votes = run.value("votes", draw, asked, rehearsed=rehearsed)
        if not votes["answered"].any():
            raise ValueError(
                "`threshold` must be low enough for some vote to reach it. Received: "
                f"threshold={self.threshold}; no query answered, at an ε of "
                f"{self.epsilon(0):.3g}. To ask again, at its own ε on top, delete the "
                "folder 'votes'."
            )
        return votes

    def _draw(self, run: Run | Rehearsal, teachers: list[Stage], public: Any) -> Any:
        if isinstance(run, Run) and run.path("student").exists():
            raise ValueError(
                "`directory` must hold the votes that its student has learned from. "
                "Received: a student without votes. To draw them anew, which costs "
                "their ε once more, delete the folder 'student' too."
            )
        predictions = [
            stage.student.predict(public, verbose=0).argmax(axis=-1)
            for stage in teachers
        ]
        answered, labels = noisy_labels(
            count_votes(predictions, self.classes),
            noise=self.noise,
            scale=self.scale,
            threshold=self.threshold,
            threshold_scale=self.threshold_scale,
        )
        return {"answered": answered, "labels": labels}
