"""What losses with layers of their own do over several steps of training."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_kd
from keras_kd import losses
from keras_kd.layers import EmbeddingMemory, NegativeMean, OrthogonalProjector
from tests.losses.calls import called

COUNT = 12


def array(x):
    return ops.convert_to_numpy(x)


def convnet(width, name, classes=3):
    layers = keras.layers
    x = inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(name="normalized_1")(x)
    x = layers.ReLU(name="stage_1")(x)
    x = layers.Conv2D(width, 3, strides=2, padding="same", name="normalized_2")(x)
    x = layers.ReLU(name="stage_2")(x)
    x = layers.GlobalAveragePooling2D(name="embedding")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name=name)


def data():
    random = np.random.default_rng(0)
    return random.normal(size=(COUNT, 8, 8, 1)).astype("float32"), np.arange(COUNT) % 3


def trained(loss, weight=1.0, epochs=3, **arguments):
    """Return a Distiller after a few compiled steps."""
    keras.utils.set_random_seed(0)
    x, y = data()
    distiller = keras_kd.Distiller(
        convnet(6, "teacher"), convnet(4, "student"), loss, [weight], **arguments
    )
    distiller.compile("adam", keras.losses.SparseCategoricalCrossentropy(True))
    if isinstance(loss, losses.ContrastiveDistillation):
        x = {"image": x, "sample_id": np.arange(COUNT)}
    distiller.fit(x, y, batch_size=4, epochs=epochs, verbose=0)
    return distiller


@keras.saving.register_keras_serializable(package="tests_learned")
def images(x):
    return x["image"]


def contrastive(**arguments):
    settings = {"num_examples": COUNT, "size": 4, "negatives": 5, "seed": 0}
    return losses.ContrastiveDistillation(
        "embedding", "embedding", **{**settings, **arguments}
    )


OWNERS = {
    "variational": (
        lambda: losses.VariationalInformation("stage_2", "stage_2"),
        "a",
    ),
    "orthogonal": (
        lambda: losses.OrthogonalDistillation("embedding", "embedding"),
        "skew",
    ),
    "simple_recipe": (
        lambda: losses.SimpleRecipeDistillation("embedding", "embedding"),
        "kernel",
    ),
    "masked_generation": (
        lambda: losses.MaskedGenerativeDistillation("stage_2", "stage_2", seed=0),
        "kernel",
    ),
    "overhaul": (
        lambda: losses.OverhaulDistillation(
            ["normalized_1", "normalized_2"], ["normalized_1", "normalized_2"]
        ),
        "kernel",
    ),
    "review": (
        lambda: losses.ReviewDistillation(
            ["stage_1", "stage_2"], ["stage_1", "stage_2"], width=4
        ),
        "kernel",
    ),
    "one_for_all": (
        lambda: losses.OneForAllDistillation(["stage_1", "stage_2"]),
        "kernel",
    ),
}


@pytest.mark.parametrize(("make", "weight"), OWNERS.values(), ids=OWNERS.keys())
def test_layers_of_a_loss_train_and_stay_out_of_the_student(make, weight):
    """A projector that stood still would teach the student a random map's inverse."""
    loss = make()
    keras.utils.set_random_seed(0)
    student = convnet(4, "student")
    wanted = [w.path.rsplit("/", 1)[-1] for w in student.weights]
    distiller = trained(loss)
    got = [w.path.rsplit("/", 1)[-1] for w in distiller.student.weights]
    assert got == wanted
    trainable = [w for layer in loss.layers for w in layer.trainable_weights]
    assert any(w.path.endswith(weight) for w in trainable)
    before = [array(w) for w in trainable]
    x, y = data()
    distiller.fit(x, y, batch_size=4, verbose=0)
    for old, variable in zip(before, trainable, strict=True):
        assert np.isfinite(array(variable)).all()
        assert np.abs(array(variable) - old).max() > 0, variable.path


