"""What `export` writes is the student."""

import keras
import numpy as np
import pytest

import keras_kd
from tests.training.helpers import classifier, data

X, Y = data()


def trained():
    distiller = keras_kd.Distiller(
        classifier(7), classifier(5), keras_kd.LogitsDistillation(2.0)
    )
    distiller.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True))
    distiller.fit(X, Y, verbose=0)
    return distiller


def test_export_hands_all_to_the_student(monkeypatch):
    """It said "The model provided has never called", after a whole training."""
    distiller, given = trained(), []
    monkeypatch.setattr(
        type(distiller.student),
        "export",
        lambda self, *args, **kwargs: given.append((self, args, kwargs)),
    )
    distiller.export("folder", format="onnx", verbose=False)
    arguments = {"format": "onnx", "verbose": False}
    assert given == [(distiller.student, ("folder",), arguments)]


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="needs converters of other packages"
)
def test_the_exported_student_answers_as_the_student(tmp_path):
    """A file that answers otherwise, or that holds the teacher, is no product."""
    import tensorflow

    distiller = trained()
    distiller.export(tmp_path / "student", verbose=False)
    served = tensorflow.saved_model.load(str(tmp_path / "student"))
    np.testing.assert_allclose(
        served.serve(X), distiller.student.predict(X, verbose=0), rtol=1e-5, atol=1e-6
    )
