// The pages of `actlas explore`, the notebook widget and the pictures of the report, from one module without dependencies.
//
// Every number comes from an answer of the store and is only drawn here. Whatever an answer holds enters the page as text, never
// as markup: corpora hold scripts, control characters and marks that change the direction of writing.
//
//   mount(el, source, where)    a page: choices, pictures, tables, links          explore and the widget
//   enhance(root)               figures with inlined answers, sortable tables     the report
//   render({model, el})         the widget, in the form that anywidget calls
//
// A source answers: describe(view, params), answer(view, part, params), heat(params), schema(params) -> Promise; href(view, part,
// params, format) -> string or null, of a view or of one of its tables; go(view, params) remembers where the reader is.

const SVG = "http://www.w3.org/2000/svg";
const VIEWS = ["store", "concept", "neuron", "compare", "probe", "languages", "interventions", "sql"];
// of a table, and of texts: at first, and after a button was pressed; more at once would keep the page from answering
const ROWS = [40, 200];
const TEXTS = [10, 100];
const MOST_PLAIN_CHOICES = 24;
const MOST_LISTED = 200;
const MOST_ENTRIES = 40;
const N_COLOURS = 8;
// matplotlib's viridis, evenly spaced: its lightness grows along the scale, so it reads in grey too
const SCALE = "#440154 #482475 #414487 #355f8d #2a788e #21918c #22a884 #44bf70 #7ad151 #bddf26 #fde725".split(" ");
// white words can be read on what lies below, black ones on the rest
const DARK = 0.43;
const DASHES = ["5 3", "2 2", "9 3 2 3", "12 4", "2 5"];

let last = 0;
const unique = (stem) => `actlas-${stem}-${(last += 1)}`;

