// The trade-off plot: any column against any, drawn by plotly, and the same points as a table.

const SYMBOLS = { published: "star", "official-weights": "diamond", trained: "circle", "weights-file": "triangle-up",
  "parameter-free": "square", untrained: "circle-open" };

/** Return a text as plotly takes it: its labels read a few tags. */
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
/** Return a name as a label beside a point: a long one would cover the others. */
const short = (name) => (name.length > 32 ? `${name.slice(0, 31)}…` : name);
/** Return a custom property of the page, a colour for instance. */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/**
 * Return the points that can be drawn: {row, x, y, group} in shown units, and how many rows cannot. Points of one group
 * are measured alike; those whose values are only shown have none.
 */
function plotPoints() {
  const { table, axes } = state;
  const [xColumn, yColumn] = [table.columns[axes.x], table.columns[axes.y]];
  const rows = visibleRows();
  const points = [];
  for (const row of rows) {
    const [x, y] = [numberOf(row.cells[axes.x]), numberOf(row.cells[axes.y])];
    const fits = (value, log) => value !== null && Number.isFinite(value) && (!log || value > 0);
    if (!fits(x, axes.xLog) || !fits(y, axes.yLog)) continue;
    const compared = isCompared(row, axes.x) && isCompared(row, axes.y);
    const group = compared ? `${contextOf(row.cells[axes.x])}/${contextOf(row.cells[axes.y])}` : null;
    points.push({ row, x: x / xColumn.divisor, y: y / yColumn.divisor, group });
  }
  return { points, left: rows.length - points.length };
}

/** Draw the plot, its note and its table, and mark the front's rows in the table above. */
function drawPlot() {
  const { table, axes } = state;
  for (const id of ["plot", "plot-controls", "plot-data"]) byId(id).hidden = !table.axes;
  if (!table.axes) {
    state.front = new Set();
    fill(byId("plot-note"), "This table has no measurements to draw.");
    return;
  }
  const [xColumn, yColumn] = [table.columns[axes.x], table.columns[axes.y]];
  const { points, left } = plotPoints();
  const front = paretoFront(points, xColumn.higher, yColumn.higher);
  const before = state.front;
  state.front = new Set([...front].map((point) => point.row));
  if (before.size !== state.front.size || [...before].some((row) => !state.front.has(row))) drawBody();
  state.points = points;
  if (window.Plotly) drawChart([...frontTraces(points, front), ...pointTraces(points, front)], plotLayout(xColumn, yColumn));
  drawPlotNote(points, front, left);
  drawPlotData(points, front);
  hooks.changed();
}
const drawPlotSoon = soon(drawPlot, 200);

/** Hand traces to plotly; the first time, let a click on a point open the drawer. */
function drawChart(traces, layout) {
  const plot = byId("plot");
  const isNew = !plot.on;
  Plotly.react(plot, traces, layout, { responsive: true, displayModeBar: false, displaylogo: false, doubleClick: "reset" });
  if (isNew) {
    plot.on("plotly_click", (event) => openDrawer(event.points[0].customdata, -1));
    plot.on("plotly_relayout", (changes) => { if (!("annotations" in changes)) nameAgain(); });
  }
  state.unnamed = drawNames();
}

/** Place the names again, for another part of the plot or another size. */
const nameAgain = soon(() => { state.unnamed = drawNames(); drawUnnamed(); });

/** Say how many names found no room. */
function drawUnnamed() {
  byId("unnamed").textContent = state.unnamed ? ` ${count(state.unnamed, "name")} without room: drag over a part of the plot to enlarge it.` : "";
}

/** Return one line per group of comparable points, along the best that can be had. */
function frontTraces(points, front) {
  const groups = [...new Set([...front].map((point) => point.group))];
  const shape = state.table.columns[state.axes.x].higher ? "vh" : "hv";
  return groups.map((group, index) => {
    const line = [...front].filter((point) => point.group === group).sort((a, b) => a.x - b.x);
    return { x: line.map((point) => point.x), y: line.map((point) => point.y), mode: "lines", type: "scatter", hoverinfo: "skip",
      name: "Pareto front", legendgroup: "front", showlegend: index === 0,
      line: { shape, width: 1.5, dash: ["solid", "dash", "dot", "dashdot"][index % 4], color: colour("front") } };
  });
}

