// The KV cache: which rows are there, which are new in this step, and what they cost.

function cache() {
  const i = STATE.layer, K = C.n_kv_heads, now = read(), start = STATE.step ? now - 1 : 0;
  const columns = POSITIONS.map((_, at) => tokenAt(at)), rows = [];
  for (let g = 0; g < K; g++) for (const kind of ["k", "v"]) rows.push([kind, g]);
  const sizes = rows.map(([kind, g]) => POSITIONS.map((_, at) => value(`cache.${kind}`, i, at, g)));
  const body = rows.map(([kind, g], r) => {
    const cells = POSITIONS.map((position, at) => {
      if (position >= now) return '<td class="no"><span class="hidden">empty</span></td>';
      const fresh = position >= start;
      return `<td class="${kind === "k" ? "hot" : "cold"} ${fresh ? "top" : ""}" style="--a:${fresh ? 45 : 18}%">${fixed(sizes[r][at], 1)}${fresh ? '<span class="hidden"> new</span>' : ""}</td>`;
    }).join("");
    return `<tr><th scope="row">${kind} head ${g}</th>${cells}</tr>`;
  }).join("");
  const heads = columns.map((name, at) => `<th scope="col"${POSITIONS[at] >= start && POSITIONS[at] < now ? ' class="now"' : ""}><span>${escape(name)}</span></th>`).join("");
  const figure = `<table class="heat ${density(columns.length)}"><caption>Layer ${LAYERS[i]}: RMS of each key (turned) and value; bold is new in this step, striped still empty</caption><thead><tr><td></td>${heads}</tr></thead><tbody>${body}</tbody></table>`;
  const bytes = (k) => 2 * C.n_layers * k * C.head_dim * HEAD.itemsize;
  const ways = [[`multi-head: ${C.n_heads}`, C.n_heads], [`as built: ${K}`, K], ["multi-query: 1", 1]];
  const cost = ways.map(([name, k]) => [name, count(bytes(k)), count(bytes(k) * now), `<span class="bar" style="width:${(8 * k) / C.n_heads}rem"></span>`]);
  return {
    say: `${STATE.step ? `Step ${STATE.step} wrote <b>one row</b> to each head of each layer, and read the ${now - 1} before it` : `The prefill wrote <b>${now} rows</b> at once`}: keys and values of ${now} of ${SEQUENCE} positions are there. Rows never change, as no token sees a later one; so nothing is computed twice. The price is memory, and reading all of it for every token.`,
    figure: scroll("KV cache", figure) + scroll("Bytes", table(`Bytes of the whole cache in ${HEAD.dtype}, all ${C.n_layers} layers`, ["key/value heads", "a token", `${now} tokens`, ""], cost, 1, [3])),
  };
}
