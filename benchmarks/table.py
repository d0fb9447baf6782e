"""Put the results into the README and the docs: each block `<!-- table: NAME -->` ... `<!-- end -->` is written anew.

With --check nothing is written; the exit code is 1 when a block is not what the JSON says (a test runs this).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import table_quality
from cells import ROOT, result, table


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


def profiles_known() -> str:
    rows = [
        [
            f"{name}, {way}", f"{one['gain']:.5f}", f"{255 * one['read']:.1f}/255", f"{one[way]['gain']:.1%}",
            f"{one[way]['read_255']:.2f}/255", f"{one[way]['sigma']:.1%}", f"{one[way]['within_2_errors']:.0%}",
            f"{one[way]['profiles']} of {one[way]['profiles'] + one[way]['refused']}",
        ]
        for name, one in result("profiles")["known"].items()
        for way in ("two frames", "five flats")
    ]  # fmt: skip
    columns = ["", "gain", "read", "error of gain", "of read", "of sigma", "within two standard errors", "profiles"]
    return table(columns, rows)


def profiles_real() -> str:
    found = result("profiles")
    rows = []
    for name, one in found["real"].items():
        told = ", ".join(f"{scene.rpartition('_')[0]} {ratio['sigma_ratio']:.2f}" for scene, ratio in one["scenes"].items())
        way = "two frames of a scene" if name == "FMD12" else "photographs, as if they were flats"
        rows.append([f"{name}, {way}", f"{len(one['scenes'])}", f"{len(one['refused'])}", told])
    return table(["", "profiles", "refused", "sigma told, as a share of the true one"], rows) + f"\n\n{found['machine']}."


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


def clipped() -> str:
    found = result("clipped")
    rows = [
        [f"`{name}`", when, *(f"{one['floats']:.2f} / {one['clipped']:.2f}" for one in scores.values())]
        for name, ways in found["models"].items()
        for when, scores in sorted(ways.items())
    ]
    sigmas = list(next(iter(found["models"].values()))["now"])
    about = f"Middles of the {found['pictures']} pictures of Kodak24, {found['side']} pixels a side, PSNR in dB: unclipped floats / the same clipped to [0, 1]."
    return table(["", "", *(f"sigma {sigma}" for sigma in sigmas)], rows) + f"\n\n{about}"


def folder() -> str:
    found = result("folder")
    rows = [
        [
            f"{name}, {way}", f"{one['seconds']:.1f}", f"{one['seconds_per_megapixel']:.2f}",
            f"{folder['ways']['one process']['seconds'] / one['seconds']:.2f}", f"{one['megabytes']}",
        ]
        for name, folder in found["folders"].items()
        for way, one in folder["ways"].items()
    ]  # fmt: skip
    about = f"Medians of {found['turns']}, by turns, start of the program included; memory of all processes together. {found['machine']}."
    return table(["", "s", "s/Mpixel", "times as fast as one process", "MB"], rows) + f"\n\n{about}"


def cluster() -> str:
    found = result("cluster")
    rows = [
        [
            way, f"{one['seconds_a_picture']:.2f}", f"{3600 / one['seconds_a_picture']:,.0f}", f"{one['start_seconds']:.1f}",
        ]
        for way, one in found["ways"].items()
    ]  # fmt: skip
    small = found["small"]
    held = [float(most) for tenth, most in small["megabytes_by_tenths"].items() if 1 <= int(tenth) <= 9]
    about = (
        f"Pictures of 1,024 x 1,024 pixels by `photo`, in gray, medians of {found['turns']}; the start is the program's, Ray's and its workers'. "
        f"{small['pictures']:,} pictures of 64 x 64 pixels by `photo-fast`, two workers: "
        f"{small['seconds']:.0f} s, {small['done']:,} done, {small['failed']:,} named as bad; in the tenths of the work {min(held):,.0f} to {max(held):,.0f} MB for all "
        f"processes, Ray's own included. {found['machine']}."
    )
    killed, ahead = found["killed"], found["read_ahead"]
    about += (
        f" Done again, {killed['workers_killed']} workers and once the command itself were killed, and the command was given again: the same bytes, "
        f"{killed['done'] + killed['skipped']:,} of {small['done']:,} done, {killed['failed']} named. Reading ahead files of {ahead['files']} MB together, with {ahead['store']} MB of memory for Ray to keep them in, wrote {ahead['spilled_at_most']} MB to the disk."
    )
    return table(["", "s/picture", "pictures an hour", "start, s"], rows) + f"\n\n{about}"


def cluster_costs() -> str:
    found = result("cluster")["costs"]
    sizes = (1, 12, 24, 48)
    rows = []
    for name, one in found.items():
        second = one["core_seconds"]
        hours = second * 12 * 1e6 / 3600
        rows.append(
            [
                f"`{name.partition(',')[0]}`,{name.partition(',')[2]}",
                f"{second:.2f}",
                *(f"{3600 / second / size:,.0f}" for size in sizes),
                f"{hours:,.0f}",
                f"{hours / 1600:.1f}",
            ]
        )
    return table(
        ["", "s/Mpixel", *(f"{size} Mpixel" for size in sizes), "core hours, a million of 12", "hours on 1,600 cores"], rows
    )


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


def recorded() -> str:
    found = result("recorded")
    keys = (("psnr", 2), ("bundled", 3), ("SqueezeNet", 0))
    rows = [
        [row["noise"], f"{row['lambda1']:g}", f"{row['lambda2']:g}", *(f"{row[key]:.{digits}f}" for key, digits in keys)]
        for row in found["rows"]
    ]
    about = f"Each `{found['model']}`, {found['steps']:,} steps; {found['bytes']:,} bytes in all."
    return table(["noise", "λ₁", "λ₂", "PSNR, dB", "bundled", "SqueezeNet"], rows) + f"\n\n{about}"


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


def serve() -> str:
    found = result("serve")
    keys = ("server_s", "command_line_s", "share", "lost", "wrong", "memory_mb")
    rows = [[f"{number}", *(f"{one[key]:.4g}" for key in keys)] for number, one in enumerate(found["rounds"], 1)]
    columns = [
        "round",
        "server, s",
        "command line, s",
        "throughput, times the command line's",
        "lost",
        "other bytes",
        "server's memory after, MB",
    ]
    about = (
        f"{found['files']} files of {found['side']} pixels a side, of four kinds, sent by {found['clients']} clients at a time; {found['threads']} threads. The goal is "
        f"{found['goals']['throughput_share']:.0%} of the command line's throughput. While {found['connections']} connections send a byte a second, a request takes "
        f"{found['among_ms']:.0f} ms instead of {found['alone_ms']:.0f}: {found['slow_times']:.2f} times (goal: {found['goals']['slow_times']}). {found['machine']}."
    )
    return table(columns, rows) + f"\n\n{about}"


def noisy_only(which: str = "noisy_only") -> str:
    found = result(which)
    least = found["arms"].get("clean", {}).get("psnr")
    rows = [
        [
            f"`{name}`" if name != "clean" else "clean pictures",
            f"{arm['psnr']:.2f}",
            f"{arm['psnr'] - least:+.2f}" if least else "",
            f"{arm['network_alone']:.2f}" if "network_alone" in arm else "",
            f"{arm['core_minutes_of_last_sitting']:.0f}" if "core_minutes_of_last_sitting" in arm else "",
            found["goals"].get(name, ""),
        ]
        for name, arm in found["arms"].items()
    ]
    rows.append(["BM3D, told sigma", f"{found['bm3d']:.2f}", f"{found['bm3d'] - least:+.2f}" if least else "", "", "", ""])
    about = f"{found['learned_from']} pictures of the training corpus, {found['steps']:,} steps each; {found['pictures']} pictures of BSD68, gray, sigma {found['sigma']}, PSNR in dB. {found['machine']}."
    columns = ["learned from", "PSNR", "to clean", "network alone", "core-minutes", "goal"]
    return table(columns, rows) + f"\n\n{about}"


def noisy_sets() -> str:
    sets = result("noisy_only")["sets"]
    names = ("noisy", "learned, without the fallback", "with the fallback", "real", "VST and BM3D", "bm3d")
    rows = [
        [name, f"{one['minutes']:g}", *(f"{one['psnr'][m]:.2f}" if m in one["psnr"] else "" for m in names)]
        for name, one in sets.items()
    ]
    said = "\n".join(f"- {name}: {one['sentence']}" for name, one in sets.items())
    return table(["PSNR, dB", "minutes", *names], rows) + f"\n\n{said}"


def fallback() -> str:
    found = result("fallback")

    def row(name: str, chosen: str, one: dict[str, Any]) -> list[str]:
        shares = (f"{one[way][key]:.0%}" for way in ("folder", "alone") for key in ("right", "within_0.1_dB"))
        return [
            name,
            chosen,
            *shares,
            f"{one['folder']['mean_loss_where_wrong']:.2f}",
            f"{one['alone']['mean_loss_where_wrong']:.2f}",
        ]

    rows = [row(name, f"`{one['chosen']}`", one) for name, one in found["noises"].items()]
    rows.append(row("all", "", found["summary"]))
    columns = [
        "noise",
        "chosen",
        "right",
        "within 0.1 dB",
        "right, each alone",
        "within 0.1 dB",
        "mean loss where wrong, dB",
        "each alone",
    ]
    learned = f"Learned for {found['minutes']:g} minutes of one thread from the folder of 24 pictures; {found['machine']}."
    return table(columns, rows) + f"\n\n{learned}"


def growing() -> str:
    found = result("growing")
    rows = [
        [one["pictures"], f"{one['gain']:g}", *(f"{one[name]:.2f}" for name in ("noisy", "photo", "real"))]
        for one in found["rows"]
    ]
    return (
        table(["pictures", "gain", "noisy", "`photo`", "`real`"], rows)
        + f"\n\nPSNR in dB, {found['crops']} crops of the corpus, read noise {found['read']}."
    )


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


def doctor_confusion() -> str:
    found = result("doctor")["confusion"]["found"]
    columns = [*found, "several"]
    rows = [[made, *(f"{seen[told]}" if told in seen else "" for told in columns)] for made, seen in found.items()]
    right = sum(seen.get(made, 0) for made, seen in found.items())
    whole = sum(sum(seen.values()) for seen in found.values())
    return table(["made", *columns], rows) + f"\n\nTold right: {right} of {whole}, {right / whole:.1%}."


def doctor_rule() -> str:
    found = result("doctor_rule")
    rows = [
        [kind, f"{one['above the limit']['clean']:.1%}", f"{one['above the limit']['noisy']:.1%}"]
        for kind, one in (("in colour", found["channels"]["3"]), ("gray", found["channels"]["1"]))
    ]
    about = f"{found['pictures']} photographs in seven versions each, by weights that were learned without them. The camera's noise has sigma 2.5/255 to 16/255, and JPEG from none to quality 70."
    return table(["picture", "clean, taken for noisy", "with a camera's noise, found"], rows) + f"\n\n{about}"


def gains() -> str:
    found = result("gains")["gains"]
    rows = [
        [f"`{model}`", f"`{noise}`", f"{one['strength']:.3g}", f"{one['gain']:.1f}", f"{one['spread']:.1f}"]
        for model, noises in found.items()
        for noise, one in noises.items()
    ]
    return table(["model", "noise", "strength, by the doctor", "PSNR added, dB", "standard deviation"], rows)


def doctor_clean() -> str:
    found = result("doctor")
    rows = [
        [name, side, f"{one['pictures']}", f"{one['left_alone']:.1%}"]
        for side, sets in (("clean", found["clean"]), ("noisy", found["real"]))
        for name, one in sets.items()
    ]
    clean = found["clean"].values()
    left = sum(one["pictures"] * one["left_alone"] for one in clean) / sum(one["pictures"] for one in clean)
    unseen = [one for name, one in found["clean"].items() if name != "training corpus"]
    held = sum(one["pictures"] * one["left_alone"] for one in unseen) / sum(one["pictures"] for one in unseen)
    taken = ", ".join(f"{name} {one['cpu']:.2f} ({one['wall']:.2f})" for name, one in found["seconds_12_megapixels"].items())
    about = f"Of all clean pictures {left:.1%} are left alone, without the training corpus {held:.1%}. Seconds of the processor (and by the clock) for 12 megapixels in colour, the goal being 0.5: {taken}. {found['machine']}."
    return table(["set", "", "pictures", "left alone"], rows) + f"\n\n{about}"


TABLES: dict[str, Callable[[], str]] = {
    "demo": demo,
    "noise": noise,
    "camera": camera,
    "profiles_known": profiles_known,
    "profiles_real": profiles_real,
    "step_time": step_time,
    "minutes": minutes,
    "sweep": sweep,
    "optimisers": optimisers,
    "processes": processes,
    "folder": folder,
    "cluster": cluster,
    "cluster_costs": cluster_costs,
    "clipped": clipped,
    "cache": cache,
    "startup": startup,
    "denoise": denoise,
    "files": files,
    "large": large,
    "int8": int8,
    "tuning": tuning,
    "perceptual": perceptual,
    "perceptual_step": perceptual_step,
    "recorded": recorded,
    "soak": soak,
    "serve": serve,
    "noisy_only": noisy_only,
    "noisy_only_trial": lambda: noisy_only("noisy_only_trial"),
    "noisy_sets": noisy_sets,
    "fallback": fallback,
    "growing": growing,
    "doctor_sigma": doctor_sigma,
    "doctor_shares": doctor_shares,
    "doctor_kinds": doctor_kinds,
    "doctor_clean": doctor_clean,
    "doctor_confusion": doctor_confusion,
    "doctor_rule": doctor_rule,
    "gains": gains,
    **table_quality.TABLES,
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
