// The terms of the error ledger as bars, a group for each generation.

const PATTERNS = ["", "/", "x", "."];
const LEDGER_HEIGHT = 320;

function drawLedger() {
  DATA.ledger.forEach((ledger, position) => {
    const total = ledger.terms.length - 1;
    const traces = ledger.terms.map((term, k) => ({
      type: "bar", name: plain(term.name), x: ledger.generations.map((n) => `V<sub>${n}</sub>`), y: term.mean,
      marker: {
        color: k === total ? style("--ink") : style(`--c${k % NUM_COLOURS}`),
        pattern: { shape: k === total ? "" : PATTERNS[Math.floor(k / NUM_COLOURS) % PATTERNS.length] },
      },
      error_y: { array: term.half.map((half) => half ?? 0), color: style("--faint"), thickness: 1.4, width: 0 },
      text: ledger.generations.map((n, i) => plain(`${term.name}, V${n}: ${withHalf(term.mean[i], term.half[i])} (${term.n[i]})`)),
      textposition: "none", hoverinfo: "text",
    }));
    const chart = byId(`ledger-${position}`);
    draw(chart, traces, {
      barmode: "group", showlegend: true, title: { text: plain(ledger.name), font: { size: 14 }, x: 0.02 },
      xaxis: { type: "category", showgrid: false }, yaxis: { title: { text: "difference from real images" }, automargin: true },
    }, LEDGER_HEIGHT);
    const ends = ledger.terms.map((term) =>
      `${term.name} ${ledger.generations.map((n, i) => `${number(term.mean[i])} at V${n}`).join(", ")}`);
    chart.setAttribute("aria-label", `Bars of the error ledger of ${ledger.name}. ${ends.join("; ")}. All numbers are in the table below.`);
  });
}
