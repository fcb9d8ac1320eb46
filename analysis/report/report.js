"use strict";
// Fills in the charts, the tree and the samples. Text from the results only ever becomes text
// (textContent), or text that Plotly does not take for markup (plain).

const DATA = JSON.parse(document.getElementById("data").textContent);
const MOST_BANDS = 3; // more intervals are error bars
const NUM_COLOURS = 6;
const DASHES = ["solid", "dash", "dot", "dashdot"];
const SYMBOLS = ["circle", "square", "triangle-up", "diamond", "x", "star", "cross"];
const [HEIGHT, ROW, MOST_ROWS] = [430, 22, 8]; // of charts and of legends below them, in pixels
const OPEN_NODES = 400; // a tree of as many models is shown open

const byId = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function fill(select, names) {
  select.replaceChildren(...names.map((name, i) => make("option", { value: i, textContent: name })));
}

// Plotly reads tags, entities and formulas in names; with these entities it shows them.
const plain = (text) =>
  String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/\$/g, "&#36;");

const number = (x) => (x === null || x === undefined ? "-" : String(Number(x.toPrecision(4))));
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// The base, or else the first setting, has the colour of the text.
function look(i) {
  if (i === CURVES.base) return { colour: style("--ink"), dash: DASHES[0], symbol: SYMBOLS[0] };
  const k = i < CURVES.base ? i : i - 1;
  return {
    colour: style(`--c${k % NUM_COLOURS}`),
    dash: DASHES[Math.floor(k / NUM_COLOURS) % DASHES.length],
    symbol: SYMBOLS[(k + 1) % SYMBOLS.length],
  };
}

function draw(chart, traces, layout) {
  const axis = { gridcolor: style("--grid"), zerolinecolor: style("--line"), linecolor: style("--line") };
  const narrow = chart.clientWidth < 700;
  const rows = narrow && layout.showlegend ? Math.min(MOST_ROWS, traces.filter((t) => t.showlegend !== false).length) : 0;
  chart.style.height = `${HEIGHT + rows * ROW}px`;
  const below = { orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0, maxheight: rows * ROW };
  const whole = {
    paper_bgcolor: style("--paper"),
    plot_bgcolor: style("--paper"),
    font: { color: style("--ink"), family: getComputedStyle(document.body).fontFamily, size: 13 },
    margin: { l: 60, r: 15, t: 40, b: 55 + rows * ROW },
    hovermode: "closest",
    hoverlabel: { align: "left" },
    legend: narrow ? below : {},
    ...layout,
    xaxis: { ...axis, zeroline: false, ...layout.xaxis },
    yaxis: { ...axis, ...layout.yaxis },
  };
  // Only these buttons: others send the data to a server.
  const buttons = [["toImage"], ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]];
  const config = { responsive: true, displaylogo: false, modeBarButtons: buttons };
  return Plotly.react(chart, traces, whole, config).then(() => {
    // The chart has one name and a table; its buttons work by mouse only.
    for (const each of document.querySelectorAll(".modebar, #js-plotly-tester")) set(each, { "aria-hidden": true });
  });
}

// A table of the numbers in a chart, made when it is opened.
function tabulate(details, caption, header, rows) {
  const cells = (row) => row.map((text, i) =>
    i ? make("td", { textContent: text }) : make("th", { scope: "row", textContent: text }));
  const render = () => {
    if (!details.open) return;
    const table = make("table", {},
      make("caption", { textContent: caption }),
      make("thead", {}, make("tr", {}, ...header.map((t) => make("th", { scope: "col", textContent: t })))),
      make("tbody", {}, ...rows().map((row) => make("tr", {}, ...cells(row)))));
    const region = set(make("div", { className: "scroll", tabIndex: 0 }, table),
      { role: "region", "aria-label": caption });
    details.replaceChildren(details.querySelector("summary"), region);
  };
  details.ontoggle = render;
  render();
}

// ---- curves

const CURVES = DATA.curves;
const MEAN = 0;
const EACH = 1;

