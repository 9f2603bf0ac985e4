// The choice of taxonomies: one or several of the service, and custom labels.

import { request } from "./api.js";
import { $, element } from "./dom.js";
import { labelsOf } from "./texts.js";
import { answersOf, followArrows, isPath, nested, treeItems } from "./tree.js";

const CUSTOM = "";
const CUSTOM_NAME = "custom labels"; // of its answer, beside those of named taxonomies
const taxonomies = new Map();
let defaultTaxonomy = CUSTOM;

export const custom = () => $("taxonomy").value === CUSTOM && taxonomies.size > 0;
export const customLabels = () => labelsOf($("labels").value);

// The chosen taxonomies: the name of each, the fields of a request that define it, its number of labels, its subject, and
// whether its labels form a tree.
export function chosenTaxonomies() {
  return [custom() ? customTaxonomy() : named($("taxonomy").value), ...further().map(named)];
}

// The fields of a request with these taxonomies.
export function taxonomyFields(chosen) {
  if (chosen.length === 1) return chosen[0].fields;
  return { taxonomies: chosen.map(({ name, fields }) => (fields.labels ? { name, ...fields } : name)) };
}

function customTaxonomy() {
  const lines = customLabels();
  const tree = nameList(lines).some(isPath);
  const labels = tree ? nested(lines) : lines;
  const attribute = $("attribute")?.value.trim(); // for language models only
  const fields = { labels, multi: $("multi").checked, allow_none: $("allow-none").checked, ...(attribute && { attribute }) };
  return { name: CUSTOM_NAME, fields, size: lines.length, tree };
}

function named(name) {
  const taxonomy = taxonomies.get(name);
  const size = taxonomy ? answersOf(taxonomy).length : 0;
  return { name, fields: name ? { taxonomy: name } : {}, size, subject: taxonomy?.subject, tree: isHierarchy(taxonomy) };
}

const boxes = () => [...$("further-list").querySelectorAll("input")];
const further = () => boxes().filter((box) => box.checked && box.value !== $("taxonomy").value).map((box) => box.value);

// The labels of the form as a tree, with the paths of an answer; the names alone where they form no tree.
export function showTree(chosen = []) {
  const named = taxonomies.get($("taxonomy").value);
  const names = named ? answersOf(named).map(({ name }) => name) : nameList(customLabels());
  const paths = names.some(isPath) && (custom() || isHierarchy(named)) ? names : [];
  $("taxonomy-about").textContent = paths.length ? `${paths.length} labels:` : named ? names.join(" · ") : "";
  $("taxonomy-tree").hidden = paths.length === 0;
  $("taxonomy-tree").replaceChildren(...treeItems(paths, chosen));
  const lit = [...$("taxonomy-tree").querySelectorAll(".predicted")].at(-1);
  if (lit) $("taxonomy-tree").scrollTop = lit.offsetTop - $("taxonomy-tree").offsetTop - $("taxonomy-tree").clientHeight / 2;
}

const isHierarchy = (taxonomy) => (taxonomy?.leaves_only ?? null) !== null;
const nameList = (labels) => labels.map((label) => label.name ?? label);

export function chooseTaxonomy(name = $("taxonomy").value) {
  $("taxonomy").value = name;
  $("custom").hidden = !custom();
  showTree();
  for (const box of boxes()) box.parentElement.hidden = box.value === $("taxonomy").value;
  const count = further().length;
  $("further-count").textContent = count ? ` (${count})` : "";
}

// For a form that the browser has emptied, and for an example.
export function chooseOnly(name = defaultTaxonomy) {
  for (const box of boxes()) box.checked = false;
  $("further").open = false;
  chooseTaxonomy(name);
}

export async function loadTaxonomies() {
  const answer = await request("/taxonomies");
  for (const taxonomy of answer.taxonomies) {
    taxonomies.set(taxonomy.name, taxonomy);
    const labels = answersOf(taxonomy).length;
    const shape = taxonomy.multi ? `up to ${taxonomy.max_labels} of ${labels} labels` : `one of ${labels} labels`;
    $("taxonomy").append(element("option", { value: taxonomy.name }, `${taxonomy.name} (${shape})`));
    const box = element("input", { type: "checkbox", value: taxonomy.name });
    $("further-list").append(element("label", {}, box, taxonomy.name));
  }
  $("taxonomy").append(element("option", { value: CUSTOM }, "custom labels …"));
  $("taxonomy").addEventListener("change", () => chooseTaxonomy());
  $("labels").addEventListener("input", () => showTree());
  followArrows($("taxonomy-tree"));
  $("further-list").addEventListener("change", () => chooseTaxonomy());
  $("further").hidden = false;
  chooseTaxonomy((defaultTaxonomy = answer.default));
}
