// The variance gain by principal direction: a line for each generation of one setting.

const GAINS = DATA.gains;
const BANDS = ["head", "middle", "tail"];
const ROOM = 1.15; // above and below the numbers

function setUpGains() {
  if (!GAINS.columns.length) return;
  reveal("gains");
  fill(byId("gain-column"), GAINS.columns.map((column) => column.images || column.name));
  byId("gain-column").parentElement.hidden = GAINS.columns.length < 2;
  byId("gain-column").addEventListener("input", () => {
    fillSettings();
    drawGains();
  });
  byId("gain-setting").addEventListener("input", drawGains);
  fillSettings();
  drawGains();
}

const currentGains = () => GAINS.columns[byId("gain-column").value];

function fillSettings() {
  fill(byId("gain-setting"), currentGains().settings.map((setting) => setting.name));
}

// Early to late generations have the colours of a scale; their order is also that of the symbols.
function lookOfGeneration(n, last) {
  const stops = [0, 1, 2, 3].map((k) => style(`--early${k}`));
  const at = (last > 1 ? (n - 1) / (last - 1) : 0) * (stops.length - 1);
  const k = Math.min(Math.floor(at), stops.length - 2);
  const parts = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  const [from, to] = [parts(stops[k]), parts(stops[k + 1])];
  const mixed = from.map((x, i) => Math.round(x + (at - k) * (to[i] - x)));
  return { colour: `rgb(${mixed.join(", ")})`, symbol: SYMBOLS[(n - 1) % SYMBOLS.length] };
}

const fade = (colour) => colour.replace("rgb(", "rgba(").replace(")", ", 0.18)");
const steps = (low, high) => Array.from({ length: 40 }, (_, k) => [1, 2, 5].map((x) => Number(`${x}e${k - 20}`))).flat()
  .filter((x) => x >= low && x <= high); // of a logarithmic axis
const positive = (values) => values.map((value) => (value > 0 ? value : null)); // for a logarithmic axis

function gainTraces(setting, directions, last) {
  return setting.generations.flatMap((line, place) => {
    const { colour, symbol } = lookOfGeneration(line.generation, last);
    const text = directions.map((d, k) =>
      `V${line.generation}, direction ${d}: ${withHalf(line.mean[k], line.half[k])}` +
      (line.said ? `<br>forecast: ${number(line.said[k])}` : ""));
    const group = { legendgroup: line.generation, mode: "lines" };
    const measured = {
      ...group, x: directions, y: positive(line.mean), text, hoverinfo: "text", name: `V<sub>${line.generation}</sub>`,
      mode: "lines+markers", line: { color: colour }, marker: { symbol, color: colour, size: 7, maxdisplayed: 10 },
    };
    const forecast = line.said && {
      ...group, x: directions, y: positive(line.said), hoverinfo: "skip", showlegend: false,
      line: { color: colour, dash: "dash", width: 1.4 },
    };
    const known = directions.map((d, k) => k).filter((k) => line.half[k] !== null && line.mean[k] > 0);
    const edge = (y) => ({
      ...group, x: known.map((k) => directions[k]), y: known.map(y), hoverinfo: "skip", showlegend: false,
      line: { width: 0, color: colour },
    });
    const isLast = place === setting.generations.length - 1;
    const band = isLast && known.length
      ? [edge((k) => Math.max(line.mean[k] - line.half[k], line.mean[k] / 10)),
        { ...edge((k) => line.mean[k] + line.half[k]), fill: "tonexty", fillcolor: fade(colour) }]
      : [];
    return [...band, ...(forecast ? [forecast] : []), measured];
  });
}

// Where the head, the middle and the tail are, as far as their ends are known.
function bandsOf(setting, count) {
  const edges = [0.5, ...setting.ends, ...(setting.ends.length === 2 ? [count + 0.5] : [])];
  return BANDS.map((name, k) => ({ name, from: edges[k], to: edges[k + 1] })).filter(({ from, to }) => to > from);
}

