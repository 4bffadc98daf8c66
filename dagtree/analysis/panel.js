// What is said of one node, or of two beside each other; the bar above; the keys. Follows page.js in one script.
const panel = make("aside", { id: "panel", "aria-label": "record", hidden: true, tabindex: -1 });
const exactText = (value) => (value[3] ? String(value[1]) : value[0]);
const isText = (value) => typeof value === "string";
const rowsTable = (pairs) => make("table", {}, make("tbody", {}, ...pairs.map(([name, value]) =>
  make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value)))));
const section = (title, fill, open = false) => {
  const one = make("details", {}, make("summary", {}, title));
  let filled = false;
  const now = () => { if (!filled) { filled = true; one.append(...[fill()].flat().filter(Boolean)); } };
  one.addEventListener("toggle", () => { if (one.open) now(); });
  if (open) { one.open = true; now(); }
  return one;
};
const nodeLink = (at, text) => make("button", { class: "link", onclick: () => { goTo(at); choose(at); } }, text ?? labelOf(at));
const markOf = (status) => make("span", { class: `mark s-${known(status)}` }, marks[status] ?? "?");
const sizeText = (bytes) => {
  let rest = bytes;
  for (const unit of ["B", "kB", "MB", "GB"]) { if (rest < 999.5) return `${unit === "B" ? rest : Number(rest.toPrecision(3))} ${unit}`; rest /= 1000; }
  return `${Number(rest.toPrecision(3))} TB`;
};
const missingCopy = (text) => make("p", { class: "dim" }, `This could not be read: ${text}`);

// ---------------------------------------------------------------- curves
const chart = (name, series) => {
  const all = series.flatMap(([, curve]) => curve ? curve[2] : []).filter((one) => one !== null);
  const moments = series.flatMap(([, curve]) => curve ? curve[1] : []);
  const wide = 420, high = 120, left = 8, right = 8, top = 14, bottom = 18;
  const box = make("div", { class: "chart" });
  const saying = make("span", { class: "dim" });
  const ends = series.filter(([, curve]) => curve).map(([, curve]) => numberText(curve[2].at(-1)) || "not finite").join(" and ");
  box.append(make("div", { class: "said" }, make("b", {}, `${name}  ${ends}`), saying));
  if (!all.length) { box.append(make("p", { class: "dim" }, "no finite value")); return box; }
  const low = Math.min(...all), most = Math.max(...all), begin = Math.min(...moments), end = Math.max(...moments);
  const px = (moment) => left + (end > begin ? (moment - begin) / (end - begin) : 0.5) * (wide - left - right);
  const py = (one) => high - bottom - (most > low ? (one - low) / (most - low) : 0.5) * (high - top - bottom);
  const said = `${name}: ${series.filter(([, curve]) => curve).map(([, curve]) => `from ${numberText(curve[2][0])} to ${numberText(curve[2].at(-1))}`).join(", and ")}, between ${numberText(low)} and ${numberText(most)}, moments ${begin} to ${end}`;
  const art = vector("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": said });
  art.append(vector("path", { class: "axis", d: `M${left} ${high - bottom}H${wide - right}M${left} ${top}H${wide - right}` }),
    vector("text", { x: left, y: top - 3 }, numberText(most)), vector("text", { x: left, y: high - bottom - 3 }, most > low ? numberText(low) : ""),
    vector("text", { x: left, y: high - 5 }, String(begin)), vector("text", { x: wide - right, y: high - 5, "text-anchor": "end" }, `moment ${end}`));
  for (const [ink, curve] of series) {
    if (!curve) continue;
    let path = "", pen = "M";
    curve[2].forEach((one, place) => { if (one === null) { pen = "M"; return; } path += `${pen}${px(curve[1][place]).toFixed(1)} ${py(one).toFixed(1)}`; pen = "L"; });
    if (curve[2].length <= 40) curve[2].forEach((one, place) => { if (one !== null) art.append(vector("circle", { class: ink, cx: px(curve[1][place]).toFixed(1), cy: py(one).toFixed(1), r: 2.2 })); });
    art.append(vector("path", { class: ink, d: path || "M0 0" }));
  }
  art.addEventListener("pointermove", (event) => {
    const area = art.getBoundingClientRect(), at = begin + ((((event.clientX - area.left) / area.width) * wide - left) / (wide - left - right)) * (end - begin);
    saying.textContent = series.filter(([, curve]) => curve).map(([, curve]) => {
      let near = 0;
      curve[1].forEach((moment, place) => { if (Math.abs(moment - at) < Math.abs(curve[1][near] - at)) near = place; });
      return `moment ${curve[1][near]}: ${numberText(curve[2][near]) || "not finite"}`;
    }).join("; ");
  });
  art.addEventListener("pointerleave", () => { saying.textContent = ""; });
  box.append(art);
  const less = series.filter(([, curve]) => curve && curve[2].length < curve[3]).map(([, curve]) => `${curve[2].length} of ${many(curve[3], "point")}, each stretch's lowest and highest among them`);
  const odd = series.reduce((sum, [, curve]) => sum + (curve ? curve[4] : 0), 0);
  const note = [...new Set(less), odd ? `${many(odd, "value")} not finite` : ""].filter(Boolean).join("; ");
  if (note) box.append(make("div", { class: "dim" }, note));
  return box;
};

