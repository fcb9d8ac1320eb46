"use strict";
// What all parts of the page are made with. Text from the results only ever becomes text
// (textContent), or text that Plotly does not take for markup (plain).

const DATA = JSON.parse(document.getElementById("data").textContent);
const NUM_COLOURS = 6;
const DASHES = ["solid", "dash", "dot", "dashdot"];
const SYMBOLS = ["circle", "square", "triangle-up", "diamond", "x", "star", "cross"];
const [HEIGHT, ROW, MOST_ROWS] = [430, 22, 8]; // of charts and of legends below them, in pixels
const [LETTER, KEY] = [7.5, 50]; // widths in legends, in pixels

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

function reveal(section) {
  byId(section).hidden = false;
  document.querySelector(`nav a[href='#${section}']`).hidden = false;
}

// Draw what takes seconds only once it is near the window.
function drawWhenSeen(section, redraw) {
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    redraw();
  }, { rootMargin: "500px" });
  observer.observe(byId(section));
}

function draw(chart, traces, layout, height = HEIGHT) {
  const axis = { gridcolor: style("--grid"), zerolinecolor: style("--line"), linecolor: style("--line") };
  const names = layout.showlegend ? traces.filter((t) => t.showlegend !== false).map((t) => t.name.replace(/<[^>]*>/g, "")) : [];
  const entry = KEY + LETTER * Math.max(0, ...names.map((name) => name.length));
  const narrow = chart.clientWidth < 700 || entry > chart.clientWidth / 3; // the legend is below
  const rows = narrow ? Math.min(MOST_ROWS, Math.ceil(names.length / Math.max(1, Math.floor(chart.clientWidth / entry)))) : 0;
  const room = rows ? rows * ROW + 12 : 0;
  chart.style.height = `${height + room}px`;
  const below = { orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0, maxheight: room, tracegroupgap: 0 };
  const whole = {
    paper_bgcolor: style("--paper"),
    plot_bgcolor: style("--paper"),
    font: { color: style("--ink"), family: getComputedStyle(document.body).fontFamily, size: 13 },
    margin: { l: 60, r: 15, t: layout.annotations ? 60 : 40, b: 55 + room },
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
