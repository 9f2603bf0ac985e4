// The page at "/": builds requests from the form, and shows the answers.

import { hasKey, request } from "./api.js";
import { copies } from "./copy.js";
import { $, element, show } from "./dom.js";
import { closeEvidence, offerEvidence } from "./evidence.js";
import { EXAMPLES } from "./examples.js";
import { MAX_TEXTS, acceptFiles, fileTable, removeFile } from "./files.js";
import { promptText, showAnswer, showFilms, showPrompt, showTable, spoken } from "./results.js";
import { showError, showPrevious, showState, startWaiting, stopWaiting } from "./states.js";
import { csvOf, curlOf, labelsOf, textsOf } from "./texts.js";

const CUSTOM = "";
const BATCH_SIZE = 32; // texts per request; progress is shown between requests
const BATCH_CHARS = 500_000; // of one request: a body may have 4 MB, and a character up to 6 bytes
const HINT = "marquee-hint"; // set where the hint was dismissed
const taxonomies = new Map();
let running = null;
let defaultTaxonomy = CUSTOM;
let last = null; // the last request and its answer
let prompt = null;
let csvUrl = null;

const many = () => $("mode-many").checked;
const custom = () => $("taxonomy").value === CUSTOM && taxonomies.size > 0;
const lower = (words) => words.charAt(0).toLowerCase() + words.slice(1);
const isCancelled = (signal) => signal.reason?.message === "cancelled";

// --- requests ---

// The fields of a request that define the labels.
// The labels that are answered; those of a hierarchy are paths, and their parents are no answers.
function answersOf(taxonomy) {
  const parents = taxonomy.leaves_only
    ? new Set(taxonomy.labels.map((label) => label.name.split(" > ").slice(0, -1).join(" > ")))
    : new Set();
  return taxonomy.labels.filter((label) => label.predict && !parents.has(label.name));
}

function taxonomyFields() {
  if (!custom()) return { taxonomy: $("taxonomy").value };
  return { labels: labelsOf($("labels").value), multi: $("multi").checked, allow_none: $("allow-none").checked };
}

function textFields() {
  const title = $("title").value.trim();
  return { ...($("text").value.trim() && { text: $("text").value }), ...(title && { title }) };
}

// The texts of the file or the input, with their columns.
function manyTexts() {
  const texts = textsOf($("texts").value);
  return fileTable() ?? { file: "labels", names: ["text"], rows: texts.map((text) => [text]), texts };
}

const labelCount = () =>
  custom() ? labelsOf($("labels").value).length : answersOf(taxonomies.get($("taxonomy").value)).length;

// The wrong input and a message; null if the form is complete.
function inputFault() {
  const texts = many() ? manyTexts().texts.length : Object.keys(textFields()).length;
  if (texts === 0) return [$(many() ? "texts" : "text"), "There is no text yet: paste one, or pick an example."];
  if (many() && texts > MAX_TEXTS) {
    return [$("texts"), `These are ${texts} texts; this page takes up to ${MAX_TEXTS}. Remove some, or use main.py bulk.`];
  }
  if (custom() && labelsOf($("labels").value).length === 0) return [$("labels"), "Enter at least one label."];
  return null;
}

function showFault(words) {
  $("text-fault").hidden = !words;
  $("text-fault").textContent = words ?? "";
}

async function submit() {
  const fault = inputFault();
  showFault(fault?.[1]);
  for (const id of ["text", "texts", "labels"]) $(id).toggleAttribute("aria-invalid", fault?.[0] === $(id));
  if (fault) return fault[0].focus();
  running?.abort();
  const controller = (running = new AbortController());
  startWaiting(!many());
  try {
    await (many() ? classifyMany(controller.signal) : classifyOne(controller.signal));
  } catch (error) {
    if (error.name !== "AbortError") showError(error);
    else if (isCancelled(controller.signal)) showPrevious("Cancelled");
  } finally {
    if (running === controller) {
      stopWaiting();
      running = null;
    }
  }
}

// The service sees the closed connection and stops the work.
function cancel() {
  running?.abort(new DOMException("cancelled", "AbortError"));
}

async function classifyOne(signal) {
  const body = { ...textFields(), ...taxonomyFields() };
  const size = labelCount();
  const start = performance.now();
  const result = await request("/classify", { ...body, scores: true }, signal);
  const took = performance.now() - start;
  last = { body, result };
  prompt = null;
  for (const id of ["prompt", "curl"]) $(id).open = false;
  $("copy-prompt").hidden = true;
  $("messages").replaceChildren();
  closeEvidence();
  $("curl-line").textContent = curlOf({ ...body, scores: true }, hasKey());
  showAnswer(result, took, size);
  showState("answer", spoken(result, took));
  stopWaiting();
  showSimilar(await similarFilms(body, signal)); // after the answer: the key is known by then
}

async function classifyMany(signal) {
  const { file, names, rows, texts } = manyTexts();
  const fields = { ...taxonomyFields(), scores: true };
  const results = [];
  const start = performance.now();
  try {
    while (results.length < texts.length) {
      $("progress").textContent = `${results.length} of ${texts.length} texts`;
      results.push(...(await resultsOf(nextBatch(texts, results.length), fields, signal, results.length > 0)));
    }
  } catch (error) {
    if (!isCancelled(signal) || results.length === 0) throw error; // Cancel keeps the texts that are done
  }
  const part = results.length < texts.length ? `${results.length} of ` : "";
  const counted = `${part}${texts.length} ${texts.length === 1 ? "text" : "texts"}`;
  showTable(counted, texts, results, performance.now() - start);
  if (csvUrl) URL.revokeObjectURL(csvUrl);
  csvUrl = URL.createObjectURL(new Blob([csvOf(names, rows, results)], { type: "text/csv" }));
  $("csv").href = csvUrl;
  $("csv").download = `${file.replace(/\.\w+$/, ".labels")}.csv`;
  showState("table", `${counted} classified.`);
}

