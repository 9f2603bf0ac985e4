// The page at "/": builds requests from the form, and shows the answers.

import { hasKey, request } from "./api.js";
import { copies } from "./copy.js";
import { $, element, show } from "./dom.js";
import { clearEvidence, openEvidence } from "./evidence.js";
import { EXAMPLES } from "./examples.js";
import { MAX_TEXTS, acceptFiles, fileTable, removeFile } from "./files.js";
import { labelText, promptText, showAnswer, showAnswers, showFilms, showPrompt, showTable, spoken } from "./results.js";
import { showError, showPrevious, showState, startWaiting, stopWaiting } from "./states.js";
import { chooseOnly, chosenTaxonomies, custom, customLabels, loadTaxonomies, showTree, taxonomyFields } from "./taxonomies.js";
import { csvOf, curlOf, textsOf } from "./texts.js";

const BATCH_SIZE = 32; // texts per request; progress is shown between requests
const BATCH_CHARS = 500_000; // of one request: a body may have 4 MB, and a character up to 6 bytes
const HINT = "marquee-hint"; // set where the hint was dismissed
let running = null;
let last = null; // the last result, and its answers under each taxonomy
let shown = null; // the answer whose details are shown, with the request that has this answer alone
let prompt = null;
let csvUrl = null;

const many = () => $("mode-many").checked;
const lower = (words) => words.charAt(0).toLowerCase() + words.slice(1);
const isCancelled = (signal) => signal.reason?.message === "cancelled";

// --- requests ---

function textFields() {
  const title = $("title").value.trim();
  return { ...($("text").value.trim() && { text: $("text").value }), ...(title && { title }) };
}

// The texts of the file or the input, with their columns.
function manyTexts() {
  const texts = textsOf($("texts").value);
  return fileTable() ?? { file: "labels", names: ["text"], rows: texts.map((text) => [text]), texts };
}

// The wrong input and a message; null if the form is complete.
function inputFault() {
  const texts = many() ? manyTexts().texts.length : Object.keys(textFields()).length;
  if (texts === 0) return [$(many() ? "texts" : "text"), "There is no text yet: paste one, or pick an example."];
  if (many() && texts > MAX_TEXTS) {
    return [$("texts"), `These are ${texts} texts; this page takes up to ${MAX_TEXTS}. Remove some, or use main.py bulk.`];
  }
  if (custom() && customLabels().length === 0) return [$("labels"), "Enter at least one label."];
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
  const [text, chosen] = [textFields(), chosenTaxonomies()];
  const body = { ...text, ...taxonomyFields(chosen), scores: true };
  const start = performance.now();
  const result = await request("/classify", body, signal);
  const took = performance.now() - start;
  const answers = chosen.map(({ name, fields, size, tree }) => ({
    name,
    size,
    tree,
    took,
    body: { ...text, ...fields },
    result: result.taxonomies?.[name] ?? result,
  }));
  last = { result, answers };
  for (const id of ["prompt", "curl", "evidence"]) $(id).open = false;
  $("curl-line").textContent = curlOf(body, hasKey());
  showAnswers(answers, showDetails);
  showDetails(answers[0]);
  showTree(answers[0].result.labels);
  showState("answer", spoken(answers));
  stopWaiting();
  showSimilar(await similarFilms(text, chosen, signal)); // after the answer: the key is known by then
}

function showDetails(answer) {
  shown = answer;
  prompt = null;
  $("copy-prompt").hidden = true;
  $("messages").replaceChildren();
  clearEvidence();
  showAnswer(answer, last.answers.length > 1);
  openPrompt();
  openEvidence(answer.body);
}

async function classifyMany(signal) {
  const { file, names, rows, texts } = manyTexts();
  const chosen = chosenTaxonomies();
  const fields = { ...taxonomyFields(chosen), scores: true };
  const columns = chosen.length > 1 ? chosen.map(({ name }) => name) : [];
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
  showTable(counted, texts, columns, results, performance.now() - start);
  if (csvUrl) URL.revokeObjectURL(csvUrl);
  csvUrl = URL.createObjectURL(new Blob([csvOf(names, rows, columns, results)], { type: "text/csv" }));
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
async function similarFilms({ title, text: body }, chosen, signal) {
  const aboutFilms = chosen.some(({ subject }) => subject === "film");
  if ($("layout").dataset.similar !== "True" || !aboutFilms) return [];
  const text = [title, body].filter(Boolean).join(". ");
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
  const answer = shown;
  try {
    const found = await request("/prompt", answer.body);
    if (answer !== shown) return;
    showPrompt((prompt = found));
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
  chooseMode();
  chooseOnly(example.labels ? "" : example.taxonomy);
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
    chooseMode();
    chooseOnly();
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
  $("taxonomy").addEventListener("change", () => showFault(null));
  $("retry").addEventListener("click", submit);
  $("cancel").addEventListener("click", cancel);
  $("prompt").addEventListener("toggle", openPrompt);
  $("evidence").addEventListener("toggle", () => openEvidence(shown.body));
  copies("copy-labels", () => labelText(last.answers));
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
