"""The methods, the published networks and the bundled models on the field's test sets, by `unnoise.evaluate`: docs/results.md.

A result for each set: means with their intervals, and every picture's PSNR. The same seed gives the same noisy pixels to every
method, in every run. What is finished is kept in benchmarks/runs, so that a stopped measurement goes on, and what was measured
before stays beside what is new. Times here are of a machine that did other work too: see evaluation.json and denoise.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import networks
import record

from unnoise.denoiser import load
from unnoise.evaluate import Request, evaluate
from unnoise.judging import Method
from unnoise.noise import parse
from unnoise.tuned import names_for

EVAL = record.SHARED / "eval"
OUT = Path(__file__).parent / "runs" / "testsets"
GAUSSIAN = ("gaussian:15/255", "gaussian:25/255", "gaussian:50/255")
LOST = (
    *(f"salt-and-pepper:fraction={share}" for share in (0.1, 0.3, 0.5)),
    *(f"masking:fraction={share}" for share in (0.3, 0.5, 0.8)),
    "blocks:count=8,size=32",
)


@dataclass(frozen=True)
class TestSet:
    """A folder of clean pictures with noises to put on them, or, without noises, one with pairs: noisy/ and clean/."""

    folder: str
    colour: bool
    noises: tuple[str, ...] = ()

    def on(self, kinds: Sequence[str]) -> TestSet:
        """The same with the noises of these kinds alone, of all if none is given."""
        return replace(self, noises=tuple(noise for noise in self.noises if not kinds or noise.partition(":")[0] in kinds))

    @property
    def where(self) -> dict[str, Any]:
        if self.noises:
            return {"clean": EVAL / self.folder, "noises": [parse(noise) for noise in self.noises]}
        return {"pairs": (EVAL / self.folder / "noisy", EVAL / self.folder / "clean")}

    @property
    def networks(self) -> list[Method]:
        """The published networks for it; none fills in lost pixels."""
        return [] if self.noises == LOST else networks.networks(self.colour)


# PSNR at sigma 15, 25 and 50, as published: gray BM3D and DnCNN-B by Zhang et al. 2017 (doi:10.1109/TIP.2017.2662206), the others
# by Zhang et al. 2018 (doi:10.1109/TIP.2018.2839891) and, CDnCNN-B on CBSD68, 2021 (doi:10.1109/TPAMI.2021.3088914).
PUBLISHED: dict[str, dict[str, tuple[float, float, float]]] = {
    "bsd68": {"bm3d": (31.07, 28.57, 25.62), "DnCNN-B": (31.61, 29.16, 26.23), "FFDNet": (31.63, 29.19, 26.29)},
    "set12": {"bm3d": (32.37, 29.97, 26.72), "DnCNN-B": (32.68, 30.36, 27.21), "FFDNet": (32.75, 30.43, 27.32)},
    "kodak24": {"bm3d": (34.28, 31.68, 28.46), "CDnCNN-B": (34.48, 32.03, 28.85), "FFDNet": (34.63, 32.13, 28.98)},
    "cbsd68": {"bm3d": (33.52, 30.71, 27.38), "CDnCNN-B": (33.90, 31.24, 27.95), "FFDNet": (33.87, 31.21, 27.96)},
}
SETS = {
    "bsd68": TestSet("BSD68", False, GAUSSIAN),
    "set12": TestSet("Set12", False, GAUSSIAN),
    "kodak24_lost": TestSet("Kodak24", True, LOST),
    "cc15": TestSet("CC15", True),
    "fmd12": TestSet("FMD12", False),
    "kodak24": TestSet("Kodak24", True, GAUSSIAN),
    "polyu": TestSet("PolyU", True),
    "cbsd68": TestSet("CBSD68", True, GAUSSIAN),
}


def measured(
    name: str, models: Sequence[str | Method], methods: Sequence[str] | None = None, kinds: Sequence[str] = ()
) -> dict[str, Any]:
    """Scores of the models, and of the classical methods (None: all that fit), by noise and method; of some kinds of noise, or all."""
    one = SETS[name].on(kinds)
    if methods is None:  # by name, or `auto` would be among them
        methods = list(dict.fromkeys(each for noise in one.noises or [None] for each in names_for(noise and parse(noise))))
    document = evaluate(Request(models=models, methods=methods, out=OUT / name, **one.where))
    assert not document["left_out"], document["left_out"]
    cases = {case["noise"]: {method["name"]: _told(case, method) for method in case["methods"]} for case in document["cases"]}
    return {"set": one.folder, "pictures": len(document["cases"][0]["pictures"]), "seed": document["seed"], "cases": cases}


def _told(case: dict[str, Any], method: dict[str, Any]) -> dict[str, Any]:
    figures = {figure: round(value, 4) for figure, value in method["mean"].items() if value is not None}
    every = {picture["name"]: round(picture["scores"][method["name"]]["psnr"], 3) for picture in case["pictures"]}
    interval = [round(end, 3) for end in method["interval"]["psnr"]]
    return {
        "kind": method["kind"],
        **figures,
        "interval_psnr": interval,
        "parameters": method["parameters"],
        "every_psnr": every,
    }


def high(model: str) -> Method:
    """A model by `--quality high`."""
    denoiser = load(model, quality="high")
    return Method(f"{model}, high", "model", lambda noisy, sigma: denoiser.denoise(noisy), f"{denoiser.sha256} high")


def added(name: str, models: Sequence[str | Method], kinds: Sequence[str], command: str) -> dict[str, Any]:
    """What was measured before, with the models beside it, and the command: on the same noisy pixels, or it is refused."""
    before = json.loads((record.RESULTS / f"testset_{name}.json").read_text())
    new = measured(name, models, methods=[], kinds=kinds)
    for noise, found in new["cases"].items():
        told = before["cases"][noise]
        assert found["noisy"] == told["noisy"], f"{name}, {noise}: these are not the noisy pixels of the result"
        told |= {method: found[method] | {"command": command} for method in found if found[method]["kind"] == "model"}
    return {key: before[key] for key in ("set", "pictures", "seed", "published", "cases") if key in before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"Default: {', '.join(SETS)}.")
    parser.add_argument("--add", nargs="+", default=[], metavar="MODEL", help="Measure these beside what is there.")
    parser.add_argument("--high", action="store_true", help="By --quality high.")
    parser.add_argument("--on", nargs="+", default=[], metavar="KIND", help="On these kinds of noise alone: masking.")
    given = parser.parse_args()
    if unknown := set(given.sets) - set(SETS):
        parser.error(f"{', '.join(unknown)}: expected {', '.join(SETS)}")
    if (given.high or given.on) and not given.add:
        parser.error("--high and --on belong to --add")
    for name in given.sets or SETS:
        if given.on and not SETS[name].on(given.on).noises:
            parser.error(f"{name} has no noise of the kind {', '.join(given.on)}")
    for name in given.sets or SETS:
        models = [high(model) if given.high else model for model in given.add]
        published = {"published": PUBLISHED[name]} if name in PUBLISHED else {}
        command = f"python benchmarks/testsets.py {name}"
        if given.add:
            more = ["--add", *given.add, *(["--high"] if given.high else []), *(["--on", *given.on] if given.on else [])]
            figures = added(name, models, given.on, f"{command} {' '.join(more)}")
        else:
            figures = measured(name, SETS[name].networks)
        record.save(f"testset_{name}", {**figures, **published}, command=command)


if __name__ == "__main__":
    main()
