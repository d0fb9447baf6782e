"""The tables of models and methods: the bundled models, the test sets, the shapes that were tried, what was tuned."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

from cells import ROOT, result, table

from unnoise import artefact
from unnoise.bundled import described
from unnoise.noise import brief

SETS = {"bsd68": "BSD68", "set12": "Set12", "cbsd68": "CBSD68", "kodak24": "Kodak24"}
TITLES = {"noisy": "noisy, as it comes", "bm3d": "BM3D", "nlm": "non-local means", "tv": "total variation"}
CHOSEN = "0.01 to 0.03"  # export.CLOSE
# words, model, test set, noise, the method it is to pass, by how many dB at least, and the goal
SPECIALISTS = (
    (
        "salt and pepper on 30 % of the pixels",
        "impulse",
        "kodak24_lost",
        "salt-and-pepper:fraction=0.3",
        "adaptive-median",
        5,
        8,
    ),
    ("half of the pixels missing", "missing", "kodak24_lost", "masking:fraction=0.5", "biharmonic", 1.5, 3),
    ("noise of cameras", "real", "cc15", "pairs", "bm3d", 0, 1),
    ("noise of cameras", "real", "polyu", "pairs", "bm3d", 0, 1),
)


def models() -> str:
    found = described()
    rows = []
    for one in found:
        card = one["card"]
        measured = [
            f"{one['pictures']}, {brief(one['noise'])}: {one['psnr']:.2f} dB, {one['ssim']:.3f}"
            for one in card["quality"]["measured"]
        ]
        pieces = artefact.pieces(card["training"])
        minutes = sum(piece.get("minutes") or 0 for piece in pieces)
        on = ", most steps on a CUDA card" if any(piece.get("device_before") == ["cuda"] for piece in pieces) else ""
        pictures = "colour" if card["channels"] == 3 else "gray"
        rows.append(
            [f"`{one['name']}`", pictures, card["purpose"], "<br>".join(measured), f"{minutes:.0f}{on}", card["licence"]]
        )
    columns = ["model", "pictures", "for", "PSNR, SSIM", "minutes of training", "licence"]
    return table(columns, rows) if found else "No model is bundled yet."


def architectures() -> str:
    milliseconds = result("pareto")["milliseconds"]
    lines = (ROOT / "benchmarks" / "results" / "architectures.jsonl").read_text().splitlines()
    rows = [
        [
            one["trial"], one["settings"].get("optimiser", "adamw"), f"{one['parameters'] / 1e6:.2f}", f"{one['psnr']:.2f}",
            *(_part(milliseconds, f"DnCNN-{depth}", one["trial"]) for depth in (17, 20)),
        ]
        for one in sorted(map(json.loads, lines), key=lambda one: -one["psnr"])
    ]  # fmt: skip
    return table(["trial", "optimiser", "million parameters", "PSNR, dB", "of the time of DnCNN-17", "of DnCNN-20"], rows)


def _part(milliseconds: dict[str, float], whole: str, name: str) -> str:
    """1/10.4, or 1 of the whole itself; empty where it was not timed."""
    if name not in milliseconds or name == whole:
        return "1" if name == whole else ""
    return f"1/{milliseconds[whole] / milliseconds[name]:.1f}"


def measured_sets() -> list[str]:
    """The test sets that there is a result of, as benchmarks/testsets.py names them."""
    return sorted(path.stem.removeprefix("testset_") for path in (ROOT / "benchmarks" / "results").glob("testset_*.json"))


def testset(name: str) -> str:
    """A row for each method, the best on its noises first; a column for each noise. Below the measured figures, those that were published."""
    found = result(f"testset_{name}")
    noises = list(found["cases"])
    ranks: dict[str, list[int]] = {}
    for case in found["cases"].values():
        for rank, method in enumerate(_best_first(case)):
            ranks.setdefault(method, []).append(rank)
    methods = sorted(ranks, key=lambda method: sum(ranks[method]) / len(ranks[method]))
    rows = []
    for method in methods:
        each = [found["cases"][noise].get(method) for noise in noises]
        cells = [f"{one['psnr']:.2f} ({one['ssim']:.3f})" if one else "" for one in each]
        rows.append([TITLES.get(method, method), *cells])
        if method in found.get("published", {}):
            rows.append(["*published*", *(f"*{psnr:.2f}*" for psnr in found["published"][method])])
    columns = ["its own noise" if noise == "pairs" else re.sub(":(sigma|fraction)=", " ", noise) for noise in noises]
    return table(["PSNR, dB (SSIM)", *columns], rows) + f"\n\n{found['pictures']} pictures."


def _best_first(case: dict[str, Any]) -> list[str]:
    return sorted(case, key=lambda method: -float(case[method]["psnr"]))


def photo() -> str:
    """The bundled `photo` beside what people would take instead, at sigma 15, 25 and 50 of 255; the time of its shape."""
    milliseconds = result("pareto")["milliseconds_two_threads"]
    rows = []
    for title, gray, colour, shape in (
        ("**photo**", "photo-gray", "photo-colour", "32-64-96 3-2-3 muon"),
        ("**photo**, `--quality high`", "photo-gray, high", "photo-colour, high", ""),
        ("**photo-fast**", "photo-fast-gray", "photo-fast-colour", "photo-fast"),
        ("DnCNN-B", "DnCNN-B", "CDnCNN-B", "DnCNN-20"),
        ("FFDNet, told sigma", "FFDNet", "FFDNet", ""),
        ("BM3D, told sigma", "bm3d", "bm3d", ""),
        ("non-local means, told sigma", "nlm", "nlm", ""),
    ):
        cells = []
        for name, method in (("bsd68", gray), ("cbsd68", colour)):
            cases = result(f"testset_{name}")["cases"]
            cells.append(" / ".join(f"{cases[f'gaussian:sigma={sigma}/255'][method]['psnr']:.2f}" for sigma in (15, 25, 50)))
        rows.append([title, *cells, _part(milliseconds, "DnCNN-20", shape)])
    return table(["PSNR, dB, sigma 15 / 25 / 50 of 255", "BSD68, gray", "CBSD68, colour", "time, gray"], rows)


def specialists() -> str:
    """The bundled models for other noises, beside the method that each is to pass, and the best classical one."""
    rows = []
    for words, model, name, noise, rival, *_ in SPECIALISTS:
        found = result(f"testset_{name}")
        case = found["cases"][noise]
        best = next(method for method in _best_first(case) if case[method]["kind"] == "classical")
        ours, others = case[model]["psnr"], [case[other]["psnr"] for other in (rival, best)]
        told = [f"{psnr:.2f}, {TITLES.get(other, other)}" for other, psnr in zip((rival, best), others, strict=True)]
        rows.append([f"{found['set']}, {words}", f"`{model}`", f"{ours:.2f}", told[0], f"{ours - others[0]:+.2f}", told[1]])
    return table(["PSNR, dB", "model", "its own", "to be passed", "by", "best classical method"], rows)


def goals() -> str:
    """How far each of them is to pass its rival, and does."""
    rows = []
    for words, model, name, noise, rival, must, goal in SPECIALISTS:
        found = result(f"testset_{name}")
        case = found["cases"][noise]
        ahead = f"{case[model]['psnr'] - case[rival]['psnr']:+.2f}"
        rows.append([f"`{model}`, {found['set']}, {words}", TITLES.get(rival, rival), ahead, f"{must:+g}", f"{goal:+g}"])
    return table(["PSNR, dB", "beside", "ahead by", "must be", "goal"], rows)


def mending() -> str:
    """What it is worth that an impulse model leaves what its answer is close to as it is."""
    rows = [
        [brief(noise), *(f"{psnr:.2f}" for psnr in ways["by value"].values()), f"{ways['by pixel'][CHOSEN]:.2f}"]
        for noise, ways in result("mending")["psnr"].items()
    ]
    ramps = list(next(iter(result("mending")["psnr"].values()))["by value"])[1:]
    return table(["PSNR, dB", "all of the answer", *ramps, f"{CHOSEN}, by pixel"], rows)


def passes() -> str:
    rows = []
    for lost, levels in result("passes")["psnr"].items():
        for way in next(iter(levels.values())):
            scores = [f"{levels[f'{sigma}/255'][way]:.2f}" for sigma in (5, 10, 20, 30, 50)]
            rows.append([brief(lost), f"`{way}`" if "," not in way else way, *scores])
    return table(["sigma and", "through", "5/255", "10/255", "20/255", "30/255", "50/255"], rows)


def invented() -> str:
    """What is left on flat pictures: a row for each model's card, and for each method on the noise of a case."""
    found = result("invented")
    rows = [[f"`{name.replace(', ', '`, ')}", "what it has learned", *_left(one)] for name, one in found["cards"].items()]
    for noise, methods in found["cases"].items():
        rows += [[TITLES.get(name, f"`{name}`"), noise, *_left(one)] for name, one in methods.items()]
    about = f"{found['pictures']} pictures of {found['side']} x {found['side']} pixels, gray and, unless the model is for gray alone, colour. The classical methods are told sigma."
    return table(["", "noise", "left, of 255", "of the noise", "correlation"], rows) + f"\n\n{about}"


