"""The few attributes of Keras objects that we read and that Keras keeps private.

Keras has no public way to ask for these; gathering them here makes an upgrade of
Keras a matter of one file. Each has a contract test.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import keras


def missing(name: str) -> ImportError:
    """Return the error for a private name that this version of Keras does not have."""
    return ImportError(
        f"keras_kd needs a private name of Keras ({name}), and Keras "
        f"{keras.__version__} does not have it. Install keras-kd again, which brings a "
        "version of Keras that it was tested with: pip install --upgrade keras-kd"
    )


try:
    from keras.src.backend import compute_output_spec

    # Keras 3.16 does not repeat these in `keras.src.backend`, as 3.15 does.
    from keras.src.backend.common.masking import get_keras_mask, set_keras_mask
    from keras.src.backend.common.stateless_scope import get_stateless_scope
except ImportError as error:
    # In the words of the error: "cannot import name ..." or "No module named ...".
    raise missing(str(error)) from error

try:
    from keras.src.trainers.data_adapters.data_adapter_utils import PartialBatchList
except ImportError:  # Keras 3.15 hands out the batches of an execution one by one
    PartialBatchList = None

# A mixin that stands before `keras.Model` among the bases of the Distiller.
if TYPE_CHECKING:
    from keras import Model as Trainer
else:
    Trainer = object

BACKEND = keras.config.backend()
# Whether the batches of one execution arrive together, stacked or in a list.
STACKS = PartialBatchList is not None and BACKEND == "jax"

# What is called or overridden. Attributes of an instance cannot be looked up here.
METHODS: dict[type, tuple[str, ...]] = {
    keras.Model: (
        "_aggregate_additional_loss",
        "_flatten_layers",
        "_symbolic_build",
        *{
            "jax": ("_update_metrics_variables",),
            "tensorflow": ("_maybe_symbolic_build",),
        }.get(BACKEND, ()),
    ),
    keras.optimizers.Optimizer: ("_get_variable_index",),
}


def check_methods(methods: dict[type, tuple[str, ...]]) -> None:
    """Raise an ImportError for the first private method that Keras does not have."""
    for owner, names in methods.items():
        for name in names:
            if not hasattr(owner, name):
                raise missing(f"{owner.__name__}.{name}")


check_methods(METHODS)


class PlainError(ValueError):
    """A ValueError raised inside a layer, with a message that is complete as it is.

    Keras would put the name of the layer before it and the call's arguments behind.
    """

    _keras_call_info_injected = True


def mask_of(tensor: Any) -> Any:
    """Return the Keras mask that a layer attached to `tensor`, or None.

    JAX's tracers take no attributes; Keras keeps their masks elsewhere.
    """
    return get_keras_mask(tensor)


def attach_mask(tensor: Any, mask: Any) -> Any:
    """Attach a Keras mask to `tensor`, as a layer that supports masking does."""
    if mask is not None:
        set_keras_mask(tensor, mask)
    return tensor


def axis_of(loss: keras.losses.Loss) -> int:
    """Return the axis of a `keras.losses.CosineSimilarity`, which its config lacks."""
    return int(loss._fn_kwargs["axis"])


def compiled_loss(model: keras.Model) -> Any:
    """Return the callable `(y, y_pred, sample_weight) -> loss` made by `compile`."""
    return model._compile_loss


def children(
    layer: keras.layers.Layer,
) -> Iterator[tuple[keras.layers.Layer, set[str]]]:
    """Yield the direct sub-layers of a layer, each with the names it answers to.

    A sub-layer answers to its own name, to the attribute that holds it
    (`self.proj` → "proj"), to its place in a list (`self.blocks` → "blocks[0]"), and
    to the property that returns a private attribute (`self._body` → "body").
    """
    attributes: dict[int, set[str]] = {}
    # On torch a layer is a module, which keeps its sub-modules in a dict of their own.
    held = {**vars(layer), **vars(layer).get("_modules", {})}
    for name, value in held.items():
        if name.startswith("_"):
            name = name.lstrip("_")
            held_by_property = isinstance(getattr(type(layer), name, None), property)
            # Of a private list, such as that of all layers, a property may leave out.
            if not held_by_property or not isinstance(value, keras.layers.Layer):
                continue
        if isinstance(value, keras.layers.Layer):
            attributes.setdefault(id(value), set()).add(name)
        elif isinstance(value, (list, tuple)):
            for place, item in enumerate(value):
                if isinstance(item, keras.layers.Layer):
                    attributes.setdefault(id(item), set()).add(f"{name}[{place}]")
    for child in layer._flatten_layers(include_self=False, recursive=False):
        yield child, {child.name} | attributes.get(id(child), set())


def has_attention_method(layer: keras.layers.Layer) -> bool:
    """Say whether a layer attends in the method that Keras's attention layers have."""
    return callable(getattr(layer, _ATTENTION, None))


