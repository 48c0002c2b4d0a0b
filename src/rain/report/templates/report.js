"use strict";

/* Sorting: the headings of tables become buttons. Up, down, then as it was. Without this script nothing is missing but that. */

const plain = (node) => (node ? node.textContent.trim() : "");

/* What a cell says first: below a figure stands its interval, and before a name that of its group. */
const said = (cell) => {
  const nodes = cell ? [...cell.childNodes] : [];
  return plain(nodes.find((node) => plain(node) && !(node.classList && node.classList.contains("of"))));
};

/* The cell of a column: some cells span several. */
const cellAt = (row, column) => {
  let place = 0;
  for (const cell of row.cells) {
    place += cell.colSpan;
    if (column < place) return cell;
  }
  return null;
};

const valueOf = (row, column) => {
  const text = said(cellAt(row, column));
  const figure = /^<?\s*[+-]?\d+(\.\d+)?(?![\d/])/.exec(text.replace("\u2212", "-"));
  return { text, figure: figure ? parseFloat(figure[0].replace("<", "")) : null };
};

/* Figures before words, and what is empty last, whichever way. */
const compare = (one, other, up) => {
  const empty = (value) => value.text === "" || value.text === "-";
  if (empty(one) !== empty(other)) return empty(one) ? 1 : -1;
  if ((one.figure === null) !== (other.figure === null)) return one.figure === null ? 1 : -1;
  const order = one.figure !== null ? one.figure - other.figure : one.text.localeCompare(other.text, "en", { numeric: true });
  return up ? order : -order;
};

const isGroup = (row) => row.querySelector("th[scope=rowgroup]") !== null;

/* Which column a heading stands above, where headings have two lines: data-column says it. */
const columnOf = (heading) => {
  if (heading.dataset.column !== undefined) return Number(heading.dataset.column);
  let place = 0;
  for (const other of heading.parentElement.cells) {
    if (other === heading) return place;
    place += other.colSpan;
  }
  return -1;
};

const makeSortable = (table) => {
  const bodies = [...table.tBodies];
  const rows = [];
  for (const body of bodies) {
    let group = "";
    for (const row of body.rows) {
      if (isGroup(row)) {
        group = said(row.cells[0]);
        continue;
      }
      if (group) {
        const name = document.createElement("span");
        name.className = "of";
        name.textContent = `${group}: `;
        row.cells[0].prepend(name);
      }
      rows.push(row);
    }
  }
  if (rows.length < 2) return;
  const homes = bodies.map((body) => [body, [...body.rows]]);
  const sorted = document.createElement("tbody");
  const headings = [...table.tHead.querySelectorAll("th[scope=col]")];

  const sort = (heading) => {
    const before = heading.getAttribute("aria-sort");
    const next = { null: "ascending", ascending: "descending", descending: null }[before];
    for (const other of headings) other.removeAttribute("aria-sort");
    if (next === null) {
      sorted.remove();
      for (const [body, own] of homes) {
        body.replaceChildren(...own);
        table.append(body);
      }
      table.classList.remove("sorted");
      return;
    }
    const column = columnOf(heading);
    const keyed = rows.map((row) => [valueOf(row, column), row]);
    keyed.sort(([one], [other]) => compare(one, other, next === "ascending"));
    for (const [body] of homes) body.remove();
    sorted.replaceChildren(...keyed.map(([, row]) => row));
    table.append(sorted);
    table.classList.add("sorted");
    heading.setAttribute("aria-sort", next);
  };

  for (const heading of headings) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.title = "Sort";
    button.append(...heading.childNodes);
    heading.replaceChildren(button);
    button.addEventListener("click", () => sort(heading));
  }
};

for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);

/* Copying: what stands in a box, to the clipboard. */

const select = (box) => {
  const range = document.createRange();
  range.selectNodeContents(box);
  const selection = getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
};

const copy = async (button, box) => {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(box.textContent);
    button.textContent = "Copied";
  } catch {
    select(box);
    button.textContent = document.execCommand("copy") ? "Copied" : "Selected: copy it by hand";
  }
  setTimeout(() => { button.textContent = label; }, 2000);
};

for (const button of document.querySelectorAll("button.copy")) {
  const box = document.getElementById(button.dataset.copies);
  button.hidden = false;
  button.addEventListener("click", () => { if (!/^(Copied|Selected)/.test(button.textContent)) copy(button, box); });
}
