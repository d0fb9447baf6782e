"""The demo's page: it stands alone, its figures are true, its crops are at 1:1, and names in it stay text."""

import base64
import io
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import structural_similarity

from unnoise import figures, report

TAGS = {*"html meta title style h1 h2 p table thead tbody tr th td div figure img figcaption b br".split()}  # noqa: SIM905
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
    assert (len(page.all("th")), len(page.all("td"))) == (3, 6)


def test_names_stay_text():
    """Fails if a file's name, a noise or a cell can put a tag or an attribute into the page."""
    name = '"><script>alert(1)</script><img src=x onerror=alert(2)>.png'
    shown = example((20, 20), photo=name, noise="<b>'&")
    shown.pictures[name] = shown.pictures.pop("noisy")
    page = Page(report.page(name, name, [name], [[name]], "", [shown]))
    assert {tag for tag, _ in page.tags} <= TAGS
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert len(page.all("img")) == 6
    assert "".join(page.text).count(name) == 7  # title, heading, words, th, td, section and caption
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
    text = " ".join(page.text)
    assert "cost" in text
    assert f"step {points[-1][0]}" in text


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
