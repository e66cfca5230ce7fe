// The gallery: two pictures over each other, and a slider between them.

const VIEWS = ["input", "output", "target", "error"];
const gallery = { image: 0, left: { row: 0, view: "output" }, right: { row: 0, view: "target" }, split: 50, zoom: 1 };

/** Return the rows of the table that have pictures. */
const withPictures = () => state.table.rows.filter((row) => DATA.records[row.record].pictures);
const picturesOf = (row) => DATA.records[row.record].pictures;
const viewName = (view) => (view === "error" ? `error ×${DATA.gallery.gain}` : view);

/** Draw the gallery for a new table, or say why there is none. */
function startGallery() {
  const rows = withPictures().sort(compareRows(state.table.columns[state.sort.column], state.sort.column, state.sort.descending));
  gallery.rows = rows;
  Object.assign(gallery, { image: 0, left: { row: 0, view: "output" }, right: { row: 0, view: "target" }, split: 50 });
  byId("gallery-note").textContent = rows.length ? `For looking, not for measuring: JPEG, at most ${DATA.gallery.longest} pixels long.` : "";
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
  return make("div", { class: "toolbar" }, side("left", "Left of the slider"), side("right", "Right of the slider"),
    make("fieldset", { class: "side" }, make("legend", {}, "Both"),
      select("image", "Image", (value) => { gallery.image = Number(value); }),
      select("zoom", "Zoom", (value) => { gallery.zoom = Number(value); })));
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
  fill(byId("zoom"), [1, 2, 4].map((zoom) => option(zoom, `${zoom}×`, zoom === gallery.zoom)));
  drawStage();
  drawStrip();
}

function drawStage() {
  const images = { left: chosen("left"), right: chosen("right") };
  const size = (images.left || images.right).size;
  const picture = (side) => (images[side]
    ? make("img", { class: side, alt: describe(side), src: DATA.pictures[images[side].views[gallery[side].view]], draggable: "false" })
    : make("div", { class: `${side} absent` }, "this row has no picture of this image"));
  const frame = make("div", { class: gallery.zoom > 1 ? "frame pixels" : "frame", style: `aspect-ratio: ${size[1]} / ${size[0]}; width: ${gallery.zoom * 100}%` },
    picture("right"), picture("left"), make("div", { class: "divider", "aria-hidden": "true" }));
  const slider = make("input", { type: "range", id: "slider", min: 0, max: 100, step: 1, value: gallery.split,
    "aria-label": "Share of the left picture", oninput: (event) => moveSplit(frame, Number(event.target.value)) });
  const box = make("div", { class: "frame-box", tabindex: gallery.zoom > 1 ? "0" : null, role: "group", "aria-label": "The two pictures" }, frame);
  fill(byId("stage"), make("div", { class: "captions" }, caption("left", images.left), caption("right", images.right)), box, slider);
  box.addEventListener("scroll", () => moveSplit(frame, gallery.split));
  frame.addEventListener("pointerdown", (event) => followPointer(frame, slider, event));
  moveSplit(frame, gallery.split);
}

/** Show the left picture up to a percentage of the width that is in sight: all of it, or a part where it is zoomed. */
function moveSplit(frame, percent) {
  gallery.split = percent;
  const box = frame.parentElement;
  const inSight = `${box.scrollLeft + (percent / 100) * box.clientWidth}px`;
  frame.style.setProperty("--split", gallery.zoom > 1 ? inSight : `${percent}%`);
  byId("slider").setAttribute("aria-valuetext", `${percent} % ${describe("left")}, the rest ${describe("right")}`);
}

/** Let the mouse drag the line between the pictures. */
function followPointer(frame, slider, event) {
  const move = (at) => {
    const box = frame.parentElement.getBoundingClientRect();
    slider.value = Math.max(0, Math.min(100, ((at.clientX - box.left) / box.width) * 100));
    moveSplit(frame, Number(slider.value));
  };
  const stop = () => { frame.removeEventListener("pointermove", move); };
  frame.setPointerCapture(event.pointerId);
  frame.addEventListener("pointermove", move);
  frame.addEventListener("pointerup", stop, { once: true });
  frame.addEventListener("pointercancel", stop, { once: true });
  move(event);
}

const describe = (side) => `${viewName(gallery[side].view)}, ${gallery.rows[gallery[side].row].name}`;

/** Return model, picture and scores of a side; untrained networks have none. */
function caption(side, image) {
  const row = gallery.rows[gallery[side].row];
  const { view } = gallery[side];
  if (view === "input" || view === "target") return make("div", { class: side }, make("b", {}, viewName(view)));
  const untrained = row.cells[state.table.evidence] === "untrained";
  const scores = Object.entries((image && image.scores) || {}).map(([id, value]) => `${id} ${typeof value === "number" ? value.toPrecision(4) : value}`);
  const text = untrained ? "untrained: its output says nothing about the network" : scores.join(" · ");
  return make("div", { class: side }, make("b", {}, row.name), ` ${viewName(view)}`, make("span", { class: "muted" }, text));
}

/** Draw the four pictures of the left row: a click puts one to the left of the slider. */
function drawStrip() {
  const image = chosen("left");
  fill(byId("strip"), image ? VIEWS.map((view) => make("button", { type: "button", class: "thumb", "aria-pressed": String(view === gallery.left.view),
    onclick: () => { gallery.left.view = view; drawGallery(); byId("strip").querySelector('[aria-pressed="true"]').focus(); announce(`Left: ${describe("left")}.`); } },
  make("img", { alt: "", src: DATA.pictures[image.views[view]] }), make("span", {}, viewName(view)))) : []);
}
