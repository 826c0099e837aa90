// SwiGLU: the gates of all features, and those features that pass most.

const swish = (z) => z / (1 + Math.exp(-z));

function histogram(counts) {
  const w = width(), h = 170, left = 8, bottom = 30, step = (w - 2 * left) / counts.length, top = Math.max(...counts);
  const borders = HEAD.borders;
  let out = "";
  counts.forEach((n, i) => {
    const tall = ((h - bottom - 12) * n) / top;
    out += `<rect class="${borders[i] < 0 ? "fb" : "fa"}" x="${left + i * step + 0.5}" y="${h - bottom - tall}" width="${step - 1}" height="${tall}"/>`;
  });
  for (let i = 0; i < borders.length; i += 4)
    out += `<text x="${left + i * step}" y="${h - bottom + 15}" text-anchor="middle">${i === 0 ? "≤ " : i === borders.length - 1 ? "≥ " : ""}${borders[i]}</text>`;
  out += `<path class="grid" d="M${left} ${h - bottom}H${w - left}"/><text x="${w - left}" y="${h - 1}" text-anchor="end">gate</text>`;
  return svg("Histogram of the gates: how many features have which gate", w, h, out);
}

function swiglu() {
  const { token: t, layer: i } = STATE, F = C.hidden_dim, closed = value("ffn.closed", i, t);
  const [features, gate, up, product] = ["features", "gate", "up", "product"].map((kind) => row(`ffn.${kind}`, i, t));
  const top = Math.max(...product.map(Math.abs)) || 1;
  const rows = features.map((f, r) => [f, short(gate[r]), short(swish(gate[r])), short(up[r]), short(product[r]),
    `<span class="bar" style="width:${(5 * Math.abs(product[r])) / top}rem${product[r] < 0 ? ";background:var(--second)" : ""}"></span>`]);
  return {
    say: `${named(tokenAt(t))} is widened to ${count(F)} features, twice: <b>gate</b> and <b>up</b>. ${percent(closed / F)} of the gates are below zero: nearly closed, for Swish makes no more than −0.28 of any of them. Then gate and up are multiplied, feature by feature: three matrices in all, where a ReLU network has two.`,
    figure: `<figure>${histogram(row("ffn.gates", i, t))}<figcaption>All ${count(F)} gates in layer ${LAYERS[i]}; left of 0, in the second colour, nearly closed.</figcaption></figure>` +
      scroll("Features", table(`The ${features.length} features that pass most`, ["feature", "gate", "swish(gate)", "up", "product", ""], rows, -1, [5])),
  };
}
