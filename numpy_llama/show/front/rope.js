// Position as an angle: pairs of features as arrows, before and after they turn.

// Radians a position, of each pair.
const FREQUENCIES = HEAD.rope.f;

function turn([x, y], pair, position) {
  const angle = position * FREQUENCIES[pair], m = HEAD.rope.magnitude;
  const cos = m * Math.cos(angle), sin = m * Math.sin(angle);
  return [cos * x - sin * y, sin * x + cos * y];
}

// A pair of a query (by head) or of a key (by key/value head), not yet turned.
const pairOf = (name, at, head, pair) => [0, 1].map((i) => value(name, STATE.layer, at, head, 2 * pair + i));

function arrow([x, y], kind, thick, label) {
  const length = Math.hypot(x, y), size = Math.min(7, length);
  const head = length < 1 ? "" : `<path class="f${kind}" d="M${x} ${y}l${(-size * x) / length - (0.45 * size * y) / length} ${(-size * y) / length + (0.45 * size * x) / length}l${(0.9 * size * y) / length} ${(-0.9 * size * x) / length}z"/>`;
  const text = label === "" || length < 1 ? "" : `<text x="${x * (1 + 11 / length)}" y="${y * (1 + 11 / length) + 4}" text-anchor="middle">${label}</text>`;
  return `<path class="${kind}" ${DASHES[kind]} stroke-width="${thick}" d="M0 0L${x} ${y}"/>${head}${text}`;
}

function dial(title, query, keys, radius, unit) {
  const to = ([x, y]) => [(x / unit) * radius, (-y / unit) * radius];
  // Short arrows have no room for a number; the table has all.
  const label = (k, at) => (at === STATE.key || Math.hypot(...k) > unit / 3 ? POSITIONS[at] : "");
  const arrows = keys.map((k, at) => arrow(to(k), "b", at === STATE.key ? 3 : 1.2, label(k, at))).join("");
  const size = 2 * radius + 52;
  return `<figure class="dial">${svg(title, size, size, `<g transform="translate(${size / 2} ${size / 2})"><circle r="${radius}" class="grid" fill="none"/>
    <path class="grid" d="M${-radius} 0H${radius}M0 ${-radius}V${radius}"/>${arrows}${arrow(to(query), "a", 3.2, "q")}</g>`)}<figcaption>${title}</figcaption></figure>`;
}

// The score of the same query and key, were they `d` positions apart.
function scoreAt(q, k, d) {
  let sum = 0;
  for (let i = 0; i < PAIRS; i++) {
    const [a, b] = [q[2 * i], q[2 * i + 1]], [x, y] = [k[2 * i], k[2 * i + 1]];
    const angle = d * FREQUENCIES[i];
    sum += Math.cos(angle) * (a * x + b * y) + Math.sin(angle) * (a * y - b * x);
  }
  return (sum * HEAD.rope.magnitude ** 2) / Math.sqrt(C.head_dim);
}

// An angle in degrees, full turns taken away.
function degrees(radians) {
  const turns = Math.floor(radians / (2 * Math.PI)), rest = ((radians * 180) / Math.PI - 360 * turns).toFixed(0);
  return turns ? `${rest}° past ${turns} full turn${turns > 1 ? "s" : ""}` : `${rest}°`;
}

function rope() {
  const { token: t, head, pair, key: other } = STATE, kv = Math.floor(head / GROUP), position = POSITIONS[t];
  const query = pairOf("q", t, head, pair), ats = shownTokens().slice(0, t + 1), f = FREQUENCIES[pair];
  const keys = ats.map((at) => pairOf("k", at, kv, pair));
  const unit = Math.max(1e-9, ...[query, ...keys].map((v) => Math.hypot(...v))) * Math.max(1, HEAD.rope.magnitude);
  const radius = Math.min(118, (width() < 460 ? width() - 60 : width() / 2 - 60) / 2);
  const turned = keys.map((k, at) => turn(k, pair, POSITIONS[at])), now = turn(query, pair, position);
  const q = row("q", STATE.layer, t, head), k = row("k", STATE.layer, other, kv), far = 128;
  const curve = Array.from({ length: far + 1 }, (_, d) => scoreAt(q, k, d)), distance = position - POSITIONS[other];
  const angle = (at) => `${short(POSITIONS[at] * f)} rad`;
  const two = ([x, y]) => `(${fixed(x, 2)}, ${fixed(y, 2)})`;
  const rows = ats.map((at) => [`key ${POSITIONS[at]}`, named(tokenAt(at)), angle(at), two(keys[at]), two(turned[at])]);
  rows.push([`query ${position}`, named(tokenAt(t)), angle(t), two(query), two(now)]);
  return {
    say: `Features ${2 * pair} and ${2 * pair + 1} are one arrow. It turns by <b>${short(f)} radians a position</b>: once in ${short((2 * Math.PI) / f)}. The query of ${named(tokenAt(t))}, at position ${position}, is turned by ${short(position * f)} rad, ${degrees(position * f)}; each key by its own position alone.${HEAD.rope.magnitude === 1 ? " Their lengths stay." : ""} Only the product of two knows the distance between them.`,
    figure: `<div class="pair">${dial("Before", query, keys, radius, unit)}${dial("After: each by its own position", now, turned, radius, unit)}</div>` +
      key([["a", "", `query of head ${head}`], ["b", DASHES.b, `keys of key/value head ${kv}, by position`]]) +
      `<details><summary>The arrows as a table</summary>${scroll("Arrows", table(`Pair ${pair}: angle, before, after`, ["", "token", "angle", "before", "after"], rows, -1, [1]), "tall")}</details>` +
      `<figure>${chart(`Score of this query and the key of position ${POSITIONS[other]}, were they 0 to ${far} positions apart`, [["a", curve]], { mark: distance <= far ? distance : -1, axis: "distance" })}
      <figcaption>All ${PAIRS} pairs together: the score of this query with the key of ${named(tokenAt(other))} (position ${POSITIONS[other]}), were they at another distance. Really they are ${distance} apart, and it is ${fixed(value("scores", STATE.layer, head, t, other), 2)}. From each distance to the next it falls ${curve.slice(1).filter((y, d) => y < curve[d]).length} times, and rises ${curve.slice(1).filter((y, d) => y > curve[d]).length} times.</figcaption></figure>`,
  };
}
