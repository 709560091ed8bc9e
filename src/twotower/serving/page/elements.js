// Makes what the page shows. Data only ever become text, never markup.
export const byId = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined).map(asNode));
  return element;
}

const asNode = (child) => (child instanceof Node ? child : document.createTextNode(String(child)));

export const fill = (element, ...children) => element.replaceChildren(...children.flat().filter(Boolean).map(asNode));

export function tell(error) {
  const box = byId("problem");
  box.textContent = error ? error.message : "";
  box.hidden = !error;
}

const two = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const free = new Intl.NumberFormat("en", { maximumFractionDigits: 4 });
export const score = (value) => two.format(value).replace("-", "−");
export const count = (value) => free.format(value);
export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
export const named = (column) => {
  const words = column.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
};
// A raw value as it is: a year or an id has no commas in it.
const raw = new Intl.NumberFormat("en", { maximumFractionDigits: 4, useGrouping: false });
export const shown = (value) =>
  Array.isArray(value) ? value.map(shown).join(", ") : typeof value === "number" ? raw.format(value) : String(value);
export const nameOf = (item) => item.label ?? item.item_id;

// Marks those of some fields that are wrong and says why beside them; without a message, all are right.
export function judge(fields, wrong, box, message = "") {
  box.textContent = message;
  for (const field of fields) {
    if (wrong.includes(field)) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
  }
}

const day = new Intl.DateTimeFormat("en", { year: "numeric", month: "short", day: "numeric", timeZone: "UTC" });
export const date = (seconds) => day.format(new Date(seconds * 1000));

// Lets only the newest of overlapping questions be answered: `const mine = turn(); ... if (!mine()) return;`
export function turns() {
  let newest = 0;
  return () => {
    const mine = ++newest;
    return () => mine === newest;
  };
}

export function later(action, milliseconds = 200) {
  let timer;
  return (...words) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...words), milliseconds);
  };
}

// Raw values of a column as people type them.
export const HINTS = { number: "A number", tags: "Several, with commas between", text: "" };

// The value of a column that is shown as this text: a tag may be a number.
export const valueOf = ({ values }, text) => values?.find(({ value }) => String(value) === text)?.value ?? text;

export function typed(column, text) {
  if (column.kind === "number") return Number(text);
  if (column.kind === "text") return valueOf(column, text);
  return text.split(",").map((word) => word.trim()).filter(Boolean).map((word) => valueOf(column, word));
}

export const asTyped = (value) => (value === undefined || value === null ? "" : Array.isArray(value) ? value.join(", ") : String(value));
