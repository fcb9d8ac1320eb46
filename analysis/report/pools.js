// Where the images of each pool come from.

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
