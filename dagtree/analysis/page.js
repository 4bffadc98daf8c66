// The drawing: what is open, where it stands, what is in sight. Only nodes in sight are elements of the page;
// every text goes in as text.
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const tree = read("drawn");
let besideRead = null;
const beside = () => (besideRead ??= read("beside"));
const { nodes, names, values, tags, marks } = tree;

const make = (tag, attributes = {}, ...inside) => {
  const one = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) one.addEventListener(name.slice(2), value);
    else if (name === "class") one.className = value;
    else if (value !== undefined && value !== null && value !== false) one.setAttribute(name, value === true ? "" : value);
  }
  one.append(...inside.filter((part) => part !== null && part !== undefined && part !== ""));
  return one;
};
const vector = (tag, attributes = {}, ...inside) => {
  const one = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
  one.append(...inside);
  return one;
};
const many = (count, one, more = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : more}`;
const numberText = (x) => {
  if (x === null || x === undefined) return "";
  const size = Math.abs(x);
  if (size && (size < 1e-4 || size >= 1e9)) return x.toExponential(2).replace(/\.?0+e/, "e");
  if (Number.isInteger(x)) return x.toLocaleString("en");
  return String(Number(x.toPrecision(size >= 100 ? Math.min(String(Math.trunc(size)).length + 1, 9) : 3)));
};
const known = (status) => (Object.hasOwn(marks, status) ? status : "planned");

// Who hangs below whom. A parent that comes later closes a cycle (damage), and leads nowhere.
const lead = nodes.map((node, at) => node.p.find((parent) => parent < at) ?? -1);
const below = nodes.map(() => []);
const starts = [];
nodes.forEach((_, at) => (lead[at] < 0 ? starts : below[lead[at]]).push(at));
const depth = new Int32Array(nodes.length);
nodes.forEach((_, at) => { depth[at] = lead[at] < 0 ? 0 : depth[lead[at]] + 1; });
const own = (at) => nodes[at].f ?? 1;  // a branch of replicates stands for several
const size = Int32Array.from(nodes, (_, at) => own(at));
const troubles = new Int32Array(nodes.length);
for (let at = nodes.length - 1; at >= 0; at--) {
  if (nodes[at].s === "failed" || nodes[at].s === "damaged") troubles[at]++;
  if (lead[at] >= 0) { size[lead[at]] += size[at]; troubles[lead[at]] += troubles[at]; }
}
const siblings = (at) => (lead[at] < 0 ? starts : below[lead[at]]);
const pathTo = (at) => { const path = []; for (let one = at; one >= 0; one = lead[one]) path.push(one); return path.reverse(); };
const short = (text, most = 60) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
const callText = (at) => nodes[at].q.map(([name, value]) => `${names[name]}=${short(values[value][0])}`).join(", ");
const labelOf = (at) => { const inside = callText(at); return nodes[at].n + (inside ? `(${inside})` : ""); };

// ---------------------------------------------------------------- what is open
const folded = new Uint8Array(nodes.length);
const isDeep = depth.reduce((a, b) => Math.max(a, b), 0) > 40;
const fitting = () => (isDeep || innerWidth < 700 ? "outline" : "drawing");
let mode = fitting();
let isChosen = false;           // the reader said which one
let scale = 1;
let active = starts[0] ?? -1;   // the node that the keyboard is at
let chosen = -1;                // the node whose record is shown
let first = -1;                 // the node that another is to be compared with
let hits = null;                // places of what a search found, or null
let hitSet = new Set();
let onlyHits = false;
let shownByHits = null;

const foldBeyond = (level) => nodes.forEach((_, at) => { folded[at] = below[at].length && depth[at] >= level ? 1 : 0; });
const openAtFirst = () => {
  const most = 150;
  if (nodes.length <= most) return;
  const counts = [];
  for (const level of depth) counts[level] = (counts[level] ?? 0) + 1;
  let total = 0, level = 0;
  while (level < counts.length && total + counts[level] <= most) total += counts[level++];
  // One card on an empty page tells nothing: what hangs below a few roots is shown, however much it is.
  foldBeyond(Math.max(level - 1, starts.length > most ? 0 : 1));
};
const isFolded = (at) => folded[at] === 1 && !(onlyHits && shownByHits);
const childrenShown = (at) => (isFolded(at) ? [] : onlyHits && shownByHits ? below[at].filter((one) => shownByHits.has(one)) : below[at]);

// ---------------------------------------------------------------- where it stands
const CARD = { drawing: { width: 258, height: 44, column: 302, lane: 54 }, outline: { width: 720, height: 26, column: 20, lane: 29 } };
const x = new Float64Array(nodes.length), y = new Float64Array(nodes.length);
let rows = [];                  // the nodes that aren't hidden by a fold, in the tree's order
let rowOf = new Int32Array(nodes.length).fill(-1);
let trunks = [];                // parents of several: [parent, y of its last child]
let further = [];               // arrows of further parents
let width = 0, height = 0;

const arrange = () => {
  CARD.outline.width = Math.min(Math.max(pane.clientWidth - 60, 320), 720);
  const form = CARD[mode], margin = 16;
  rows = []; trunks = []; further = []; rowOf.fill(-1); width = height = 0;
  const tops = onlyHits && shownByHits ? starts.filter((at) => shownByHits.has(at)) : starts;
  const stack = tops.map((at) => [at, true, 0]).reverse();
  let lane = -1;
  while (stack.length) {
    const [at, opens, column] = stack.pop();
    if (opens || mode === "outline") lane++;
    rowOf[at] = rows.length;
    rows.push(at);
    x[at] = margin + column * form.column;
    y[at] = margin + lane * form.lane;
    width = Math.max(width, x[at] + form.width + margin);
    height = Math.max(height, y[at] + form.height + margin);
    const inside = childrenShown(at);
    // In the outline an only child stays in its column, so that a long chain stays in sight.
    const next = mode === "outline" && inside.length < 2 ? column : column + 1;
    for (let place = inside.length - 1; place >= 0; place--) stack.push([inside[place], place > 0, next]);
  }
  for (const at of rows) {
    const inside = childrenShown(at);
    if (inside.length) trunks.push([at, y[inside.at(-1)], inside]);
    for (const parent of nodes[at].p) if (parent !== lead[at] && rowOf[parent] >= 0) further.push([parent, at]);
  }
};

// ---------------------------------------------------------------- colours
// Okabe and Ito's colours for kinds ("Color Universal Design", 2008); viridis for numbers (Smith and van der Walt, 2015).
const KINDS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7f7f7f"];
const SCALE = [[68, 1, 84], [65, 68, 135], [42, 120, 142], [34, 168, 132], [122, 209, 81], [253, 231, 37]];
const scaled = (part) => {
  const place = Math.min(Math.max(part, 0), 1) * (SCALE.length - 1), from = Math.min(Math.floor(place), SCALE.length - 2);
  const [one, other, share] = [SCALE[from], SCALE[from + 1], place - from];
  return `rgb(${one.map((channel, at) => Math.round(channel + (other[at] - channel) * share)).join(",")})`;
};
const collect = (which) => {
  const found = new Map();
  nodes.forEach((node, at) => { for (const [name, value] of node[which]) { if (!found.has(name)) found.set(name, new Map()); found.get(name).set(at, value); } });
  return found;
};
const properties = collect("q"), measuresOf = collect("m");
const FIELDS = [{ id: "status", label: "status" }, { id: "recipe", label: "recipe" }];
for (const name of properties.keys()) FIELDS.push({ id: `q${name}`, group: "properties", label: names[name], of: properties.get(name), inherits: true });
for (const name of measuresOf.keys()) FIELDS.push({ id: `m${name}`, group: "metrics and results", label: names[name], of: measuresOf.get(name) });
FIELDS.push({ id: "seconds", group: "cost", label: "seconds", number: (at) => nodes[at].c ?? null });
FIELDS.push({ id: "bytes", group: "cost", label: "bytes", number: (at) => nodes[at].b ?? null });

let colour = null;              // {field, of(at) → css or null, text(at), legend}
const colourBy = (field) => {
  if (field.id === "status") {
    const order = Object.keys(marks), counts = new Map();
    for (const node of nodes) for (const [kind, count] of Object.entries(node.g ?? { [node.s]: 1 })) counts.set(kind, (counts.get(kind) ?? 0) + count);
    const kinds = [...counts.keys()].sort((a, b) => order.indexOf(a) - order.indexOf(b));
    const ink = (status) => `var(--${known(status)})`;
    return { field, of: (at) => ink(nodes[at].s), text: () => "", kinds: kinds.map((kind) => [ink(kind), `${marks[kind] ?? "?"} ${kind}`, counts.get(kind)]) };
  }
  let text, number = () => null;
  if (field.id === "recipe") text = (at) => nodes[at].n.replace(/@\d+$/, "");
  else if (field.number) { number = field.number; text = (at) => numberText(number(at)); }
  else {
    const got = new Int32Array(nodes.length).fill(-1);
    nodes.forEach((_, at) => { got[at] = field.of.get(at) ?? (field.inherits && lead[at] >= 0 ? got[lead[at]] : -1); });
    text = (at) => (got[at] < 0 ? "" : values[got[at]][0]);
    number = (at) => (got[at] < 0 ? null : values[got[at]][1]);
  }
  const there = nodes.map((_, at) => at).filter((at) => text(at) !== "");
  const numbers = there.map(number);
  const none = nodes.length - there.length;
  const finite = numbers.filter((one) => one !== null);
  if (finite.length && finite.length === numbers.filter((one, place) => one !== null || !/^-?(nan|inf)/.test(text(there[place]))).length) {
    const low = finite.reduce((a, b) => Math.min(a, b)), high = finite.reduce((a, b) => Math.max(a, b));
    const logarithmic = low > 0 && high / low >= 50;
    const part = logarithmic ? (one) => Math.log(one / low) / Math.log(high / low) : (one) => (high > low ? (one - low) / (high - low) : 0.5);
    return { field, text, none, low, high, logarithmic, of: (at) => { const one = number(at); return one === null ? null : scaled(part(one)); } };
  }
  const counts = new Map();
  for (const at of there) counts.set(text(at), (counts.get(text(at)) ?? 0) + 1);
  const order = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a));
  const most = order.length > KINDS.length ? KINDS.length - 1 : KINDS.length;
  const inks = new Map(order.slice(0, most).map((kind, place) => [kind, KINDS[place]]));
  const kinds = order.slice(0, most).map((kind) => [inks.get(kind), kind, counts.get(kind)]);
  if (order.length > most) kinds.push([KINDS.at(-1), `${order.length - most} others`, order.slice(most).reduce((sum, kind) => sum + counts.get(kind), 0)]);
  return { field, text, none, kinds, of: (at) => (text(at) === "" ? null : inks.get(text(at)) ?? KINDS.at(-1)) };
};

// ---------------------------------------------------------------- searching
let haystack = null;
const textOf = (at) => {
  haystack ??= [];
  return (haystack[at] ??= [labelOf(at), nodes[at].k, nodes[at].s, ...nodes[at].t.map((tag) => tags[tag]), nodes[at].e ?? ""].join("\n").toLowerCase());
};
const bare = ([text, , plain]) => (plain ?? text).toLowerCase();
const COMPARE = { "=": (a, b) => a === b, "!=": (a, b) => a !== b, "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b };
const fieldNames = new Map([...properties.keys(), ...measuresOf.keys()].map((place) => [names[place].toLowerCase(), place]));
const condition = (word) => {
  const split = /^([^=<>!]+)(!=|<=|>=|=|<|>)(.+)$/.exec(word);
  if (!split || !fieldNames.has(split[1])) return (at) => textOf(at).includes(word);
  const [, name, operator, wanted] = split, compare = COMPARE[operator], number = Number(wanted);
  const place = fieldNames.get(name), same = [...new Set([properties.get(place), measuresOf.get(place)])].filter(Boolean);
  return (at) => same.some((of) => {
    const value = of.get(at);
    if (value === undefined) return false;
    const [, own] = values[value];
    if (own !== null && !Number.isNaN(number)) return compare(own, number);
    const text = wanted.replace(/^(['"])(.*)\1$/, "$2");
    return (operator === "=" || operator === "!=") && compare(bare(values[value]), text);
  });
};
const search = (query) => {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  hits = null; hitSet = new Set(); shownByHits = null;
  if (words.length) {
    const conditions = words.map(condition);
    hits = [];
    nodes.forEach((_, at) => { if (conditions.every((holds) => holds(at))) hits.push(at); });
    hitSet = new Set(hits);
    shownByHits = new Set();
    for (const hit of hits) for (let one = hit; one >= 0 && !shownByHits.has(one); one = lead[one]) shownByHits.add(one);
  }
};

// ---------------------------------------------------------------- drawing what is in sight
const pane = make("div", { id: "pane" });
const space = make("div", { id: "space" });
const lines = vector("svg", { id: "lines", "aria-hidden": "true" });
const layer = make("div", { id: "layer", role: "tree", "aria-label": "the tree of experiments", "aria-multiselectable": "false" });
space.append(lines, layer);
pane.append(space);
const drawn = new Map();        // node → its element

const element = (at) => {
  const node = nodes[at], form = CARD[mode], shut = isFolded(at) && below[at].length > 0;
  const inside = below[at].length;
  const said = node.m.map(([name, value]) => `${names[name]} ${short(values[value][0], 24)}`);
  // Tags are inherited: a card shows those that its parent doesn't have.
  const above = new Set(lead[at] >= 0 ? nodes[lead[at]].t : []);
  const state = node.s === "done" ? [] : [node.s];
  const chips = [...state, ...node.t.filter((tag) => !above.has(tag)).map((tag) => tags[tag])].filter(Boolean);
  const more = [...state, ...node.t.map((tag) => tags[tag])].filter(Boolean);
  const one = make("div", {
    class: `node s-${known(node.s)}${shut ? " folded" : ""}${hitSet.has(at) ? " hit" : hits ? " faint" : ""}${at === first ? " first" : ""}`,
    role: "treeitem", id: `node${at}`, tabindex: at === active ? 0 : -1, "aria-level": depth[at] + 1,
    "aria-setsize": siblings(at).length, "aria-posinset": siblings(at).indexOf(at) + 1, "aria-selected": at === chosen ? "true" : "false",
    "aria-expanded": inside ? String(!shut) : null,
    "aria-label": [labelOf(at), node.s, ...node.t.map((tag) => tags[tag]), ...said, shut ? `${many(size[at] - own(at), "node")} below, folded` : ""].filter(Boolean).join(", "),
    title: [labelOf(at), more.join(", "), said.join("\n"), node.e].filter(Boolean).join("\n"),
  });
  one.style.left = `${x[at]}px`; one.style.top = `${y[at]}px`; one.style.width = `${form.width}px`; one.style.height = `${form.height}px`;
  const bar = make("span", { class: "bar" });
  const ink = colour.of(at);
  if (ink) bar.style.background = ink; else bar.classList.add("none");
  const value = colour.text(at);
  const fold = inside ? make("button", { class: "fold", tabindex: -1, "aria-hidden": "true", onclick: (event) => { event.stopPropagation(); active = at; toggle(at); } },
    shut ? `▸ ${(size[at] - own(at)).toLocaleString("en")}${troubles[at] - (node.s === "failed" || node.s === "damaged" ? 1 : 0) > 0 ? ` ${marks.failed ?? "!"}` : ""}` : "▾") : null;
  const rest = make("span", { class: "rest" }, node.e ? make("b", {}, node.e) : "", value && colour.field.id !== "recipe" ? make("b", {}, `${colour.field.label} ${short(value, 24)}`) : "",
    ...chips.slice(0, 5).map((text) => make("span", { class: "tag" }, short(text, 26))), said.filter((one) => !value || !one.startsWith(`${colour.field.label} `)).slice(0, 4).join("  "));
  const head = [make("span", { class: "mark" }, marks[node.s] ?? "?"), make("span", { class: "name" }, node.n), make("span", { class: "args" }, callText(at))];
  if (mode === "outline") one.append(bar, make("div", { class: "row" }, ...head, rest, fold));
  else one.append(bar, make("div", { class: "row" }, ...head, fold), make("div", { class: "row" }, rest));
  one.addEventListener("click", (event) => {
    active = at;
    if ((event.shiftKey || event.ctrlKey || event.metaKey) && chosen >= 0 && chosen !== at) compare(chosen, at);
    else if (first >= 0 && first !== at) compare(first, at);
    else choose(at);
    focusActive();
  });
  return one;
};

const inSight = () => {
  const reach = 80;
  return { left: pane.scrollLeft / scale - reach, top: pane.scrollTop / scale - reach,
    right: (pane.scrollLeft + pane.clientWidth) / scale + reach, bottom: (pane.scrollTop + pane.clientHeight) / scale + reach };
};
const render = (again = false) => {
  const form = CARD[mode], sight = inSight();
  const hadFocus = layer.contains(document.activeElement);
  if (again) { for (const one of drawn.values()) one.remove(); drawn.clear(); }
  const wanted = new Set();
  for (const at of rows) {
    if (y[at] + form.height < sight.top || y[at] > sight.bottom || x[at] + form.width < sight.left || x[at] > sight.right) continue;
    wanted.add(at);
  }
  if (rowOf[active] >= 0) wanted.add(active);   // what has the focus stays in the page
  for (const [at, one] of drawn) if (!wanted.has(at)) { one.remove(); drawn.delete(at); }
  const fresh = [];
  for (const at of wanted) if (!drawn.has(at)) { const one = element(at); drawn.set(at, one); fresh.push(one); }
  layer.append(...fresh);
  drawLines(sight, form);
  placeMapFrame();
  if (hadFocus && !layer.contains(document.activeElement)) drawn.get(active)?.focus({ preventScroll: true });
};
const drawLines = (sight, form) => {
  const paths = [];
  let plain = "";
  for (const [parent, end, inside] of trunks) {
    const from = y[parent] + form.height / 2;
    if (end + form.height < sight.top || from > sight.bottom) continue;
    const right = mode === "drawing";
    const bend = right ? x[parent] + form.width + 18 : x[parent] + 9;
    if (right ? x[inside[0]] < sight.left || x[parent] > sight.right : x[parent] > sight.right) continue;
    if (right) plain += `M${x[parent] + form.width} ${from}H${x[inside[0]]}`;
    const low = Math.max(right ? from : y[parent] + form.height, sight.top - 50), high = Math.min(end + form.height / 2, sight.bottom + 50);
    if (high > low) plain += `M${bend} ${low}V${high}`;
    for (const child of inside) {
      const to = y[child] + form.height / 2;
      if (to < sight.top || to > sight.bottom || (right && to === from)) continue;
      if (x[child] > bend) plain += `M${bend} ${to}H${x[child]}`;
    }
  }
  paths.push(vector("path", { d: plain || "M0 0" }));
  let drawnFurther = 0;
  for (const [parent, at] of further) {
    const [fx, fy, tx, ty] = mode === "drawing" ? [x[parent] + form.width, y[parent] + form.height * 0.8, x[at], y[at] + form.height * 0.25]
      : [x[parent] + form.width, y[parent] + form.height / 2, x[at] + form.width, y[at] + form.height / 2];
    if (Math.max(fy, ty) < sight.top || Math.min(fy, ty) > sight.bottom || Math.max(fx, tx) < sight.left || Math.min(fx, tx) > sight.right) continue;
    if (++drawnFurther > 400) break;
    const out = mode === "drawing" ? 24 : 40;
    paths.push(vector("path", { class: parent === chosen || at === chosen ? "further on" : "further", d: `M${fx} ${fy}C${fx + out} ${fy} ${mode === "drawing" ? tx - out : tx + out} ${ty} ${tx} ${ty}` }));
  }
  lines.replaceChildren(...paths);
};

// ---------------------------------------------------------------- the whole tree in a strip
const map = make("div", { id: "map", "aria-hidden": "true", title: "the whole tree; click to go there" });
const canvas = document.createElement("canvas");
const frame = make("div");
map.append(canvas, frame);
const drawMap = () => {
  const ratio = window.devicePixelRatio || 1, w = map.clientWidth, h = map.clientHeight;
  if (!w || !h) return;
  canvas.width = w * ratio; canvas.height = h * ratio;
  const pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement), inks = new Map();
  pen.scale(ratio, ratio);
  // A canvas doesn't know the style's variables: what they stand for is asked of an element, once each.
  const probe = document.body.appendChild(make("span", { class: "hidden" }));
  const plain = (ink) => {
    if (!inks.has(ink)) { probe.style.color = ink; inks.set(ink, getComputedStyle(probe).color); }
    return inks.get(ink);
  };
  const form = CARD[mode], sx = w / width, sy = Math.min(h / height, 1), dim = plain("var(--line)");
  for (const at of rows) {
    pen.fillStyle = plain(colour.of(at) ?? dim);
    pen.globalAlpha = hits && !hitSet.has(at) ? 0.15 : 0.9;
    pen.fillRect(x[at] * sx, y[at] * sy, Math.max(form.width * sx - 1, 1.5), Math.max(form.height * sy, 1));
  }
  probe.remove();
  placeMapFrame();
};
const placeMapFrame = () => {
  const w = map.clientWidth, h = map.clientHeight;
  const sx = w / width / scale, sy = Math.min(h / height, 1) / scale;
  frame.style.left = `${Math.min(pane.scrollLeft * sx, w - 6)}px`; frame.style.width = `${Math.min(pane.clientWidth * sx, w - pane.scrollLeft * sx)}px`;
  frame.style.right = "auto";
  frame.style.top = `${Math.min(pane.scrollTop * sy, h - 6)}px`; frame.style.height = `${Math.min(pane.clientHeight * sy, h - pane.scrollTop * sy)}px`;
};
const goByMap = (event) => {
  const box = map.getBoundingClientRect(), sy = Math.min(box.height / height, 1), sx = box.width / width;
  pane.scrollTop = ((event.clientY - box.top) / sy) * scale - pane.clientHeight / 2;
  pane.scrollLeft = ((event.clientX - box.left) / sx) * scale - pane.clientWidth / 2;
};
map.addEventListener("pointerdown", (event) => { map.setPointerCapture(event.pointerId); goByMap(event); });
map.addEventListener("pointermove", (event) => { if (event.buttons & 1) goByMap(event); });

const sized = () => {
  layer.style.transform = `scale(${scale})`;
  lines.style.transform = `scale(${scale})`; lines.style.transformOrigin = "0 0";
  space.style.width = `${width * scale}px`; space.style.height = `${height * scale}px`;
};
const redraw = () => { pane.classList.toggle("outline", mode === "outline"); arrange(); sized(); render(true); drawMap(); };
const zoom = (to, px = pane.clientWidth / 2, py = pane.clientHeight / 2) => {
  const before = scale;
  scale = Math.min(Math.max(to, 0.35), 2);
  const left = ((pane.scrollLeft + px) / before) * scale - px, top = ((pane.scrollTop + py) / before) * scale - py;
  sized();
  pane.scrollLeft = left; pane.scrollTop = top;
  render();
};

// ---------------------------------------------------------------- moving, folding, finding
const reveal = (at) => { let changed = false; for (let one = lead[at]; one >= 0; one = lead[one]) if (folded[one]) { folded[one] = 0; changed = true; } return changed; };
const intoSight = (at) => {
  const form = CARD[mode], edge = 24, [left, top] = [x[at] * scale, y[at] * scale];
  const [right, bottom] = [left + form.width * scale, top + form.height * scale];
  if (top < pane.scrollTop + edge) pane.scrollTop = top - edge;
  else if (bottom > pane.scrollTop + pane.clientHeight - edge) pane.scrollTop = bottom - pane.clientHeight + edge;
  if (left < pane.scrollLeft + edge || form.width * scale > pane.clientWidth) pane.scrollLeft = left - edge;
  else if (right > pane.scrollLeft + pane.clientWidth - edge) pane.scrollLeft = right - pane.clientWidth + edge;
};
const focusActive = () => {
  if (active < 0) return;
  intoSight(active);
  render();
  for (const [at, one] of drawn) one.tabIndex = at === active ? 0 : -1;
  drawn.get(active)?.focus({ preventScroll: true });
};
const goTo = (at) => {
  if (onlyHits && shownByHits && !shownByHits.has(at)) { onlyHits = false; only.checked = false; reveal(at); active = at; redraw(); }
  else if (reveal(at)) { active = at; redraw(); }
  active = at;
  focusActive();
};
// The node under the hand stays where it is on the screen while others fold and unfold.
const keeping = (at, change) => {
  const [left, top] = [x[at] * scale - pane.scrollLeft, y[at] * scale - pane.scrollTop];
  change();
  redraw();
  if (rowOf[at] >= 0) { pane.scrollLeft = x[at] * scale - left; pane.scrollTop = y[at] * scale - top; render(); }
};
const toggle = (at, shut = !folded[at]) => {
  if (!below[at].length || (onlyHits && shownByHits)) return;
  keeping(at, () => { folded[at] = shut ? 1 : 0; });
  announce(shut ? `folded ${many(size[at] - own(at), "node")}` : `unfolded ${many(below[at].length, "child", "children")}`);
};
const foldAll = (change) => {
  let stay = active;
  change();
  while (stay >= 0 && lead[stay] >= 0 && pathTo(lead[stay]).some((one) => folded[one])) stay = lead[stay];
  active = stay >= 0 ? stay : starts[0] ?? -1;
  redraw();
  if (active >= 0) { intoSight(active); render(); }
};
const nextHit = (step) => {
  if (!hits?.length) return;
  const place = hits.indexOf(active);
  const next = place >= 0 ? (place + step + hits.length) % hits.length : step > 0 ? Math.max(hits.findIndex((at) => at > active), 0) : hits.length - 1;
  goTo(hits[next]);
  found.textContent = `${next + 1} of ${hits.length.toLocaleString("en")}`;
};
const status = make("div", { class: "hidden", role: "status", "aria-live": "polite" });
const announce = (text) => { status.textContent = text; };
