// Fills in the page.

function start() {
  setUpCurves();
  setUpPaths();
  setUpGains();
  drawLedger();
  if (TREE.lines.length) {
    setUpTree();
    setUpViewer();
    setUpPools();
    setUpClasses();
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    drawCurves();
    if (!byId("paths").hidden) drawPaths();
    if (!byId("gains").hidden) drawGains();
    drawLedger();
    if (TREE.lines.length) drawPools();
    if (!byId("classes").hidden) drawClasses();
  });
}

start();