// ---------------------------------------------------------------- one node
const partsOf = (at) => { const code = beside().codes[beside().nodes[at].g]; return isText(code) || code === undefined ? code : code.map((place) => beside().parts[place]); };
const partHead = (part) => make("div", {}, make("b", {}, part[0]), make("span", { class: "dim" }, `  ${part[1]}  ${part[2]}`));
const codeOf = (at) => {
  const parts = partsOf(at);
  if (isText(parts)) return missingCopy(parts);
  return parts.flatMap((part) => [partHead(part), part[4] ? make("pre", {}, make("code", {}, part[4])) : make("p", { class: "dim" }, "its text is not in this page")]);
};
const tensorsOf = (at) => {
  const held = beside().nodes[at].w;
  return Array.isArray(held) ? held.map((place) => beside().tensors[place]) : held;
};
const environmentOf = (at) => beside().environments[beside().nodes[at].v];
const crumbs = (at) => {
  const path = pathTo(at), shown = path.length > 9 ? [...path.slice(0, 3), -1, ...path.slice(-5)] : path, line = make("div", { class: "crumbs", "aria-label": "path" });
  shown.forEach((one, place) => {
    if (place) line.append(" / ");
    line.append(one < 0 ? `… ${path.length - 8} more …` : one === at ? make("b", {}, nodes[one].n) : nodeLink(one, nodes[one].n));
  });
  return line;
};
const head = (at) => [
  make("h2", {}, markOf(nodes[at].s), " ", labelOf(at)),
  crumbs(at),
  make("div", {}, `${nodes[at].s}  `, make("span", { class: "key" }, nodes[at].k)),
  nodes[at].t.length ? make("div", {}, ...nodes[at].t.map((tag) => make("span", { class: "tag" }, tags[tag])), nodes[at].u ? ` and ${nodes[at].u} more` : "") : null,
];
const record = (at) => {
  const node = nodes[at], cold = beside().nodes[at] ?? {}, out = [];
  const close = make("button", { onclick: closePanel }, "Close", make("span", { class: "hidden" }, " the record"));
  const other = make("button", { "aria-pressed": String(first === at), onclick: () => { markFirst(first === at ? -1 : at); fill(); } }, first === at ? "Choose the other node…" : "Compare with…");
  const tools = make("div", { class: "tools" }, other, first >= 0 && first !== at ? make("button", { onclick: () => compare(first, at) }, `Compare with ${nodes[first].n}`) : "",
    below[at].length ? make("button", { onclick: () => { toggle(at); fill(); } }, folded[at] ? "Unfold" : "Fold") : "", close);
  out.push(tools, ...head(at));
  if (node.e) out.push(make("p", { class: "error" }, node.e));
  if (cold.r) out.push(section(`Replicates: ${node.f ?? cold.r.length}`, () => make("table", {}, make("tbody", {}, ...cold.r.map(([key, label, state, said]) =>
    make("tr", {}, make("td", {}, markOf(state), " ", label, make("div", { class: "key dim" }, key)), make("td", {}, said))))), true));
  if (cold.e) out.push(section("Failure", () => make("pre", {}, cold.e), true));
  if (node.q.length) out.push(section("Properties", () => rowsTable(node.q.map(([name, value]) => [names[name], values[value][0]])), true));
  if (node.m.length) out.push(section("Metrics and results", () => rowsTable(node.m.map(([name, value]) => [names[name], exactText(values[value])])), true));
  if (cold.h) out.push(section(`Curves: ${cold.h.length}`, () => cold.h.map((curve) => chart(curve[0], [["a", curve]])), true));
  const further = node.p.filter((parent) => parent !== lead[at]);
  const family = [];
  if (further.length) family.push(["further parents", make("span", {}, ...further.map((one) => make("div", {}, nodeLink(one))))]);
  if (node.x) family.push(["parents that aren't here", make("span", { class: "key" }, node.x.join(" "))]);
  if (below[at].length) family.push([many(below[at].length, "child", "children"), make("span", {}, ...below[at].slice(0, 30).map((one) => make("div", {}, markOf(nodes[one].s), " ", nodeLink(one))), below[at].length > 30 ? `and ${below[at].length - 30} more` : "")]);
  if (cold.a?.length || family.length) out.push(section("Record", () => rowsTable([...(cold.a ?? []), ...family]), true));
  if (cold.g !== undefined) out.push(section("Code", () => codeOf(at)));
  if (cold.o !== undefined) out.push(section("Output", () => (Array.isArray(cold.o) ? missingCopy(cold.o[0]) : make("pre", { tabindex: 0 }, cold.o))));
  const held = tensorsOf(at);
  if (held !== undefined) {
    const count = Array.isArray(held) ? held.length : held;
    out.push(section(`Tensors: ${count.toLocaleString("en")}${Array.isArray(held) ? `, ${sizeText(held.reduce((sum, one) => sum + one[3], 0))}` : ""}`, () => Array.isArray(held)
      ? make("table", {}, make("thead", {}, make("tr", {}, ...["name", "dtype", "shape", "size"].map((title, place) => make("th", { scope: "col", class: place === 3 ? "n" : null }, title)))),
        make("tbody", {}, ...held.slice(0, 1000).map((one) => make("tr", {}, make("td", {}, one[0]), make("td", {}, one[1]), make("td", {}, one[2] || "scalar"), make("td", { class: "n" }, sizeText(one[3]))))))
      : make("p", { class: "dim" }, "they are not listed in this page: node.tensors() has them")));
  }
  const where = environmentOf(at);
  if (where !== undefined) out.push(section("Host and versions", () => (isText(where) ? missingCopy(where) : rowsTable(where))));
  const notes = beside().notes;
  if (notes.length) out.push(make("p", { class: "dim" }, `Left out: ${notes.join("; ")}.`));
  panel.setAttribute("aria-label", "record of a node");
  return out;
};

