"""The page of `unnoise serve` in headless Chromium: many pictures in, compared, taken away; and no other page can use it."""

import base64
import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from conftest import CHROMIUM
from PIL import Image
from serving import serving, until
from test_report_browser import CONTRASTS, DESKTOP, PHONE, pixels

from unnoise import image

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed, so no browser can be driven")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this computer to look at the page with")
PATIENCE = 60_000  # milliseconds
NOTING = """
from unnoise.server import jobs
do = jobs.Jobs.do
async def noted(self, job, key=""):
    with open("jobs", "a") as file:
        print(job["what"], file=file)
    return await do(self, job, key)
jobs.Jobs.do = noted
"""  # the server notes what it computes
DROP = """async (files) => {
  const transfer = new DataTransfer();
  for (const [name, content] of files) transfer.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name));
  for (const kind of ["dragover", "drop"]) document.querySelector("#drop").dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


@pytest.fixture(scope="module")
def served(tmp_path_factory, environment):
    with serving(tmp_path_factory.mktemp("served"), environment) as server:
        yield server


@pytest.fixture
def opened(browser, served):
    """Opens the page; what it asks for and what the browser complains about are in `asked` and `said`."""
    contexts = []

    def open_(viewport=DESKTOP, address=None, **options):
        contexts.append(browser.new_context(viewport=viewport, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE)
        page.asked, page.said, page.answers = [], [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("response", lambda answer: page.answers.append((answer.url, answer.status)))
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.goto(address or served.address)
        return page

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory, photos):
    """Twenty files of all kinds, two of one name, one of them bad: (name, content)."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(5)
    photo = image.read(photos / "rocket.jpg").pixels[64:128, 64:160]
    noisy = (photo + rng.normal(0, 25 / 255, photo.shape)).clip(0, 1).astype(np.float32)
    for name in ("a.png", "b.jpg", "c.webp", "d.ppm", "e.bmp", "f.tif"):
        image.write(folder / name, noisy)
    image.write(folder / "g.tif", noisy[..., 0], image.Picture(noisy[..., 0], "TIFF", 16, {}))
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    found = [("bad.png", contents["a.png"][:300]), *contents.items(), ("é 1.png", contents["a.png"])]
    return found + [(name, contents[name]) for name in sorted(contents)] + [(f"{n}.png", contents["a.png"]) for n in range(4)]


def drop(page, files):
    page.locator("#model option").first.wait_for(state="attached")
    page.evaluate(DROP, [(name, base64.b64encode(content).decode()) for name, content in files])


def finished(page):
    page.locator("#clear:not([hidden])").wait_for()


def compared(page, name):
    page.get_by_role("button", name=f"Compare {name} before and after").first.click()
    page.locator("#viewer:not([hidden])").wait_for()


def transforms(page):
    """(scale, left, top) of both pictures in the viewer."""
    return [
        page.evaluate(
            f"(() => {{ const m = new DOMMatrix(getComputedStyle(document.querySelector('{id}')).transform); return [m.a, m.e, m.f]; }})()"
        )
        for id in ("#before", "#after")
    ]


def test_twenty_are_dropped_and_all_but_one_come_back(opened, files, served):
    """Fails if one is lost, a bad one stops others or is not named, the zip differs from the interface, or anything is fetched from elsewhere."""
    page = opened()
    assert len(files) == 20
    drop(page, files)
    finished(page)
    assert page.locator("#status").inner_text() == "19 of 20 done, 1 could not be processed"
    bad = page.locator("li.failed")
    assert bad.locator("h3").inner_text() == "bad.png"
    assert "cut short" in bad.inner_text()
    card = page.locator('li.done:has(h3:text-is("a.png"))').first
    assert "through photo for Gaussian noise (sigma 2" in card.inner_text()
    sizes = page.evaluate("[...document.querySelectorAll('li.done canvas')].map((canvas) => [canvas.width, canvas.height])")
    assert sizes == [[96, 64]] * 19
    with page.expect_download() as download:
        page.get_by_role("button", name="Download all as a zip").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(set(names)) == 19
        assert {"a.png", "a-2.png", "g.tif", "g-2.tif", "é 1.png"} <= set(names)
        for name in ("a.png", "b.jpg", "g-2.tif"):
            assert archive.read(name) == served.post("denoise", dict(files)[name.replace("-2", "")]).body
    with page.expect_download() as download:
        page.get_by_role("link", name="Download f.tif").first.click()
    assert download.value.suggested_filename == "f.tif"
    assert image.kind_of(download.value.path()) == "TIFF"
    assert [url for url in page.asked if not url.startswith((served.address, f"blob:{served.address}", "data:"))] == []
    assert [words for words in page.said if "422" not in words] == []