def noting_attention(
    plain: type, wanted: Callable[[Any], bool], note: Callable[[Any, Any], None]
) -> dict[str, Any]:
    """Return an override of the method in which layers of a class attend.

    Keras's `MultiHeadAttention` calls it with projected queries, keys and values; so
    do its subclasses, KerasHub's among them, whose own `call` may have no argument
    `return_attention_scores` to ask for the probabilities by.

    Args:
        plain: The class of the layers.
        wanted: Says of a layer of the class whether it is to be asked.
        note: Called with the layer and its attention probabilities where it forms
            them: where it returns a pair, and not in one fused operation.

    Returns:
        The method by its name, for the namespace of a subclass; empty for a class
        without it.
    """
    attend = getattr(plain, _ATTENTION, None)
    if attend is None:
        return {}
    signature = inspect.signature(attend)

    def attend_and_note(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not wanted(self):
            return attend(self, *args, **kwargs)
        bound = signature.bind(self, *args, **kwargs)
        if "return_attention_scores" in signature.parameters:
            bound.arguments["return_attention_scores"] = True
        result = attend(*bound.args, **bound.kwargs)
        if isinstance(result, tuple) and len(result) == 2 and result[1] is not None:
            note(self, result[1])
        return result

    return {_ATTENTION: attend_and_note}


_ATTENTION = "_compute_attention"


def is_auto_named(layer: keras.layers.Layer) -> bool:
    """Say whether Keras made up the name of a layer, with a number that may change."""
    stem = re.sub(
        "(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", type(layer).__name__)
    )
    stem = re.sub("([a-z])([A-Z])", r"\1_\2", stem).lower()
    return re.fullmatch(rf"{re.escape(stem)}(_\d+)?", layer.name) is not None


def direction_of(model: keras.Model, monitor: str) -> str | None:
    """Say whether a higher or a lower value of a logged metric is better.

    Args:
        model: A model whose metrics are built.
        monitor: The name in the logs, with or without "val_".

    Returns:
        "max" or "min", as Keras's callbacks infer it from the compiled metrics; "min"
        for a mean that the model itself keeps, as of its losses; None where unknown.
    """
    probe = keras.callbacks.EarlyStopping(monitor=monitor)
    probe.set_model(model)
    try:
        probe._set_monitor_op()
    except ValueError:
        means = [m.name for m in model.metrics if isinstance(m, keras.metrics.Mean)]
        return "min" if monitor.removeprefix("val_") in means else None
    return "min" if probe.monitor_op is keras.ops.less else "max"


def symbolic_calls(layer: keras.layers.Layer) -> int:
    """Return how often a layer was called in the graphs of functional models."""
    return len(layer._inbound_nodes)


def penalties(model: keras.Model) -> list[Any]:
    """List the regularisation and `add_loss` terms of a model as scalars.

    Under `tf.distribute` each is this replica's share of it.
    """
    return [model._aggregate_additional_loss(loss) for loss in model.losses]


def update_metrics(model: keras.Model, *state_and_batch: Any) -> Any:
    """Update the metrics of a JAX step; return the logs and the metrics' values."""
    return model._update_metrics_variables(*state_and_batch)


