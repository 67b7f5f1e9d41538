"""Real images for the benchmarks, fetched once into a cache folder.

    python -m benchmarks.data

Fashion-MNIST (Xiao et al., 2017, arXiv:1708.07747; MIT licence) comes as Debian's
package `dataset-fashion-mnist`, or from Keras's own store where that package cannot
be had.
"""

import gzip
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

CACHE = Path(os.environ.get("KERAS_KD_DATA", Path.home() / ".cache" / "keras_kd"))
PACKAGE = "dataset-fashion-mnist"
# sha256 of what is inside: the packages differ in how they compress it.
FILES = {
    "train-images-idx3-ubyte.gz": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
    ),
    "train-labels-idx1-ubyte.gz": (
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    ),
}

Arrays = tuple[np.ndarray, np.ndarray]


def fashion_mnist() -> tuple[Arrays, Arrays]:
    """Return ((images, labels), (test images, test labels)), pixels from 0 to 1.

    Raises:
        RuntimeError: The files can be had neither from the package nor from Keras.
    """
    folder = CACHE / "fashion-mnist"
    if not folder.is_dir():
        _fetch(folder)
    arrays = []
    for name, digest in FILES.items():
        raw = gzip.decompress((folder / name).read_bytes())
        if hashlib.sha256(raw).hexdigest() != digest:
            raise RuntimeError(
                f"{name} must be the published file. Received: another content. Remove "
                f"{folder} and try again."
            )
        arrays.append(_from_idx(raw))
    x, y, x_test, y_test = arrays
    return (_as_images(x), y), (_as_images(x_test), y_test)


def _from_idx(raw: bytes) -> np.ndarray:
    rank = raw[3]
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i]) for i in range(rank)]
    return np.frombuffer(raw, "uint8", offset=4 + 4 * rank).reshape(shape)


def _as_images(pixels: np.ndarray) -> np.ndarray:
    return (pixels[..., None] / 255.0).astype("float32")


def _fetch(folder: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        try:
            unpack_debian_package(PACKAGE, Path(work))
            found = Path(work) / "usr/share/datasets/fashion-mnist"
        except (OSError, subprocess.CalledProcessError):
            found = _fetch_by_keras(Path(work))
        # The last step, so that a folder that exists is whole.
        shutil.move(found, folder)


def unpack_debian_package(name: str, folder: Path) -> None:
    """Download a package of Debian and unpack it, without installing it.

    Args:
        name: The name of the package.
        folder: An empty folder, which gets the package's files.

    Raises:
        OSError: There is no `apt-get` here, or no package of this name.
        subprocess.CalledProcessError: It cannot be downloaded.
    """

    def run(*command: str) -> None:
        subprocess.run(command, cwd=folder, check=True, capture_output=True)

    try:
        run("apt-get", "download", name)
    except subprocess.CalledProcessError:
        # A new machine may have no list of the packages yet.
        run("apt-get", "update")
        run("apt-get", "download", name)
    packages = list(folder.glob("*.deb"))
    if len(packages) != 1:
        raise OSError(f"apt-get download {name} gave {len(packages)} packages")
    run("dpkg", "-x", str(packages[0]), str(folder))


def _fetch_by_keras(work: Path) -> Path:
    import keras

    base = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
    found = work / "fashion-mnist"
    try:
        for name in FILES:
            keras.utils.get_file(name, base + name, cache_dir=work, cache_subdir=found)
    except Exception as error:
        raise RuntimeError(
            "Fashion-MNIST must be at hand for this benchmark. Received: neither "
            f"Debian's package {PACKAGE} nor Keras's download works here ({error}). "
            f"Put the four .gz files into {CACHE / 'fashion-mnist'}."
        ) from error
    return found


if __name__ == "__main__":
    (images, _), (test_images, _) = fashion_mnist()
    print(f"Fashion-MNIST: {len(images)} + {len(test_images)} images in {CACHE}")
