// What sections are drawn with: text, tables, charts. All are strings of HTML.

const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escape = (text) => String(text).replace(/[&<>"]/g, (c) => ESCAPES[c]);
const count = (n) => n.toLocaleString("en");
const percent = (p) => (100 * p).toFixed(p < 0.0995 ? 1 : 0) + "%";
// With so many decimals, and no minus before a zero.
const fixed = (x, digits) => (Math.abs(x) < 0.5 / 10 ** digits ? 0 : x).toFixed(digits);
// A number in about four digits.
function short(x) {
  const size = Math.abs(x);
  if (size === 0) return "0";
  if (size >= 9999.5) return count(Math.round(x));
  return size >= 0.001 ? x.toFixed(Math.max(0, 3 - Math.max(0, Math.floor(Math.log10(size))))) : x.toExponential(1);
}

// A token as it reads: a space and a line's end are made visible.
const piece = (id) => HEAD.pieces[id].replace(/ /g, "␣").replace(/\n/g, "⏎").replace(/\t/g, "⇥") || "∅";
const tokenAt = (at) => piece(HEAD.ids[POSITIONS[at]]);
const named = (text) => `<span class="tok">${escape(text)}</span>`;
const shownTokens = () => Array.from({ length: visible() }, (_, at) => at);

function scroll(label, inside, kind = "") {
  return `<div class="scroll ${kind}" tabindex="0" role="region" aria-label="${escape(label)}">${inside}</div>`;
}

// rows: [heading, cells…]; a cell is text, or [text, class].
function table(caption, heads, rows, now = -1, left = []) {
  const side = (i) => (left.includes(i) ? ' class="left"' : "");
  const top = heads.map((head, i) => `<th scope="col"${i === 0 || left.includes(i) ? ' class="left"' : ""}>${head}</th>`).join("");
  const body = rows.map(([head, ...cells], r) => `<tr${r === now ? ' class="now" aria-current="true"' : ""}>
    <th scope="row">${head}</th>${cells.map((cell, i) => `<td${side(i + 1)}>${cell}</td>`).join("")}</tr>`).join("");
  return `<table class="numbers"><caption>${caption}</caption><thead><tr>${top}</tr></thead><tbody>${body}</tbody></table>`;
}

// How close the cells of a table are, so that more columns fit.
const density = (columns) => (columns <= 14 ? "roomy" : columns > 18 ? "tight" : "");

// A square of numbers with colours; cell(r, c) is { text, part in -1 … 1 } or null for what is masked.
function heat(caption, columns, rows, cell, now = -1) {
  const heads = columns.map((name) => `<th scope="col"><span>${escape(name)}</span></th>`).join("");
  const body = rows.map((name, r) => {
    const cells = columns.map((_, c) => {
      const { text, part } = cell(r, c) ?? {};
      if (text === undefined) return '<td class="no"><span class="hidden">masked</span></td>';
      const tone = Math.round(45 * Math.abs(part));
      return `<td${tone ? ` class="${part < 0 ? "cold" : "hot"}" style="--a:${tone}%"` : ""}>${text}</td>`;
    }).join("");
    return `<tr${r === now ? ' class="now" aria-current="true"' : ""}><th scope="row">${escape(name)}</th>${cells}</tr>`;
  }).join("");
  return `<table class="heat ${density(columns.length)}"><caption>${caption}</caption><thead><tr><td></td>${heads}</tr></thead><tbody>${body}</tbody></table>`;
}

// How wide figures are, in pixels: text in them keeps its size on a phone.
const width = () => Math.max(260, Math.min(760, document.querySelector(".figure").clientWidth || 600));

function svg(label, w, h, inside) {
  return `<svg width="${w}" height="${h}" viewBox="0 0 ${w} ${h}" role="img" aria-label="${escape(label)}">${inside}</svg>`;
}

// Which line is which, by its colour and its dashes.
function key(entries) {
  const items = entries.map(([kind, dash, text]) =>
    `<li><svg width="26" height="8" aria-hidden="true"><path class="${kind}" stroke-width="2.5" ${dash} d="M0 4H26"/></svg>${text}</li>`);
  return `<ul class="key">${items.join("")}</ul>`;
}

const DASHES = { a: "", b: 'stroke-dasharray="7 3"', c: 'stroke-dasharray="2 3"', thin: "" };

// Lines over a common axis. lines: [class, numbers]; x(i): a name of the place; log: a logarithmic scale.
function chart(label, lines, { log = false, mark = -1, x = (i) => i, axis = "" } = {}) {
  const w = width(), h = 230, left = 46, bottom = 34, n = lines[0][1].length;
  const all = lines.flatMap(([, numbers]) => numbers).filter((y) => !log || y > 0);
  const scale = log ? Math.log10 : (y) => y;
  let low = scale(Math.min(...all)), high = scale(Math.max(...all));
  if (high - low < 1e-9) { low -= 1; high += 1; }
  const X = (i) => left + (n > 1 ? (i * (w - left - 12)) / (n - 1) : 0);
  const Y = (y) => 8 + (h - bottom - 8) * (1 - (scale(Math.max(y, log ? 1e-30 : -Infinity)) - low) / (high - low));
  let out = "";
  const ticks = log
    ? Array.from({ length: Math.floor(high) - Math.ceil(low) + 1 }, (_, i) => 10 ** (Math.ceil(low) + i))
    : Array.from({ length: 5 }, (_, i) => low + (i * (high - low)) / 4);
  for (const y of ticks)
    out += `<path class="grid" d="M${left} ${Y(y)}H${w - 12}"/><text x="${left - 6}" y="${Y(y) + 4}" text-anchor="end">${log ? (y >= 1 ? count(y) : y) : short(y)}</text>`;
  // Round steps, so that the names of the places do not touch.
  const least = n / Math.max(2, Math.floor(w / 60)), every = [1, 2, 5, 10, 20, 50, 100].find((e) => e >= least) ?? n;
  for (let i = 0; i < n; i += every)
    out += `<text x="${X(i)}" y="${h - bottom + 16}" text-anchor="middle">${x(i)}</text>`;
  out += `<text x="${w - 12}" y="${h - 3}" text-anchor="end">${axis}</text>`;
  if (mark >= 0) out += `<path class="grid" stroke-dasharray="3 3" style="stroke:var(--ink)" d="M${X(mark)} 4V${h - bottom}"/>`;
  for (const [kind, numbers] of lines) {
    const points = numbers.map((y, i) => `${X(i).toFixed(1)} ${Y(y).toFixed(1)}`).join("L");
    out += `<path class="${kind}" ${DASHES[kind]} stroke-width="${kind === "thin" ? 1 : 2.2}" stroke-linejoin="round" d="M${points}"/>`;
    if (mark >= 0 && kind !== "thin") out += `<circle class="f${kind}" cx="${X(mark)}" cy="${Y(numbers[mark])}" r="3.5"/>`;
  }
  return svg(label, w, h, out);
}

// A vector as a strip: a line for each feature, up for positive, down for negative, root of its size.
function strip(label, numbers) {
  const w = width(), h = 60, top = Math.max(...numbers.map(Math.abs)) || 1;
  const step = (w - 2) / numbers.length;
  const path = (sign) => numbers.map((v, i) =>
    v * sign > 0 ? `M${(1 + (i + 0.5) * step).toFixed(1)} ${h / 2}v${(-sign * Math.sqrt(Math.abs(v) / top) * (h / 2 - 2)).toFixed(1)}` : "").join("");
  const lines = `<path class="grid" d="M0 ${h / 2}H${w}"/><path class="a" stroke-width="${Math.max(0.6, step * 0.7)}" d="${path(1)}"/><path class="b" stroke-width="${Math.max(0.6, step * 0.7)}" d="${path(-1)}"/>`;
  return svg(label, w, h, lines);
}
