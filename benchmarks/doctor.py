"""What `unnoise inspect` finds, on pictures whose noise is known: sigma, shares, kinds, clean pictures, real ones, the time.

Settled on the training corpus; the sets here were not looked at before. "File" is noise that was clipped to [0, 1] and rounded
to 8 bits. Every single value is in the result.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import record
from PIL import Image
from skimage.restoration import estimate_sigma

from unnoise import doctor, image, parse
from unnoise.keyed import keyed_rng

Array = np.ndarray[Any, Any]
SIGMAS = (5, 10, 15, 25, 35, 50)
SHARES = {
    "salt and pepper": ("extremes", "salt-and-pepper:{}", (0.01, 0.05, 0.1, 0.3, 0.5, 0.8)),
    "salt and pepper, per channel": ("extremes", "salt-and-pepper:fraction={},per=channel", (0.1,)),
    "salt and pepper on gaussian:15/255": ("extremes", "gaussian:15/255+salt-and-pepper:{}", (0.01, 0.1, 0.3)),
    "impulses of any value": ("impulses", "salt-and-pepper:fraction={},values=uniform", (0.02, 0.1, 0.3)),
    "missing pixels": ("missing", "masking:{}", (0.01, 0.1, 0.3, 0.8)),
}
CLEAN = {  # sets of clean pictures, and of real noise
    "Kodak24": "eval/Kodak24", "CBSD68": "eval/CBSD68", "CC15, clean side": "eval/CC15/clean", "PolyU, clean side": "eval/PolyU/clean",
    "training corpus": "train",
}  # fmt: skip
REAL = {"CC15": "eval/CC15/noisy", "PolyU": "eval/PolyU/noisy", "FMD12": "eval/FMD12/noisy"}


def read(folder: str) -> dict[str, Array]:
    files = sorted(
        file for file in (record.SHARED / folder).iterdir() if file.suffix in (".png", ".webp", ".bmp", ".tif", ".jpg")
    )
    return {file.stem: image.read(file).pixels for file in files}


def spoilt(noise: str, clean: Array, index: int) -> Array:
    return parse(noise)(clean, keyed_rng(0, index=index))[0]


def file(picture: Array) -> Array:
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def packed(picture: Array) -> Array:
    written = io.BytesIO()
    Image.fromarray(file(picture)).save(written, "JPEG", quality=75)
    return np.asarray(Image.open(written))


def correlated(clean: Array, index: int) -> Array:
    """Means of 2 x 2 normal values, of sigma 10/255: neighbours correlate by 0.5."""
    white = keyed_rng(0, index=index).standard_normal((clean.shape[0] + 1, clean.shape[1] + 1, clean.shape[2]), np.float32)
    return clean + np.float32(10 / 255) * (white[1:, 1:] + white[:-1, 1:] + white[1:, :-1] + white[:-1, :-1]) / 2


def sigma(pictures: dict[str, Array]) -> dict[str, Any]:
    """Relative errors, ours and scikit-image's; the most textured quarter has the largest differences between neighbours."""
    texture = {name: float(np.abs(np.diff(clean, axis=0)).mean()) for name, clean in pictures.items()}
    textured = sorted(texture, key=texture.__getitem__)[-(len(texture) // 4) :]
    found = {}
    for level in SIGMAS:
        for form, kept in (("float", np.asarray), ("file", file)):
            ours, theirs, errors = {}, {}, {}
            for index, (name, clean) in enumerate(pictures.items()):
                noisy = kept(spoilt(f"gaussian:{level}/255", clean, index))
                estimate = doctor.examine(noisy).sigma
                ours[name], errors[name] = estimate.value * 255 / level - 1, estimate.error * 255 / level
                whole = noisy / np.float32(255) if noisy.dtype == np.uint8 else noisy
                theirs[name] = float(estimate_sigma(whole, average_sigmas=True, channel_axis=2)) * 255 / level - 1
            found[f"{level}/255, {form}"] = {
                "median": middle(ours.values()),
                "median_textured": middle(ours[name] for name in textured),
                "worst": max(map(abs, ours.values())),
                "skimage_median": middle(theirs.values()),
                "skimage_median_textured": middle(theirs[name] for name in textured),
                "within_two_errors": sum(abs(ours[name]) <= 2 * errors[name] for name in ours) / len(ours),
                "errors": ours,
                "skimage_errors": theirs,
            }
    return {"textured": textured, "levels": found}


def middle(errors: Any) -> float:
    return statistics.median(map(abs, errors))


def shares(pictures: dict[str, Array]) -> dict[str, Any]:
    """How far a share is off, in points of a hundred."""
    found = {}
    for kind, (field, noise, amounts) in SHARES.items():
        for share in amounts:
            off = {
                name: 100 * (getattr(doctor.examine(file(spoilt(noise.format(share), clean, index))), field).value - share)
                for index, (name, clean) in enumerate(pictures.items())
            }
            found[f"{kind}, {share:.0%}".replace("%", " %")] = {
                "median": middle(off.values()),
                "within_half_a_point": sum(abs(one) <= 0.5 for one in off.values()) / len(off),
                "worst": max(map(abs, off.values())),
                "off": off,
            }
    return found


def made(noise: str) -> Callable[[Array, int], Array]:
    return lambda clean, index: file(spoilt(noise, clean, index))


KINDS: dict[str, Callable[[Array, int], Array]] = {
    "clean": lambda clean, index: file(clean),
    "gaussian:5/255": made("gaussian:5/255"),
    "gaussian:25/255": made("gaussian:25/255"),
    "gaussian:50/255": made("gaussian:50/255"),
    "correlated noise, 10/255": lambda clean, index: file(correlated(clean, index)),
    "gaussian:15/255, then JPEG of quality 75": lambda clean, index: packed(spoilt("gaussian:15/255", clean, index)),
    "clean, then JPEG of quality 75": lambda clean, index: packed(clean),
    "salt-and-pepper:0.01": made("salt-and-pepper:0.01"),
    "salt-and-pepper:0.3": made("salt-and-pepper:0.3"),
    "salt-and-pepper:0.05, uniform": made("salt-and-pepper:fraction=0.05,values=uniform"),
    "masking:0.01": made("masking:0.01"),
    "masking:0.5": made("masking:0.5"),
    "blocks:count=8,size=16": made("blocks:count=8,size=16"),
    "gaussian:15/255+salt-and-pepper:0.1": made("gaussian:15/255+salt-and-pepper:0.1"),
    "gaussian:15/255+masking:0.3": made("gaussian:15/255+masking:0.3"),
}


def kinds(pictures: dict[str, Array]) -> dict[str, dict[str, int]]:
    """How often each sum of kinds was found in each kind of noise."""
    found: dict[str, dict[str, int]] = {}
    for kind, make in KINDS.items():
        counts = found.setdefault(kind, {})
        for index, clean in enumerate(pictures.values()):
            seen = " + ".join(doctor.examine(make(clean, index)).kinds) or "clean"
            counts[seen] = counts.get(seen, 0) + 1
    return found


def signal_dependent(clean: Array, index: int) -> Array:
    """Poisson-Gaussian noise: variance gain * x + read^2, of sigma 5/255 to 20/255 at 0.5, a tenth of the variance being read."""
    rng = keyed_rng(1, index=index)
    variance = np.float32(np.exp(rng.uniform(*np.log([5, 20]))) / 255) ** 2
    return clean + rng.standard_normal(clean.shape, np.float32) * np.sqrt(1.8 * variance * clean + variance / 10)


def drawn(noise: str, low: float, high: float) -> Callable[[Array, int], Array]:
    """A noise of a strength between these, by its logarithm, another for each picture."""

    def make(clean: Array, index: int) -> Array:
        strength = float(np.exp(keyed_rng(2, index=index).uniform(*np.log([low, high]))))
        return file(spoilt(noise.format(f"{strength:.4f}"), clean, index))

    return make


EIGHT: dict[str, Callable[[Array, int], Array]] = {
    "clean": lambda clean, index: file(clean),
    "Gaussian noise": drawn("gaussian:{}/255", 5, 50),
    "correlated noise": lambda clean, index: file(correlated(clean, index)),
    "signal-dependent noise": lambda clean, index: file(signal_dependent(clean, index)),
    "salt and pepper": drawn("salt-and-pepper:{}", 0.005, 0.5),
    "impulses": drawn("salt-and-pepper:fraction={},values=uniform", 0.02, 0.3),
    "missing pixels": drawn("masking:{}", 0.005, 0.5),
    "missing blocks": made("blocks:count=8,size=16"),
}


def confusion() -> dict[str, Any]:
    """Of eight kinds of noise, on a hundred pictures each, how many were taken for what; "several": for more than one kind."""
    pictures = [*read("eval/Kodak24").values(), *read("eval/CBSD68").values(), *list(read("eval/PolyU/clean").values())[:8]]
    found: dict[str, dict[str, int]] = {}
    for kind, make in EIGHT.items():
        counts = found.setdefault(kind, {})
        for index, clean in enumerate(pictures):
            seen = doctor.examine(make(clean, index)).kinds
            told = "clean" if not seen else seen[0] if len(seen) == 1 else "several"
            counts[told] = counts.get(told, 0) + 1
    return {"pictures": len(pictures), "found": found}


def advised(sets: dict[str, str]) -> dict[str, Any]:
    """What the rule says of each picture."""
    found = {}
    for name, folder in sets.items():
        noise = {stem: doctor.examine(pixels) for stem, pixels in read(folder).items()}
        left = [stem for stem, one in noise.items() if not doctor.advice(one)[0]]
        found[name] = {
            "pictures": len(noise),
            "left_alone": len(left) / len(noise),
            "sigma": {stem: one.sigma.value * 255 for stem, one in noise.items()},
            "likelihood": {stem: round(one.likelihood, 3) for stem, one in noise.items()},
            "otherwise": {stem: str(one) for stem, one in noise.items() if stem not in left},
        }
    return found


def seconds() -> dict[str, dict[str, float]]:
    """Medians of 7 calls, on pictures of 12 megapixels in colour: by the clock on the wall, and the processor's time."""
    photo = next(iter(read("eval/Kodak24").values()))
    large = np.tile(photo, (6, 8, 1))[:3000, :4000]
    pictures = {"clean": large, "clean, 8 bits": file(large), "gaussian:25/255": spoilt("gaussian:25/255", large, 0)}
    pictures["salt-and-pepper:0.3"] = spoilt("salt-and-pepper:0.3", large, 0)
    taken = {}
    for name, picture in pictures.items():
        times = []
        for _ in range(7):
            wall, cpu = time.perf_counter(), time.process_time()
            doctor.examine(picture)
            times.append((time.perf_counter() - wall, time.process_time() - cpu))
        taken[name] = {
            key: round(statistics.median(one), 3) for key, one in zip(("wall", "cpu"), zip(*times, strict=True), strict=True)
        }
    return taken


def main() -> None:
    kodak = read("eval/Kodak24")
    figures = {
        "seconds_12_megapixels": seconds(),
        "sigma": sigma(kodak),
        "shares": shares(kodak),
        "kinds": kinds(kodak),
        "confusion": confusion(),
        "clean": advised(CLEAN),
        "real": advised(REAL),
    }
    record.save("doctor", figures)


if __name__ == "__main__":
    main()
