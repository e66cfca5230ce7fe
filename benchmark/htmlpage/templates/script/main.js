// Start: the choice of data and table, light and dark, and the first drawing.

const KINDS = { real: "Real data", standin: "Stand-in data", none: "Costs without data" };
const THEMES = ["auto", "light", "dark"];

function drawDatasets() {
  const groups = Object.keys(KINDS).filter((kind) => DATA.datasets.some((dataset) => dataset.kind === kind));
  fill(byId("dataset"), groups.map((kind) => make("optgroup", { label: KINDS[kind] },
    DATA.datasets.map((dataset, index) => (dataset.kind === kind ? option(index, dataset.name) : null)).filter(Boolean))));
  byId("dataset").addEventListener("change", (event) => show(Number(event.target.value), 0));
}

function drawTables(dataset, number) {
  const { tables, kind, note } = DATA.datasets[dataset];
  fill(byId("tables"), tables.map((table, index) => make("label", {}, make("input", { type: "radio", name: "table", value: index,
    checked: index === number, onchange: () => show(dataset, index) }),
  make("span", {}, table.title, make("small", {}, ` ${table.rows.length.toLocaleString("en")}`)))));
  const failed = tables[number].rows.some((row) => DATA.records[row.record].error) ? "Rows that failed say why behind their name." : "";
  const texts = [note, tables[number].caution, failed].filter(Boolean);
  fill(byId("dataset-note"), texts.length ? make("p", { class: "note" }, kind === "standin" ? make("span", { class: "badge standin" }, "stand-in") : null,
    ` ${texts.join(" ")}`) : "");
}

/** Show a table of a dataset. */
function show(dataset, number) {
  const focused = byId("tables").contains(document.activeElement);
  chooseTable(dataset, number);
  state.front = new Set();
  byId("dataset").value = dataset;
  drawTables(dataset, number);
  byId("table-title").textContent = `${DATA.datasets[dataset].name} · ${state.table.title}`;
  drawFilters();
  drawTable();
  drawAxes();
  drawPlot();
  startGallery();
  if (focused) byId("tables").querySelector("input:checked").focus();
  announce(`${DATA.datasets[dataset].name}, ${state.table.title}: ${byId("count").textContent}.`);
}
let started = false;

/** Take light, dark, or what the system says; remembered where the browser lets a file remember. */
function applyTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  byId("theme").textContent = `Theme: ${theme}`;
  try { localStorage.setItem("zoo-bench-theme", theme); } catch { /* a file may not be allowed to store */ }
  if (started) drawPlot();
}

function connectTheme() {
  let theme = "auto";
  try { theme = localStorage.getItem("zoo-bench-theme") || "auto"; } catch { /* as above */ }
  if (!THEMES.includes(theme)) theme = "auto";
  applyTheme(theme);
  byId("theme").addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    applyTheme(theme);
    announce(`Theme: ${theme}.`);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (theme === "auto") drawPlot(); });
}

connectTheme();
connectFilters();
connectPlot();
connectDrawer();
byId("table").tBodies[0].addEventListener("keydown", moveInTable);
byId("table").tBodies[0].addEventListener("focusin", (event) => rove(event.target.closest("button.cell")));
drawDatasets();
connectAddress(show);
started = true;
requestAnimationFrame(() => setTimeout(loadPlotly));
