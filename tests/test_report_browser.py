"""The pages as a reader meets them, in headless Chromium: they load, the slider moves, nothing is fetched, all can be read."""

import io
import json

import numpy as np
import pytest
from conftest import CHROMIUM
from evaluations import HOSTILE, METHODS, evaluation
from PIL import Image

from unnoise import figures, report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed, so no browser can be driven")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this computer to look at the pages with")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}

CONTRASTS = """() => {
  const shades = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = shades(colour).slice(0, 3).map((v) => v / 255).map((v) => (v > 0.03928 ? ((v + 0.055) / 1.055) ** 2.4 : v / 12.92));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if ((shades(colour)[3] ?? 1) === 1) return colour;
    }
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || ["SCRIPT", "title"].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const [a, b] = [element instanceof SVGElement ? style.fill : style.color, behind(element)].map(light).sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), texts.currentNode.data.slice(0, 40)]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Folders, each with its report.html: an evaluation, one with hostile names, and the demo's page."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("plain", "hostile", "demo")}
    hostile = {"names": HOSTILE, "methods": dict(zip(HOSTILE, METHODS.values(), strict=True))}
    for name, options in (("plain", {}), ("hostile", hostile)):
        document = evaluation(folders[name], **options)
        (folders[name] / "report.json").write_text(json.dumps(document))
        (folders[name] / "report.html").write_text(report.evaluation_page(document, folders[name]), "utf-8")
    rng = np.random.default_rng(1)
    pictures = dict.fromkeys(("clean", "noisy", "denoised", "non-local means"), rng.random((300, 400, 3), np.float32))
    curves = figures.curve([(1, 0.3), (9, 0.1)], "cost", "step") * 2
    columns, rows = ("noise", *pictures), [("gaussian:25/255", "20.17", "28.70", "1", "2")]
    html = report.page(
        "What it learned", "A few words.", columns, rows, curves, [report.Example("cat.png", "gaussian", pictures)]
    )
    (folders["demo"] / "report.html").write_text(html, "utf-8")
    return folders


@pytest.fixture
def opened(browser, pages):
    """Opens a page; what it asks for and what the browser complains about are in `asked` and `said`."""
    contexts = []

    def open_(name, viewport=DESKTOP, path=None, **options):
        contexts.append(browser.new_context(viewport=viewport, **options))
        page = contexts[-1].new_page()
        page.asked, page.said = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.goto((path or pages[name] / "report.html").as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()


def through(page):
    """Scroll through the page, so that every picture is drawn and every comparison filled."""
    for section in page.locator(".picture").all():
        section.scroll_into_view_if_needed()
        section.locator(".slide img[src]").nth(1).wait_for()
    page.evaluate("Promise.all([...document.images].map((image) => image.decode().catch(() => 0)))")


def outside(page):
    """The addresses that were asked for beside the page's own file and the pictures in it."""
    return [url for url in page.asked if not url.startswith("data:")][1:]


def pixels(locator):
    """What the browser shows there, which it does on whole pixels: (H, W, 3), 8 bits."""
    locator.scroll_into_view_if_needed()
    clip = {side: round(length) for side, length in locator.bounding_box().items()}
    return np.asarray(Image.open(io.BytesIO(locator.page.screenshot(clip=clip))).convert("RGB")).astype(int)


def crop(folder, index, method):
    """A crop's file as (H, W, 3), 8 bits."""
    document = json.loads((folder / "report.json").read_text())
    path = document["cases"][0]["pictures"][index]["crops"][method]
    return np.asarray(Image.open(folder / path).convert("RGB")).astype(int)


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", ["plain", "hostile", "demo"])
def test_all_loads_from_within_at_one_to_one_and_fits(name, viewport, opened):
    """Fails if a picture is broken or scaled, anything is fetched, the browser complains, or the page scrolls sideways."""
    page = opened(name, viewport)
    through(page)
    sizes = page.evaluate(
        """[...document.querySelectorAll("img.crop, .stack img")].map((image) => {
          const box = image.getBoundingClientRect();
          return [image.naturalWidth, image.naturalHeight, box.width, box.height, getComputedStyle(image).imageRendering];
        })"""
    )
    assert len(sizes) == (4 if name == "demo" else 5 * (6 + 4))
    assert all(size[:2] == size[2:4] and size[0] > 0 and size[4] == "pixelated" for size in sizes), sizes
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert (outside(page), page.said) == ([], [])
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    assert page.evaluate("document.getAnimations().length") == 0  # nothing to reduce for who prefers no motion


