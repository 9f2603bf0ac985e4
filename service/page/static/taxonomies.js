// The choice of taxonomies: one or several of the service, and custom labels.

import { request } from "./api.js";
import { $, element } from "./dom.js";
import { labelsOf } from "./texts.js";

const CUSTOM = "";
const CUSTOM_NAME = "custom labels"; // of its answer, beside those of named taxonomies
const taxonomies = new Map();
let defaultTaxonomy = CUSTOM;

export const custom = () => $("taxonomy").value === CUSTOM && taxonomies.size > 0;
export const customLabels = () => labelsOf($("labels").value);

// The chosen taxonomies: the name of each, the fields of a request that define it, its number of labels and its subject.
export function chosenTaxonomies() {
  return [custom() ? customTaxonomy() : named($("taxonomy").value), ...further().map(named)];
}

// The fields of a request with these taxonomies.
export function taxonomyFields(chosen) {
  if (chosen.length === 1) return chosen[0].fields;
  return { taxonomies: chosen.map(({ name, fields }) => (fields.labels ? { name, ...fields } : name)) };
}

function customTaxonomy() {
  const labels = customLabels();
  const attribute = $("attribute")?.value.trim(); // for language models only
  const fields = { labels, multi: $("multi").checked, allow_none: $("allow-none").checked, ...(attribute && { attribute }) };
  return { name: CUSTOM_NAME, fields, size: labels.length };
}

function named(name) {
  const taxonomy = taxonomies.get(name);
  return { name, fields: name ? { taxonomy: name } : {}, size: taxonomy ? answersOf(taxonomy).length : 0, subject: taxonomy?.subject };
}

const boxes = () => [...$("further-list").querySelectorAll("input")];
const further = () => boxes().filter((box) => box.checked && box.value !== $("taxonomy").value).map((box) => box.value);

// The labels that are answered; those of a hierarchy are paths, and their parents are no answers.
function answersOf(taxonomy) {
  const parents = taxonomy.leaves_only
    ? new Set(taxonomy.labels.map((label) => label.name.split(" > ").slice(0, -1).join(" > ")))
    : new Set();
  return taxonomy.labels.filter((label) => label.predict && !parents.has(label.name));
}

export function chooseTaxonomy(name = $("taxonomy").value) {
  $("taxonomy").value = name;
  $("custom").hidden = !custom();
  const chosen = taxonomies.get($("taxonomy").value);
  $("taxonomy-about").textContent = chosen ? answersOf(chosen).map((label) => label.name).join(" · ") : "";
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
  $("further-list").addEventListener("change", () => chooseTaxonomy());
  $("further").hidden = false;
  chooseTaxonomy((defaultTaxonomy = answer.default));
}
