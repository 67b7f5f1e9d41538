"""The version of the package, read by the build and by `keras_kd.__version__`."""

__version__ = "0.1.0"
