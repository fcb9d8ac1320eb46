// Fills in the page.

function start() {
  setUpCurves();
  if (TREE.lines.length) {
    setUpTree();
    setUpViewer();
    setUpPools();
    setUpClasses();
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    drawCurves();
    if (TREE.lines.length) drawPools();
    if (!byId("classes").hidden) drawClasses();
  });
}

start();
