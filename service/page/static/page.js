// The page at "/": what is asked, and which state shows.

import { ask } from "./api.js";
import { $, element, show } from "./dom.js";
import { EXAMPLES } from "./examples.js";
import { showAnswer, showFilms, showPrompt, showTable, spoken } from "./results.js";
import { csvOf, curlOf, labelsOf, textsOf } from "./texts.js";

const OWN = "";
const AT_ONCE = 32; // texts of one request, so that progress shows
const STATES = ["empty", "waiting", "trouble", "answer", "table"];
const vocabularies = new Map();
let underWay = null;
let usualVocabulary = OWN;
let lastAsked = null;
let csvUrl = null;

const many = () => $("mode-many").checked;
const own = () => $("vocabulary").value === OWN && vocabularies.size > 0;
const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1) + (/[.?!]$/.test(words) ? "" : ".");
const lower = (words) => words.charAt(0).toLowerCase() + words.slice(1);

// --- what is asked ---

// The part of a request that says which labels there are.
function vocabularyAsked() {
  if (!own()) return { taxonomy: $("vocabulary").value };
  return { labels: labelsOf($("labels").value), multi: $("multi").checked, allow_none: $("none").checked };
}

function textAsked() {
  const title = $("title").value.trim();
  return { ...($("text").value.trim() && { text: $("text").value }), ...(title && { title }) };
}

const vocabularySize = () =>
  own()
    ? labelsOf($("labels").value).length
    : vocabularies.get($("vocabulary").value).labels.filter((label) => label.predict).length;

// What is missing is told where it is missing, and nothing is sent.
function missing() {
  if (many() ? textsOf($("texts").value).length === 0 : Object.keys(textAsked()).length === 0) {
    return [$(many() ? "texts" : "text"), "Nothing to read yet: paste a text, or pick an example."];
  }
  if (own() && labelsOf($("labels").value).length === 0) return [$("labels"), "Give at least one label of your own."];
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
  underWay?.abort();
  const mine = (underWay = new AbortController());
  wait(true);
  try {
    await (many() ? classifyMany(mine.signal) : classifyOne(mine.signal));
  } catch (error) {
    if (error.name !== "AbortError") showTrouble(error);
  } finally {
    if (underWay === mine) wait(false);
  }
}

async function classifyOne(signal) {
  const asked = { ...textAsked(), ...vocabularyAsked() };
  const size = vocabularySize();
  const start = performance.now();
  const result = await ask("/classify", { ...asked, scores: true }, signal);
  const took = performance.now() - start;
  lastAsked = asked;
  for (const id of ["prompt", "curl"]) $(id).open = false;
  $("messages").replaceChildren();
  $("curl-line").textContent = curlOf(asked);
  showAnswer(result, took, { size });
  show(STATES, "answer");
  $("said").textContent = spoken(result, took);
  wait(false);
  showSimilar(await similarFilms(asked, signal)); // after the answer: a key is then known where one is needed
}

async function classifyMany(signal) {
  const texts = textsOf($("texts").value);
  const asked = vocabularyAsked();
  const results = [];
  const start = performance.now();
  while (results.length < texts.length) {
    $("progress").textContent = `${results.length} of ${texts.length} texts`;
    const part = texts.slice(results.length, results.length + AT_ONCE);
    results.push(...(await answersOf(part, asked, signal, results.length > 0)));
  }
  showTable(texts, results, performance.now() - start);
  if (csvUrl) URL.revokeObjectURL(csvUrl);
  csvUrl = URL.createObjectURL(new Blob([csvOf(texts, results)], { type: "text/csv" }));
  $("csv").href = csvUrl;
  show(STATES, "table");
  $("said").textContent = `${texts.length} texts are labelled.`;
}

// Answers that came before a failure are kept: the texts of a part that failed carry its problem.
async function answersOf(part, asked, signal, laterPart) {
  try {
    return (await ask("/classify", { texts: part, ...asked }, signal)).results;
  } catch (error) {
    if (!laterPart || !error.problem) throw error;
    return part.map(() => ({ labels: [], problem: error.problem }));
  }
}