def test_before_and_after_side_by_side(opened, files, served):
    """Fails if the boundary is not where the keys put it, or a side shows another picture."""
    page = opened()
    drop(page, [("f.tif", dict(files)["f.tif"])])  # which no browser shows by itself
    finished(page)
    compared(page, "f.tif")
    slider = page.get_by_role("slider", name="Boundary")
    slider.focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "52 % before, the rest after"
    (before, after) = (
        _seen(served.post("preview", content).body)
        for content in (dict(files)["f.tif"], served.post("denoise", dict(files)["f.tif"]).body)
    )
    shown, stage = pixels(page.locator("#before")), page.locator("#stage").bounding_box()
    at = round(stage["x"] + 0.52 * stage["width"] - page.locator("#before").bounding_box()["x"])
    assert 8 < at < 88
    np.testing.assert_array_equal(shown[:, : at - 4], before[:, : at - 4])
    np.testing.assert_array_equal(shown[:, at + 4 :], after[:, at + 4 :])
    assert np.abs(before - after).mean() > 2  # or the two lines above would see no difference
    edge = page.locator("#edge").bounding_box()
    page.mouse.move(edge["x"] + 22, edge["y"] + 50)
    page.mouse.down()
    page.mouse.move(stage["x"] + stage["width"] / 4, edge["y"] + 60, steps=3)
    page.mouse.up()
    assert float(slider.input_value()) == pytest.approx(25, abs=1)
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()


def _seen(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def test_zoom_and_pan_keep_step(opened, files):
    """Fails if one picture moves without the other, 1:1 is not a pixel for a pixel, or keys or mouse do nothing."""
    page = opened(PHONE, device_scale_factor=2)
    large = np.kron(_seen(dict(files)["a.png"]), np.ones((12, 12, 1))).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(large).save(file, "PNG")
    drop(page, [("large.png", file.getvalue())])
    page.locator("#strength").fill("0")  # on the next ones
    finished(page)
    compared(page, "large.png")
    stage = page.locator("#stage")
    room = page.evaluate("document.querySelector('#stage').clientWidth")
    assert transforms(page)[0][0] == pytest.approx(room / large.shape[1])
    stage.focus()
    page.keyboard.press("1")
    (one, other) = transforms(page)
    assert (one, one[0]) == (other, 0.5)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    moved, also = transforms(page)
    assert (moved, moved[1] - one[1]) == (also, -60)
    page.keyboard.press("+")
    box = stage.bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 70, box["y"] + 60, steps=2)
    page.mouse.up()
    last, too = transforms(page)
    assert (last, last[0]) == (too, 1.0)
    page.get_by_role("button", name="Whole").click()
    assert transforms(page)[0][0] == pytest.approx(room / large.shape[1])
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_cancel_is_no_error(opened, served, files):
    """Fails if what was cancelled is called a failure, goes on to be computed, or cannot be done after all."""
    page = opened()
    rng, file = np.random.default_rng(2), io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (1200, 1600), np.uint8)).save(file, "PNG", compress_level=1)
    page.locator("#quality").select_option("high")
    drop(page, [("long.png", file.getvalue()), ("a.png", dict(files)["a.png"]), ("b.jpg", dict(files)["b.jpg"])])
    page.locator("li.working", has_text="Denoising").first.wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.locator("li.working").first.wait_for(state="detached")
    assert "cancelled" in page.locator("#status").inner_text()
    assert page.locator("li.failed").count() == 0
    until(lambda: served.kept() == [], "a file stays")
    page.get_by_role("button", name="Remove all").click()
    drop(page, [("a.png", dict(files)["a.png"])])
    finished(page)
    assert page.locator("li.done").count() == 1
    again = page.get_by_role("button", name="Denoise with these settings")
    assert not again.is_visible()
    page.locator("#quality").select_option("normal")
    page.locator("#model").select_option("photo")
    again.click()
    page.get_by_text("through photo, as chosen").wait_for()
    assert page.said == []


