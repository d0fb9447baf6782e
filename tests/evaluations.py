"""A small evaluation for the tests of its page: five pictures of several shapes, five methods, and scores that are known."""

import json
from dataclasses import asdict

import numpy as np
from PIL import Image

from unnoise.metrics import MEANINGS, Meaning

METHODS = {"noisy": "none", "run": "model", "older": "model", "nlm": "classical", "median": "classical"}
MEANS = (20.0, 27.8, 27.5, 28.0, 25.0)  # PSNR of each method, in dB
DISTANCES = (0.5, 0.0625, 0.25, 0.125, 1234.4)  # of each method: the second is nearest to the clean picture
DISTANCE = Meaning(
    title="Perceptual distance", better="lower", definition="how unlike it looks", range="from 0", source="Johnson et al. 2016"
)
OVER_NLM = (1.0, -0.5, 0.25, -2.0, 0.125)  # of run over nlm, in dB
WORST_FIRST = (3, 1, 4, 0, 2)  # the least three of these, then the others as they come
SHAPES = ((256, 256), (200, 256, 3), (64, 90), (256, 130, 3), (1, 1))
HOSTILE = (
    '"><script>alert(1)</script><img src="http://127.0.0.1:9/x.png" onerror=alert(2)>.png',
    "two\nlines\r\tand \x1b[31m a terminal's, \0 none.png",
    "half a pair \udcff and its \ud83d other, \u202egnp.txt",
    "a" * 200 + ".png",
    "</style></svg></title><!-- ]]> &amp; ' ` =.png",
)


def evaluation(folder, names=("a/b.png", "c.png", "d.png", "e.png", "dot.png"), methods=METHODS):
    """The document, with its crops in `folder`. Of each picture, the methods' crops lie ever nearer to the clean one."""
    rng = np.random.default_rng(5)
    (folder / "crops").mkdir(parents=True, exist_ok=True)
    pictures = []
    for index, (name, shape) in enumerate(zip(names, SHAPES, strict=True)):
        clean = np.clip(np.cumsum(rng.normal(0, 0.1, shape), axis=1) + 0.5, 0, 1)
        noise = 0.1 * rng.standard_normal(shape)
        shown = {"clean": clean} | {method: clean + noise / (1 + count) for count, method in enumerate(methods)}
        crops = {method: f"crops/0-{index}-{count}.png" for count, method in enumerate(shown)}
        for method, path in crops.items():
            Image.fromarray(np.rint(np.clip(shown[method], 0, 1) * 255).astype(np.uint8)).save(folder / path)
        psnrs = dict(zip(methods, (MEANS[0], 28.0 + OVER_NLM[index], *MEANS[2:]), strict=True))
        scores = {
            m: {"psnr": v, "ssim": v / 40, "ms_ssim": None, "perceptual": d, "seconds": 0.1}
            for (m, v), d in zip(psnrs.items(), DISTANCES, strict=True)
        }
        pictures.append(
            {"name": name, "height": shape[0] + 7, "width": shape[1] + 9, "channels": len(shape), "crop": [3, 5, *shape[:2]],
             "estimated_noise": 0.098, "crops": crops, "scores": scores}
        )  # fmt: skip
    case = {"noise": "gaussian:25/255", "methods": [described(*item, mean, apart) for item, mean, apart in zip(methods.items(), MEANS, DISTANCES, strict=True)], "pictures": pictures,
            "best_classical": list(methods)[3], "verdict": "run is no better than nlm here."}  # fmt: skip
    document = {
        "unnoise": "0.1.0", "command": "unnoise evaluate run --clean c --noise gaussian:25/255", "date": "2026-11-25",
        "machine": "two threads", "versions": {"numpy": "2.4.6"}, "seed": 0, "left_out": [{"source": "x.txt", "reason": "is no picture"}],
        "metrics": {name: asdict(meaning) for name, meaning in {**MEANINGS, "perceptual": DISTANCE}.items()},
        "absent": [{"method": "bm3d", "reason": "is not installed"}], "cases": [case], "verdict": case["verdict"],
    }  # fmt: skip
    return json.loads(json.dumps(document))


def described(name, kind, psnr, apart):
    mean = {"psnr": psnr, "ssim": psnr / 40, "ms_ssim": None, "perceptual": apart}
    interval = {"psnr": [psnr - 0.5, psnr + 0.5], "ssim": [0.5, 0.8], "ms_ssim": None, "perceptual": [apart / 2, 2 * apart]}
    return {"name": name, "kind": kind, "parameters": {"gray": {"h": 0.8, "patch": 5}, "size": 3} if kind == "classical" else {}, "tuned_on": "other photos",
            "seconds_per_megapixel": 0.3125, "mean": mean, "interval": interval}  # fmt: skip
