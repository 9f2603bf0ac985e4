"use strict";
// Without this script the report is complete; with it, tables sort and the curve under the pointer is highlighted.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numeric = head.classList.contains("number");
      const first = numeric ? "descending" : "ascending";
      const other = numeric ? "ascending" : "descending";
      const turned = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", turned);
      const sign = turned === "ascending" ? 1 : -1;
      const key = (row) => row.cells[column].dataset.sort;
      const order = (a, b) => {
        if (!numeric) return sign * row_text(a).localeCompare(row_text(b));
        if (key(a) === undefined || key(b) === undefined) return (key(a) === undefined) - (key(b) === undefined);
        return sign * (key(a) - key(b));
      };
      const row_text = (row) => row.cells[column].textContent.trim();
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
    });
  });
}
for (const grid of document.querySelectorAll(".grid")) {
  const lines = [...grid.querySelectorAll("svg [data-series]")];
  for (const source of grid.querySelectorAll("[data-series]")) {
    const show = (on) => {
      grid.classList.toggle("chosen", on);
      lines.forEach((line) => line.classList.toggle("on", on && line.dataset.series === source.dataset.series));
    };
    source.addEventListener("pointerenter", () => show(true));
    source.addEventListener("pointerleave", () => show(false));
  }
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
