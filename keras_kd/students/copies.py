"""A second model like a given one."""

import keras

from keras_kd import _backend


def copy_of(model: keras.Model, *, argument: str = "student") -> keras.Model:
    """Return a model of the same structure and weights that shares nothing with it.

    Args:
        model: A built Keras model; of a class of one's own, with `get_config`.
        argument: What the caller names the model in messages.

    Returns:
        The copy, not trainable.

    Raises:
        ValueError: The model has no weights yet, or cannot be copied.

    Example:
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> copy_of(model).trainable
    False
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"`{argument}` must be a keras.Model. Received: {argument}={model!r}"
        )
    if not _backend.is_built(model):
        raise ValueError(
            f"`{argument}` must have its weights before it is copied. Received: "
            f"{argument}={model.name!r}, not built. Call it on a batch first."
        )
    try:
        copy = keras.models.clone_model(model)
        if not _backend.is_built(copy):
            copy.build_from_config(model.get_build_config())
        copy.set_weights(model.get_weights())
    except (TypeError, ValueError, NotImplementedError, AttributeError) as error:
        raise ValueError(
            f"`{argument}` must be a model that can be copied. Received: "
            f"{argument}={model.name!r}, a {type(model).__name__}, which raised: "
            f"{error}\nOverride its `get_config`, and create its layers in `__init__` "
            "or `build`."
        ) from error
    _backend.freeze(copy)
    return copy
