// Texts and labels from the input, and CSV from answers.

// Paragraphs if there are blank lines, else lines.
export function textsOf(typed) {
  const whole = typed.replaceAll("\r\n", "\n").trim();
  if (!whole) return [];
  const blank = /\n[ \t]*\n/;
  return whole.split(blank.test(whole) ? /\n(?:[ \t]*\n)+/ : "\n").map((text) => text.trim()).filter(Boolean);
}

// One label per line; a description may follow after a colon and a space.
export function labelsOf(typed) {
  return typed
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean)
    .map((line) => {
      const [, name, description] = line.match(/^(.*?\S):\s+(.+)$/) ?? [null, line, null];
      return description ? { name, description } : name;
    });
}

const cell = (value) => (/[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);

// Labels are separated by "|"; a text without an answer has its problem.
export function csvOf(texts, results) {
  const rows = results.map((result, place) => [
    texts[place],
    (result.labels ?? []).join("|"),
    result.model ?? "",
    result.problem?.detail ?? "",
  ]);
  const lines = [["text", "labels", "model", "problem"], ...rows].map((row) => row.map(cell).join(","));
  return `${lines.join("\r\n")}\r\n`;
}

// The request as a shell command; the body is in single quotes.
export function curlOf(body) {
  const quoted = JSON.stringify(body).replaceAll("'", "'\\''");
  const url = new URL("./classify", document.baseURI);
  return `curl -X POST ${url} \\\n  -H 'Content-Type: application/json' \\\n  -d '${quoted}'`;
}
