"""Batches whose order follows from seed and epoch, and what stands together in them."""

import keras
import numpy as np
import pytest

from keras_kd import data

COUNT = 11
X = np.arange(COUNT, dtype="float32")[:, None] * np.ones((1, 3), "float32")
Y = np.array([0, 1, 0, 2, 1, 0, 0, 1, 2, 0, 3])
KINDS = (
    data.ShuffledBatches,
    data.OverlappingBatches,
    data.SameClassBatches,
    data.Views,
)
EACH = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def rows_of(batch):
    """The rows of the arrays that a batch holds, which its x tells."""
    x = data.without_sample_ids(batch[0])
    return x[:, 0].astype(int).tolist()


def epoch_of(batches):
    rows = [rows_of(batches[place]) for place in range(len(batches))]
    batches.on_epoch_end()
    return rows


def noise(x, random):
    return x + random.uniform(0.1, 0.2, size=x.shape).astype("float32")


@EACH
def test_the_order_is_that_of_seed_and_epoch(kind):
    """A resumed run that sees other batches is not the run that was interrupted."""
    whole = kind(X, Y, 4, seed=3)
    epochs = [epoch_of(whole) for _ in range(4)]
    assert whole.epoch == 4
    assert len({str(rows) for rows in epochs}) == 4  # a new order each time
    resumed = kind(X, Y, 4, seed=3, epoch=2)
    assert [epoch_of(resumed) for _ in range(2)] == epochs[2:]
    resumed.epoch = 1
    assert epoch_of(resumed) == epochs[1]
    assert epoch_of(kind(X, Y, 4, seed=4)) != epochs[0]


@EACH
def test_every_example_is_shown_with_its_label_and_weight(kind):
    """A row that got the label of another would be learned wrong."""
    batches = kind(X, Y, 4, sample_weight=X[:, 0] + 100)
    seen = set()
    for place in range(len(batches)):
        x, y, weight = batches[place]
        rows = rows_of((x,))
        assert y.tolist() == Y[rows].tolist()
        assert weight.tolist() == [row + 100 for row in rows]
        if kind.numbered:
            assert x["sample_id"].tolist() == rows
        assert len(rows) <= 4
        seen |= set(rows)
    assert seen == set(range(COUNT))
    with pytest.raises(IndexError, match=f"There are {len(batches)} batches"):
        batches[len(batches)]


@EACH
def test_augmentation_follows_seed_epoch_and_batch(kind):
    """Drawn from one stream, it would depend on workers and on interruptions."""

    def shown(batches, place):
        return data.without_sample_ids(batches[place][0])

    batches = kind(X, Y, 4, seed=3, augment=noise)
    last_first = [shown(batches, place) for place in (1, 0)]
    again = kind(X, Y, 4, seed=3, augment=noise)
    for place, x in zip((1, 0), last_first, strict=True):
        np.testing.assert_array_equal(shown(again, place), x)
    added = [np.mod(x, 1.0).round(5).tolist() for x in last_first]
    assert added[0][0] != added[1][0]
    with pytest.raises(ValueError, match="`augment` must be None or a function"):
        kind(X, Y, 4, augment=3)


def test_shuffled_batches_show_each_example_once():
    """An example that is left out for ever is never learned."""
    batches = data.ShuffledBatches(X, Y, 4)
    assert sorted(sum(epoch_of(batches), [])) == list(range(COUNT))
    assert len(batches) == 3


def test_overlapping_batches_begin_with_the_end_of_the_one_before():
    """Without the overlap there is no answer of the last step to learn from."""
    batches = data.OverlappingBatches(X[:10], Y[:10], 4)
    rows = [batch for _ in range(3) for batch in epoch_of(batches)]
    assert len(rows) == 3 * 5
    for before, now in zip(rows, rows[1:], strict=False):
        assert now[:2] == before[2:]


def test_overlapping_batches_are_half_old_across_epochs():
    """Where two epochs meet, the last half is smaller, and the batch overlaps too."""
    batches = data.OverlappingBatches(X, Y, 4)
    first, second = epoch_of(batches), epoch_of(batches)
    new = sum((batch[2:] for batch in first[1:]), first[0][1:])
    assert sorted(new) == list(range(COUNT))  # each once as a new one
    assert second[0][:1] == first[-1][2:]  # 11 = 5 halves of 2, and one of 1
    assert [len(batch) for batch in second] == [3, 4, 4, 4, 4, 3]


def test_same_class_batches_hold_pairs():
    """An example without a pair learns nothing by SameClassDistillation."""
    batches = data.SameClassBatches(X, Y, 4)
    rows = sum(epoch_of(batches), [])
    counts = np.bincount(rows)
    assert counts.tolist().count(2) == 3  # one of each odd class, and the only 3
    assert counts[10] == 2  # its only example is its own pair
    for one, other in zip(rows[::2], rows[1::2], strict=True):
        assert Y[one] == Y[other]
        assert one != other or one == 10


