// The states of the answer pane, and what is shown while a request runs.

import { $, show } from "./dom.js";

const STATES = ["empty", "waiting", "error", "answer", "table"];
const NOTICEABLE = 500; // milliseconds after which the time and the Cancel button are shown
const startsWithAddress = /^\w+:\/\//;
export const sentence = (words) =>
  (startsWithAddress.test(words) ? words.charAt(0) : words.charAt(0).toUpperCase()) + words.slice(1) + (/[.?!]$/.test(words) ? "" : ".");

let before = "empty"; // state to return to after Cancel
let clock = null;

export function showState(state, spoken) {
  show(STATES, state);
  if (state !== "waiting") before = state === "error" ? "empty" : state;
  if (spoken !== undefined) $("status").textContent = spoken;
}

export const showPrevious = (spoken) => showState(before, spoken);

// `keepAnswer`: the last answer stays, dimmed, until the next one arrives, so the layout does not jump.
export function startWaiting(keepAnswer) {
  const start = performance.now();
  document.body.classList.add("busy");
  $("submit").setAttribute("aria-busy", "true");
  $("similar").hidden = true;
  $("progress").textContent = "Classifying …";
  $("status").textContent = "Classifying";
  if (!keepAnswer || $("answer").hidden) showState("waiting");
  clearInterval(clock);
  clock = setInterval(() => showElapsed(performance.now() - start), 100);
}

export function stopWaiting() {
  const waited = document.body.classList.contains("busy");
  clearInterval(clock);
  document.body.classList.remove("busy", "slow");
  $("submit").setAttribute("aria-busy", "false");
  if (document.activeElement === $("cancel")) $("submit").focus({ preventScroll: true });
  $("cancel").hidden = $("elapsed").hidden = true;
  if (waited) scrollToResult();
}

function showElapsed(milliseconds) {
  if (milliseconds < NOTICEABLE) return;
  document.body.classList.add("slow");
  $("cancel").hidden = $("elapsed").hidden = false;
  $("elapsed").textContent = `${Math.floor(milliseconds / 1000)} s`;
}

// On a phone the answer is below the form.
function scrollToResult() {
  if ($("result").getBoundingClientRect().top > innerHeight * 0.6) $("result").scrollIntoView({ block: "start" });
}

export function showError(error) {
  const problem = error.problem ?? { title: "This page has failed", detail: String(error.message ?? error) };
  $("error-title").textContent = problem.title;
  $("error-detail").textContent = sentence(problem.detail);
  const transient = !problem.status || problem.status >= 429; // else a retry fails the same way
  $("retry").hidden = !transient;
  $("error-advice").textContent = error.retryAfter
    ? `Try again in ${error.retryAfter} s.`
    : "The form keeps your input.";
  const kind = /\/problems\/([a-z-]+)$/.exec(problem.type ?? "")?.[1];
  $("error-page").hidden = !kind;
  if (kind) $("error-page").href = `./problems/${kind}`;
  showState("error", `${problem.title}. ${sentence(problem.detail)}`);
}
