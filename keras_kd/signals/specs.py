"""Shapes and types of signals, in JSON form and back."""

from typing import Any

import keras


def encode_specs(specs: Any) -> Any:
    """Return a structure of `keras.KerasTensor` in JSON form."""
    if isinstance(specs, dict):
        return {key: encode_specs(value) for key, value in specs.items()}
    if isinstance(specs, (list, tuple)):
        return [encode_specs(value) for value in specs]
    if specs is None:
        return None
    return {"spec_shape": list(specs.shape), "spec_dtype": str(specs.dtype)}


def decode_specs(encoded: Any) -> Any:
    """Return what `encode_specs` was given, with lists in place of tuples."""
    if isinstance(encoded, dict) and "spec_shape" in encoded:
        return keras.KerasTensor(
            tuple(encoded["spec_shape"]), dtype=encoded["spec_dtype"]
        )
    if isinstance(encoded, dict):
        return {key: decode_specs(value) for key, value in encoded.items()}
    if isinstance(encoded, (list, tuple)):
        return [decode_specs(value) for value in encoded]
    return None
