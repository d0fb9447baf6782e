// @ts-check
// A zip without compression, which pictures do not need: each file as it is, behind a header, and a directory at the end.

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});
const LARGEST = 2 ** 32 - 2 ** 20; // bytes; beyond, another format begins

/**
 * The fields of a header, little-endian.
 * @param {[number, number][]} fields  [bytes, value] of each
 */
const packed = (fields) => Uint8Array.from(fields.flatMap(([bytes, value]) => Array.from({ length: bytes }, (_, index) => value >>> (8 * index))));

/** @param {Blob} blob */
async function checksum(blob) {
  let value = 0xffffffff;
  for (const byte of new Uint8Array(await blob.arrayBuffer())) value = TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

/**
 * The names, no two alike: the second x.png is x-2.png.
 * @param {string[]} names
 */
export function apart(names) {
  const taken = new Set();
  return names.map((name) => {
    const [, stem, ending] = /** @type {RegExpMatchArray} */ (name.match(/^(.*?)(\.[^.]*)?$/s));
    let free = name;
    for (let number = 2; taken.has(free.toLowerCase()); number++) free = `${stem}-${number}${ending ?? ""}`;
    taken.add(free.toLowerCase());
    return free;
  });
}

/**
 * @param {{name: string, blob: Blob}[]} files
 * @returns {Promise<Blob>}
 */
export async function zipped(files) {
  if (files.reduce((sum, { blob }) => sum + blob.size + 1000, 0) > LARGEST) throw new Error("These are more than 4 GB, which a zip cannot hold; download them one by one.");
  const now = new Date();
  const time = (now.getHours() << 11) | (now.getMinutes() << 5) | (now.getSeconds() >> 1);
  const date = ((now.getFullYear() - 1980) << 9) | ((now.getMonth() + 1) << 5) | now.getDate();
  const names = apart(files.map(({ name }) => name));
  /** @type {BlobPart[]} */ const parts = [];
  /** @type {BlobPart[]} */ const directory = [];
  let [at, length] = [0, 0];
  for (const [index, { blob }] of files.entries()) {
    const name = new TextEncoder().encode(names[index]);
    const UTF8 = 0x800, STORED = 0;
    /** @type {[number, number][]} */
    const common = [[2, 20], [2, UTF8], [2, STORED], [2, time], [2, date], [4, await checksum(blob)], [4, blob.size], [4, blob.size], [2, name.length], [2, 0]];
    const header = packed([[4, 0x04034b50], ...common]);
    const entry = packed([[4, 0x02014b50], [2, 20], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, at]]);
    parts.push(header, name, blob);
    directory.push(entry, name);
    at += header.byteLength + name.length + blob.size;
    length += entry.byteLength + name.length;
  }
  const end = packed([[4, 0x06054b50], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, length], [4, at], [2, 0]]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}
