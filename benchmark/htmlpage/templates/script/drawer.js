// The drawer: everything that is known about one value, or about one row.

/** Open the drawer for a cell; `index` -1 stands for the row. The number comes first, then its origin. */
function openDrawer(row, index) {
  const record = DATA.records[row.record];
  const column = index < 0 ? null : state.table.columns[index];
  byId("drawer-title").textContent = column ? `${column.title} of ${row.name}` : row.name;
  fill(byId("drawer-body"), column ? valueSection(column, row.cells[index]) : null,
    runsSection(record, column), recordSection(row, record), commandSection(record), environmentSection(DATA.environments[record.environment]),
    column ? null : rowSection(row));
  byId("drawer").showModal();
  byId("drawer-body").scrollTop = 0;
}

/** Return a list of names and texts, those without a text left out. */
function list(entries) {
  const present = entries.filter(([, text]) => text !== null && text !== undefined && text !== "");
  return make("dl", {}, present.map(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]).flat());
}

function section(title, ...children) {
  return make("section", {}, make("h3", {}, title), children);
}

/** Return a number with all its digits, thousands apart. */
const exact = (value) => (typeof value === "number" ? value.toLocaleString("en", { maximumSignificantDigits: 17 }) : String(value));

function valueSection(column, cell) {
  const [value, text, place, beside = {}] = cell;
  const context = column.contexts[place];
  const between = (low, high) => (low === undefined || high === undefined ? null : `${exact(low)} to ${exact(high)} ${context.unit}`);
  return section("Value", make("p", { class: "big" }, `${text} ${column.unit}`),
    list([
      ["Measured", value === null ? "no value" : `${exact(value)} ${context.unit}`],
      ["Better", column.higher === null ? "neither direction" : column.higher ? "higher" : "lower"],
      ["Quartiles", between(beside.q1, beside.q3)],
      ["95 % interval", between(beside.ci_low, beside.ci_high)],
      [column.group === "Scores" ? "Images" : "Samples", beside.n === undefined ? null : exact(beside.n)],
      ["Scenes", beside.num_scenes === undefined ? null : exact(beside.num_scenes)],
      ["Runs", beside.num_runs > 1 ? exact(beside.num_runs) : null],
      ["Standard deviation between runs", beside.run_std === undefined ? null : `${exact(beside.run_std)} ${context.unit}`],
      ["Infinite values", beside.n_inf === undefined ? null : exact(beside.n_inf)],
      ["Mean of the finite", beside.finite_mean === undefined ? null : exact(beside.finite_mean)],
      ["Input", context.shape && `${context.shape} (channels × height × width)`],
      ["Layer", beside.layer],
      ["Threads", beside.threads === undefined ? null : exact(beside.threads)],
      ["Disturbed", (beside.tainted || []).join("; ")],
      ["Remark", beside.remark],
      ["Definition", `${DATA.definitions[context.definition]}.`],
      ["Id and version", `${column.id}, version ${context.version}`],
    ]));
}

function rowSection(row) {
  const shown = state.table.columns.map((column, index) => [column, row.cells[index]]);
  const values = shown.filter(([column, cell]) => column.contexts !== null && cell !== null);
  const text = (column, cell) => `${textOf(cell)} ${column.unit}${besideOf(cell).spread ? ` (${besideOf(cell).spread})` : ""}`.trim();
  return values.length ? section("Values", list(values.map(([column, cell]) => [column.title, text(column, cell)]))) : null;
}

/** Return a table with a line for each training of a row: the score of the column, or else the main one. */
function runsSection(record, column) {
  if (!record.runs.length) return null;
  const shown = column && column.id in record.runs[0].scores ? column : state.table.columns[state.table.sort.column];
  const digits = (value) => (typeof value === "number" ? value.toPrecision(6) : String(value ?? "–"));
  const heads = ["Seed", `${shown.title} ${shown.unit}`.trim(), "Weights sha256", "Record"];
  const line = (run) => [run.seed, digits(run.scores[shown.id]), `${run.sha256.slice(0, 8)}…`, run.record];
  const cells = (tag, texts) => make("tr", {}, texts.map((text) => make(tag, tag === "th" ? { scope: "col" } : {}, text)));
  return section(`${record.runs.length} runs`, make("table", { class: "runs" },
    make("thead", {}, cells("th", heads)), make("tbody", {}, record.runs.map((run) => cells("td", line(run))))));
}

function commandSection(record) {
  const code = make("pre", { tabindex: "0", "aria-label": "Commands" }, make("code", {}, record.commands.join("\n")));
  const button = make("button", { type: "button", class: "button small", onclick: () => copy(code, record.commands.join("\n")) }, "Copy");
  return section("To measure it again", code, button, record.remark ? make("p", { class: "muted" }, record.remark) : null);
}

/** Copy a text; where a browser refuses, select it instead. */
async function copy(element, text) {
  try {
    await navigator.clipboard.writeText(text);
    announce("Copied.");
  } catch {
    getSelection().selectAllChildren(element);
    announce("Selected; copy it with your browser.");
  }
}

function recordSection(row, record) {
  const { weights, data } = record;
  const recipe = weights.recipe && `${weights.recipe}${weights.seed ? `, seed ${weights.seed}` : ""}`;
  const standin = data.standin ? `stand-in data, generator ${data.generator}, sources ${data.sources}` : null;
  return section(record.runs.length ? "Record of the first run" : "Record", list([
    ["Evidence", row.cells[state.table.evidence]],
    ["Recipe", recipe],
    ["Weights file", weights.name],
    ["Weights sha256", weights.sha256],
    ["Trained on data", weights.data_digest],
    ["Source of weights", weights.source],
    ["Failure", record.error],
    ["Key", record.key],
    ["File", `${record.file}, record ${record.number}`],
    ["Times", record.timed && `measured apart: ${record.timed}`],
    ["Measured on", record.created],
    ["Took", `${exact(record.seconds)} s`],
    ["Conditions", record.conditions],
    ["Protocol", record.protocol],
    ["Data", standin],
    ["Data digest", data.digest],
    ["Model's code", record.code],
    ["Images left out", record.skipped ? exact(record.skipped) : null],
    ["Notes", record.notes.length ? make("ul", {}, record.notes.map((note) => make("li", {}, note))) : null],
  ]));
}

function environmentSection(environment) {
  const packages = Object.entries(environment.packages).map(([name, version]) => `${name} ${version}`).join(", ");
  const dirty = { true: "yes: the code is not exactly this commit", false: "no" }[environment.dirty] || "unknown";
  return section("Machine and versions", list([
    ["Machine", environment.machine],
    ["Processor", `${environment.cpu}, ${environment.cores} cores`],
    ["Memory", `${(environment.memory_bytes / 2 ** 30).toFixed(1)} GiB`],
    ["Threads", exact(environment.threads)],
    ["Platform", environment.platform],
    ["Python", environment.python],
    ["torch", environment.torch],
    ["Packages", packages],
    ["Commit", environment.commit || "unknown"],
    ["Uncommitted changes", dirty],
  ]));
}

/** Connect the drawer, once: Escape closes a dialog by itself, a click beside it does here. */
function connectDrawer() {
  const drawer = byId("drawer");
  byId("drawer-close").addEventListener("click", () => drawer.close());
  drawer.addEventListener("click", (event) => { if (event.target === drawer) drawer.close(); });
}
