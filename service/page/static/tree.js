// Labels of a hierarchy as nested lists. Branches open and close by click, Enter and the arrow keys.

import { element } from "./dom.js";

const SEPARATOR = " > ";
const parentOf = (path) => path.split(SEPARATOR).slice(0, -1).join(SEPARATOR);
const ownName = (path) => path.split(SEPARATOR).at(-1);
export const isPath = (name) => name.includes(SEPARATOR);
const withAbove = (path) => (path ? [...withAbove(parentOf(path)), path] : []);

// The labels that are answered: of a hierarchy, the leaves down to its level, or all labels down to it.
export function answersOf({ labels, level, leaves_only: leavesOnly }) {
  const shown = labelsDownTo(level, labels);
  if (leavesOnly !== true) return shown;
  const parents = new Set(labels.filter(({ name }) => depth(name) <= (level ?? Infinity)).map(({ name }) => parentOf(name)));
  return shown.filter(({ name }) => !parents.has(name));
}

const depth = (path) => path.split(SEPARATOR).length;

function labelsDownTo(level, labels) {
  const out = new Set(labels.filter((label) => !label.predict).map(({ name }) => name));
  return labels.filter(({ name }) => depth(name) <= (level ?? Infinity) && !withAbove(name).some((path) => out.has(path)));
}

// Labels whose names are paths, as labels with parents; those above that are no line of their own are added.
export function nested(labels) {
  const found = new Map();
  for (const label of labels) {
    const { name, ...more } = typeof label === "string" ? { name: label } : label;
    for (const path of withAbove(name)) found.set(path, { ...found.get(path), ...(path === name && more) });
  }
  return [...found].map(([path, more]) => ({ name: ownName(path), ...(isPath(path) && { parent: parentOf(path) }), ...more }));
}

// The items of the list at the top. Branches with one of the `chosen` paths are open, and these paths are highlighted.
// `more` makes what follows a label.
export function treeItems(paths, chosen, more = () => []) {
  const children = new Map();
  for (const path of new Set(paths.flatMap(withAbove))) {
    const above = parentOf(path);
    children.set(above, [...(children.get(above) ?? []), path]);
  }
  const lit = new Set(chosen.flatMap(withAbove));
  const items = (above) => children.get(above).map((path) => item(path));
  const item = (path) => {
    const below = children.get(path);
    const marks = { class: lit.has(path) ? "line predicted" : "line" };
    const count = below ? element("span", { class: "muted small" }, ` ${below.length}`) : null;
    const line = [element("span", { class: "tree-name" }, ownName(path), count), ...more(path)];
    if (!below) return element("li", {}, element("div", marks, ...line));
    const branch = element("details", { open: lit.has(path) ? "" : null }, element("summary", marks, ...line));
    branch.append(element("ul", {}, ...items(path)));
    return element("li", {}, branch);
  };
  return children.size ? items("") : [];
}

// Right opens a branch, Left closes it or goes to the one above, Up and Down go to the next branch that is visible.
export function followArrows(list) {
  list.addEventListener("keydown", (event) => {
    const summary = event.target.closest("summary");
    const branch = summary?.parentElement;
    const visible = [...list.querySelectorAll("summary")].filter((one) => !one.closest("ul").closest("details:not([open])"));
    const place = visible.indexOf(summary);
    if (place < 0) return;
    if (event.key === "ArrowRight") branch.open = true;
    else if (event.key === "ArrowLeft" && branch.open) branch.open = false;
    else if (event.key === "ArrowLeft") branch.parentElement.closest("details")?.querySelector("summary").focus();
    else if (event.key === "ArrowDown") visible[place + 1]?.focus();
    else if (event.key === "ArrowUp") visible[place - 1]?.focus();
    else return;
    event.preventDefault();
  });
}
