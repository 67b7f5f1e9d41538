"""A plain torch module as a teacher: in inference mode, and as it was afterwards."""

import keras
import numpy as np
import pytest

import keras_kd
from tests.training.helpers import classifier, data

if keras.config.backend() != "torch":
    pytest.skip("a torch module gives torch tensors", allow_module_level=True)

import torch


def module():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(4, 8),
        torch.nn.BatchNorm1d(8),
        torch.nn.Dropout(0.9),
        torch.nn.Linear(8, 3),
    )


@pytest.mark.parametrize("wrapped", [False, True])
def test_it_runs_in_inference_mode_and_its_mode_is_kept(wrapped):
    """In training mode its statistics move, and dropout makes noise of its targets."""
    x, _ = data(8)
    inner = module()
    inner[1].running_mean += 1.0
    inner[2].eval()  # a mode of its own, to be kept
    teacher = inner
    if wrapped:
        teacher = keras.Sequential(
            [keras.Input((4,)), keras.layers.TorchModuleWrapper(inner)]
        )
        inner.train()
    modes = [part.training for part in inner.modules()]
    before = {name: value.clone() for name, value in inner.state_dict().items()}
    student = classifier(5)
    distiller = keras_kd.Distiller(
        teacher, student, keras_kd.LogitsDistillation(1.0, "mse")
    )
    distiller.compile(keras.optimizers.SGD(0.0))
    logs = distiller.fit(x, batch_size=8, verbose=0).history
    assert [part.training for part in inner.modules()] == modes
    for name, value in inner.state_dict().items():
        assert torch.equal(value, before[name])
    inner.eval()
    with torch.no_grad():
        gap = inner(torch.tensor(x)) - student(x)
    assert logs["distillation_loss"][0] == pytest.approx(
        float(np.square(gap.cpu().numpy()).mean()), rel=1e-5
    )


@pytest.mark.parametrize("how", ["closure", "method", "global"])
def test_a_module_that_a_function_reaches_runs_in_inference_mode(how):
    """Its statistics would move all the same, behind a lambda."""
    x, _ = data(8)
    inner = GLOBAL if how == "global" else module()
    inner.train()
    functions = {
        "closure": lambda given: inner(given),
        "method": inner.forward,
        "global": lambda given: GLOBAL(given),
    }
    before = {name: value.clone() for name, value in inner.state_dict().items()}
    distiller = keras_kd.Distiller(
        functions[how], classifier(5), keras_kd.LogitsDistillation()
    )
    distiller.compile("sgd")
    distiller.fit(x, batch_size=8, verbose=0)
    assert inner.training
    for name, value in inner.state_dict().items():
        assert torch.equal(value, before[name])


GLOBAL = module()
