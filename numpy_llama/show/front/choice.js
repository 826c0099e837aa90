// What each layer would say, the logits, and how one token is chosen.

const FILTER_NAMES = { repeat_penalty: "repeat penalty", temperature: "temperature", top_k: "top-k", top_p: "top-p", min_p: "min-p" };

function lens() {
  const { token: t, layer: i } = STATE, next = value("comes", t);
  const rows = LAYERS.map((layer, l) => {
    const ids = row("lens.ids", l, t), p = row("lens.probability", l, t);
    return [layer, count(value("lens.rank", l, t)), ...ids.slice(0, 4).map((id, r) => `${named(piece(id))} ${percent(p[r])}`)];
  });
  const ranks = LAYERS.map((_, l) => value("lens.rank", l, t) + 1);
  const about = ` What came next, ${named(piece(next))}, is number ${count(ranks[i])} of ${count(C.vocab_size)} there.`;
  return {
    say: `The last norm and the head, applied to the stream after layer ${LAYERS[i]} as if it were the last, would say ${named(piece(value("lens.ids", i, t, 0)))} (<b>${percent(value("lens.probability", i, t, 0))}</b>).${about}`,
    figure: (LAYERS.length > 1 ? `<figure>${chart("Rank of the token that comes next, by layer, logarithmic; 1 is the likeliest", [["a", ranks]], { log: true, mark: i, x: (l) => LAYERS[l], axis: "layer" })}<figcaption>Rank of ${named(piece(next))}; 1 is the likeliest.</figcaption></figure>` : "") +
      scroll("Logit lens", table(`After ${named(tokenAt(t))}, by layer: how many tokens are likelier than what came, and the four likeliest`, ["layer", "likelier", "1st", "2nd", "3rd", "4th"], rows, i, [2, 3, 4, 5]), "tall"),
  };
}

function next() {
  const t = STATE.token, step = POSITIONS[t] - HEAD.prompt + 1, choice = step >= 0 ? HEAD.choices[step] : null;
  const ids = row("logits.ids", t), top = row("logits.top", t), p = row("logits.probability", t);
  const heads = ["token", "logit", "probability"];
  const cells = (r) => [named(piece(ids[r])), top[r].toFixed(2), (100 * p[r]).toFixed(2) + "%"];
  let rows = ids.map((_, r) => cells(r)), said, caption = "The likeliest tokens", now = -1;
  if (choice) {
    heads.push(...HEAD.filters.map(([name, setting]) => `${FILTER_NAMES[name]} ${setting}`));
    rows = rows.map((cells, r) => {
      const at = choice.ids.indexOf(ids[r]);
      return [...cells, ...choice.left.map((stage) => (at < 0 ? "–" : stage[at] > 0 ? (100 * stage[at]).toFixed(2) + "%" : '<span class="soft">out</span>'))];
    });
    rows.push(["tokens left", "", count(C.vocab_size), ...choice.kept.map(count)]);
    now = ids.indexOf(choice.chosen);
    caption = `The likeliest tokens; then what each filter leaves, one after the other${HEAD.greedy ? ": an example, for this run was greedy" : ""}`;
    said = `${HEAD.greedy ? "The run was greedy: the largest logit is taken" : `One number is drawn, with the seed ${HEAD.seed}`}, and the token is ${named(piece(choice.chosen))}.`;
  } else {
    const came = piece(value("comes", t));
    said = `The prompt goes on with ${named(came)}, whatever the model would choose here.`;
  }
  return {
    say: `The head gives one logit to each of ${count(C.vocab_size)} tokens; softmax makes them probabilities. After ${named(tokenAt(t))} the likeliest is ${named(piece(ids[0]))} with <b>${percent(p[0])}</b>. ${said}`,
    figure: scroll("Next token", table(caption, heads, rows, now)),
  };
}