@pytest.mark.parametrize("name", [*OWNERS, "contrastive"])
def test_saved_in_the_middle_it_goes_on_bit_for_bit(name, tmp_path):
    """A bank, a margin or a mask's seed that is not saved would start anew."""
    x, y = data()
    inputs = {}
    if name == "contrastive":
        inputs = {"student_inputs": images, "teacher_inputs": images}
    loss = contrastive() if name == "contrastive" else OWNERS[name][0]()
    distiller = trained(loss, epochs=1, **inputs)
    distiller.save(tmp_path / "distiller.keras")
    again = keras.saving.load_model(tmp_path / "distiller.keras")
    if name == "contrastive":
        x = {"image": x, "sample_id": np.arange(COUNT)}
    for one in (distiller, again):
        one.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    for one, other in zip(distiller.variables, again.variables, strict=True):
        np.testing.assert_array_equal(array(one), array(other))


def test_orthogonal_projector_stays_orthogonal_while_it_trains():
    """Once it stretches, the projector learns the task in the student's place."""
    loss = losses.OrthogonalDistillation("embedding", "embedding")
    trained(loss, weight=100.0, epochs=20)
    matrix = array(loss.layers[0].matrix())
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(4), atol=1e-5)
    wide = OrthogonalProjector(2)
    wide.build((None, 5))
    matrix = array(wide.matrix())
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(2), atol=1e-5)


def test_memory_keeps_half_of_the_old_vector_and_half_of_the_new():
    """A bank that is not updated compares the student with its own random start."""
    memory = EmbeddingMemory(5, 2, seed=0)
    memory.build()
    start = [array(bank) for bank in memory.banks]
    new = [np.array([[3.0, 4.0], [1.0, 0.0]], "float32") / [[5.0], [1.0]]] * 2
    ids, kept = np.array([3, 1]), np.array([1.0, 0.0], "float32")
    memory.update(
        ops.convert_to_tensor(ids),
        [ops.convert_to_tensor(v, "float32") for v in new],
        [ops.convert_to_tensor(z, "float32") for z in (2.0, 3.0)],
        ops.convert_to_tensor(kept),
        momentum=0.5,
    )
    for bank, old in zip(memory.banks, start, strict=True):
        mixed = 0.5 * old[3] + 0.5 * np.array([0.6, 0.8])
        old[3] = mixed / np.linalg.norm(mixed)  # and no other: example 1 has no weight
        np.testing.assert_allclose(array(bank), old, rtol=1e-5)
    assert [float(array(z)) for z in memory.normalizers] == [2.0, 3.0]


def test_contrastive_banks_move_in_fit_and_stand_still_in_evaluate():
    """evaluate() that moved the banks would let the test set into the training."""
    loss = contrastive()
    distiller = trained(loss, student_inputs=images, teacher_inputs=images)
    memory = loss.layers[-1]
    x, y = data()
    numbered = {"image": x, "sample_id": np.arange(COUNT)}
    before = [array(w) for w in memory.weights]
    distiller.evaluate(numbered, y, batch_size=4, verbose=0)
    for old, weight in zip(before, memory.weights, strict=True):
        np.testing.assert_array_equal(array(weight), old)
    distiller.fit(numbered, y, batch_size=4, verbose=0)
    for old, bank in zip(before, memory.banks, strict=False):
        assert (np.abs(array(bank) - old).max(axis=1) > 0).all()
    for normalizer in memory.normalizers:
        assert float(array(normalizer)) > 0


def test_contrastive_normalizer_is_set_by_the_first_batch_and_then_kept():
    """Z that followed every batch would cancel what the student learns."""
    loss = contrastive()
    trained(loss, epochs=1, student_inputs=images, teacher_inputs=images)
    first = [float(array(z)) for z in loss.layers[-1].normalizers]
    distiller = trained(
        contrastive(), epochs=2, student_inputs=images, teacher_inputs=images
    )
    again = distiller.distillation_losses[0].layers[-1].normalizers
    assert [float(array(z)) for z in again] == pytest.approx(first, rel=1e-5)


