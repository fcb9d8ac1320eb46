// The samples of a model, and one noise through the generations.

const PICTURES = DATA.previews;

let sheets = null; // split when the first picture is shown
function picture(position) {
  if (position === undefined) return null;
  sheets ??= byId("previews").textContent.split("\n");
  return `data:image/png;base64,${sheets[position]}`;
}

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