function setUpCurves() {
  fill(byId("metric"), CURVES.metrics.map((metric) => metric.name));
  const mean = CURVES.units.length > 1 ? "mean over seeds" : "the only seed";
  fill(byId("seeds"), [mean, "every seed", ...CURVES.units]);
  byId("axes").replaceChildren(...CURVES.axes.map(axisFilter));
  byId("filter").addEventListener("input", drawCurves);
  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  drawCurves();
}

function axisFilter(axis, position) {
  const boxes = axis.values.map((value, i) =>
    make("label", { className: "check" },
      set(make("input", { type: "checkbox", checked: true }), { "data-axis": position, "data-value": i }),
      value));
  const button = make("button", { type: "button", textContent: "all / none" });
  set(button, { "aria-label": `Show all or no values of ${axis.name}` });
  button.addEventListener("click", () => {
    const inputs = boxes.map((label) => label.querySelector("input"));
    const all = inputs.every((input) => input.checked);
    for (const input of inputs) input.checked = !all;
    drawCurves();
  });
  return make("fieldset", {}, make("legend", { textContent: axis.name }),
    make("div", { className: "values" }, ...boxes), ...(boxes.length > 2 ? [button] : []));
}

function shownSettings() {
  const off = new Set([...document.querySelectorAll("#axes input:not(:checked)")]
    .map((input) => `${input.dataset.axis}/${input.dataset.value}`));
  return CURVES.settings
    .map((setting, i) => ({ ...setting, i }))
    .filter((setting) => setting.values.every((value, axis) => !off.has(`${axis}/${value}`)));
}

function meanTraces(setting, line, band) {
  const { colour, dash, symbol } = look(setting.i);
  const text = line.mean.map((mean, k) => plain(
    `${setting.name}, V${line.generations[k]}: ${number(mean)}` +
    (line.half[k] === null ? "" : ` \u00b1 ${number(line.half[k])}`) + ` (${line.n[k]})`));
  const trace = {
    x: line.generations, y: line.mean, text, hoverinfo: "text", name: plain(setting.name),
    mode: "lines+markers", legendgroup: setting.i, line: { color: colour, dash },
    marker: { symbol, size: 8, color: colour },
    error_y: { array: line.half.map((h) => h ?? 0), visible: !band, color: colour, thickness: 1.2, width: 4 },
  };
  if (!band) return [trace];
  const known = line.half.map((h, k) => (h === null ? null : k)).filter((k) => k !== null);
  const edge = (sign) => ({
    x: known.map((k) => line.generations[k]), y: known.map((k) => line.mean[k] + sign * line.half[k]),
    mode: "lines", line: { width: 0, color: colour }, hoverinfo: "skip", showlegend: false, legendgroup: setting.i,
  });
  return [edge(-1), { ...edge(1), fill: "tonexty", fillcolor: colour + "26" }, trace];
}

function seedTraces(setting, line, units) {
  const { colour, dash, symbol } = look(setting.i);
  return units.filter((unit) => line.seeds[unit]).map((unit, k) => {
    const seed = line.seeds[unit];
    const text = seed.values.map((value, j) => plain(
      `${setting.name}, ${unit}, V${seed.generations[j]}: ${number(value)}`));
    const trace = {
      x: seed.generations, y: seed.values, text, hoverinfo: "text", name: plain(setting.name),
      mode: "lines+markers", legendgroup: setting.i, showlegend: k === 0,
      line: { color: colour, dash, width: units.length > 1 ? 1.2 : 2 },
      marker: { symbol, size: units.length > 1 ? 5 : 8, color: colour },
    };
    if (seed.errors && units.length === 1) {
      trace.error_y = { array: seed.errors.map((e) => e ?? 0), color: colour, thickness: 1.2, width: 4 };
    }
    return trace;
  });
}

