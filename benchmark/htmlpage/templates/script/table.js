// The table: headers that sort, cells that open the drawer, pages of rows.

/** Draw headers, rows, pager and legend. */
function drawTable() {
  drawHead();
  drawBody();
}

function drawHead() {
  const { table, sort } = state;
  const heads = [-1, ...shownColumns()].map((index) => {
    const column = index < 0 ? { title: "Model", unit: "", numeric: false, higher: null, contexts: null } : table.columns[index];
    const sorted = index === sort.column ? (sort.descending ? "descending" : "ascending") : "none";
    const better = column.higher === null ? null : make("span", { class: "better" }, arrow(column),
      make("span", { class: "sr" }, column.higher ? " higher is better" : " lower is better"));
    const button = make("button", { type: "button", onclick: () => sortBy(index) },
      make("span", { class: "title" }, breakable(column.title)), " ", make("span", { class: "tail" },
        column.unit ? make("span", { class: "unit" }, `${column.unit} `) : null, better,
        make("span", { class: "mark", "aria-hidden": "true" }, sorted === "none" ? "" : sort.descending ? "▼" : "▲")));
    const shape = shapeOf(column);
    return make("th", { scope: "col", "aria-sort": sorted, class: column.numeric ? "num" : null, "data-column": column.id || "model" },
      button, shape ? make("span", { class: "shape" }, `at ${shape}`) : null);
  });
  fill(byId("table").tHead, make("tr", {}, heads));
}

/** Return the input's shape where all values of a column have the same. */
function shapeOf(column) {
  const shapes = new Set((column.contexts || []).map((context) => context.shape));
  return shapes.size === 1 ? [...shapes][0] : "";
}

/** Sort by a column: first its better end first, then the other way round. */
function sortBy(index) {
  const column = state.table.columns[index];
  const again = state.sort.column === index;
  const first = index >= 0 && (column.higher === null ? false : column.higher);
  state.sort = { column: index, descending: again ? !state.sort.descending : first };
  state.page = 0;
  markSorted();
  drawBody();
  announce(`Sorted by ${index < 0 ? "model" : column.title}, ${state.sort.descending ? "descending" : "ascending"}.`);
}

/** Show in the headers what is sorted; the buttons stay, and the focus with them. */
function markSorted() {
  const heads = byId("table").tHead.rows[0].cells;
  [-1, ...shownColumns()].forEach((index, place) => {
    const sorted = index === state.sort.column;
    heads[place].setAttribute("aria-sort", sorted ? (state.sort.descending ? "descending" : "ascending") : "none");
    heads[place].querySelector(".mark").textContent = sorted ? (state.sort.descending ? "▼" : "▲") : "";
  });
}

function drawBody() {
  const rows = visibleRows();
  const last = Math.max(0, Math.ceil(rows.length / state.pageSize) - 1);
  state.page = Math.min(state.page, last);
  const columns = shownColumns();
  const shown = rows.slice(state.page * state.pageSize, (state.page + 1) * state.pageSize);
  const empty = make("tr", {}, make("td", { class: "empty", colspan: columns.length + 1 },
    "No row passes the filters. ", make("button", { type: "button", class: "button small", onclick: clearFilters }, "Clear filters")));
  fill(byId("table").tBodies[0], shown.length ? shown.map((row) => rowElement(row, columns)) : [empty]);
  rove(byId("table").tBodies[0].querySelector("button"));
  drawCount(rows.length);
  drawPager(rows.length, last);
  hooks.changed();
  drawLegend(shown, columns);
}

function drawCount(left) {
  const all = state.table.rows.length;
  byId("count").textContent = left === all ? count(all, "row") : `${left.toLocaleString("en")} of ${count(all, "row")}`;
}

function rowElement(row, columns) {
  const front = state.front.has(row);
  const name = make("button", { type: "button", class: "cell", tabindex: "-1", onclick: () => openDrawer(row, -1) }, breakable(row.name));
  const mark = front ? make("span", { class: "front", title: "On the Pareto front of the plot below" }, "◆",
    make("span", { class: "sr" }, " on the Pareto front")) : null;
  const cells = columns.map((index) => cellElement(row, index));
  return make("tr", { class: row.cells[statusColumn()] === "ok" && row.fair ? null : "failed" }, make("th", { scope: "row" }, make("span", { class: "name" }, name, mark)), cells);
}

const statusColumn = () => state.table.columns.findIndex((column) => column.id === "status");

function cellElement(row, index) {
  const column = state.table.columns[index];
  const cell = row.cells[index];
  if (column.id === "evidence") return make("td", { "data-column": column.id }, badge(cell, row));
  if (column.contexts === null) return make("td", { class: column.numeric ? "num" : null, "data-column": column.id }, cell === "" ? "–" : textOf(cell));
  if (cell === null) return make("td", { class: "num none" }, "–");
  const beside = besideOf(cell);
  const parts = [textOf(cell), signs(row.signs[index]), column.contexts.length > 1 ? make("sup", { class: "context" }, letter(contextOf(cell))) : null,
    beside.spread ? make("span", { class: "spread" }, beside.spread) : null];
  return make("td", { class: row.best.includes(index) ? "num best" : "num" },
    make("button", { type: "button", class: "cell", tabindex: "-1", onclick: () => openDrawer(row, index) }, parts));
}

