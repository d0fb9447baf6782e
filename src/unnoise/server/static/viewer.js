// @ts-check
// Before and after in one place: a boundary between them, and zoom and pan that both follow.

import { element } from "./server.js";

const [section, stage, edge] = ["viewer", "stage", "edge"].map(element);
const pictures = /** @type {HTMLImageElement[]} */ (["before", "after"].map(element));
const cut = /** @type {HTMLInputElement} */ (element("cut"));
const LARGEST = 16; // pixels of the screen for one of the picture
const STEP = 60; // pixels of the screen that an arrow key moves

/** Where the picture lies in the stage: its scale, and the place of its upper left corner, in CSS pixels. */
const view = { scale: 1, left: 0, top: 0 };
/** @type {Element | null} */
let cameFrom = null;
let fitted = true;

const oneToOne = () => 1 / devicePixelRatio;
const size = () => ({ width: pictures[0].naturalWidth || 1, height: pictures[0].naturalHeight || 1 });
const whole = () => Math.min(stage.clientWidth / size().width, stage.clientHeight / size().height, oneToOne());

function draw() {
  const { width, height } = size();
  for (const [side, length, room] of /** @type {["left" | "top", number, number][]} */ ([["left", width, stage.clientWidth], ["top", height, stage.clientHeight]])) {
    const spare = room - length * view.scale;
    view[side] = spare >= 0 ? spare / 2 : Math.min(0, Math.max(spare, view[side])); // in the middle, or without a gap
    if (Math.abs(view.scale - oneToOne()) < 1e-6) view[side] = Math.round(view[side] * devicePixelRatio) / devicePixelRatio;
  }
  for (const picture of pictures) picture.style.transform = `translate(${view.left}px, ${view.top}px) scale(${view.scale})`;
  stage.classList.toggle("whole", fitted); // then a finger moves the page
  stage.classList.toggle("close-up", view.scale > oneToOne() * 0.999);
  element("zoom").textContent = `${Math.round((100 * view.scale) / oneToOne())} %`;
}

/** @param {number} scale  @param {number} [x] of the point that stays, in the stage  @param {number} [y] */
function zoom(scale, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  const wanted = Math.min(Math.max(scale, whole()), LARGEST * oneToOne());
  fitted = wanted === whole();
  view.left = x - ((x - view.left) * wanted) / view.scale;
  view.top = y - ((y - view.top) * wanted) / view.scale;
  view.scale = wanted;
  draw();
}

/** @param {number} x  @param {number} y  in CSS pixels */
function pan(x, y) {
  view.left += x;
  view.top += y;
  draw();
}

/** @param {number} percent */
function divide(percent) {
  cut.value = String(percent);
  stage.style.setProperty("--cut", `${cut.value}%`);
  cut.setAttribute("aria-valuetext", `${cut.value} % before, the rest after`);
}

/**
 * @param {string} name  @param {Blob} before  @param {Blob} after  of one size, and of kinds that a browser shows
 */
export async function show(name, before, after) {
  if (section.hidden) cameFrom = document.activeElement;
  for (const [index, blob] of [before, after].entries()) {
    URL.revokeObjectURL(pictures[index].src);
    pictures[index].src = URL.createObjectURL(blob);
  }
  await Promise.all(pictures.map((picture) => picture.decode()));
  element("viewed").textContent = name;
  section.hidden = false;
  zoom(whole());
  divide(50);
  section.scrollIntoView({ block: "nearest" });
  element("viewed").focus({ preventScroll: true });
}

export function hide() {
  section.hidden = true;
  for (const picture of pictures) {
    URL.revokeObjectURL(picture.src);
    picture.removeAttribute("src");
  }
  if (cameFrom instanceof HTMLElement) cameFrom.focus();
}

/** @type {Record<string, () => void>} */
const KEYS = {
  ArrowLeft: () => pan(STEP, 0),
  ArrowRight: () => pan(-STEP, 0),
  ArrowUp: () => pan(0, STEP),
  ArrowDown: () => pan(0, -STEP),
  "+": () => zoom(view.scale * 2),
  "=": () => zoom(view.scale * 2),
  "-": () => zoom(view.scale / 2),
  0: () => zoom(whole()),
  1: () => zoom(oneToOne()),
};
stage.addEventListener("keydown", (event) => {
  if (!(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  KEYS[event.key]();
});
for (const [id, key] of [["whole", "0"], ["one", "1"], ["out", "-"], ["in", "+"]]) element(id).addEventListener("click", () => KEYS[key]());
element("close").addEventListener("click", hide);
section.addEventListener("keydown", (event) => event.key === "Escape" && hide());
cut.addEventListener("input", () => divide(Number(cut.value)));
new ResizeObserver(() => section.hidden || (fitted ? zoom(whole()) : draw())).observe(stage);

stage.addEventListener(
  "wheel",
  (event) => {
    if (!event.ctrlKey && document.activeElement !== stage) return; // the wheel moves the page until the picture is asked for
    event.preventDefault();
    const box = stage.getBoundingClientRect();
    zoom(view.scale * 2 ** (-event.deltaY / 240), event.clientX - box.left, event.clientY - box.top);
  },
  { passive: false },
);

/** Fingers or the mouse that are down: one moves the boundary or the picture, two zoom. @type {Map<number, PointerEvent>} */
const down = new Map();
let moving = stage;
const reach = () => {
  const [a, b] = [...down.values()];
  return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
};
stage.addEventListener("pointerdown", (event) => {
  if (!down.size) moving = event.target === edge ? edge : stage;
  down.set(event.pointerId, event);
  stage.setPointerCapture(event.pointerId);
});
stage.addEventListener("pointermove", (event) => {
  const last = down.get(event.pointerId);
  if (!last) return;
  const box = stage.getBoundingClientRect();
  const before = down.size === 2 ? reach() : 0;
  down.set(event.pointerId, event);
  if (before) zoom((view.scale * reach()) / before, event.clientX - box.left, event.clientY - box.top);
  else if (moving === edge) divide(Math.round((100 * (event.clientX - box.left)) / box.width));
  else pan(event.clientX - last.clientX, event.clientY - last.clientY);
});
for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, (event) => down.delete(/** @type {PointerEvent} */ (event).pointerId));
