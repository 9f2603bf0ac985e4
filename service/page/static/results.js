// Shows answers: labels with scores, a table for many texts, similar films, the prompt.

import { $, element } from "./dom.js";

const WEAK = 0.2; // similarities below this never fill a bar

const isProbability = (result) => result.score_type !== "similarity";
const ABOUT = {
  probability: "Probability of each label by itself.",
  share: "Shares of one probability: they sum to 1 over the labels.",
  similarity: "Similarity of each label to the text; not a probability.",
};
const formatted = (score, probable) =>
  probable ? `${Math.round(score * 100)} %` : score.toFixed(2).replace("-", "−").replace("0.", ".");
const seconds = (took) => (took < 1000 ? `${Math.round(took)} ms` : `${(took / 1000).toFixed(1)} s`);
const shortName = (named) => named.split("@")[0];

export function showAnswer(result, took, labelCount) {
  const scores = Object.entries(result.scores ?? {}).sort(([, one], [, other]) => other - one); // else keys like "1" come first
  const probable = isProbability(result);
  const full = probable ? 1 : Math.max(WEAK, ...scores.map(([, score]) => score));
  $("predicted").replaceChildren(
    ...result.labels.map((name) => chip(name, result.scores?.[name], full, probable)),
  );
  $("answer-head").textContent = result.labels.length === 1 ? "Label" : "Labels";
  $("predicted").hidden = result.labels.length === 0;
  $("copy-labels").hidden = result.labels.length === 0;
  $("none-applies").hidden = result.labels.length > 0;
  $("none-applies").textContent = `None of the ${labelCount} labels applies.`;
  $("source").replaceChildren(...source(result, took));
  $("all-scores").hidden = scores.length === 0;
  $("scores-about").textContent = ABOUT[result.score_type] ?? "";
  $("scores").replaceChildren(
    ...scores.map(([name, score]) => scoreLine(name, score, full, probable, result.labels.includes(name))),
  );
}

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
    bar(score, full),
    element("span", { class: "number" }, formatted(score, probable)),
  );
}

// Hidden from screen readers: the number beside it has the same information.
function bar(score, full) {
  const filled = element("span", { class: "bar-filled" });
  filled.style.setProperty("--share", Math.max(0, Math.min(1, score / full)));
  return element("span", { class: "bar", "aria-hidden": "true" }, filled);
}

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
  return parts;
}

// The text that a screen reader speaks once the answer is shown.
export function spoken(result, took) {
  const labels = result.labels.length ? result.labels.join(", ") : "None of the labels applies";
  return `${labels}. Answered by ${result.model} in ${seconds(took)}.`;
}

export function showTable(title, texts, results, took) {
  const failed = results.filter((result) => result.problem).length;
  $("table-title").textContent = title;
  const models = [...new Set(results.map((result) => result.model).filter(Boolean))].join(", ");
  $("table-source").textContent =
    `${models || "No model"} answered in ${seconds(took)}` +
    offered(results.find((result) => result.shortlist)?.shortlist) +
    (failed ? ` · ${failed} without an answer` : "");
  $("rows").replaceChildren(...results.map((result, place) => row(place, texts[place], result)));
}

function row(place, text, result) {
  const labels = element("td");
  if (result.problem) labels.append(element("span", { class: "fault" }, result.problem.detail));
  else if (result.labels.length === 0) labels.append(element("span", { class: "muted" }, "none applies"));
  else labels.append(...result.labels.map((name) => tag(name, result)));
  return element(
    "tr",
    {},
    element("td", { class: "number" }, String(place + 1)),
    element("td", {}, element("span", { class: "excerpt", title: text }, text)),
    labels,
  );
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
  $("prompt-about").textContent = prompt.sent
    ? `${shortName(prompt.prompt)}, strategy ${prompt.strategy}.${requests}`
    : `The embedded classifier uses no prompt. A language model would receive ${shortName(prompt.prompt)}:`;
  $("messages").replaceChildren(
    ...prompt.messages.flatMap((message) => [
      element("h3", { class: "role" }, message.role),
      element("pre", { tabindex: "0", "aria-label": `Message of role ${message.role}` }, message.content),
    ]),
  );
}

// The messages as plain text, to paste elsewhere.
export const promptText = (prompt) => prompt.messages.map(({ role, content }) => `${role}:\n${content}`).join("\n\n");
