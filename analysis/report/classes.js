// The shares of classes by generation, beside those of the reference.

const SHARES = DATA.shares;
const LINE = 18; // smallest height of a class in pixels

function setUpClasses() {
  const measured = TREE.lines.map((line, i) => i).filter((i) => TREE.lines[i].nodes.some(hasShares));
  if (!measured.length) return;
  reveal("classes");
  byId("class-line").replaceChildren(...measured.map((i) =>
    make("option", { value: i, textContent: TREE.lines[i].name })));
  fill(byId("class-probe"), SHARES.probes.map((probe) => probe.name));
  byId("class-probe").parentElement.hidden = SHARES.probes.length < 2;
  for (const name of ["class-line", "class-probe"]) byId(name).addEventListener("input", drawClasses);
  drawClasses();
}

const hasShares = (i) => SHARES.probes.some((probe) => i in probe.nodes);

function drawClasses() {
  const line = TREE.lines[byId("class-line").value];
  const probe = SHARES.probes[byId("class-probe").value];
  const nodes = line.nodes.filter((i) => i in probe.nodes);
  const reference = SHARES.reference[line.data];
  const columns = [
    ...(reference ? [{ name: "reference", label: "reference", shares: reference }] : []),
    ...nodes.map((i) => ({ name: `V${TREE.nodes[i].generation}`, label: `V<sub>${TREE.nodes[i].generation}</sub>`, shares: probe.nodes[i] })),
  ];
  const percent = (share) => (share === null || share === undefined ? "-" : `${number(100 * share)}%`);
  const names = SHARES.classes;
  const chart = byId("classes-chart");
  const shares = names.map((_, k) => columns.map((column) => column.shares[k] ?? null));
  const trace = {
    type: "heatmap", x: columns.map((column) => column.label), y: names.map(plain),
    z: shares, zmin: 0, zmax: Math.max(...shares.flat(), Number.MIN_VALUE),
    hovertext: names.map((name, k) => columns.map((column) => plain(`${column.name}, ${name}: ${percent(column.shares[k])}`))),
    text: shares.map((row) => row.map(percent)), texttemplate: chart.clientWidth < 700 ? "" : "%{text}",
    hoverinfo: "text", xgap: 2, ygap: 2,
    colorscale: [[0, style("--c0") + "00"], [1, style("--c0") + "8c"]], textfont: { color: style("--ink") },
    colorbar: { tickformat: ".0%", outlinewidth: 0, thickness: 14 },
  };
  draw(chart, [trace], {
    xaxis: { type: "category", showgrid: false },
    yaxis: { type: "category", showgrid: false, autorange: "reversed", automargin: true, title: { text: "class" } },
  }, Math.max(HEIGHT, 100 + LINE * names.length));
  const last = columns[columns.length - 1];
  const ends = names.slice(0, 8).map((name, k) =>
    `${name} ${percent(last.shares[k])}${reference ? ` (reference ${percent(reference[k])})` : ""}`);
  chart.setAttribute("aria-label",
    `Heat map of class shares of ${line.name}. ${last.name}: ${ends.join(", ")}. All numbers are in the table below.`);
  tabulate(byId("classes-table"), `Class shares, ${line.name}`, ["class", ...columns.map((column) => column.name)],
    () => names.map((name, k) => [name, ...columns.map((column) => percent(column.shares[k]))]));
}
