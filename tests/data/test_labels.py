"""One reading of labels for all that needs the class of an example."""

import numpy as np
import pytest

from keras_kd.data.labels import class_indices, labels_like

INDICES = np.array([2, 0, 1, 2])
FORMS = {
    "indices": INDICES,
    "column": INDICES[:, None],
    "one-hot": np.eye(3)[INDICES],
    "soft": 0.4 * np.eye(3)[INDICES] + 0.2,
    "floats": INDICES.astype("float32"),
    "list": INDICES.tolist(),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_read_and_given_back(form):
    """A column of labels must not be broadcast against their classes."""
    labels = FORMS[form]
    found = class_indices(labels)
    np.testing.assert_array_equal(found, INDICES)
    again = labels_like(labels, found, 5)
    assert again.shape[1:] == (5,) if form in ("one-hot", "soft") else np.shape(labels)
    np.testing.assert_array_equal(class_indices(again), INDICES)


@pytest.mark.parametrize(
    "labels", [np.zeros((4, 3, 2)), np.array([0.5, 1.0]), np.array(["a", "b"])]
)
def test_what_is_no_class_is_refused(labels):
    """Half a class would be the one below it."""
    with pytest.raises(ValueError, match="must hold one class index per example"):
        class_indices(labels)
