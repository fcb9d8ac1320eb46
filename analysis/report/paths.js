// One metric against another: a line for each setting, a point for each generation.

const MANY = 200; // settings

function setUpPaths() {
  if (CURVES.metrics.length < 2) return;
  reveal("paths");
  const names = CURVES.metrics.map((metric) => metric.name);
  ["path-x", "path-y"].forEach((name, k) => {
    fill(byId(name), names);
    byId(name).value = CURVES.path[k];
  });
  setUpFilter(byId("path-axes"), drawPaths);
  byId("path-filter").addEventListener("input", drawPaths);
  byId("path-filter").addEventListener("submit", (event) => event.preventDefault());
  if (CURVES.settings.length > MANY) drawWhenSeen("paths", drawPaths);
  else drawPaths();
}

// The generations of a setting that have both numbers.
function pathPoints(setting, metrics) {
  const [x, y] = metrics.map((metric) => metric.lines[setting.i]);
  return x.generations.map((generation, k) => ({
    generation, x: x.mean[k], y: y.mean[k], halfX: x.half[k], halfY: y.half[k], nX: x.n[k], nY: y.n[k],
  })).filter((point) => point.x !== null && point.y !== null);
}

const wrapped = (text, letters) =>
  plain(text.replace(new RegExp(`(.{1,${Math.floor(letters)}})( |$)`, "g"), "$1\n").trim()).replace(/\n/g, "<br>");

const withHalf = (mean, half) => number(mean) + (half === null ? "" : ` \u00b1 ${number(half)}`);

function pathTrace(setting, points, metrics) {
  const { colour, dash, symbol } = look(setting.i);
  const last = points.length - 1;
  const bar = (half) => ({
    array: points.map((point, k) => (k === last ? half(point) ?? 0 : 0)), color: colour, thickness: 1.2, width: 0,
  });
  return {
    x: points.map((point) => point.x), y: points.map((point) => point.y), name: plain(setting.name),
    text: points.map((point) => plain(`${setting.name}, V${point.generation}: `) + "<br>" + plain(
      `${metrics[0].name} ${withHalf(point.x, point.halfX)} (${point.nX})`) + "<br>" + plain(
      `${metrics[1].name} ${withHalf(point.y, point.halfY)} (${point.nY})`)),
    hoverinfo: "text", mode: "lines+markers", line: { color: colour, dash },
    marker: { symbol: points.map((point, k) => (k === 0 ? `${symbol}-open` : symbol)), size: 8, color: colour, line: { width: 1.5, color: colour } },
    error_x: bar((point) => point.halfX), error_y: bar((point) => point.halfY),
  };
}

function drawPaths() {
  const metrics = ["path-x", "path-y"].map((name) => CURVES.metrics[byId(name).value]);
  const shown = shownSettings(byId("path-axes"));
  const settings = shown.map((setting) => ({ ...setting, points: pathPoints(setting, metrics) }))
    .filter((setting) => setting.points.length);
  const chart = byId("paths-chart");
  const [x, y] = [chart.clientWidth, HEIGHT].map((pixels, k) =>
    ({ title: { text: wrapped(metrics[k].name, pixels / LETTER - 10) }, automargin: true, zeroline: false }));
  draw(chart, settings.map((setting) => pathTrace(setting, setting.points, metrics)),
    { showlegend: settings.length > 0, xaxis: x, yaxis: y });
  const percent = `${number(100 * CURVES.confidence)}%`;
  const hasBars = settings.some(({ points }) => [points.at(-1).halfX, points.at(-1).halfY].some((half) => half !== null));
  const sizes = [...new Set(metrics.map((metric) => metric.images).filter(Boolean))].map((text) => `${text}.`);
  byId("paths-note").textContent = [...sizes, "The first generation is open.",
    hasBars && `Bars at the last one: ${percent} t intervals over seeds.`, describeDiverged(metrics[1], settings)].filter(Boolean).join(" ");
  byId("paths-status").textContent = `${settings.length} of ${CURVES.settings.length} settings shown.` +
    (settings.length < shown.length ? ` ${shown.length - settings.length} have no generation with both metrics.` : "");
  const ends = settings.slice(0, 8).map(({ name, points }) => {
    const [a, b] = [points[0], points[points.length - 1]];
    return `${name}: ${number(a.x)}, ${number(a.y)} at V${a.generation}; ${number(b.x)}, ${number(b.y)} at V${b.generation}`;
  });
  const title = `${metrics[1].name} against ${metrics[0].name}`;
  chart.setAttribute("aria-label",
    `Paths of ${title} through the generations. ${ends.join(". ")}. All numbers are in the table below.`);
  const half = `half-width of the ${percent} interval`;
  tabulate(byId("paths-table"), title, ["setting", "generation", metrics[0].name, half, "n", metrics[1].name, half, "n"],
    () => settings.flatMap(({ name, points }) => points.map((point) => [name, `V${point.generation}`,
      number(point.x), number(point.halfX), String(point.nX), number(point.y), number(point.halfY), String(point.nY)])));
}
