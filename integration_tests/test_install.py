"""What a person gets who installs the package: the wheel, and a light import."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BACKENDS = ("jax", "tensorflow", "torch")
OPTIONAL = (
    "dp_accounting",
    "keras_hub",
    "keras_tuner",
    "matplotlib",
    "ray",
    "sklearn",
)

# Keras itself imports some of these where they are installed, so absence from
# sys.modules would say nothing about keras_kd. Refusing them says it all: they are
# neither needed nor reached for.
IMPORT_WITHOUT = """
import importlib.abc
import importlib.machinery
import sys

refused = set({refused!r})
asked_by_us = []


class Refuse(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in refused:
            return importlib.machinery.ModuleSpec(name, self)

    # The import fails, and not the look-up: torch looks for what it may leave alone.
    def create_module(self, spec):
        if "keras_kd" in sys.modules:
            asked_by_us.append(spec.name)
        raise ModuleNotFoundError(f"No module named {{spec.name!r}}", name=spec.name)

    def exec_module(self, module):
        raise AssertionError("unreachable")


sys.meta_path.insert(0, Refuse())

import keras

before = set(sys.modules)
import keras_kd

assert keras.config.backend() == {backend!r}
assert not asked_by_us, asked_by_us
new = {{name.split(".")[0] for name in set(sys.modules) - before}}
foreign = new - set(sys.stdlib_module_names) - {{"keras_kd", "keras", "numpy"}}
foreign -= {{{backend!r}}}
print("foreign:", sorted(foreign))
"""


def run(*command: str, **env: str) -> str:
    """Runs a command outside the repository's folder and returns what it printed."""
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **env}, cwd="/"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    run(
        *(sys.executable, "-m", "build", "--wheel", "--no-isolation"),
        *("--outdir", str(folder), str(ROOT)),
    )
    (path,) = folder.glob("keras_kd-*.whl")
    return path


def test_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    sources = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "keras_kd").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packaged = {name for name in names if ".dist-info/" not in name}
    assert packaged == sources
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_wheel_names_its_extras_and_needs_little(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("METADATA"))
        metadata = archive.read(name).decode().split("\n\n")[0].splitlines()
    needed = [
        line.removeprefix("Requires-Dist: ")
        for line in metadata
        if line.startswith("Requires-Dist: ") and "extra ==" not in line
    ]
    assert sorted(needed) == ["keras<3.17,>=3.15", "numpy"]
    extras = {
        line.removeprefix("Provides-Extra: ")
        for line in metadata
        if line.startswith("Provides-Extra: ")
    }
    assert {*BACKENDS, "hub", "report", "tune", "private", "ray"} <= extras


@pytest.mark.parametrize("backend", BACKENDS)
def test_import_needs_the_active_backend_and_nothing_optional(wheel, backend):
    # From the wheel, so that a module it lacks cannot be found in the checkout.
    code = IMPORT_WITHOUT.format(
        backend=backend, refused=[*(b for b in BACKENDS if b != backend), *OPTIONAL]
    )
    code = f"import sys; sys.path.insert(0, {str(wheel)!r})\n{code}"
    printed = run(sys.executable, "-c", code, KERAS_BACKEND=backend)
    assert printed.strip().splitlines()[-1] == "foreign: []"
