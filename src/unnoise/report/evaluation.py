"""The page of `unnoise evaluate`: the verdict, the methods, how their scores are spread, and every picture, worst first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..noise import brief
from .html import SCRIPT, document, table, text
from .picture import SIDE, fitting, section, shown
from .plots import dots

Document = dict[str, Any]  # report.json, or a part of it
BUDGET = 26e6  # bytes of crops in a page; as text they take a third more
WORST = 3
PERCENT = "95\u00a0%"  # which no line breaks


def evaluation_page(report: Document, folder: Path) -> str:
    """The HTML page of an evaluation, complete in itself.

    report: what report.json holds. folder: where its paths of crops start; a crop that is not there is left out, and said to be.
    The page stays below about 40 MB: crops get smaller, down to 128 pixels a side, and then the pictures that come last go
    without. Raises ImageError if a crop cannot be read.
    """
    cases = report["cases"]
    models = dict.fromkeys(method["name"] for case in cases for method in case["methods"] if method["kind"] == "model")
    title = f"Evaluation of {' and '.join(models) or 'classical methods'}"
    parts = [
        f"<h1>{text(title)}</h1>",
        _verdict(report),
        _absent(report),
        _notes(report),
        _contents(cases),
    ]
    for number, case in enumerate(cases):
        verdict = "" if case["verdict"] == report["verdict"] else _verdict(case)
        parts += [
            f'<h2 id="case{number}">{text(_noise(case))}</h2>{verdict}',
            f'<h3 id="methods{number}">Methods</h3>{_methods(case, report["metrics"])}{_parameters(case)}',
            f'<h3 id="spread{number}">How the scores are spread</h3>{_spread(case)}',
            _pictures(case, number, folder, BUDGET / len(cases), report["metrics"]),
        ]
    return document(title, "\n".join([*parts, _figures(report["metrics"]), _settings(report)]), SCRIPT)


def _verdict(of: Document) -> str:
    return f'<p class="verdict">{text(of["verdict"].replace("95 %", PERCENT))}</p>'


def _absent(report: Document) -> str:
    names = "; ".join(f"{text(peer['method'])} ({text(peer['reason'])})" for peer in report.get("absent", []))
    return f"<p>Not compared with, so not claimed to be beaten: {names}.</p>" if names else ""


def _notes(report: Document) -> str:
    """What to keep in mind: pictures that were not clean, or saturated; a gray model on colour."""
    notes = "".join(f"<li>{text(note)}</li>" for note in report.get("notes", []))
    return f"<ul>{notes}</ul>" if notes else ""


def _contents(cases: Sequence[Document]) -> str:
    links = [(f"case{number}", _noise(case)) for number, case in enumerate(cases)]
    if len(cases) == 1:
        links = [("methods0", "Methods"), ("spread0", "Spread"), ("pictures0", "Pictures")]
    links += [("figures", "What the figures mean"), ("settings", "Settings and versions")]
    items = "".join(f'<li><a href="#{at}">{text(name)}</a></li>' for at, name in links)
    return f'<nav aria-label="On this page"><ul>{items}</ul></nav>'


def _noise(case: Document) -> str:
    return "Pairs with real noise" if case["noise"] == "pairs" else f"Noise {brief(case['noise'])}"


def _methods(case: Document, metrics: Document) -> str:
    """The table of means, by PSNR; its rows are two lines high, also on a phone."""
    psnrs = {method["name"]: method["mean"].get("psnr") for method in case["methods"]}
    ranked = sorted(psnrs, key=lambda name: math.inf if psnrs[name] is None else -float(psnrs[name]))
    rows = []
    for method in sorted(case["methods"], key=lambda method: ranked.index(method["name"])):
        kind = "nothing done" if method["kind"] == "none" else method["kind"]
        kind = f"best {kind}" if method["name"] == case.get("best_classical") else kind
        seconds = method.get("seconds_per_megapixel")
        rows.append(
            [
                f"{text(method['name'])}<small>{text(kind)}</small>",
                *(_mean(case, method, name, metric) for name, metric in metrics.items()),
                "n/a" if seconds is None else f"{seconds:.2f}",
            ]
        )
    columns = [
        "method",
        *(_heading(metric) for metric in metrics.values()),
        "seconds a megapixel<small>lower is better</small>",
    ]
    count = len(case["pictures"])
    return table(f"Means over {count} picture{'s' * (count != 1)}, with {PERCENT} bootstrap intervals", columns, rows)


def _heading(metric: Document) -> str:
    words = ", ".join(filter(None, (metric["title"], metric["unit"])))
    return text(words) + (f"<small>{metric['better']} is better</small>" if metric["better"] else "")


def _mean(case: Document, method: Document, name: str, metric: Document) -> str:
    """A cell: the mean, whether it is the best of its column, and the interval."""
    decimals, best = metric["decimals"], {"higher": max, "lower": min}.get(metric["better"])
    mean, interval = method["mean"].get(name), (method.get("interval") or {}).get(name)
    others = [float(other["mean"][name]) for other in case["methods"] if other["mean"].get(name) is not None]
    words = shown(mean, decimals)
    if mean is not None and best and float(mean) == best(others):
        words = f"<b>{words}, best</b>"
    return words + (f"<small>{shown(interval[0], decimals)} to {shown(interval[1], decimals)}</small>" if interval else "")


def _parameters(case: Document) -> str:
    """What each method was called with, and what that was tuned on, folded away."""
    told = ""
    for method in case["methods"]:
        given = _listed(method.get("parameters") or {}) or "none"
        tuned = f"; tuned on {method['tuned_on']}" if method.get("tuned_on") else ""
        told += f"<dt>{text(method['name'])}</dt><dd>{text(given + tuned)}</dd>"
    return f"<details><summary>The parameters of each method</summary><dl>{told}</dl></details>"


def _listed(parameters: Document) -> str:
    """As in `gray (h = 0.8, patch = 5), colour (h = 0.6)`."""
    return ", ".join(f"{k} ({_listed(v) or 'none'})" if isinstance(v, dict) else f"{k} = {v}" for k, v in parameters.items())


def _spread(case: Document) -> str:
    """Dots of the dB over the best classical method, where there is one, and of every method's PSNR."""
    names, over = [method["name"] for method in case["methods"]], case.get("best_classical")
    noisy = {method["name"] for method in case["methods"] if method["kind"] == "none"}
    psnrs = {name: _values(case, name, None) for name in names}
    plots = dots("PSNR of each method, a dot for each picture", "PSNR, dB", psnrs)
    if over is not None:
        above = {name: _values(case, name, over) for name in names if name != over and name not in noisy}
        title = f"PSNR over {over}, the best classical method, a dot for each picture"
        plots = dots(title, f"PSNR above that of {over}, dB", above, zero=True) + plots
    words = "A dot is a picture; the box holds the middle half of them, the thick line is the median."
    words += " Left of the dashed line the classical method is better." * (over is not None)
    return f'<p class="quiet">{words}</p><div class="plots">{plots}</div>'


