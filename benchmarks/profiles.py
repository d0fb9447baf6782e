"""How well `unnoise profile` tells a camera's noise: frames whose gain and read are known, and real ones with a clean side.

Known: each of 12 pictures of the training corpus, taken twice (--same-scene), and even surfaces at five exposures, with the noise of a
sensor, white and as after demosaicing; the errors are of gain and of sigma at 0.1, 0.5 and 0.9. Real: the two takes of each scene of FMD12
(--same-scene), and CC15 and PolyU picture by picture, as if they were flats. There the truth is the standard deviation of noisy minus clean
in the same blocks, in eight bins of brightness that hold a twentieth of the pixels each at least; of FMD12 and CC15 the clean side is a mean of many shots.
"""

from __future__ import annotations

import statistics
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import record

from unnoise import image
from unnoise.errors import UnnoiseError
from unnoise.flats import measured
from unnoise.image.picture import without_alpha
from unnoise.keyed import keyed_rng
from unnoise.nlf import LevelFunction
from unnoise.noise import Profile
from unnoise.profiles import Group

SEED, BINS, LIMIT = 24, 8, 128_000_000
SENSORS = {"ISO 100": (1e-4, 0.5 / 255), "ISO 800": (8e-4, 1.5 / 255), "ISO 6400": (6.4e-3, 6 / 255)}
EXPOSURES = (0.05, 0.12, 0.25, 0.45, 0.7)
SPREAD = 0.6  # pixels: the width of the Gaussian whose autocorrelation the correlated noise has
EVAL = record.SHARED / "eval"
Array = np.ndarray


def main() -> None:
    photos = [without_alpha(image.read(file).pixels) for file in sorted((record.SHARED / "train").glob("*.webp"))[::24]]
    about = {"pictures": len(photos), "seed": SEED, "exposures": EXPOSURES, "bins": BINS}
    record.save(
        "profiles", {**about, "known": known(photos), "real": {name: real(name) for name in ("FMD12", "CC15", "PolyU")}}
    )


def known(photos: list[Array]) -> dict[str, Any]:
    found = {}
    for name, (gain, read) in SENSORS.items():
        for kind, correlation in (("white", ()), ("correlated", autocorrelation())):
            noise = Profile((Group((gain,) * 3, (read,) * 3, correlation),))
            frames = [
                errors([noisy(photo, noise, 2 * at), noisy(photo, noise, 2 * at + 1)], True, gain, read)
                for at, photo in enumerate(photos)
            ]
            flat = errors([noisy(even(exposure), noise, 1000 + at) for at, exposure in enumerate(EXPOSURES)], False, gain, read)
            found[f"{name}, {kind}"] = {
                "gain": gain,
                "read": read,
                "two frames": summary(frames),
                "five flats": summary([flat]),
            }
    return found


def autocorrelation() -> tuple[float, ...]:
    along = np.exp(-np.square(np.arange(4)) / (4 * SPREAD**2))
    return tuple(np.outer(along, along).ravel().tolist())


def even(exposure: float) -> Array:
    """A white wall, darker towards the corners: (600, 800, 3)."""
    rows, columns = np.mgrid[-300:300, -400:400] / 500
    return (exposure * (1 - 0.4 * (rows**2 + columns**2)))[..., None].repeat(3, 2).astype(np.float32)


def noisy(clean: Array, noise: Profile, key: int) -> Array:
    return noise(clean, keyed_rng(SEED, index=key))[0]


def errors(pictures: list[Array], same_scene: bool, gain: float, read: float) -> dict[str, Any]:
    """Of one profile, through 16-bit files: relative errors, and how many standard errors gain and read are off."""
    with tempfile.TemporaryDirectory() as folder:
        for at, pixels in enumerate(pictures):
            image.write(Path(folder, f"{at}.tif"), pixels, image.Picture(pixels, "TIFF", 16))
        try:
            group = measured([Path(folder)], same_scene, LIMIT)["groups"][0]
        except UnnoiseError:
            return {}
    levels = [LevelFunction.from_json(channel) for channel in group["channels"]]
    values = np.array([0.1, 0.5, 0.9])
    truth = np.sqrt(gain * values + read**2)
    return {
        "gain": [abs(level.gain.value / gain - 1) for level in levels],
        "read_255": [255 * abs(level.read.value - read) for level in levels],
        "sigma": [float(np.abs(level.sigma(values) / truth - 1).max()) for level in levels],
        "off": [
            abs(figure.value - true) / figure.error
            for level in levels
            for figure, true in ((level.gain, gain), (level.read, read))
        ],
    }


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    told = [one for one in found if one]
    together = {name: [value for one in told for value in one[name]] for name in (told[0] if told else ())}
    medians = {name: round(statistics.median(values), 5) for name, values in together.items() if name != "off"}
    return {
        "profiles": len(told),
        "refused": len(found) - len(told),
        **medians,
        "within_2_errors": round(float(np.mean(np.array(together["off"]) <= 2)), 3),
    }


def real(name: str) -> dict[str, Any]:
    """How far sigma is from the truth over the bins, of each profile."""
    files = sorted((EVAL / name / "noisy").iterdir())
    sets = [files[at : at + 2] for at in range(0, len(files), 2)] if name == "FMD12" else [[file] for file in files]
    scenes, refused = {}, {}
    for noisy_files in sets:
        try:
            group = measured(noisy_files, len(noisy_files) > 1, LIMIT)["groups"][0]
        except UnnoiseError as error:
            refused[noisy_files[0].name] = str(error).replace(f"{EVAL}/", "")
            continue
        levels = [LevelFunction.from_json(channel) for channel in group["channels"]]
        ratios = [ratio for file in noisy_files for ratio in beside(levels, file)]
        scenes[noisy_files[0].name] = {
            "sigma_ratio": round(float(np.median(ratios)), 3),
            "median_error": round(float(np.median(np.abs(np.array(ratios) - 1))), 3),
            "misfit": group["misfit"],
            "correlation": group["correlation"] and group["correlation"]["table"][0][1],
            "channels": group["channels"],
        }
    medians = [scene["median_error"] for scene in scenes.values()]
    return {"scenes": scenes, "refused": refused, "median_error": round(statistics.median(medians), 3) if medians else None}


def beside(levels: list[LevelFunction], noisy_file: Path) -> list[float]:
    """Sigma that is told, as a share of the true one, in each bin of brightness of each channel."""
    clean_file = next((noisy_file.parents[1] / "clean").glob(noisy_file.stem + ".*"))
    noisy_picture, clean = (
        without_alpha(image.read(file).pixels).reshape(-1, len(levels)) for file in (noisy_file, clean_file)
    )
    found = []
    for channel, level in enumerate(levels):
        values, apart = clean[:, channel], (noisy_picture - clean)[:, channel]
        inside = (values > 0.02) & (values < 0.98)
        edges = np.linspace(values[inside].min(), values[inside].max(), BINS + 1) if inside.any() else []
        for low, high in pairwise(edges):
            here = inside & (values >= low) & (values < high)
            if here.mean() >= 0.05:
                found.append(float(np.sqrt(np.square(level.sigma(values[here])).mean() / np.square(apart[here]).mean())))
    return found


if __name__ == "__main__":
    main()
