"""`unnoise demo`: one model for the four noises of the lecture, from nothing, on the photos that come inside scikit-image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from . import atomic, figures, image, report
from .config import TrainConfig
from .denoiser import Denoiser
from .errors import BadSetting, needed_by
from .keeper import Progress, Watch
from .noise import parse, spoilt
from .peers import non_local_means
from .run import train

NOISES = ("gaussian:25/255", "salt-and-pepper:0.1", "masking:0.3", "blocks:count=12,size=12")
LESSONS = (NOISES[0],) * 2 + NOISES  # half of the lessons: the one noise that leaves no value as it was is the hardest
LEARNED_FROM = (
    "astronaut.png", "brick.png", "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png",
    "motorcycle_left.png", "retina.jpg",
)  # fmt: skip
SCORED_WHILE_TRAINING = "rocket.jpg"
HELD_OUT = ("chelsea.png", "coffee.png", "camera.png")


@dataclass(frozen=True)
class Demonstration:
    """What the demo made: the page, the run folder, and the table of mean PSNR in dB."""

    page: Path
    run: Path
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def as_json(self) -> dict[str, object]:
        return {
            "command": "unnoise demo --json",
            "page": str(self.page),
            "run": str(self.run),
            "rows": [dict(zip(self.columns, row, strict=True)) for row in self.rows],
        }


def demo(out: Path, minutes: float, seed: int, watch: Watch, say: Callable[[str], None]) -> Demonstration:
    """Train for `minutes`, denoise the held-out photos, write `out/report.html`; the run folder is `out/run`."""
    folder = photo_folder()
    run = out / "run"
    if run.exists():
        run = next(out / f"run-{number}" for number in range(2, 10**6) if not (out / f"run-{number}").exists())
    TrainConfig(minutes=minutes, seed=seed)  # refuses before a word is said
    say(f"Training on {len(LEARNED_FROM)} photos for {minutes:g} minutes; {', '.join(HELD_OUT)} are held out.")
    photos = [folder / name for name in LEARNED_FROM]
    scored = folder / SCORED_WHILE_TRAINING
    told: list[Progress] = []

    def noted(progress: Progress) -> None:
        told.append(progress)
        watch(progress)

    # crops from anywhere: of these few photos the most detailed are gravel and grass, which look like noise themselves
    result = train(photos, run, noise=LESSONS, validation=scored, watch=noted, minutes=minutes, seed=seed, places=1)
    if result.warning:
        say(result.warning)
    say("Denoising the held-out photos, beside non-local means ...")
    examples = denoised(run, folder, seed)
    columns, rows = table(examples)
    words = (
        f"One denoising autoencoder, trained from nothing for {minutes:g} minutes on {len(LEARNED_FROM)} photos with all four noises; "
        "the photos below were not among them. Non-local means estimates its own noise level and was made for the first noise alone."
    )
    page = out / "report.html"
    atomic.write_bytes(page, report.page("What it learned", words, columns, rows, curves(told), examples).encode())
    pictures = figures.side_by_side(report.crops(examples[0], 192))
    atomic.write_bytes(out / "picture.png", image.encoded(pictures, "PNG"))
    return Demonstration(page, run, columns, rows)


def curves(told: Sequence[Progress]) -> str:
    """The cost, whenever it was told, and PSNR, where it was measured more than twice: two points are no curve."""
    costs = [(p.step, p.loss) for p in told if math.isfinite(p.loss)]
    scores = [(p.step, p.psnr) for p in told if p.step == p.scored_step and math.isfinite(p.psnr)]
    psnr = figures.curve(scores, "PSNR on a validation photo, dB", "step") if len(scores) > 2 else ""
    return figures.curve(costs, "cost", "step") + psnr


def photo_folder() -> Path:
    """The folder of photos inside scikit-image. Raises MissingExtra, BadSetting."""
    with needed_by("the demo", "train,peers"):
        import skimage
    folder = Path(skimage.__file__).parent / "data"
    for name in (*LEARNED_FROM, SCORED_WHILE_TRAINING, *HELD_OUT):
        if not (folder / name).exists():
            raise BadSetting(f"this scikit-image comes without {name}; install scikit-image 0.25 or 0.26.")
    return folder


def denoised(run: Path, folder: Path, seed: int) -> list[report.Example]:
    """Every held-out photo with every noise: clean, noisy, denoised, non-local means."""
    model, examples = Denoiser(run), []
    for text in NOISES:
        for index, name in enumerate(HELD_OUT):
            clean = image.read(folder / name).pixels
            noisy = spoilt(clean, parse(text), seed, index)
            pictures = {
                "clean": clean,
                "noisy": noisy,
                "denoised": model.denoise(noisy),
                "non-local means": non_local_means(noisy),
            }
            examples.append(report.Example(name, text, pictures))
    return examples


def table(examples: list[report.Example]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """A row for each noise: the mean over the photos of each method's PSNR."""
    methods = ("noisy", "denoised", "non-local means")
    scores = [(example.noise, example.scores()) for example in examples]
    rows = [
        (noise, *(f"{fmean(found[method]['psnr'] for text, found in scores if text == noise):.2f}" for method in methods))
        for noise in NOISES
    ]
    return ("noise", *methods), rows
