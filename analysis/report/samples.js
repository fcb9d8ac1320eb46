// The samples of a model, and one noise through the generations.

const PICTURES = DATA.previews;
const GAP = 3; // pixels between images of a sheet

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
  byId("samples").addEventListener("click", chooseNoise);
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
  byId("samples-caption").textContent = source
    ? [`Samples of V${node.generation}`, ...facts].join("; ")
    : `No samples of V${node.generation} here: ${absence(node)}.`;
  showSheet(byId("samples"), source, `Samples of ${label}. ${facts.join("; ")}`).then(showNoise);
  byId("mark").hidden = !source;
  const real = picture(PICTURES.real[line.data]);
  showSheet(byId("real"), real, "Real training images");
  byId("real-caption").textContent = real ? "Real training images" : "";
  showNoise();
}

function absence(node) {
  if (!["done", "unmeasured"].includes(node.status)) return `the model is ${node.status}`;
  return PICTURES.left ? "left out of this page" : "the results folder has none";
}

// Draws a sheet's images with gaps, in whole multiples of their pixels, about 256 wide.
const shown = new Map(); // canvas -> its source and layout
async function showSheet(canvas, source, name) {
  canvas.hidden = !source;
  shown.set(canvas, { source });
  set(canvas, { "aria-label": name });
  if (!source) return;
  const size = currentLine().size;
  const image = await decode(source);
  if (shown.get(canvas).source !== source) return; // another one was chosen meanwhile
  const [columns, rows] = [image.naturalWidth, image.naturalHeight].map((pixels) => Math.max(1, Math.floor(pixels / size)));
  const side = size * Math.max(1, Math.round(256 / image.naturalWidth));
  Object.assign(canvas, { width: columns * (side + GAP) - GAP, height: rows * (side + GAP) - GAP });
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  for (let i = 0; i < columns * rows; i++) {
    const [column, row] = [i % columns, Math.floor(i / columns)];
    context.drawImage(image, column * size, row * size, size, size, column * (side + GAP), row * (side + GAP), side, side);
  }
  shown.set(canvas, { source, columns, rows, side });
}

async function decode(source) {
  const image = Object.assign(new Image(), { src: source });
  await image.decode();
  return image;
}

function showNoise() {
  const canvas = byId("samples");
  const { columns, rows, side } = shown.get(canvas) ?? {};
  if (columns) {
    byId("noise").max = columns * rows;
    const n = Number(byId("noise").value) - 1;
    const share = (pixels, whole) => `${(100 * pixels) / whole}%`;
    Object.assign(byId("mark").style, {
      left: share((n % columns) * (side + GAP), canvas.width), width: share(side, canvas.width),
      top: share(Math.floor(n / columns) * (side + GAP), canvas.height), height: share(side, canvas.height),
    });
  }
  byId("noise-name").textContent = byId("noise").value;
  showStrip();
}

function chooseNoise(event) {
  const { columns, side } = shown.get(event.target);
  const scale = event.target.width / event.target.clientWidth;
  const [column, row] = [event.offsetX, event.offsetY].map((at) => Math.floor((at * scale) / (side + GAP)));
  byId("noise").value = 1 + Math.min(column, columns - 1) + columns * row;
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
      decode(source).then((image) => {
        const columns = Math.max(1, Math.floor(image.naturalWidth / line.size));
        const [x, y] = [(n % columns) * line.size, Math.floor(n / columns) * line.size];
        canvas.getContext("2d").drawImage(image, x, y, line.size, line.size, 0, 0, line.size, line.size);
      });
    }
    const figure = make("figure", {}, canvas, make("figcaption", { textContent: `V${node.generation}` }));
    figure.className = k + 1 === Number(byId("generation").value) ? "current" : "";
    return figure;
  }));
}
