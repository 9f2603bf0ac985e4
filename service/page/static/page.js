// The page at "/": builds requests from the form, and shows one of the states.

import { ask } from "./api.js";
import { $, element, show } from "./dom.js";
import { EXAMPLES } from "./examples.js";
import { showAnswer, showFilms, showPrompt, showTable, spoken } from "./results.js";
import { csvOf, curlOf, labelsOf, textsOf } from "./texts.js";

const OWN = "";
const BATCH_SIZE = 32; // texts per request; progress is shown between requests
const STATES = ["empty", "waiting", "trouble", "answer", "table"];
const taxonomies = new Map();
let running = null;
let defaultTaxonomy = OWN;
let lastRequest = null;
let csvUrl = null;

const many = () => $("mode-many").checked;
const own = () => $("taxonomy").value === OWN && taxonomies.size > 0;
const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1) + (/[.?!]$/.test(words) ? "" : ".");
const lower = (words) => words.charAt(0).toLowerCase() + words.slice(1);

// --- requests ---

// The fields of a request that define the labels.
function taxonomyFields() {
  if (!own()) return { taxonomy: $("taxonomy").value };
  return { labels: labelsOf($("labels").value), multi: $("multi").checked, allow_none: $("none").checked };
}

function textFields() {
  const title = $("title").value.trim();
  return { ...($("text").value.trim() && { text: $("text").value }), ...(title && { title }) };
}

const labelCount = () =>
  own()
    ? labelsOf($("labels").value).length
    : taxonomies.get($("taxonomy").value).labels.filter((label) => label.predict).length;

// The input that is empty and a message; null if the form is complete.
function missing() {
  if (many() ? textsOf($("texts").value).length === 0 : Object.keys(textFields()).length === 0) {
    return [$(many() ? "texts" : "text"), "There is no text yet: paste one, or pick an example."];
  }
  if (own() && labelsOf($("labels").value).length === 0) return [$("labels"), "Enter at least one label."];
  return null;
}

async function submit() {
  const fault = missing();
  $("text-fault").hidden = !fault;
  for (const id of ["text", "texts", "labels"]) $(id).toggleAttribute("aria-invalid", fault?.[0] === $(id));
  if (fault) {
    $("text-fault").textContent = fault[1];
    return fault[0].focus();
  }
  running?.abort();
  const controller = (running = new AbortController());
  wait(true);
  try {
    await (many() ? classifyMany(controller.signal) : classifyOne(controller.signal));
  } catch (error) {
    if (error.name !== "AbortError") showTrouble(error);
  } finally {
    if (running === controller) wait(false);
  }
}

async function classifyOne(signal) {
  const request = { ...textFields(), ...taxonomyFields() };
  const size = labelCount();
  const start = performance.now();
  const result = await ask("/classify", { ...request, scores: true }, signal);
  const took = performance.now() - start;
  lastRequest = request;
  for (const id of ["prompt", "curl"]) $(id).open = false;
  $("messages").replaceChildren();
  $("curl-line").textContent = curlOf(request);
  showAnswer(result, took, size);
  show(STATES, "answer");
  $("said").textContent = spoken(result, took);
  wait(false);
  showSimilar(await similarFilms(request, signal)); // after the answer: the key is known by then
}

async function classifyMany(signal) {
  const texts = textsOf($("texts").value);
  const fields = taxonomyFields();
  const results = [];
  const start = performance.now();
  while (results.length < texts.length) {
    $("progress").textContent = `${results.length} of ${texts.length} texts`;
    const part = texts.slice(results.length, results.length + BATCH_SIZE);
    results.push(...(await answersOf(part, fields, signal, results.length > 0)));
  }
  showTable(texts, results, performance.now() - start);
  if (csvUrl) URL.revokeObjectURL(csvUrl);
  csvUrl = URL.createObjectURL(new Blob([csvOf(texts, results)], { type: "text/csv" }));
  $("csv").href = csvUrl;
  show(STATES, "table");
  $("said").textContent = `${texts.length} texts are labelled.`;
}

// Answers from before a failure stay: each text of a part that failed gets its problem.
async function answersOf(part, fields, signal, laterPart) {
  try {
    return (await ask("/classify", { texts: part, ...fields }, signal)).results;
  } catch (error) {
    if (!laterPart || !error.problem) throw error;
    return part.map(() => ({ labels: [], problem: error.problem }));
  }
}

// Films are optional: an error leaves the list empty.
async function similarFilms(request, signal) {
  const aboutFilms = taxonomies.get(request.taxonomy)?.subject === "film";
  if ($("desk").dataset.similar !== "True" || !aboutFilms) return [];
  const text = [request.title, request.text].filter(Boolean).join(". ");
  try {
    return (await ask("/similar", { text, k: 6 }, signal)).films ?? [];
  } catch {
    return [];
  }
}

