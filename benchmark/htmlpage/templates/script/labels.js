// Names beside the points of the plot: none covers another name or point, and a line leads to those that stand off.

const RINGS = [16, 28, 44, 64, 90];
const DIRECTIONS = [[0, -1], [1, -0.6], [-1, -0.6], [1, 0.5], [-1, 0.5], [0, 1], [0.6, -1], [-0.6, -1], [0.6, 1], [-0.6, 1], [1, 0], [-1, 0]];

const apart = (a, b) => a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;

/**
 * Return {point, dx, dy} for those of `wanted` that have room: the offset of the middle of each name in pixels.
 * All points have `px` and `py`; `room`: width and height of the plot; `size`: of the letters.
 */
function placeNames(wanted, all, room, size) {
  const taken = all.map((point) => ({ left: point.px - 6, right: point.px + 6, top: point.py - 6, bottom: point.py + 6, point }));
  const placed = [];
  for (const point of wanted) {
    const [half, height] = [(short(point.row.name).length * size * 0.58) / 2 + 3, size * 0.75];
    const found = offsets(half, height).find(([dx, dy]) => {
      const box = { left: point.px + dx - half, right: point.px + dx + half, top: point.py + dy - height, bottom: point.py + dy + height };
      const inside = box.left >= 0 && box.right <= room.width && box.top >= -size && box.bottom <= room.height;
      if (!inside || taken.some((other) => other.point !== point && !apart(box, other))) return false;
      taken.push(box);
      return true;
    });
    if (found) placed.push({ point, dx: found[0], dy: found[1] });
  }
  return placed;
}

/** Return the offsets that are tried, the nearest first. */
function offsets(half, height) {
  return RINGS.flatMap((ring) => DIRECTIONS.map(([x, y]) => [x * (Math.abs(x) === 1 ? half + ring - 8 : ring), y * (ring - 8 + height)]));
}

/** Name the points that the choice names and for which there is room; return how many have none. */
function drawNames() {
  const plot = byId("plot");
  const { xaxis, yaxis } = plot._fullLayout;
  const onPlot = (point) => point.px >= 0 && point.py >= 0 && point.px <= xaxis._length && point.py <= yaxis._length;
  const all = state.points.map((point) => ({ ...point, px: xaxis.d2p(point.x), py: yaxis.d2p(point.y) })).filter(onPlot);
  const named = { none: [], all, front: all.filter((point) => state.front.has(point.row)) }[state.names];
  // Names of the front come first: they are those to read.
  const wanted = [...named].sort((a, b) => state.front.has(b.row) - state.front.has(a.row) || a.px - b.px);
  const size = plot.clientWidth < 600 ? 11 : 12;
  const placed = placeNames(wanted, all, { width: xaxis._length, height: yaxis._length }, size);
  const annotations = placed.map(({ point, dx, dy }) => ({
    x: state.axes.xLog ? Math.log10(point.x) : point.x, y: state.axes.yLog ? Math.log10(point.y) : point.y, ax: dx, ay: dy,
    text: plain(short(point.row.name)), showarrow: true, arrowhead: 0, arrowwidth: 0.75, arrowcolor: colour("line"), standoff: 5,
    font: { size, color: colour("text") }, borderpad: 1, captureevents: false }));
  Plotly.relayout(plot, { annotations });
  return wanted.length - placed.length;
}