def _values(case: Document, name: str, over: str | None) -> list[tuple[float, str]]:
    values = [(decibels_over(picture, name, over), picture["name"]) for picture in case["pictures"]]
    return [(value, label) for value, label in values if value is not None and math.isfinite(value)]


def decibels_over(picture: Document, name: str, over: str | None) -> float | None:
    """PSNR of one method above that of another, in dB, or its PSNR where there is no other. Two exact results are equal."""
    found = [picture["scores"].get(method, {}).get("psnr") for method in (name, over) if method is not None]
    if None in found:
        return None
    first, second = float(found[0]), float(found[1]) if len(found) > 1 else 0.0
    return 0.0 if first == second else first - second


def compared(case: Document) -> tuple[str, str | None]:
    """(method, rival): the first model and the best classical method; a rival short, the noisy picture; or none at all."""
    of_kind: dict[str, list[str]] = {}
    for method in case["methods"]:
        of_kind.setdefault(method["kind"], []).append(method["name"])
    rivals = [name for name in (case.get("best_classical"), *of_kind.get("none", [])) if name is not None]
    names = [name for kind in ("model", "bundled", "classical", "none") for name in of_kind.get(kind, [])]
    return names[0], next((name for name in rivals if name != names[0]), None)


def _pictures(case: Document, number: int, folder: Path, budget: float, metrics: Document) -> str:
    """Every picture: all in a table, then where the first method is worst, then the others in the order of the data."""
    method, rival = compared(case)
    above = [decibels_over(picture, method, rival) for picture in case["pictures"]]
    ranked = [index for _, index in sorted((math.inf if value is None else value, index) for index, value in enumerate(above))]
    order = ranked[:WORST] + sorted(ranked[WORST:])
    pictures = [case["pictures"][index] for index in order]
    side, count = fitting(pictures, folder, budget)
    meant = f"PSNR of {text(method)}" + (f" minus that of {text(rival)}" if rival else "")
    sections = [
        section(
            picture, f"case{number}-{index}", f"{meant}: {_decibels(above[index])}.", ("noisy", method), folder, side, metrics
        )
        for index, picture in zip(order[:count], pictures, strict=False)
    ]
    more = len(order) > WORST
    parts = [f'<h3 id="pictures{number}">{f"The worst {WORST} pictures" if more else "The pictures, worst first"}</h3>']
    whole = f"Scores are of whole pictures, the crops at 1:1.{_less(side, count, len(order))}"
    parts.append(f"<p>Worst is where this is least: {meant}. {whole} An error map is the absolute difference from clean.</p>")
    parts += sections[:WORST]
    if more:
        parts += ["<h3>The other pictures, in the order of the data</h3>", *sections[WORST:]]
    return "\n".join([_every(case, number, set(order[:count])), *parts])


