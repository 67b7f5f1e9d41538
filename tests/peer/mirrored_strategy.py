"""One step on one device and on two replicas, of the peer's Distiller and of ours.

Run as a program of its own, because TensorFlow's logical devices are set before it
starts. Prints, as JSON, the logs and the student's gradient of each run.
"""

import json

import keras
import tensorflow as tf

import keras_kd
from tests.peer import helpers
from tests.peer.helpers import peer

(_cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    _cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)


def run(module, logits_loss, task_loss, strategy=None):
    """Fit one batch; return the logs and the change of the student's kernel."""
    x, y = helpers.batch(size=8)
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        teacher, student = helpers.mlp(6, seed=1), helpers.mlp(4, seed=2)
        before = helpers.weights_of(student)[2]
        distiller = module.Distiller(teacher, student, logits_loss)
        distiller.compile(keras.optimizers.SGD(1.0), task_loss)
    history = distiller.fit(x, y, batch_size=8, shuffle=False, verbose=0).history
    gradient = before - helpers.weights_of(student)[2]
    logs = {name: float(values[-1]) for name, values in history.items()}
    return {"logs": logs, "gradient": gradient.tolist()}


def raw_crossentropy(y, logits):
    """Return the cross-entropy as the function that a string resolves to."""
    return keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)


def main():
    """Print the runs."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    runs = {}
    for name, where in (("one", None), ("two", strategy)):
        for side, module in (("peer", peer), ("ours", keras_kd)):
            by_name = module.LogitsDistillation(3.0, "mse")
            runs[f"{side}, by name, {name}"] = run(
                module, by_name, raw_crossentropy, where
            )
            by_object = module.LogitsDistillation(3.0, keras.losses.KLDivergence())
            runs[f"{side}, by object, {name}"] = run(
                module, by_object, helpers.crossentropy(), where
            )
    print(json.dumps(runs))


if __name__ == "__main__":
    main()
