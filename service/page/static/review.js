// The page at "/review": the texts of the review file one by one. The service stores each decision as feedback, and says
// which texts have one, so a page that is loaded again continues where the last one ended.

import { RequestError, hasKey, request, send } from "./api.js";
import { $, element, show } from "./dom.js";
import { WEAK, bar, formatted, isProbability } from "./scores.js";

const KEYS = [..."123456789abcdefghijklmnopqrstvwxyz"]; // of labels, in their order; u is for undo
const STATES = ["loading", "error", "reviewing"];
let review = null; // the answer of GET /review/texts
let place = 0; // of the text that is shown
let busy = false;
let retry = load; // what the button does
const history = []; // decisions of this page: place of the text, and its labels before

const current = () => review.texts[place];
const chosen = (text) => text.draft ?? text.labels ?? text.suggested;
const names = (labels) => labels.join(", ") || "none";
const isDone = (text) => text.labels !== null;
const same = (one, other) => one.length === other.length && one.every((name) => other.includes(name));

async function load() {
  show(STATES, "loading");
  try {
    review = await request("/review/texts");
    history.length = 0;
    place = Math.max(0, review.texts.findIndex((text) => !isDone(text)));
    $("search").hidden = $("key-search").hidden = review.labels.length <= KEYS.length;
    $("limit").textContent = limitWords();
    $("learn").textContent = `main.py learn --taxonomy ${review.taxonomy.split("@")[0]}`;
    show(STATES, "reviewing");
    showText();
  } catch (error) {
    showError(error, load);
  }
}

function showError(error, again) {
  const problem = error.problem ?? { title: "This page has failed", detail: String(error.message ?? error) };
  $("error-title").textContent = problem.title;
  $("error-detail").textContent = problem.detail;
  retry = again;
  show(STATES, "error");
}

function limitWords() {
  const most = review.max_labels === 1 ? "one" : `up to ${review.max_labels}`;
  return review.allow_none ? `${most}, or none` : most;
}

// --- what is shown ---

function showText(spoken = "") {
  const text = current();
  const done = review.texts.filter(isDone).length;
  $("done").max = review.texts.length;
  $("done").value = done;
  $("count").textContent = `${done} of ${review.texts.length} reviewed`;
  $("finished").hidden = done < review.texts.length;
  $("place").textContent = `Text ${place + 1} of ${review.texts.length}`;
  $("state").textContent = isDone(text) ? `Reviewed: ${names(text.labels)}` : "";
  $("title").textContent = text.title;
  $("title").hidden = !text.title;
  $("text").textContent = text.text;
  $("body").scrollTop = 0;
  $("about").replaceChildren(element("strong", {}, text.model), ` suggests ${names(text.suggested)}. Picked because ${text.why}.`);
  $("previous").disabled = place === 0;
  $("next").disabled = place === review.texts.length - 1;
  $("undo").disabled = history.length === 0;
  $("filter").value = "";
  showFault("");
  showLabels();
  $("status").textContent = `${spoken} Text ${place + 1}, suggested: ${names(text.suggested)}.`.trim();
}

function showLabels() {
  const text = current();
  const probable = isProbability(text);
  const full = probable ? 1 : Math.max(WEAK, ...Object.values(text.scores));
  $("labels").replaceChildren(...review.labels.map((label, at) => choice(label, KEYS[at], text, full, probable)));
  filterLabels();
}

function choice({ name, description }, key, text, full, probable) {
  const box = element("input", { type: "checkbox", value: name, "aria-keyshortcuts": key });
  box.checked = chosen(text).includes(name);
  box.addEventListener("change", () => toggle(name));
  const score = text.scores[name];
  const parts = score === undefined ? [] : [bar(score, full), element("span", { class: "number muted" }, formatted(score, probable))];
  const words = element("span", { class: "choice-name" }, name);
  const hint = key ? element("kbd", { "aria-hidden": "true" }, key) : null;
  const line = element("label", { title: description || null }, box, words, ...parts, hint);
  return element("li", { "data-name": name.toLowerCase() }, line);
}

function filterLabels() {
  const words = $("filter").value.trim().toLowerCase();
  for (const line of $("labels").children) line.hidden = !line.dataset.name.includes(words);
}

function showFault(words) {
  $("fault").hidden = !words;
  $("fault").textContent = words;
}

// --- decisions ---