@pytest.mark.parametrize("y", [Y[:, None], np.eye(4)[Y]], ids=["column", "one_hot"])
def test_same_class_batches_read_labels_in_every_form(y):
    """Pairs by anything else would teach one class the answers to another."""
    batches = data.SameClassBatches(X, y, 4)
    wanted = data.SameClassBatches(X, Y, 4)
    assert epoch_of(batches) == epoch_of(wanted)


def test_views_stand_in_one_batch_and_differ():
    """Views that are equal agree from the start, and teach nothing."""
    batches = data.Views(X, Y, 6, noise, views=3)
    assert len(batches) == 6
    x, y = batches[0]
    assert x["sample_id"].reshape(3, 2).tolist() == [x["sample_id"][:2].tolist()] * 3
    assert y.reshape(3, 2).tolist() == [y[:2].tolist()] * 3
    one, two, three = np.split(x["x"], 3)
    assert not np.allclose(one, two)
    assert not np.allclose(two, three)
    x, _ = data.Views(X, Y, 6, views=3)[0]  # copies, for dropout
    np.testing.assert_array_equal(x["x"][:2], x["x"][2:4])


def test_structures_keep_their_names_and_own_ids():
    """Models with several inputs take theirs by name."""
    x = {"image": X, "text": X + 1}
    batch, y = data.OverlappingBatches(x, {"a": Y, "b": Y}, 4)[0]
    assert set(batch) == {"image", "text", "sample_id"}
    assert set(data.without_sample_ids(batch)) == {"image", "text"}
    np.testing.assert_array_equal(batch["image"][:, 0], batch["sample_id"])
    np.testing.assert_array_equal(y["a"], y["b"])
    own = data.Views({"x": X, "sample_id": X[:, 0] + 50}, None, 4)
    (batch,) = own[0]
    np.testing.assert_array_equal(batch["sample_id"], batch["x"][:, 0] + 50)
    assert data.without_sample_ids(X) is X
    pair, _ = data.ShuffledBatches((X, X), Y, 4)[0]
    assert isinstance(pair, tuple)
    tensor = keras.ops.convert_to_tensor(X)
    assert epoch_of(data.ShuffledBatches(tensor)) == epoch_of(data.ShuffledBatches(X))


class Seen(data.ShuffledBatches):
    """Keeps what it was asked for."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.asked = {}

    def __getitem__(self, index):
        batch = super().__getitem__(index)
        self.asked.setdefault(self.epoch, {})[index] = rows_of(batch)
        return batch


@pytest.mark.parametrize("workers", [1, 2])
def test_fit_counts_the_epochs(workers):
    """An epoch counted twice, or not, and the resumed run is another one."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    batches = Seen(X, X, 4, workers=workers)
    model.fit(batches, validation_data=Seen(X, X, 4), epochs=1, verbose=0)
    assert batches.epoch == 1
    model.fit(batches, epochs=3, initial_epoch=1, shuffle=False, verbose=0)
    assert batches.epoch == 3
    model.evaluate(batches, verbose=0)
    assert batches.epoch == 4
    for epoch in (1, 2):
        wanted = epoch_of(data.ShuffledBatches(X, X, 4, epoch=epoch))
        assert [batches.asked[epoch][place] for place in range(3)] == wanted


WRONG = {
    "`seed` must be an integer, at least 0": lambda: data.ShuffledBatches(X, seed=-1),
    "`epoch` must be an integer": lambda: data.ShuffledBatches(X, epoch=True),
    "`batch_size` must be an integer, at least 1": lambda: data.ShuffledBatches(
        X, Y, 0
    ),
    "`batch_size` of OverlappingBatches must be a multiple of 2": (
        lambda: data.OverlappingBatches(X, Y, 5)
    ),
    "`views` must be an integer, at least 2": lambda: data.Views(X, Y, views=1),
    "`batch_size` of Views must be a multiple of 3": lambda: data.Views(
        X, Y, 4, views=3
    ),
    "arrays with one row per example": lambda: data.ShuffledBatches(X, Y[:3]),
    "at least one. Received": lambda: data.ShuffledBatches(X[:0]),
    "needs `y`, one array": lambda: data.SameClassBatches(X),
}


@pytest.mark.parametrize(("message", "make"), WRONG.items(), ids=range(len(WRONG)))
def test_what_is_wrong_is_named(message, make):
    """The user must read which argument it was, before any training."""
    with pytest.raises(ValueError, match=message):
        make()