function drawCurves() {
  const metric = CURVES.metrics[byId("metric").value];
  const chart = byId("curves-chart");
  if (!metric) {
    byId("curves-status").textContent = "No metric has been measured.";
    return;
  }
  const choice = Number(byId("seeds").value);
  const single = CURVES.units.length === 1;
  const units = choice === EACH || single ? CURVES.units : choice === MEAN ? [] : [CURVES.units[choice - 2]];
  const settings = shownSettings();
  const band = settings.length <= MOST_BANDS;
  const traces = settings.flatMap((setting) => {
    const line = metric.lines[setting.i];
    return units.length ? seedTraces(setting, line, units) : meanTraces(setting, line, band);
  });
  const generations = [...new Set(metric.lines.flatMap((line) => line.generations))].sort((a, b) => a - b);
  draw(chart, traces, {
    showlegend: settings.length > 0,
    xaxis: { title: { text: "generation" }, tickvals: generations, ticktext: generations.map((n) => `V<sub>${n}</sub>`) },
    yaxis: { title: { text: plain(metric.name) }, type: byId("log").checked ? "log" : "linear", automargin: true },
  });
  describeCurves(metric, settings, units);
}

function describeCurves(metric, settings, units) {
  const worse = { 1: "Higher is worse.", "-1": "Lower is worse.", 0: "" }[metric.worse];
  const percent = `${number(100 * CURVES.confidence)}%`;
  const hasErrors = units.length === 1 && settings.some((s) => metric.lines[s.i].seeds[units[0]]?.errors);
  const bars = units.length
    ? hasErrors ? "Bars: one standard error over images, which says nothing about other seeds." : "Single seeds have no intervals."
    : `${settings.length <= MOST_BANDS ? "Bands" : "Bars"}: ${percent} t intervals over seeds.`;
  byId("curves-note").textContent = [metric.images && `${metric.images}.`, bars, worse].filter(Boolean).join(" ");
  byId("curves-status").textContent = `${settings.length} of ${CURVES.settings.length} settings shown.`;
  const ends = settings.slice(0, 8).map((s) => {
    const { generations, mean } = metric.lines[s.i];
    const known = mean.map((x, k) => k).filter((k) => mean[k] !== null);
    if (!known.length) return `${s.name}: no numbers`;
    const [a, b] = [known[0], known[known.length - 1]];
    return `${s.name}: ${number(mean[a])} at V${generations[a]}, ${number(mean[b])} at V${generations[b]}`;
  });
  byId("curves-chart").setAttribute("aria-label",
    `Line chart of ${metric.name} by generation. ${ends.join("; ")}. All numbers are in the table below.`);
  const rows = () => settings.flatMap((s) => {
    const line = metric.lines[s.i];
    if (!units.length) {
      return line.generations.map((n, k) => [s.name, `V${n}`, number(line.mean[k]),
        number(line.half[k]), String(line.n[k]), String(line.diverged[k])]);
    }
    return units.filter((u) => line.seeds[u]).flatMap((u) => line.seeds[u].generations.map((n, k) =>
      [s.name, u, `V${n}`, number(line.seeds[u].values[k]), number(line.seeds[u].errors?.[k])]));
  });
  const header = units.length
    ? ["setting", "seed", "generation", metric.name, "standard error over images"]
    : ["setting", "generation", metric.name, `half-width of the ${percent} interval`, "n", "diverged"];
  tabulate(byId("curves-table"), metric.name, header, rows);
}

// ---- tree

const TREE = DATA.tree;
const CHILDREN = TREE.nodes.map(() => []);
const ROOTS = [];
TREE.nodes.forEach((node, i) => (node.parent === null ? ROOTS : CHILDREN[node.parent]).push(i));

let sheets = null; // split when the first picture is shown
function picture(position) {
  if (position === undefined) return null;
  sheets ??= byId("previews").textContent.split("\n");
  return `data:image/png;base64,${sheets[position]}`;
}

function setUpTree() {
  fill(byId("tree-metric"), CURVES.metrics.map((metric) => metric.name));
  byId("tree-metric").addEventListener("input", drawTree);
  const tree = byId("tree");
  tree.addEventListener("click", (event) => {
    const item = event.target.closest("[role=treeitem]");
    if (!item) return;
    if (event.target.closest(".toggle") && item.hasAttribute("aria-expanded")) toggle(item);
    focus(item);
    choose(item);
  });
  tree.addEventListener("keydown", moveInTree);
  drawTree();
}

