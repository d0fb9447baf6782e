// @ts-check
// The page: pictures that are dropped or chosen go through the server, two at a time, and wait here to be compared and taken away.

import { learn, take as lookAt } from "./learn.js";
import { ask, element, fill, post, say, shown, wait, words } from "./server.js";
import { hide, show } from "./viewer.js";
import { zipped } from "./zip.js";

/**
 * @typedef {object} Picture
 * @property {File} file
 * @property {HTMLElement} card
 * @property {"waiting" | "working" | "done" | "failed" | "cancelled"} state
 * @property {string} [advice]  on its noise
 * @property {Blob} [result]  the denoised file
 * @property {string} [url]  of the result, to download it
 * @property {string} [settings]  that the result is of
 */

const AT_ONCE = 2;
const THUMB = 256; // pixels of its longer side
const ASK_EVERY = 400; // ms between questions how far a picture is

/** @type {Picture[]} */
let pictures = [];
let limit = Infinity; // bytes of a file
let stop = new AbortController();
const [model, quality] = /** @type {HTMLSelectElement[]} */ (["model", "quality"].map(element));
const [strength, chooser] = /** @type {HTMLInputElement[]} */ (["strength", "files"].map(element));

/** @param {Picture} picture  @param {string} selector  @returns {any} */
const part = (picture, selector) => picture.card.querySelector(selector);
const settings = () => ({ model: model.value, strength: String(Number(strength.value) / 100), quality: quality.value });

/** @param {Picture} picture  @param {Blob} file */
async function thumbnail(picture, file) {
  const [, bitmap] = await shown(file);
  const canvas = part(picture, "canvas");
  const scale = Math.min(THUMB / bitmap.width, THUMB / bitmap.height, 1);
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
}

/** @param {Picture} picture  @param {Picture["state"]} state  @param {string} words */
function become(picture, state, words) {
  picture.state = state;
  picture.card.className = state;
  part(picture, ".state").textContent = words;
  part(picture, "progress").hidden = state !== "working";
  part(picture, ".compare").disabled = !picture.result;
  part(picture, "a").hidden = !picture.result;
  summary();
}

/** Whether it was cancelled, or done with other settings than those of now. @param {Picture} picture */
const outdated = (picture) => picture.state !== "failed" && picture.settings !== JSON.stringify(settings());

function summary() {
  const count = (/** @type {Picture["state"]} */ state) => pictures.filter((picture) => picture.state === state).length;
  const busy = count("waiting") + count("working");
  const words = [`${count("done")} of ${pictures.length} done`];
  if (count("failed")) words.push(`${count("failed")} could not be processed`);
  if (count("cancelled")) words.push(`${count("cancelled")} cancelled`);
  say("status", words.join(", "));
  element("all").hidden = !pictures.length;
  element("cancel").hidden = !busy;
  element("again").hidden = Boolean(busy) || !pictures.some(outdated);
  element("zip").hidden = !pictures.some((picture) => picture.result);
  element("clear").hidden = Boolean(busy) || !pictures.length;
}

/** Show how far the server is until the picture is no longer at work. @param {Picture} picture  @param {string} key */
async function follow(picture, key) {
  const bar = part(picture, "progress");
  for (bar.removeAttribute("value"); picture.state === "working"; await wait(ASK_EVERY)) {
    const told = await ask(`api/progress?key=${key}`).catch(() => ({}));
    if (picture.state !== "working" || told.state !== "working") continue;
    bar.value = told.share;
    part(picture, ".state").textContent = told.page > 1 ? `Denoising, page ${told.page}` : "Denoising";
  }
}

/** @param {Picture} picture */
async function denoise(picture) {
  const [wanted, { signal }] = [settings(), stop];
  become(picture, "working", "Looking at its noise");
  try {
    if (picture.file.size > limit) throw new Error(`The file is larger than ${Math.round(limit / 1e6)} MB, the limit here.`);
    if (!picture.advice) {
      picture.advice = (await (await post("inspect", [picture.file], {}, signal)).json()).advice;
      await thumbnail(picture, picture.file);
    }
    part(picture, ".why").textContent = picture.advice;
    const key = crypto.getRandomValues(new Uint32Array(4)).join("-");
    become(picture, "working", "Waiting for its turn");
    follow(picture, key);
    const answer = await post("denoise", [picture.file], { ...wanted, key }, signal);
    const result = await answer.blob();
    await thumbnail(picture, result);
    take(picture, result, JSON.stringify(wanted));
    const [by, why, note] = ["model", "why", "note"].map((name) => answer.headers.get(`unnoise-${name}`) ?? "");
    const told = wanted.model === "auto" ? [`It ${by === "none" ? "stays" : "went"} ${why.replaceAll("+/-", "±")}.`] : [`It went through ${by}, as chosen.`, picture.advice];
    if (note) told.push(`It ${note}`);
    part(picture, ".why").textContent = told.join(" ");
    become(picture, "done", by === "none" ? "Left as it is" : "Done");
  } catch (error) {
    const cancelled = signal.aborted;
    become(picture, cancelled ? "cancelled" : "failed", cancelled ? "Cancelled" : words(error));
  }
}