// ---------------------------------------------------------------------------------------------------------------- elements
function made(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An element of HTML: functions among its attributes listen, null leaves an attribute or a child out. */
const h = (name, attributes, ...children) => made(document.createElement(name), attributes, children);

/** The same for SVG. */
const s = (name, attributes, ...children) => made(document.createElementNS(SVG, name), attributes, children);

// -------------------------------------------------------------------------------------------------------- text and numbers
// Controls, soft hyphens, zero width spaces, marks of direction, separators of lines, tags. The joiners U+200C and U+200D stay as
// they are: Persian, Hindi and families of emoji are written with them.
const UNSEEN = new RegExp(
  "[\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f" +
    "\\ufeff\\ufff9-\\ufffb\\u{e0000}-\\u{e007f}]", "gu");
const CLUSTERS = new Intl.Segmenter(undefined, { granularity: "grapheme" });

const SIGNS = { "\n": "↵", "\t": "⇥" };
const escaped = (character) => `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

/** `text` on one line, what cannot be seen written out: for attributes, labels and tips. */
function plain(text) {
  return String(text).replace(UNSEEN, (found) => SIGNS[found] ?? `⟨${escaped(found)}⟩`);
}

/** `text` as nodes, what cannot be seen as marked escapes; in `code`, the ends of lines are seen by themselves. */
function written(text, isCode = false) {
  const mark = (found) => h("span", { class: "escape", dir: "ltr" }, SIGNS[found] ?? escaped(found));
  const nodesOf = (found) => (!SIGNS[found] ? [mark(found)] : isCode ? [found] : [mark(found), found]);
  // at every second place stands what was found
  return text.split(new RegExp(`(${UNSEEN.source})`, "u")).flatMap((piece, place) => (place % 2 ? nodesOf(piece) : piece || []));
}

/** The first `most` clusters of a label: a letter keeps its marks. */
function short(label, most) {
  if (label.length <= most) return label;
  const clusters = Array.from(CLUSTERS.segment(label), (cluster) => cluster.segment);
  return clusters.length <= most ? label : `${clusters.slice(0, most - 1).join("")}…`;
}

const isNumber = (value) => typeof value === "number";
const grouped = (count) => count.toLocaleString("en");

function number(value, digits = 4) {
  if (Number.isInteger(value)) return String(value);
  const rounded = Number(value.toPrecision(digits));
  return Math.abs(rounded) < 1e-4 ? rounded.toExponential() : String(rounded);
}

/** A value in words; what is missing is a dash. */
function shown(value) {
  if (value === null || value === undefined) return "–";
  if (isNumber(value)) return number(value);
  if (Array.isArray(value)) return value.map(shown).join(", ");
  if (typeof value === "object") return plain(JSON.stringify(value));
  return plain(value);
}

const labelOf = (values) => values.map(shown).join(" · ");
const storeOf = ({ store }) => (store === undefined ? {} : { store });

// ----------------------------------------------------------------------------------------------------------------- sources
/** The first line of what went wrong. */
const oneLine = (error) => plain(String(error?.message ?? error).split("\n")[0]).slice(0, 500);

async function fetched(url, signal) {
  const options = { signal, credentials: "same-origin", headers: { accept: "application/json" } };
  const response = await fetch(url, options).catch((error) => {
    throw error.name === "AbortError" ? error : new Error("the server does not answer; is `actlas explore` still running?");
  });
  if (response.ok) return response.json();
  throw new Error((await response.text()).trim() || `${response.status} ${response.statusText}`);
}

/** Answers of the server whose address is `base`. */
export function httpSource(base) {
  const at = (path, params) => {
    const given = Object.entries(params).filter(([, value]) => value !== null && value !== undefined);
    return new URL(path + (given.length ? `?${new URLSearchParams(given)}` : ""), base).href;
  };
  return {
    describe: (view, params, signal) => fetched(at(`data/${view}.json`, params), signal),
    answer: (view, part, params, signal) => fetched(at(`data/${view}/${part}.json`, params), signal),
    heat: (params, signal) => fetched(at("heat.json", params), signal),
    schema: (params) => fetched(at("data/schema.json", params)),
    href: (view, part, params, format) => at(part ? `data/${view}/${part}.${format}` : view, params),
    go: (view, params) => history.pushState(null, "", at(view, params)),
  };
}

/** Answers of the process behind a widget, as messages with a number each. */
export function modelSource(model) {
  const waiting = new Map();
  const answers = {};
  // a widget that is shown twice hears the answers to both
  const own = crypto.getRandomValues(new Uint32Array(2)).join("-");
  let asked = 0;
  const hear = ({ id, answer, error }) => {
    const [resolve, reject] = waiting.get(id) ?? [];
    waiting.delete(id);
    if (error) reject?.(new Error(error.text ?? error));
    else resolve?.(answer);
  };
  model.on("msg:custom", hear);
  const ask = (message) => new Promise((...settle) => {
    const id = `${own}-${(asked += 1)}`;
    waiting.set(id, settle);
    model.send({ id, ...message });
  });
  const source = {
    isGoing: false,
    describe: (view, params) => ask({ ask: "describe", view, params }),
    answer: async (view, part, params) => (answers[part] = await ask({ ask: "answer", view, part, params })),
    heat: (params) => ask({ ask: "heat", params }),
    schema: (params) => ask({ ask: "schema", params }),
    href: inlineSource(answers).href,
    close: () => model.off("msg:custom", hear),
    go(view, params) {
      source.isGoing = true;
      model.set("view", view);
      model.set("params", params);
      model.save_changes();
      source.isGoing = false;
    },
  };
  return source;
}

/** What is there can be kept as files, where nothing can be asked; a table of which rows are left out is none. */
function inlineSource(answers) {
  const files = { json: ["application/json", asJson], csv: ["text/csv", asCsv] };
  return {
    href(view, part, params, format) {
      if (!part || !(format in files) || !answers[part]?.is_whole) return null;
      const [type, text] = files[format];
      return URL.createObjectURL(new Blob([text(answers[part])], { type }));
    },
  };
}

const rowsOf = ({ values }) => (values[0] ?? []).map((_, row) => values.map((column) => column[row]));

const asJson = (answer) => JSON.stringify(rowsOf(answer).map((row) =>
  Object.fromEntries(row.map((value, column) => [answer.columns[column].name, value]))));

/** Cells that a spreadsheet would run as a formula begin with an apostrophe, those that do in the files of a server. */
function asCsv(answer) {
  const cell = (value) => {
    const text = value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
    const safe = typeof value === "string" && /^[=+\-@\t\r\n＝＋－＠]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [answer.columns.map(({ name }) => name), ...rowsOf(answer)].map((row) => row.map(cell).join(",")).join("\r\n");
}

// ------------------------------------------------------------------------------------------------------------- frame, scales
/** An answer by columns. */
class Frame {
  constructor({ columns, values }) {
    this.n = values[0]?.length ?? 0;
    this.byName = Object.fromEntries(columns.map(({ name }, place) => [name, values[place]]));
    const isFractional = (column) => column.some((value) => isNumber(value) && !Number.isInteger(value));
    this.fractional = new Set(columns.filter((_, place) => isFractional(values[place])).map(({ name }) => name));
  }

  /** Values of a column; without a name, as for a column that a picture does not have, all are missing. */
  get(name) {
    return (typeof name === "string" && this.byName[name]) || new Array(this.n).fill(null);
  }

  /** A cell in words: counts are grouped, and fractions of one column have as many digits as each other. */
  words(name, row) {
    const value = this.byName[name][row];
    if (!isNumber(value)) return shown(value);
    if (name.startsWith("n_")) return grouped(value);
    const isPlain = Math.abs(value) >= 1e-4 && Math.abs(value) < 1e4;
    return this.fractional.has(name) && isPlain ? value.toPrecision(4) : number(value);
  }

  /** Rows by the label that the columns make of them, in order. */
  groups(names) {
    const columns = [names ?? []].flat().map((name) => this.get(name));
    const rows = Map.groupBy(Array(this.n).keys(), (row) => labelOf(columns.map((column) => column[row])));
    return Array.from(rows, ([label, members], place) => ({ label, rows: members, place }));
  }
}

/** Round numbers that reach from at or below `low` to at or above `high`; whole ones for what is counted. */
function evenTicks(low, high, most = 6, isCounted = false) {
  if (!(high > low)) return high === low && low !== 0 ? evenTicks(Math.min(low, 0), Math.max(high, 0), most, isCounted) : [0, 1];
  const power = 10 ** Math.floor(Math.log10((high - low) / most));
  const spacings = [1, 2, 2.5, 5, 10, 20].map((factor) => factor * power);
  const fits = (spacing) => (high - low) / spacing <= most && (!isCounted || Number.isInteger(spacing));
  const spacing = spacings.find(fits) ?? 1;
  const [first, end] = [Math.floor(low / spacing + 1e-9), Math.ceil(high / spacing - 1e-9)];
  return Array.from({ length: end - first + 1 }, (_, step) => Number(((first + step) * spacing).toPrecision(12)));
}

const extent = (values) =>
  values.filter(isNumber).reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);

/** Ends of an axis for what `columns` have in `rows`: it holds 0 unless all that is drawn is a narrow band far from it. */
function ticksOf(columns, rows, mayFloat = false) {
  const values = columns.flatMap((column) => rows.map((row) => column[row])).filter(isNumber);
  const [low, high] = extent(values);
  if (low > high) return [0, 1];
  const isFar = mayFloat && low > 0 && high - low < 0.2 * high && high > low;
  return evenTicks(isFar ? low : Math.min(low, 0), Math.max(high, 0), 6, values.every(Number.isInteger));
}

/** Places in [0, 1] along an axis: numbers to scale where their gaps allow it, all else evenly in the order of its coming. */
function places(values) {
  const keys = [...new Set(values)].filter((value) => value !== null);
  const areNumbers = keys.every(isNumber);
  if (areNumbers) keys.sort((a, b) => a - b);
  // steps come as words, too: an axis of them says that it is not to scale
  const sizes = keys.map(Number);
  const range = sizes.at(-1) - sizes[0];
  const gaps = sizes.slice(1).map((size, place) => size - sizes[place]);
  const isEven = !areNumbers || gaps.some((gap) => gap < (0.25 * range) / gaps.length);
  const end = Math.max(keys.length - 1, 1);
  const shareOf = (place) => (keys.length === 1 ? 0.5 : isEven ? place / end : (sizes[place] - sizes[0]) / range);
  const share = new Map(keys.map((key, place) => [key, shareOf(place)]));
  return { keys, share, isStretched: isEven && sizes.every(Number.isFinite) && gaps.some((gap) => gap !== gaps[0]) };
}

/** The colour at a place of the scale, between its neighbours. */
function colourOf(share) {
  const place = Math.min(Math.max(share, 0), 1) * (SCALE.length - 1);
  const first = Math.min(Math.floor(place), SCALE.length - 2);
  const channels = [1, 3, 5].map((from) => {
    const [low, high] = [SCALE[first], SCALE[first + 1]].map((colour) => parseInt(colour.slice(from, from + 2), 16));
    return Math.round(low + (high - low) * (place - first));
  });
  return `rgb(${channels.join(" ")})`;
}

// ---------------------------------------------------------------------------------------------------------------- pictures
//
// A painter gets (frame, picture, width, hidden) and returns {width, height, nodes, marks, legend, scale}. Marks are what a
// pointer or the arrow keys reach: {x, y, width, height, title, pairs, row}. Hidden are the series that a reader has taken out.

const series = (place) => `series s${place % N_COLOURS}`;
const widthOf = (label) => Array.from(label).reduce((sum, letter) => sum + (letter > "\u2e80" ? 11 : 6.4), 0);
const longest = (labels, most) => labels.reduce((width, label) => Math.max(width, Math.min(most, widthOf(label))), 0);
/** Where a value of an axis with these ticks lies between two ends. */
const linear = (ticks, from, to) => (value) => from + ((to - from) * (value - ticks[0])) / (ticks.at(-1) - ticks[0]);
const at = (place) => place.toFixed(1);

const word = (x, y, content, attributes) => s("text", { x: at(x), y: at(y), ...attributes }, content);
/** A word of an axis, which ends at x. */
const tickWord = (x, y, content) => word(x, y + 4, content, { "text-anchor": "end", class: "tick" });
const rect = (x, y, width, height, more) => s("rect", { x: at(x), y: at(y), width: at(width), height: at(height), ...more });

/** Straight strokes from point to point; null lifts the pen. */
const path = (points) =>
  points.map((point, place) => point && `${points[place - 1] ? "L" : "M"}${at(point[0])} ${at(point[1])}`).join("");

// a circle, then corners in units of its radius
const CORNERS = ["", "-1 -1 1 -1 1 1 -1 1", "0 -1.3 1.2 1 -1.2 1", "0 -1.4 1.4 0 0 1.4 -1.4 0", "0 1.3 1.2 -1 -1.2 -1"];

/** A dot whose shape differs from series to series, so that lines are told apart without colour. */
function dot(place, x, y, size = 3) {
  const corners = CORNERS[place % CORNERS.length];
  const shape = { class: series(place), fill: "currentColor" };
  if (!corners) return s("circle", { ...shape, cx: at(x), cy: at(y), r: size });
  const points = corners.split(" ").map((unit, place) => at((place % 2 ? y : x) + unit * size));
  return s("polygon", { ...shape, points: points.join(" ") });
}

const ruleOf = (tick, d) => s("path", { class: tick === 0 ? "rule zero" : "rule", d });

/** A box beside an axis of values at its left, with the rules and labels of the axis, and its title above. */
function valueBox(ticks, width, height, title, labels = []) {
  const words = ticks.map((tick) => number(tick));
  // the first label below stands in the middle of its place and needs room at its left
  const box = { left: Math.max(14 + longest(words, 80), longest(labels.slice(0, 1), 100) / 2 - 6), top: 24, height };
  box.width = width - box.left - 14;
  const y = linear(ticks, box.top + height, box.top);
  const rules = ticks.map((tick) => ruleOf(tick, `M${at(box.left)} ${at(y(tick))}h${at(box.width)}`));
  const beside = ticks.map((tick, place) => tickWord(box.left - 6, y(tick), words[place]));
  return { box, y, nodes: [rules, beside, word(0, 10, title, { class: "tick" })] };
}

/** A box of rows with a name each at its left, above an axis of values. */
function rowBox(names, ticks, width, slot, right, title) {
  const most = width < 500 ? 16 : 28;
  const shorter = names.map((name) => short(name, most));
  const box = { left: 12 + longest(shorter, width * 0.45), top: 6, height: slot * Math.max(names.length, 1) };
  box.width = width - box.left - right;
  const x = linear(ticks, box.left, box.left + box.width);
  const middle = (place) => box.top + (place + 0.5) * slot;
  const below = labelAxis(box, ticks.map((tick) => number(tick)), ticks.map(x), title);
  const rules = ticks.map((tick) => ruleOf(tick, `M${at(x(tick))} ${box.top}v${at(box.height)}`));
  const beside = shorter.map((name, place) => tickWord(box.left - 6, middle(place), name));
  return { box, x, middle, nodes: [rules, beside, below.nodes], height: below.height };
}

/** Labels below a box, as many as there is room for; slanted where they are longer than their places are apart. */
function labelAxis(box, labels, xs, title) {
  const gap = xs.length > 1 ? Math.abs(xs[1] - xs[0]) : box.width;
  const isSlanted = labels.length > 2 && labels.some((label) => widthOf(label) > 1.6 * Math.max(gap, 24));
  const bottom = box.top + box.height;
  const shorter = labels.map((label) => short(label, 20));
  const nodes = [];
  let free = -Infinity;
  const end = box.left + box.width + 12;
  shorter.forEach((label, place) => {
    const half = isSlanted ? 6 : widthOf(label) / 2 + 3;
    // what would be cut off at the right stands further left
    const x = Math.min(xs[place], end - half);
    if (x - half < free) return;
    free = x + half;
    const slant = { "text-anchor": "end", transform: `rotate(-60 ${at(x + 4)} ${at(bottom + 12)})` };
    const attributes = isSlanted ? slant : { "text-anchor": "middle" };
    nodes.push(word(isSlanted ? x + 4 : x, bottom + (isSlanted ? 12 : 15), label, { class: "tick", ...attributes }));
  });
  const depth = isSlanted ? 14 + 0.87 * longest(shorter, 140) : 18;
  if (title) nodes.push(word(box.left + box.width / 2, bottom + depth + 14, title, { "text-anchor": "middle" }));
  return { nodes, height: bottom + depth + (title ? 18 : 2) };
}

const between = (low, high, row) =>
  isNumber(low[row]) && isNumber(high[row]) ? ` (${number(low[row], 3)} to ${number(high[row], 3)})` : "";

/** What most pictures begin with: columns by what they are in it, levels that it is held against, and series, all and drawn. */
function prepared(frame, picture, by, hidden) {
  const [x, y, low, high] = ["x", "y", "low", "high"].map((name) => frame.get(picture[name]));
  const all = frame.groups(by);
  const dashed = [picture.dashed ?? []].flat().map((name) => ({ name, values: frame.get(name) }));
  const levels = dashed.map((level, place) => ({ ...level, dash: DASHES[place % DASHES.length] }));
  return {
    ...{ x, y, low, high, all, drawn: all.filter(({ label }) => !hidden.has(label)) },
    levels: levels.filter(({ values }) => values.some(isNumber)),
    hasInterval: low.some(isNumber) && high.some(isNumber),
    interval: (row) => between(low, high, row),
  };
}

const levelsAt = (levels, row) => levels.map(({ name, values }) => `, ${name} ${shown(values[row])}`).join("");
const strokesOf = (levels, row, d) => levels.filter(({ values }) => isNumber(values[row])).map(({ values, dash }) =>
  s("path", { class: "level", d: d(values[row]), "stroke-dasharray": dash }));

/** Entries of a legend: series where there are several, what reaches from where to where, and levels. */
function legendOf({ all, levels, hasInterval }, kind, picture) {
  const several = all.map(({ label, place }) => ({ label, place, kind, mayHide: true }));
  const one = picture.y && (levels.length || hasInterval) ? [{ label: picture.y, place: 0, kind }] : [];
  const reach = { label: `${picture.low} to ${picture.high}`, place: 0, kind: kind === "line" ? "band" : "interval" };
  const dashes = levels.map(({ name, dash }) => ({ label: name, dash }));
  return [...(all.length > 1 ? several : one), ...(hasInterval ? [reach] : []), ...dashes];
}

function lines(frame, picture, width, hidden) {
  const given = prepared(frame, picture, picture.series, hidden);
  const { x: xs, y: ys, low, high, levels, drawn } = given;
  const axis = places(xs);
  const rows = drawn.flatMap((each) => each.rows);
  const ticks = ticksOf([ys, low, high, ...levels.map(({ values }) => values)], rows, true);
  const names = axis.keys.map(shown);
  const { box, y, nodes } = valueBox(ticks, width, 240, picture.y, names);
  const across = (key) => box.left + 8 + (box.width - 16) * axis.share.get(key);
  const front = [];
  const byKey = new Map(axis.keys.map((key) => [key, []]));
  for (const { label, rows: own, place } of drawn) {
    const sorted = own.filter((row) => axis.share.has(xs[row])).sort((a, b) => axis.share.get(xs[a]) - axis.share.get(xs[b]));
    // a single place has no line: what belongs to it reaches a little to both sides
    const sides = sorted.length === 1 ? [-12, 12] : [0];
    const pointOf = (column, row) => (side) => (isNumber(column[row]) ? [across(xs[row]) + side, y(column[row])] : null);
    const points = (column) => sorted.flatMap((row) => sides.map(pointOf(column, row)));
    const [lower, upper] = [points(low), points(high)].map((ends) => ends.filter(Boolean));
    if (lower.length > 1 && lower.length === upper.length)
      nodes.push(s("path", { class: `${series(place)} band`, d: `${path([...lower, ...upper.reverse()])}Z` }));
    // beside a single line levels have the colour of words, as in the legend
    const colour = given.all.length > 1 ? series(place) : "";
    for (const { values, dash } of levels)
      nodes.push(s("path", { class: `${colour} thin`, d: path(points(values)), "stroke-dasharray": dash }));
    front.push(s("path", { class: `${series(place)} line`, d: path(points(ys)) }));
    for (const row of sorted.filter((each) => isNumber(ys[each]))) {
      if (sorted.length <= 60) front.push(dot(place, across(xs[row]), y(ys[row])));
      const text = number(ys[row]) + given.interval(row) + levelsAt(levels, row);
      byKey.get(xs[row]).push({ row, value: ys[row], pair: [label || picture.y, text, place] });
    }
  }
  const title = picture.x_label ?? picture.x;
  const marks = Array.from(byKey).filter(([, entries]) => entries.length).map(([key, entries]) => {
    const [first, ...others] = entries.sort((a, b) => b.value - a.value);
    const pairs = [first, ...others.slice(0, 11)].map(({ pair }) => pair);
    if (others.length > 11) pairs.push(["", `and ${others.length - 11} more`]);
    const place = { x: across(key), y: y(first.value), span: [box.top, box.height] };
    return { ...place, title: `${title} ${shown(key)}`, pairs, row: others.length ? null : first.row };
  });
  const below = labelAxis(box, names, axis.keys.map(across), axis.isStretched ? `${title}, evenly spaced` : title);
  return { width, height: below.height, nodes: [nodes, below.nodes, front], marks, legend: legendOf(given, "line", picture) };
}

function matrix(frame, picture, width) {
  const [xs, ys, values, low, high] = ["x", "y", "value", "low", "high"].map((name) => frame.get(picture[name]));
  const down = places(ys).keys;
  // of a thing with itself both sides have one order, whatever is left out
  const found = places(xs).keys;
  const across = found.length === down.length && found.every((key) => down.includes(key)) ? [...down] : found;
  // layers grow upwards, names are read downwards
  if (down.every(isNumber)) down.reverse();
  const [columnOf, lineOf] = [across, down].map((keys) => new Map(keys.map((key, place) => [key, place])));
  const limits = extent(values);
  const panels = frame.groups(picture.facet);
  const isCounted = isNumber(frame.get(picture.facet)[0]);
  const titles = panels.map(({ label }) => short(isCounted ? `${picture.facet} ${label}` : label, 40));
  const names = down.map((key) => short(shown(key), 18));
  const left = 12 + longest(names, 130);
  const cell = Math.min(Math.max((width - left - 10) / across.length, 13), 44);
  const line = Math.min(Math.max(cell, 15), 24);
  // what the rows are stands above their names, and a title beside it
  const begin = Math.max(left, widthOf(picture.y) + 14);
  const panelWidth = Math.min(Math.max(left + cell * across.length, begin + longest(titles, 400)) + 10, Math.max(width, 120));
  const perRow = Math.max(1, Math.floor(width / panelWidth));
  const nodes = [];
  const marks = [];
  let [top, height] = [0, 0];
  panels.forEach(({ label, rows }, place) => {
    if (place % perRow === 0) top = height;
    const from = (place % perRow) * panelWidth;
    const box = { left: from + left, top: top + 24, width: cell * across.length, height: line * down.length };
    nodes.push(word(from, box.top - 10, picture.y, { class: "tick" }), word(from + begin, box.top - 10, titles[place]));
    nodes.push(names.map((name, each) => tickWord(box.left - 6, box.top + (each + 0.5) * line, name)));
    for (const row of rows) {
      if (xs[row] === null || ys[row] === null) continue;
      const value = values[row];
      const [x, y] = [box.left + columnOf.get(xs[row]) * cell, box.top + lineOf.get(ys[row]) * line];
      const share = isNumber(value) ? (value - limits[0]) / (limits[1] - limits[0] || 1) : null;
      const paint = share === null ? { class: "missing", fill: "none" } : { fill: colourOf(share) };
      nodes.push(rect(x + 0.5, y + 0.5, cell - 1, line - 1, paint));
      const ink = { "text-anchor": "middle", class: "inside", fill: share < DARK ? "#ffffff" : "#000000" };
      if (share !== null && cell >= 27) nodes.push(word(x + cell / 2, y + line / 2 + 3.5, brief(value), ink));
      const cellName = `${picture.y} ${shown(ys[row])}, ${picture.x} ${shown(xs[row])}`;
      const title = picture.facet ? `${titles[place]}, ${cellName}` : cellName;
      const pairs = [[picture.value, `${shown(value)}${between(low, high, row)}`]];
      marks.push({ x: x + cell / 2, y: y + line / 2, width: cell, height: line, title, pairs, row });
    }
    const centres = across.map((_, each) => box.left + (each + 0.5) * cell);
    const below = labelAxis(box, across.map(shown), centres, picture.x_label ?? picture.x);
    nodes.push(below.nodes);
    height = Math.max(height, below.height + 8);
  });
  const scale = limits[0] <= limits[1] ? { label: picture.value, limits } : null;
  return { width: Math.min(panels.length, perRow) * panelWidth, height, nodes, marks, legend: [], scale };
}

/** A number for a cell: two digits that matter, no zero before the point. */
function brief(value) {
  const text = Math.abs(value) >= 10 || Number.isInteger(value) ? String(Math.round(value)) : value.toFixed(2);
  return text.length > 5 ? value.toExponential(0) : text.replace(/^(-?)0\./, "$1.");
}

/** Upright bars over few numbers, as layers; rows of bars over all else. Levels are strokes across a bar. */
function bars(frame, picture, width, hidden) {
  const given = prepared(frame, picture, picture.series, hidden);
  const { x: xs, y: ys, low, high, levels, drawn } = given;
  const all = drawn.flatMap(({ label, rows, place }, rank) => rows.map((row) => ({ label, place, rank, row, value: ys[row] })));
  const entries = all.filter(({ value }) => isNumber(value)).sort((a, b) => a.row - b.row);
  const { keys } = places(entries.map(({ row }) => xs[row]));
  const isUpright = keys.every(isNumber) && keys.length * drawn.length * 5 < width;
  const listed = isUpright ? keys : keys.slice(0, 60);
  const names = listed.map(shown);
  const ticks = ticksOf([ys, low, high, ...levels.map(({ values }) => values)], entries.map(({ row }) => row));
  const { along, middle, thick, height, nodes } = (isUpright ? columnBox : barBox)(names, ticks, width, drawn.length, picture);
  // bars lie along the axis of values: in upright ones both directions are swapped
  const spot = (value, side) => (isUpright ? [side, along(value)] : [along(value), side]);
  const marks = [];
  for (const { label, place, rank, row, value } of entries.filter((each) => listed.includes(xs[each.row]))) {
    const side = middle(listed.indexOf(xs[row])) + (rank - drawn.length / 2) * thick;
    const [one, other] = [spot(0, side), spot(value, side + Math.max(thick - 1, 1))];
    const [left, top] = [0, 1].map((way) => Math.min(one[way], other[way]));
    const [wide, tall] = [0, 1].map((way) => Math.max(Math.abs(one[way] - other[way]), 0.5));
    const centre = side + thick / 2;
    nodes.push(rect(left, top, wide, tall, { class: `${series(place)} bar` }));
    const ends = given.interval(row) ? [spot(low[row], centre), spot(high[row], centre)] : [];
    nodes.push(s("path", { class: "interval", d: path(ends) }));
    nodes.push(strokesOf(levels, row, (level) => path([spot(level, side), spot(level, side + thick)])));
    const told = number(value, 3);
    const [end, anchor] = value < 0 ? [along(value) - 4, "end"] : [along(value) + 4, "start"];
    const wordEnd = value < 0 ? end - widthOf(told) : end + widthOf(told);
    const isFree = ({ values }) => !((along(values[row]) - end) * (along(values[row]) - wordEnd) < 0);
    // where there is an interval or a level, the number would stand in it
    if (!isUpright && !given.hasInterval && levels.every(isFree) && wordEnd > along(ticks[0]))
      nodes.push(word(end, centre + 3.5, told, { class: "tick", "text-anchor": anchor }));
    const pairs = [[label || picture.y, number(value) + given.interval(row) + levelsAt(levels, row), place]];
    const size = { width: Math.max(wide, 8), height: Math.max(tall, 8) };
    marks.push({ x: left + wide / 2, y: top + tall / 2, ...size, row, title: `${picture.x} ${shown(xs[row])}`, pairs });
  }
  const rest = keys.length - listed.length;
  if (rest) nodes.push(word(12, height + 12, `${rest} more in the table`));
  return { width, height: height + (rest ? 18 : 0), nodes, marks, legend: legendOf(given, "bar", picture) };
}

/** Where upright bars stand. */
function columnBox(names, ticks, width, several, picture) {
  const { box, y: along, nodes } = valueBox(ticks, width, 220, picture.y);
  const slot = box.width / names.length;
  const middle = (place) => box.left + (place + 0.5) * slot;
  const below = labelAxis(box, names, names.map((_, place) => middle(place)), picture.x_label ?? picture.x);
  return { along, middle, thick: Math.min((slot * 0.8) / several, 48), height: below.height, nodes: [...nodes, below.nodes] };
}

/** Where bars lie in rows. */
function barBox(names, ticks, width, several, picture) {
  const thick = several > 1 ? 12 : 14;
  const { x: along, ...rest } = rowBox(names, ticks, width, thick * Math.max(several, 1) + 8, 56, picture.y);
  return { along, thick, ...rest };
}

/** A box from quarter to quarter, its median, and whiskers to the ends, row by row. */
function ranges(frame, picture, width, hidden) {
  const ENDS = ["low", "q25", "median", "q75", "high"];
  const columns = ENDS.map((name) => frame.get(picture[name]));
  const labels = [picture.label].flat();
  // the last of several labels says what is compared: its values have a colour each
  const given = { ...prepared(frame, picture, labels.length > 1 ? labels.at(-1) : [], hidden), hasInterval: false };
  const { levels, drawn } = given;
  const placeOf = new Map(drawn.flatMap((each) => each.rows.map((row) => [row, each.place])));
  const isDrawn = (row) => columns.some((column) => isNumber(column[row]));
  const rows = [...placeOf.keys()].filter(isDrawn).sort((a, b) => a - b).slice(0, 120);
  const names = rows.map((row) => labelOf(labels.map((name) => frame.get(name)[row])));
  const ticks = ticksOf([...columns, ...levels.map(({ values }) => values)], rows, true);
  const slot = 22;
  const { box, x, middle, nodes, height } = rowBox(names, ticks, width, slot, 16, picture.x_label);
  const marks = rows.map((row, place) => {
    const y = middle(place);
    const colour = series(placeOf.get(row));
    // of what is missing nothing is drawn: NaN is no place
    const [low, q25, median, q75, high] = columns.map((column) => (isNumber(column[row]) ? x(column[row]) : NaN));
    const whiskers = () => `M${at(low)} ${at(y)}H${at(high)}M${at(low)} ${at(y - 4)}v8M${at(high)} ${at(y - 4)}v8`;
    if (high >= low) nodes.push(s("path", { class: `${colour} whisker`, d: whiskers() }));
    if (q75 >= q25) nodes.push(rect(q25, y - 6, Math.max(q75 - q25, 1), 12, { class: `${colour} box` }));
    if (median >= 0) nodes.push(s("path", { class: "median", d: `M${at(median)} ${at(y - 7)}v14` }));
    nodes.push(strokesOf(levels, row, (level) => `M${at(x(level))} ${at(y - 9)}v18`));
    const ends = ENDS.map((name, column) => [picture[name] ?? name, shown(columns[column][row])]);
    const pairs = [...ends, ...levels.map(({ name, values }) => [name, shown(values[row])])];
    return { x: box.left + box.width / 2, y, width: box.width, height: slot, title: names[place], pairs, row };
  });
  return { width, height, nodes, marks, legend: legendOf(given, "bar", picture) };
}

function histogram(frame, picture, width, hidden) {
  const given = prepared(frame, picture, picture.series, hidden);
  const { low, high } = given;
  const count = frame.get(picture.count);
  const isWhole = (row) => [low, high, count].every((column) => isNumber(column[row]));
  const reach = extent([...low, ...high]);
  const ends = reach[0] < reach[1] ? reach : [0, 1];
  const ticks = ticksOf([count], given.drawn.flatMap(({ rows }) => rows));
  const { box, y, nodes } = valueBox(ticks, width, 200, picture.count);
  const x = linear(ends, box.left, box.left + box.width);
  const marks = [];
  for (const { label, rows, place } of given.drawn)
    for (const row of rows.filter(isWhole)) {
      const [left, right, top] = [x(low[row]), x(high[row]), y(count[row])];
      const [wide, tall] = [right - left, y(0) - top];
      nodes.push(rect(left, top, wide, tall, { class: `${series(place)} band` }));
      nodes.push(s("path", { class: `${series(place)} line`, d: path([[left, top], [right, top]]) }));
      const title = `${number(low[row])} to ${number(high[row])}`;
      const pairs = [[label || picture.count, shown(count[row]), place]];
      marks.push({ x: left + wide / 2, y: top + tall / 2, width: wide, height: Math.max(tall, 6), title, pairs, row });
    }
  const all = evenTicks(...ends, Math.max(2, Math.floor(box.width / 70)));
  const fitting = all.filter((tick) => tick >= ends[0] && tick <= ends[1]);
  const below = labelAxis(box, fitting.map((tick) => number(tick)), fitting.map(x), picture.x_label);
  const legend = legendOf({ ...given, hasInterval: false }, "bar", picture);
  return { width, height: below.height, nodes: [nodes, below.nodes], marks, legend };
}

const PAINTERS = { lines, matrix, bars, ranges, histogram };

// ------------------------------------------------------------------------------------------------ a picture that is read
/**
 * Lets the pointer and the arrow keys reach marks in `area`: `under(event)` is the one below the pointer, `next(mark, way)` the
 * one where an arrow leads, `show(mark)` makes it seen and says where its tip stands, with a hint, `open(mark)` follows its link.
 */
function reached(area, context, { under, next, show, open }) {
  let current = null;
  const select = (mark, pointer = null, isSpoken = false) => {
    current = mark;
    const where = show(mark);
    context.tip(mark, pointer ?? where, where?.hint);
    const words = () => [mark.title, ...mark.pairs.map(([name, value]) => `${name} ${value}`)].join(", ");
    if (mark && isSpoken) context.say(mark.said ?? words());
  };
  area.addEventListener("pointermove", (event) => select(under(event), { x: event.clientX, y: event.clientY }));
  for (const name of ["pointerleave", "blur"]) area.addEventListener(name, () => select(null));
  area.addEventListener("click", () => current && open?.(current));
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return select(null);
    if (event.key === "Enter" && current) return open?.(current);
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    if (!way) return;
    event.preventDefault();
    select(next(current, way), null, true);
  });
  return () => select(null);
}

/** A picture with its legend, a tip under the pointer, and the arrow keys to walk through what it shows. */
function chart(part, answer, context) {
  const frame = new Frame(answer);
  const { picture } = part;
  const hidden = new Set();
  const name = `${part.title}: ${picture.kind}. The arrow keys walk through its values; the table below holds the same numbers.`;
  const area = h("div", { class: "chart", tabindex: "0", role: "group", "aria-label": plain(name) });
  const legend = h("div", { class: "legend" });
  let drawing = { marks: [] };
  let width = 0;

  function redraw() {
    width = area.clientWidth;
    drawing = PAINTERS[picture.kind](frame, picture, Math.max(width || 640, 260), hidden);
    const [wide, high] = [at(drawing.width), at(drawing.height)];
    const size = { viewBox: `0 0 ${wide} ${high}`, width: wide, height: high };
    area.replaceChildren(s("svg", { ...size, "aria-hidden": "true", fill: "currentColor" }, drawing.nodes));
    const rest = drawing.legend.length - MOST_ENTRIES;
    const entries = [drawing.legend.slice(0, MOST_ENTRIES).map(entry), rest > 0 ? [`and ${rest} more`] : []];
    legend.replaceChildren(...entries.flat(), ...(drawing.scale ? colourBar(drawing.scale) : []));
  }

  function entry({ label, place, kind, dash, mayHide }) {
    const stroke = (kinds) => s("path", { class: kinds, d: "M0 6h22", "stroke-dasharray": dash });
    const shape = kind === "line" ? [stroke(`${series(place)} line`), dot(place, 11, 6)]
      : dash || kind === "interval" ? stroke(dash ? "thin" : kind)
        : rect(0, 0, kind === "bar" ? 14 : 22, 12, { class: `${series(place)} ${kind}` });
    const sample = s("svg", { width: 22, height: 12, "aria-hidden": "true" }, shape);
    if (!mayHide) return h("span", { class: "entry" }, sample, label);
    const toggle = () => {
      if (!hidden.delete(label)) hidden.add(label);
      const which = Array.from(legend.children).indexOf(button);
      leave();
      redraw();
      legend.children[which]?.focus();
    };
    const state = { "aria-pressed": String(!hidden.has(label)), click: toggle };
    const button = h("button", { type: "button", class: "entry", ...state }, sample, h("bdi", null, label));
    return button;
  }

  function show(mark) {
    const svg = area.firstElementChild;
    svg?.querySelector(".picked")?.remove();
    if (!mark) return null;
    const { x, y, width: wide, height: high, span } = mark;
    svg.append(span ? s("path", { class: "picked", d: `M${at(x)} ${span[0]}v${span[1]}` })
      : rect(x - wide / 2 - 1, y - high / 2 - 1, wide + 2, high + 2, { class: "picked" }));
    const edge = svg.getBoundingClientRect();
    return { x: edge.left + x, y: edge.top + y, hint: linkOfRow(part, frame, mark.row, context) && "a click or Enter opens it" };
  }

  const under = (event) => {
    const edge = area.firstElementChild.getBoundingClientRect();
    const [x, y] = [event.clientX - edge.left, event.clientY - edge.top];
    let [best, least] = [null, 30];
    for (const mark of drawing.marks) {
      const across = Math.abs(x - mark.x) - (mark.width ?? 0) / 2;
      const down = mark.span ? 0 : Math.abs(y - mark.y) - mark.height / 2;
      const distance = Math.max(across, 0) + Math.max(down, 0);
      if (distance < least) [best, least] = [mark, distance];
    }
    return best;
  };
  const open = ({ row }) => {
    const found = linkOfRow(part, frame, row, context);
    if (found) context.go(found.view, found.params);
  };
  const next = (current, way) => (current ? nextMark(drawing.marks, current, way) : (drawing.marks[0] ?? null));
  const leave = reached(area, context, { under, next, show, open });
  // once it has its place, and so its width
  queueMicrotask(redraw);
  // in the next frame: what changes its own height inside the callback would be told again at once
  const refit = () => area.clientWidth && Math.abs(area.clientWidth - width) > 4 && (leave(), redraw());
  new ResizeObserver(() => requestAnimationFrame(refit)).observe(area);
  return h("div", { class: "picture" }, legend, area);
}

/** The nearest mark in a direction, those straight ahead first; at the edge, the same mark. */
function nextMark(marks, from, [dx, dy]) {
  let [best, least] = [from, Infinity];
  for (const mark of marks) {
    const [x, y] = [mark.x - from.x, mark.y - from.y];
    const ahead = x * dx + y * dy;
    if (ahead <= 0.5) continue;
    const aside = mark.span ? 0 : Math.abs(x * dy) + Math.abs(y * dx);
    if (ahead + 4 * aside < least) [best, least] = [mark, ahead + 4 * aside];
  }
  return best;
}

function colourBar({ label, limits: [low, high] }) {
  if (low === high) return [h("span", { class: "entry" }, `${label}: ${number(low, 3)} everywhere`)];
  const bar = h("span", { class: "scalebar", "aria-hidden": "true" });
  return [h("span", { class: "entry" }, label), h("span", { class: "entry" }, number(low, 3), bar, number(high, 3))];
}

// ------------------------------------------------------------------------------------------------------------------- links
/** Where a template like "neuron?layer={layer}" leads for a row; null where a value of it is missing. */
function linkOf(template, frame, row, context) {
  if (!context.go || !template || row === null) return null;
  const valueOf = (name) => (name in frame.byName ? frame.byName[name][row] : context.params[name]) ?? null;
  if (Array.from(template.matchAll(/\{(\w+)\}/g)).some(([, name]) => valueOf(name) === null)) return null;
  const filled = template.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(valueOf(name)));
  const [view, query] = filled.split("?");
  return { view, params: { ...storeOf(context.params), ...Object.fromEntries(new URLSearchParams(query)) } };
}

const linkOfRow = (part, frame, row, context) => linkOf(Object.values(part.links ?? {})[0], frame, row, context);

/** A link to a view: an address where the source has one, else a button. */
function link(context, { view, params }, attributes, ...children) {
  const href = context.source.href(view, null, params, null);
  const click = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || event.button) return;
    event.preventDefault();
    context.go(view, params);
  };
  if (href) return h("a", { href, ...attributes, click }, children);
  return h("button", { type: "button", class: "link", ...attributes, click }, children);
}

/** A value of a table, as a link where the table has one for its column. */
function content(part, frame, name, row, context) {
  const value = frame.byName[name][row];
  const to = linkOf(part.links?.[name], frame, row, context);
  const words = typeof value === "string" ? h("bdi", null, written(value)) : frame.words(name, row);
  return to ? link(context, to, null, words) : words;
}

// ------------------------------------------------------------------------------------------------------------------ tables
/** Order of two values: numbers by size, text by its language's order, what is missing last either way. */
function compare(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (isNumber(a) && isNumber(b)) return sign * (a - b);
  return sign * shown(a).localeCompare(shown(b), undefined, { numeric: true });
}

/**
 * Some of many: `fill(from, to)` shows those, and a button first shows more of them, then others take the place of each.
 *
 * Returns: what stands below them, and a function that shows the first ones.
 */
function paged(total, [few, many], what, fill) {
  const line = h("div", { class: "files" });
  let size = total <= 1.5 * few ? total : few;
  let from = 0;
  const button = (label, move) => h("button", { type: "button", class: "more", click: move }, label);
  const show = (start) => {
    from = start;
    const to = Math.min(from + size, total);
    fill(from, to);
    const more = () => ((size = many), show(0), line.querySelector("button")?.focus());
    const parts = size >= total ? []
      : size < many ? [button(`Show more of ${grouped(total)} ${what} (${grouped(to)} shown)`, more)]
        : [from ? button("Before", () => show(from - size)) : null, to < total ? button("After", () => show(to)) : null,
          `${grouped(from + 1)} to ${grouped(to)} of ${grouped(total)} ${what}`];
    line.replaceChildren(...parts.filter(Boolean));
  };
  return [line, () => show(0)];
}

function table(part, answer, context) {
  const frame = new Frame(answer);
  const areNumbers = answer.values.map((column) => isNumber(column.find((value) => value !== null)));
  const areLong = answer.values.map((column) => column.some((value) => typeof value === "string" && value.length > 60));
  const order = Array.from({ length: frame.n }, (_, row) => row);
  const body = h("tbody");
  const kindOf = (column) => (areNumbers[column] ? "number" : areLong[column] ? "long" : null);
  const [more, first] = paged(frame.n, ROWS, "rows", (from, to) => {
    const cell = (row) => ({ name }, column) => h("td", { class: kindOf(column) }, content(part, frame, name, row, context));
    body.replaceChildren(...order.slice(from, to).map((row) => h("tr", null, answer.columns.map(cell(row)))));
  });
  const heads = answer.columns.map(({ name, about }, column) => {
    const sort = (sign) => {
      const values = answer.values[column];
      order.sort((a, b) => compare(values[a], values[b], sign) || a - b);
      first();
    };
    const meant = { scope: "col", class: kindOf(column), title: about ? plain(about) : null };
    const head = h("th", meant, h("bdi", null, written(name)));
    return sortableHead(head, areNumbers[column], () => heads, sort, context);
  });
  first();
  const rest = `${grouped(answer.n_rows - frame.n)} of ${grouped(answer.n_rows)} rows are left out here; the files hold all.`;
  const box = h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": plain(`Table: ${part.title}`) },
    h("table", null, h("caption", { class: "unseen" }, plain(part.title)), h("thead", null, h("tr", null, heads)), body));
  return h("div", null, box, more, answer.is_whole ? null : h("p", { class: "note" }, rest));
}

/** A head of a column that sorts: a button, and `aria-sort` on the head. Numbers begin with the largest. */
function sortableHead(head, isNumeric, siblings, sort, context) {
  const press = () => {
    const first = isNumeric ? "descending" : "ascending";
    const next = { ascending: "descending", descending: "ascending" }[head.getAttribute("aria-sort")] ?? first;
    for (const each of siblings()) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", next);
    sort(next === "ascending" ? 1 : -1);
    context.say(`Sorted by ${head.textContent}, ${next}`);
  };
  head.append(h("button", { type: "button", click: press }, Array.from(head.childNodes)));
  return head;
}

/** What stands under a picture or a table: how many rows, files of them, what the columns mean, the SQL. */
function footer(part, answer, context, { view, params }, hasTable = false) {
  const { source } = context;
  const disclosure = (summary, ...children) => h("details", null, h("summary", null, summary), children);
  const numbers = hasTable ? disclosure("Table") : null;
  // a table of thousands of cells is made when it is looked at
  numbers?.addEventListener("toggle", () => numbers.append(table(part, answer, context)), { once: true });
  const files = ["json", "csv", "parquet"].map((format) => {
    const href = source.href(view, part.name, params, format);
    return href && h("a", { href, download: `${view}-${part.name}.${format}` }, `.${format}`);
  });
  const meant = answer.columns.filter(({ about }) => about);
  const meanings = meant.map(({ name, about }) => [h("dt", null, plain(name)), h("dd", null, plain(about))]);
  const code = { tabindex: "0", role: "region", "aria-label": plain(`SQL of ${part.title}`) };
  const change = () => link(context, { view: "sql", params: { ...storeOf(params), query: part.sql } }, null, "Change this query");
  return h("div", { class: "under" },
    h("span", null, `${grouped(answer.n_rows)} ${answer.n_rows === 1 ? "row" : "rows"}`),
    files,
    numbers,
    meant.length ? disclosure("Columns", h("dl", { class: "facts" }, meanings)) : null,
    part.sql ? disclosure("SQL", h("pre", code, written(part.sql, true)), context.go && view !== "sql" ? change() : null) : null);
}

// -------------------------------------------------------------------------------------------------------------- token heat
/**
 * A text cut where its tokens change, each stretch with the tokens that it belongs to. Clusters of characters are never cut:
 * pieces that hold a few bytes of a character, or a mark without its letter, all belong to the cluster.
 */
export function stretches(text, tokens) {
  // offsets count code points, strings are counted in units of UTF-16
  const units = [0];
  for (const point of text) units.push(units.at(-1) + point.length);
  const clusters = Array.from(CLUSTERS.segment(text), ({ segment }) => ({ segment, tokens: [], before: [] }));
  const clusterAt = clusters.flatMap(({ segment }, place) => Array(segment.length).fill(place));
  const ending = [];
  tokens.forEach(({ start, end }, place) => {
    const first = clusterAt[units[start]];
    // what stands for no character, as a mark of the beginning, is a piece by itself
    if (!(end > start)) (clusters[first]?.before ?? ending).push(place);
    else for (const cluster of clusters.slice(first, clusterAt[units[end] - 1] + 1)) cluster.tokens.push(place);
  });
  const found = [];
  for (const { segment, tokens: own, before } of clusters) {
    for (const place of before) found.push({ text: "", tokens: [place] });
    const previous = found.at(-1);
    if (previous?.text && previous.tokens.join() === own.join()) previous.text += segment;
    else found.push({ text: segment, tokens: own });
  }
  for (const place of ending) found.push({ text: "", tokens: [place] });
  return found;
}

/** A text coloured by the values of its tokens; the arrow keys walk from piece to piece. */
function heat({ text: whole, tokens, low, high, source, experts }, context) {
  const pieceOf = ({ piece }) => plain(piece);
  const most = Math.max(-low, high, 1e-12);
  const spans = stretches(whole, tokens).map(({ text, tokens: own }) => {
    const found = own.map((place) => tokens[place]);
    const strongest = found.reduce((best, { value }) => (Math.abs(value ?? 0) > Math.abs(best) ? value : best), 0);
    const kind = `token${strongest < 0 ? " below" : ""}${text ? "" : " piece"}`;
    // what is no text does not say in which direction the text is written
    const span = h("span", { class: kind, dir: text ? null : "ltr" }, text ? written(text) : found.map(pieceOf));
    span.style.setProperty("--share", `${Math.min(100, Math.round((100 * Math.abs(strongest)) / most))}%`);
    const title = plain(text || found.map(pieceOf).join(""));
    const pairs = found.map((token) => [pieceOf(token), shown(token.value)]);
    return { span, title, pairs, said: pairs.map((pair) => pair.join(": ")).join("; ") };
  });
  const label = "Text with the values of its tokens; the arrow keys walk through them";
  const group = { class: "heat", dir: "auto", tabindex: "0", role: "group", "aria-label": label };
  const area = h("div", group, spans.map(({ span }) => span));
  const show = (mark) => {
    area.querySelector(".picked")?.classList.remove("picked");
    if (!mark) return null;
    mark.span.classList.add("picked");
    const edge = mark.span.getBoundingClientRect();
    return { x: edge.left + edge.width / 2, y: edge.bottom };
  };
  const next = (mark, [across, down]) => {
    // in a text from right to left the next piece lies to the left
    const isSwapped = across && getComputedStyle(area).direction === "rtl";
    const place = spans.indexOf(mark) + (isSwapped ? -across : across + down);
    return spans[Math.min(Math.max(place, 0), spans.length - 1)] ?? null;
  };
  const under = ({ target }) => spans.find(({ span }) => span.contains(target)) ?? null;
  reached(area, context, { under, next, show });
  const scale = h("span", { class: low < 0 ? "heatbar both" : "heatbar", "aria-hidden": "true" });
  const ends = h("span", { class: "entry" }, low < 0 ? number(-most, 3) : "0", scale, number(most, 3));
  const legend = h("div", { class: "legend" }, ends, h("span", null, plain(source)));
  return h("div", null, area, legend, experts ? table({ title: "Whose experts are active", links: {} }, experts, context) : null);
}

/** Puts the heat of a text into `body`, or what went wrong into `problem`; whether there is heat. */
async function heated(body, problem, params, context) {
  body.setAttribute("aria-busy", "true");
  const fill = async (found) => {
    if (found.error?.kind === "ModelLoading") {
      problem.hidden = false;
      problem.textContent = found.error.text;
      await new Promise((resolve) => setTimeout(resolve, 1000));
      // it is asked for as long as somebody looks
      return body.isConnected ? context.source.heat(params).then(fill) : undefined;
    }
    if (found.error) throw new Error(found.error.text);
    body.replaceChildren(heat(found, context));
  };
  const failure = await context.source.heat(params).then(fill).catch(oneLine);
  body.removeAttribute("aria-busy");
  problem.hidden = !failure;
  problem.textContent = failure ?? "";
  if (failure) context.say(failure);
  return !failure;
}

/** A sentence of the reader's own, read by a model: by the neuron that is looked at, or by the experts of all concepts. */
function sentence(context) {
  const { checkpoint, site, layer, neuron } = context.params;
  const id = unique("sentence");
  const field = h("textarea", { id, rows: "2", dir: "auto" });
  const [body, problem] = [h("div"), h("p", { class: "note", hidden: true })];
  const read = (more) => heated(body, problem, { ...storeOf(context.params), checkpoint, ...more, text: field.value }, context);
  const submit = (event) => (event.preventDefault(), read({ site, layer, neuron }));
  const buttons = h("div", { class: "files" }, h("button", { type: "submit" }, "This neuron"),
    h("button", { type: "button", click: () => read({}) }, "All experts"));
  const form = h("form", { class: "editor", submit }, h("label", { for: id }, "In any language"), field, buttons, problem, body);
  return h("details", null, h("summary", null, "Read a sentence of your own"), form);
}

/** Texts with their values; one click shows what its tokens did. */
function texts(part, answer, context) {
  const { picture } = part;
  const frame = new Frame(answer);
  const [contents, languages, values, ids] = ["text", "language", "value", "text_id"].map((name) => frame.get(picture[name]));
  const highest = Math.max(0, ...values.filter(isNumber).map(Math.abs));
  const list = h("ol", { class: "texts" });

  function item(row) {
    const content = String(contents[row] ?? "");
    const body = h("div", { class: "text", dir: "auto" }, written(content));
    const bar = h("span", { class: "valuebar", "aria-hidden": "true" });
    bar.style.setProperty("--share", `${highest ? Math.round((100 * Math.abs(values[row] ?? 0)) / highest) : 0}%`);
    const problem = h("p", { class: "note", hidden: true });
    const unfold = { type: "button", class: "show-tokens", "aria-expanded": "false", click: show };
    const button = context.source.heat && h("button", unfold, "Tokens");
    async function show() {
      const isOpen = button.getAttribute("aria-expanded") === "true";
      if (isOpen) body.replaceChildren(...written(content));
      const found = isOpen || (await heated(body, problem, { ...context.params, text_id: ids[row] }, context));
      if (found) button.setAttribute("aria-expanded", String(!isOpen));
    }
    const language = h("span", { class: "language" }, h("span", { class: "unseen" }, "language "), shown(languages[row]));
    const value = h("span", { class: "value" }, shown(values[row]));
    const marked = [picture.marks ?? []].flat().map((name) => h("span", null, `${plain(name)} ${frame.words(name, row)}`));
    const above = h("div", { class: "about-text" }, languages[row] === null ? null : language, value, bar, marked, button);
    return h("li", null, above, body, problem);
  }

  const fill = (from, to) => list.replaceChildren(...Array.from({ length: to - from }, (_, place) => item(from + place)));
  const [more, first] = paged(frame.n, TEXTS, "texts", fill);
  first();
  return h("div", null, list, more);
}

/** One row as names and values; of several, one list each. */
function facts(part, answer, context) {
  const frame = new Frame(answer);
  return Array.from({ length: Math.min(frame.n, 20) }, (_, row) =>
    h("dl", { class: "facts" }, answer.columns.map(({ name, about }) => [
      h("dt", { title: about ? plain(about) : null }, plain(name)), h("dd", null, content(part, frame, name, row, context)),
    ])));
}

// ----------------------------------------------------------------------------------------------------------------- choices
const FIELD = { type: "text", autocomplete: "off", spellcheck: "false" };

/** A list of which one value is taken. */
function chooser(attributes, values, chosen, change, wordsOf = shown) {
  const select = h("select", { ...attributes, change: () => change(values[select.selectedIndex]) },
    values.map((each) => h("option", { value: shown(each), selected: String(each) === String(chosen) }, wordsOf(each))));
  return select;
}

/** A control for one choice: a list, a list with a search where there are many, or a line of text. */
function control(choice, value, change) {
  const id = unique("choice");
  const label = h("label", { for: id }, plain(choice.label || choice.name));
  const { name, values, is_free: isFree } = choice;
  const told = ({ target }) => change(target.value);
  const field = isFree ? h("input", { ...FIELD, id, name, dir: "auto", value, change: told })
    : values.length > MOST_PLAIN_CHOICES ? searchable(id, choice, value, change) : chooser({ id, name }, values, value, change);
  return h("div", { class: isFree ? "choice free" : "choice" }, label, field);
}

/** A list below a field, from which the pointer and the keys pick while the focus stays in the field (ARIA's "listbox"). */
class Listbox {
  constructor(field, label) {
    this.field = field;
    this.list = h("ul", { role: "listbox", id: unique("list"), class: "options", hidden: true, "aria-label": label });
    this.takes = [];
    this.active = -1;
    made(field, { "aria-autocomplete": "list", "aria-controls": this.list.id }, []);
    field.addEventListener("blur", () => (this.isOpen = false));
  }

  get isOpen() {
    return !this.list.hidden;
  }

  set isOpen(isOpen) {
    this.list.hidden = !isOpen;
    if (this.field.role === "combobox") this.field.ariaExpanded = String(isOpen);
    if (!isOpen) this.field.removeAttribute("aria-activedescendant");
  }

  /** Offers entries, each {take, words}; `first` is marked. `told` stands below them and cannot be picked. */
  open(entries, first, told = null) {
    this.takes = entries.map(({ take }) => take);
    const picked = (take) => (event) => (event.preventDefault(), take());
    const option = (take) => ({ role: "option", id: unique("option"), pointerdown: picked(take) });
    const end = told ? [h("li", { role: "option", "aria-disabled": "true", class: "told" }, told)] : [];
    this.list.replaceChildren(...entries.map(({ take, words }) => h("li", option(take), words)), ...end);
    this.isOpen = true;
    this.mark(first);
  }

  mark(place) {
    this.active = place;
    Array.from(this.list.children).forEach((child, each) => child.setAttribute("aria-selected", String(each === place)));
    const marked = this.takes[place] && this.list.children[place];
    if (!marked) return this.field.removeAttribute("aria-activedescendant");
    this.field.setAttribute("aria-activedescendant", marked.id);
    marked.scrollIntoView({ block: "nearest" });
  }

  /** What a key does while the list is open; whether it did anything. */
  key({ key }) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[key];
    if (step) this.mark(Math.min(Math.max(this.active + step, 0), this.takes.length - 1));
    else if (key === "Enter" && this.takes[this.active]) this.takes[this.active]();
    else if (key === "Escape") this.isOpen = false;
    else return false;
    return true;
  }
}

/** A line of text with a list of what contains it. */
function searchable(id, choice, value, change) {
  const names = choice.values.map(shown);
  const current = shown(value);
  const input = h("input", { ...FIELD, id, name: choice.name, role: "combobox", "aria-expanded": "false" });
  const box = new Listbox(input, plain(choice.label || choice.name));
  input.value = current;
  const entry = (place) => ({
    words: h("bdi", null, names[place]),
    take() {
      box.isOpen = false;
      input.value = names[place];
      if (names[place] !== current) change(choice.values[place]);
    },
  });
  const open = (sought) => {
    const wanted = sought.toLocaleLowerCase();
    const found = names.flatMap((name, place) => (name.toLocaleLowerCase().includes(wanted) ? [place] : []));
    // what is typed whole stands above what only contains it
    found.sort((a, b) => (names[b] === sought) - (names[a] === sought));
    const listed = found.slice(0, MOST_LISTED);
    const rest = found.length - listed.length;
    const told = !found.length ? "nothing contains this" : rest ? `${grouped(rest)} more: type to narrow the list` : null;
    box.open(listed.map(entry), sought ? 0 : listed.findIndex((place) => names[place] === current), told);
  };
  input.addEventListener("input", () => open(input.value));
  input.addEventListener("click", () => (input.select(), open("")));
  input.addEventListener("blur", () => (input.value = current));
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") input.value = current;
    const isOpening = !box.isOpen && /^Arrow(Up|Down)$/.test(event.key);
    if (isOpening) open("");
    if (isOpening || (box.isOpen && box.key(event))) event.preventDefault();
  });
  return h("div", { class: "searchable" }, input, box.list);
}

// --------------------------------------------------------------------------------------------------------------------- SQL
const attempt = (act, otherwise) => {
  try {
    return act() ?? otherwise;
  } catch {
    return otherwise;
  }
};

/** What a browser remembers between pages; where it may not, nothing is. */
const kept = {
  read: (name, otherwise) => attempt(() => JSON.parse(localStorage.getItem(`actlas.${name}`)), otherwise),
  write: (name, value) => attempt(() => localStorage.setItem(`actlas.${name}`, JSON.stringify(value))),
};

/** Names that a query can use, out of a schema of tables with their columns, and of macros. */
function namesOf({ tables, macros }) {
  const all = tables.flatMap(({ name: of, columns }) => columns.map((column) => ({ ...column, of })));
  const columns = Array.from(Map.groupBy(all, ({ name }) => name).values(), (own) => (
    { ...own[0], kind: "column", of: own.map(({ of }) => of) }));
  const kindOf = (kind) => ({ name, about }) => ({ name, about, kind });
  return [...tables.map(kindOf("table")), ...macros.map(kindOf("macro")), ...columns];
}

/** A field for SQL: Tab or Enter completes a name, Ctrl+Enter runs the query; kept queries are links. */
function editor(context, query) {
  const id = unique("sql");
  const help = "Ctrl+Enter runs it, Ctrl+Space lists names, Tab takes one. The address is a link to query and answer.";
  const field = h("textarea", { ...FIELD, type: null, id, name: "query", rows: "6", "aria-describedby": `${id}-help` });
  const box = new Listbox(field, "Names that fit");
  field.value = query ?? "";
  let names = [];
  const schema = context.source.schema?.(storeOf(context.params));
  schema?.then((found) => (names = namesOf(found)), (error) => context.say(oneLine(error)));

  const wordBefore = () => field.value.slice(0, field.selectionStart).match(/[\p{L}_][\p{L}\p{N}_]*$/u)?.[0] ?? "";
  const entry = ({ name, kind, of, about }) => {
    const more = [` ${kind}`, of ? ` of ${short(of.join(", "), 40)}` : null, about ? `: ${short(plain(about), 60)}` : null];
    const take = () => {
      const from = field.selectionStart - wordBefore().length;
      field.setRangeText(kind === "macro" ? `${name}(` : name, from, field.selectionEnd, "end");
      box.isOpen = false;
    };
    return { take, words: [name, h("span", { class: "kind" }, more)] };
  };
  const suggest = (isAsked) => {
    const begun = wordBefore().toLowerCase();
    const fits = (test) => (begun || isAsked ? names.filter(({ name }) => test(name.toLowerCase())) : []);
    const found = [...new Set([...fits((name) => name.startsWith(begun)), ...fits((name) => name.includes(begun))])];
    if (!found.length || (found.length === 1 && found[0].name === begun)) box.isOpen = false;
    else box.open(found.slice(0, 12).map(entry), 0);
  };
  const run = () => context.go("sql", { ...context.params, query: field.value });
  const keys = (event) => {
    const { key } = event;
    const isCommand = event.ctrlKey || event.metaKey;
    if (isCommand && key === "Enter") run();
    else if (isCommand && key === " ") suggest(true);
    else if (!box.isOpen || !box.key(key === "Tab" ? { key: "Enter" } : event)) return;
    event.preventDefault();
  };
  field.addEventListener("input", () => suggest(false));
  field.addEventListener("keydown", keys);

  const shelf = h("ul", { class: "kept", "aria-label": "Kept queries" });
  const refill = () => {
    const all = [kept.read("queries", [])].flat();
    const forget = (gone) => (kept.write("queries", all.filter((each) => each !== gone)), refill());
    const to = ({ query: each }) => ({ view: "sql", params: { ...context.params, query: each } });
    const line = (each) => h("li", null, link(context, to(each), { title: plain(each.query) }, plain(each.name)), " ",
      h("button", { type: "button", "aria-label": `Forget ${plain(each.name)}`, click: () => forget(each) }, "×"));
    shelf.replaceChildren(...all.map(line));
  };
  const name = h("input", { type: "text", "aria-label": "Name of the query to keep", placeholder: "name, to keep it" });
  const keep = () => {
    if (!field.value.trim()) return;
    const called = name.value.trim() || short(field.value.trim(), 60);
    const others = kept.read("queries", []).filter((each) => each.name !== called);
    kept.write("queries", [...others, { name: called, query: field.value }]);
    refill();
    context.say("Kept");
  };
  refill();
  const buttons = h("div", { class: "files" },
    h("button", { type: "submit", class: "primary" }, "Run"), name, h("button", { type: "button", click: keep }, "Keep"));
  return h("form", { class: "editor", submit: (event) => (event.preventDefault(), run()) },
    h("label", { for: id }, "Query"), h("div", { class: "searchable" }, field, box.list),
    h("p", { class: "hint", id: `${id}-help` }, help), buttons, shelf);
}

// ---------------------------------------------------------------------------------------------------------------- the page
/** A tip near a point, and a line that is read aloud. */
function voices(root) {
  const tipBox = h("div", { class: "tip", "aria-hidden": "true", hidden: true });
  const status = h("div", { class: "unseen", role: "status", "aria-live": "polite" });
  root.append(tipBox, status);
  return {
    say: (text) => (status.textContent = text),
    tip(mark, where, hint) {
      tipBox.hidden = !mark;
      if (!mark) return;
      const line = ([name, value, place]) => h("div", null,
        isNumber(place) ? s("svg", { width: 10, height: 10 }, dot(place, 5, 5, 3.4)) : null,
        name ? [h("bdi", null, name), " "] : null, h("b", null, value));
      const title = h("div", { class: "tip-title" }, h("bdi", null, mark.title));
      tipBox.replaceChildren(title, ...mark.pairs.map(line), hint ? h("div", { class: "hint" }, hint) : "");
      const [width, height] = [tipBox.offsetWidth, tipBox.offsetHeight];
      tipBox.style.left = `${Math.max(4, Math.min(where.x + 14, innerWidth - width - 8))}px`;
      tipBox.style.top = `${where.y + 18 + height > innerHeight ? Math.max(4, where.y - height - 12) : where.y + 18}px`;
    },
  };
}

function drawn(part, answer, context) {
  const kind = part.picture?.kind;
  const draw = kind in PAINTERS ? chart : { texts, facts }[kind];
  return draw && answer.values[0]?.length ? draw(part, answer, context) : null;
}

/** A part as it is shown: its picture with the table below it, or the table alone; an error is one line. */
function body(part, answer, context, where) {
  if (answer.error) return h("p", { class: "note" }, h("span", { class: "unseen" }, "Not shown: "), oneLine(answer.error.text));
  const below = (hasTable) => footer(part, answer, context, where, hasTable);
  // where it is said above what it means that there is none, that is enough
  const nothing = part.about?.includes("No row") ? "No row." : "No row: nothing in this store answers to that.";
  if (!answer.values[0]?.length) return [h("p", { class: "note" }, nothing), below(false)];
  const picture = drawn(part, answer, context);
  if (!picture) return [table(part, answer, context), below(false)];
  const some = `Drawn from ${grouped(answer.values[0].length)} of ${grouped(answer.n_rows)} rows; the files hold all.`;
  return [picture, answer.is_whole ? null : h("p", { class: "note" }, some), below(true)];
}

/** A line about what is seen: a number stays with its unit. */
const aside = (text) => (text ? h("p", { class: "about" }, plain(text).replaceAll(" %", "\u00a0%")) : "");
const alert = (error) => h("p", { class: "note", role: "alert" }, oneLine(error));

/** What to do first and what at the end of a page's life differ by home; all else is here. */
class Page {
  constructor(el, source, isPage, theme) {
    Object.assign(this, { el, source, isPage, level: isPage ? 1 : 3 });
    el.classList.add("actlas");
    this.nav = h("ul");
    this.side = h("div", { class: "side" });
    this.main = h(isPage ? "main" : "div", { id: unique("main"), tabindex: "-1" });
    // the address stays: a new one would be shown anew
    const skip = (event) => (event.preventDefault(), this.main.focus());
    el.replaceChildren(
      isPage ? h("a", { class: "skip", href: `#${this.main.id}`, click: skip }, "Skip to the content") : "",
      h(isPage ? "header" : "div", { class: "top" },
        h("span", { class: "brand" }, "actlas"), h("nav", { "aria-label": "Views" }, this.nav), this.side),
      this.main,
    );
    this.voices = voices(el);
    this.setTheme(theme === "auto" ? kept.read("theme", "auto") : theme);
  }

  heading(depth, content, attributes) {
    return h(`h${this.level + depth}`, attributes, content);
  }

  setTheme(theme) {
    this.theme = theme;
    const chosen = theme === "auto" ? hostTheme() : theme;
    const element = this.isPage ? document.documentElement : this.el;
    element.dataset.theme = chosen ?? "";
  }

  /** Goes to a view; where that cannot be shown and there is something `instead`, with those parameters. */
  async go(view, params, focus = "h1", instead = null) {
    await this.show(view, params, { focus, instead, isNew: true });
  }

  /** Shows a view; `focus` is the name of the control that keeps the focus, or "h1" for the heading. */
  async show(view, asked, { focus = null, instead = null, isNew = false } = {}) {
    this.leave?.abort();
    this.leave = new AbortController();
    const { signal } = this.leave;
    this.main.setAttribute("aria-busy", "true");
    this.voices.tip(null);
    this.voices.say("Loading");
    let [params, described, failure] = [];
    for (params of [asked, instead].filter(Boolean)) {
      described = await this.source.describe(view, params, signal).catch((error) => void (failure = error));
      if (described || signal.aborted) break;
    }
    if (signal.aborted) return;
    if (isNew) this.source.go(view, params);
    if (described) await this.fill(described, params, focus, signal);
    else {
      this.main.replaceChildren(this.heading(0, plain(view), { tabindex: "-1" }), alert(failure));
      this.fillTop(view, {}, params);
    }
    if (!signal.aborted) this.main.removeAttribute("aria-busy");
  }

  fillTop(view, { views, stores, title }, params) {
    const context = this.context(view, params);
    this.nav.replaceChildren(...(views ?? VIEWS).map((each) => {
      const name = each.name ?? each;
      const current = { "aria-current": name === view ? "page" : null };
      return h("li", null, link(context, { view: name, params: storeOf(params) }, current, plain(each.title ?? name)));
    }));
    const several = stores?.length > 1 ? stores : [];
    const store = chooser({ "aria-label": "Store" }, several, params.store, (label) => this.go(view, { store: label }));
    const wordsOf = (theme) => (theme === "auto" ? "theme: auto" : theme);
    const change = (theme) => (kept.write("theme", theme), this.setTheme(theme));
    const themes = chooser({ "aria-label": "Theme" }, ["auto", "light", "dark"], this.theme, change, wordsOf);
    this.side.replaceChildren(several.length ? store : "", themes);
    if (this.isPage) document.title = [title ?? view, params.store, "actlas"].filter(Boolean).map(plain).join(" · ");
  }

  context(view, params) {
    return { source: this.source, view, params, ...this.voices, go: (...where) => this.go(...where) };
  }

  async fill(described, asked, focus, signal) {
    const { view, title, about } = described;
    const params = { ...storeOf(asked), ...described.params };
    const context = this.context(view, params);
    this.fillTop(view, described, params);
    const choose = (choice) => (value) => {
      const { name } = choice;
      const earlier = described.choices.slice(0, described.choices.indexOf(choice)).map((each) => [each.name, params[each.name]]);
      const chosen = { [name]: String(value ?? "") };
      // what can be chosen depends on earlier choices: later ones stay where they still can be
      this.go(view, { ...params, ...chosen }, name, { ...storeOf(params), ...Object.fromEntries(earlier), ...chosen });
    };
    const isSql = view === "sql";
    const mayChoose = ({ name, values, is_free: isFree }) => (isFree ? !(isSql && name === "query") : values.length > 0);
    const choices = described.choices.filter(mayChoose);
    const controls = choices.map((choice) => control(choice, params[choice.name], choose(choice)));
    const submit = (event) => event.preventDefault();
    const heading = this.heading(0, plain(title), { tabindex: "-1" });
    // what a person typed is answered before everything that helps to type it
    const typed = isSql && params.query ? [{ name: "answer", title: "Answer" }] : [];
    const slots = [...typed, ...described.parts].map((part) => {
      const id = unique("part");
      const slot = h("div", { class: "slot", "aria-busy": "true" }, h("p", { class: "loading" }, "Loading …"));
      const named = { "aria-labelledby": id, "data-part": part.name };
      const section = h("section", named, this.heading(1, plain(part.title), { id }), aside(part.about), slot);
      return { part, slot, section };
    });
    this.main.replaceChildren(
      heading,
      aside(about),
      isSql ? editor(context, params.query) : "",
      controls.length ? h("form", { class: "choices", "aria-label": "Choices", submit }, controls) : "",
      context.source.heat && params.neuron !== undefined ? sentence(context) : "",
      ...slots.map(({ section }) => section),
    );
    if (focus === "h1") {
      heading.focus({ preventScroll: true });
      (this.isPage ? window : this.el).scrollTo?.(0, 0);
    } else if (focus) this.main.querySelector(`[name="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
    let done = 0;
    await Promise.all(slots.map(async ({ part, slot, section }) => {
      const answering = this.source.answer(view, part.name, params, signal);
      const found = await answering.then((answer) => body(part, answer, context, { view, params })).catch(alert);
      if (signal.aborted) return;
      slot.replaceChildren(...[found].flat(Infinity).filter(Boolean));
      slot.removeAttribute("aria-busy");
      section.dataset.done = "";
      done += 1;
      this.voices.say(`${plain(title)}: ${done} of ${slots.length} tables loaded`);
    }));
  }
}

/** The theme of a notebook around a widget, where it says one; else the system's is followed. */
function hostTheme() {
  const { jpThemeLight, vscodeThemeKind, theme } = document.body?.dataset ?? {};
  if (jpThemeLight) return jpThemeLight === "false" ? "dark" : "light";
  if (vscodeThemeKind) return vscodeThemeKind.includes("light") ? "light" : "dark";
  return theme === "dark" || theme === "light" ? theme : null;
}

/** A page in `el`; what it returns goes to a view without telling the source: for what came from outside, as the back button. */
export function mount(el, source, where, { isPage = false, theme = "auto" } = {}) {
  const page = new Page(el, source, isPage, theme);
  page.show(where.view, where.params ?? {});
  return (view, params) => page.show(view, params);
}

/**
 * A report is read closely: every `<figure data-actlas>` with {title, picture, answer} as JSON inside gets files, and its picture
 * in place of its first `svg`; every table can be sorted.
 */
export function enhance(root) {
  const host = root.body ?? root;
  host.classList.add("actlas");
  const { say, tip } = voices(host);
  for (const figure of root.querySelectorAll("figure[data-actlas]")) {
    const data = figure.querySelector('script[type="application/json"]');
    if (!data) continue;
    const part = { name: figure.dataset.actlas, links: {}, ...JSON.parse(data.textContent) };
    const context = { source: inlineSource({ [part.name]: part.answer }), params: {}, say, tip, go: null };
    const picture = drawn(part, part.answer, context);
    if (picture) (figure.querySelector(".fallback") ?? figure.querySelector("svg"))?.replaceWith(picture);
    figure.append(footer({ ...part, sql: null }, part.answer, context, { view: "report", params: {} }));
  }
  for (const each of root.querySelectorAll("table")) if (!each.querySelector("th button")) sortable(each, say);
  forPaper(root);
}

/** On paper everything is open, and heads of tables are words alone: with a control in them no page but the first has them. */
function forPaper(root) {
  const undo = [];
  addEventListener("beforeprint", () => {
    for (const details of root.querySelectorAll("details:not([open])")) {
      details.open = true;
      undo.push(() => (details.open = false));
    }
    for (const button of root.querySelectorAll("th button")) {
      const head = button.parentElement;
      button.replaceWith(...button.childNodes);
      undo.push(() => (button.append(...head.childNodes), head.append(button)));
    }
  });
  addEventListener("afterprint", () => undo.splice(0).forEach((each) => each()));
}

/** A table that is already written becomes sortable by its heads. */
function sortable(element, say) {
  const heads = Array.from(element.querySelectorAll("thead th"));
  const rows = Array.from(element.tBodies[0]?.rows ?? []);
  if (rows.length < 2) return;
  heads.forEach((head, column) => {
    const values = new Map(rows.map((row) => {
      const text = row.cells[column]?.textContent.trim() ?? "";
      return [row, text === "–" || text === "" ? null : Number.isNaN(Number(text)) ? text : Number(text)];
    }));
    const sort = (sign) => element.tBodies[0].append(...[...rows].sort((a, b) => compare(values.get(a), values.get(b), sign)));
    sortableHead(head, rows.every((row) => typeof values.get(row) !== "string"), () => heads, sort, { say });
  });
}

/** The page of `actlas explore`: the address says what is shown. */
function start(el) {
  const base = new URL("..", import.meta.url);
  const here = () => ({
    view: location.pathname.slice(base.pathname.length).replace(/\/$/, "") || "store",
    params: Object.fromEntries(new URLSearchParams(location.search)),
  });
  const show = mount(el, httpSource(base), here(), { isPage: true });
  addEventListener("popstate", () => show(here().view, here().params));
}

function render({ model, el }) {
  const height = model.get("height");
  // an element of its own: what Jupyter lays out is the other one, whose height it takes back
  const box = el.appendChild(h("div"));
  if (height) Object.assign(box.style, { maxHeight: `${height}px`, overflowY: "auto" });
  const source = modelSource(model);
  const where = () => ({ view: model.get("view") || "store", params: model.get("params") ?? {} });
  const show = mount(box, source, where(), { theme: model.get("theme") || "auto" });
  // what the notebook sets is shown, too
  const follow = () => source.isGoing || show(where().view, where().params);
  for (const name of ["view", "params"]) model.on(`change:${name}`, follow);
  return () => {
    for (const name of ["view", "params"]) model.off(`change:${name}`, follow);
    source.close();
  };
}

const page = typeof document === "undefined" ? null : document.querySelector("[data-actlas-page]");
if (page) start(page);

export default { render };
