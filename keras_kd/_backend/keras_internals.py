"""The few attributes of Keras objects that we read and that Keras keeps private.

Keras has no public way to ask for these; gathering them here makes an upgrade of
Keras a matter of one file. Each has a contract test.
"""

import sys
from collections.abc import Iterator
from typing import Any

import keras
from keras.src.backend import compute_output_spec, get_keras_mask, set_keras_mask
from keras.src.backend.common.stateless_scope import get_stateless_scope


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
    (`self.proj` → "proj") and to its place in a list (`self.blocks` → "blocks[0]").
    """
    attributes: dict[int, set[str]] = {}
    # On torch a layer is a module, which keeps its sub-modules in a dict of their own.
    held = {**vars(layer), **vars(layer).get("_modules", {})}
    for name, value in held.items():
        if name.startswith("_"):
            continue
        if isinstance(value, keras.layers.Layer):
            attributes.setdefault(id(value), set()).add(name)
        elif isinstance(value, (list, tuple)):
            for place, item in enumerate(value):
                if isinstance(item, keras.layers.Layer):
                    attributes.setdefault(id(item), set()).add(f"{name}[{place}]")
    for child in layer._flatten_layers(include_self=False, recursive=False):
        yield child, {child.name} | attributes.get(id(child), set())


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
    """List the names of the compiled losses and metrics in the logs, once built."""
    metrics, loss = model._compile_metrics, model._compile_loss
    names = []
    if metrics is not None and metrics.built:
        names += list(metrics.result())
    if loss is not None and loss.built:
        names += [metric.name for metric in loss.metrics]
    return names


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


def reads_labels(model: keras.Model) -> bool:
    """Say whether metrics were given to `compile`."""
    return model._compile_metrics is not None


def parts_of(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """List a layer and all that is inside of it, at any depth."""
    return list(layer._flatten_layers())


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
