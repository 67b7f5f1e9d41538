"""A loaded Distiller is compiled as the saved one was."""

import keras
import numpy as np
import pytest
from keras import layers
from keras.saving import load_model

import keras_kd


def models():
    keras.utils.set_random_seed(9)
    teacher = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    student = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="out")])
    return teacher, student


def data():
    rng = np.random.default_rng(9)
    return rng.normal(size=(8, 4)).astype("float32"), rng.integers(0, 3, size=8)


COMPILED = {
    "strings": {
        "optimizer": "sgd",
        "loss": "sparse_categorical_crossentropy",
        "metrics": ["accuracy"],
    },
    "objects": {
        "optimizer": keras.optimizers.AdamW(0.003, weight_decay=0.1, clipnorm=1.0),
        "loss": keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="sum"
        ),
        "metrics": [keras.metrics.SparseTopKCategoricalAccuracy(k=2, name="top2")],
        "weighted_metrics": ["accuracy"],
        "loss_weights": [0.5],
        "auto_scale_loss": False,
    },
    "eager": {
        "optimizer": "rmsprop",
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "run_eagerly": True,
    },
    "graph": {
        "optimizer": keras.optimizers.Adam(
            keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5), use_ema=True
        ),
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        # Keras runs one step at a time on torch.
        "steps_per_execution": 1 if keras.config.backend() == "torch" else 2,
        "jit_compile": False,
    },
    "teacher_only": {"optimizer": "adam", "loss": None},
}


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.filterwarnings("ignore:.*softmax.*:UserWarning")
def test_compile_state_comes_back(name, tmp_path):
    """fit must go on at once after loading, with the same optimizer and loss."""
    distiller = keras_kd.Distiller(*models(), keras_kd.LogitsDistillation())
    arguments = dict(COMPILED[name])
    if not isinstance(arguments["optimizer"], str):
        # An optimizer serves one model only.
        config = keras.optimizers.serialize(arguments["optimizer"])
        arguments["optimizer"] = keras.optimizers.deserialize(config)
    distiller.compile(**arguments)
    x, y = data()
    options = {"batch_size": 4, "shuffle": False, "verbose": 0}
    distiller.fit(x, y, **options)
    distiller.save(tmp_path / "distiller.keras")
    loaded = load_model(tmp_path / "distiller.keras")

    assert type(loaded.optimizer) is type(distiller.optimizer)
    assert loaded.optimizer.get_config() == distiller.optimizer.get_config()
    pairs = zip(loaded.optimizer.variables, distiller.optimizer.variables, strict=True)
    for got, wanted in pairs:
        got, wanted = map(keras.ops.convert_to_numpy, (got, wanted))
        assert np.array_equal(got, wanted)
    for attribute in ("run_eagerly", "jit_compile", "steps_per_execution"):
        assert getattr(loaded, attribute) == getattr(distiller, attribute), attribute
    if isinstance(distiller.loss, keras.losses.Loss):
        assert loaded.loss.get_config() == distiller.loss.get_config()
    else:
        assert loaded.loss == distiller.loss

    histories = [one.fit(x, y, **options).history for one in (distiller, loaded)]
    assert histories[0] == histories[1]
    for got, wanted in zip(
        loaded.student.get_weights(), distiller.student.get_weights(), strict=True
    ):
        assert np.array_equal(got, wanted)


def test_load_without_compiling(tmp_path):
    """compile=False is for those who only want to look."""
    distiller = keras_kd.Distiller(*models(), keras_kd.LogitsDistillation())
    distiller.compile("adam", keras.losses.SparseCategoricalCrossentropy(True))
    x, y = data()
    distiller.fit(x, y, verbose=0)
    distiller.save(tmp_path / "distiller.keras")
    loaded = load_model(tmp_path / "distiller.keras", compile=False)
    assert not loaded.compiled
    got, wanted = loaded.predict(x, verbose=0), distiller.predict(x, verbose=0)
    assert np.array_equal(got, wanted)