def test_the_policy_holds(opened, pages, tmp_path):
    """Control for the test above, and fails if a script or picture that got into the page after all would be obeyed."""
    html = (pages["plain"] / "report.html").read_text("utf-8")
    spoilt = html.replace("</main>", '<img src="http://127.0.0.1:9/x.png"><script>document.title = "obeyed"</script></main>')
    (tmp_path / "spoilt.html").write_text(spoilt, "utf-8")
    page = opened("plain", path=tmp_path / "spoilt.html")
    assert len(page.said) >= 2
    assert all("Content Security Policy" in words for words in page.said)
    assert page.title() == "Evaluation of run and older"


def test_a_crop_is_drawn_pixel_by_pixel(opened, pages):
    """Fails if what is seen is not what the method gave: colour managed, smoothed, scaled or of another method."""
    page = opened("plain")
    through(page)
    for index, method in ((1, "noisy"), (2, "run"), (4, "nlm")):
        name = json.loads((pages["plain"] / "report.json").read_text())["cases"][0]["pictures"][index]["name"]
        seen = pixels(page.get_by_alt_text(f"{name}, {method}", exact=True))
        np.testing.assert_array_equal(seen, crop(pages["plain"], index, method))


def moved_by_mouse(page, slide, to):
    box = slide.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * to / 100, box["y"] + 90, steps=4)
    page.mouse.up()


def moved_by_click(page, slide, to):
    box = slide.bounding_box()
    page.mouse.click(box["x"] + box["width"] * to / 100, box["y"] + 40)


def moved_by_touch(page, slide, to):
    box = slide.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] * to / 100, box["y"] + 40)


def moved_by_keys(page, slide, to):
    slide.locator("input").focus()
    page.keyboard.press("Home" if to < 50 else "End")
    for _ in range(to if to < 50 else 100 - to):
        page.keyboard.press("ArrowRight" if to < 50 else "ArrowLeft")


@pytest.mark.parametrize("move", [moved_by_mouse, moved_by_click, moved_by_touch, moved_by_keys])
@pytest.mark.parametrize("to", [20, 100])
def test_slider_moves_the_boundary(move, to, opened, pages):
    """Fails if the boundary is not where the slider was put, or the wrong picture is on a side of it."""
    page = opened("plain", PHONE, has_touch=True)
    slide = page.locator('.picture:has(h4:text-is("a/b.png")) .slide')
    slide.scroll_into_view_if_needed()
    slide.locator("img[src]").nth(1).wait_for()
    move(page, slide, to)
    assert float(slide.locator("input").input_value()) == pytest.approx(to, abs=1)  # a percent is 2.56 pixels here
    assert "noisy, the rest run" in slide.locator("input").get_attribute("aria-valuetext")
    seen, before, after = pixels(slide), crop(pages["plain"], 0, "noisy"), crop(pages["plain"], 0, "run")
    at = round(256 * to / 100)
    np.testing.assert_array_equal(seen[8:-8, 4 : max(at - 8, 4)], before[8:-8, 4 : max(at - 8, 4)])
    np.testing.assert_array_equal(seen[8:-8, at + 8 : -4], after[8:-8, at + 8 : -4])
    assert np.abs(before - after).mean() > 2  # or the two lines above would see no difference


