// The numbers of the run: one compressed blob to typed arrays, by the index of HEAD.arrays.

const HEAD = JSON.parse(document.getElementById("head").textContent);
const ARRAYS = {};

// A float16 has 65,536 values: a table is the fastest way to read many.
const HALF = new Float32Array(65536);
for (let bits = 0; bits < 65536; bits++) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, rest = bits & 1023;
  if (exponent === 31) HALF[bits] = rest ? NaN : sign * Infinity;
  else if (exponent === 0) HALF[bits] = sign * rest * 2 ** -24;
  else HALF[bits] = sign * (1 + rest / 1024) * 2 ** (exponent - 15);
}

async function unpack() {
  const text = document.getElementById("blob").textContent;
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const raw = await new Response(stream).arrayBuffer();
  const kinds = { f2: Uint16Array, f4: Float32Array, u4: Uint32Array, i1: Int8Array };
  for (const [name, entry] of Object.entries(HEAD.arrays)) {
    const size = entry.shape.reduce((a, b) => a * b, 1);
    let values = new kinds[entry.type](raw, entry.at, size);
    if (entry.type === "f2") values = Float32Array.from(values, (bits) => HALF[bits]);
    ARRAYS[name] = { values, shape: entry.shape, scale: null };
  }
  // Rows of int8 have each a scale.
  for (const name of Object.keys(ARRAYS)) {
    const scale = ARRAYS[name + ".scale"];
    if (scale) ARRAYS[name].scale = scale.values;
  }
}

// Where the item (or, with fewer indices, the first item of the row) at these indices stands.
function place(array, indices) {
  let at = 0;
  array.shape.forEach((size, axis) => { at = at * size + (indices[axis] ?? 0); });
  return at;
}

function value(name, ...indices) {
  const array = ARRAYS[name], at = place(array, indices);
  return array.scale ? array.values[at] * array.scale[Math.floor(at / array.shape.at(-1))] : array.values[at];
}

// The last axis, as an array of numbers.
function row(name, ...indices) {
  const length = ARRAYS[name].shape.at(-1);
  return Array.from({ length }, (_, i) => value(name, ...indices, i));
}