function drawTree() {
  const selected = byId("tree").querySelector("[aria-selected=true]")?.dataset.node;
  prepareShades();
  byId("tree").replaceChildren(...ROOTS.map((i) => item(i, 1)));
  if (TREE.nodes.length <= OPEN_NODES) {
    for (const each of [...byId("tree").querySelectorAll("[aria-expanded]")]) expand(each, true);
  }
  byId("tree").querySelector("[role=treeitem]")?.setAttribute("tabindex", "0");
  if (selected !== undefined) byId("tree").querySelector(`[data-node="${selected}"]`)?.setAttribute("aria-selected", "true");
}

function item(i, level) {
  const node = TREE.nodes[i];
  const value = node.numbers[byId("tree-metric").value] ?? null;
  const name = CURVES.metrics[byId("tree-metric").value]?.name ?? "";
  const swatch = make("span", { className: "swatch" });
  if (value !== null) swatch.style.background = shades(value);
  const toggleMark = make("span", { className: "toggle", textContent: CHILDREN[i].length ? "\u25b8" : "" });
  set(toggleMark, { "aria-hidden": "true" });
  const state = node.status === "done" ? number(value) : node.status;
  const made = make("li", {}, make("div", { className: "row" }, toggleMark, swatch,
    make("strong", { textContent: `V${node.generation}` }),
    make("span", { className: "label", textContent: node.name }),
    make("span", { className: "number", textContent: state })));
  set(made, {
    role: "treeitem", tabindex: -1, "aria-level": level, "aria-selected": false, "data-node": i,
    "aria-label": [`V${node.generation}`, node.name, node.status === "done" ? `${name} ${number(value)}` : node.status]
      .filter(Boolean).join(", "),
  });
  if (CHILDREN[i].length) made.setAttribute("aria-expanded", "false");
  return made;
}

let shades = () => "";
function prepareShades() {
  const values = TREE.nodes.map((node) => node.numbers[byId("tree-metric").value] ?? null).filter((x) => x !== null);
  const low = values.reduce((a, b) => Math.min(a, b), Infinity);
  const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  shades = (value) => {
    const share = high > low ? (value - low) / (high - low) : 0;
    return `color-mix(in srgb, var(--c1) ${Math.round(100 * share)}%, var(--c0))`;
  };
}

function expand(element, deep = false) {
  const children = CHILDREN[element.dataset.node];
  const level = Number(element.getAttribute("aria-level")) + 1;
  if (!element.querySelector(":scope > ul")) {
    element.append(set(make("ul", {}, ...children.map((i) => item(i, level))), { role: "group" }));
  }
  element.querySelector(":scope > ul").hidden = false;
  element.setAttribute("aria-expanded", "true");
  element.querySelector(".toggle").textContent = "\u25be";
  if (deep) for (const each of element.querySelectorAll(":scope > ul > [aria-expanded]")) expand(each, true);
}

function collapse(element) {
  element.querySelector(":scope > ul").hidden = true;
  element.setAttribute("aria-expanded", "false");
  element.querySelector(".toggle").textContent = "\u25b8";
}

function toggle(element) {
  if (element.getAttribute("aria-expanded") === "true") collapse(element);
  else expand(element);
}

function focus(element) {
  for (const each of byId("tree").querySelectorAll("[tabindex='0']")) each.tabIndex = -1;
  element.tabIndex = 0;
  element.focus();
}

function moveInTree(event) {
  const here = event.target.closest("[role=treeitem]");
  const visible = [...byId("tree").querySelectorAll("[role=treeitem]")].filter((x) => !x.closest("ul[hidden]"));
  const at = visible.indexOf(here);
  const expanded = here.getAttribute("aria-expanded");
  const moves = {
    ArrowDown: () => visible[at + 1],
    ArrowUp: () => visible[at - 1],
    Home: () => visible[0],
    End: () => visible[visible.length - 1],
    ArrowRight: () => {
      if (expanded === "true") return here.querySelector("[role=treeitem]");
      if (expanded === "false") expand(here);
      return here;
    },
    ArrowLeft: () => {
      if (expanded === "true") collapse(here);
      else return here.parentElement.closest("[role=treeitem]");
      return here;
    },
  };
  if (event.key === "Enter" || event.key === " ") choose(here);
  else if (moves[event.key]) {
    const target = moves[event.key]();
    if (target) focus(target);
  } else return;
  event.preventDefault();
}

