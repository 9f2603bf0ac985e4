// Scores as numbers and bars.

import { element } from "./dom.js";

export const WEAK = 0.2; // similarities below this never fill a bar
export const isProbability = (result) => result.score_type !== "similarity";
export const formatted = (score, probable) =>
  probable ? `${Math.round(score * 100)} %` : score.toFixed(2).replace("-", "−").replace("0.", ".");

// Hidden from screen readers: the number beside it has the same information.
export function bar(score, full) {
  const filled = element("span", { class: "bar-filled" });
  filled.style.setProperty("--share", Math.max(0, Math.min(1, score / full)));
  return element("span", { class: "bar", "aria-hidden": "true" }, filled);
}
