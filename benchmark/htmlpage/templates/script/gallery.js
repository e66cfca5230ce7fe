// The gallery: which pictures of which rows are compared, and their captions.

/** Return the rows of the table that have pictures. */
const withPictures = () => state.table.rows.filter((row) => DATA.records[row.record].pictures);
const picturesOf = (row) => DATA.records[row.record].pictures;
const viewName = (view) => (view === "error" ? `error ×${DATA.gallery.gain}` : view);

/** Draw the gallery for a new table, or say why there is none. */
function startGallery() {
  const rows = withPictures().sort(compareRows(state.table.columns[state.sort.column], state.sort.column, state.sort.descending));
  gallery.rows = rows;
  Object.assign(gallery, { image: 0, left: { row: 0, view: "output" }, right: { row: 0, view: "target" }, split: 50, zoom: null, isZoomed: false });
  byId("gallery-note").textContent = rows.length
    ? `For looking, not for measuring: JPEG; pictures over ${DATA.gallery.longest} pixels are shrunk, with a crop at 1:1 beside them.` : "";
  fill(byId("gallery"), rows.length ? [galleryControls(), make("div", { id: "stage" }), make("div", { id: "strip", class: "strip" }),
    missingNote()] : [emptyGallery()]);
  if (rows.length) drawGallery();
}

/** Return the note for a table without any picture. */
function emptyGallery() {
  const reasons = new Set(state.table.rows.map((row) => DATA.records[row.record].without).filter(Boolean));
  const why = DATA.gallery.limit ? [...reasons].map((reason) => `${capital(reason)}.`).join(" ") : "This page was made without pictures.";
  const advice = DATA.gallery.limit ? "Run again with `zoo-bench run --out DIR`, then make the page with `--results DIR`."
    : "Make it again with `--gallery 2`.";
  return make("p", { class: "note" }, make("b", {}, "No pictures. "), prose(`${why} ${advice}`));
}
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** Return the note about the rows without pictures, where others have some. */
function missingNote() {
  const missing = state.table.rows.filter((row) => DATA.records[row.record].without);
  if (!missing.length) return null;
  return make("details", { class: "muted" }, make("summary", {}, `${count(missing.length, "row")} without pictures`),
    make("ul", {}, missing.slice(0, 50).map((row) => make("li", {}, `${row.name}: no pictures: ${DATA.records[row.record].without}. `,
      prose("Run again with `zoo-bench run --out DIR`.")))));
}

function galleryControls() {
  const select = (id, label, change) => make("label", { class: "field grow" }, make("span", {}, label),
    make("select", { id, onchange: (event) => { change(event.target.value); drawGallery(); } }));
  const side = (name, label) => make("fieldset", { class: "side" }, make("legend", {}, label),
    select(`${name}-row`, "Model", (value) => { gallery[name].row = Number(value); }),
    select(`${name}-view`, "Picture", (value) => { gallery[name].view = value; }));
  return make("div", { class: "toolbar" }, side("left", "Left"), side("right", "Right"),
    make("fieldset", { class: "side" }, make("legend", {}, "Both"),
      select("image", "Image", (value) => { gallery.image = Number(value); }),
      select("zoom", "Zoom", (value) => { Object.assign(gallery, { zoom: Number(value), isZoomed: true }); }),
      select("layout", "Layout", (value) => { gallery.layout = value; })));
}

/** Return the image of a side: the one with the chosen id, where its row has it. */
function chosen(side) {
  const ids = imageIds();
  return picturesOf(gallery.rows[gallery[side].row]).find((image) => image.id === ids[gallery.image]);
}
/** Return the ids of all images of the rows that are compared. */
const imageIds = () => [...new Set(["left", "right"].flatMap((side) => picturesOf(gallery.rows[gallery[side].row]).map((image) => image.id)))];

function drawGallery() {
  const ids = imageIds();
  gallery.image = Math.min(gallery.image, ids.length - 1);
  for (const side of ["left", "right"]) {
    fill(byId(`${side}-row`), gallery.rows.map((row, index) => option(index, row.name, index === gallery[side].row)));
    fill(byId(`${side}-view`), VIEWS.map((view) => option(view, viewName(view), view === gallery[side].view)));
  }
  fill(byId("image"), ids.map((id, index) => option(index, id, index === gallery.image)));
  if (gallery.zoom === null) gallery.zoom = shownSize()[1] > byId("gallery").clientWidth ? 0 : 1;
  fill(byId("zoom"), [0, 1, 2, 4, 8].map((zoom) => option(zoom, zoom ? `${zoom}:1` : "fit", zoom === gallery.zoom)));
  fill(byId("layout"), Object.entries(LAYOUTS).map(([name, text]) => option(name, text, name === gallery.layout)));
  drawStage();
  drawStrip();
  hooks.changed();
}

const describe = (side) => `${viewName(gallery[side].view)}, ${gallery.rows[gallery[side].row].name}`;

/** Return model, picture and scores of a side; untrained networks have none. */
function caption(side, image) {
  const row = gallery.rows[gallery[side].row];
  const { view } = gallery[side];
  if (view === "input" || view === "target") return make("div", { class: side }, make("b", {}, viewName(view)));
  const untrained = row.cells[state.table.evidence] === "untrained";
  const scores = Object.entries((image && image.scores) || {}).map(([id, value]) => `${id} ${decimals(id, value)}`);
  const text = untrained ? "untrained: its output says nothing about the network" : scores.join(" · ");
  return make("div", { class: side }, make("b", {}, row.name), ` ${viewName(view)}`, make("span", { class: "muted" }, text));
}

/** Return a score with the decimals of its column; without any, with three significant digits. */
function decimals(id, value) {
  if (typeof value !== "number") return String(value);
  const digits = state.table.columns.find((column) => column.id === id)?.digits;
  return Number.isInteger(digits) ? value.toFixed(digits) : value.toPrecision(3);
}

/** Draw the four pictures of the left row: a click puts one to the left of the slider. */
function drawStrip() {
  const image = chosen("left");
  fill(byId("strip"), image ? VIEWS.map((view) => make("button", { type: "button", class: "thumb", "aria-pressed": String(view === gallery.left.view),
    onclick: () => { gallery.left.view = view; drawGallery(); byId("strip").querySelector('[aria-pressed="true"]').focus(); announce(`Left: ${describe("left")}.`); } },
  make("img", { alt: "", src: DATA.pictures[image.views[view]] }), make("span", {}, viewName(view)))) : []);
}
