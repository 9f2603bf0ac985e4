// Shows answers: labels with scores, a table for many texts, similar films, the prompt.

import { $, element } from "./dom.js";
import { sentence } from "./states.js";
import { WEAK, bar, formatted, isProbability } from "./scores.js";
import { answersIn } from "./texts.js";
import { followArrows, treeItems } from "./tree.js";

const ABOUT = {
  probability: "Probability of each label by itself.",
  share: "Shares of one probability: they sum to 1 over the labels.",
  similarity: "Similarity of each label to the text; not a probability.",
};
const ABOUT_TREE = {
  ...ABOUT,
  probability: "Probability of each label by itself; of a label above others, at least the highest one below it.",
  share: "Shares of one probability; a label above others has the sum of those below it.",
};
const seconds = (took) => (took < 1000 ? `${Math.round(took)} ms` : `${(took / 1000).toFixed(1)} s`);
const shortName = (named) => named.split("@")[0];

// The details of an answer; where it is one of `several`, the cards have the labels.
export function showAnswer({ name, result, took, size, tree }, several) {
  for (const button of $("details-of").children) button.setAttribute("aria-pressed", button.value === name);
  const scores = Object.entries(result.scores ?? {}).sort(([, one], [, other]) => other - one); // else keys like "1" come first
  const probable = isProbability(result);
  const full = probable ? 1 : Math.max(WEAK, ...scores.map(([, score]) => score));
  $("predicted").replaceChildren(
    ...result.labels.map((name) => chip(name, result.scores?.[name], full, probable)),
  );
  $("answer-head").textContent = several || result.labels.length !== 1 ? "Labels" : "Label";
  $("predicted").hidden = several || result.labels.length === 0;
  $("copy-labels").hidden = !several && result.labels.length === 0;
  $("none-applies").hidden = several || result.labels.length > 0;
  $("none-applies").textContent = noneOf(size);
  $("evidence").hidden = Boolean(result.problem);
  $("source").replaceChildren(...source(result, took));
  $("all-scores").hidden = scores.length === 0;
  $("scores-about").textContent = (tree ? ABOUT_TREE : ABOUT)[result.score_type] ?? "";
  const line = ([path, score]) => scoreLine(path, score, full, probable, result.labels.includes(path));
  const score = (path) => (path in result.scores ? scoreParts(result.scores[path], full, probable) : []);
  $("scores").className = tree ? "tree" : "scores";
  $("scores").replaceChildren(
    ...(tree ? treeItems(scores.map(([path]) => path), result.labels, score) : scores.map(line)),
  );
}

followArrows($("scores"));

const noneOf = (size) => `None of the ${size} labels applies.`;

// A card per taxonomy where there are several, and a button each that shows its details.
export function showAnswers(answers, showDetails) {
  const several = answers.length > 1;
  for (const id of ["several", "details"]) $(id).hidden = !several;
  $("several").replaceChildren(...(several ? answers.map(card) : []));
  $("details-of").replaceChildren(...(several ? answers.map((answer) => detailsButton(answer, showDetails)) : []));
}

function card({ name, size, result }) {
  const head = element("h3", {}, name);
  if (result.problem) return element("li", {}, head, element("p", { class: "fault" }, sentence(result.problem.detail)));
  if (result.labels.length === 0) return element("li", {}, head, element("p", {}, noneOf(size)));
  const probable = isProbability(result);
  const full = probable ? 1 : Math.max(WEAK, ...Object.values(result.scores ?? {}));
  return element("li", {}, head, element("ul", {}, ...result.labels.map((label) => chip(label, result.scores?.[label], full, probable))));
}

function detailsButton(answer, showDetails) {
  const button = element("button", { type: "button", class: "quiet small", value: answer.name, "aria-pressed": "false" }, answer.name);
  button.addEventListener("click", () => showDetails(answer));
  return button;
}

// The labels as plain text: a line per taxonomy where there are several.
export const labelText = (answers) =>
  answers.map(({ name, result }) => (answers.length > 1 ? `${name}: ` : "") + result.labels.join(", ")).join("\n");

function chip(name, score, full, probable) {
  const line = element("li", { class: "chip" }, element("span", { class: "chip-name" }, name));
  if (score !== undefined) line.append(element("span", { class: "number" }, formatted(score, probable)), bar(score, full));
  return line;
}

function scoreLine(name, score, full, probable, predicted) {
  return element(
    "li",
    { class: predicted ? "predicted" : null },
    element("span", { class: "score-name" }, name),
    ...scoreParts(score, full, probable),
  );
}

const scoreParts = (score, full, probable) => [bar(score, full), element("span", { class: "number" }, formatted(score, probable))];

// A shortlist is never silent: how many labels the language model chose from, where it did not see all of them.
const offered = (shortlist) => (shortlist ? ` · chose from ${shortlist.offered} of ${shortlist.total} labels` : "");

function source(result, took) {
  const parts = [
    element("strong", {}, result.model),
    ` answered in ${seconds(took)}`,
    result.cached ? ", from the cache" : "",
    ` · taxonomy ${shortName(result.taxonomy)}`,
  ];
  if (result.prompt) parts.push(` · prompt ${shortName(result.prompt)}, strategy ${result.strategy}`);
  parts.push(offered(result.shortlist));
  if (result.dropped) parts.push(` · ${result.dropped} words of its output are not labels`);
  if (result.usage) parts.push(` · ${result.usage.prompt_tokens + result.usage.completion_tokens} tokens`);
  return [...parts, ...setLine(result), ...warningsIn([result]).map(warningLine)];
}

