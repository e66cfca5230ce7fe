// Reading the document: what a cell holds, which rows are left, which of them no other row beats.

/** Return a cell's number (infinite ones are strings in JSON) or null. */
function numberOf(cell) {
  const value = Array.isArray(cell) ? cell[0] : cell;
  if (value === "inf") return Infinity;
  if (value === "-inf") return -Infinity;
  return typeof value === "number" ? value : null;
}

/** Return a cell as text. */
const textOf = (cell) => (cell === null ? "–" : Array.isArray(cell) ? cell[1] : String(cell));
/** Return the context of a cell: which of its column's definitions, shapes and machines it has. */
const contextOf = (cell) => (Array.isArray(cell) ? cell[2] : 0);
/** Return what stands beside a cell's value: quartiles, samples, remarks. */
const besideOf = (cell) => (Array.isArray(cell) && cell[3]) || {};

/** Return a column's name with its unit. */
const fullTitle = (column) => (column.unit ? `${column.title} [${column.unit}]` : column.title);
/** Return "↑" or "↓" for the better direction, or nothing. */
const arrow = (column) => (column.higher === null ? "" : column.higher ? "↑" : "↓");

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** Whether a row's value in a column may be compared with others: the data says which are only shown. */
const isCompared = (row, index) => !row.uncompared.includes(index);

/**
 * Return how two rows compare in a column. Rows without a value come last whichever way it is sorted, before them those
 * whose value is only shown; by name all rows mix.
 */
function compareRows(column, index, descending) {
  const sign = descending ? -1 : 1;
  const byName = (a, b) => collator.compare(a.name, b.name);
  if (index < 0) return (a, b) => sign * byName(a, b);
  if (!column.numeric) {
    return (a, b) => b.fair - a.fair || sign * collator.compare(textOf(a.cells[index]), textOf(b.cells[index])) || byName(a, b);
  }
  return (a, b) => {
    const [left, right] = [numberOf(a.cells[index]), numberOf(b.cells[index])];
    if (left === null || right === null) return (left === null) - (right === null) || byName(a, b);
    return isCompared(b, index) - isCompared(a, index) || (left === right ? 0 : sign * (left < right ? -1 : 1)) || byName(a, b);
  };
}

/** Return the text that the search looks through. */
function haystack(table, row) {
  if (row.haystack === undefined) {
    const texts = table.columns.map((column, index) => (column.contexts === null ? textOf(row.cells[index]) : ""));
    row.haystack = [row.name, ...row.doubts, ...texts].join("\n").toLowerCase();
  }
  return row.haystack;
}

/** Whether a row passes the filters. */
function passes(table, row, filters) {
  if (filters.hidden.has(row.cells[table.evidence])) return false;
  if (!filters.words.every((word) => haystack(table, row).includes(word))) return false;
  return filters.limits.every((limit) => {
    if (!Number.isFinite(limit.value)) return true;
    const value = numberOf(row.cells[limit.column]);
    if (value === null) return false;
    const bound = limit.value * table.columns[limit.column].divisor;
    return limit.sign === "≤" ? value <= bound : value >= bound;
  });
}

/**
 * Return those of `points` {x, y, group} that no other of their group beats: at least as good in both columns and
 * better in one. Without a direction there is no front, and points without a group are on none.
 */
function paretoFront(points, xHigher, yHigher) {
  if (xHigher === null || yHigher === null) return new Set();
  const good = (value, higher) => (higher ? value : -value);
  const beats = (p, q) => {
    const [dx, dy] = [good(p.x, xHigher) - good(q.x, xHigher), good(p.y, yHigher) - good(q.y, yHigher)];
    return dx >= 0 && dy >= 0 && (dx > 0 || dy > 0);
  };
  return new Set(points.filter((q) => q.group !== null && !points.some((p) => p.group === q.group && beats(p, q))));
}
