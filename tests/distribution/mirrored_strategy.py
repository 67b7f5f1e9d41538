"""Runs the scenarios on one and on two devices of TensorFlow; prints the outcome."""

import json

import tensorflow as tf

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)

from tests.distribution.scenarios import SCENARIOS  # noqa: E402  devices come first

results = {"one": {name: run() for name, run in SCENARIOS.items()}}
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
results["two"] = {}
for name, run in SCENARIOS.items():
    with strategy.scope():
        results["two"][name] = run()
print(json.dumps(results))
