// Where the reader is: a few numbers, which are also the end of the address.

const C = HEAD.config, GROUP = C.n_heads / C.n_kv_heads, PAIRS = C.head_dim / 2;
const POSITIONS = HEAD.positions, LAYERS = HEAD.layers, SEQUENCE = HEAD.ids.length;
const STATE = { step: 0, token: 0, layer: 0, head: 0, pair: 0, key: 0 };

// token, key and layer are places in the lists of what is shown; the address has their own numbers.
const NUMBERS = { token: POSITIONS, key: POSITIONS, layer: LAYERS };

// How many positions the model has read at the end of the step.
const read = () => HEAD.prompt + STATE.step;
// How many of them are shown.
const visible = () => POSITIONS.filter((position) => position < read()).length;

function most(name) {
  const ends = {
    step: SEQUENCE - HEAD.prompt, token: visible() - 1, layer: LAYERS.length - 1,
    head: C.n_heads - 1, pair: PAIRS - 1, key: STATE.token,
  };
  return ends[name];
}

function change(name, wanted) {
  const before = { ...STATE };
  STATE[name] = Math.max(0, Math.min(wanted, most(name)));
  // A step goes with the token that it reads; a key is not after its query.
  if (name === "step") STATE.token = most("token");
  STATE.key = Math.min(STATE.key, STATE.token);
  return Object.keys(STATE).filter((key) => STATE[key] !== before[key]);
}

function toAddress() {
  const parts = Object.entries(STATE).map(([key, at]) => `${key}=${NUMBERS[key] ? NUMBERS[key][at] : at}`);
  history.replaceState(null, "", "#" + parts.join("&"));
}

function fromAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  STATE.token = most("token");
  STATE.layer = Math.floor(most("layer") / 2);
  for (const key of Object.keys(STATE)) {
    if (!/^\d+$/.test(wanted.get(key) ?? "")) continue;
    const number = Number(wanted.get(key));
    const at = NUMBERS[key] ? NUMBERS[key].indexOf(number) : number;
    if (at >= 0) change(key, at);
  }
}
