"""The command line: one function a verb. Work and heavy imports happen inside them, so that --help answers at once."""

from __future__ import annotations

import dataclasses
import json as json_text
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.argument import ArgumentCollection
from cyclopts.config import Dict

from . import __version__, rehearsal
from .config import LENGTHS, TrainConfig, settings_in
from .console import picture_lines, say, table, tell_evaluation, tell_models, tell_result, tell_summary, training_line
from .errors import BadSetting, ImageError, needed_by
from .shell import call, going_on

if TYPE_CHECKING:
    from .batch import Job, Place

Out = Annotated[Path, Parameter(("--out", "-o"))]
Photos = Annotated[list[Path], Parameter(negative=())]
Flag = Annotated[bool, Parameter(negative=())]
Settings = Annotated[TrainConfig, Parameter(name="*")]
FORMATS = {  # the kind that a name of --format means, and the ending of its files
    "png": ("PNG", ".png"), "jpeg": ("JPEG", ".jpg"), "tiff": ("TIFF", ".tif"), "webp": ("WebP", ".webp"),
    "gif": ("GIF", ".gif"), "bmp": ("BMP", ".bmp"), "pnm": ("PNM", ".pnm"),
}  # fmt: skip


def _from_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Take from the file of --config the settings that the command line does not give."""
    given = {name: argument.tokens[0].value for argument in arguments if argument.tokens for name in argument.names}
    if "--config" not in given:
        return
    settings = settings_in(Path(given["--config"]))
    if any(f"--{length}" in given for length in LENGTHS):
        settings = {name: value for name, value in settings.items() if name not in LENGTHS}
    by_option = {name.replace("_", "-"): value for name, value in settings.items()}
    Dict(by_option, use_commands_as_keys=False, source=given["--config"])(app, commands, arguments)


app = App(
    config=_from_file,
    name="unnoise",
    version=__version__,
    help="Denoising autoencoders for images: train one on your own pictures, run it anywhere.\n\nBegin with: unnoise demo",
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,
)


@app.command
def demo(*, out: Out = Path("demo"), minutes: float = 2, seed: int = 0, json: Flag = False) -> int:
    """Train one in two minutes on photos that come with scikit-image, and show what it did.

    Example: unnoise demo

    :param out: Folder for the report and the run.
    :param minutes: How long to train.
    :param seed: Every draw follows from it.
    :param json: Print the scores as one JSON document.
    """
    with needed_by("the demo", "train,peers"):
        from . import demo as demonstration
    with training_line() as watch:
        report = demonstration.demo(out, minutes, seed, watch, say)
    if json:
        print(json_text.dumps(report.as_json()))
    else:
        table("Held-out photos, mean PSNR in dB (higher is better)", report.columns, report.rows)
    say(
        f"Look at {report.page}\nThe model is in {report.run}; clean a picture with: unnoise denoise PHOTO --model {report.run} -o clean"
    )
    return 0


@app.command
def train(
    photos: Photos | None = None,
    /,
    *,
    out: Annotated[Path | None, Parameter(("--out", "-o"))] = None,
    resume: Path | None = None,
    validation: list[Path] | None = None,
    noisy: Path | None = None,
    file: Annotated[Path | None, Parameter("--config")] = None,
    data_changed_ok: Flag = False,
    continue_for: str | None = None,
    finish: Flag = False,
    dry_run: Flag = False,
    json: Flag = False,
    config: Settings = TrainConfig(),  # noqa: B008, frozen
) -> int:
    """Train a denoising autoencoder on your pictures.

    Example: unnoise train photos -o run --noise gaussian:0..55/255 --minutes 20

    :param photos: Pictures, or folders of them.
    :param out: The run folder, new or empty.
    :param resume: Go on with this run folder instead, exactly where it was; with --device and --threads elsewhere than before.
    :param validation: Pictures to score on; else a few of the photos are set aside.
    :param noisy: Folder of the same pictures with their own noise, by the same names; no other noise is put on then. With --target pairs, another noisy take of each.
    :param file: TOML or JSON file of settings by the names of these options, or a run's config.json; options given here come first.
    :param data_changed_ok: With --resume: go on also if the pictures are no longer those that the run began with.
    :param continue_for: With --resume: make a finished run longer, by so many minutes, or steps=4000, epochs=2, with a fresh schedule.
    :param finish: With --resume: end the run at its newest checkpoint, and write the model that has been learned by then.
    :param dry_run: Only say what would be done.
    :param json: Print the outcome as one JSON document.
    """
    elsewhere = TrainConfig(device=config.device, threads=config.threads)
    if resume is not None and (dry_run or photos or validation or noisy or out is not None or config != elsewhere):
        raise BadSetting("--resume goes on with a run's own photos and settings; leave all but --device and --threads out.")
    if resume is None and data_changed_ok:
        raise BadSetting("--data-changed-ok belongs to --resume; a new run takes the pictures as they are.")
    if resume is None and continue_for is not None:
        raise BadSetting("--continue-for belongs to --resume; say how long a new run is by --minutes, --steps or --epochs.")
    if finish and (resume is None or continue_for is not None):
        raise BadSetting("--finish ends a run that was stopped; give it alone with --resume RUN.")
    if resume is None and not photos:
        raise BadSetting("there are no photos; give a folder of pictures: unnoise train photos -o run")
    if photos and dry_run:
        if noisy or config.target != "clean":
            raise BadSetting(
                "--dry-run says what share of the values noise touches; with --noisy or --target, that is not known."
            )
        if config.start_from:
            raise BadSetting("--dry-run looks at pictures and settings, not at models; leave --start-from out.")
        return rehearsal.dry_run_of_training(photos, config, json)
    if resume is None and out is None:
        raise BadSetting("there is no -o; give a new folder for the run: unnoise train photos -o run")
    with needed_by("training", "train"):
        from .run import resume as go_on
        from .run import train as begin
    with going_on(resume or out), training_line() as watch:
        if photos and out:
            settings = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
            result = begin(photos, out, validation=validation, noisy=noisy, watch=watch, **settings)
        else:
            assert resume is not None
            result = go_on(resume, watch, data_changed_ok, continue_for, config.device, config.threads, finish)
    tell_result(result, json)
    return 0


@app.command
def runs(folder: Path, /, *, json: Flag = False) -> int:
    """A table of training runs: the settings in which they are unlike most, steps, PSNR on the validation crops, time.

    Example: unnoise runs experiments

    :param folder: Where the run folders are, at any depth.
    :param json: Print it as one JSON document.
    """
    from . import runs as all_runs

    found = all_runs.find(folder)
    if json:
        print(json_text.dumps({"runs": [dataclasses.asdict(run) | {"folder": str(run.folder)} for run in found]}))
    else:
        table("", *all_runs.table(found, folder))
    return 0


@app.command
def denoise(
    photos: Photos,
    /,
    *,
    out: Annotated[Path | None, Parameter(("--out", "-o"))] = None,
    model: str = "auto",
    strength: float = 1.0,
    grain: float = 0.0,
    quality: Literal["normal", "high"] = "normal",
    mask: Path | None = None,
    learn: float | None = None,
    no_fallback: Flag = False,
    format: Literal["png", "jpeg", "tiff", "webp", "gif", "bmp", "pnm"] | None = None,
    first_frame: Flag = False,
    max_megapixels: float = 128,
    tile: int | None = None,
    threads: int = 0,
    processes: int = 0,
    engine: str | None = None,
    verify_tiling: Flag = False,
    preview: Flag = False,
    dry_run: Flag = False,
    overwrite: Flag = False,
    json: Flag = False,
) -> int:
    """Clean pictures with a trained model; each keeps its kind, bit depth and metadata, and all its pages or frames.

    What is done already, with the same settings, is skipped: a batch that was stopped goes on with the same command.

    Example: unnoise denoise photos -o clean --model run

    :param photos: Pictures, or folders of them: PNG, JPEG, TIFF, WebP, GIF, BMP, PNM.
    :param out: Folder for the cleaned pictures.
    :param model: A run folder, a model.onnx, or a bundled model's name, see unnoise models; auto chooses of those for each picture, by its noise, and leaves a clean one as it is. Or a classical method: nlm, wavelet, tv, bilateral, bm3d.
    :param strength: 0 leaves the picture, 1 takes all that the model does.
    :param grain: Share of the brightness grain to leave in; colour noise goes as far as --strength takes it.
    :param quality: high: the mean of what the model makes of the picture's eight flips and turns, in eight times the time.
    :param mask: A picture that is white where pixels are missing, or a folder with NAME.mask.png for each photo, as corrupt writes them: only these are filled in.
    :param learn: First learn the noise of these very pictures, for so many minutes, and use what was learned where an estimate without truth tells that it does better than the bundled models and classical methods.
    :param no_fallback: With --learn: use what was learned, whatever that estimate says.
    :param format: Write this kind of file instead of the source's own.
    :param first_frame: Only the first page or frame of each file; else all of them.
    :param max_megapixels: Refuse larger pictures; with TIFF, PNM and PNG, memory follows the tile, else the picture.
    :param tile: Side in pixels of the tiles that a large picture goes through the model in; less takes less memory, 0 is one piece. Default: the model's own.
    :param threads: Processor threads, of all processes together; 0: one a physical core.
    :param processes: Pictures at a time, each in a process of its own with its share of the threads, one at least; 0: one a thread, if there are pictures and memory enough.
    :param engine: Who does the work: ray starts Ray here for this command, ray:HOST:PORT joins one that runs, with all its machines; then photos and out may be in an object store, as s3://bucket/photos. Default: this machine.
    :param verify_tiling: Write nothing; denoise each picture in tiles and in one piece, and fail where they differ by more than 1e-5.
    :param preview: Only write OUT/preview.png: of the first pictures a crop before, after, and what was taken away.
    :param dry_run: Only say what would be written, skipped or refused; files are not decoded.
    :param overwrite: Replace other files too, not only what unnoise wrote; never a source.
    :param json: Print what was done as one JSON document.
    """
    from . import auto, cleaning
    from .store import Url

    limit = _pixels(max_megapixels)
    if verify_tiling:
        others = (
            out
            or format
            or overwrite
            or preview
            or dry_run
            or engine
            or first_frame
            or mask
            or learn is not None
            or no_fallback
        )
        if others or strength != 1 or grain or tile == 0:
            raise BadSetting(
                "--verify-tiling only compares: with it, give no more than --model, --quality, --tile (not 0) and --json."
            )
        return rehearsal.verify_tiling(photos, auto.Models(model, threads, tile, quality), tile, limit, json)
    if out is None:
        raise BadSetting("there is no -o; give a folder for what is cleaned: unnoise denoise photos -o cleaned")
    kind, ending = FORMATS[format] if format else (None, None)
    asked = cleaning.Request(
        photos=[Url.of(photo) or photo for photo in photos], out=Url.of(out) or out, model=model, strength=strength, grain=grain, quality=quality, mask=mask, learn=learn,
        fallback=not no_fallback, kind=kind, ending=ending, first_frame=first_frame, limit=limit, tile=tile, threads=threads,
        processes=processes, engine=engine,
        preview=preview, dry_run=dry_run, overwrite=overwrite,
    )  # fmt: skip
    return cleaning.clean(asked, json)


@app.command
def export(run: Path, /, *, out: Out, float16: Flag = False, int8: Flag = False, overwrite: Flag = False) -> int:
    """Write a trained model as one ONNX file that runs anywhere: pictures of any size, and all it says of itself inside.

    Example: unnoise export run -o model.onnx

    :param run: The folder of a finished run, or its model.safetensors.
    :param out: The file to write: NAME.onnx; or NAME.safetensors, to train on from by train --start-from.
    :param float16: Store the weights as float16: half the size. It computes in float32 all the same, as fast.
    :param int8: Convolutions in 8 bits where that pays; refused where it loses 0.1 dB or is less than 1.3 times as fast.
    :param overwrite: Replace the file if it exists.
    """
    if out.suffix.lower() not in (".onnx", ".safetensors"):
        raise BadSetting(f"--out {out}: expected the name of a file that ends in .onnx or .safetensors, such as model.onnx.")
    if int8 and (float16 or out.suffix.lower() != ".onnx"):
        raise BadSetting(
            "--int8 writes an ONNX file, and keeps what is not in 8 bits as it is; leave --float16 out, and end --out in .onnx."
        )
    if out.exists() and not overwrite:
        raise BadSetting(f"{out} exists already; give --overwrite to replace it, or another name.")
    with needed_by("exporting", "train"):
        from .export import export_again
        from .quantise import export_int8
    card = export_int8(run, out, overwrite) if int8 else export_again(run, out, overwrite, float16)
    say(
        f"{out}: {card['architecture']}; a pixel sees {card['receptive_field']} x {card['receptive_field']} pixels, tiles of "
        f"{card['tile']} overlap by {card['overlap']} on each side"
    )
    if int8:
        lost = ", ".join(f"{round(loss, 2) + 0:.2f} dB on {noise}" for noise, loss in card["int8"]["loss_db"].items())
        say(f"in 8 bits {card['int8']['times_faster']:.2f} times as fast on this processor, at a loss of {lost}")
    return 0


@app.command
def models(file: Path | None = None, /, *, json: Flag = False) -> int:
    """What is bundled, or what a model file says of itself: what it is for, measured quality, licence, size.

    Example: unnoise models run

    :param file: A bundled model's name, a run folder, or a model file; its whole card is shown. Or a classical method: nlm, wavelet, tv, bilateral, bm3d.
    :param json: Print it as one JSON document, cards included.
    """
    from . import bundled, tuned

    if str(file) in tuned.DENOISERS and file is not None and not file.exists():
        from . import classical
        from .console import tell_method

        tell_method(classical.described(str(file)), json)
        return 0
    tell_models(bundled.described(file), file is not None, json)
    return 0


@app.command
def corrupt(
    photos: Photos,
    /,
    *,
    out: Out,
    noise: str,
    seed: int = 0,
    save_mask: Flag = False,
    max_megapixels: float = 128,
    dry_run: Flag = False,
    overwrite: Flag = False,
    json: Flag = False,
) -> int:
    """Put noise on pictures; each is written as PNG, so that what was not touched stays bit for bit.

    Example: unnoise corrupt photos -o noisy --noise salt-and-pepper:count=2000 --seed 7 --save-mask

    :param photos: Pictures, or folders of them: PNG, JPEG, TIFF, WebP, GIF, BMP, PNM.
    :param out: Folder for the noisy pictures.
    :param noise: gaussian:25/255, camera:10/255,jpeg=90, profile:camera.json,iso=800, salt-and-pepper:count=2000, masking:0.3, blocks:count=4,size=16; + puts one after another.
    :param seed: The same seed gives a picture of this name the same noise.
    :param save_mask: Also write NAME.mask.png, white where a value was touched.
    :param max_megapixels: Refuse larger pictures; memory grows with the picture.
    :param dry_run: Only say what would be written, skipped or refused; files are not decoded.
    :param overwrite: Replace other files too, not only what unnoise wrote; never a source.
    :param json: Print what was done as one JSON document.
    """
    import zlib

    from . import batch, image
    from .keyed import keyed_rng
    from .ledger import kept
    from .mask import ENDING
    from .noise import parse
    from .profiles import filled_in

    model = parse(filled_in(noise))
    if not 0 <= seed < 2**63:
        raise BadSetting(f"seed={seed}: expected a whole number from 0.")

    def spoil(source: Path, to: Place, to_mask: Place | None = None) -> batch.Made:
        picture = image.read(source, limit)
        if picture.frames > 1:
            raise ImageError(f"holds {picture.frames} pages or frames, and a PNG holds one; take them apart first.")
        picture = dataclasses.replace(picture, depth=max(picture.depth, 8))  # noise falls between the levels of fewer bits
        key = zlib.crc32(to.path.relative_to(out).as_posix().encode("utf-8", "surrogateescape"))
        noisy, mask = model(picture.pixels, keyed_rng(seed, index=key))
        image.write(to.path, noisy, picture, to.overwrite, written=to.written)
        if to_mask:
            flat = mask.any(2) if mask.ndim == 3 else mask
            image.write(to_mask.path, flat.astype(float), None, to_mask.overwrite, written=to_mask.written)
        return batch.Made(image.lost(picture, "PNG"))

    limit, summary, began = _pixels(max_megapixels), batch.Summary(), time.monotonic()
    jobs: list[Job] = [(source, batch.ending_in(".png", output)) for source, output in batch.plan(photos, out, summary)]
    if save_mask:
        jobs = [(source, output, batch.ending_in(ENDING, output)) for source, output in jobs]
    with (
        going_on(),
        kept(out, "corrupt", {"noise": str(model), "seed": seed}, dry_run) as ledger,
        picture_lines() as (each, _),
    ):
        batch.for_each(jobs, photos, batch.Work(None if dry_run else spoil, ledger, overwrite), summary, progress=each)
    return tell_summary(
        summary, json, {"seconds": round(time.monotonic() - began, 3), "noise": str(model), "seed": seed}, dry_run
    )


@app.command
def inspect(photos: Photos, /, *, picture: Path | None = None, max_megapixels: float = 128, json: Flag = False) -> int:
    """Say what noise is in pictures, how strong, and which model fits, if any; traces of JPEG and sensor, and what a series has in common.

    Example: unnoise inspect photos

    :param photos: Pictures, or folders of them: PNG, JPEG, TIFF, WebP, GIF, BMP, PNM.
    :param picture: Draw noise over brightness, its autocorrelation, impulses and the patches used: a PNG for one photo, else a folder.
    :param max_megapixels: Refuse larger pictures; with TIFF, PNM and PNG, memory holds 16 megapixels at most, else the picture.
    :param json: Print the figures, each with its standard error, as one JSON document.
    """
    return rehearsal.inspect(photos, _pixels(max_megapixels), json, picture)


@app.command
def profile(
    flats: Photos,
    /,
    *,
    out: Out,
    same_scene: Flag = False,
    max_megapixels: float = 128,
    overwrite: Flag = False,
    json: Flag = False,
) -> int:
    """Measure the noise of your camera, as a noise model to train with: --noise profile:camera.json.

    Example: unnoise profile flats -o camera.json

    :param flats: Pictures of even surfaces at several exposures, or folders of them; each ISO is told by itself, by EXIF, else each folder.
    :param out: The file to write, such as camera.json.
    :param same_scene: The pictures of each folder are frames of one scene, two or more: their differences are the noise.
    :param max_megapixels: Leave out larger pictures; memory grows with the picture.
    :param overwrite: Replace the file if it exists.
    :param json: Print the profile on standard output too.
    """
    return rehearsal.profile(flats, out, same_scene, _pixels(max_megapixels), overwrite, json)


@app.command
def serve(
    *,
    port: int = 8377,
    listen: str | None = None,
    open: Flag = False,
    max_mb: float = 256,
    model: str = "auto",
    threads: int = 0,
) -> int:
    """A page on this computer that denoises pictures, and an HTTP interface for programs; until Ctrl-C.

    Example: unnoise serve --open

    :param port: Where it listens; 0: any port that is free.
    :param listen: Listen at this address of the computer, for others too; then whoever asks needs the token in the address that is printed.
    :param open: Open the page in the browser.
    :param max_mb: Refuse larger files, in millions of bytes.
    :param model: What the page begins with: a bundled model's name, a run folder, a model.onnx, or auto.
    :param threads: Processor threads; 0: one a physical core.
    """
    from .server.app import serve as run

    run(port, listen, open, max_mb, model, threads)
    return 0


@app.command
def evaluate(
    models: Photos | None = None,
    /,
    *,
    out: Out,
    clean: Path | None = None,
    noise: list[str] | None = None,
    pairs: tuple[Path, Path] | None = None,
    methods: str | None = None,
    seed: int = 0,
    require_better_than: str = "",
    max_megapixels: float = 128,
    tile: int | None = None,
    features: str | None = None,
    heads: Path | None = None,
    json: Flag = False,
) -> int:
    """Judge models against classical methods, on pictures whose clean side is known; OUT/report.html shows the difference.

    What is finished is kept: the same command goes on where it was stopped, and computes only what has changed.

    Example: unnoise evaluate run --clean held-out --noise gaussian:25/255 -o judged

    :param models: Run folders, files model.onnx, names of bundled models, or auto: of the bundled ones that which fits a picture's noise. Default: auto.
    :param out: Folder for the report.
    :param clean: Folder of clean pictures, which none of the models has learned from.
    :param noise: What to put on them, as in corrupt; given several times, each is a case of its own.
    :param pairs: Two folders of the same pictures, noisy and clean: real noise.
    :param methods: The classical methods: nlm,wavelet,tv,bilateral,median,bm3d, and for lost pixels median,adaptive-median,biharmonic,inpainting. Default: all that fit the noise and are installed, and auto.
    :param seed: The same seed gives a picture of this name the same noise.
    :param require_better_than: Exit with 1 unless every model is better than this method in every case, its whole 95 % interval.
    :param max_megapixels: Leave out larger pictures; memory grows with the picture.
    :param tile: Side in pixels of the given models' tiles; 0 is one piece. Default: the model's own.
    :param features: The network of the perceptual distance: bundled, vgg16:FILE, alexnet:FILE, squeezenet1_0:FILE, squeezenet1_0-caffe:FILE, squeezenet1_1:FILE, or none. Default: bundled, where torch is installed.
    :param heads: File of the heads of LPIPS for these features (vgg16, alexnet, squeezenet1_1): the distance is then LPIPS.
    :param json: Print report.json on standard output.
    """
    from . import auto, distance
    from .evaluate import Request
    from .evaluate import evaluate as judge
    from .noise import parse
    from .profiles import filled_in

    request = Request(
        models=[str(model) for model in models or [Path(auto.AUTO)]],
        out=out,
        clean=clean,
        noises=[parse(filled_in(text)) for text in noise or ()],
        pairs=pairs,
        methods=None if methods is None else methods.replace(" ", "").split(","),
        seed=seed,
        better_than=require_better_than,
        max_pixels=_pixels(max_megapixels),
        tile=tile,
        features=features,
        heads=heads,
    )
    further, notes = distance.for_evaluation(features, heads)
    with going_on(), picture_lines() as (each, _):
        return tell_evaluation(judge(request, further, each, notes), out, json)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    call(app, arguments)


def _pixels(megapixels: float) -> int:
    if not 0 < megapixels < 1e6:
        raise BadSetting(f"max-megapixels={megapixels:g}: expected millions of pixels above 0; the usual limit is 128.")
    return round(megapixels * 1e6)
