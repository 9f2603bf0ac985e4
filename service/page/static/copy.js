// Copy buttons.

import { $, element } from "./dom.js";

const SHOWN = 2000; // milliseconds that a button shows the result

// `textOf` returns the text to copy when the button is pressed.
export function copies(id, textOf) {
  const button = $(id);
  const name = button.textContent;
  button.addEventListener("click", async () => {
    const done = await copy(textOf());
    button.focus();
    button.textContent = done ? "Copied" : "The browser does not allow it";
    $("status").textContent = button.textContent;
    setTimeout(() => (button.textContent = name), SHOWN);
  });
}

// Browsers have no navigator.clipboard on plain HTTP from another machine; the old command works there.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = element("textarea", { class: "hidden", "aria-hidden": "true" });
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}