def learning(page, files):
    """The second page, with pictures on it."""
    page.get_by_role("link", name="Corrupt and learn").click()
    page.locator("#seen img").first.wait_for()
    drop(page, files)


def seen(page, name):
    """A picture of the second page as its pixels are, in [0, 1]."""
    src = page.get_by_role("img", name=name, exact=True).get_attribute("src")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(src.partition(",")[2])))) / 255


def test_a_picture_is_corrupted(opened, files, served):
    """Fails if another picture is shown than was dropped, or the noise, its level, the mask or the model do not follow the controls."""
    page = opened()
    learning(page, [("f.tif", dict(files)["f.tif"])])
    until(lambda: page.evaluate("document.querySelector('#seen img').naturalWidth") == 96, "the picture is not shown")
    clean = _seen(served.post("preview", dict(files)["f.tif"]).body) / 255
    np.testing.assert_array_equal(seen(page, "The picture I"), clean)
    for kind, level, said in (("masking", "40", "40 % of the pixels"), ("blocks", "3", "3 of 24 x 24 pixels")):
        page.locator("#kind").select_option(kind)
        page.locator("#level").fill(level)
        assert page.locator("#level-said").inner_text() == said
        page.locator("#lesson[aria-busy=false]").wait_for()
        noisy, mask = seen(page, "Corrupted"), seen(page, "Mask")
        np.testing.assert_array_equal((noisy == 0).all(2), (mask == 1) | (clean == 0).all(2))
        np.testing.assert_array_equal(noisy[mask == 0], clean[mask == 0])
        assert (mask.mean() == pytest.approx(0.4, abs=1e-3)) == (kind == "masking")
    page.locator("#restorer").select_option("photo")
    page.locator("#seen", has_text="by photo").wait_for()
    assert page.locator("#code figure").all_inner_texts() == [
        "32 channels of 48 x 32",
        "64 channels of 24 x 16",
        "96 channels of 12 x 8",
    ]
    assert [words for words in page.said if "422" not in words] == []
    assert {url.split("/")[2] for url in page.asked if url.startswith("http")} == {served.host}


def test_the_weights_of_the_cost_are_moved(opened, files, served):
    """Fails if the slider shows another recorded model than it says, forgets the noise that was chosen, or says numbers alone to who does not see it."""
    page = opened()
    learning(page, [("a.png", dict(files)["a.png"])])
    until(lambda: page.evaluate("document.querySelector('#seen img').naturalWidth") == 96, "the picture is not shown")
    page.locator("#kind").select_option("masking")
    page.locator("#lesson[aria-busy=false]").wait_for()
    told = served.post("weights", dict(files)["a.png"], noise="masking:0.3").json()["models"]
    slider = page.get_by_role("slider", name="Weights")
    assert int(slider.get_attribute("max")) == len(told) - 1
    slider.focus()
    page.keyboard.press("Home")
    for one in told:
        name = f"\u03bb\u2081 = {one['lambda1']:g}, \u03bb\u2082 = {one['lambda2']:g}"
        assert (slider.get_attribute("aria-valuetext"), page.locator("#weights-said").inner_text()) == (name, name)
        (first, chosen) = (figure.inner_text() for figure in page.locator("#weighed figure").all())
        assert first == f"Pixels alone PSNR {told[0]['psnr']:.2f} dB"
        assert chosen == f"{name} PSNR {one['psnr']:.2f} dB"
        assert page.get_by_role("img", name=name).get_attribute("src") == one["picture"]
        page.keyboard.press("ArrowRight")
    assert page.said == []


