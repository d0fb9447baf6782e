"""The two pages: they stand alone, their figures are true, their crops are at 1:1, and names in them stay text."""

import base64
import copy
import hashlib
import io
import math
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from evaluations import HOSTILE, METHODS, OVER_NLM, WORST_FIRST, evaluation
from PIL import Image
from skimage.metrics import structural_similarity

from unnoise import figures, report
from unnoise.demo import curves
from unnoise.errors import ImageError
from unnoise.keeper import Progress
from unnoise.report import evaluation as module
from unnoise.report import plots

TAGS = {
    *"html head meta title style body main h1 h2 p div table caption span thead tbody tr th td figure img figcaption b br".split()  # noqa: SIM905
}
COLUMNS, ROWS = ("noise", "noisy", "denoised"), [("gaussian:25/255", "20.17", "28.70"), ("masking:0.3", "9.10", "25.00")]


class Page(HTMLParser):
    """What a browser makes of a page: (tag, attributes) in order, and the text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def example(shape=(150, 200, 3), photo="cat.png", noise="gaussian:25/255"):
    """A picture whose right half has the detail, with a noisy one that leaves [0, 1] and a restored one."""
    rng = np.random.default_rng(3)
    clean = np.full(shape, 0.9, np.float32)
    clean[:, shape[1] // 2 :] = rng.random((shape[0], shape[1] - shape[1] // 2, *shape[2:]))
    noisy = clean + 0.1 * rng.standard_normal(shape, np.float32)
    return report.Example(photo, noise, {"clean": clean, "noisy": noisy, "denoised": 0.5 * (clean + noisy)})


def page_of(*examples, curves=""):
    return report.page("What it learned", "A few words.", COLUMNS, ROWS, curves, examples)


def decoded(uri):
    head, _, content = uri.partition(",")
    return head, Image.open(io.BytesIO(base64.b64decode(content, validate=True)))


@pytest.mark.parametrize("shape", [(150, 200, 3), (150, 200), (64, 300), (40, 60, 3)])
def test_page_stands_alone(shape):
    """Fails if the page needs the network or a file beside it, or a picture in it cannot be opened."""
    curve = figures.curve([(1, 0.3), (2, 0.2)], "cost", "step")
    html = page_of(example(shape), curves=curve)
    assert not re.search(r"https?:|src=.?//|url\(|@import", html, re.IGNORECASE)
    page = Page(html)
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "base", "object")
        assert attributes.get("src", "data:image/").startswith("data:image/")
        assert not {"href", "srcset", "data", "action"} & attributes.keys()
    pictures = [decoded(attributes["src"]) for attributes in page.all("img")]
    assert len(pictures) == 2 * 3  # each of the three whole, and its crop
    for head, picture in pictures:
        picture.load()
        assert head == f"data:image/{picture.format.lower()};base64"


@pytest.mark.parametrize("shape", [(150, 200, 3), (150, 200), (64, 300), (40, 60, 3)])
def test_crops_are_at_one_to_one_and_of_one_place(shape):
    """Fails if a crop is scaled by the page, lossy, or of another place than its neighbours; 8 bits round by 1/510."""
    shown = example(shape)
    page = Page(page_of(shown))
    crops = [attributes for attributes in page.all("img") if attributes.get("class") == "crop"]
    side = min(128, *shape[:2])
    arrays = []
    for attributes in crops:
        _, picture = decoded(attributes["src"])
        assert picture.format == "PNG"
        assert (int(attributes["width"]), int(attributes["height"])) == picture.size == (side, side)
        arrays.append(np.asarray(picture) / 255)
    clean = shown.pictures["clean"]
    places = [
        (top, left)
        for top in range(shape[0] - side + 1)
        for left in range(shape[1] - side + 1)
        if np.abs(clean[top : top + side, left : left + side] - arrays[0]).max() < 1 / 509
    ]
    assert len(places) == 1
    top, left = places[0]
    for array, picture in zip(arrays, shown.pictures.values(), strict=True):
        expected = np.clip(picture[top : top + side, left : left + side], 0, 1)
        np.testing.assert_allclose(array, expected, rtol=0, atol=1 / 509)
    assert left + side / 2 >= shape[1] / 2  # where the detail is: the left half is flat


@pytest.mark.parametrize("shape", [(150, 200, 3), (60, 70)])
def test_figures_under_the_pictures_are_true(shape):
    """Fails if a score is of the unclipped picture, of another one, or of the crop; PSNR by definition, SSIM by skimage."""
    shown = example(shape)
    clean, noisy, denoised = shown.pictures.values()
    text = " ".join(Page(page_of(shown)).text)
    found = re.findall(r"(\w+) PSNR ([\d.]+) dB, SSIM ([\d.]+)", text)
    assert [name for name, _, _ in found] == ["noisy", "denoised"]
    for (_, psnr, ssim), picture in zip(found, (noisy, denoised), strict=True):
        clipped = np.clip(picture, 0, 1).astype(np.float64)
        expected = structural_similarity(
            clipped,
            clean.astype(np.float64),
            data_range=1,
            gaussian_weights=True,
            use_sample_covariance=False,
            channel_axis=2 if len(shape) == 3 else None,
        )
        assert float(psnr) == pytest.approx(-10 * np.log10(np.mean((clipped - clean) ** 2)), abs=0.0051)  # 2 decimals
        assert float(ssim) == pytest.approx(expected, abs=0.00051)  # 3 decimals
    assert text.count("the photo as it is") == 1


def test_table_is_whole():
    """Fails if a row, a column or its order is lost."""
    page = Page(page_of(example()))
    cells = [text for text in page.text if text in {*COLUMNS, *(cell for row in ROWS for cell in row)}]
    assert cells[: 3 * 3] == [*COLUMNS, *ROWS[0], *ROWS[1]]
    assert (len(page.all("th")), len(page.all("td"))) == (3 + 2, 4)  # the first of a row heads it


def test_names_stay_text():
    """Fails if a file's name, a noise or a cell can put a tag or an attribute into the page."""
    name = '"><script>alert(1)</script><img src=x onerror=alert(2)>.png'
    shown = example((20, 20), photo=name, noise="<b>'&")
    shown.pictures[name] = shown.pictures.pop("noisy")
    page = Page(report.page(name, name, [name], [[name]], "", [shown]))
    assert {tag for tag, _ in page.tags} <= TAGS
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert len(page.all("img")) == 6
    assert "".join(page.text).count(name) == 7  # title, heading, words, the table's two cells, section and caption
    assert f"{name}, clean" in [attributes["alt"] for attributes in page.all("img")]