function nextBatch(texts, from) {
  let [to, chars] = [from, 0];
  do chars += texts[to++].length;
  while (to < texts.length && to - from < BATCH_SIZE && chars + texts[to].length <= BATCH_CHARS);
  return texts.slice(from, to);
}

// Answers from before a failure stay: each text of a batch that failed gets its problem.
async function resultsOf(texts, fields, signal, laterBatch) {
  try {
    return (await request("/classify", { texts, ...fields }, signal)).results;
  } catch (error) {
    if (!laterBatch || !error.problem) throw error;
    return texts.map(() => ({ labels: [], problem: error.problem }));
  }
}

// Films are optional: an error leaves the list empty.
async function similarFilms(body, signal) {
  const aboutFilms = taxonomies.get(body.taxonomy)?.subject === "film";
  if ($("layout").dataset.similar !== "True" || !aboutFilms) return [];
  const text = [body.title, body.text].filter(Boolean).join(". ");
  try {
    return (await request("/similar", { text, k: 6 }, signal)).films ?? [];
  } catch {
    return [];
  }
}

function showSimilar(films) {
  showFilms(films);
  $("similar").hidden = films.length === 0 || $("answer").hidden;
}

async function openPrompt() {
  if (!$("prompt").open || $("messages").hasChildNodes()) return;
  $("prompt-about").textContent = "Loading …";
  try {
    showPrompt((prompt = await request("/prompt", last.body)));
    $("copy-prompt").hidden = false;
  } catch (error) {
    $("prompt-about").textContent = `The prompt cannot be shown: ${lower(error.message)}`;
  }
}

// --- the form ---

function chooseMode() {
  show(["one", "many"], many() ? "many" : "one");
  showFault(null);
}

function countTexts() {
  const number = textsOf($("texts").value).length;
  $("count").textContent = number === 0 ? "No text yet" : number === 1 ? "1 text" : `${number} texts`;
}

function chooseTaxonomy() {
  $("custom").hidden = !custom();
  showFault(null);
  const chosen = taxonomies.get($("taxonomy").value);
  $("taxonomy-about").textContent = chosen ? answersOf(chosen).map((label) => label.name).join(" · ") : "";
}

async function loadTaxonomies() {
  const answer = await request("/taxonomies");
  for (const taxonomy of answer.taxonomies) {
    taxonomies.set(taxonomy.name, taxonomy);
    const labels = answersOf(taxonomy).length;
    const shape = taxonomy.multi ? `up to ${taxonomy.max_labels} of ${labels} labels` : `one of ${labels} labels`;
    $("taxonomy").append(element("option", { value: taxonomy.name }, `${taxonomy.name} (${shape})`));
  }
  $("taxonomy").append(element("option", { value: CUSTOM }, "custom labels …"));
  $("taxonomy").value = defaultTaxonomy = answer.default;
  chooseTaxonomy();
}

function offerExamples() {
  for (const example of EXAMPLES) {
    const button = element("button", { type: "button", class: "example" }, element("span", {}, example.name));
    button.append(element("span", { class: "muted small" }, example.kind));
    button.addEventListener("click", () => takeExample(example));
    $("examples").append(element("li", {}, button));
  }
}

function takeExample(example) {
  $("mode-one").checked = true;
  $("title").value = example.title ?? "";
  $("text").value = example.text;
  $("labels").value = example.labels ?? $("labels").value;
  $("taxonomy").value = example.labels ? CUSTOM : example.taxonomy;
  chooseMode();
  chooseTaxonomy();
  submit();
}

function takeFiles() {
  const manyMode = () => {
    $("mode-many").checked = true;
    chooseMode();
  };
  acceptFiles(manyMode, showFault);
}

// The browser empties the form; the taxonomy is set to the default.
function reset() {
  running?.abort();
  setTimeout(() => {
    removeFile();
    $("taxonomy").value = defaultTaxonomy;
    chooseMode();
    chooseTaxonomy();
    countTexts();
    $("similar").hidden = true;
    showState("empty", "");
    $("text").focus();
  });
}

function offerHint() {
  if (!$("hint") || localStorage.getItem(HINT)) return;
  $("hint").hidden = false;
  $("hint-dismiss").addEventListener("click", () => {
    localStorage.setItem(HINT, "dismissed");
    $("hint").hidden = true;
    $("submit").focus({ preventScroll: true });
  });
}

function onKey(event) {
  if ($("key-dialog").open) return;
  if (event.key === "Escape") cancel();
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  submit();
}

function start() {
  if (/Mac|iPhone|iPad/.test(navigator.userAgent)) $("modifier").textContent = "⌘";
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  $("form").addEventListener("reset", reset);
  document.addEventListener("keydown", onKey);
  for (const id of ["mode-one", "mode-many"]) $(id).addEventListener("change", chooseMode);
  $("texts").addEventListener("input", countTexts);
  $("taxonomy").addEventListener("change", chooseTaxonomy);
  $("retry").addEventListener("click", submit);
  $("cancel").addEventListener("click", cancel);
  $("prompt").addEventListener("toggle", openPrompt);
  offerEvidence(() => last.body);
  copies("copy-labels", () => last.result.labels.join(", "));
  copies("copy-json", () => JSON.stringify(last.result, null, 2));
  copies("copy-prompt", () => promptText(prompt));
  copies("copy-curl", () => $("curl-line").textContent);
  chooseMode(); // after a reload the browser restores the input and the mode
  countTexts();
  offerExamples();
  takeFiles();
  loadTaxonomies().catch(showError);
  offerHint();
}

start();
