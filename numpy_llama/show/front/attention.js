// Scores and probabilities: who looks at whom.

const isMasked = (query, other) => POSITIONS[other] > POSITIONS[query];

function scores() {
  const { token: t, layer: i, head } = STATE, ats = shownTokens(), names = ats.map(tokenAt);
  const at = (r, c) => value("scores", i, head, r, c);
  let top = 1e-9;
  for (const r of ats) for (const c of ats) if (!isMasked(r, c)) top = Math.max(top, Math.abs(at(r, c)));
  const cell = (r, c) => (isMasked(r, c) ? null : { text: fixed(at(r, c), 1), part: at(r, c) / top });
  return {
    say: `Row by row: the query of a token with the key of each token before it, divided by √${C.head_dim}. ${named(tokenAt(t))} and ${named(tokenAt(STATE.key))} score <b>${fixed(at(t, STATE.key), 2)}</b>. What comes after a query is masked: striped here, −∞ to the softmax.`,
    figure: scroll("Scores", heat(`Scores of head ${head} in layer ${LAYERS[i]}; rows are queries, columns keys`, names, names, cell, t)),
  };
}

function probs() {
  const { token: t, layer: i, head } = STATE, ats = shownTokens(), names = ats.map(tokenAt), kv = Math.floor(head / GROUP);
  const p = (h, r, c) => value("probs", i, h, r, c);
  const text = (v) => (v >= 0.995 ? "1.0" : v.toFixed(2).slice(1));
  const square = heat(`Probabilities of head ${head} in layer ${LAYERS[i]}${POSITIONS.length < SEQUENCE ? "" : "; each row adds up to 1"}`, names, names,
    (r, c) => (isMasked(r, c) ? null : { text: text(p(head, r, c)), part: p(head, r, c) }), t);
  const heads = Array.from({ length: C.n_heads }, (_, h) => `head ${h} · kv ${Math.floor(h / GROUP)}`);
  const all = heat(`All ${C.n_heads} heads of layer ${LAYERS[i]}, for this token; ${GROUP} read each key/value head`, names.slice(0, t + 1), heads,
    (h, c) => ({ text: text(p(h, t, c)), part: p(h, t, c) }), head);
  const mine = ats.slice(0, t + 1).map((c) => p(head, t, c)), best = mine.indexOf(Math.max(...mine));
  const rest = 1 - mine.reduce((a, b) => a + b, 0);
  const first = heads.reduce((sum, _, h) => sum + p(h, t, 0), 0) / C.n_heads;
  const sink = t > 0 ? ` The first token gets <b>${percent(first)}</b> of the attention of all heads of this layer together${first > 0.3 ? ": it is the sink, where heads look that look for nothing else" : ""}.` : "";
  const gone = POSITIONS.length < SEQUENCE ? ` ${percent(Math.max(0, rest))} goes to positions that are not shown.` : "";
  return {
    say: `Head ${head} reads key/value head ${kv}, as ${GROUP === 1 ? "no other does" : `${GROUP} heads do`}. It gives ${named(tokenAt(best))} (position ${POSITIONS[best]}) <b>${percent(mine[best])}</b> of the attention of ${named(tokenAt(t))}.${sink}${gone}`,
    figure: scroll("Probabilities", square) + scroll("All heads", all),
  };
}