/** Return one set of markers per evidence; those on a front are large and ringed. */
function pointTraces(points, front) {
  const kinds = [...new Set(points.map((point) => point.row.cells[state.table.evidence]))].sort();
  return kinds.map((evidence) => {
    const own = points.filter((point) => point.row.cells[state.table.evidence] === evidence);
    const on = (yes, no) => own.map((point) => (front.has(point) ? yes : no));
    return { x: own.map((point) => point.x), y: own.map((point) => point.y), type: "scatter", name: evidence,
      mode: "markers", cliponaxis: false,
      customdata: own.map((point) => point.row), hovertext: own.map((point) => hoverText(point, front)), hoverinfo: "text",
      marker: { symbol: SYMBOLS[evidence] || "circle", color: colour(`series-${evidence}`), size: on(12, 9), opacity: on(1, 0.75),
        line: { width: on(2, 1), color: colour("text") } } };
  });
}

/** Return what is shown beside a point under the mouse. */
function hoverText(point, front) {
  const { table, axes } = state;
  const line = (index) => `${plain(fullTitle(table.columns[index]))}: ${plain(textOf(point.row.cells[index]))}${plain(note(index))}`;
  const note = (index) => {
    const beside = besideOf(point.row.cells[index]);
    return (beside.spread ? ` (${beside.spread})` : "") + ` ${point.row.signs[index] || ""} ${beside.remark || ""}`.trimEnd();
  };
  const main = table.sort ? table.sort.column : axes.y;
  const indices = [...new Set([axes.x, axes.y, main])];
  const last = front.has(point) ? ["on the Pareto front"] : [];
  return [`<b>${plain(point.row.name)}</b>`, plain([point.row.cells[table.evidence], ...point.row.doubts].join(" ")), ...indices.map(line), ...last].join("<br>");
}

/** Return the step of a logarithmic axis whose labels do not touch: 1, 2, 5 of each decade, each decade, or every few. */
function decades(values, size, length) {
  const ends = [Math.min(...values), Math.max(...values)];
  const spanned = Math.log10(ends[1] / ends[0]) + 0.5;
  // The label of 0.000001 has as many digits as a decade is from 1.
  const digits = Math.max(...ends.map((value) => 2 + 1.3 * Math.abs(Math.floor(Math.log10(value)))));
  const room = length / (digits * size * 0.6 + 14);
  return spanned * 5 < room ? "D2" : Math.max(1, Math.ceil(spanned / room));
}

function plotLayout(xColumn, yColumn) {
  const isNarrow = byId("plot").clientWidth < 600;
  const size = isNarrow ? 11 : 13;
  const ticks = (log, values) => (log ? { dtick: decades(values, size, byId("plot").clientWidth - 100), tickformat: ",.3~r" } : { nticks: isNarrow ? 5 : 8 });
  const axis = (column, log, values) => ({ title: { text: plain(`${fullTitle(column)} ${arrow(column)}`), font: { size }, standoff: 12 },
    type: log ? "log" : "linear", gridcolor: colour("grid"), linecolor: colour("line"), zeroline: false, automargin: true,
    ...ticks(log, values), showline: true, ticks: "outside", tickcolor: colour("line") });
  const [xs, ys] = ["x", "y"].map((name) => state.points.map((point) => point[name]));
  return { xaxis: axis(xColumn, state.axes.xLog, xs), yaxis: axis(yColumn, state.axes.yLog, ys), hovermode: "closest", dragmode: "zoom",
    margin: { l: 64, r: 24, t: 56, b: 56 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size, color: colour("text") },
    legend: { orientation: "h", yref: "container", y: 1, yanchor: "top", x: 0 },
    hoverlabel: { bgcolor: colour("surface"), bordercolor: colour("line"), font: { family: getComputedStyle(document.body).fontFamily, color: colour("text"), size: 13 }, align: "left" } };
}

