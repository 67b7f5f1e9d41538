"""The public names, so that none changes unseen."""

import inspect
import pathlib

import keras

import keras_kd

GOLDEN = pathlib.Path(__file__).with_name("public_api.txt")
MODULES = [keras_kd] + [
    getattr(keras_kd, name)
    for name in sorted(keras_kd.__all__)
    if inspect.ismodule(getattr(keras_kd, name))
]


def public_api():
    """List each public name with its arguments and their defaults."""
    lines, known = [], {}
    for module in MODULES:
        for name in sorted(module.__all__):
            value = getattr(module, name)
            path = f"{module.__name__}.{name}"
            if callable(value) and known.setdefault(value, path) != path:
                lines.append(f"{path} = {known[value]}")
            elif inspect.isclass(value):
                lines += [f"{path}{made_by(value)}", *surface_of(value, path)]
            elif callable(value):
                lines.append(f"{path}{arguments_of(value)}")
            elif not inspect.ismodule(value) and name != "__version__":
                lines.append(path)
    return lines


def made_by(cls):
    """Return the arguments that make a class, where they are ours."""
    owner = next(kind for kind in cls.__mro__ if "__init__" in vars(kind))
    # Those that Keras takes differ from backend to backend.
    return (
        " as in Keras" if owner.__module__.startswith("keras.") else arguments_of(cls)
    )


def arguments_of(function):
    """Return the arguments with their defaults; types are what mypy looks after."""
    bare = []
    for parameter in inspect.signature(function).parameters.values():
        default = parameter.default
        if callable(default) and hasattr(default, "__qualname__"):
            # The address in the memory is not a part of what is promised.
            default = _Name(default)
        if parameter.default is not inspect.Parameter.empty:
            parameter = parameter.replace(default=default)
        bare.append(parameter.replace(annotation=inspect.Parameter.empty))
    return str(inspect.Signature(bare))


class _Name:
    def __init__(self, value):
        self.value = value

    def __repr__(self):
        return f"{self.value.__module__}.{self.value.__qualname__}"


def surface_of(cls, path):
    """List the methods and properties that a class of ours adds or takes otherwise.

    Once for each class that brings them: a loss's `call`, which all of them have, is
    that of `DistillationLoss`.
    """
    fields = getattr(cls, "__dataclass_fields__", {})
    for name, value in sorted(vars(cls).items()):
        if name.startswith("_") or name in fields:
            continue
        plain = (
            value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        )
        inherited = getattr(super(cls, cls), name, None)
        if isinstance(value, property):
            if inherited is None:
                yield f"{path}.{name}"
        elif inspect.isfunction(plain):
            if inherited is None or arguments_of(plain) != arguments_of(
                getattr(inherited, "__func__", inherited)
            ):
                yield f"{path}.{name}{arguments_of(plain)}"
        elif inherited is None:
            yield f"{path}.{name}"


def test_is_what_the_golden_file_says():
    """A renamed argument or another default breaks its users; write the file anew
    where it is meant.
    """
    assert public_api() == GOLDEN.read_text().splitlines(), (
        "the public API changed; if that is meant, name it in CHANGELOG.md and run "
        "`python -m tests.test_public_api`"
    )


def test_golden_file_holds_defaults():
    """A changed default changes what all code without the argument trains."""
    lines = GOLDEN.read_text().splitlines()
    assert (
        "keras_kd.LogitsDistillation(temperature=3.0, loss='kl_divergence', *, "
        "standardize=False, from_logits=True, output=None, name=None)"
    ) in lines
    assert not [line for line in lines if " at 0x" in line]


def test_every_public_name_is_documented():
    """An undocumented name cannot be used."""
    for module in MODULES:
        for public in module.__all__:
            if public != "__version__":
                assert getattr(module, public).__doc__, public


def test_every_class_can_be_read_back_by_its_name():
    """A saved file names its classes; an unregistered one cannot be loaded."""
    for public in keras_kd.__all__:
        value = getattr(keras_kd, public)
        saved = inspect.isclass(value) and hasattr(value, "get_config")
        if saved and value is not keras_kd.DistillationLoss:
            name = keras.saving.get_registered_name(value)
            assert name == f"keras_kd>{public}"


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(public_api()) + "\n")
