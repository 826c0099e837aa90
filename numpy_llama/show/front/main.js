// Draw, and follow the reader: clicks, sliders, keys, the address.

// Each section, and what it depends on: the rest is left as it is, so that a step is quick.
const SECTIONS = {
  tokens: [tokens, ["token", "step"]],
  embedding: [embedding, ["token"]],
  norm: [norm, ["token", "layer", "step"]],
  rope: [rope, ["token", "layer", "head", "pair", "key", "step"]],
  scores: [scores, ["token", "layer", "head", "key", "step"]],
  probs: [probs, ["token", "layer", "head", "step"]],
  cache: [cache, ["layer", "step"]],
  swiglu: [swiglu, ["token", "layer"]],
  stream: [stream, ["token", "layer"]],
  lens: [lens, ["token", "layer"]],
  next: [next, ["token"]],
};

const find = (id) => document.getElementById(id);

function drawSection(id) {
  const { say, figure } = SECTIONS[id][0]();
  const place = find(id), old = [...place.querySelectorAll(".figure details")].map((d) => d.open);
  const scrolls = [...place.querySelectorAll(".figure .scroll")].map((s) => s.scrollLeft);
  place.querySelector(".say").innerHTML = say;
  place.querySelector(".figure").innerHTML = figure;
  // The row of this layer, in a long table.
  place.querySelectorAll(".tall").forEach((box) => {
    const now = box.querySelector("tr.now");
    if (now) box.scrollTop = now.offsetTop - box.clientHeight / 2;
  });
  // What was open or scrolled stays so.
  place.querySelectorAll(".figure details").forEach((d, i) => { d.open = old[i] ?? false; });
  place.querySelectorAll(".figure .scroll").forEach((s, i) => { if (scrolls[i]) s.scrollLeft = scrolls[i]; });
}

// Sections that are to be drawn: those in view at once, the others as there is time.
const WAITING = new Set();
let timer = 0;

function drawNext() {
  const [id] = WAITING;
  WAITING.delete(id);
  drawSection(id);
  timer = WAITING.size ? setTimeout(drawNext) : 0;
}

function draw(changed = Object.keys(STATE)) {
  for (const [id, [, needs]] of Object.entries(SECTIONS))
    if (needs.some((name) => changed.includes(name))) WAITING.add(id);
  const inView = [...WAITING].filter((id) => {
    const { top, bottom } = find(id).getBoundingClientRect();
    return top < innerHeight && bottom > 0;
  });
  for (const id of inView) { WAITING.delete(id); drawSection(id); }
  if (WAITING.size && !timer) timer = setTimeout(drawNext);
}

// One of several buttons is chosen: the others are reached with the arrow keys.
function choose(buttons, at) {
  buttons.forEach((button, i) => {
    button.setAttribute("aria-checked", String(i === at));
    button.tabIndex = i === at ? 0 : -1;
  });
}

function showControls() {
  const { step, layer, pair, head, token } = STATE;
  for (const name of ["step", "layer", "pair"]) { find(name).max = most(name); find(name).value = STATE[name]; }
  const said = { step: step ? `decode ${step}` : "prefill", layer: `${LAYERS[layer]} of ${C.n_layers}`, pair: `${pair} of ${PAIRS}` };
  for (const [name, text] of Object.entries(said)) {
    document.querySelector(`output[for="${name}"]`).textContent = text;
    find(name).setAttribute("aria-valuetext", text);
  }
  const chips = [...find("tokens-bar").children];
  chips.forEach((chip, at) => { chip.disabled = at >= visible(); });
  choose(chips, token);
  choose([...find("heads").querySelectorAll("button")], head);
  const bar = find("tokens-bar"), chip = chips[token];
  if (bar.scrollWidth > bar.clientWidth) bar.scrollLeft = chip.offsetLeft - bar.offsetLeft - bar.clientWidth / 2;
  find("key").innerHTML = shownTokens().slice(0, token + 1).map((at) => `<option value="${at}"${at === STATE.key ? " selected" : ""}>${POSITIONS[at]} ${escape(tokenAt(at))}</option>`).join("");
  find("status").textContent = `${said.step}, token ${POSITIONS[token]} ${tokenAt(token)}, layer ${LAYERS[layer]}, head ${head}, pair ${pair}`;
}