function drawPlotNote(points, front, left) {
  const { table, axes } = state;
  const undirected = [axes.x, axes.y].map((index) => table.columns[index]).filter((column) => column.higher === null);
  const texts = [`${count(points.length, "point")}.`];
  if (left) texts.push(`${count(left, "row")} without a value that ${axes.xLog || axes.yLog ? "these axes can" : "the plot can"} show.`);
  if (undirected.length) texts.push(`No front: ${undirected.map((column) => column.title).join(" and ")} has no better direction.`);
  else texts.push(`${count(front.size, "row")} on the Pareto front.`);
  const groups = new Set(points.filter((point) => point.group !== null).map((point) => point.group));
  const only = points.filter((point) => point.group === null).length;
  if (only) texts.push(`${count(only, "point")} only shown: not compared with the others.`);
  if (groups.size > 1) texts.push(`${groups.size} fronts: values under different conditions are not compared (see the letters in the table).`);
  fill(byId("plot-note"), texts.join(" "), make("span", { id: "unnamed" }));
  drawUnnamed();
}

function drawPlotData(points, front) {
  const { table, axes } = state;
  const [head] = byId("plot-data").getElementsByTagName("thead");
  const [body] = byId("plot-data").getElementsByTagName("tbody");
  const titles = ["Model", fullTitle(table.columns[axes.x]), fullTitle(table.columns[axes.y]), "Pareto front"];
  fill(head, make("tr", {}, titles.map((title, place) => make("th", { scope: "col", class: place === 1 || place === 2 ? "num" : null }, title))));
  const rows = byId("plot-data").open ? points : [];
  fill(body, rows.map((point) => make("tr", {},
    make("th", { scope: "row" }, make("button", { type: "button", class: "cell", onclick: () => openDrawer(point.row, -1) }, point.row.name)),
    [axes.x, axes.y].map((index) => make("td", { class: "num" }, textOf(point.row.cells[index]))),
    make("td", {}, front.has(point) ? "yes" : "no"))));
}

/** Offer the table's numeric columns as axes. */
function drawAxes() {
  const columns = numericColumns();
  for (const name of ["x", "y"]) {
    const groups = [...new Set(columns.map((index) => state.table.columns[index].group))];
    fill(byId(name), groups.map((group) => make("optgroup", { label: group },
      columns.filter((index) => state.table.columns[index].group === group).map((index) =>
        option(index, `${fullTitle(state.table.columns[index])} ${arrow(state.table.columns[index])}`.trim(), index === state.axes[name])))));
    byId(`${name}-log`).checked = state.axes[`${name}Log`];
  }
  byId("labels").value = state.names;
}

/** Run plotly.js, which takes a second: the table is on the screen before. Only then are there plots. */
function loadPlotly() {
  const source = byId("plotly");
  const script = make("script");
  script.textContent = source.textContent;
  source.replaceWith(script);
  drawPlot();
}

/** Connect the controls, once. */
function connectPlot() {
  for (const name of ["x", "y"]) {
    byId(name).addEventListener("change", (event) => {
      const index = Number(event.target.value);
      Object.assign(state.axes, { [name]: index, [`${name}Log`]: wantsLog(index) });
      redrawPlot();
    });
    byId(`${name}-log`).addEventListener("change", (event) => { state.axes[`${name}Log`] = event.target.checked; redrawPlot(); });
  }
  byId("swap").addEventListener("click", () => {
    const { x, y, xLog, yLog } = state.axes;
    state.axes = { x: y, y: x, xLog: yLog, yLog: xLog };
    redrawPlot();
  });
  byId("labels").addEventListener("change", (event) => { state.names = event.target.value; redrawPlot(); });
  byId("reset-plot").addEventListener("click", () => Plotly.relayout(byId("plot"), { "xaxis.autorange": true, "yaxis.autorange": true }));
  byId("save-plot").addEventListener("click", () => Plotly.downloadImage(byId("plot"), { format: "svg", filename: "zoo-bench-plot" }));
  byId("plot-data").addEventListener("toggle", drawPlot);
  addEventListener("resize", drawPlotSoon); // letters are smaller in a narrow window
}

function redrawPlot() {
  drawAxes();
  drawPlot();
  announce(`Plot: ${byId("plot-note").textContent}`);
}