// ---------------------------------------------------------------- two nodes
// A longest common subsequence, by a table, between what begins and what ends alike; too long ones are told as a whole.
const align = (one, other) => {
  let start = 0, end = 0;
  while (start < one.length && start < other.length && one[start] === other[start]) start++;
  while (end < one.length - start && end < other.length - start && one.at(-1 - end) === other.at(-1 - end)) end++;
  const a = one.slice(start, one.length - end), b = other.slice(start, other.length - end), n = a.length, m = b.length;
  const steps = one.slice(0, start).map((_, place) => [" ", place, place]);
  if (n * m > 4e6) { a.forEach((_, i) => steps.push(["-", start + i, -1])); b.forEach((_, j) => steps.push(["+", -1, start + j])); }
  else {
    const best = Array.from({ length: n + 1 }, () => new Uint16Array(m + 1));
    for (let i = n - 1; i >= 0; i--) for (let j = m - 1; j >= 0; j--) best[i][j] = a[i] === b[j] ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
    let i = 0, j = 0;
    while (i < n || j < m) {
      if (i < n && j < m && a[i] === b[j]) steps.push([" ", start + i++, start + j++]);
      else if (i < n && (j >= m || best[i + 1][j] >= best[i][j + 1])) steps.push(["-", start + i++, -1]);
      else steps.push(["+", -1, start + j++]);
    }
  }
  for (let place = end; place > 0; place--) steps.push([" ", one.length - place, other.length - place]);
  return steps;
};
const linesOf = (text) => (text ? text.replace(/\n$/, "").split("\n") : []);
const diffText = (old, now) => {
  const before = linesOf(old), after = linesOf(now), steps = align(before, after), near = new Uint8Array(steps.length);
  steps.forEach(([what], place) => { if (what !== " ") for (let one = Math.max(0, place - 3); one <= Math.min(steps.length - 1, place + 3); one++) near[one] = 1; });
  const out = make("pre", { tabindex: 0 });
  let gap = false;
  steps.forEach(([what, i, j], place) => {
    if (!near[place]) { gap = true; return; }
    if (gap && out.childNodes.length) out.append("  ⋯\n");
    gap = false;
    const line = `${what === "-" ? "−" : what} ${what === "+" ? after[j] : before[i]}`;
    out.append(what === " " ? `${line}\n` : make("span", { class: what === "-" ? "less" : "more" }, line));
  });
  return out;
};
const SIDES = ["", "first", "second"];
// Entries are [name, on the first side, on the second, a remark, whether they are equal].
const sides = (entries, titles = SIDES) => make("table", {}, make("thead", {}, make("tr", {}, ...titles.map((title) => make("th", { scope: "col" }, title)))),
  make("tbody", {}, ...entries.map(([name, old, now, remark, equal]) => make("tr", { class: equal ? null : "differs" }, make("th", { scope: "row" }, name), make("td", {}, old ?? "(not there)"),
    make("td", {}, now ?? "(not there)", remark ? make("span", { class: "dim" }, `  (${remark})`) : "")))));
