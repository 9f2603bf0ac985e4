// Texts, labels and tables from the input; CSV and commands from answers.

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

// The rows of a CSV or TSV file (RFC 4180), without blank lines. In a TSV file, an unclosed quote is a letter.
export function* rowsOf(text, separator) {
  let row = [];
  let place = 0;
  while (place < text.length) {
    const [cell, end] = text[place] === '"' ? quoted(text, place, separator) : bare(text, place, separator);
    row.push(cell);
    place = end;
    if (text[place] === separator) {
      place += 1;
      if (place < text.length) continue;
      row.push("");
    }
    if (text[place] === "\r") place += 1;
    if (text[place] === "\n") place += 1;
    if (row.length > 1 || row[0].trim()) yield row;
    row = [];
  }
}

function bare(text, start, separator) {
  let end = start;
  while (end < text.length && text[end] !== separator && text[end] !== "\n" && text[end] !== "\r") end += 1;
  return [text.slice(start, end), end];
}

function quoted(text, start, separator) {
  let end = text.indexOf('"', start + 1);
  while (end !== -1 && text[end + 1] === '"') end = text.indexOf('"', end + 2);
  const closed = end !== -1 && [undefined, separator, "\r", "\n"].includes(text[end + 1]);
  if (closed) return [text.slice(start + 1, end).replaceAll('""', '"'), end + 1];
  if (end !== -1 || separator === "\t") return bare(text, start, separator);
  throw new Error(`the quote on line ${text.slice(0, start).split("\n").length} never closes`);
}

// The separator of a table: of those in its first row, the one that divides the next rows alike.
export function separatorOf(text) {
  const found = [",", ";", "\t", "|"].map((separator) => {
    const rows = firstRows(text, separator);
    const columns = rows[0]?.length ?? 1;
    return { separator, columns, alike: rows.filter((row) => row.length === columns).length / rows.length };
  });
  const several = found.filter(({ columns }) => columns > 1);
  several.sort((one, other) => other.alike - one.alike || other.columns - one.columns);
  return several[0]?.separator ?? ""; // one column: commas are part of its texts
}

function firstRows(text, separator) {
  const rows = [];
  try {
    for (const row of rowsOf(text, separator)) if (rows.push(row) === 20) break;
  } catch {
    // an unclosed quote: reported when the whole file is read
  }
  return rows;
}

const cell = (value) => (/[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);

// The answers to a text under each of several taxonomies; a problem of the whole text is that of each.
export const answersIn = (result, columns) => (columns.length ? columns.map((name) => result.taxonomies?.[name] ?? result) : [result]);

// The columns of the input, then the answers: of each taxonomy, where `columns` names several. Labels and their scores
// are separated by "|".
export function csvOf(names, rows, columns, results) {
  const parts = ["labels", "scores", "model", "problem"];
  const answers = columns.length ? columns.flatMap((name) => parts.map((part) => `${name}_${part}`)) : parts;
  const added = answers.map((name) => (names.includes(name) ? `marquee_${name}` : name));
  const lines = results.map((result, place) => [
    ...names.map((_, column) => rows[place][column] ?? ""),
    ...answersIn(result, columns).flatMap(answerCells),
  ]);
  return [[...names, ...added], ...lines].map((line) => `${line.map(cell).join(",")}\r\n`).join("");
}

const answerCells = ({ labels = [], scores, model, problem }) => [
  labels.join("|"),
  labels.map((name) => scores?.[name] ?? "").join("|"),
  model ?? "",
  problem?.detail ?? "",
];

// The request as a shell command; the body is in single quotes.
export function curlOf(body, withKey) {
  const inQuotes = JSON.stringify(body).replaceAll("'", "'\\''");
  const url = new URL("./classify", document.baseURI);
  const key = withKey ? ` \\\n  -H "X-API-Key: $MARQUEE_KEY"` : "";
  return `curl -X POST ${url} \\\n  -H 'Content-Type: application/json'${key} \\\n  -d '${inQuotes}'`;
}