function choose(element) {
  const node = Number(element.dataset.node);
  const current = TREE.lines[byId("line").value];
  if (!current.nodes.includes(node)) byId("line").value = TREE.nodes[node].lines[0];
  show(TREE.lines[byId("line").value].nodes.indexOf(node) + 1);
}

// ---- samples

const PICTURES = DATA.previews;

function setUpViewer() {
  byId("left-out").textContent = PICTURES.left;
  fill(byId("line"), TREE.lines.map((line) => line.name));
  byId("line").addEventListener("input", () => show(Number(byId("generation").value)));
  byId("generation").addEventListener("input", () => show(Number(byId("generation").value)));
  byId("noise").addEventListener("input", showNoise);
  byId("samples").addEventListener("load", showNoise);
  byId("samples").addEventListener("click", chooseNoise);
  byId("real").addEventListener("load", () => enlarge(byId("real")));
  show(1);
}

const currentLine = () => TREE.lines[byId("line").value];

function show(generation) {
  const line = currentLine();
  const last = line.nodes.length;
  const slider = byId("generation");
  slider.max = last;
  slider.value = Math.min(generation, last);
  const i = line.nodes[slider.value - 1];
  const node = TREE.nodes[i];
  set(slider, { "aria-valuetext": `V${node.generation} of ${last}` });
  byId("generation-name").textContent = `V${node.generation}`;
  for (const each of byId("tree").querySelectorAll("[aria-selected=true]")) each.setAttribute("aria-selected", "false");
  byId("tree").querySelector(`[data-node="${i}"]`)?.setAttribute("aria-selected", "true");
  const facts = CURVES.metrics.slice(0, 1).map((m, k) => `${m.name} ${number(node.numbers[k])}`);
  if (node.images) facts.push(`trained on ${node.images.toLocaleString("en")} images`);
  const label = `V${node.generation} of ${line.name}`;
  const source = picture(PICTURES.nodes[i]);
  byId("viewer-status").textContent = `${label}: ${node.status}${node.reason ? ` (${node.reason})` : ""}.`;
  const image = byId("samples");
  byId("samples-caption").textContent = source
    ? [`Samples of V${node.generation}`, ...facts].join("; ")
    : `No samples of V${node.generation} here: ${absence(node)}.`;
  showImage(image, source, `Samples of ${label}. ${facts.join("; ")}`);
  byId("mark").hidden = !source;
  const real = picture(PICTURES.real[line.data]);
  showImage(byId("real"), real, "Real training images");
  byId("real-caption").textContent = real ? "Real training images" : "";
  showStrip();
}

function absence(node) {
  if (!["done", "unmeasured"].includes(node.status)) return `the model is ${node.status}`;
  return PICTURES.left ? "left out of this page" : "the results folder has none";
}

function showImage(image, source, alt) {
  image.hidden = !source;
  if (source) Object.assign(image, { src: source, alt });
  else image.removeAttribute("src");
}

// Whole multiples of the pixels, about 256 wide.
function enlarge(image) {
  const factor = Math.max(1, Math.round(256 / image.naturalWidth));
  image.width = image.naturalWidth * factor;
}

function grid(image) {
  const size = currentLine().size;
  return { size, columns: Math.max(1, Math.floor(image.naturalWidth / size)), rows: Math.max(1, Math.floor(image.naturalHeight / size)) };
}

function showNoise() {
  const image = byId("samples");
  enlarge(image);
  const { size, columns, rows } = grid(image);
  byId("noise").max = columns * rows;
  const n = Number(byId("noise").value) - 1;
  byId("noise-name").textContent = String(n + 1);
  const scale = image.width / image.naturalWidth;
  const side = size * scale;
  Object.assign(byId("mark").style, {
    left: `${(n % columns) * side}px`, top: `${Math.floor(n / columns) * side}px`, width: `${side}px`, height: `${side}px`,
  });
  showStrip();
}

