// @ts-check
// Corrupt and learn: a picture with noise on it, the mask, the code and what comes back; what the weights of the cost do; and a small model that learns meanwhile.

import { ask, element, fill, post, say, wait, words } from "./server.js";

/** @typedef {{step: number, seconds: number, loss: number | null, psnr: number | null}} Point */
/** @typedef {{lambda1: number, lambda2: number, psnr: number | null, picture: string}} Weighed */

const ASK_EVERY = 1000; // ms between questions how far the training is
const MOST = 16; // pictures that a training may have
const BUSY = ["starting", "learning", "stopping"];
const WIDE = 300, HIGH = 100; // of a curve, as in index.html
/** Of each noise: the largest and the usual level on the slider, and how it is asked for and told. @type {Record<string, [number, number, (level: number) => string, (level: number) => string]>} */
const NOISES = {
  gaussian: [100, 25, (level) => `gaussian:${level}/255`, (level) => `sigma ${level}/255`],
  "salt-and-pepper": [95, 10, (level) => `salt-and-pepper:${level / 100}`, (level) => `${level} % of the pixels`],
  masking: [95, 30, (level) => `masking:${level / 100}`, (level) => `${level} % of the pixels`],
  blocks: [100, 12, (level) => `blocks:count=${level},size=24`, (level) => `${level} of 24 x 24 pixels`],
};
const [kind, restorer, shape, cost] = /** @type {HTMLSelectElement[]} */ (["kind", "restorer", "shape", "cost"].map(element));
const [level, minutes, weights] = /** @type {HTMLInputElement[]} */ (["level", "minutes", "weights"].map(element));

/** The first is looked at, the others are learned from. @type {Blob[]} */
let files = [];
/** By recorded models, each next one more by the perceptual loss. @type {Weighed[]} */
let weighed = [];
let asked = 0; // questions, also those that were passed over
let asking = false;
let following = false;
let state = "";

const noise = () => NOISES[kind.value][2](Number(level.value));
const db = (/** @type {number | null} */ psnr) => (psnr === null ? "no error at all" : `${psnr.toFixed(2)} dB`);

/** The view is opened. */
export async function learn() {
  follow();
  const example = files.length ? null : await fetch("example.png").then((answer) => answer.blob()).catch((error) => say("corrupt-said", words(error)));
  if (example && !files.length) take([example]);
}

/** @param {Blob[]} chosen */
export function take(chosen) {
  if (!chosen.length) return;
  files = chosen.slice(0, MOST);
  say("learned-from", files.length > 1 ? `the other ${files.length - 1} that you chose` : "twelve drawn ones, as you chose no others");
  corrupt();
}

/** @param {string} title  @param {string} src  @param {string} said */
function figure(title, src, said) {
  const whole = document.createElement("figure");
  const caption = document.createElement("figcaption");
  caption.append(Object.assign(document.createElement("b"), { textContent: title }), ` ${said}`);
  whole.append(Object.assign(new Image(), { src, alt: title }), caption);
  return whole;
}

/** Ask for what is shown now, one question at a time: of those that come meanwhile, the last is asked next. */
async function corrupt() {
  say("level-said", NOISES[kind.value][3](Number(level.value)));
  element("lesson").ariaBusy = "true";
  asked++;
  if (asking) return;
  asking = true;
  for (let answered = 0; answered < asked; ) {
    answered = asked;
    try {
      tell(await (await post("corrupt", [files[0]], { model: restorer.value, noise: noise() })).json());
      if (asked === answered) weighed = (await (await post("weights", [files[0]], { noise: noise() })).json()).models;
      weigh();
    } catch (error) {
      say("corrupt-said", words(error));
      for (const id of ["seen", "code", "weighed"]) element(id).replaceChildren();
    }
  }
  asking = false;
  element("lesson").ariaBusy = "false";
}

/** @param {any} told  as api/corrupt says it */
function tell(told) {
  element("seen").replaceChildren(
    figure("The picture I", told.clean, ""),
    figure("Corrupted", told.noisy, `PSNR ${db(told.psnr.noisy)}`),
    figure("Mask", told.mask, `${(100 * told.touched).toFixed(told.touched < 0.1 ? 1 : 0)} % of the pixels are touched`),
    figure("Reconstruction D(Z)", told.restored, `PSNR ${db(told.psnr.restored)}, ${told.why || `by ${told.model}`}`),
  );
  const levels = told.code.map((/** @type {any} */ one) => figure(`${one.channels} channels`, one.picture, `of ${one.width} x ${one.height}`));
  element("code").replaceChildren(...levels);
  say("code-said", told.code_note || "What the encoder makes of the corrupted picture, a square for each channel; middle gray is 0. The decoder sees this alone.");
  say("corrupt-said", "");
}