// On a phone the answer is below the form.
function lookAtBoard() {
  if ($("board").getBoundingClientRect().top > innerHeight * 0.6) $("board").scrollIntoView({ block: "start" });
}

function showSimilar(films) {
  showFilms(films);
  $("similar").hidden = films.length === 0 || $("answer").hidden;
}

// --- states ---

function wait(waiting) {
  const waited = document.body.classList.contains("busy");
  document.body.classList.toggle("busy", waiting);
  $("go").setAttribute("aria-busy", waiting);
  if (waited && !waiting) lookAtBoard();
  if (!waiting) return;
  $("similar").hidden = true;
  $("progress").textContent = "Classifying …";
  $("said").textContent = "Classifying";
  // The last answer stays, dimmed, until the next one arrives, so the layout does not jump.
  if ($("answer").hidden || many()) show(STATES, "waiting");
}

function showTrouble(error) {
  const problem = error.problem ?? { title: "This page has failed", detail: String(error.message ?? error) };
  $("trouble-title").textContent = problem.title;
  $("trouble-detail").textContent = sentence(problem.detail);
  const transient = !problem.status || problem.status >= 429; // else a retry fails the same way
  $("again").hidden = !transient;
  $("trouble-advice").textContent = error.retryAfter
    ? `Try again in ${error.retryAfter} s.`
    : "The form keeps your input.";
  const kind = /\/problems\/([a-z-]+)$/.exec(problem.type ?? "")?.[1];
  $("trouble-why").hidden = !kind;
  if (kind) $("trouble-why").href = `./problems/${kind}`;
  show(STATES, "trouble");
  $("said").textContent = `${problem.title}. ${sentence(problem.detail)}`;
}

// --- the form ---

function chooseMode() {
  show(["one", "many"], many() ? "many" : "one");
  $("text-fault").hidden = true;
}

function countTexts() {
  const number = textsOf($("texts").value).length;
  $("count").textContent = number === 0 ? "No text yet" : number === 1 ? "1 text" : `${number} texts`;
}

function chooseTaxonomy() {
  $("own").hidden = !own();
  $("text-fault").hidden = true;
  const chosen = taxonomies.get($("taxonomy").value);
  $("taxonomy-about").textContent = chosen ? chosen.labels.filter((l) => l.predict).map((l) => l.name).join(" · ") : "";
}

async function loadTaxonomies() {
  const answer = await ask("/taxonomies");
  for (const taxonomy of answer.taxonomies) {
    taxonomies.set(taxonomy.name, taxonomy);
    const labels = taxonomy.labels.filter((label) => label.predict).length;
    const shape = taxonomy.multi ? `up to ${taxonomy.max_labels} of ${labels} labels` : `one of ${labels} labels`;
    $("taxonomy").append(element("option", { value: taxonomy.name }, `${taxonomy.name} (${shape})`));
  }
  $("taxonomy").append(element("option", { value: OWN }, "custom labels …"));
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
  $("taxonomy").value = example.labels ? OWN : example.taxonomy;
  chooseMode();
  chooseTaxonomy();
  submit();
}

// The browser empties the form; the taxonomy is set to the default.
function reset() {
  running?.abort();
  setTimeout(() => {
    $("taxonomy").value = defaultTaxonomy;
    chooseMode();
    chooseTaxonomy();
    countTexts();
    $("similar").hidden = true;
    $("said").textContent = "";
    show(STATES, "empty");
    $("text").focus();
  });
}

async function openPrompt() {
  if (!$("prompt").open || $("messages").hasChildNodes()) return;
  $("prompt-about").textContent = "Loading …";
  try {
    showPrompt(await ask("/prompt", lastRequest));
  } catch (error) {
    $("prompt-about").textContent = `The prompt cannot be shown: ${lower(error.message)}`;
  }
}

function start() {
  if (/Mac|iPhone|iPad/.test(navigator.userAgent)) $("modifier").textContent = "⌘";
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  $("ask").addEventListener("reset", reset);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || $("key-dialog").open) return;
    event.preventDefault();
    submit();
  });
  for (const id of ["mode-one", "mode-many"]) $(id).addEventListener("change", chooseMode);
  $("texts").addEventListener("input", countTexts);
  $("taxonomy").addEventListener("change", chooseTaxonomy);
  $("again").addEventListener("click", submit);
  $("prompt").addEventListener("toggle", openPrompt);
  chooseMode(); // after a reload the browser restores the input and the mode
  countTexts();
  offerExamples();
  loadTaxonomies().catch(showTrouble);
}

start();
