"""Draw docs/serve-*.jpg: the pages of `unnoise serve` in Chromium, light and dark, wide and as a phone shows them.

The photographs are scikit-image's, with noise put on them. The model on the second page is trained for half a minute.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import skimage
from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from serving import serving  # noqa: E402

from unnoise import image  # noqa: E402
from unnoise.noise import parse, spoilt  # noqa: E402

PHOTOS = Path(skimage.__file__).parent / "data"
NOISY = {
    "chelsea.png": "gaussian:30/255", "coffee.png": "salt-and-pepper:0.2", "astronaut.png": "blocks:count=30,size=16",
    "rocket.jpg": "gaussian:25/255", "motorcycle_left.png": "gaussian:15/255", "cat.tif": "gaussian:20/255",
}  # fmt: skip
LEARNED = ("coffee.png", "motorcycle_left.png", "rocket.jpg", "hubble_deep_field.jpg", "retina.jpg", "ihc.png")
WIDE, PHONE = {"width": 1100, "height": 720}, {"width": 390, "height": 844}
WIDEST, QUALITY, LARGEST = 800, 72, 150_000  # of the JPEGs: pixels, and bytes
MINUTES = "0.5"


def noisy(folder: Path) -> list[Path]:
    """Photographs with noise, as files."""
    for index, (name, noise) in enumerate(NOISY.items()):
        photo = image.read(PHOTOS / ("chelsea.png" if name == "cat.tif" else name)).pixels[:480, :640]
        image.write(folder / name, spoilt(photo, parse(noise), 1, index).clip(0, 1).astype(np.float32))
    return [folder / name for name in NOISY]


def denoised(page: Page, address: str, files: list[Path]) -> None:
    """Denoise files, and look at the first one, a little nearer than as a whole."""
    page.goto(address)
    page.locator("#model option").first.wait_for(state="attached")
    page.locator("#files").set_input_files(files)
    page.locator("#clear:not([hidden])").wait_for()
    page.locator(".compare").first.click()
    page.locator("#viewer:not([hidden])").wait_for()
    page.evaluate("scrollTo(0, 0)")


def learned(page: Page, address: str) -> None:
    """Corrupt a photograph, and train a model on others."""
    page.goto(f"{address}#learn")
    page.locator("#seen img").first.wait_for()
    page.locator("#files").set_input_files([PHOTOS / name for name in ("chelsea.png", *LEARNED)])
    page.locator("#kind").select_option("salt-and-pepper")
    page.locator("#minutes").fill(MINUTES)
    page.locator("#train").click()
    page.locator("#trained:not([hidden])").wait_for()
    page.locator("#seen", has_text="by trained-1").wait_for()


def shot(page: Page, **options: Any) -> Image.Image:
    return Image.open(io.BytesIO(page.screenshot(**options))).convert("RGB")


def save(name: str, pictures: list[Image.Image]) -> None:
    """Write docs/NAME.jpg, the pictures beside one another."""
    sheet = Image.new("RGB", (sum(one.width + 12 for one in pictures) - 12, max(one.height for one in pictures)), "#888")
    at = 0
    for one in pictures:
        sheet.paste(one, (at, 0))
        at += one.width + 12
    if sheet.width > WIDEST:
        sheet = sheet.resize((WIDEST, round(sheet.height * WIDEST / sheet.width)), Image.Resampling.LANCZOS)
    path = ROOT / "docs" / f"{name}.jpg"
    sheet.save(path, "JPEG", quality=QUALITY, optimize=True, progressive=True)
    assert path.stat().st_size < LARGEST, (name, path.stat().st_size)


def main() -> None:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        place = Path(name)
        files = noisy(place)
        with serving(place / "tmp", dict(os.environ), threads=0) as server:
            browser = playwright.chromium.launch(executable_path=chromium)

            def opened(size: Any, scheme: Any) -> Page:
                page = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce").new_page()
                page.set_default_timeout(180_000)
                return page

            page = opened(WIDE, "light")
            denoised(page, server.address, files)
            save("serve-denoise", [shot(page, full_page=True)])
            phones = [opened(PHONE, "dark")]
            denoised(phones[0], server.address, files[:3])
            page = opened(WIDE, "dark")
            learned(page, server.address)
            save("serve-learn", [shot(page, full_page=True)])
            phones.append(opened(PHONE, "light"))
            phones[1].goto(f"{server.address}#learn")
            phones[1].locator("#sample[src]").wait_for()
            phones[1].locator("#restorer").select_option("trained-1")
            phones[1].locator("#seen", has_text="by trained-1").wait_for()
            save("serve-phone", [shot(one) for one in phones])
            browser.close()


if __name__ == "__main__":
    main()
