// The stage of the gallery: two pictures over each other with a slider between them, or beside each other with their
// difference in the middle; they are zoomed and moved together.

const VIEWS = ["input", "output", "target", "error"];
const LAYOUTS = { slider: "slider", beside: "with difference" };
// `zoom`: pixels of the window for one of the picture; 0 fits it to the window, null chooses one of these.
const gallery = { rows: [], image: 0, left: { row: 0, view: "output" }, right: { row: 0, view: "target" }, split: 50, zoom: null, layout: "slider" };

/** Return height and width of the compared picture as the page holds it: large ones are shrunk. */
function shownSize() {
  const { size } = chosen("left") || chosen("right");
  const scale = Math.min(1, DATA.gallery.longest / Math.max(...size));
  return size.map((side) => Math.max(1, Math.round(side * scale)));
}

function drawStage() {
  const images = { left: chosen("left"), right: chosen("right") };
  const [height, width] = shownSize();
  const wide = gallery.zoom ? `${gallery.zoom * width}px` : "100%";
  const style = `aspect-ratio: ${width} / ${height}; width: ${wide}`;
  const draw = gallery.layout === "slider" ? drawSlider : drawBeside;
  byId("stage").className = gallery.zoom > 1 ? "pixels" : "";
  // The slider is as wide as the pictures, where they leave room.
  byId("stage").style.maxWidth = gallery.layout === "slider" ? (gallery.zoom ? `max(${wide}, 20rem)` : "760px") : "";
  draw(images, style);
  const withError = gallery.layout === "beside" || ["left", "right"].some((side) => gallery[side].view === "error");
  if (withError) byId("stage").append(errorScale());
}

/** Return the picture of a side, or a word that there is none. */
const picture = (side, images) => (images[side]
  ? make("img", { class: side, alt: describe(side), src: DATA.pictures[images[side].views[gallery[side].view]], draggable: "false" })
  : make("div", { class: `${side} absent` }, "this row has no picture of this image"));
const scrolls = (box) => { if (gallery.zoom) box.setAttribute("tabindex", "0"); };

function drawSlider(images, style) {
  const frame = make("div", { class: "frame", style }, picture("right", images), picture("left", images), make("div", { class: "divider", "aria-hidden": "true" }));
  const slider = make("input", { type: "range", id: "slider", min: 0, max: 100, step: 1, value: gallery.split,
    "aria-label": "Share of the left picture", oninput: (event) => moveSplit(frame, Number(event.target.value)) });
  const box = make("div", { class: "frame-box", role: "group", "aria-label": "The two pictures" }, frame);
  scrolls(box);
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
  frame.style.setProperty("--split", frame.clientWidth > box.clientWidth ? inSight : `${percent}%`);
  byId("slider").setAttribute("aria-valuetext", `${percent} % ${describe("left")}, the rest ${describe("right")}`);
}

/** Let the mouse drag the line between the pictures. */
function followPointer(frame, slider, event) {
  const move = (at) => {
    const [box, whole] = [frame.parentElement.getBoundingClientRect(), frame.getBoundingClientRect()];
    const [left, width] = [Math.max(box.left, whole.left), Math.min(box.width, whole.width)];
    slider.value = Math.max(0, Math.min(100, ((at.clientX - left) / width) * 100));
    moveSplit(frame, Number(slider.value));
  };
  untilReleased(frame, event, move);
  move(event);
}

/** Call `move` with every event of the pointer until it is released. */
function untilReleased(element, event, move) {
  const stop = () => { element.removeEventListener("pointermove", move); };
  element.setPointerCapture(event.pointerId);
  element.addEventListener("pointermove", move);
  element.addEventListener("pointerup", stop, { once: true });
  element.addEventListener("pointercancel", stop, { once: true });
}

function drawBeside(images, style) {
  const differs = images.left && images.right ? make("canvas", { role: "img", "aria-label": `difference of ${describe("left")} and ${describe("right")}` })
    : make("div", { class: "absent" }, "no difference: one picture is missing");
  const middle = make("div", {}, make("b", {}, `difference ×${DATA.gallery.gain}`));
  const panes = [[caption("left", images.left), picture("left", images)], [middle, differs], [caption("right", images.right), picture("right", images)]]
    .map(([text, shown]) => {
      const box = make("div", { class: "frame-box" }, make("div", { class: "frame", style }, shown));
      scrolls(box);
      return make("div", { class: "pane" }, make("div", { class: "captions" }, text), box);
    });
  fill(byId("stage"), make("div", { class: "panes" }, panes));
  moveTogether(panes.map((pane) => pane.lastElementChild));
  if (images.left && images.right) drawDifference(differs, [...byId("stage").querySelectorAll("img")]);
}

/** Keep boxes at the same place, however one is scrolled; the mouse drags all of them. */
function moveTogether(boxes) {
  for (const box of boxes) {
    box.addEventListener("scroll", () => {
      for (const other of boxes) { other.scrollLeft = box.scrollLeft; other.scrollTop = box.scrollTop; }
    });
    box.addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "mouse") return;
      untilReleased(box, event, (at) => { box.scrollLeft -= at.movementX; box.scrollTop -= at.movementY; });
    });
  }
}

/** Draw the mean absolute difference of two pictures in the colours of the error. */
async function drawDifference(canvas, images) {
  try {
    await Promise.all(images.map((image) => image.decode()));
  } catch {
    return; // another choice was made before these were read
  }
  const [height, width] = shownSize();
  Object.assign(canvas, { width, height });
  const pixels = images.map((image) => {
    const sheet = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d", { willReadFrequently: true });
    sheet.drawImage(image, 0, 0, width, height);
    return sheet.getImageData(0, 0, width, height).data;
  });
  const [context, colours] = [canvas.getContext("2d"), errorColours()];
  const shown = context.createImageData(width, height);
  for (let at = 0; at < shown.data.length; at += 4) {
    const sum = [0, 1, 2].reduce((total, channel) => total + Math.abs(pixels[0][at + channel] - pixels[1][at + channel]), 0);
    shown.data.set(colours[Math.min(255, Math.round((sum / 3) * DATA.gallery.gain))], at);
  }
  context.putImageData(shown, 0, 0);
}

/** Return the colours of errors from 0 to 255: straight lines between three of them, as in the pictures. */
function errorColours() {
  const stops = DATA.gallery.colours.map((text) => [1, 3, 5].map((place) => parseInt(text.slice(place, place + 2), 16)));
  return Array.from({ length: 256 }, (_, value) => {
    const [from, to, part] = value < 127 ? [stops[0], stops[1], value / 127] : [stops[1], stops[2], (value - 127) / 128];
    return [...from.map((start, channel) => Math.round(start + (to[channel] - start) * part)), 255];
  });
}

/** Return what the colours of the error mean: the mean absolute difference of the values in [0, 1]. */
function errorScale() {
  return make("div", { class: "scale muted" }, make("span", {}, "error 0"),
    make("span", { class: "ramp", style: `background: linear-gradient(to right, ${DATA.gallery.colours.join(", ")})`, "aria-hidden": "true" }),
    make("span", {}, `${1 / DATA.gallery.gain} and more (mean over R, G, B; white is 1)`));
}
