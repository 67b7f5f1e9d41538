"""Every private name of Keras stands in one file, and Keras still has it."""

import ast
import importlib.util
import re
import sys
from pathlib import Path

import keras
import pytest
from keras import ops

from keras_kd import _backend
from keras_kd._backend import keras_internals

PACKAGE = Path(_backend.__file__).parent.parent
HOME = Path(keras_internals.__file__)
PRIVATE = re.compile(r"_[a-z]\w*")
# Of Python and torch.
FOREIGN = {"_getframe", "_replace", "_foreach_add_", "_foreach_mul_", "_foreach_sub"}


def private_names(path):
    """Return the private attributes that a file uses and those that it defines."""
    used, defined = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and PRIVATE.fullmatch(node.attr):
            store = isinstance(node.ctx, ast.Store)
            (defined if store else used).add(node.attr)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defined.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined.add(node.id)
        elif isinstance(node, ast.Constant):  # self.__dict__["_weights"] = ...
            defined.add(node.value)
    return used, defined


def test_one_file_knows_what_keras_keeps_private():
    """A name used elsewhere would break in a user's fit, after an upgrade."""
    files = [path for path in PACKAGE.rglob("*.py") if path != HOME]
    names = {path: private_names(path) for path in files}
    ours = set().union(*(defined for _, defined in names.values()))
    strange = {
        path.name: sorted(used - ours - FOREIGN) for path, (used, _) in names.items()
    }
    assert not {name: found for name, found in strange.items() if found}
    assert not [path.name for path in files if "from keras.src" in path.read_text()]
    overridden = {name for names in keras_internals.METHODS.values() for name in names}
    assert not overridden & ours


def fresh_copy():
    """Import `keras_internals` anew, beside the one that is in use."""
    spec = importlib.util.spec_from_file_location("fresh_copy", HOME)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_a_name_that_keras_lacks_is_named_at_import(monkeypatch):
    """Without it a user of another Keras reads of a module that he never imported."""
    fresh_copy()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "keras.src.backend.common.masking", None)
        with pytest.raises(
            ImportError,
            match=r"(?s)keras.src.backend.common.masking.+, and Keras "
            rf"{re.escape(keras.__version__)} does not have it. Install keras-kd again",
        ):
            fresh_copy()
    with pytest.raises(
        ImportError, match="private name of Keras .Model._no_such_method"
    ):
        keras_internals.check_methods({keras.Model: ("call", "_no_such_method")})


def test_a_variable_shows_its_array_or_none():
    """Given back to a variable that JAX has emptied, weights survive an error."""
    variable = keras.Variable([1.0, 2.0])
    assert keras_internals.value_of(variable) is variable.value
    variable._value = None
    assert keras_internals.value_of(variable) is None


def test_the_files_that_trace_layers_exist():
    """A frame that is not recognised lets a tracer leak out of its scan."""
    root = Path(keras.__file__).parent.parent
    files = dict(keras_internals.tracing_files(keras.config.backend()))
    files[keras_internals._EPOCHS] = frozenset({"reset"})
    there = {file: names for file, names in files.items() if (root / file).exists()}
    # One of the two for the core: Keras 3.16 has moved it.
    assert len(there) == len(files) - 1
    for file, names in there.items():
        text = (root / file).read_text()
        assert not [name for name in names or () if f"def {name}(" not in text]


def test_batches_of_one_execution_arrive_as_they_were():
    """A row taken for a batch would train on one feature as if it were the labels."""
    x, y = ops.reshape(ops.arange(6.0), (3, 2)), ops.arange(3)
    assert keras_internals.batches_of((x, y), 1) == [(x, y)]
    assert keras_internals.execution_of([(x, y)], 1) == (x, y)
    if keras_internals.STACKS:
        first, *others = keras_internals.batches_of((x, y, None), 3)
        assert (first[0].shape, len(others), first[2]) == ((2,), 2, None)
        fewer = keras_internals.execution_of([(x,), (y,)], 3)
        assert keras_internals.batches_of(fewer, 3) == [(x,), (y,)]


def test_keras_calls_the_hook_that_builds():
    """Not called, nothing is checked before it is compiled, and projectors miss."""
    called = []

    class Model(keras_internals.BuildHooks, keras.Sequential):
        def build_on_batch(self, build, iterator, data_batch):
            called.append(True)
            build(iterator, data_batch)

    model = Model([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model._symbolic_build(data_batch=(ops.ones((2, 3)), ops.ones((2, 1))))
    assert called
    assert model.built


@pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="TensorFlow traces in its own way"
)
def test_tensorflow_calls_the_hook_before_tracing():
    """Not called, an error of the first batch comes with half a model built."""
    called = []

    class Model(keras_internals.TracingHooks, keras.Sequential):
        def build_before_tracing(self, build, iterator, data_batch):
            called.append(True)
            build(iterator, data_batch)

    model = Model([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    assert not keras_internals.has_strategy(model)
    model.fit(ops.ones((2, 3)), ops.ones((2, 1)), verbose=0)
    assert called
