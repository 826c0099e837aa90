// Tokens, their vectors, the norm, and the residual stream.

function tokens() {
  const rows = shownTokens().map((at) => {
    const position = POSITIONS[at];
    return [position, named(tokenAt(at)), count(HEAD.ids[position]), escape(HEAD.bytes[position]) || "–", position < HEAD.prompt ? "prompt" : "chosen by the model"];
  });
  const from = read() - HEAD.prompt;
  return {
    say: `The text is cut into <b>${HEAD.prompt} tokens</b> of a vocabulary of ${count(C.vocab_size)}${from ? `; ${from} more were chosen by the model` : ""}. ${named(tokenAt(STATE.token))} is number ${count(HEAD.ids[POSITIONS[STATE.token]])}. The model sees the numbers alone; ␣ is a space.`,
    figure: scroll("Tokens", table("Every token that was read, up to this step", ["position", "piece", "id", "bytes", "from"], rows, STATE.token, [1, 3, 4]), "tall"),
  };
}

function embedding() {
  const numbers = row("embed", STATE.token), top = numbers.map((v, i) => [Math.abs(v), i]).sort((a, b) => b[0] - a[0]).slice(0, 4);
  return {
    say: `${named(tokenAt(STATE.token))} is replaced by its row of a table: <b>${count(C.dim)} numbers</b>, the same wherever the token stands. Nothing here knows of its neighbours or its place.`,
    figure: `<figure>${strip(`The ${C.dim} features of the embedding`, numbers)}<figcaption>Every feature from 0 to ${C.dim - 1}; up is positive, down negative, the height the square root of the size.</figcaption></figure>` +
      table("The largest features", ["feature", ...top.map(([, i]) => i)], [["value", ...top.map(([, i]) => short(numbers[i]))]]),
  };
}

function norm() {
  const t = STATE.token, i = STATE.layer, N = C.n_layers, layer = LAYERS[i];
  const line = (at) => Array.from({ length: N }, (_, l) => value("size.attn_norm.rms", l, at));
  const mine = line(t), others = shownTokens().filter((at) => at !== t).map((at) => ["thin", line(at)]);
  const rows = LAYERS.map((l) => [l, short(mine[l]), short(value("size.ffn_norm.rms", l, t))]);
  return {
    say: `What enters layer ${layer} for ${named(tokenAt(t))} has the root mean square <b>${short(mine[layer])}</b> (before the FFN: ${short(value("size.ffn_norm.rms", layer, t))}). All its ${count(C.dim)} features are divided by that one number, then each is scaled by its learned gain. No mean is taken away.${t > 0 ? ` The first token's stream grows to <b>${short(Math.max(...line(0)))}</b>: nothing but a norm stands between that and all that is computed from it.` : ""}`,
    figure: chart(`Root mean square of the stream before each layer, logarithmic, for every token; for this one it goes from ${short(mine[0])} to ${short(mine[N - 1])}`,
      [...others, ["a", mine]], { log: true, mark: layer, axis: "layer" }) +
      key([["a", "", `${escape(tokenAt(t))}, position ${POSITIONS[t]}`], ["thin", "", "the other tokens"]]) +
      `<details><summary>The same as a table</summary>${scroll("RMS by layer", table("RMS of the stream, before attention and before the FFN", ["layer", "attn_norm.rms", "ffn_norm.rms"], rows, i), "tall")}</details>`,
  };
}

function stream() {
  const t = STATE.token, layer = LAYERS[STATE.layer], N = C.n_layers;
  const line = (kind) => Array.from({ length: N }, (_, l) => value(`size.${kind}`, l, t));
  const kinds = [["a", "resid_post", "the stream after the layer"], ["b", "attn_out", "what attention added"], ["c", "ffn_out", "what the FFN added"]];
  const features = row("stream.features", STATE.layer, t), largest = row("stream.largest", STATE.layer, t);
  const rows = LAYERS.map((l) => [l, ...kinds.map(([, kind]) => short(value(`size.${kind}`, l, t)))]);
  return {
    say: `In layer ${layer} attention adds a vector of RMS <b>${short(value("size.attn_out", layer, t))}</b> to the stream of ${named(tokenAt(t))}, the FFN one of <b>${short(value("size.ffn_out", layer, t))}</b>; after both it has ${short(value("size.resid_post", layer, t))}. Layers only ever add: what was written stays until something is added against it.`,
    figure: chart("Root mean square of the stream, of what attention adds and of what the FFN adds, by layer, logarithmic", kinds.map(([c, kind]) => [c, line(kind)]), { log: true, mark: layer, axis: "layer" }) +
      key(kinds.map(([c, , text]) => [c, DASHES[c], text])) +
      `<figure>${strip(`The stream of this token after layer ${layer}, all ${C.dim} features`, row("stream", STATE.layer, t))}<figcaption>The stream after layer ${layer}; a few features may be far larger than all others.</figcaption></figure>` +
      table("The largest features", ["feature", ...features], [["value", ...largest.map(short)]]) +
      `<details><summary>The sizes as a table</summary>${scroll("Sizes by layer", table("RMS by layer", ["layer", "stream", "attention", "FFN"], rows, STATE.layer), "tall")}</details>`,
  };
}