const paired = (one, other) => [...new Set([...one.keys(), ...other.keys()])].map((name) => [name, one.get(name), other.get(name)]);
const withRest = (entries, titles) => {
  const differ = entries.filter((entry) => !entry[4]), equal = entries.filter((entry) => entry[4]);
  return [differ.length ? sides(differ, titles) : make("p", {}, "nothing differs"), equal.length ? section(`${many(equal.length, "entry", "entries")} equal on both sides`, () => sides(equal, titles)) : null];
};
const texts = (pairs) => pairs.map(([name, old, now]) => [name, old, now, "", old === now]);
// Values are equal when their places are: what is shown of a long one may be cut.
const valueEntries = (which, one, other) => paired(...[one, other].map((at) => new Map(nodes[at][which]))).map(([name, a, b]) => {
  const [old, now] = [a, b].map((place) => (place === undefined ? undefined : values[place]));
  const numbers = which === "m" && old && now && old[1] !== null && now[1] !== null;
  const [before, after] = [old, now].map((value) => value && (which === "m" ? exactText(value) : value[0]));
  const equal = a === b || (numbers && Number.isSafeInteger(old[1]) && old[1] === now[1]);
  const gain = numbers && old[1] !== now[1] ? now[1] - old[1] : null;
  const remark = gain !== null ? `${gain > 0 ? "+" : "−"}${numberText(Math.abs(gain))}` : !equal && before === after ? "differs in what isn't shown" : "";
  return [names[name], before, after, remark, equal];
});
const codeChanges = (one, other) => {
  const old = partsOf(one), now = partsOf(other);
  if (isText(old) || isText(now)) return [missingCopy(isText(old) ? old : now)];
  const of = (parts) => { const found = new Map(); for (const part of parts ?? []) { const name = `${part[1]}\n${part[0]}`; found.set(name, [...(found.get(name) ?? []), part]); } return found; };
  const before = of(old), after = of(now), out = [];
  for (const [name, mine, others] of paired(before, after)) {
    for (let place = 0; place < Math.max(mine?.length ?? 0, others?.length ?? 0); place++) {
      const a = mine?.[place], b = others?.[place];
      if (a && b && (a[3] || b[3] ? a[3] === b[3] : a[4] === b[4])) continue;
      const [kind, what] = name.split("\n");
      out.push(make("div", {}, make("b", {}, what), make("span", { class: "dim" }, `  ${kind}  ${a && b ? (a[4] === b[4] ? "reads the same, and something in it that isn't shown differs" : "differs") : a ? "is on the first side only" : "is on the second side only"}`)));
      if (a?.[4] !== b?.[4]) out.push(diffText(a?.[4] ?? "", b?.[4] ?? ""));
    }
  }
  return out;
};
const both = (one, other) => {
  const out = [make("div", { class: "tools" }, make("button", { onclick: () => compare(other, one) }, "Swap"), make("button", { onclick: closePanel }, "Close", make("span", { class: "hidden" }, " the comparison")))];
  out.push(make("div", { class: "both-sides" }, ...[one, other].map((at, place) => make("div", {}, make("div", { class: "dim" }, place ? "second" : "first"), make("h2", {}, markOf(nodes[at].s), " ", nodeLink(at)), make("div", { class: "key" }, nodes[at].k)))));
  const ways = [pathTo(one), pathTo(other)];
  let common = 0;
  while (common < ways[0].length && ways[0][common] === ways[1][common]) common++;
  const [rest, others] = ways.map((way) => way.slice(common));
  const titles = [make("span", {}, ""), nodes[one].n, nodes[other].n].map((title, place) => (place ? `${place === 1 ? "first" : "second"}: ${title}` : ""));
  const steps = align(rest.map((at) => nodes[at].n), others.map((at) => nodes[at].n)).map(([, i, j]) => [i < 0 ? undefined : rest[i], j < 0 ? undefined : others[j]]);
  const changes = new Map();
  for (const [a, b] of steps) if (a !== undefined && b !== undefined) changes.set(a, codeChanges(a, b));
  out.push(section("Path", () => {
    const where = common ? make("p", {}, "They part after ", nodeLink(ways[0][common - 1]), ".") : make("p", {}, "Their paths have no node in common.");
    const entries = steps.map(([a, b], place) => {
      const same = a !== undefined && b !== undefined && valueEntries("q", a, b).every((entry) => entry[4]), code = changes.get(a)?.length > 0;
      return [String(place + 1), a === undefined ? undefined : labelOf(a), b === undefined ? undefined : labelOf(b), code ? "other code" : "", same && !code];
    });
    return [one === other ? make("p", {}, "They are the same node.") : where, entries.length ? sides(entries, titles) : null];
  }, true));
  out.push(section("Properties", () => withRest(valueEntries("q", one, other), titles), true));
  const measured = valueEntries("m", one, other);
  if (measured.length) out.push(section("Metrics and results", () => withRest(measured, titles), true));
  const curves = (at) => new Map((beside().nodes[at]?.h ?? []).map((curve) => [curve[0], curve]));
  const drawnCurves = paired(curves(one), curves(other));
  if (drawnCurves.length) out.push(section("Curves: first solid, second dashed", () => drawnCurves.map(([name, a, b]) => chart(name, [["a", a], ["b", b]])), true));
  out.push(section("Code", () => {
    const of = [...steps.filter(([a, b]) => a !== undefined && b !== undefined), ...(steps.length && !steps.at(-1).includes(undefined) ? [] : [[one, other]])];
    const found = of.flatMap(([a, b]) => {
      const told = changes.get(a) ?? codeChanges(a, b);
      return told.length ? [make("p", {}, a === one && b === other ? "Of the two nodes:" : `Of the step ${nodes[a].n}:`), ...told] : [];
    });
    return found.length ? found : make("p", {}, "no part differs");
  }, true));
  const where = [environmentOf(one), environmentOf(other)];
  if (where.some((side) => side !== undefined)) out.push(section("Host and versions", () => {
    const bad = where.find(isText);
    return bad ? missingCopy(bad) : withRest(texts(paired(...where.map((side) => new Map(side ?? [])))), titles);
  }));
  const held = [tensorsOf(one), tensorsOf(other)];
  if (held.some((side) => side !== undefined)) out.push(section("Tensors", () => {
    if (!held.every(Array.isArray)) return make("p", { class: "dim" }, "they are not listed here for both: first.diff(second) compares them");
    const facts = (side) => new Map(side.map((tensor) => [tensor[0], tensor]));
    const told = ([, dtype, shape]) => `${dtype} ${shape || "scalar"}`;
    const listed = paired(...held.map(facts)).map(([name, a, b]) => { const same = Boolean(a && b && a[4] && a[4] === b[4]); return [name, a && told(a), b && told(b), a && b && !same ? "other bytes" : "", same]; });
    const equal = listed.filter((entry) => entry[4]).length;
    return [make("p", {}, `${equal} of ${listed.length} are equal, bit for bit. How far the others are apart: first.diff(second).`), equal < listed.length ? sides(listed.filter((entry) => !entry[4]).slice(0, 400), titles) : null];
  }));
  panel.setAttribute("aria-label", "two nodes compared");
  return out;
};