function drawGains() {
  const { settings, source, images } = currentGains();
  const setting = settings[byId("gain-setting").value];
  const directions = setting.train.map((x, k) => k + 1);
  const last = Math.max(...settings.flatMap((each) => each.generations.map((line) => line.generation)));
  const numbers = settings.flatMap((each) => [...each.train, ...each.generations.flatMap((line) => [...line.mean, ...(line.said ?? [])])])
    .filter((value) => value > 0);
  const [low, high] = [Math.min, Math.max].map((limit) => numbers.reduce((a, b) => limit(a, b), 1));
  const faint = style("--faint");
  const training = {
    x: directions, y: positive(setting.train), mode: "lines", name: "training images", line: { color: faint, dash: "dot", width: 2 },
    text: directions.map((d, k) => `training images, direction ${d}: ${number(setting.train[k])}`), hoverinfo: "text",
  };
  const line = { type: "line", layer: "below", line: { color: faint, width: 1 } };
  const bands = bandsOf(setting, directions.length);
  const forecast = { x: [null], y: [null], mode: "lines", name: "forecast", line: { color: style("--ink"), dash: "dash", width: 1.4 } };
  const hasForecast = setting.generations.some((each) => each.said);
  const ticks = (values) => ({ tickvals: values, ticktext: values.map(number) });
  draw(byId("gains-chart"), [...gainTraces(setting, directions, last), ...(hasForecast ? [forecast] : []), training], {
    showlegend: true,
    xaxis: { title: { text: "principal direction" }, type: "log", range: [0.9, directions.length * 1.1].map(Math.log10), showgrid: false, ...ticks(steps(1, directions.length)) },
    yaxis: { title: { text: "variance gain" }, type: "log", range: [low / ROOM, high * ROOM].map(Math.log10), automargin: true, ...ticks(steps(low / ROOM, high * ROOM)) },
    shapes: [
      { ...line, xref: "paper", x0: 0, x1: 1, y0: 1, y1: 1 },
      ...bands.slice(1).map(({ from }) => ({ ...line, x0: from, x1: from, yref: "paper", y0: 0, y1: 1 })),
    ],
    annotations: bands.map(({ name, from, to }) => ({
      text: name, showarrow: false, font: { color: faint }, yref: "paper", y: 1, yanchor: "bottom",
      x: (Math.log10(Math.max(from, 0.9)) + Math.log10(to)) / 2,
    })),
  });
  byId("gains-status").textContent = [`${setting.name}.`, GAINS.left].filter(Boolean).join(" ");
  const final = setting.generations[setting.generations.length - 1];
  const isCutOff = final.mean.some((mean, k) => mean + final.half[k] > high * ROOM || (mean > 0 && mean - final.half[k] < low / ROOM));
  describeGains(setting, directions, { source, images, bands, hasForecast, final, isCutOff });
}

function describeGains(setting, directions, { source, images, bands, hasForecast, final, isCutOff }) {
  byId("gains-note").textContent = [
    images && `${images}.`, source && `Band of V${final.generation}: ${source}.`, source && isCutOff && "A part of it is outside of the axis.",
    hasForecast && "Dashed: forecast, without training.", "Dotted: training images.",
    "Vertical lines: the ends of the head and of the middle. All settings have the same vertical axis.",
  ].filter(Boolean).join(" ");
  const ends = setting.generations.map((line) => {
    const known = directions.filter((d, k) => line.mean[k] !== null);
    const at = (d) => `${number(line.mean[d - 1])} in direction ${d}`;
    return known.length ? `V${line.generation}: ${at(known[0])}, ${at(known[known.length - 1])}` : `V${line.generation}: no numbers`;
  });
  byId("gains-chart").setAttribute("aria-label",
    `Line chart of the variance gain by principal direction, ${setting.name}. ${ends.join("; ")}. All numbers are in the table below.`);
  const nameOf = (d) => bands.find(({ from, to }) => from < d && d < to)?.name ?? "-";
  const header = ["direction", "part", "training images", ...setting.generations.flatMap((line) =>
    [`V${line.generation}`, ...(line.said ? [`forecast of V${line.generation}`] : [])])];
  tabulate(byId("gains-table"), `Variance gain, ${setting.name}`, header, () => directions.map((d, k) =>
    [String(d), nameOf(d), number(setting.train[k]), ...setting.generations.flatMap((line) =>
      [withHalf(line.mean[k], line.half[k]), ...(line.said ? [number(line.said[k])] : [])])]));
}
