// Making elements. Text always goes in as text: no name can become markup.

/** Return the element with an id. */
const byId = (id) => document.getElementById(id);

/**
 * Return a new element. `attributes`: names and values; `on…` are listeners, `true` an empty attribute,
 * null and false are left out. Children are nodes or texts.
 */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Replace what is inside an element. */
const fill = (element, ...children) => element.replaceChildren(...children.flat().filter((child) => child !== null));

/** Return an option of a select. */
const option = (value, text, selected = false) => make("option", { value, selected }, text);

/** Tell screen readers what has changed. */
const announce = (text) => { byId("live").textContent = text; };

/** Return a function that runs `work` once, soon after the last call. */
function soon(work, wait = 60) {
  let timer = 0;
  return () => { clearTimeout(timer); timer = setTimeout(work, wait); };
}

/** Return "1 row", "1,000 rows". */
const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
/** Return the sign of the context with an index, for values that are not measured alike. */
const letter = (index) => (index < LETTERS.length ? LETTERS[index] : `#${index + 1}`);

/** Return a text with places where a long id may break: behind brackets, commas and underscores. */
const breakable = (text) => text.split(/(?<=[[,_])/).flatMap((part, place) => (place ? [make("wbr"), part] : [part]));

/** Return a sentence in which what stands between backticks is code. */
const prose = (text) => text.split("`").map((part, place) => (place % 2 ? make("code", {}, part) : part));