function go(name, wanted) {
  const changed = change(name, wanted);
  if (!changed.length) return;
  showControls();
  draw(changed);
  toAddress();
}

const KEYS = {
  ArrowLeft: ["token", -1], ArrowRight: ["token", 1], ArrowUp: ["layer", -1], ArrowDown: ["layer", 1],
  "Shift ArrowLeft": ["head", -1], "Shift ArrowRight": ["head", 1],
  "Shift ArrowUp": ["pair", -1], "Shift ArrowDown": ["pair", 1], ",": ["step", -1], ".": ["step", 1],
};

function onKey(event) {
  const inside = event.target.closest("input, select, [role=radiogroup]");
  const isArrow = event.key.startsWith("Arrow");
  if (event.ctrlKey || event.metaKey || event.altKey || !find("keys").checked) return;
  // A slider and a list have their own arrow keys; so has a table that scrolls sideways.
  if (inside && inside.id !== "tokens-bar" && inside.id !== "heads" && inside.id !== "keys") return;
  let name = (event.shiftKey && isArrow ? "Shift " : "") + event.key;
  if (inside?.id === "heads" && isArrow) name = event.key.replace("Up", "Left").replace("Down", "Right").replace("Arrow", "Shift Arrow");
  const found = KEYS[name];
  if (!found) return;
  event.preventDefault();
  go(found[0], STATE[found[0]] + found[1]);
  if (inside?.id === "tokens-bar" || inside?.id === "heads") inside.querySelector('[aria-checked="true"]').focus();
}

function makeControls() {
  find("tokens-bar").innerHTML = POSITIONS.map((position, at) =>
    `<button type="button" role="radio" class="${position < HEAD.prompt ? "" : "new"}" aria-label="${position} ${escape(tokenAt(at))}${position < HEAD.prompt ? "" : ", chosen by the model"}">${escape(tokenAt(at))}</button>`).join("");
  let groups = "";
  for (let g = 0; g < C.n_kv_heads; g++) {
    const heads = Array.from({ length: GROUP }, (_, i) => `<button type="button" role="radio" aria-label="head ${g * GROUP + i}, key/value head ${g}">${g * GROUP + i}</button>`);
    groups += `<span class="group" title="key/value head ${g}">${heads.join("")}</span>`;
  }
  find("heads").innerHTML = groups;
  [...find("tokens-bar").children].forEach((chip, at) => { chip.onclick = () => go("token", at); });
  find("heads").querySelectorAll("button").forEach((chip, at) => { chip.onclick = () => go("head", at); });
  for (const name of ["step", "layer", "pair", "key"]) find(name).oninput = (event) => go(name, Number(event.target.value));
  find("controls").onsubmit = (event) => event.preventDefault();
  document.querySelectorAll("nav a").forEach((link) => {
    link.onclick = (event) => {
      event.preventDefault(); // the end of the address is the state's
      const section = document.querySelector(link.getAttribute("href"));
      section.scrollIntoView();
      section.tabIndex = -1;
      section.focus({ preventScroll: true });
    };
  });
}

async function main() {
  await unpack();
  makeControls();
  fromAddress();
  showControls();
  Object.keys(SECTIONS).forEach(drawSection);
  document.onkeydown = onKey;
  window.onhashchange = () => { fromAddress(); showControls(); draw(); };
  let last = width();
  window.onresize = () => { if (width() !== last) { last = width(); draw(); } };
  document.documentElement.dataset.ready = "yes";
}

main();