def test_a_model_learns_while_one_watches(opened, files, served, photos):
    """Fails if the crop does not get better on the page, the curves stand still, or the model cannot be chosen and taken away."""
    page = opened()
    learning(page, [(name, (photos / name).read_bytes()) for name in ("coins.png", "brick.png", "grass.png")])
    until(lambda: page.evaluate("document.querySelector('#seen img').naturalWidth") == 256, "the picture is not shown")
    assert "the other 2 that you chose" in page.locator("#lesson").inner_text()
    page.locator("#minutes").fill("0.2")
    page.locator("#train").click()
    page.locator("#sample[src]").wait_for()
    first = page.locator("#sample").get_attribute("src")
    assert page.locator("#stop").is_visible()
    page.get_by_text("Done: trained-1").wait_for()
    assert page.locator("#sample").get_attribute("src") != first
    then, now = (float(words.split()[0]) for words in page.locator("#psnrs-said").inner_text().split("first, now "))
    assert now > then + 0.5
    heights = [float(point.split(",")[1]) for point in page.locator("#psnrs polyline").get_attribute("points").split()]
    assert len(heights) >= 3
    assert (heights[0], min(heights)) == (100, 0)
    page.locator("#seen", has_text="by trained-1").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the model").click()
    assert download.value.suggested_filename == "trained-1.onnx"
    page.get_by_role("link", name="Denoise", exact=True).click()
    page.locator("#model").select_option("trained-1")
    page.locator("#files").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": dict(files)["a.png"]})
    page.get_by_text("through trained-1, as chosen").wait_for()
    page.get_by_role("link", name="Corrupt and learn").click()
    page.locator("#train").click()
    page.get_by_role("button", name="Stop and keep it").click()
    page.locator("#train:visible").wait_for()
    assert page.said == []


