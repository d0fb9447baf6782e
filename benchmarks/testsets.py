"""The methods, the published networks and the bundled models on the field's test sets, by `unnoise.evaluate`: docs/results.md.

A result for each set: means with their intervals, and every picture's PSNR. The same seed gives the same noisy pixels to every
method, in every run. What is finished is kept in benchmarks/runs, so that a stopped measurement goes on, and what was measured
before stays beside what is new. Times here are of a machine that did other work too: see evaluation.json and denoise.json.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networks
import record

from unnoise.evaluate import Request, evaluate
from unnoise.judging import Method
from unnoise.noise import parse

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

    @property
    def where(self) -> dict[str, Any]:
        if self.noises:
            return {"clean": EVAL / self.folder, "noises": [parse(noise) for noise in self.noises]}
        return {"pairs": (EVAL / self.folder / "noisy", EVAL / self.folder / "clean")}

    @property
    def networks(self) -> list[Method]:
        """The published networks for it; none fills in lost pixels."""
        return [] if self.noises == LOST else networks.networks(self.colour)


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


def measured(name: str) -> dict[str, Any]:
    one = SETS[name]
    document = evaluate(Request(models=one.networks, out=OUT / name, **one.where))
    assert not document["left_out"], document["left_out"]
    cases = {case["noise"]: _told(case) for case in document["cases"]}
    return {"pictures": len(document["cases"][0]["pictures"]), "seed": document["seed"], "cases": cases}


def _told(case: dict[str, Any]) -> dict[str, Any]:
    told = {}
    for method in case["methods"]:
        every = {picture["name"]: round(picture["scores"][method["name"]]["psnr"], 3) for picture in case["pictures"]}
        figures = {figure: round(value, 4) for figure, value in method["mean"].items() if value is not None}
        about = {"kind": method["kind"], "parameters": method["parameters"], "interval_psnr": method["interval"]["psnr"]}
        told[method["name"]] = {**figures, **about, "every_psnr": every}
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=list(SETS), choices=[*SETS, []], metavar="SET", help=", ".join(SETS))
    for name in parser.parse_args().sets:
        record.save(f"testset_{name}", measured(name), command=f"python benchmarks/testsets.py {name}")


if __name__ == "__main__":
    main()