// Films are an extra: whatever goes wrong with them is no trouble of the answer.
async function similarFilms(asked, signal) {
  const aboutFilms = vocabularies.get(asked.taxonomy)?.subject === "film";
  if ($("desk").dataset.similar !== "True" || !aboutFilms) return [];
  const text = [asked.title, asked.text].filter(Boolean).join(". ");
  try {
    return (await ask("/similar", { text, k: 6 }, signal)).films ?? [];
  } catch {
    return [];
  }
}

// On a phone the answer stands below what was asked.
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
  $("progress").textContent = "Reading …";
  $("said").textContent = "Reading";
  // An answer that is already there stays, dimmed, until the next one comes: nothing should jump.
  if ($("answer").hidden || many()) show(STATES, "waiting");
}

function showTrouble(error) {
  const problem = error.problem ?? { title: "This page has failed", detail: String(error.message ?? error) };
  $("trouble-title").textContent = problem.title;
  $("trouble-detail").textContent = sentence(problem.detail);
  const mayPass = !problem.status || problem.status >= 429; // else the same again fails the same way
  $("again").hidden = !mayPass;
  $("trouble-advice").textContent = error.retryAfter
    ? `Trying again makes sense in ${error.retryAfter} s.`
    : "What you typed is still here.";
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

function chooseVocabulary() {
  $("own").hidden = !own();
  $("text-fault").hidden = true;
  const chosen = vocabularies.get($("vocabulary").value);
  $("vocabulary-about").textContent = chosen ? chosen.labels.filter((l) => l.predict).map((l) => l.name).join(" · ") : "";
}

async function loadVocabularies() {
  const { default: usual, taxonomies } = await ask("/taxonomies");
  for (const taxonomy of taxonomies) {
    vocabularies.set(taxonomy.name, taxonomy);
    const labels = taxonomy.labels.filter((label) => label.predict).length;
    const shape = taxonomy.multi ? `up to ${taxonomy.max_labels} of ${labels} labels` : `one of ${labels} labels`;
    $("vocabulary").append(element("option", { value: taxonomy.name }, `${taxonomy.name} (${shape})`));
  }
  $("vocabulary").append(element("option", { value: OWN }, "labels of your own …"));
  $("vocabulary").value = usualVocabulary = usual;
  chooseVocabulary();
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
  $("vocabulary").value = example.labels ? OWN : example.vocabulary;
  chooseMode();
  chooseVocabulary();
  submit();
}

// The browser empties the form; the vocabulary goes back to the usual one.
function startAnew() {
  underWay?.abort();
  setTimeout(() => {
    $("vocabulary").value = usualVocabulary;
    chooseMode();
    chooseVocabulary();
    countTexts();
    $("similar").hidden = true;
    $("said").textContent = "";
    show(STATES, "empty");
    $("text").focus();
  });
}

async function openPrompt() {
  if (!$("prompt").open || $("messages").hasChildNodes()) return;
  $("prompt-about").textContent = "Filling it in …";
  try {
    showPrompt(await ask("/prompt", lastAsked));
  } catch (error) {
    $("prompt-about").textContent = `It cannot be shown: ${lower(error.message)}`;
  }
}

function start() {
  if (/Mac|iPhone|iPad/.test(navigator.userAgent)) $("modifier").textContent = "⌘";
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  $("ask").addEventListener("reset", startAnew);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || $("key-dialog").open) return;
    event.preventDefault();
    submit();
  });
  for (const id of ["mode-one", "mode-many"]) $(id).addEventListener("change", chooseMode);
  $("texts").addEventListener("input", countTexts);
  $("vocabulary").addEventListener("change", chooseVocabulary);
  $("again").addEventListener("click", submit);
  $("prompt").addEventListener("toggle", openPrompt);
  chooseMode(); // a reload keeps what was typed, and which mode was on
  countTexts();
  offerExamples();
  loadVocabularies().catch(showTrouble);
}

start();