@pytest.mark.parametrize("points", [[(5, 0.25)], [(1, 2.0), (2, 2.0)], [(s, 1 / s) for s in range(1, 41)]])
def test_curve_has_every_point(points):
    """Fails if a point is dropped, a constant or single one divides by zero, or a point leaves the drawing or its order."""
    svg = figures.curve(points, "cost", "step", width=460, height=220)
    page = Page(svg)
    (line,) = page.all("polyline")
    drawn = [tuple(map(float, pair.split(","))) for pair in line["points"].split()]
    assert len(drawn) == len(points)
    assert all(0 <= x <= 460 and 0 <= y <= 220 for x, y in drawn)
    assert all(a[0] < b[0] for a, b in pairwise(drawn))
    falls = [a[1] > b[1] for a, b in pairwise(points)]
    assert [a[1] < b[1] for a, b in pairwise(drawn)] == falls  # SVG counts downward
    marked = [(float(dot["cx"]), float(dot["cy"])) for dot in page.all("circle")]
    assert marked == (drawn if len(points) <= 20 else [])
    text = " ".join(page.text)
    assert "cost" in text
    assert f"step {points[-1][0]}" in text


@pytest.mark.parametrize("last", [3, 4])
def test_the_curves_of_the_demo(last):
    """Fails if PSNR has a point where it was not measured, the cost has fewer than were told, or two scores pass for a curve."""
    told = [
        Progress(step, 4, math.nan if step == 2 else 1 / step, {}, 20.0 + scored, 1e6, 1.0, scored_step=scored)
        for step, scored in [(1, 1), (2, 1), (3, 3), (4, 4)][:last]
    ]
    cost, *psnr = (line["points"].split() for line in Page(curves(told)).all("polyline"))
    assert len(cost) == last - 1
    assert [len(points) for points in psnr] == ([3] if last == 4 else [])


def test_no_points_no_curve():
    """Fails if a run that was too short for a report breaks the page."""
    assert figures.curve([], "cost", "step") == ""


def test_side_by_side_keeps_every_pixel():
    """Fails if pictures are resized, overlap, or a gray one among colour breaks the row; the gap is white."""
    gray, colour = np.full((8, 5), 0.25, np.float32), np.full((8, 7, 3), 0.5, np.float32)
    row = figures.side_by_side([gray, colour], gap=2)
    assert row.shape == (8, 14, 3)
    assert (row[:, :5] == 0.25).all()
    assert (row[:, 5:7] == 1).all()
    assert (row[:, 7:] == 0.5).all()


