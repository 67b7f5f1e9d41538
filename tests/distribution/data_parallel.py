"""Runs the scenarios on one and on two devices of JAX; prints what came of them."""

import json

import jax
import keras

from tests.distribution.scenarios import SCENARIOS

assert len(jax.devices()) == 2
results = {"one": {name: run() for name, run in SCENARIOS.items()}}
keras.distribution.set_distribution(
    keras.distribution.DataParallel(devices=keras.distribution.list_devices())
)
results["two"] = {name: run() for name, run in SCENARIOS.items()}
print(json.dumps(results))
