"""Text that is given where numbers are wanted: what Keras takes, and what to do."""

import keras
import numpy as np
import pytest

import keras_kd
from tests.training.helpers import classifier

TEXT = np.array(["red apple", "blue sky", "green tree", "red sky"])
Y = np.array([0, 1, 0, 1])
ON_TENSORFLOW = keras.backend.backend() == "tensorflow"


def fitted(make, x):
    distiller = keras_kd.Distiller(make(), make(), keras_kd.LogitsDistillation(2.0))
    distiller.compile(
        keras.optimizers.SGD(0.0), keras.losses.SparseCategoricalCrossentropy(True)
    )
    return distiller.fit(x, Y, batch_size=4, verbose=0).history


def reader():
    """Return a model that holds its own TextVectorization."""
    vectorize = keras.layers.TextVectorization(
        vocabulary=["red", "blue", "green", "apple", "sky", "tree"],
        output_sequence_length=2,
    )
    return keras.Sequential(
        [
            keras.Input((), dtype="string"),
            vectorize,
            keras.layers.Embedding(8, 4),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(2),
        ]
    )


TEXTS = {
    "array": lambda: TEXT,
    "column": lambda: TEXT[:, None].astype(object),
    "bytes": lambda: TEXT.astype("S"),
    "dict": lambda: {"text": TEXT},
}
WAY_OUT = (
    r"TextVectorization.*x\.astype\(object\)"
    if ON_TENSORFLOW
    else r"No tensor of this backend holds text.*dataset\.map"
)


@pytest.mark.parametrize("make", [reader, classifier])
@pytest.mark.parametrize("text", TEXTS)
def test_text_says_what_can_be_done(text, make):
    """To tokenise it alone is no help where the model itself does."""
    with pytest.raises(ValueError, match=f"`x` must be numeric.*{WAY_OUT}"):
        fitted(make, TEXTS[text]())


@pytest.mark.filterwarnings("ignore:The teacher .* had no weights")
@pytest.mark.skipif(not ON_TENSORFLOW, reason="no tensor of text elsewhere")
def test_the_way_out_is_open():
    """What the message proposes must train."""
    assert np.isfinite(fitted(reader, TEXT.astype(object))["loss"]).all()


class Column:
    """Look-alike of a pandas dtype."""

    def __init__(self, kind):
        self.kind = kind


class Frame:
    """Look-alike of a pandas DataFrame."""

    columns = ("size", "colour")
    dtypes = (Column("f"), Column("O"))
    shape = (4, 2)


def test_the_columns_of_a_frame_are_named():
    """An invalid dtype alone does not say which column."""
    with pytest.raises(ValueError, match=r"`x` must be numeric.*columns \['colour'\]"):
        fitted(classifier, Frame())


def test_a_frame_and_a_series_of_pandas():
    """The real ones, where pandas is there."""
    pandas = pytest.importorskip("pandas")
    for x in (pandas.DataFrame({"colour": TEXT}), pandas.Series(TEXT)):
        with pytest.raises(ValueError, match=f"`x` must be numeric.*{WAY_OUT}"):
            fitted(reader, x)
    numbers = pandas.DataFrame(np.eye(4, dtype="float32"))
    assert np.isfinite(fitted(lambda: classifier(5), numbers)["loss"]).all()