@pytest.mark.parametrize(("viewport", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
def test_the_second_page_can_be_read_and_reached(viewport, scheme, opened):
    """Fails if words are too faint, a control or a picture has no name or no Tab leads to it, or the page scrolls sideways."""
    page = opened(viewport, color_scheme=scheme, reduced_motion="reduce", address=None)
    page.get_by_role("link", name="Corrupt and learn").click()
    page.locator("#lesson[aria-busy=false]").wait_for()
    assert page.title() == "unnoise: corrupt and learn"
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    visible = page.evaluate(CONTRASTS)
    assert len(visible) > 15
    assert min(visible)[0] >= 4.5, min(visible)
    assert page.locator("nav a[aria-current=page]").inner_text() == "Corrupt and learn"
    for role, name in (
        ("combobox", "Noise"), ("combobox", "Model"), ("combobox", "Shape"), ("combobox", "Cost"), ("slider", "Level"), ("slider", "Weights"),
        ("spinbutton", "Minutes"), ("img", "Pixels alone"),
        ("button", "Train"), ("img", "Mask"), ("img", "32 channels"), ("heading", "The code Z"),
    ):  # fmt: skip
        assert page.get_by_role(role, name=name).count() >= 1, (role, name)
    assert page.get_by_role("button", name="Download all as a zip").count() == 0
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(15):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert {"files", "kind", "level", "restorer", "weights", "shape", "cost", "minutes", "train"} <= reached


class Evil(BaseHTTPRequestHandler):
    """Another page: it sends a picture to unnoise by fetch and, without any script's leave being asked, as a form."""

    target = ""

    def do_GET(self):
        page = f"""<!doctype html><title>evil</title><form method="post" enctype="multipart/form-data" action="{self.target}api/inspect">
        <input name="file" value="x"></form><img src="{self.target}app.js"><script>
        const body = new FormData();
        body.append("file", new Blob(["P2 1 1 1 1"]), "x.pgm");
        fetch("{self.target}api/inspect", {{ method: "POST", body, mode: "no-cors" }}).catch(() => 0).then(() => document.forms[0].submit());
        </script>"""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, *words):
        pass


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_another_page_cannot_post(name, opened, tmp_path, environment):
    """Fails if a page of another port or name of this computer has something computed, by fetch or by a form without preflight."""
    with serving(tmp_path, environment, before=NOTING) as server:
        _attacked(name, opened, server)


def _attacked(name, opened, served):
    Evil.target = served.address
    with HTTPServer(("127.0.0.1", 0), Evil) as evil:
        thread = threading.Thread(target=evil.serve_forever)
        thread.start()
        try:
            page = opened(address=f"http://{name}:{evil.server_port}/")
            page.wait_for_url(f"{served.address}api/inspect")
        finally:
            evil.shutdown()
            thread.join()
    assert {url for url in page.asked if url.startswith(served.address)} >= {
        f"{served.address}{path}" for path in ("app.js", "api/inspect")
    }
    assert {status for url, status in page.answers if url.startswith(served.address)} == {403}
    assert not (served.files / "jobs").exists()
    own = opened(address=served.address).evaluate(
        """async () => {
          const body = new FormData();
          body.append("file", new Blob(["P2 1 1 1 1"]), "x.pgm");
          return (await fetch("api/inspect", { method: "POST", body })).status;
        }"""
    )
    assert (own, (served.files / "jobs").read_text()) == (200, "inspect\n")  # control: it was not the picture that was refused


def test_opens_with_its_token(opened, tmp_path, environment, files):
    """Fails if the printed address does not open the page, or the token stays in the address for the history to keep."""
    with serving(tmp_path, environment, "--listen", "127.0.0.1") as server:
        page = opened(address=server.address)
        drop(page, [("a.png", dict(files)["a.png"])])
        finished(page)
        assert page.locator("li.done").count() == 1
        assert page.url == server.address.partition("?")[0]


@pytest.mark.parametrize(("viewport", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
def test_can_be_read_and_reached(viewport, scheme, opened, files):
    """Fails if the scheme is not followed, words are too faint, a control has no name or no Tab leads to it, or the page scrolls sideways."""
    page = opened(viewport, color_scheme=scheme, reduced_motion="reduce")
    drop(page, [("a.png", dict(files)["a.png"]), ("x" * 90 + ".png", dict(files)["a.png"][:200])])
    finished(page)
    compared(page, "a.png")
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) > 384) == (scheme == "light")
    contrasts = [one for one in page.evaluate(CONTRASTS) if one[1] != "JavaScript"]
    assert len(contrasts) > 15
    assert min(contrasts)[0] >= 4.5, min(contrasts)
    assert page.evaluate("getComputedStyle(document.querySelector('#drop')).transitionDuration") == "0s"
    for role, name in (
        ("combobox", "Model"), ("combobox", "Quality"), ("slider", "Strength"), ("slider", "Boundary"), ("group", "Before and after"),
        ("button", "Compare a.png before and after"), ("link", "Download a.png"), ("button", "Zoom in"), ("heading", "a.png"),
    ):  # fmt: skip
        assert page.get_by_role(role, name=name).count() >= 1, (role, name)
    assert page.get_by_label("Choose pictures").count() == 1
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(25):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.id || document.activeElement.className || document.activeElement.tagName")
        )
    assert {
        "model",
        "strength",
        "quality",
        "files",
        "zip",
        "clear",
        "close",
        "stage",
        "cut",
        "one",
        "compare",
        "button",
    } <= reached


def test_without_a_server_it_says_so(opened, browser, tmp_path, environment, files):
    """Fails if pictures wait for ever once the server has ended."""
    with serving(tmp_path, environment) as server:
        page = opened(address=server.address)
        page.locator("#model option").first.wait_for(state="attached")
    drop(page, [("a.png", dict(files)["a.png"])])
    finished(page)
    assert "is it still running?" in page.locator("li.failed").inner_text()
    page.get_by_role("link", name="Corrupt and learn").click()  # whose first picture is the server's
    page.locator("#corrupt-said", has_text="is it still running?").wait_for()
    assert "is it still running?" in page.locator("#train-said").inner_text()
    assert [words for words in page.said if "ERR_CONNECTION_REFUSED" not in words] == []
