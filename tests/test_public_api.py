"""The public names, so that none changes unseen."""

import importlib
import inspect
import pathlib

import keras_kd

GOLDEN = pathlib.Path(__file__).with_name("public_api.txt")
MODULES = (
    "",
    "callbacks",
    "data",
    "layers",
    "losses",
    "ops",
    "optimizers",
    "recipes",
    "schedules",
    "signals",
    "teachers",
)


def public_api():
    lines = []
    for name in MODULES:
        module = importlib.import_module(f"keras_kd.{name}".rstrip("."))
        for public in sorted(module.__all__):
            value = getattr(module, public)
            if inspect.ismodule(value) or public == "__version__":
                continue
            arguments = list(inspect.signature(value).parameters)
            lines.append(f"{module.__name__}.{public}({', '.join(arguments)})")
    return lines


def test_is_what_the_golden_file_says():
    """A renamed argument breaks its users; write the file anew where it is meant."""
    assert public_api() == GOLDEN.read_text().splitlines(), (
        "the public API changed; if that is meant, name it in CHANGELOG.md and run "
        "`python -m tests.test_public_api`"
    )


def test_every_public_name_is_documented():
    """An undocumented name cannot be used."""
    for name in MODULES:
        module = importlib.import_module(f"keras_kd.{name}".rstrip("."))
        for public in module.__all__:
            if public != "__version__":
                assert getattr(module, public).__doc__, public


def test_every_class_can_be_read_back_by_its_name():
    """A saved file names its classes; an unregistered one cannot be loaded."""
    import keras

    for public in keras_kd.__all__:
        value = getattr(keras_kd, public)
        saved = inspect.isclass(value) and hasattr(value, "get_config")
        if saved and value is not keras_kd.DistillationLoss:
            name = keras.saving.get_registered_name(value)
            assert name == f"keras_kd>{public}"


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(public_api()) + "\n")
