"""A harder set of real images: emoji by two vendors, in 10 groups.

    python -m benchmarks.emoji

1,911 emoji as Google's Noto (Apache-2.0) and Twitter's Twemoji (CC-BY-4.0) draw them,
from the npm packages `emoji-datasource-*` of the emoji-data project. Few examples, and
classes that only meaning holds together ("Objects", "Symbols").
"""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import CACHE

VERSION = "16.0.0"
# sha256 of the packages.
VENDORS = {
    "google": "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    "twitter": "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
}


def emoji(size: int = 32) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the images by vendor, in the same order, and their groups.

    Args:
        size: Height and width: 64, 32 or 16.

    Returns:
        Arrays of shape `(emoji, size, size, 3)` with values from 0 to 1, on white; and
        the integer labels.

    Raises:
        RuntimeError: The packages cannot be had, or are not the published ones.
    """
    folder = CACHE / f"emoji-{VERSION}"
    if not folder.is_dir():
        _fetch(folder)
    archives = {vendor: folder / f"{vendor}.npz" for vendor in VENDORS}
    arrays = {vendor: np.load(path) for vendor, path in archives.items()}
    images = {vendor: _shrunk(found["x"], size) for vendor, found in arrays.items()}
    return images, arrays["google"]["y"]


def emoji_entries() -> list[dict[str, str]]:
    """Return the name and the subgroup of each emoji, in the order of `emoji`.

    Raises:
        RuntimeError: The package cannot be had, or is not the published one.
    """
    path = CACHE / f"emoji-{VERSION}-entries.json"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            package = _package("google", Path(work))
            with tarfile.open(package) as archive:
                entries = _entries(archive)
            kept = [{k: e[k] for k in ("name", "subcategory")} for e in entries]
            part = Path(work) / "entries.json"
            part.write_text(json.dumps(kept))
            shutil.move(part, path)
    return list(json.loads(path.read_text()))


def _package(vendor: str, work: Path) -> Path:
    """Return the downloaded package of a vendor, checked."""
    package = _packed(f"emoji-datasource-{vendor}@{VERSION}", work)
    if hashlib.sha256(package.read_bytes()).hexdigest() != VENDORS[vendor]:
        raise RuntimeError(
            f"{package.name} must be the published package. Received: another content."
        )
    return package


def _entries(archive: tarfile.TarFile) -> list[dict[str, Any]]:
    """Return the entries that all vendors have a picture of."""
    found: Any = archive.extractfile("package/emoji.json")
    entries = json.loads(found.read())
    return [e for e in entries if all(e[f"has_img_{v}"] for v in VENDORS)]


def _shrunk(pixels: np.ndarray, size: int) -> np.ndarray:
    step = pixels.shape[1] // size
    blocks = pixels.reshape(len(pixels), size, step, size, step, 3)
    return (blocks.mean((2, 4)) / 255.0).astype("float32")


def _fetch(folder: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        found = Path(work) / "arrays"
        found.mkdir()
        for vendor in VENDORS:
            x, y = _read(_package(vendor, Path(work)))
            np.savez_compressed(found / f"{vendor}.npz", x=x, y=y)
        # The last step, so that a folder that exists is whole.
        shutil.move(found, folder)


def _packed(name: str, work: Path) -> Path:
    try:
        done = subprocess.run(
            ["npm", "pack", "--silent", name],
            cwd=work,
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeError(
            "The emoji must be at hand for this benchmark. Received: `npm pack "
            f"{name}` does not work here ({error}). Install npm, or connect to its "
            "registry."
        ) from error
    return work / done.stdout.split()[-1]


def _read(package: Path) -> tuple[np.ndarray, np.ndarray]:
    from PIL import Image  # comes with matplotlib, of the extra [report]

    with tarfile.open(package) as archive:
        wanted = _entries(archive)
        files = {e["image"] for e in wanted}
        pictures = {}
        # In the order of the archive: seeking back would unpack it anew each time.
        for member in archive:
            path = Path(member.name)
            if path.name in files and path.parent.name == "64":
                raw = io.BytesIO(archive.extractfile(member).read())
                picture = Image.open(raw).convert("RGBA")
                white = Image.new("RGBA", picture.size, "white")
                flat = Image.alpha_composite(white, picture).convert("RGB")
                pictures[path.name] = np.asarray(flat.resize((64, 64)))
    groups = sorted({e["category"] for e in wanted})
    return (
        np.stack([pictures[e["image"]] for e in wanted]),
        np.array([groups.index(e["category"]) for e in wanted], "int32"),
    )


if __name__ == "__main__":
    images, labels = emoji()
    shapes = {vendor: x.shape for vendor, x in images.items()}
    print(f"Emoji: {shapes}, {np.bincount(labels)} of each group, in {CACHE}")
