"""What is learned from and what is scored on have nothing in common, and follow from the pictures' content alone."""

import dataclasses
import shutil

import numpy as np
import pytest
import tifffile
from conftest import refusal
from PIL import Image

from unnoise import collection, data
from unnoise.cache import Streamed
from unnoise.config import TrainConfig
from unnoise.errors import ImageError
from unnoise.noise import Gaussian

CONFIG = TrainConfig(patch=16)


def put(folder, count, seed=0):
    """So many pictures of random values, PNGs of 20 x 20."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for index in range(count):
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(folder / f"{seed}-{index:03}.png")
    return folder


def gathered(photos, validation=()):
    return collection.gather({"photos": [str(photos)], "validation": list(map(str, validation))}, CONFIG)


@pytest.mark.parametrize(("count", "scored"), [(10, 1), (39, 1), (45, 2), (70, 3), (99, 4), (200, 4)])
def test_one_in_twenty_is_held_out(count, scored, tmp_path):
    """Fails if none is, more than four are (the others would be lost), or a picture is on both sides or on neither."""
    learned, held_out = gathered(put(tmp_path, count))
    assert (len(learned.arrays), len(held_out.arrays)) == (count - scored, scored)
    assert len(set(learned.files) | set(held_out.files)) == count


def test_what_is_held_out_follows_from_the_content(tmp_path):
    """Fails if names, order or metadata choose: then the same pictures elsewhere would be scored on others."""
    put(tmp_path / "a", 30)
    (tmp_path / "b").mkdir()
    for index, path in enumerate(sorted((tmp_path / "a").iterdir(), reverse=True)):
        with Image.open(path) as picture:
            picture.save(tmp_path / "b" / f"{index:03}.tif")
    assert gathered(tmp_path / "a")[1].contents == gathered(tmp_path / "b")[1].contents


def test_a_copy_is_never_on_the_other_side(tmp_path):
    """Fails if a copy of a held-out picture is learned from: another name, other metadata, another kind, a page of its file."""
    put(tmp_path, 30)
    with tifffile.TiffWriter(tmp_path / "pages.tif") as file:
        for n in range(100):
            file.write(np.full((20, 20), n, np.uint8))
    sides = [gathered(tmp_path)]
    for path in list(tmp_path.iterdir()):
        if path.suffix == ".png":
            (tmp_path / "more").mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / "more" / path.name)
            with Image.open(path) as picture:
                picture.save(tmp_path / f"{path.stem}-tagged.png", dpi=(300, 300), compress_level=1)
                picture.save(tmp_path / f"{path.stem}.bmp")
    sides.append(gathered(tmp_path))
    assert len(sides[1][1].arrays) == 4 * len(sides[0][1].arrays)
    for learned, held_out in sides:
        bytes_of = [{array.tobytes() for array in side.arrays} for side in (learned, held_out)]
        assert not bytes_of[0] & bytes_of[1]
        pages = [side.names.count("pages.tif") for side in (learned, held_out)]
        assert sorted(pages) == [0, 100]


def test_a_validation_folder_within_the_photos(tmp_path):
    """Fails if what is scored on is learned from too, because the one folder lies in the other, or a copy in it."""
    put(tmp_path / "photos", 12)
    put(tmp_path / "photos" / "val", 3, seed=1)
    shutil.copy(tmp_path / "photos" / "0-005.png", tmp_path / "photos" / "val")
    learned, held_out = gathered(tmp_path / "photos", [tmp_path / "photos" / "val"])
    assert (len(learned.arrays), len(held_out.arrays)) == (11, 4)
    words = refusal(lambda: gathered(tmp_path / "photos" / "val", [tmp_path / "photos"]))
    assert "every picture to learn from is a validation picture too" in words


def test_of_few_pictures_none_is_held_out(tmp_path):
    """Fails if a tenth of nine pictures, or a dataset of one, is taken away; ten files of which two are copies are nine."""
    put(tmp_path, 9)
    shutil.copy(tmp_path / "0-000.png", tmp_path / "copy.png")
    learned, held_out = gathered(tmp_path)
    assert learned is held_out
    assert len(learned.arrays) == 10
    learned, held_out = gathered(tmp_path / "copy.png")
    assert learned is held_out
    assert len(learned.arrays) == 1


def test_what_is_kept_tells_no_name(tmp_path):
    """Fails if the list in the run folder gives away what the user's files are called."""
    put(tmp_path / "photos", 12)
    (tmp_path / "photos" / "0-000.png").rename(tmp_path / "photos" / "secret.png")
    pictures = gathered(tmp_path / "photos")
    collection.keep(tmp_path / "run", *pictures)
    assert "secret" not in (tmp_path / "run" / "pictures.txt").read_text()
    assert collection.changes(tmp_path / "run", *pictures) == ""
    assert collection.changes(tmp_path / "run", *reversed(pictures)) == "another order"