// ---------------------------------------------------------------- the panel
let pair = null;
const fill = () => {
  panel.hidden = chosen < 0 && !pair;
  panel.classList.toggle("both", pair !== null);
  panel.replaceChildren(...(pair ? both(...pair) : chosen >= 0 ? record(chosen) : []).filter(Boolean));
};
const shown = () => { fill(); panel.scrollTop = 0; render(true); drawMap(); };
const choose = (at) => { chosen = at; pair = null; shown(); if (active === at) intoSight(at); render(); announce(`record of ${labelOf(at)}`); };
const markFirst = (at) => { first = at; render(true); announce(at < 0 ? "no node to compare" : `now choose the node to compare ${labelOf(at)} with`); };
const compare = (one, other) => { pair = [one, other]; chosen = other; first = -1; shown(); announce("two nodes compared"); };
const closePanel = () => { chosen = -1; pair = null; shown(); focusActive(); };

// ---------------------------------------------------------------- the bar above
const box = make("input", { type: "search", id: "search", placeholder: "Search: Train lr=0.1", "aria-label": "search recipes, properties, tags, keys", spellcheck: "false", autocomplete: "off" });
const found = make("span", { id: "found", role: "status", "aria-live": "polite" });
const only = make("input", { type: "checkbox", id: "only" });
let searched = "";
const refind = () => {
  searched = box.value;
  search(searched);
  found.textContent = hits ? many(hits.length, "match", "matches") : "";
  onlyHits = only.checked;
  if (onlyHits && shownByHits && hits.length && !shownByHits.has(active)) active = hits[0];
  redraw();
};
let waiting = 0;
box.addEventListener("input", () => {
  clearTimeout(waiting);
  if (nodes.length > 1000) waiting = setTimeout(() => { waiting = 0; refind(); }, 120); else refind();
});
only.addEventListener("change", refind);
box.addEventListener("keydown", (event) => {
  if (event.key === "Enter") { event.preventDefault(); clearTimeout(waiting); waiting = 0; if (searched !== box.value) refind(); nextHit(event.shiftKey ? -1 : 1); box.focus(); }
  else if (event.key === "ArrowDown") { event.preventDefault(); if (hits?.length && !hitSet.has(active)) nextHit(1); focusActive(); }
  else if (event.key === "Escape") { event.stopPropagation(); if (box.value) { box.value = ""; refind(); } focusActive(); }
});
const picker = make("select", { id: "colour" });
const legend = make("div", { id: "legend", "aria-label": "what colours say" });
const groups = new Map();
FIELDS.forEach((field, place) => {
  const option = make("option", { value: place }, field.label);
  if (!field.group) { picker.append(option); return; }
  if (!groups.has(field.group)) { const group = make("optgroup", { label: field.group }); groups.set(field.group, group); picker.append(group); }
  groups.get(field.group).append(option);
});
const recolour = () => {
  colour = colourBy(FIELDS[Number(picker.value) || 0]);
  const swatch = (ink) => { const one = make("span", { class: "swatch" }); if (ink) one.style.background = ink; else one.classList.add("none"); return one; };
  const said = [];
  if (colour.kinds) said.push(...colour.kinds.map(([ink, text, count]) => make("span", {}, swatch(ink), `${text}  `, make("span", { class: "dim" }, count.toLocaleString("en")))));
  else {
    const ramp = make("span", { class: "scale" });
    ramp.style.background = `linear-gradient(to right,${Array.from({ length: 11 }, (_, at) => scaled(at / 10)).join(",")})`;
    said.push(make("span", {}, `${numberText(colour.low)} `, ramp, ` ${numberText(colour.high)}`, colour.logarithmic ? "  (logarithmic)" : ""));
  }
  if (colour.none) said.push(make("span", {}, swatch(null), `no value  `, make("span", { class: "dim" }, colour.none.toLocaleString("en"))));
  if (colour.field.inherits) said.push(make("span", { class: "dim" }, "of the node, or of the nearest above it"));
  legend.replaceChildren(make("b", {}, colour.field.label), ...said);
};
picker.addEventListener("change", () => { recolour(); render(true); drawMap(); });
const THEMES = ["auto", "light", "dark"];
const theme = make("button", { id: "theme", onclick: () => setTheme(THEMES[(THEMES.indexOf(theme.dataset.now) + 1) % 3]) });
const setTheme = (name) => {
  theme.dataset.now = name;
  theme.textContent = { auto: "◐ Auto", light: "☀ Light", dark: "☾ Dark" }[name];
  theme.setAttribute("aria-label", `colours of the page: ${name}`);
  if (name === "auto") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = name;
  if (rows.length) drawMap();
};
const KEYS = [["↑ ↓", "the node before, the node after"], ["→", "unfold, then into the subtree"], ["←", "fold, then to the parent"], ["Home End", "the first node, the last one"], ["Page Up, Page Down", "ten nodes on"],
  ["Enter", "its record"], ["c", "compare: once on the first node, once on the second"], ["Shift-click", "compare with the node whose record is shown"], ["Space", "fold and unfold"], ["*", "unfold all below"], ["/", "search; Enter goes to the next match, Shift-Enter to the one before"],
  ["n, N", "the next match, the one before"], ["+ − 0", "larger, smaller, as at first"], ["Escape", "close, and back to the tree"], ["?", "these keys"]];