def judged(tmp_path, change=lambda document: None, **options):
    """(the document, its page) of the small evaluation, after a change."""
    document = evaluation(tmp_path, **options)
    change(document)
    return document, report.evaluation_page(document, tmp_path)


def headings(html):
    """(level, words) of each heading."""
    return [(int(level), re.sub("<[^>]*>", "", words)) for level, words in re.findall(r"<h(\d)[^>]*>(.*?)</h\1>", html, re.S)]


def test_evaluation_stands_alone_and_its_policy_is_its_own(tmp_path):
    """Fails if anything is outside but the links to the same as data, or the policy lets in more than this style and script."""
    _, html = judged(tmp_path)
    page = Page(html)
    assert [a["href"] for a in page.all("a") if not a["href"].startswith("#")] == ["report.json", "report.csv"]
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "base", "object", "form")
        assert attributes.get("src", "data:image/png;").startswith("data:image/png;")
        assert not {"srcset", "data", "action", "style"} & attributes.keys()
        assert not [key for key in attributes if key.startswith("on")]
    (policy,) = (a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    allowed = {words.split()[0]: words.split()[1:] for words in policy.split(";")}
    for name in ("style", "script"):
        (content,) = re.findall(rf"<{name}>(.*?)</{name}>", html, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert allowed.pop(f"{name}-src") == [f"'sha256-{digest}'"]
    assert allowed == {"default-src": ["'none'"], "base-uri": ["'none'"], "form-action": ["'none'"], "img-src": ["data:"]}


def test_worst_pictures_come_first(tmp_path):
    """Fails if the order is not the least three differences and then that of the data, or the difference beside a name is another's."""
    document, html = judged(tmp_path)
    names = [document["cases"][0]["pictures"][index]["name"] for index in WORST_FIRST]
    assert [words for level, words in headings(html) if level == 4] == names
    stated = re.findall(r"PSNR of run minus that of nlm: ([-+\d.]+) dB", html)
    assert stated == [f"{OVER_NLM[index]:+.2f}" for index in WORST_FIRST]
    parts = [words for level, words in headings(html) if level == 3]
    assert parts == [
        "Methods",
        "How the scores are spread",
        "The worst 3 pictures",
        "The other pictures, in the order of the data",
    ]


def test_verdict_comes_first_and_headings_are_in_order(tmp_path):
    """Fails if something stands above the verdict but the title, a level of heading is left out, or a label leads nowhere."""
    document, html = judged(tmp_path, lambda document: document["cases"].append(copy.deepcopy(document["cases"][0])))
    body = html[html.index("<main>") :]
    assert re.match(
        r'<main>\s*<h1>Evaluation of run and older</h1>\s*<p class="verdict">run is no better than nlm here.</p>', body
    )
    levels = [level for level, _ in headings(html)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {a["href"][1:] for a in page.all("a") if a["href"].startswith("#")} <= set(ids)
    assert {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a} <= set(ids)
    assert "Not compared with, so not claimed to be beaten: bm3d (is not installed)." in html
    assert 2 * len(document["cases"]) == len(page.all("details"))  # the parameters, and the PSNR of every picture


def test_a_screen_reader_is_told_everything(tmp_path):
    """Fails if a picture has no words, a table no caption or scope, or an input no label; colour is never the only sign."""
    _, html = judged(tmp_path)
    page = Page(html)
    assert all(a["scope"] in ("col", "row") for a in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table")) == 2
    assert all(a["alt"] for a in page.all("img") if a.get("class") == "crop")
    assert all(a["aria-label"] for a in page.all("input") + page.all("svg") if "x" not in a)
    assert len(page.all("label")) == len(page.all("select")) == 2 * 5
    label = page.all("svg")[0]["aria-label"]
    assert label.startswith(
        "PSNR over nlm, the best classical method, a dot for each picture. run: from -2.00 to 1.00, median 0.12;"
    )
    assert html.count(", best</b>") == 3  # of PSNR, SSIM and distance; nobody has an MS-SSIM


def test_table_of_methods_is_the_document(tmp_path):
    """Fails if a mean, an interval, a time or a setting is another method's, or the nothing that MS-SSIM is looks like a number."""
    _, html = judged(tmp_path)
    (row,) = re.findall(r'<tr><th scope="row">nlm<small>best classical</small></th>(.*?)</tr>', html)
    cells = [" ".join(re.sub("<[^>]*>", " ", cell).split()) for cell in re.findall("<td>(.*?)</td>", row)]
    assert cells == [
        "28.00, best 27.50 to 28.50",
        "0.700, best 0.500 to 0.800",
        "n/a",
        "0.125 0.0625 to 0.250",
        "0.31",
    ]
    assert list(column(html, "PSNR, dB")) == ["nlm", "run", "older", "median", "noisy"]  # the best first, as in the terminal
    folded = re.findall("<details>(.*?)</details>", html, re.S)[0]
    assert "<dt>nlm</dt><dd>gray (h = 0.8, patch = 5), size = 3; tuned on other photos</dd>" in folded
    assert "Means over 5 pictures, with 95\u00a0% bootstrap intervals" in html
    for words in (
        "unnoise evaluate run --clean c --noise gaussian:25/255",
        "2026-11-25",
        "two threads",
        "numpy 2.4.6",
        "x.txt is no picture",
    ):
        assert words in html


def column(html, heading):
    """The cells below a heading of the first table, by method, without their intervals."""
    table = re.sub("<small>.*?</small>", "", html[html.index("<table>") : html.index("</table>")])
    place = re.findall('<th scope="col">(.*?)</th>', table).index(heading) - 1
    rows = re.findall('<tr><th scope="row">(.*?)</th>(.*?)</tr>', table)
    return {name: re.findall("<td>(.*?)</td>", cells)[place] for name, cells in rows}


@pytest.mark.parametrize(("better", "best"), [("lower", "run"), ("higher", "median"), ("", None)])
def test_the_best_of_a_metric_is_by_its_direction(better, best, tmp_path):
    """Fails if the worst distance is called the best, or one is the best by a metric whose direction nobody has told."""
    _, html = judged(tmp_path, lambda document: document["metrics"]["perceptual"].update(better=better))
    means = {"noisy": "0.500", "run": "0.0625", "older": "0.250", "nlm": "0.125", "median": "1234"}
    expected = {name: f"<b>{mean}, best</b>" if name == best else mean for name, mean in means.items()}
    assert column(html, "Perceptual distance") == expected
    assert column(html, "PSNR, dB")["nlm"] == "<b>28.00, best</b>"
    assert ("Perceptual distance<small>lower is better</small>" in html) == (better == "lower")
    assert html.count("<small>lower is better</small>") == 1 + (better == "lower")  # that of seconds


def test_every_metric_is_explained(tmp_path):
    """Fails if the page lacks what a metric is, which way is better, its range or where it is from, or a metric that came without words."""

    def bare(document):
        document["metrics"]["<worst>"] = {
            **dict.fromkeys(document["metrics"]["psnr"], ""),
            "title": "<worst>",
            "decimals": None,
        }

    _, html = judged(tmp_path, bare)
    found = dict(re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", html[html.index('<h2 id="figures">') :]))
    assert found["Perceptual distance"] == "how unlike it looks; lower is better; from 0; source: Johnson et al. 2016."
    assert found["PSNR"].startswith("-10 log10 of the mean squared error")
    assert "higher is better" in found["SSIM"]
    assert "doi:10.1109/ACSSC.2003.1292216" in found["MS-SSIM"]
    assert found["&lt;worst&gt;"] == "no more is known of it."


def test_every_metric_is_under_its_crop(tmp_path):
    """Fails if a picture's own distance is not told, or is another method's."""
    _, html = judged(tmp_path)
    words = " ".join(Page(html).text)
    assert words.count("Perceptual distance 0.0625") == 5
    assert re.search(r"older PSNR 27.50 dB SSIM 0.688 MS-SSIM n/a Perceptual distance 0.250", words)


def test_crops_are_the_files(tmp_path):
    """Fails if a crop is scaled, of another method, or changed; each has the size on the page that its file has."""
    document, html = judged(tmp_path)
    crops = [a for a in Page(html).all("img") if a.get("class") == "crop"]
    files = [path for index in WORST_FIRST for path in document["cases"][0]["pictures"][index]["crops"].items()]
    for attributes, (method, path) in zip(crops, files, strict=True):
        _, picture = decoded(attributes["src"])
        with Image.open(tmp_path / path) as expected:
            np.testing.assert_array_equal(np.asarray(picture), np.asarray(expected))
            assert (int(attributes["width"]), int(attributes["height"])) == expected.size
            clean = np.asarray(Image.open(tmp_path / f"{path.rpartition('-')[0]}-0.png"), float)
            error = np.abs(np.asarray(expected, float) - clean).mean() / 255
        assert attributes["data-name"] == method
        assert float(attributes["data-error"]) == pytest.approx(error, abs=5.1e-5)  # 4 decimals


def test_hostile_names_stay_text(tmp_path):
    """Fails if a name, wherever it stands, becomes a tag, breaks an attribute, or cannot be written as UTF-8."""
    names = dict(zip(HOSTILE, METHODS.values(), strict=True))

    def everywhere(document):
        for place in (document, document["cases"][0]):
            place["verdict"] = HOSTILE[0]
        document["cases"][0]["noise"] = document["command"] = document["machine"] = HOSTILE[1]
        document["absent"][0] = document["left_out"][0] = dict.fromkeys(("method", "reason", "source"), HOSTILE[2])
        document["versions"] = document["cases"][0]["methods"][1]["parameters"] = {HOSTILE[4]: HOSTILE[0]}

    _, plain = judged(tmp_path)
    _, html = judged(tmp_path, everywhere, names=HOSTILE, methods=names)
    html.encode()
    assert [tag for tag, _ in Page(html).tags if tag not in ("div", "br")] == [
        tag for tag, _ in Page(plain).tags if tag not in ("div", "br")
    ]
    words = [words for level, words in headings(html) if level == 4]
    assert "two\\nlines\\r\\tand \\x1b[31m a terminal&#x27;s, \\x00 none.png" in words
    assert "half a pair \\udcff and its \\ud83d other, \\u202egnp.txt" in words
    assert "alert(1)" in Page(html).all("img")[4]["alt"] + "".join(a["alt"] for a in Page(html).all("img"))


@pytest.mark.parametrize("psnr", [None, "inf"])
def test_scores_that_are_no_numbers(psnr, tmp_path):
    """Fails if a missing or infinite score breaks the page, is ranked as the worst, or is drawn."""

    def without(document):
        for score in document["cases"][0]["pictures"][3]["scores"].values():
            score.update(psnr=psnr, ssim=None)
        document["cases"][0]["methods"][0]["mean"] = dict.fromkeys(("psnr", "ssim", "ms_ssim"))
        document["cases"][0]["methods"][0].update(interval=None, seconds_per_megapixel=None)

    _, html = judged(tmp_path, without)
    first = [words for level, words in headings(html) if level == 4][:3]
    assert first == {None: ["c.png", "dot.png", "d.png"], "inf": ["c.png", "e.png", "dot.png"]}[psnr]  # equals differ by 0 dB
    assert ("nan" in " ".join(Page(html).text), "PSNR n/a dB" in html, "PSNR ∞ dB" in html) == (
        False,
        psnr is None,
        psnr == "inf",
    )
    assert html.count("<circle") == (5 if psnr else 4) * 3 + 4 * 5


def test_model_without_a_rival_and_a_rival_without_a_model(tmp_path):
    """Fails if an evaluation without classical methods, or without a model, has no page or claims a comparison."""

    def alone(document):
        case = document["cases"][0]
        case["methods"] = [method for method in case["methods"] if method["kind"] != "classical"]
        case["best_classical"] = None

    def classical(document):
        case = document["cases"][0]
        case["methods"] = [method for method in case["methods"] if method["kind"] != "model"]

    _, html = judged(tmp_path, alone)
    assert "PSNR of run minus that of noisy" in html
    assert "classical" not in html.lower().replace("--clean", "")[html.index("<main>") :]
    _, html = judged(tmp_path, classical)
    assert "<h1>Evaluation of classical methods</h1>" in html
    assert "PSNR of nlm minus that of noisy" in html


def test_page_stays_small(tmp_path, monkeypatch):
    """Fails if many or large crops make a page that no browser opens, or what is not shown is not said."""
    judged(tmp_path)
    total = sum(path.stat().st_size for path in tmp_path.rglob("*.png"))
    monkeypatch.setattr(module, "BUDGET", total * 0.5)
    _, html = judged(tmp_path)
    sizes = [(int(a["width"]), int(a["height"])) for a in Page(html).all("img") if a.get("class") == "crop"]
    assert 128 <= max(max(size) for size in sizes) < 256
    assert (90, 64) in sizes  # smaller than that anyway
    assert len(sizes) == 5 * 6
    assert (
        f"To keep this page small, crops are cut to {max(max(size) for size in sizes)} pixels a side; the folder crops" in html
    )
    assert sum(len(a["src"]) for a in Page(html).all("img") if "src" in a) < total * 0.5 * 4 / 3 * 1.1
    monkeypatch.setattr(module, "BUDGET", total * 0.1)
    _, html = judged(tmp_path)
    left = 5 - len([1 for level, _ in headings(html) if level == 4])
    assert left > 0
    assert (
        f"crops are cut to 128 pixels a side, and {left} pictures are without; the folder crops beside it has them all." in html
    )
    assert all(html.count(f">{name}<") for name in ("a/b.png", "c.png", "d.png", "e.png", "dot.png"))  # all are in the table


def test_crops_that_are_gone_or_damaged(tmp_path):
    """Fails if a missing crop takes the page with it, or one that is no picture is passed over."""
    document = evaluation(tmp_path)
    (tmp_path / "crops" / "0-3-0.png").unlink()
    html = report.evaluation_page(document, tmp_path)
    assert html.count("Its crops are not in the folder.") == 1
    assert len([a for a in Page(html).all("img") if a.get("class") == "crop"]) == 4 * 6
    (tmp_path / "crops" / "0-1-2.png").write_bytes(b"no picture")
    with pytest.raises(ImageError):
        report.evaluation_page(document, tmp_path)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-2.03, 1.4), (20.64, 28.91), (0, 0), (3, 3), (-1e-9, 1e-9), (0, 1000)])
def test_ticks_are_few_and_round_and_hold_all(low, high):
    """Fails if a value lies off the axis, or the axis has too many marks or odd ones."""
    marks = plots.ticks(low, high)
    assert 2 <= len(marks) <= 7
    assert marks[0] <= low <= high <= marks[-1]
    steps = np.diff(marks)
    np.testing.assert_allclose(steps, steps[0])
    assert f"{steps[0]:e}"[0] in "125"


def test_dots_are_where_the_values_are():
    """Fails if a dot or a box is off its axis by more than the drawing's rounding, or a value is lost."""
    values = [(1.0, "a"), (2.0, "b"), (4.0, "c")]
    svg = plots.dots("PSNR", "dB", {"run": values, "none": []}, zero=True)
    page = Page(svg)
    marks = [(float(a["x1"][:-1]), float(a["x1"][:-1])) for a in page.all("line") if a.get("class") == "grid"]
    assert [x for x, _ in marks] == [0, 25, 50, 75, 100]  # 0 to 4
    assert [float(a["cx"][:-1]) for a in page.all("circle")] == [25, 50, 100]
    (box,), (median,) = page.all("rect"), [a for a in page.all("line") if a.get("class") == "median"]
    assert (float(box["x"][:-1]), float(box["width"][:-1]), float(median["x1"][:-1])) == (37.5, 37.5, 50)  # 1.5 to 3, and 2
    assert "a: 1.00" in page.text
    assert plots.dots("PSNR", "dB", {"none": []}) == ""


def test_crops_are_in_the_page_as_they_are_in_the_folder(tmp_path):
    """Fails if a crop that is shown whole is encoded anew, which takes time and may change it."""
    document = evaluation(tmp_path)
    html = report.evaluation_page(document, tmp_path)
    for picture in document["cases"][0]["pictures"]:
        for path in picture["crops"].values():
            assert base64.b64encode((tmp_path / path).read_bytes()).decode() in html


def test_the_sigma_that_was_told_is_on_the_page(tmp_path):
    """Fails if a reader cannot see what the classical methods knew of a picture."""
    document = evaluation(tmp_path)
    document["cases"][0]["pictures"][0]["sigma"] = 0.0625
    document["cases"][0]["pictures"][0]["estimated_noise"] = 0.0992
    words = "; sigma 25.3/255 estimated; the classical methods were told 15.9/255."
    assert words in report.evaluation_page(document, tmp_path)


def test_the_verdict_is_whole_and_the_noise_short(tmp_path):
    """Fails if "95 %" may break over lines, or the noise is named otherwise than people write it."""

    def changed(document):
        document["cases"][0].update(noise="gaussian:sigma=25/255")
        document["verdict"] = "by 1.00 dB PSNR (95 % interval 0.50 to 1.50)"

    _, html = judged(tmp_path, changed)
    assert '<p class="verdict">by 1.00 dB PSNR (95\u00a0% interval 0.50 to 1.50)</p>' in html
    assert "95 %" not in html
    assert '<h2 id="case0">Noise gaussian:25/255</h2>' in html
    assert "sigma=" not in html
