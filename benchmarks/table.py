"""Put the results into the README and the docs: each block `<!-- table: NAME -->` ... `<!-- end -->` is written anew.

With --check nothing is written; the exit code is 1 when a block is not what the JSON says (a test runs this).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from unnoise import artefact
from unnoise.bundled import described
from unnoise.noise import brief

ROOT = Path(__file__).parents[1]


def result(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def demo() -> str:
    rows = result("demo")["rows"]
    return table(list(rows[0]), [list(row.values()) for row in rows])


def noise() -> str:
    rows = [
        [
            name, f"{found['ms']:.2f}", f"{found['skimage_ms']:.2f}", f"{found['times_faster']:.1f}",
            f"{found['in_turn_times_faster']:.1f}", f"{found.get('goal', '')}",
        ]
        for name, found in result("noise")["noises"].items()
    ]  # fmt: skip
    return table(["noise", "ms", "scikit-image, ms", "times faster", "called in turn", "goal"], rows)


def camera() -> str:
    found = result("camera")
    rows = [
        [f"`{name}`", f"{one['psnr']:.2f}", f"{one['beside']:.2f}", f"{one['between']:.2f}"]
        for name, one in found["noises"].items()
    ]
    costs = ", ".join(f"{ms:.1f} ms for `{name}`" for name, ms in found["batch_cpu_ms"].items())
    low, high = (f"{sigma:g}/255" for sigma in found["sigma_of_shot"].values())
    about = f"{found['pictures']} photographs of the training corpus, every 24th of it. The published range of cameras is {low} to {high} here, by the median over cameras. A batch of {found['batch']} crops of {found['side']} x {found['side']} takes {costs}, of one core. {found['machine']}."
    return table(["noise", "PSNR of noisy, dB", "neighbours", "colours"], rows) + f"\n\n{about}"


def step_time() -> str:
    found = result("step_time")
    arms = [
        (f"{model}, {channels}", one) for model in ("photo model", "a tenth of it") for channels, one in found[model].items()
    ]
    large = found["12 megapixel JPEGs, photo model, colour"]
    arms += [(f"photo model, colour, JPEGs of 12 megapixels, {where}", one) for where, one in large.items()]
    rows = [
        [
            name,
            f"{one['bare_ms']:.1f}",
            f"{one['real_ms']:.1f}",
            f"{one['overhead']:.1%}",
            f"{one['goal']:.0%}" if "goal" in one else "",
        ]
        for name, one in arms
    ]
    return table(["model", "bare step, ms", "real step, ms", "beyond the bare step", "goal, at most"], rows)


def minutes() -> str:
    found = result("minutes")
    rows = [
        [name, minutes, f"{one['wall_s'] / 60:.1f}", f"{one['steps']}", f"{one['psnr']:.2f}", f"{one['psnr_every_4th']:.2f}"]
        for name, curve in found["curves"].items()
        for minutes, one in curve.items()
    ]
    passed = "; ".join(
        f"past {mark} ({found['marks'][mark]:.2f} dB): "
        + ", ".join(f"{name} {f'{value:.1f} minutes' if value else 'not in these runs'}" for name, value in arms.items())
        for mark, arms in found["minutes_to_pass"].items()
    )
    columns = ["network", "minutes given", "minutes taken", "steps", "BSD68, dB", "every 4th picture, dB"]
    return (
        table(columns, rows)
        + f"\n\nThe shortest of these runs {passed}. Goal: {found['goal_minutes']} minutes. {found['machine']}."
    )


def sweep() -> str:
    found = result("optimisers")
    rows = [
        [optimiser, rate, *([f"{one['psnr']:.2f}", f"{one['psnr_half_size']:.2f}"] if "psnr" in one else ["diverged", ""])]
        for optimiser, rates in found["sweep"].items()
        for rate, one in rates.items()
    ]
    return table(["optimiser", "rate", "PSNR, dB", "at half size"], rows)


def optimisers() -> str:
    found = result("optimisers")
    rows = [
        [f"{name}, rate {found['best_rate'][name]}", f"{found[name]['mean_psnr']:.2f}"]
        + [f"{one['psnr']:.2f} ({one['steps']})" for one in found[name]["seeds"]]
        for name in found["sweep"]
    ]
    seeds = [f"seed {seed}, dB (steps)" for seed in range(len(rows[0]) - 2)]
    return table([f"optimiser, minutes each: {found['minutes']:g}", "mean, dB", *seeds], rows)


def processes() -> str:
    found = result("processes")
    rows = [[name, f"{speed / 1000:.0f}", f"{found['ratios'][name]:.2f}"] for name, speed in found["pixels_per_second"].items()]
    return table([f"batch {found['batch']}", "thousand pixels a second", "times the first"], rows) + f"\n\n{found['machine']}."


def cache() -> str:
    found = result("cache")
    rows = [[f"{run} start", f"{found[run]['seconds']:.0f}", f"{found[run]['peak_mb']}"] for run in ("first", "second")]
    return table([f"{found['files']:,} files", "seconds", "peak memory, MB"], rows)


def startup() -> str:
    found = result("startup")
    rows = [["`unnoise --help`", f"{found['unnoise_help_s']:.2f}"], ["`import unnoise`", f"{found['import_unnoise_s']:.2f}"]]
    rows += [[f"`import {name}`", f"{seconds:.2f}"] for name, seconds in found["import_library_s"].items()]
    return table(
        ["command, in a new interpreter", "seconds"], [*rows, ["the interpreter alone", f"{found['interpreter_s']:.2f}"]]
    )


def denoise() -> str:
    found = result("denoise")
    sizes = list(found["methods"]["onnxruntime"])
    rows = []
    for name, by_size in found["methods"].items():
        cells = [f"{one['mpixel_per_s']:.2g} ({one['memory_mb']})" if (one := by_size.get(size)) else "" for size in sizes]
        rows.append([name, *cells])
    for tile, work in found["overlap_work"].items():
        own = ", unnoise's own" if int(tile) == found["tile"] else ""
        rows.append([f"pixels computed for one, tiles of {tile}{own}", *(f"{work[size]:.2f}" for size in sizes)])
    turns, linear = found["by_turns_512"], found["linear"]
    about = (
        f"512 x 512 by turns, {found['threads']} threads: {turns['ours_ms']:.0f} ms, DnCNN {turns['dncnn_ms']:.0f} ms: "
        f"{turns['times_dncnn']:.1f} times its pixels a second (goal 10). In tiles of {linear['tile']}, a pixel of 100 Mpixel costs "
        f"{linear['cost_100_to_4']:.2f} times one of 4 Mpixel (goal 1.15 at most), {linear['per_computed_pixel']:.2f} times for each "
        f"pixel computed. {found['machine']}."
    )
    return table(["Mpixel/s (MB of memory)", *(f"{size} Mpixel" for size in sizes)], rows) + f"\n\n{about}"


def files() -> str:
    found = result("large")
    sizes = list(found["files"])
    kinds = [name for name in found["files"][sizes[0]] if name != "model_seconds"]
    rows = [[kind, *(f"{found['files'][size][kind]['share']:.1%}" for size in sizes)] for kind in kinds]
    seconds = " and ".join(f"{found['files'][size]['model_seconds']:.1f} s" for size in sizes)
    columns = ["reading and writing, by the model's time", *(f"{size} Mpixel" for size in sizes)]
    return table(columns, rows) + f"\n\nThe model took {seconds}. {found['machine']}."


def large() -> str:
    found = result("large")
    rows = [
        [
            ending,
            f"{one['peak_mb'] / 1000:.2f}",
            f"{one['seconds']:.0f}",
            f"{one['mpixel_per_s']:.2f}",
            f"{one['largest_difference']}",
        ]
        for ending, one in found["large"].items()
    ]
    return table(["file", "peak memory, GB", "seconds", "Mpixel/s", "levels from a crop alone"], rows)


def int8() -> str:
    found = result("int8")
    noises = list(found["float32_psnr"])
    rows = []
    for name, arm in found["arms"].items():
        losses = [f"{arm['loss_db'][noise]:.2f}" if noise in arm["loss_db"] else "" for noise in noises]
        times = [f"{arm[f'times_faster_{side}']:.2f}" if f"times_faster_{side}" in arm else "" for side in (512, 2048)]
        rows.append([name, *losses, *times, f"{arm['memory_mb']}"])
    steps = ", ".join(f"{run} {count}" for run, count in found["steps"].items())
    about = (
        f"Float32 has {', '.join(f'{psnr:.2f}' for psnr in found['float32_psnr'].values())} dB. Training steps: {steps}. "
        f"{found['threads']} threads, {found['machine']}, onnxruntime {found['versions']['onnxruntime']}."
    )
    columns = [
        "in 8 bits",
        *(f"dB lost, {noise}" for noise in noises),
        "times faster, 512 x 512",
        "2048 x 2048",
        "MB, 2048 x 2048",
    ]
    return table(columns, rows) + f"\n\n{about}"


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
        pictures = "colour" if card["channels"] == 3 else "gray"
        rows.append([f"`{one['name']}`", pictures, card["purpose"], "<br>".join(measured), f"{minutes:.0f}", card["licence"]])
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


def tuning() -> str:
    rows = [
        [arm, f"{found['psnr']:.2f}", f"{found['psnr_half_size']:.2f}", f"{found['steps']}"]
        for arm, found in result("tuning")["arms"].items()
    ]
    return table(["setting", "PSNR, dB", "at half size", "steps"], rows)


def perceptual() -> str:
    found, rows = result("perceptual"), []
    for row in found["summary"]:
        cells = [row["noise"], row["arm"]]
        for key, digits in (("psnr", 2), ("ssim", 3), ("judge", 3), ("bundled", 3), ("SqueezeNet", 0)):
            cell = f"{row[key]['mean']:.{digits}f} ± {row[key]['spread'] / 2:.{digits}f}"
            cells.append(f"*{cell}*" if found["trained_with"].get(key) == row["arm"] else cell)
        rows.append(cells)
    return table(["noise", "cost", "PSNR, dB", "SSIM", "judge", "bundled", "SqueezeNet"], rows)


def perceptual_step() -> str:
    rows = [
        [arm, f"{found['step_ms']:.1f}", f"{found['times_the_plain_step']:.2f}", f"{found['peak_gb']:.2f}"]
        for arm, found in result("perceptual")["step"].items()
    ]
    goal = result("perceptual")["goal_times_the_plain_step"]
    return table(["cost", "ms a step", f"times the first (goal {goal})", "peak memory, GB"], rows)


def soak() -> str:
    keys = ("times", "as_expected", "temporary_files_left", "longest_end_s", "quiet_runs_equal")
    rows = [[name, *(f"{found[key]:.3g}" for key in keys)] for name, found in result("soak")["stops"].items()]
    columns = ["signal", "times", "expected exit code", "temporary files left", "longest end, s", "rounds that ended equal"]
    training = result("soak")["training"]
    about = (
        f"Training: {training['kills']} SIGKILLs, of which {training['met_it_at_work']} met a run at work; "
        f"{training['equal_to_undisturbed']} of {training['runs']} runs ended with the bytes of an undisturbed one."
    )
    return table(columns, rows) + f"\n\n{about}"


def evaluation() -> str:
    found = result("evaluation")
    rows = [
        [name, f"{one['share_within_methods']:.1%}", f"{one['all_s']:.1f}", f"{one['again_s']:.2f}"]
        for name, one in found["sets"].items()
    ]
    about = f"{found['pictures']} pictures of BSD68, {found['noise']}, the goal being {found['goal']:.0%}. {found['machine']}."
    return table(["methods", "of the time within them", "seconds", "again, all results kept"], rows) + f"\n\n{about}"


def doctor_sigma() -> str:
    keys = ("median", "skimage_median", "median_textured", "skimage_median_textured", "worst", "within_two_errors")
    rows = [[name, *(f"{one[key]:.1%}" for key in keys)] for name, one in result("doctor")["sigma"]["levels"].items()]
    columns = ["sigma", "all", "scikit-image", "textured", "scikit-image, textured", "worst", "within two standard errors"]
    return table(columns, rows)


def doctor_shares() -> str:
    rows = [
        [name, f"{one['median']:.2f}", f"{one['worst']:.2f}", f"{one['within_half_a_point']:.0%}"]
        for name, one in result("doctor")["shares"].items()
    ]
    return table(["noise", "median", "worst", "within half a point"], rows)


def doctor_kinds() -> str:
    rows = [
        [noise, ", ".join(f"{count} {kinds}" for kinds, count in sorted(seen.items(), key=lambda item: -item[1]))]
        for noise, seen in result("doctor")["kinds"].items()
    ]
    return table(["noise", "found"], rows)


def doctor_clean() -> str:
    found = result("doctor")
    rows = [
        [name, side, f"{one['pictures']}", f"{one['left_alone']:.1%}"]
        for side, sets in (("clean", found["clean"]), ("noisy", found["real"]))
        for name, one in sets.items()
    ]
    taken = ", ".join(f"{name} {one['cpu']:.2f} ({one['wall']:.2f})" for name, one in found["seconds_12_megapixels"].items())
    about = f"Seconds of the processor (and by the clock) for 12 megapixels in colour, the goal being 0.5: {taken}. {found['machine']}."
    return table(["set", "", "pictures", "left alone"], rows) + f"\n\n{about}"


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


SETS = {"bsd68": "BSD68", "set12": "Set12", "cbsd68": "CBSD68", "kodak24": "Kodak24"}
TITLES = {"noisy": "noisy, as it comes", "bm3d": "BM3D", "nlm": "non-local means", "tv": "total variation"}


def measured_sets() -> list[str]:
    """The test sets that there is a result of, as benchmarks/testsets.py names them."""
    return sorted(path.stem.removeprefix("testset_") for path in (ROOT / "benchmarks" / "results").glob("testset_*.json"))


def testset(name: str) -> str:
    """A row for each method, the best first; a column for each noise. Below the measured figures, those that were published."""
    found = result(f"testset_{name}")
    noises = list(found["cases"])
    methods = sorted(found["cases"][noises[0]], key=lambda method: -found["cases"][noises[0]][method]["psnr"])
    rows = []
    for method in methods:
        cells = [f"{one['psnr']:.2f} ({one['ssim']:.3f})" for one in (found["cases"][noise][method] for noise in noises)]
        rows.append([TITLES.get(method, method), *cells])
        if method in found.get("published", {}):
            rows.append(["*published*", *(f"*{psnr:.2f}*" for psnr in found["published"][method])])
    columns = ["its own noise" if noise == "pairs" else re.sub(":(sigma|fraction)=", " ", noise) for noise in noises]
    return table(["PSNR, dB (SSIM)", *columns], rows) + f"\n\n{found['pictures']} pictures."


def photo() -> str:
    """The bundled `photo` beside what people would take instead, at sigma 15, 25 and 50 of 255; the time of its shape."""
    milliseconds = result("pareto")["milliseconds"]
    rows = []
    for title, gray, colour, shape in (
        ("**photo**", "photo-gray", "photo-colour", "32-64-96 3-2-1 muon"),
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
    found, at = result("curves")["curves"], (2, 5, 10, 20, 40, 60)
    rows = []
    for name, curve in found.items():
        scores = [min(curve["points"], key=lambda point, minute=minute: abs(point[0] - minute))[2] for minute in at]
        last = curve["points"][-1]
        rows.append([f"`{name}`", *(f"{score:.2f}" for score in scores), f"{last[2]:.2f} ({last[0]:.0f})"])
    return table(["PSNR, dB, after minutes", *map(str, at), "the end (minutes)"], rows)


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


def _settings(parameters: dict[str, Any]) -> str:
    parts = [
        f"{name} {', '.join(map(str, value))}" if isinstance(value, list) else f"{name} {value}"
        for name, value in parameters.items()
    ]
    return "; ".join(parts)


TABLES: dict[str, Callable[[], str]] = {
    "demo": demo,
    "noise": noise,
    "camera": camera,
    "step_time": step_time,
    "minutes": minutes,
    "sweep": sweep,
    "optimisers": optimisers,
    "processes": processes,
    "cache": cache,
    "startup": startup,
    "soak": soak,
    "denoise": denoise,
    "files": files,
    "large": large,
    "int8": int8,
    "models": models,
    "architectures": architectures,
    "tuning": tuning,
    "perceptual": perceptual,
    "perceptual_step": perceptual_step,
    "evaluation": evaluation,
    "peer_parameters": peer_parameters,
    "apart": apart,
    "photo": photo,
    "behind": behind,
    "curves": curves,
    **{f"testset_{name}": partial(testset, name) for name in measured_sets()},
    "doctor_sigma": doctor_sigma,
    "doctor_shares": doctor_shares,
    "doctor_kinds": doctor_kinds,
    "doctor_clean": doctor_clean,
}


def main() -> int:
    stale = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text()
        new = re.sub(
            r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)",
            lambda match: f"{match[1]}\n{TABLES[match[2]]()}\n\n{match[3]}",
            text,
            flags=re.S,
        )
        if new != text:
            stale.append(page.name)
            if "--check" not in sys.argv:
                page.write_text(new)
    if "--check" in sys.argv and stale:
        print(f"{', '.join(stale)}: not what benchmarks/results says; run: make figures", file=sys.stderr)
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
