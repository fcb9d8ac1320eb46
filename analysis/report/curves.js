// The curves of a metric by generation, and their filter.

const CURVES = DATA.curves;
const MOST_BANDS = 3; // more intervals are error bars
const MEAN = 0;
const EACH = 1;

function setUpCurves() {
  fill(byId("metric"), CURVES.metrics.map((metric) => metric.name));
  const mean = CURVES.units.length > 1 ? "mean over seeds" : "the only seed";
  fill(byId("seeds"), [mean, "every seed", ...CURVES.units]);
  setUpFilter(byId("axes"), drawCurves);
  byId("filter").addEventListener("input", drawCurves);
  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  drawCurves();
}

// Boxes for the values of each axis, of which the settings that are shown have those ticked.
function setUpFilter(container, redraw) {
  container.replaceChildren(...CURVES.axes.map((axis, position) => axisFilter(axis, position, redraw)));
}

function axisFilter(axis, position, redraw) {
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
    redraw();
  });
  return make("fieldset", {}, make("legend", { textContent: axis.name }),
    make("div", { className: "values" }, ...boxes), ...(boxes.length > 2 ? [button] : []));
}

function shownSettings(container) {
  const off = new Set([...container.querySelectorAll("input:not(:checked)")]
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
  const settings = shownSettings(byId("axes"));
  const band = settings.length <= MOST_BANDS;
  const traces = settings.flatMap((setting) => {
    const line = metric.lines[setting.i];
    return units.length ? seedTraces(setting, line, units) : meanTraces(setting, line, band);
  });
  const generations = [...new Set(metric.lines.flatMap((line) => line.generations))].sort((a, b) => a - b);
  const isLog = byId("log").checked;
  traces.push(...metric.floors.filter((value) => value > 0 || !isLog).map((value, k) => ({
    x: [generations[0], generations[generations.length - 1]], y: [value, value], mode: "lines",
    name: "real images", text: `real images: ${number(value)}`, hoverinfo: "text", legendgroup: "floor",
    showlegend: k === 0, line: { dash: "dot", color: "#808080", width: 1.5 },
  })));
  draw(chart, traces, {
    showlegend: settings.length > 0,
    xaxis: { title: { text: "generation" }, tickvals: generations, ticktext: generations.map((n) => `V<sub>${n}</sub>`) },
    yaxis: { title: { text: plain(metric.name) }, type: isLog ? "log" : "linear", automargin: true },
  });
  describeCurves(metric, settings, units);
}

function describeDiverged(metric, settings) {
  const diverged = settings.map((s) => [s.name, Math.max(0, ...metric.lines[s.i].diverged)]).filter(([, n]) => n);
  return diverged.length && `Diverged lineages, which are in no mean: ${diverged.map(([name, n]) => `${n} of ${name}`).join("; ")}.`;
}

function describeCurves(metric, settings, units) {
  const worse = { 1: "Higher is worse.", "-1": "Lower is worse.", 0: "" }[metric.worse];
  const percent = `${number(100 * CURVES.confidence)}%`;
  const hasErrors = units.length === 1 && settings.some((s) => metric.lines[s.i].seeds[units[0]]?.errors);
  const bars = units.length
    ? hasErrors ? "Bars: one standard error over images, which says nothing about other seeds." : "Single seeds have no intervals."
    : `${settings.length <= MOST_BANDS ? "Bands" : "Bars"}: ${percent} t intervals over seeds.`;
  const lost = describeDiverged(metric, settings);
  byId("curves-note").textContent = [metric.images && `${metric.images}.`, metric.floor && `Dotted: ${metric.floor}.`, bars, worse, lost].filter(Boolean).join(" ");
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
