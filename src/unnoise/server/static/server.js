// @ts-check
// What all parts of the page need: its elements, what is asked of the server, and in what words it is told when that fails.

/** @param {number} ms */
export const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** @template {HTMLElement} T @param {string} id @returns {T} */
export const element = (id) => /** @type {T} */ (document.getElementById(id));

/** Put words there, unless they stand there: a reader of the screen says what changes. @param {string} id  @param {string} words */
export function say(id, words) {
  if (element(id).textContent !== words) element(id).textContent = words;
}

/** What the server tells there. @param {string} path  @returns {Promise<any>} */
export const ask = (path) => fetch(path).then((answer) => answer.json());

/**
 * Send files to the server, again and again while it is busy. Throws an Error in the server's words.
 * @param {string} call  @param {Blob[]} files  @param {Record<string, string>} [fields]  @param {AbortSignal} [signal]
 */
export async function post(call, files, fields = {}, signal) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  for (const file of files) form.append("file", file, "picture");
  for (;;) {
    const answer = await fetch(`api/${call}`, { method: "POST", body: form, signal });
    if (answer.ok) return answer;
    if (answer.status !== 503) throw new Error((await answer.json()).error);
    await wait(1000 * Number(answer.headers.get("retry-after") ?? 5));
    signal?.throwIfAborted();
  }
}

/** As a picture that this browser shows. @param {Blob} file  @returns {Promise<[Blob, ImageBitmap]>} */
export async function shown(file) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (bitmap) return [file, bitmap];
  const png = await (await post("preview", [file])).blob();
  return [png, await createImageBitmap(png)];
}

/** Fill every choice of a model with what there is now; what is chosen stays. What the server says of itself. */
export async function fill() {
  const told = await ask("api/models");
  for (const select of /** @type {NodeListOf<HTMLSelectElement>} */ (document.querySelectorAll("select.models"))) {
    const chosen = select.value || told.default;
    const words = (/** @type {string} */ name) => (name === "auto" ? "auto: what the noise calls for" : name);
    select.replaceChildren(...told.models.map((/** @type {string} */ name) => new Option(words(name), name, name === chosen, name === chosen)));
  }
  return told;
}

/** @param {unknown} error */
export function words(error) {
  if (error instanceof TypeError) return "unnoise does not answer; is it still running?";
  return error instanceof Error ? error.message : String(error);
}
