"""What students have in common that are several models for the same labels."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_kd.students.base import Student


class SeveralStudents(keras.Model, Student):
    """A model with one output per student, all of them for the same labels."""

    count: int

    def hold(self, kind: str, models: Sequence[keras.Model]) -> list[keras.Model]:
        """Keep the students as attributes too, and return their list.

        By these names files and the parameters of torch know them.
        """
        self.output_names = [f"{kind}_{place}" for place in range(len(models))]
        for name, model in zip(self.output_names, models, strict=True):
            setattr(self, name, model)
        self.count = len(models)
        return list(models)

    def share_labels(self, y: Any) -> Any:
        """Return the labels of each student, given those of all.

        Labels that already are a list or tuple with one entry per student stay.
        """
        if y is None or (isinstance(y, (list, tuple)) and len(y) == self.count):
            return y
        return [y] * self.count

    def share_metrics(self, metrics: Any) -> Any:
        """Return the metrics of each student, given those of all.

        A dict, or a list with a list for each student, stays.
        """
        if not isinstance(metrics, (list, tuple)) or not metrics:
            return metrics
        if any(metric is None or keras.tree.is_nested(metric) for metric in metrics):
            return metrics
        return [list(metrics), *[_fresh(metrics) for _ in range(self.count - 1)]]


def _fresh(metrics: Sequence[Any]) -> list[Any]:
    """Return the same metrics with a state of their own."""
    return [
        type(metric).from_config(metric.get_config())
        if isinstance(metric, keras.metrics.Metric)
        else metric
        for metric in metrics
    ]
