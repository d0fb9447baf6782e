"""Files of pictures: what reading and writing add to the model's time, and a picture of 20,000 x 20,000 pixels from file to file.

The pictures are photographs of the training corpus side by side, with Gaussian noise of sigma 15/255; the model is the default
U-Net for colour, with random weights: speed and memory do not depend on what it has learned. For the time of writing, the same
photographs without noise stand for its answer. Each large picture goes through `unnoise denoise` in a process of its own, which
tells its peak resident memory at its end (Linux); two places of each output are then compared with what the model makes of that
place in memory.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import record
from PIL import Image

from unnoise import Denoiser, image, load
from unnoise.image import Bands

SIDE, SIGMA = 500, 15 / 255
KINDS = {
    "PNG": ("png", 8),
    "PNG of 16 bits": ("png", 16),
    "JPEG": ("jpg", 8),
    "TIFF": ("tif", 8),
    "TIFF, packed": ("tif", 8),
    "PNM": ("ppm", 8),
}

MEASURED = """
import contextlib, pathlib, re
from unnoise.cli import main
with contextlib.suppress(SystemExit):
    main()
print(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
"""


def model(folder: Path) -> Denoiser:
    """The default U-Net for colour, with random weights."""
    import torch

    from unnoise import artefact, export
    from unnoise.config import UNet
    from unnoise.model import Autoencoder

    torch.manual_seed(0)
    net = Autoencoder(UNet(), 3).eval()
    card = {"architecture": "unet", **export.contract(net)}
    (folder / "model.onnx").write_bytes(artefact.stamped(export.to_onnx(net), card))
    return load(folder / "model.onnx")


def photos() -> list[np.ndarray]:
    """Squares of SIDE pixels from the corpus, (H, W, 3) float32."""
    files = sorted((record.SHARED / "train").glob("*.webp"))[::7]
    found = [np.asarray(Image.open(file).convert("RGB"), np.float32) / 255 for file in files]
    return [photo[:SIDE, :SIDE] for photo in found if min(photo.shape[:2]) >= SIDE]


def rows(width: int, height: int, sigma: float = SIGMA) -> Iterator[np.ndarray]:
    """A noisy mosaic of the photos, SIDE rows at a time, float32."""
    squares, rng = photos(), np.random.default_rng(0)
    noise = rng.normal(0, sigma, (SIDE, width + 1000, 3)).astype(np.float32)
    for row, top in enumerate(range(0, height, SIDE)):
        across = [squares[(row * 31 + column) % len(squares)] for column in range(-(-width // SIDE))]
        shift = int(rng.integers(1000))  # drawing 1.2 milliard normals would take longer than denoising
        yield (np.concatenate(across, 1)[:, :width] + noise[:, shift : shift + width]).clip(0, 1)[: height - top]


def shares(denoiser: Denoiser, folder: Path, width: int, height: int) -> dict[str, Any]:
    """Seconds for the model, and for reading and writing a file of each kind, the median of three."""
    noisy = np.concatenate(list(rows(width, height)))
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        denoiser.denoise(noisy)
        seconds.append(time.perf_counter() - began)
    takes = sorted(seconds)[1]
    clean = np.concatenate(list(rows(width, height, 0)))
    found: dict[str, Any] = {"model_seconds": round(takes, 2)}
    for name, (ending, depth) in KINDS.items():
        path, times = folder / f"a.{ending}", []
        keep = {"packed": "packed" in name} if ending == "tif" else {}
        like = image.Picture(noisy, image.ENDINGS[f".{ending}"], depth, keep)
        image.write(path, noisy, like, overwrite=True)
        whole = (clean * (2**depth - 1)).round().astype(np.uint8 if depth == 8 else np.uint16)

        def changed(pixels: Bands, whole: np.ndarray = whole) -> Bands:
            pixels.whole()
            return Bands.of(whole)

        for _ in range(3):
            began = time.perf_counter()
            image.convert(path, folder / f"b.{ending}", changed, overwrite=True)
            times.append(time.perf_counter() - began)
        found[name] = {"seconds": round(sorted(times)[1], 3), "share": round(sorted(times)[1] / takes, 4)}
        print(f"{width * height / 1e6:.0f} Mpixel", name, found[name], file=sys.stderr, flush=True)
    return found


def large(denoiser: Denoiser, folder: Path, ending: str, side: int) -> dict[str, Any]:
    """Seconds, peak memory and correctness of one picture from file to file, by the command line."""
    source, out = folder / f"large.{ending}", folder / "out"
    kind, samples = image.ENDINGS[f".{ending}"], ((band * 255).round().astype(np.uint8) for band in rows(side, side))
    image.write_frames(source, [image.Picture(Bands((side, side, 3), samples), kind, 8)])
    command = ["denoise", str(source), "-o", str(out), "--model", str(folder / "model.onnx"), "--max-megapixels", "500"]
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", MEASURED, *command], check=True, stdout=subprocess.PIPE)
    seconds = time.perf_counter() - began
    found = {
        "seconds": round(seconds, 1),
        "mpixel_per_s": round(side * side / seconds / 1e6, 3),
        "peak_mb": round(int(done.stdout) * 1024 / 1e6),
        "source_mb": round(source.stat().st_size / 1e6),
        "largest_difference": max(
            difference(denoiser, source, out / source.name, *at) for at in ((0, 0), (side // 2, side // 3))
        ),
    }
    print(ending, found, file=sys.stderr, flush=True)
    source.unlink()
    (out / source.name).unlink()
    return found


def difference(denoiser: Denoiser, source: Path, output: Path, top: int, left: int, side: int = 512) -> int:
    """How far, in levels of 255, a place of the output is from what the model makes of that place alone, with all it sees."""
    grid, overlap = denoiser.grid, denoiser.overlap
    top, left = top // grid * grid, left // grid * grid
    first, margin = max(top - overlap, 0), max(left - overlap, 0)
    seen, made = (
        place(path, (a, top + side + more), (b, left + side + more))
        for path, a, b, more in ((source, first, margin, overlap), (output, top, left, 0))
    )
    ours = denoiser.denoise(seen)[top - first :, left - margin :][:side, :side]
    return int(np.abs(ours.astype(int) - made).max())


def place(path: Path, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
    """Some rows and columns of a large picture."""
    pieces, top = [], 0
    with contextlib.closing(image.pages(path, 10**9)) as pages:
        for band in next(pages).pixels.bands:
            pieces.append(band[max(rows[0] - top, 0) : max(rows[1] - top, 0), slice(*columns)].copy())
            top += len(band)
            if top >= rows[1]:
                break
    return np.concatenate(pieces)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=20_000, help="of the large picture, in pixels")
    parser.add_argument("--kinds", nargs="+", default=["tif", "ppm", "png"])
    parser.add_argument("--dry", action="store_true", help="write no result")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        denoiser = model(folder)
        figures: dict[str, Any] = {"model": "unet, colour, float32", "large_side": given.side}
        figures["files"] = {f"{w * h / 1e6:g}": shares(denoiser, folder, w, h) for w, h in ((2000, 2000), (6000, 4000))}
        figures["large"] = {}
        for ending in given.kinds:
            figures["large"][ending] = large(denoiser, folder, ending, given.side)
            if not given.dry:
                record.save("large", figures)  # each takes minutes


if __name__ == "__main__":
    main()