# --- several folders ---------------------------------------------------------------------------------------------------------


def test_weights_are_shares_of_the_crops(tmp_path):
    """Fails if a folder is drawn from more or less often than asked, or pictures within it otherwise than by their size."""
    put(tmp_path / "a", 8), put(tmp_path / "b", 2, seed=1)
    Image.new("L", (60, 20)).save(tmp_path / "b" / "large.png")
    config = dataclasses.replace(CONFIG, weights="1,3", channels="gray")
    sources = {"photos": [str(tmp_path / "a"), str(tmp_path / "b")], "validation": []}
    learned, held_out = collection.gather(sources, config)
    every = [*learned.files, *held_out.files]
    assert len(every) == 11
    drawn = [learned.files[learned.drawn(np.random.default_rng(seed))] for seed in range(3000)]
    share = np.mean([file.parent.name == "b" for file in drawn])
    assert abs(share - 0.75) <= 4 * np.sqrt(0.75 * 0.25 / 3000)  # 4 standard errors
    within = [file.name == "large.png" for file in drawn if file.parent.name == "b"]
    areas = {
        file.name: array.shape[0] * array.shape[1]
        for file, array in zip(learned.files, learned.arrays, strict=True)
        if file.parent.name == "b"
    }
    expected = areas.get("large.png", 0) / sum(areas.values())
    assert abs(np.mean(within) - expected) <= 4 * np.sqrt(0.25 / len(within))
    only = collection.gather(sources, dataclasses.replace(config, weights="0,1"))[0]
    assert {only.files[only.drawn(np.random.default_rng(seed))].parent.name for seed in range(200)} == {"b"}


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ("1", "expected one for each of the 2 folders or files"),
        ("1,1,1", "expected one for each of the 2"),
        ("1,1", "empty holds nothing to learn from"),
        ("1,-1", "expected numbers from 0"),
        ("0,0", "not all 0"),
        ("1,x", "'x': expected a number"),
    ],
)
def test_weights_that_cannot_be(weights, says, tmp_path):
    """Fails if a weight goes to another folder than meant, or to one that holds nothing."""
    put(tmp_path / "a", 3)
    (tmp_path / "empty").mkdir()
    sources = {"photos": [str(tmp_path / "a"), str(tmp_path / "empty")], "validation": []}
    assert says in refusal(lambda: collection.gather(sources, dataclasses.replace(CONFIG, weights=weights)))


# --- pictures that come with their noise ----------------------------------------------------------------------------------------


@pytest.fixture
def pairs(tmp_path):
    """Twelve clean pictures below `clean`, one in a folder of its own; the same plus one below `noisy`, as TIFF."""
    put(tmp_path / "clean", 11)
    put(tmp_path / "clean" / "deep", 1, seed=1)
    for path in (tmp_path / "clean").rglob("*.png"):
        with Image.open(path) as picture:
            pixels = np.minimum(np.asarray(picture), 254)
        Image.fromarray(pixels).save(path)
        partner = (tmp_path / "noisy" / path.relative_to(tmp_path / "clean")).with_suffix(".tif")
        partner.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(partner, pixels + 1, photometric="rgb")
    return {"photos": [str(tmp_path / "clean")], "validation": [], "noisy": [str(tmp_path / "noisy")]}


PAIRED = dataclasses.replace(CONFIG, noise=("pairs",), half_share=1, gray_share=1, batch=12)


def test_pairs_are_cropped_and_turned_alike(pairs):
    """Fails if clean and noisy come from two pictures or places, are turned otherwise, or get a noise or a size that is not theirs."""
    learned, held_out = collection.gather(pairs, PAIRED)
    assert (len(learned.arrays), len(held_out.arrays)) == (11, 1)
    assert data.noises_of(PAIRED) == ()
    for step in range(10):
        clean, noisy, mask = data.batch(learned, (), PAIRED, step)
        np.testing.assert_allclose(noisy - clean, 1 / 255, atol=1e-6)
        assert mask.all()
    [(clean, noisy)] = data.validation(held_out, (), PAIRED)
    np.testing.assert_allclose(noisy - clean, 1 / 255, atol=1e-6)