def index_of(optimizer: Any, variable: Any) -> int:
    """Return the index of a variable among those that an optimizer was built for."""
    return int(optimizer._get_variable_index(variable))


def metric_names(model: keras.Model) -> list[str]:
    """List the names of the compiled losses and metrics in the logs.

    TensorFlow builds them in the first step only: until then those of the user's
    metrics are listed, which several outputs would give a prefix.
    """
    metrics, loss = model._compile_metrics, model._compile_loss
    names: list[str] = []
    if metrics is not None and metrics.built:
        names += list(metrics.result())
    elif metrics is not None:
        given = (metrics._user_metrics, metrics._user_weighted_metrics)
        names += [_name_of(each) for each in keras.tree.flatten(given) if each]
    if loss is not None and loss.built:
        names += [metric.name for metric in loss.metrics]
    return names


def _name_of(metric: Any) -> str:
    if isinstance(metric, str):
        return metric
    return str(getattr(metric, "name", getattr(metric, "__name__", "")))


def map_also(pairs: Any) -> None:
    """Give more variables their values in the stateless scope that is open now.

    Args:
        pairs: Pairs of variables and values. Those that the scope knows stay.
    """
    scope = get_stateless_scope() if pairs else None
    if scope is not None:
        for variable, value in pairs:
            scope.state_mapping.setdefault(id(variable), value)


def build_by(run: Any, x: Any) -> None:
    """Create the variables of the layers that `run(x)` calls, without running it.

    Args:
        run: A function of `x`.
        x: A structure of arrays or tensors.
    """
    specs = keras.tree.map_structure(
        lambda leaf: (
            None
            if leaf is None
            else keras.KerasTensor(
                tuple(leaf.shape), keras.backend.standardize_dtype(leaf.dtype)
            )
        ),
        x,
    )
    try:
        compute_output_spec(run, specs)
    except Exception:
        # What cannot be traced is run: its error, if any, says more.
        run(as_tensors(x))


def as_tensors(values: Any) -> Any:
    """Return a structure of arrays and None as tensors and None."""
    return keras.tree.map_structure(
        lambda leaf: None if leaf is None else keras.ops.convert_to_tensor(leaf), values
    )


def forget_compiled(model: keras.Model) -> None:
    """Drop the task loss and the metrics of an earlier `compile`.

    Keras keeps those for which the next `compile` is given None.
    """
    model._compile_loss = model._compile_metrics = None
    model.loss = None


def reads_labels(model: keras.Model) -> bool:
    """Say whether metrics were given to `compile`."""
    return model._compile_metrics is not None


def parts_of(layer: Any) -> list[keras.layers.Layer]:
    """List a layer and all that is inside of it, at any depth; none of a function."""
    is_layer = isinstance(layer, keras.layers.Layer)
    return list(layer._flatten_layers()) if is_layer else []


def freeze(layer: keras.layers.Layer) -> None:
    """Make a layer and all that is inside of it untrainable, whatever they were.

    `layer.trainable = False` does not reach the inside of a layer that says so already:
    TensorFlow passes over an assignment of the same value.
    """
    for part in parts_of(layer):
        part.trainable = False
    for variable in layer.variables:
        variable.trainable = False


def is_built(layer: keras.layers.Layer) -> bool:
    """Say whether a layer and all its sub-layers have their variables."""
    return all(part.built for part in layer._flatten_layers())


def has_fixed_batch_size(layer: Any) -> bool:
    """Say whether a layer or a part of it takes batches of one size only."""
    if not isinstance(layer, keras.layers.Layer):
        return False
    inputs = getattr(layer, "inputs", None) or []
    if any(tensor.shape[:1] not in ((), (None,)) for tensor in inputs):
        return True
    return any(getattr(part, "stateful", False) for part in layer._flatten_layers())


def needs_a_batch(model: keras.Model) -> bool:
    """Say whether Keras reads a batch to build the model, its task loss or metrics."""
    compiled = (model._compile_metrics, model._compile_loss)
    return not is_built(model) or any(
        part is not None and not part.built for part in compiled
    )