def _left(one: dict[str, float]) -> list[str]:
    return [f"{one['left']:.2f}", f"{one['share']:.2%}", f"{one['correlation']:.2f}" if "correlation" in one else ""]


def float16() -> str:
    rows = [
        [f"`{name}`", brief(one["noise"]), f"{one['psnr']:.2f}", f"{one['lost']:+.4f}", f"{one['lost_at_worst']:+.4f}"]
        for name, one in result("float16")["models"].items()
    ]
    return table(["model", "noise", "PSNR by float32, dB", "lost by float16", "on the worst picture"], rows)


def behind() -> str:
    """How far the bundled `photo` is from the network that it is to equal, in the same run."""
    rows = []
    for name, ours, theirs, goal in (("bsd68", "photo-gray", "DnCNN-B", -0.05), ("cbsd68", "photo-colour", "CDnCNN-B", -0.1)):
        cases = result(f"testset_{name}")["cases"]
        apart = [
            cases[f"gaussian:sigma={s}/255"][ours]["psnr"] - cases[f"gaussian:sigma={s}/255"][theirs]["psnr"]
            for s in (15, 25, 50)
        ]
        rows.append([f"{SETS[name]}, less {theirs}", *(f"{one:+.2f}" for one in apart), f"{goal:+.2f}"])
    return table(["PSNR, dB", "sigma 15/255", "25/255", "50/255", "goal"], rows)