/** Beside the recorded model of pixels alone, show that at which the slider stands. */
function weigh() {
  const [first, chosen] = [weighed[0], weighed[Number(weights.value)]];
  const said = `\u03bb\u2081 = ${chosen.lambda1}, \u03bb\u2082 = ${chosen.lambda2}`;
  say("weights-said", said);
  weights.ariaValueText = said;
  element("weighed").replaceChildren(figure("Pixels alone", first.picture, `PSNR ${db(first.psnr)}`), figure(said, chosen.picture, `PSNR ${db(chosen.psnr)}`));
}

/** @param {string} id  @param {Point[]} points  @param {"loss" | "psnr"} key  @param {(value: number) => string} told */
function curve(id, points, key, told) {
  const values = points.map((point) => Number(point[key]));
  const [low, high, last] = [Math.min(...values), Math.max(...values), points.at(-1)?.seconds || 1];
  const places = points.map(({ seconds }, index) => `${(WIDE * seconds) / last},${HIGH * (1 - (values[index] - low) / (high - low || 1))}`);
  element(id).querySelector("polyline")?.setAttribute("points", places.join(" "));
  say(`${id}-said`, values.length ? `${told(values[0])} at first, now ${told(values[values.length - 1])}` : "");
}

/** Show how far the training is. @param {any} told  as api/train says it */
function show(told) {
  const busy = BUSY.includes(told.state);
  const points = told.points.filter((/** @type {Point} */ point) => point.loss !== null && point.psnr !== null);
  /** @type {Record<string, string>} */
  const said = {
    starting: "Getting ready: what it learns from, and how many steps there is time for",
    learning: "Learning",
    stopping: "Stopping; the model is being kept",
    done: `Done: ${told.model} can be chosen above and where you denoise, until unnoise ends${told.noisy_psnr === null ? "" : `; the noisy crop had ${db(told.noisy_psnr)}`}.`,
  };
  state = told.state;
  say("train-said", said[state] ?? told.words);
  element("train").hidden = busy;
  element("stop").hidden = !busy;
  element("stop").toggleAttribute("disabled", state === "stopping");
  element("train").toggleAttribute("disabled", state === "none" && told.words); // the extra is absent
  element("trained").hidden = state !== "done";
  element("trained").setAttribute("href", `api/model?name=${told.model}`);
  element("steps").hidden = !busy;
  element("steps").setAttribute("value", String(told.step / (told.steps || 1)));
  element("progress").hidden = !points.length;
  curve("losses", points, "loss", (value) => value.toPrecision(3));
  curve("psnrs", points, "psnr", db);
  if (points.length) {
    const src = `api/train/sample?step=${points.at(-1).step}`;
    if (element("sample").getAttribute("src") !== src) element("sample").setAttribute("src", src);
  }
}

async function follow() {
  if (following) return;
  following = true;
  try {
    for (let before = state; ; before = state, await wait(ASK_EVERY)) {
      const told = await ask("api/train");
      show(told);
      if (before && before !== "done" && state === "done") {
        await fill();
        restorer.value = told.model;
        corrupt();
      }
      if (!BUSY.includes(state)) break;
    }
  } catch (error) {
    say("train-said", words(error));
  }
  following = false;
}

/** @param {string} call  @param {Blob[]} files  @param {Record<string, string>} [fields] */
const change = (call, files, fields) => post(call, files, fields).then((answer) => answer.json()).then(show).then(follow).catch((error) => say("train-said", words(error)));

kind.addEventListener("input", () => {
  [level.max, level.value] = NOISES[kind.value].slice(0, 2).map(String);
});
for (const control of [kind, level, restorer]) control.addEventListener("input", corrupt);
weights.addEventListener("input", weigh);
element("train").addEventListener("click", () => change("train", files, { noise: noise(), shape: shape.value, cost: cost.value, minutes: minutes.value }));
element("stop").addEventListener("click", () => change("train/stop", []));
