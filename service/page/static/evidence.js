// The passages of the text that support a label, requested when the reader opens them.

import { request } from "./api.js";
import { $, element } from "./dom.js";

const NAMES = { sentence: "Sentence", word: "Word", occlusion: "Left out", quote: "Quote" };
const ABOUT = {
  sentence: "Shaded: the sentence without which the score falls most.",
  word: "Underlined: words that raise the score by themselves.",
  occlusion: "Underlined: words without which the score falls, each left out by itself.",
  quote: "Shaded: the passage that the language model quotes. It is checked that the text contains it.",
};
const added = (one) => (one.contribution === undefined || one.contribution === null ? "" : ` +${one.contribution.toFixed(2)}`);

let current = null; // the request whose evidence is shown or requested

export function clearEvidence() {
  current = null;
  for (const id of ["evidence-labels", "evidence-text", "evidence-list"]) $(id).replaceChildren();
}

// Requests the evidence of the answer to a request, once it is open.
export async function openEvidence(body) {
  if (!$("evidence").open || current === body) return;
  current = body;
  $("evidence-about").textContent = "Loading …";
  try {
    const result = await request("/classify", { ...body, explain: true });
    if (body === current) showEvidence(result, body);
  } catch (error) {
    if (body === current) $("evidence-about").textContent = `The evidence cannot be shown: ${error.message}`;
  }
}

function showEvidence(result, body) {
  const labels = result.labels.filter((name) => result.evidence.some((one) => one.label === name));
  const choose = (name) => {
    const found = result.evidence.filter((one) => one.label === name);
    for (const button of $("evidence-labels").children) button.setAttribute("aria-pressed", button.value === name);
    $("evidence-about").textContent = about(found);
    $("evidence-text").replaceChildren(...highlighted(body, found));
    $("evidence-list").replaceChildren(...found.map(line), ...unexplained(result));
    $("evidence-text").hidden = found.length === 0;
  };
  $("evidence-labels").replaceChildren(...labels.map((name) => labelButton(name, choose)));
  choose(labels[0]);
}

function about(found) {
  if (found.length === 0) return "No passage of the text supports a label by itself.";
  const kinds = Object.keys(ABOUT).filter((kind) => found.some((one) => one.kind === kind));
  const unit = kinds.some((kind) => kind !== "quote") ? " Numbers are log-odds." : "";
  return kinds.map((kind) => ABOUT[kind]).join(" ") + unit;
}

function labelButton(name, choose) {
  const button = element("button", { type: "button", class: "quiet small", value: name, "aria-pressed": "false" }, name);
  button.addEventListener("click", () => choose(name));
  return button;
}

const line = (one) =>
  element("li", {}, element("span", { class: "muted" }, `${NAMES[one.kind]}: `), one.quote, element("span", { class: "number muted" }, added(one)));

function unexplained(result) {
  if (result.labels.length === 0) return [element("li", { class: "muted" }, "There is no label to support.")];
  const reasons = Object.entries(result.unexplained ?? {});
  return reasons.map(([name, reason]) => element("li", { class: "muted" }, `No evidence for ${name}: ${reason}.`));
}

function highlighted(body, found) {
  const title = body.title ? [element("strong", {}, ...marked(body.title, found, "title")), "\n"] : [];
  return [...title, ...marked(body.text ?? "", found, "text")];
}

// The text in pieces, each with its marks. Offsets count code points; the text of JavaScript counts UTF-16 units.
function marked(text, found, field) {
  const characters = Array.from(text);
  const here = found.filter((one) => one.field === field);
  const edges = [0, characters.length, ...here.flatMap((one) => [one.start, one.end])];
  const sorted = [...new Set(edges)].sort((one, other) => one - other);
  return sorted.slice(1).map((end, place) => {
    const start = sorted[place];
    const over = here.filter((one) => one.start <= start && end <= one.end);
    const classes = over.map((one) => (["word", "occlusion"].includes(one.kind) ? "word" : "passage"));
    const words = characters.slice(start, end).join("");
    return classes.length ? element("mark", { class: [...new Set(classes)].join(" ") }, words) : words;
  });
}