def test_a_picture_without_a_fitting_partner_is_named(pairs, tmp_path):
    """Fails if it is learned from with another's noise, or left out unsaid; or if a changed noisy picture is no change of the data."""
    before = collection.gather(pairs, PAIRED)
    collection.keep(tmp_path, *before)
    (tmp_path / "noisy" / "0-003.tif").unlink()
    tifffile.imwrite(tmp_path / "noisy" / "0-004.tif", np.zeros((21, 20, 3), np.uint8), photometric="rgb")
    tifffile.imwrite(tmp_path / "noisy" / "0-005.tif", np.zeros((20, 20, 3), np.uint8), photometric="rgb")
    pictures = collection.gather(pairs, PAIRED)
    told = {path.name: reason for path, reason in pictures[0].small}
    assert set(told) == {"0-003.png", "0-004.png"}
    assert "no noisy partner 0-003 in" in told["0-003.png"]
    assert "another size" in told["0-004.png"]
    assert collection.changes(tmp_path, *pictures) == "1 changed, 4 gone"
    assert collection.fingerprint(pictures[0]) != collection.fingerprint(before[0])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"photos": ["clean", "noisy"]}, "expected one folder of clean pictures and one of noisy ones"),
        ({"noisy": ["clean/0-000.png"]}, "expected one folder"),
        ({"noisy": ["clean/deep"]}, "no picture there has the name and size of one in"),
        ({"validation": ["noisy"]}, "leave it out with --noisy"),
    ],
)
def test_pairs_that_cannot_be(change, says, pairs, tmp_path):
    """Fails if folders that do not belong together are learned from."""
    sources = pairs | {name: [str(tmp_path / path) for path in paths] for name, paths in change.items()}
    assert says in refusal(lambda: collection.gather(sources, PAIRED))


# --- pictures that break while they are learned from ------------------------------------------------------------------------------


def test_a_picture_that_breaks_is_left_out_and_named_once(tmp_path, monkeypatch):
    """Fails if it ends the run, is named twice, or what is drawn instead depends on when that was found out."""
    put(tmp_path, 12)
    config = dataclasses.replace(CONFIG, cache_gb=0, cache=str(tmp_path / "cache"))
    monkeypatch.setattr(collection, "MEMORY", 1)  # every draw reads the file
    learned, _ = collection.gather({"photos": [str(tmp_path)], "validation": []}, config)
    assert all(isinstance(picture, Streamed) for picture in learned.arrays)
    noises = (Gaussian(0.1),)
    before = [data.batch(learned, noises, config, step) for step in range(20)]
    victim = learned.files[4]
    victim.write_bytes(victim.read_bytes()[:300])
    after = [data.batch(learned, noises, config, step)[0] for step in range(20)]
    assert [path for path, _ in learned.unreadable] == [victim]
    again = dataclasses.replace(learned, unreadable=[])
    for step in (19, 3, 11):
        np.testing.assert_array_equal(data.batch(again, noises, config, step)[0], after[step])
    same = [np.array_equal(a, b) for one, other in zip(before, after, strict=True) for a, b in zip(one[0], other, strict=True)]
    assert 0.6 < np.mean(same) < 1  # one in eleven is drawn anew


@pytest.mark.parametrize("batch", [8, 24])
def test_an_echoed_picture_serves_for_many_crops(batch, tmp_path, monkeypatch):
    """Fails if a picture is decoded more often than once for each time it is drawn, they change all at once, crops repeat, or a
    batch is no longer a function of its step.
    """
    put(tmp_path, 30)
    settings = {"cache_gb": 0, "cache": str(tmp_path / "cache"), "batch": batch}
    config = dataclasses.replace(CONFIG, echo=16, **settings)
    learned, _ = collection.gather({"photos": [str(tmp_path)], "validation": []}, config)
    monkeypatch.setattr(collection, "MEMORY", 8 * learned.pixels(0).nbytes)
    decoded, real = [], Streamed.read
    monkeypatch.setattr(Streamed, "read", lambda picture: decoded.append(picture.file) or real(picture))
    counts = []
    for step in range(64):
        before = len(decoded)
        crops = data.batch(learned, (Gaussian(0.1),), config, step)[0]
        counts.append(len(decoded) - before)
        assert len({crop.tobytes() for crop in crops}) > 0.8 * batch  # of 200 that each picture has
    assert sum(counts) <= 8 * (1 + 64 / 16)
    assert max(counts[1:]) <= 1
    assert len(set(decoded)) > 15
    np.testing.assert_array_equal(data.batch(learned, (Gaussian(0.1),), config, 63)[0], crops)
    part = data.batch(learned, (Gaussian(0.1),), config, 63, range(batch // 2, batch))[0]
    np.testing.assert_array_equal(part, crops[batch // 2 :])


def test_more_than_a_fifth_of_broken_pictures_stops_the_run(tmp_path, monkeypatch):
    """Fails if a run goes on with what is left of its pictures, or two of eleven, below a fifth, stop it."""
    put(tmp_path, 12)
    config = dataclasses.replace(CONFIG, cache_gb=0, cache=str(tmp_path / "cache"))
    monkeypatch.setattr(collection, "MEMORY", 1)
    learned, _ = collection.gather({"photos": [str(tmp_path)], "validation": []}, config)
    for file in learned.files[:2]:
        file.unlink()
    for step in range(20):
        data.batch(learned, (Gaussian(0.1),), config, step)
    assert len(learned.unreadable) == 2
    learned.files[2].unlink()

    def on():
        for step in range(20):
            data.batch(learned, (Gaussian(0.1),), config, step)

    assert "3 of 11 pictures can no longer be read, the last of them" in refusal(on, ImageError)
