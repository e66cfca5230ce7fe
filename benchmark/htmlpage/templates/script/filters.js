// The controls above the table: search, evidence, limits, columns.

const filtersChanged = () => {
  state.page = 0;
  drawBody();
  markFilters();
  drawPlotSoon();
  announceSoon();
};
const announceSoon = soon(() => announce(byId("count").textContent), 400);

/** Show beside each menu how much it hides. */
function markFilters() {
  const { hidden, limits, words } = state.filters;
  const active = limits.filter((limit) => Number.isFinite(limit.value)).length;
  byId("evidence-count").textContent = hidden.size ? ` −${hidden.size}` : "";
  byId("limits-count").textContent = active ? ` ${active}` : "";
  byId("columns-count").textContent = ` ${state.shown.size} of ${state.table.columns.length}`;
  byId("clear").disabled = !hidden.size && !limits.length && !words.length;
}

/** Draw the controls for a new table. */
function drawFilters() {
  byId("search").value = state.filters.words.join(" ");
  drawEvidence();
  drawLimits();
  drawColumns();
  markFilters();
}

function drawEvidence() {
  const found = [...new Set(state.table.rows.map((row) => row.cells[state.table.evidence]))].sort();
  fill(byId("evidence"), found.map((evidence) => make("label", { class: "check" },
    make("input", { type: "checkbox", checked: !state.filters.hidden.has(evidence), onchange: (event) => {
      if (event.target.checked) state.filters.hidden.delete(evidence); else state.filters.hidden.add(evidence);
      filtersChanged();
    } }), evidenceBadge(evidence))));
}

function drawLimits() {
  const numeric = numericColumns();
  fill(byId("limits"), state.filters.limits.length ? state.filters.limits.map((limit) => limitElement(limit, numeric))
    : [make("p", { class: "muted" }, "No limit yet.")]);
}

function limitElement(limit, numeric) {
  const change = (name, read) => (event) => { limit[name] = read(event.target); filtersChanged(); };
  return make("div", { class: "limit" },
    make("select", { "aria-label": "Column", onchange: change("column", (input) => Number(input.value)) },
      numeric.map((index) => option(index, fullTitle(state.table.columns[index]), index === limit.column))),
    make("select", { "aria-label": "Comparison", onchange: change("sign", (input) => input.value) },
      option("≤", "at most", limit.sign === "≤"), option("≥", "at least", limit.sign === "≥")),
    make("input", { type: "number", step: "any", "aria-label": "Value", value: Number.isFinite(limit.value) ? limit.value : null,
      oninput: change("value", (input) => (input.value === "" ? NaN : Number(input.value))) }),
    make("button", { type: "button", class: "button small", "aria-label": "Remove this limit", onclick: () => {
      state.filters.limits = state.filters.limits.filter((other) => other !== limit);
      drawLimits();
      filtersChanged();
      byId("add-limit").focus();
    } }, "✕"));
}

function addLimit() {
  const column = state.sort.column >= 0 && state.table.columns[state.sort.column].numeric ? state.sort.column : numericColumns()[0];
  if (column === undefined) return;
  state.filters.limits.push({ column, sign: state.table.columns[column].higher ? "≥" : "≤", value: NaN });
  drawLimits();
  markFilters();
  byId("limits").lastElementChild.querySelector("input").focus();
}

function drawColumns() {
  const groups = [...new Set(state.table.columns.map((column) => column.group))];
  fill(byId("columns"), groups.map((group) => make("fieldset", {}, make("legend", {}, group),
    state.table.columns.map((column, index) => (column.group === group ? columnBox(column, index) : null)).filter(Boolean))));
}

function columnBox(column, index) {
  return make("label", { class: "check" }, make("input", { type: "checkbox", checked: state.shown.has(index), "data-column": column.id,
    onchange: (event) => {
      if (event.target.checked) state.shown.add(index); else state.shown.delete(index);
      drawTable();
      markFilters();
      announce(`${column.title} ${event.target.checked ? "shown" : "hidden"}.`);
    } }), ` ${fullTitle(column)}`);
}

function clearFilters() {
  state.filters = { words: [], hidden: new Set(), limits: [] };
  drawFilters();
  filtersChanged();
  byId("search").focus();
}

/** Connect the controls, once. */
function connectFilters() {
  byId("search").addEventListener("input", (event) => {
    state.filters.words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    filtersChanged();
  });
  byId("clear").addEventListener("click", clearFilters);
  byId("add-limit").addEventListener("click", addLimit);
  byId("reset-columns").addEventListener("click", () => { firstColumns(); drawColumns(); drawTable(); markFilters(); });
  const menus = [...document.querySelectorAll("details.menu")];
  const close = (except) => menus.forEach((menu) => { if (menu !== except) menu.open = false; });
  document.addEventListener("click", (event) => {
    if (event.target.isConnected) close(event.target.closest("details.menu"));
  });
  document.addEventListener("keydown", (event) => {
    const open = menus.find((menu) => menu.open);
    if (event.key !== "Escape" || !open || byId("drawer").open) return;
    close(null);
    open.querySelector("summary").focus();
  });
}