def curves() -> str:
    """PSNR on the validation crops after so many minutes; another model's curve is of other crops."""
    return _curves([name for name in result("curves")["curves"] if name.startswith("photo")], (1, 2, 4, 6, 8))


def _curves(names: list[str], at: tuple[int, ...]) -> str:
    rows = []
    for name in names:
        points = result("curves")["curves"][name]["points"]
        scores = [min(points, key=lambda point, minute=minute: abs(point[0] - minute))[2] for minute in at]
        cells = [f"{score:.2f}" if minute <= points[-1][0] else "" for minute, score in zip(at, scores, strict=True)]
        rows.append([f"`{name}`", *cells, f"{points[-1][2]:.2f} ({points[-1][0]:.0f})"])
    return table(["PSNR, dB, after minutes", *map(str, at), "the end (minutes)"], rows)


def curves_others() -> str:
    """PSNR on the validation crops after so many minutes, of the models for other noise."""
    return _curves([name for name in result("curves")["curves"] if not name.startswith("photo")], (1, 2, 5, 10, 15, 20))


def apart() -> str:
    """How far the measured means are from the published ones."""
    rows, noises = [], list(result("testset_bsd68")["cases"])
    for name in measured_sets():
        found = result(f"testset_{name}")
        for method, published in found.get("published", {}).items():
            there = dict(zip(found["cases"], published, strict=True))
            cells = [f"{found['cases'][n][method]['psnr'] - there[n]:+.2f}" if n in there else "" for n in noises]
            rows.append([SETS.get(name, name), TITLES.get(method, method), *cells])
    return table(["set", "method", "sigma 15/255", "25/255", "50/255"], rows)


def evaluation() -> str:
    found = result("evaluation")
    rows = [
        [name, f"{one['share_within_methods']:.1%}", f"{one['all_s']:.1f}", f"{one['again_s']:.2f}"]
        for name, one in found["sets"].items()
    ]
    about = f"{found['pictures']} pictures of BSD68, {found['noise']}, the goal being {found['goal']:.0%}. {found['machine']}."
    return table(["methods", "of the time within them", "seconds", "again, all results kept"], rows) + f"\n\n{about}"


def peer_parameters() -> str:
    found = result("peer_parameters")
    rows = [
        [f"`{name}`, {kind}", _settings(one["parameters"]), ", ".join(f"{psnr:.2f}" for psnr in one["psnr"])]
        for name, kinds in found["gaussian"].items()
        for kind, one in kinds.items()
    ]
    rows += [
        [f"`{name}`, {float(rate):.0%} lost", _settings(one["parameters"]), f"{one['psnr']:.2f}"]
        for name, rates in found["lost"].items()
        for rate, one in rates.items()
    ]
    rows += [
        [f"`median`, {float(rate):.0%} salt and pepper", _settings(one["parameters"]), f"{one['psnr']:.2f}"]
        for rate, one in found["impulses"].items()
    ]
    return table(["method", "parameters", "PSNR, dB"], rows)


def _settings(parameters: dict[str, Any]) -> str:
    parts = [
        f"{name} {', '.join(map(str, value))}" if isinstance(value, list) else f"{name} {value}"
        for name, value in parameters.items()
    ]
    return "; ".join(parts)


TABLES = {
    "models": models,
    "architectures": architectures,
    "photo": photo,
    "behind": behind,
    "mending": mending,
    "passes": passes,
    "float16": float16,
    "invented": invented,
    "specialists": specialists,
    "goals": goals,
    "curves": curves,
    "curves_others": curves_others,
    "apart": apart,
    "evaluation": evaluation,
    "peer_parameters": peer_parameters,
    **{f"testset_{name}": partial(testset, name) for name in measured_sets()},
}