const help = make("dialog", { "aria-label": "keys" }, make("dl", {}, ...KEYS.flatMap(([key, what]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, what)])),
  make("p", { class: "dim" }, "A search takes words, all of which must be in a node's recipe, properties, tags, key or status, and conditions such as lr=0.1, loss<0.5, optimizer!=adam."), make("form", { method: "dialog" }, make("button", {}, "Close")));
help.addEventListener("keydown", (event) => event.stopPropagation());
const modeButton = make("button", { id: "mode", onclick: () => { isChosen = true; setMode(mode === "drawing" ? "outline" : "drawing"); } });
const setMode = (to) => { mode = to; modeButton.textContent = mode === "drawing" ? "As an outline" : "As a drawing"; if (rows.length) { redraw(); if (active >= 0) { intoSight(active); render(); } } };
const all = nodes.reduce((sum, _, at) => sum + own(at), 0);
const counts = [many(all, "node") + (all > nodes.length ? ` as ${many(nodes.length, "branch", "branches")}` : ""), tree.note].filter(Boolean).join("; ");
const bar = make("header", {},
  tree.title ? make("h1", { title: tree.title }, tree.title) : make("h1", { class: "hidden" }, "dagtree"), make("span", { class: "counts", title: counts }, counts),
  make("span", { class: "group" }, box, make("label", {}, only, " only matches"), found),
  make("span", { class: "wide" }),
  make("label", { class: "group" }, "Colour ", picker),
  make("span", { class: "group" }, make("button", { onclick: () => foldAll(() => foldBeyond(1)), title: "show only what hangs directly below the roots" }, "Fold all"), make("button", { onclick: () => foldAll(() => folded.fill(0)) }, "Unfold all"), modeButton),
  make("span", { class: "group" }, make("button", { "aria-label": "smaller", onclick: () => zoom(scale / 1.2) }, "−"), make("button", { "aria-label": "larger", onclick: () => zoom(scale * 1.2) }, "+"), theme, make("button", { "aria-label": "keys", onclick: () => help.showModal() }, "?")));

