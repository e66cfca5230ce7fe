// What is chosen now, and who has to know when it changes.

const DATA = JSON.parse(byId("data").textContent);
const PAGE_SIZES = [50, 100, 250];

const state = {
  dataset: 0,
  table: null,
  shown: new Set(),
  sort: { column: -1, descending: false },
  filters: { words: [], hidden: new Set(), limits: [] },
  page: 0,
  pageSize: 50,
  axes: { x: 0, y: 0, xLog: false, yLog: false },
  front: new Set(),
  points: [],
  names: "front", // which points of the plot have names beside them: "front", "all", "none"
  unnamed: 0,
};

// What later parts do when the view has changed.
const hooks = { changed: () => {} };

/** Return the rows that the filters leave, in the order of the sort. */
function visibleRows() {
  const { table, filters, sort } = state;
  const rows = table.rows.filter((row) => passes(table, row, filters));
  return rows.sort(compareRows(table.columns[sort.column], sort.column, sort.descending));
}

/** Return the indices of the columns that are shown. */
const shownColumns = () => state.table.columns.map((_, index) => index).filter((index) => state.shown.has(index));

/** Return the indices of the columns with numbers in at least one row. */
function numericColumns() {
  const { columns, rows } = state.table;
  return columns.map((_, index) => index).filter(
    (index) => columns[index].numeric && rows.some((row) => numberOf(row.cells[index]) !== null));
}

/** Take another table: everything is as that table wants it at first. */
function chooseTable(dataset, number) {
  state.dataset = dataset;
  const table = DATA.datasets[dataset].tables[number];
  table.evidence = table.columns.findIndex((column) => column.id === "evidence");
  state.table = table;
  state.sort = { ...(table.sort || { column: -1, descending: false }) };
  state.filters = { words: [], hidden: new Set(), limits: [] };
  state.page = 0;
  firstColumns();
  const axes = table.axes || { x: 0, y: 0 };
  state.axes = { ...axes, xLog: wantsLog(axes.x), yLog: wantsLog(axes.y) };
}

/** Return the columns that the table shows at first. */
const shownAtFirst = () => state.table.columns.map((_, index) => index).filter((index) => state.table.columns[index].shown);

/** Show the columns that the table shows at first. */
function firstColumns() {
  state.shown = new Set(shownAtFirst());
}

/** Whether a column spans so much that a logarithmic axis shows it better. */
function wantsLog(index) {
  const values = state.table.rows.map((row) => numberOf(row.cells[index])).filter((v) => v > 0 && Number.isFinite(v));
  return values.length > 1 && Math.max(...values) / Math.min(...values) > 20;
}
