// A file of texts: dropped or chosen, read in the browser, one of its columns is classified.

import { $, element, show } from "./dom.js";
import { rowsOf, separatorOf, textsOf } from "./texts.js";

export const MAX_TEXTS = 5000;
const MAX_MEGABYTES = 10;
const PREVIEWS = 3;
const TEXT_COLUMNS = ["description", "overview", "plot", "text", "synopsis", "summary", "body", "content", "review", "message", "comment"];
const BULK = "For large files there is a command: main.py bulk FILE --out FILE.";

let table = null; // name, all rows as lists of cells, whether the first one may name the columns

// The chosen file as its name, `names` of columns, `rows` and `texts`; null where texts are typed.
export function fileTable() {
  if (!table) return null;
  const { names, rows } = columnsAndRows();
  return { file: table.name, names, rows, texts: rows.map((row) => row[Number($("column").value)] ?? "") };
}

function columnsAndRows() {
  const headed = $("header").checked;
  const names = table.cells[0].map((name, place) => (headed && name.trim()) || `Column ${place + 1}`);
  return { names: table.plain ? ["text"] : names, rows: (headed && !table.plain ? table.cells.slice(1) : table.cells).slice(0, MAX_TEXTS) };
}

// Reads a file and shows its columns. Throws an Error with a sentence for the user.
async function open(file) {
  const extension = /\.([a-z]+)$/i.exec(file.name)?.[1].toLowerCase() ?? "";
  if (!["csv", "tsv", "tab", "txt"].includes(extension)) throw new Error(`${file.name} is not a CSV, TSV or TXT file. Export it as CSV.`);
  if (file.size > MAX_MEGABYTES * 1e6) {
    throw new Error(`${file.name} has ${(file.size / 1e6).toFixed(1)} MB; this page reads up to ${MAX_MEGABYTES} MB. ${BULK}`);
  }
  const text = decoded(file.name, new Uint8Array(await file.arrayBuffer()));
  const plain = extension === "txt";
  const cells = plain ? textsOf(text).map((one) => [one]) : cellsOf(file.name, text, extension);
  if (cells.length === 0) throw new Error(`${file.name} has no text.`);
  table = { name: file.name, cells, plain };
  showFile();
}

function decoded(name, bytes) {
  const utf16 = (bytes[0] === 0xff && bytes[1] === 0xfe && "utf-16le") || (bytes[0] === 0xfe && bytes[1] === 0xff && "utf-16be");
  try {
    const text = new TextDecoder(utf16 || "utf-8", { fatal: true }).decode(bytes); // without the byte order mark
    if (!text.includes("\0")) return text;
  } catch {
    // reported below
  }
  throw new Error(`${name} is not text in UTF-8 or UTF-16. Save it as "CSV UTF-8".`);
}

function cellsOf(name, text, extension) {
  const [mark, chosen] = /^sep=(.)\r?\n/.exec(text) ?? ["", null];
  const body = text.slice(mark.length);
  try {
    return [...rowsOf(body, chosen ?? (extension === "csv" ? separatorOf(body) : "\t"))];
  } catch (error) {
    throw new Error(`${name}: ${error.message}.`);
  }
}

// --- what the form shows ---

function showFile() {
  const first = table.cells[0];
  $("header").checked = table.cells.length > 1 && !first.some((cell) => cell.length > 60 || !cell.trim());
  $("file-columns").hidden = table.plain;
  $("file-name").textContent = table.name;
  showColumns(mainColumn());
  show(["typed", "table-file"], "table-file");
  $("file-about").focus();
}

// A column with a usual name, else that with the longest texts.
function mainColumn() {
  const { names, rows } = columnsAndRows();
  const usual = TEXT_COLUMNS.map((name) => names.findIndex((one) => one.trim().toLowerCase() === name)).find((place) => place >= 0);
  const lengths = names.map((_, column) => rows.slice(0, 50).reduce((sum, row) => sum + (row[column] ?? "").length, 0));
  return usual ?? lengths.indexOf(Math.max(...lengths));
}

function showColumns(chosen) {
  const { names } = columnsAndRows();
  $("column").replaceChildren(...names.map((name, place) => element("option", { value: place }, name)));
  $("column").value = String(chosen);
  showRows();
}

function showRows() {
  const { rows, texts } = fileTable();
  const all = table.cells.length - ($("header").checked && !table.plain ? 1 : 0);
  $("file-rows").textContent = all === 1 ? "1 row" : `${all.toLocaleString("en")} rows`;
  $("file-limit").hidden = all <= MAX_TEXTS;
  $("file-limit").textContent = `Only the first ${rows.length.toLocaleString("en")} rows are classified. ${BULK}`;
  $("file-preview").replaceChildren(...texts.slice(0, PREVIEWS).map((text) => element("li", {}, text || "(empty)")));
}

export function removeFile() {
  table = null;
  $("file").value = "";
  show(["typed", "table-file"], "typed");
}

// --- events ---

// `onOpen` is called before a file is read, `onError` with the reason where it cannot be read.
export function acceptFiles(onOpen, onError) {
  const take = async (file) => {
    onOpen();
    try {
      await open(file);
    } catch (error) {
      onError(error.message);
    } finally {
      $("file").value = ""; // so that the same file can be chosen again
    }
  };
  $("pick").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => $("file").files[0] && take($("file").files[0]));
  $("column").addEventListener("change", showRows);
  $("header").addEventListener("change", () => showColumns($("column").value));
  $("file-remove").addEventListener("click", () => {
    removeFile();
    $("pick").focus();
  });
  acceptDrops(take);
}

// Files may be dropped anywhere on the page; elsewhere the browser would leave it.
function acceptDrops(take) {
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  const mark = (over) => $("form").classList.toggle("dropping", over);
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    mark(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget === null && mark(false));
  document.addEventListener("drop", (event) => {
    mark(false);
    if (!hasFiles(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
}