// ---------------------------------------------------------------- keys and hands
layer.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || active < 0) return;
  const place = rowOf[active], step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
  const inside = childrenShown(active);
  if (step) active = rows[Math.min(Math.max(place + step, 0), rows.length - 1)];
  else if (event.key === "Home") active = rows[0];
  else if (event.key === "End") active = rows.at(-1);
  else if (event.key === "ArrowRight") { if (isFolded(active)) toggle(active, false); else if (inside.length) active = inside[0]; }
  else if (event.key === "ArrowLeft") { if (inside.length && !(onlyHits && shownByHits)) toggle(active, true); else if (lead[active] >= 0) active = lead[active]; }
  else if (event.key === " ") toggle(active);
  else if (event.key === "Enter") choose(active);
  else if (event.key === "c") { if (first >= 0 && first !== active) compare(first, active); else if (first < 0 && chosen >= 0 && chosen !== active) compare(chosen, active); else markFirst(first === active ? -1 : active); }
  else if (event.key === "*") { const top = active; keeping(top, () => { const stack = [top]; while (stack.length) { const one = stack.pop(); folded[one] = 0; stack.push(...below[one]); } }); }
  else return;
  event.preventDefault();
  focusActive();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName ?? "");
  if (event.key === "Escape") { if (!panel.hidden) closePanel(); else if (first >= 0) { markFirst(-1); focusActive(); } else if (typing) focusActive(); }
  else if (typing) return;
  else if (event.key === "/") { event.preventDefault(); box.focus(); box.select(); }
  else if (event.key === "n") nextHit(1);
  else if (event.key === "N") nextHit(-1);
  else if (event.key === "?") help.showModal();
  else if (event.key === "+" || event.key === "=") zoom(scale * 1.2);
  else if (event.key === "-") zoom(scale / 1.2);
  else if (event.key === "0") zoom(1);
});
let waitingFrame = false;
pane.addEventListener("scroll", () => { if (!waitingFrame) { waitingFrame = true; requestAnimationFrame(() => { waitingFrame = false; render(); }); } }, { passive: true });
pane.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  const area = pane.getBoundingClientRect();
  zoom(scale * Math.exp(-event.deltaY / 300), event.clientX - area.left, event.clientY - area.top);
}, { passive: false });
let grip = null;
pane.addEventListener("pointerdown", (event) => { if (event.button === 0 && event.pointerType === "mouse" && !event.target.closest(".node")) grip = [event.clientX + pane.scrollLeft, event.clientY + pane.scrollTop]; });
addEventListener("pointermove", (event) => { if (grip && event.buttons & 1) { pane.classList.add("dragged"); pane.scrollLeft = grip[0] - event.clientX; pane.scrollTop = grip[1] - event.clientY; } });
addEventListener("pointerup", () => { grip = null; pane.classList.remove("dragged"); });

// ---------------------------------------------------------------- begin
document.getElementById("static")?.remove();
document.body.append(bar, legend, make("main", {}, pane, map, panel), status, help);
recolour();
setTheme("auto");
setMode(mode);
openAtFirst();
redraw();
if (!nodes.length) layer.append(make("p", {}, "no nodes yet"));
// A frame may get its size after its script has run.
addEventListener("resize", () => { if (!isChosen && mode !== fitting()) setMode(fitting()); });
new ResizeObserver(() => { if (mode === "outline") redraw(); else { render(); drawMap(); } }).observe(pane);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawMap);
document.documentElement.dataset.ready = "yes";