function chooseNoise(event) {
  const { columns } = grid(event.target);
  const side = event.target.clientWidth / columns;
  byId("noise").value = 1 + Math.floor(event.offsetX / side) + columns * Math.floor(event.offsetY / side);
  showNoise();
}

function showStrip() {
  const line = currentLine();
  const n = Number(byId("noise").value) - 1;
  byId("strip").replaceChildren(...line.nodes.map((i, k) => {
    const node = TREE.nodes[i];
    const canvas = set(make("canvas", { width: line.size, height: line.size }),
      { role: "img", "aria-label": `Image ${n + 1} of V${node.generation}` });
    const source = picture(PICTURES.nodes[i]);
    if (source) {
      const image = new Image();
      image.onload = () => {
        const columns = Math.max(1, Math.floor(image.naturalWidth / line.size));
        const [x, y] = [(n % columns) * line.size, Math.floor(n / columns) * line.size];
        canvas.getContext("2d").drawImage(image, x, y, line.size, line.size, 0, 0, line.size, line.size);
      };
      image.src = source;
    }
    const figure = make("figure", {}, canvas, make("figcaption", { textContent: `V${node.generation}` }));
    figure.className = k + 1 === Number(byId("generation").value) ? "current" : "";
    return figure;
  }));
}

// ---- pools

function setUpPools() {
  const first = new Map();
  TREE.lines.forEach((line, i) => first.has(line.setting) || first.set(line.setting, i));
  byId("pool-line").replaceChildren(...[...first.values()].map((i) =>
    make("option", { value: i, textContent: TREE.lines[i].name })));
  byId("pool-line").addEventListener("input", drawPools);
  byId("pool-share").addEventListener("input", drawPools);
  drawPools();
}

const originName = (n) => (n === 0 ? "real images" : n < 0 ? "unknown" : `samples of V${n}`);

function drawPools() {
  const line = TREE.lines[byId("pool-line").value];
  const nodes = line.nodes.map((i) => TREE.nodes[i]).filter((node) => node.images);
  const origins = [...new Set(nodes.flatMap((node) => node.origins.map(([n]) => n)))].sort((a, b) => a - b);
  const share = byId("pool-share").checked;
  const count = (node, n) => node.origins.find(([m]) => m === n)?.[1] ?? 0;
  const x = nodes.map((node) => `D<sub>${node.generation}</sub>`);
  const traces = origins.map((n) => ({
    type: "bar", name: originName(n), x, y: nodes.map((node) => count(node, n) / (share ? node.images : 1)),
    marker: { color: n <= 0 ? style("--faint") : style(`--c${(n - 1) % NUM_COLOURS}`) },
    text: nodes.map((node) => `${originName(n)}: ${count(node, n)} of ${node.images}`), textposition: "none", hoverinfo: "text",
  }));
  draw(byId("pools-chart"), traces, {
    barmode: "stack", showlegend: true, xaxis: { title: { text: "pool D<sub>n</sub>, on which V<sub>n</sub> is trained" }, type: "category" },
    yaxis: { title: { text: share ? "share of images" : "images" }, tickformat: share ? ".0%" : "", rangemode: "tozero" },
  });
  const real = nodes.map((node) => `D${node.generation} ${number((100 * count(node, 0)) / node.images)}%`);
  byId("pools-chart").setAttribute("aria-label",
    `Stacked bars: origins of the images of each pool of ${line.name}. Real images: ${real.join(", ")}. All numbers are in the table below.`);
  tabulate(byId("pools-table"), `Images by origin, ${line.name}`, ["pool", "images", ...origins.map(originName)],
    () => nodes.map((node) => [`D${node.generation}`, String(node.images), ...origins.map((n) => String(count(node, n)))]));
}

// ----

function start() {
  setUpCurves();
  if (TREE.lines.length) {
    setUpTree();
    setUpViewer();
    setUpPools();
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    drawCurves();
    if (TREE.lines.length) drawPools();
  });
}

start();