def test_sample_ids_out_of_range_are_refused():
    """Compiled gathers clamp: the wrong example would be compared, silently."""
    with pytest.raises(ValueError, match=r"sample ids must be from 0 to 7.*num_exampl"):
        trained(
            contrastive(num_examples=8), student_inputs=images, teacher_inputs=images
        )


def test_missing_sample_ids_are_refused():
    """Without numbers there is no telling the positive from the negatives."""
    with pytest.raises(ValueError, match=r"`sample_ids` must be a key.*sample_id"):
        trained(
            contrastive(sample_ids="row"), student_inputs=images, teacher_inputs=images
        )


def test_negative_mean_counts_the_training_batches_only():
    """The margin is a property of the teacher, not of the last evaluated batch."""
    layer = NegativeMean()
    first = np.array([[-1.0, 2.0], [-3.0, 4.0]], "float32")
    np.testing.assert_allclose(array(layer(first)), [-2.0, 0.0])
    layer(first, training=True)
    np.testing.assert_allclose(array(layer(10 * first)), [-2.0, 0.0])
    layer(np.array([[-8.0, -5.0]], "float32"), training=True)
    np.testing.assert_allclose(array(layer(first)), [-4.0, -5.0])


@pytest.mark.parametrize("mask", ["pixels", "channels"])
def test_masked_generation_hides_in_training_alone(mask):
    """In evaluation a random mask would make the loss incomparable between epochs."""
    loss = losses.MaskedGenerativeDistillation("a", "a", mask=mask, mask_ratio=0.5)
    feature = keras.KerasTensor((None, 6, 6, 8))
    loss.build(feature, feature)
    random = np.random.default_rng(0)
    t, s = (
        ops.convert_to_tensor(random.normal(size=(2, 6, 6, 8)), "float32")
        for _ in range(2)
    )

    def value(training):
        step = keras_kd.StepContext(training=training)
        return array(called(loss, t, s, step))

    np.testing.assert_array_equal(value(False), value(False))
    assert (value(True) != value(False)).all()
    assert (value(True) != value(True)).all()  # another mask each time


WRONG = {
    "`power` must be a number, at least 1": lambda: losses.SimpleRecipeDistillation(
        power=0.5
    ),
    "`initial_variance` must be a number above": lambda: losses.VariationalInformation(
        initial_variance=0.0
    ),
    "`mask` must be one of pixels, channels": (
        lambda: losses.MaskedGenerativeDistillation(mask="rows")
    ),
    "`mask_ratio` must be None or at least 0": (
        lambda: losses.MaskedGenerativeDistillation(mask_ratio=1.0)
    ),
    "two lists of the same length": lambda: losses.OverhaulDistillation(["a"], []),
    "`width` must be None or a positive": lambda: losses.ReviewDistillation(
        ["a"], ["a"], width=0
    ),
    "`student_layer_names` must be a list": lambda: losses.OneForAllDistillation("a"),
    "`epsilon` must be": lambda: losses.OneForAllDistillation(["a"], epsilon=0.5),
    "`num_examples` must be a positive": lambda: contrastive(num_examples=0),
    "`negatives` must be a positive": lambda: contrastive(negatives=True),
    "`temperature` must be a positive": lambda: contrastive(temperature=0),
    "`momentum` must be at least 0 and below": lambda: contrastive(momentum=1.0),
}


@pytest.mark.parametrize(("message", "make"), WRONG.items(), ids=range(len(WRONG)))
def test_wrong_arguments_are_named(message, make):
    """The user must read which argument it was, before any training."""
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", ["overhaul", "review", "masked_generation"])
def test_what_needs_images_refuses_vectors(name):
    """A vector would be taken for an image of one pixel, and train on nonsense."""
    loss = OWNERS[name][0]()
    vector = keras.KerasTensor((None, 4))
    given = vector if name == "masked_generation" else [vector, vector]
    with pytest.raises(ValueError, match=r"compares images.*before the global pooling"):
        loss.build(given, given)
    assert loss.layers == []