/** @param {Picture} picture  @param {Blob} result  @param {string} of */
function take(picture, result, of) {
  if (picture.url) URL.revokeObjectURL(picture.url);
  Object.assign(picture, { result, url: URL.createObjectURL(result), settings: of });
  Object.assign(part(picture, "a"), { href: picture.url, download: picture.file.name });
}

let running = 0;
async function go() {
  if (running >= AT_ONCE) return;
  running++;
  go(); // as many at once as may be
  for (let next; (next = pictures.find((picture) => picture.state === "waiting")); ) await denoise(next);
  running--;
}

/** @param {File[]} files */
function add(files) {
  if (location.hash === "#learn") return lookAt(files);
  if (stop.signal.aborted) stop = new AbortController();
  for (const file of files) {
    const { content } = /** @type {HTMLTemplateElement} */ (element("card"));
    const card = /** @type {HTMLElement} */ (content.firstElementChild?.cloneNode(true));
    const picture = /** @type {Picture} */ ({ file, card, state: "waiting" });
    part(picture, "h3").textContent = file.name;
    part(picture, ".compare").setAttribute("aria-label", `Compare ${file.name} before and after`);
    part(picture, "a").setAttribute("aria-label", `Download ${file.name}`);
    part(picture, ".compare").addEventListener("click", () => compare(picture));
    element("pictures").append(card);
    pictures.push(picture);
    become(picture, "waiting", "Waiting");
  }
  go();
}

/** @param {Picture} picture */
async function compare(picture) {
  if (!picture.result) return;
  const both = await Promise.all([picture.file, picture.result].map(shown));
  for (const [, bitmap] of both) bitmap.close();
  await show(picture.file.name, both[0][0], both[1][0]);
}

chooser.addEventListener("change", () => {
  add([...(chooser.files ?? [])]);
  chooser.value = "";
});
for (const name of ["dragover", "dragleave", "drop"]) {
  addEventListener(name, (event) => {
    event.preventDefault(); // or the browser would leave the page for the file
    element("drop").classList.toggle("over", name === "dragover");
    if (name !== "drop") return;
    const items = [...(/** @type {DragEvent} */ (event).dataTransfer?.items ?? [])];
    const folders = items.filter((item) => item.webkitGetAsEntry?.()?.isDirectory);
    add(items.flatMap((item) => (folders.includes(item) ? [] : (item.getAsFile() ?? []))));
    if (folders.length) say("status", "A folder cannot be dropped here; drop the pictures in it.");
  });
}
for (const control of [model, quality, strength]) {
  control.addEventListener("input", () => {
    say("strength-said", `${strength.value} %`);
    summary();
  });
}
for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
element("cancel").addEventListener("click", () => {
  stop.abort();
  for (const picture of pictures) if (picture.state === "waiting") become(picture, "cancelled", "Cancelled");
});
element("again").addEventListener("click", () => {
  stop = new AbortController();
  for (const picture of pictures.filter(outdated)) become(picture, "waiting", "Waiting");
  go();
});
element("clear").addEventListener("click", () => {
  hide();
  for (const { card, url } of pictures) {
    card.remove();
    if (url) URL.revokeObjectURL(url);
  }
  pictures = [];
  summary();
  chooser.focus();
});
element("zip").addEventListener("click", async () => {
  const done = pictures.flatMap(({ file, result }) => (result ? [{ name: file.name, blob: result }] : []));
  const zip = await zipped(done).catch((error) => say("status", words(error)));
  if (!zip) return;
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(zip), download: "denoised.zip" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
});

function view() {
  const chosen = location.hash === "#learn" ? "learn" : "denoise";
  for (const part of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-view]"))) part.hidden = part.dataset.view !== chosen;
  for (const link of document.querySelectorAll("nav a")) link.ariaCurrent = link.getAttribute("href") === `#${chosen}` ? "page" : null;
  document.title = chosen === "learn" ? "unnoise: corrupt and learn" : "unnoise: denoise pictures";
  if (chosen === "learn") learn();
}

history.replaceState(null, "", location.pathname + location.hash); // the token is in a cookie now, and need not be in the history
limit = (await fill()).max_bytes;
addEventListener("hashchange", view);
view();
