// The tree of models, as https://www.w3.org/WAI/ARIA/apg/patterns/treeview/ describes one.

const TREE = DATA.tree;
const OPEN_NODES = 400; // a tree of as many models is shown open
const CHILDREN = TREE.nodes.map(() => []);
const ROOTS = [];
TREE.nodes.forEach((node, i) => (node.parent === null ? ROOTS : CHILDREN[node.parent]).push(i));

function setUpTree() {
  fill(byId("tree-metric"), CURVES.metrics.map((metric) => metric.name));
  byId("tree-metric").addEventListener("input", drawTree);
  const tree = byId("tree");
  tree.addEventListener("click", (event) => {
    const item = event.target.closest("[role=treeitem]");
    if (!item) return;
    if (event.target.closest(".toggle") && item.hasAttribute("aria-expanded")) toggle(item);
    focus(item);
    choose(item);
  });
  tree.addEventListener("keydown", moveInTree);
  drawTree();
}

function drawTree() {
  const selected = byId("tree").querySelector("[aria-selected=true]")?.dataset.node;
  prepareShades();
  byId("tree").replaceChildren(...ROOTS.map((i) => item(i, 1)));
  if (TREE.nodes.length <= OPEN_NODES) {
    for (const each of [...byId("tree").querySelectorAll("[aria-expanded]")]) expand(each, true);
  }
  byId("tree").querySelector("[role=treeitem]")?.setAttribute("tabindex", "0");
  if (selected !== undefined) byId("tree").querySelector(`[data-node="${selected}"]`)?.setAttribute("aria-selected", "true");
}

function item(i, level) {
  const node = TREE.nodes[i];
  const value = node.numbers[byId("tree-metric").value] ?? null;
  const name = CURVES.metrics[byId("tree-metric").value]?.name ?? "";
  const swatch = make("span", { className: "swatch" });
  if (value !== null) swatch.style.background = shades(value);
  const toggleMark = make("span", { className: "toggle", textContent: CHILDREN[i].length ? "\u25b8" : "" });
  set(toggleMark, { "aria-hidden": "true" });
  const state = node.status === "done" ? number(value) : node.status;
  const made = make("li", {}, make("div", { className: "row" }, toggleMark, swatch,
    make("strong", { textContent: `V${node.generation}` }),
    make("span", { className: "label", textContent: node.name }),
    make("span", { className: "number", textContent: state })));
  set(made, {
    role: "treeitem", tabindex: -1, "aria-level": level, "aria-selected": false, "data-node": i,
    "aria-label": [`V${node.generation}`, node.name, node.status === "done" ? `${name} ${number(value)}` : node.status]
      .filter(Boolean).join(", "),
  });
  if (CHILDREN[i].length) made.setAttribute("aria-expanded", "false");
  return made;
}

let shades = () => "";
function prepareShades() {
  const values = TREE.nodes.map((node) => node.numbers[byId("tree-metric").value] ?? null).filter((x) => x !== null);
  const low = values.reduce((a, b) => Math.min(a, b), Infinity);
  const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  shades = (value) => {
    const share = high > low ? (value - low) / (high - low) : 0;
    return `color-mix(in srgb, var(--c1) ${Math.round(100 * share)}%, var(--c0))`;
  };
}

function expand(element, deep = false) {
  const children = CHILDREN[element.dataset.node];
  const level = Number(element.getAttribute("aria-level")) + 1;
  if (!element.querySelector(":scope > ul")) {
    element.append(set(make("ul", {}, ...children.map((i) => item(i, level))), { role: "group" }));
  }
  element.querySelector(":scope > ul").hidden = false;
  element.setAttribute("aria-expanded", "true");
  element.querySelector(".toggle").textContent = "\u25be";
  if (deep) for (const each of element.querySelectorAll(":scope > ul > [aria-expanded]")) expand(each, true);
}

function collapse(element) {
  element.querySelector(":scope > ul").hidden = true;
  element.setAttribute("aria-expanded", "false");
  element.querySelector(".toggle").textContent = "\u25b8";
}

function toggle(element) {
  if (element.getAttribute("aria-expanded") === "true") collapse(element);
  else expand(element);
}

function focus(element) {
  for (const each of byId("tree").querySelectorAll("[tabindex='0']")) each.tabIndex = -1;
  element.tabIndex = 0;
  element.focus();
}

function moveInTree(event) {
  const here = event.target.closest("[role=treeitem]");
  const visible = [...byId("tree").querySelectorAll("[role=treeitem]")].filter((x) => !x.closest("ul[hidden]"));
  const at = visible.indexOf(here);
  const expanded = here.getAttribute("aria-expanded");
  const moves = {
    ArrowDown: () => visible[at + 1],
    ArrowUp: () => visible[at - 1],
    Home: () => visible[0],
    End: () => visible[visible.length - 1],
    ArrowRight: () => {
      if (expanded === "true") return here.querySelector("[role=treeitem]");
      if (expanded === "false") expand(here);
      return here;
    },
    ArrowLeft: () => {
      if (expanded === "true") collapse(here);
      else return here.parentElement.closest("[role=treeitem]");
      return here;
    },
  };
  if (event.key === "Enter" || event.key === " ") choose(here);
  else if (moves[event.key]) {
    const target = moves[event.key]();
    if (target) focus(target);
  } else return;
  event.preventDefault();
}

function choose(element) {
  const node = Number(element.dataset.node);
  const current = TREE.lines[byId("line").value];
  if (!current.nodes.includes(node)) byId("line").value = TREE.nodes[node].lines[0];
  show(TREE.lines[byId("line").value].nodes.indexOf(node) + 1);
}