def supports_jit(layer: Any) -> bool:
    """Say whether XLA can compile a layer and all its sub-layers."""
    if not isinstance(layer, keras.layers.Layer):
        return True
    return all(part.supports_jit for part in layer._flatten_layers())


def is_rewinding_data() -> bool:
    """Say whether Keras calls `on_epoch_end` of a data set although no epoch ended.

    It does once at the start of each `fit` and `evaluate`, to put back the batch that
    it may have built the model on.
    """
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.replace("\\", "/").endswith(_EPOCHS):
            return bool(frame.f_code.co_name == "reset")
        frame = frame.f_back
    return False


_EPOCHS = "keras/src/trainers/epoch_iterator.py"


def value_of(variable: keras.Variable) -> Any:
    """Return the array of a variable, or None where JAX has taken it away."""
    return variable._value


def has_strategy(model: keras.Model) -> bool:
    """Say whether a TensorFlow model was made under a `tf.distribute` strategy."""
    return model._distribute_strategy is not None


class BuildHooks(Trainer):
    """Turns the hooks by which Keras builds on a first batch into methods of ours."""

    def _symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        self.build_on_batch(super()._symbolic_build, iterator, data_batch)

    def build_on_batch(self, build: Any, iterator: Any, data_batch: Any) -> None:
        """Build what has no variables yet by one batch.

        Args:
            build: What Keras does, a function of `iterator` and `data_batch`.
            iterator: Where to take a batch from, or None.
            data_batch: The batch, or None.
        """
        raise NotImplementedError


class UnskippedHooks(BuildHooks):
    """Calls the hook on JAX also where Keras 3.16 finds nothing left to build."""

    def _maybe_symbolic_build(
        self, iterator: Any = None, data_batch: Any = None
    ) -> None:
        self._symbolic_build(iterator, data_batch)


class TracingHooks(BuildHooks):
    """Turns the hook before TensorFlow traces a step into a method of ours."""

    def _maybe_symbolic_build(
        self, iterator: Any = None, data_batch: Any = None
    ) -> None:
        self.build_before_tracing(super()._maybe_symbolic_build, iterator, data_batch)

    def build_before_tracing(self, build: Any, iterator: Any, data_batch: Any) -> None:
        """Build what the trace of a step reads, with the arguments of the above."""
        raise NotImplementedError


def tracing_files(backend: str) -> Iterator[tuple[str, frozenset[str] | None]]:
    """Yield files of Keras, and their functions that call a layer in another trace.

    Args:
        backend: The name of the backend.

    Yields:
        The end of a file's name and the names of functions, None for all.
    """
    control_flow = {"scan", "map", "while_loop", "fori_loop", "associative_scan"}
    control_flow |= {"vectorized_map", "cond", "switch"}
    yield "keras/src/layers/rnn/rnn.py", frozenset({"step"})
    yield f"keras/src/backend/{backend}/rnn.py", None
    for file in ("core.py", "ops/core.py"):  # Keras 3.15, Keras 3.16
        yield f"keras/src/backend/{backend}/{file}", frozenset(control_flow)


def batches_of(execution: Any, steps: int) -> list[Any]:
    """List the batches of one execution, which Keras 3.16 hands out together on JAX.

    Args:
        execution: What Keras's iterator gives: a batch, or `steps` batches stacked,
            or a list of fewer.
        steps: The `steps_per_execution` of `compile`.
    """
    if steps == 1 or not STACKS:
        return [execution]
    if isinstance(execution, PartialBatchList):
        return list(execution)
    count = keras.tree.flatten(execution)[0].shape[0]
    return [
        keras.tree.map_structure(
            lambda leaf, row=row: None if leaf is None else leaf[row], execution
        )
        for row in range(count)
    ]


def execution_of(batches: list[Any], steps: int) -> Any:
    """Return batches in the form that the step functions of Keras take one by one."""
    if steps == 1 or not STACKS:
        (batch,) = batches
        return batch
    return PartialBatchList(batches)