def _decibels(value: float | None) -> str:
    return "not defined" if value is None else f"{'+' * (value > 0)}{shown(value)} dB"


def _less(side: int, count: int, all_of_them: int) -> str:
    """What is said where the page does not hold all crops whole."""
    words = f" To keep this page small, crops are cut to {side} pixels a side" if side < SIDE else ""
    if count < all_of_them:
        words += f", and {all_of_them - count} pictures are without"
    return words + "; the folder crops beside it has them all." if words else ""


def _every(case: Document, number: int, linked: set[int]) -> str:
    names = [method["name"] for method in case["methods"]]
    rows = [
        [
            f'<a href="#case{number}-{index}">{text(picture["name"])}</a>' if index in linked else text(picture["name"]),
            *(shown(picture["scores"].get(name, {}).get("psnr")) for name in names),
        ]
        for index, picture in enumerate(case["pictures"])
    ]
    listed = table(f"PSNR in dB, {_noise(case)}", ["picture", *map(text, names)], rows)
    return f"<details><summary>The PSNR of every picture as a table</summary>{listed}</details>"


def _figures(metrics: Document) -> str:
    """Definition, range and source of each metric."""
    told = []
    for metric in metrics.values():
        better = f"{metric['better']} is better" if metric["better"] else ""
        facts = (metric["definition"], better, metric["range"], metric["source"] and f"source: {metric['source']}")
        told.append(
            f"<dt>{text(metric['title'])}</dt><dd>{text('; '.join(filter(None, facts)) or 'no more is known of it')}.</dd>"
        )
    return f'<h2 id="figures">What the figures mean</h2><dl>{"".join(told)}</dl>'


def _settings(report: Document) -> str:
    versions = ", ".join(f"{text(name)} {text(version)}" for name, version in report["versions"].items())
    facts = {
        "Command": f"<code>{text(report['command'])}</code>" if report["command"] else "",
        "Date": text(report["date"]),
        "Machine": text(report["machine"]),
        "Versions": f"unnoise {text(report['unnoise'])}, {versions}",
        "Seed of the noise": text(report["seed"]),
        "Pictures left out": "; ".join(f"{text(file['source'])} {text(file['reason'])}" for file in report.get("left_out", [])),
        "Scores": "of results clipped to [0, 1] and not rounded. Intervals: " + PERCENT + ", by bootstrap over the pictures. "
        "n/a: not defined for so small a picture; ∞: equal to the clean picture.",
        "The same as data": '<a href="report.json">report.json</a>, <a href="report.csv">report.csv</a>, beside this page',
    }
    items = "".join(f"<dt>{name}</dt><dd>{words}</dd>" for name, words in facts.items() if words)
    return f'<h2 id="settings">Settings and versions</h2><dl>{items}</dl>'