def test_any_two_can_be_compared_and_the_error_is_true(opened, pages):
    """Fails if a choice shows another method, or the map is not five times the absolute difference, or its words are old."""
    page = opened("plain")
    through(page)
    section = page.locator('.picture:has(h4:text-is("c.png"))')
    section.locator("select").first.select_option("clean")
    section.locator("select").last.select_option("median")
    clean, median = crop(pages["plain"], 1, "clean"), crop(pages["plain"], 1, "median")
    seen = pixels(section.locator(".slide"))
    np.testing.assert_array_equal(seen[8:-8, 4:120], clean[8:-8, 4:120])
    np.testing.assert_array_equal(seen[8:-8, 136:-4], median[8:-8, 136:-4])
    for method in ("median", "noisy", "clean"):
        section.locator("select").last.select_option(method)
        error = np.abs(crop(pages["plain"], 1, method) - clean)
        np.testing.assert_allclose(
            pixels(section.locator(".error")), np.minimum(5 * error, 255), atol=1
        )  # a rounding in 8 bits
        words = section.locator(".error").get_attribute("aria-label")
        assert words.startswith(f"Error map of {method}: mean absolute error ")
        assert float(words.split()[7]) == pytest.approx(error.mean() / 255, abs=5.1e-5)  # 4 decimals
        assert section.locator(".said").first.inner_text() == method


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["plain", "demo"])
def test_can_be_read_in_light_and_dark(name, scheme, opened):
    """Fails if the scheme is not followed or any text has less contrast than WCAG's 4.5 to 1."""
    page = opened(name, color_scheme=scheme)
    through(page)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) > 384) == (scheme == "light")
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 20
    assert min(contrasts)[0] >= 4.5, min(contrasts)
    page.evaluate(
        "document.querySelector('h1').style.color = '#888'"
    )  # control: 3.5 on white, 5 on the dark paper's near black
    page.evaluate("document.querySelector('h1').style.backgroundColor = '#999'")
    assert min(page.evaluate(CONTRASTS))[0] < 4.5


def test_works_by_keyboard_and_for_a_screen_reader(opened):
    """Fails if a control has no name in the accessibility tree or cannot be reached with Tab."""
    page = opened("plain")
    through(page)
    assert page.get_by_role("slider", name="Boundary between left and right").count() == 5
    assert page.get_by_role("combobox", name="right").count() == 5
    assert page.get_by_role("img", name="Error map of run").count() == 5
    assert page.get_by_role("table", name="Means over 5 pictures").count() == 1
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.tagName + (document.activeElement.type || '')"))
    assert {"A", "DIV", "SUMMARY", "INPUTrange", "SELECTselect-one"} <= reached


def test_without_its_script_the_crops_remain(opened):
    """Fails if a reader that runs no script sees dead controls or no pictures."""
    page = opened("plain", java_script_enabled=False)
    assert page.locator("img.crop").count() == 5 * 6
    assert page.locator("img.crop").first.is_visible()
    assert not page.locator(".compare").first.is_visible()


def test_a_picture_without_crops_stops_nothing(opened, pages, tmp_path):
    """Fails if the script stumbles over a picture that has no crops, and leaves those after it without a comparison."""
    document = json.loads((pages["plain"] / "report.json").read_text())
    document["cases"][0]["pictures"][3]["crops"] = {}
    (tmp_path / "report.html").write_text(report.evaluation_page(document, pages["plain"]), "utf-8")
    page = opened("plain", path=tmp_path / "report.html")
    page.locator(".picture").last.scroll_into_view_if_needed()
    page.locator(".picture").last.locator(".slide img[src]").nth(1).wait_for()
    assert (page.locator(".slide").count(), page.said) == (4, [])


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_links_lead_where_they_say(viewport, opened):
    """Fails if what is filled on the way moves the page under its reader."""
    page = opened("plain", viewport)
    page.get_by_text("The PSNR of every picture as a table").click()
    page.get_by_role("link", name="dot.png").click()
    page.locator('.picture:has(h4:text-is("dot.png")) .slide img[src]').nth(1).wait_for()
    assert page.locator('h4:text-is("dot.png")').bounding_box()["y"] == pytest.approx(0, abs=1)
    height = page.evaluate("document.documentElement.scrollHeight")
    through(page)
    assert page.evaluate("document.documentElement.scrollHeight") == height
