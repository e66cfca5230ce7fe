// The state of the page in its address, so that a view can be sent to a colleague. Only what differs from the first view
// of a table stands there; what this page does not have is passed over.

/** Return the state as text: names, not positions, so that it holds for a page of newer records too. */
function stateText() {
  const { table, filters, sort, axes } = state;
  const dataset = DATA.datasets[state.dataset];
  const idOf = (index) => (index < 0 ? "model" : table.columns[index].id);
  const first = { ...(table.sort || { column: -1, descending: false }) };
  const axis = (name) => `${idOf(axes[name])}${axes[`${name}Log`] ? ":log" : ""}`;
  const firstAxis = (name) => `${idOf(table.axes[name])}${wantsLog(table.axes[name]) ? ":log" : ""}`;
  const ids = (indices) => [...indices].sort((a, b) => a - b).map(idOf).join(" ");
  const limits = filters.limits.filter((limit) => Number.isFinite(limit.value)).map((limit) => `${idOf(limit.column)}${limit.sign}${limit.value}`);
  const isFirst = state.dataset === 0 && table === dataset.tables[0];
  const parts = [
    ["data", dataset.name, isFirst],
    ["kind", dataset.kind, isFirst],
    ["table", table.title, isFirst || table === dataset.tables[0]],
    ["sort", `${idOf(sort.column)}:${sort.descending ? "down" : "up"}`, sort.column === first.column && sort.descending === first.descending],
    ["columns", ids(state.shown), ids(state.shown) === ids(shownAtFirst())],
    ["search", filters.words.join(" "), !filters.words.length],
    ["without", [...filters.hidden].join(" "), !filters.hidden.size],
    ["limits", limits.join(" "), !limits.length],
    ["x", table.axes && axis("x"), !table.axes || axis("x") === firstAxis("x")],
    ["y", table.axes && axis("y"), !table.axes || axis("y") === firstAxis("y")],
    ["names", state.names, state.names === "front"],
    ...galleryParts(),
  ];
  const text = new URLSearchParams(parts.filter(([, , isDefault]) => !isDefault).map(([name, value]) => [name, value]));
  return text.toString();
}

function galleryParts() {
  if (!gallery.rows.length) return [];
  const side = (name) => `${gallery[name].view}:${gallery.rows[gallery[name].row].name}`;
  const first = (view) => `${view}:${gallery.rows[0].name}`;
  return [
    ["left", side("left"), side("left") === first("output")],
    ["right", side("right"), side("right") === first("target")],
    ["image", imageIds()[gallery.image], gallery.image === 0],
    ["zoom", String(gallery.zoom), gallery.zoom === null || !gallery.isZoomed],
    ["layout", gallery.layout, gallery.layout === "slider"],
  ];
}

let remembering = false;

/** Write the state into the address; the page is not loaded again and the history does not grow. */
function remember() {
  if (!remembering) return;
  const text = stateText();
  try { history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search); } catch { /* a page in a frame may not */ }
}

/** Show what an address says; return whether all of it is on this page. `show` shows a table of a dataset. */
function restore(text, show) {
  const given = new URLSearchParams(text);
  const name = (key) => given.get(key);
  const position = (items, found) => items.findIndex(found);
  let complete = true;
  const known = (index) => { if (index < 0) complete = false; return index >= 0; };
  const dataset = given.has("data") ? position(DATA.datasets, (one) => one.name === name("data") && one.kind === (name("kind") || one.kind)) : 0;
  const number = known(dataset) && given.has("table") ? position(DATA.datasets[dataset].tables, (one) => one.title === name("table")) : 0;
  show(Math.max(0, dataset), known(number) && dataset >= 0 ? number : 0);
  const { table } = state;
  const column = (id) => position(table.columns, (one) => one.id === id);
  if (given.has("sort")) {
    const [id, way] = split(name("sort"));
    const index = id === "model" ? -1 : column(id);
    if (id === "model" || known(index)) state.sort = { column: index, descending: way === "down" };
  }
  if (given.has("columns")) state.shown = new Set(name("columns").split(" ").filter(Boolean).map(column).filter(known));
  if (given.has("search")) state.filters.words = name("search").toLowerCase().split(/\s+/).filter(Boolean);
  if (given.has("without")) state.filters.hidden = new Set(name("without").split(" "));
  for (const limit of (name("limits") || "").split(" ").filter(Boolean)) {
    const [, id, sign, value] = limit.match(/^(.*)([≤≥])(.*)$/) || [];
    const index = column(id);
    if (known(index)) state.filters.limits.push({ column: index, sign, value: Number(value) });
  }
  for (const axis of table.axes ? ["x", "y"] : []) {
    if (!given.has(axis)) continue;
    const [id, log] = split(name(axis));
    const index = column(id) >= 0 ? column(id) : column(name(axis));
    if (known(index)) Object.assign(state.axes, { [axis]: index, [`${axis}Log`]: log === "log" });
  }
  state.names = ["front", "all", "none"].includes(name("names")) ? name("names") : "front";
  drawFilters();
  drawTable();
  drawAxes();
  drawPlot();
  restoreGallery(given, known);
  return complete;
}

function restoreGallery(given, known) {
  startGallery();
  if (!gallery.rows.length) return;
  for (const side of ["left", "right"]) {
    const text = given.get(side);
    if (!text) continue;
    const [view, row] = [text.slice(0, text.indexOf(":")), text.slice(text.indexOf(":") + 1)];
    const index = gallery.rows.findIndex((one) => one.name === row);
    if (known(index) && VIEWS.includes(view)) gallery[side] = { row: index, view };
  }
  const image = given.has("image") ? imageIds().indexOf(given.get("image")) : 0;
  if (known(image)) gallery.image = image;
  if (given.has("zoom") && ["0", "1", "2", "4", "8"].includes(given.get("zoom"))) Object.assign(gallery, { zoom: Number(given.get("zoom")), isZoomed: true });
  gallery.layout = given.get("layout") in LAYOUTS ? given.get("layout") : "slider";
  drawGallery();
}

/** Return what stands before and behind the last colon. */
function split(text) {
  const at = text.lastIndexOf(":");
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

/** Take the address of the page, now and whenever another is put in; the links at the top only scroll. */
function connectAddress(show) {
  const take = () => {
    const text = location.hash.slice(1);
    if (!text.includes("=")) return false;
    remembering = false;
    const complete = restore(text, show);
    remembering = true;
    if (!complete) announce("A part of the address is not on this page.");
    return true;
  };
  addEventListener("hashchange", take);
  document.querySelectorAll("a[data-section]").forEach((link) => link.addEventListener("click", (event) => {
    event.preventDefault();
    const section = byId(link.getAttribute("href").slice(1));
    section.scrollIntoView();
    section.focus({ preventScroll: true });
  }));
  if (!take()) show(0, 0);
  remembering = true;
  hooks.changed = soon(remember, 150);
}