function toggle(name) {
  const text = current();
  const before = chosen(text);
  const without = before.filter((label) => label !== name);
  if (without.length === before.length && review.max_labels > 1 && before.length >= review.max_labels) {
    showFault(`A text has at most ${review.max_labels} labels. Remove one first.`);
  } else {
    showFault("");
    const added = without.length < before.length ? without : review.max_labels === 1 ? [name] : [...before, name];
    text.draft = added;
    $("status").textContent = `Labels: ${names(added)}`;
  }
  for (const box of $("labels").querySelectorAll("input")) box.checked = chosen(text).includes(box.value);
}

async function accept() {
  const text = current();
  const labels = chosen(text);
  if (labels.length === 0 && !review.allow_none) return showFault("Choose a label: this taxonomy has no answer without one.");
  const at = place;
  await doing(async () => {
    const stored = await request("/feedback", { review: text.id, labels });
    history.push({ at, before: text.labels, id: stored.id });
    text.labels = stored.labels;
    delete text.draft;
    place = nextPending(at);
    showText(`${same(stored.labels, text.suggested) ? "Accepted" : "Corrected"}: ${names(stored.labels)}.`);
    focusText();
  });
}

// The next text without labels: after this one, else before it, else this one.
function nextPending(at) {
  const after = review.texts.findIndex((text, place) => place > at && !isDone(text));
  const any = after < 0 ? review.texts.findIndex((text) => !isDone(text)) : after;
  return any < 0 ? at : any;
}

async function undo() {
  const last = history.at(-1);
  if (!last) return showFault("There is nothing to undo on this page. Go back with ← and accept other labels.");
  await doing(async () => {
    const text = review.texts[last.at];
    const kept = await takeBack(text, last);
    history.pop();
    text.draft = text.labels;
    text.labels = last.before;
    place = last.at;
    showText("Undone.");
    if (kept) showFault("Without an API key, the stored labels stay until you accept again.");
    focusText();
  });
}

// True where the stored labels stay: the service deletes feedback only for the key that sent it.
async function takeBack(text, last) {
  if (last.before) return void (await request("/feedback", { review: text.id, labels: last.before }));
  if (!hasKey()) return true;
  const reply = await send(`/feedback/${last.id}`, undefined, undefined, "DELETE");
  if (!reply.ok && reply.status !== 401) throw new RequestError(await reply.json());
  return !reply.ok;
}

// One decision at a time; one that fails is shown, and nothing is lost.
async function doing(work) {
  if (busy) return;
  busy = true;
  document.body.classList.add("busy");
  try {
    await work();
  } catch (error) {
    const { title, detail } = error.problem ?? { title: "This page has failed", detail: String(error.message ?? error) };
    showFault(`${title}: ${detail}`);
  } finally {
    busy = false;
    document.body.classList.remove("busy");
  }
}

function move(by) {
  const to = place + by;
  if (busy || to < 0 || to >= review.texts.length) return;
  place = to;
  showText();
  focusText();
}

// The labels of the last text are gone; up and down scroll the text.
const focusText = () => $("body").focus({ preventScroll: scrollY === 0 });

// --- keyboard ---

function pressed(event) {
  if (!review || $("reviewing").hidden || event.ctrlKey || event.metaKey || event.altKey || $("key-dialog").open) return;
  if (event.target === $("filter")) return inFilter(event);
  const key = /^Digit\d$/.test(event.code) && !event.shiftKey ? event.code.slice(-1) : event.key.toLowerCase(); // also where digits need the shift key
  const label = review.labels[KEYS.indexOf(key)];
  const opensItself = event.target.closest("button, a, summary") && event.target !== $("accept");
  if (key === "enter" && !opensItself) accept();
  else if (key === "arrowleft") move(-1);
  else if (key === "arrowright") move(1);
  else if (key === "u") undo();
  else if (key === "/" && !$("search").hidden) $("filter").focus();
  else if (KEYS.includes(key) && label) toggle(label.name);
  else return;
  event.preventDefault();
}

function inFilter(event) {
  if (event.key === "Escape") {
    $("filter").value = "";
    filterLabels();
    focusText();
  } else if (event.key === "Enter") {
    event.preventDefault();
    const line = [...$("labels").children].find((one) => !one.hidden);
    if (!line || !$("filter").value.trim()) return;
    toggle(line.querySelector("input").value);
    $("filter").value = "";
    filterLabels();
    focusText();
  }
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  accept();
});
$("previous").addEventListener("click", () => move(-1));
$("next").addEventListener("click", () => move(1));
$("undo").addEventListener("click", undo);
$("retry").addEventListener("click", () => retry());
$("filter").addEventListener("input", filterLabels);
document.addEventListener("keydown", pressed);
load();