/** Return the signs beside a value that is not like the others; the notes under the table explain them. */
function signs(text) {
  return text ? make("span", { class: "sign" }, text, make("span", { class: "sr" }, " see the notes under the table")) : null;
}

/** Return the evidence as a badge, with the recipe or file behind it, and why the row is not ranked. */
function badge(evidence, row) {
  const weights = row.cells[state.table.columns.findIndex((column) => column.id === "weights")];
  return make("span", {}, evidenceBadge(evidence),
    weights ? make("span", { class: "recipe" }, weights) : null, row.doubts.map((doubt) => make("span", { class: "doubt" }, doubt)));
}

/** Return the name of an evidence in its colour; a narrow window shows its sign in place of it. */
function evidenceBadge(evidence) {
  return make("span", { class: `badge ${evidence}`, title: evidence }, make("span", { class: "as-sign", "aria-hidden": "true" }, DATA.signs[evidence] || "?"),
    make("span", { class: "as-word" }, evidence));
}

function drawPager(left, last) {
  const go = (page) => () => { state.page = page; drawBody(); byId("scroller").scrollTop = 0; announce(`Page ${page + 1} of ${last + 1}.`); };
  const sizes = make("select", { onchange: (event) => { state.pageSize = Number(event.target.value); state.page = 0; drawBody(); } },
    PAGE_SIZES.map((size) => option(size, size.toLocaleString("en"), size === state.pageSize)));
  const needed = left > PAGE_SIZES[0];
  fill(byId("pager"), needed ? [
    make("label", { class: "inline" }, "Rows per page ", sizes),
    make("button", { type: "button", class: "button", disabled: state.page === 0, onclick: go(state.page - 1) }, "Previous"),
    make("span", {}, `Page ${state.page + 1} of ${last + 1}`),
    make("button", { type: "button", class: "button", disabled: state.page === last, onclick: go(state.page + 1) }, "Next"),
  ] : []);
}

/** Explain ranks, signs and letters: the notes are those of the Markdown, the letters are the page's own. */
function drawLegend(rows, columns) {
  const { notes, remarks } = state.table;
  const lines = [...notes];
  const timed = columns.filter((index) => state.table.columns[index].group !== "Scores");
  if (timed.some((index) => rows.some((row) => besideOf(row.cells[index]).spread))) lines.push("Times are medians, with quartiles in small digits.");
  if (rows.some((row) => row.best.length)) lines.push("Bold: the best value of a column, and scores that do not differ significantly from it.");
  if (state.front.size) lines.push("◆: on the Pareto front of the plot below.");
  const mixed = columns.filter((index) => (state.table.columns[index].contexts || []).length > 1);
  const list = (texts) => make("ul", {}, texts.map((text) => make("li", {}, prose(text))));
  fill(byId("legend"), list(lines), remarks.length ? make("details", {}, make("summary", {}, `Remarks on single rows: ${remarks.length}`), list(remarks)) : null,
    mixed.map((index) => contextLegend(state.table.columns[index])));
}

/** Say what the letters in a column stand for: only what differs. */
function contextLegend(column) {
  const differs = (name) => new Set(column.contexts.map((context) => context[name])).size > 1;
  const names = ["machine", "shape", "unit", "definition", "version"].filter(differs);
  const text = (context) => names.map((name) => (name === "definition" ? DATA.definitions[context[name]]
    : name === "shape" ? `input ${context[name] || "unknown"}` : name === "version" ? `version ${context[name]}` : context[name])).join("; ");
  return make("details", {}, make("summary", {}, `${fullTitle(column)}: values under different letters are not compared`),
    make("ul", {}, column.contexts.map((context, index) => make("li", {}, make("b", {}, letter(index)), ` ${text(context)}`))));
}

/** Make one button of the table the one that Tab reaches. */
function rove(button) {
  const body = byId("table").tBodies[0];
  body.querySelectorAll('button.cell[tabindex="0"]').forEach((other) => other.setAttribute("tabindex", "-1"));
  if (button && button.classList.contains("cell")) button.setAttribute("tabindex", "0");
}

/** Move between the cells with the arrow keys, Home and End. */
function moveInTable(event) {
  const button = event.target.closest("button.cell");
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -Infinity], End: [0, Infinity] };
  const step = steps[event.key];
  if (!button || !step || event.ctrlKey || event.altKey || event.metaKey) return;
  const target = step[0] ? vertical(button, step[0]) : horizontal(button, step[1]);
  event.preventDefault();
  if (target) { rove(target); target.focus(); }
}

function vertical(button, step) {
  const cell = button.closest("td, th");
  let row = cell.parentElement;
  do row = step < 0 ? row.previousElementSibling : row.nextElementSibling;
  while (row && !row.cells[cell.cellIndex]?.querySelector("button.cell"));
  return row?.cells[cell.cellIndex].querySelector("button.cell");
}

function horizontal(button, step) {
  const buttons = [...button.closest("tr").querySelectorAll("button.cell")];
  const place = buttons.indexOf(button) + step;
  return buttons[Math.max(0, Math.min(buttons.length - 1, place))];
}
