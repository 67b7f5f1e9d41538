"""Every method by its short name: all are there, and no two share one."""

import inspect
import pathlib
import re

import pytest

import keras_kd
from keras_kd import losses
from keras_kd.losses import Method, registry

PUBLIC = [
    getattr(losses, name)
    for name in losses.__all__
    if inspect.isclass(getattr(losses, name))
    and issubclass(getattr(losses, name), keras_kd.DistillationLoss)
    and getattr(losses, name) is not keras_kd.DistillationLoss
]


@pytest.fixture(autouse=True)
def _known_methods_only(monkeypatch):
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))


def cell(weight=1.0):
    """Run a notebook's cell that defines a loss and registers it."""

    class Gap(keras_kd.DistillationLoss):
        pass

    method = Method("gap", Gap, "ours, 2026", "outputs", weight, 0.5, "never")
    losses.register(method)
    return Gap


@pytest.mark.parametrize("loss", PUBLIC, ids=lambda loss: loss.__name__)
def test_every_loss_is_a_method(loss):
    """A loss outside of the registry is in no table, no search and no benchmark."""
    assert loss in {method.make for method in losses.methods().values()}


@pytest.mark.parametrize("loss", PUBLIC, ids=lambda loss: loss.__name__)
def test_a_file_is_named_after_its_class(loss):
    """Who knows the name of a method must find its file without a search."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", loss.__name__).lower()
    assert pathlib.Path(inspect.getfile(loss)).stem == name


def test_a_cell_that_runs_twice_registers_once():
    """A notebook's cell is run again and again; its newest class is what counts."""
    count = len(losses.methods())
    first, second = cell(), cell()
    assert first is not second
    assert len(losses.methods()) == count + 1
    assert type(losses.get("gap")) is second


@pytest.mark.parametrize(
    "method, match",
    [
        (
            Method("kd", losses.HardLabelDistillation, "x", "outputs", 1.0, 0.0, "y"),
            r"(?s)'kd', which is keras_kd\.\S*\.LogitsDistillation \(Hinton.*this one "
            r"is keras_kd\.\S*\.HardLabelDistillation\. Choose another name",
        ),
        (
            Method(
                "hard_label",
                losses.HardLabelDistillation,
                "Touvron et al., 2021, DeiT, arXiv:2012.12877",
                "outputs",
                0.7,
                0.5,
                "Noisy labels, or a teacher that is rarely wrong.",
            ),
            r"(?s)'hard_label', which is .*this one has weight=0\.7 in place of 0\.5",
        ),
    ],
)
def test_another_method_of_a_known_name_is_refused(method, match):
    """What `get("kd")` makes must not depend on what was imported last."""
    with pytest.raises(ValueError, match=match):
        losses.register(method)
    assert losses.methods()[method.name] != method


@pytest.mark.parametrize(
    "act, match",
    [
        (lambda: losses.get("logit_cosin"), "Did you mean logit_cosine"),
        (lambda: losses.methods(signals="output"), "`signals` must.*Did you mean outp"),
        (
            lambda: Method("x", list, "y", "logits", 1.0, 1.0, "z"),
            "`signals` must be one of outputs, .*Received: signals='logits'",
        ),
    ],
)
def test_misspelt_names_get_suggestions(act, match):
    with pytest.raises(ValueError, match=match):
        act()


def test_methods_can_be_filtered():
    """With outputs and no labels at hand, what there is to choose from."""
    found = losses.methods(signals="outputs", labels=False)
    assert "kd" in found
    assert not {"dkd", "hint", "tf_kd"} & set(found)
    assert set(losses.methods(labels=True)) == {
        name for name, method in losses.methods().items() if method.labels
    }
    assert len(losses.methods()) == len(registry._METHODS)


def test_methods_show_as_a_table():
    """A dict of 59 dataclasses in one line tells nothing."""
    found = losses.methods(signals="stages")
    head, *rows = repr(found).splitlines()
    assert head.split()[:3] == ["name", "loss", "compares"]
    assert [row.split()[:2] for row in rows] == [
        ["ofd", "OverhaulDistillation"],
        ["review", "ReviewDistillation"],
    ]
    assert rows[0].index("stages") == rows[1].index("stages") == head.index("compares")
    html = found._repr_html_()
    assert html.count("<tr>") == 3
    assert "<td>Heo et al., 2019, arXiv:1904.01866</td>" in html


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("crd", {}, "Needed are .*num_examples"),
        ("vid", {"teacher_layer": "a"}, "VariationalInformation.*teacher_layer_name"),
    ],
)
def test_arguments_that_a_method_needs_are_named(name, arguments, message):
    """A bare TypeError says neither which method nor what it wants."""
    with pytest.raises(ValueError, match=message):
        losses.get(name, **arguments)