// The calibrated set of labels, where the answer has one.
const setWords = ({ set, abstain }) =>
  `Prediction set: ${set.length ? set.join(", ") : "no label"}.${abstain ? " The classifier abstains." : ""}`;
const setLine = (result) => (result.set ? [element("span", { class: result.abstain ? "warning" : "set" }, setWords(result))] : []);

const warningLine = (warning) => element("span", { class: "warning" }, warning);
const warningsIn = (results) => [...new Set(results.flatMap((result) => result.warnings ?? []))];

// The text that a screen reader speaks once the answer is shown.
export function spoken(answers) {
  const parts = answers.map(({ name, result }) => {
    const labels = result.labels.length ? result.labels.join(", ") : result.problem?.detail ?? "None of the labels applies";
    return answers.length > 1 ? `${name}: ${labels}` : labels;
  });
  const [{ result, took }] = answers;
  const warnings = warningsIn(answers.map((answer) => answer.result)).map((warning) => ` Warning: ${warning}.`);
  const sets = answers.filter((answer) => answer.result.set).map((answer) => ` ${setWords(answer.result)}`);
  return `${parts.join(". ")}. Answered by ${result.model} in ${seconds(took)}.${sets.join("")}${warnings.join("")}`;
}

// `columns` has the names of several taxonomies; with one, it is empty.
export function showTable(title, texts, columns, results, took) {
  const rows = results.map((result) => answersIn(result, columns));
  const answers = rows.flat();
  const failed = rows.filter((row) => row.some((result) => result.problem)).length;
  const warned = rows.filter((row) => warningsIn(row).length).length;
  const abstained = rows.filter((row) => row.some((result) => result.abstain)).length;
  $("table-title").textContent = title;
  const models = [...new Set(answers.map((result) => result.model).filter(Boolean))].join(", ");
  $("table-source").textContent =
    `${models || "No model"} answered in ${seconds(took)}` +
    offered(answers.find((result) => result.shortlist)?.shortlist) +
    (failed ? ` · ${failed} without an answer` : "") +
    (abstained ? ` · ${abstained} with an abstention` : "") +
    (warned ? ` · ${warned} with a warning` : "");
  const heads = ["#", "Text", ...(columns.length ? columns : ["Labels"])];
  $("table-head").replaceChildren(...heads.map((head) => element("th", { scope: "col" }, head)));
  $("rows").replaceChildren(...rows.map((row, place) => tableRow(place, texts[place], row)));
}

function tableRow(place, text, answers) {
  return element(
    "tr",
    {},
    element("td", { class: "number" }, String(place + 1)),
    element("td", {}, element("span", { class: "excerpt", title: text }, text), ...warningsIn(answers).map(warningLine)),
    ...answers.map(labelCell),
  );
}

function labelCell(result) {
  const labels = element("td", { class: "labels" });
  if (result.problem) labels.append(element("span", { class: "fault" }, result.problem.detail));
  else if (result.labels.length === 0) labels.append(element("span", { class: "muted" }, "none applies"));
  else labels.append(...result.labels.map((name) => tag(name, result)));
  if (result.abstain) labels.append(element("span", { class: "warning" }, setWords(result)));
  return labels;
}

function tag(name, result) {
  const score = result.scores?.[name];
  if (score === undefined) return element("span", { class: "tag" }, name);
  return element("span", { class: "tag" }, name, " ", element("span", { class: "number muted" }, formatted(score, isProbability(result))));
}

export function showFilms(films) {
  $("films").replaceChildren(
    ...films.map((film) =>
      element(
        "li",
        {},
        element("span", { class: "film-title" }, film.title),
        film.year ? element("span", { class: "number muted" }, ` ${film.year}`) : null,
        element("span", { class: "film-genres muted small" }, (film.genres ?? []).join(", ")),
      ),
    ),
  );
}

export function showPrompt(prompt) {
  const requests = prompt.requests > 1 ? ` It is the first of ${prompt.requests} requests for this text.` : "";
  const steps = (prompt.steps ?? []).map(({ below, labels }) => `${below || "top"} (${labels})`);
  const descent = steps.length ? ` Steps of the descent, with their labels: ${steps.join(", ")}.` : "";
  const shortlist = prompt.shortlist && !steps.length ? ` ${prompt.shortlist.offered} of ${prompt.shortlist.total} labels.` : "";
  const about = prompt.sent ? "" : "The embedded classifier uses no prompt. A language model would receive this one: ";
  $("prompt-about").textContent =
    `${about}${shortName(prompt.prompt)}, strategy ${prompt.strategy}, ${prompt.prompt_tokens} tokens.` + shortlist + requests + descent;
  $("messages").replaceChildren(
    ...prompt.messages.flatMap((message) => [
      element("h3", { class: "role" }, message.role),
      element("pre", { tabindex: "0", "aria-label": `Message of role ${message.role}` }, message.content),
    ]),
  );
}

// The messages as plain text, to paste elsewhere.
export const promptText = (prompt) => prompt.messages.map(({ role, content }) => `${role}:\n${content}`).join("\n\n");
