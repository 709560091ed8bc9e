// What is recommended to who asks, and why; and the filters.
import { readAddress, USUAL } from "./address.js";
import { ask } from "./api.js";
import { byId, count, fill, judge, later, make, named, nameOf, plural, score, shown, tell, turns, valueOf } from "./elements.js";
import { showSimilar } from "./items.js";
import { happened, inWords, on, state, who } from "./state.js";
import { add } from "./who.js";

const NEAR = 0.2; // of a cosine: below it, two items have too little in common to be called near
const MOST = 100;
const turn = turns();

async function refresh() {
  const asking = who();
  if (!asking) return;
  const mine = turn();
  const { k, where, exclude_seen } = state.filters;
  try {
    const { items } = await ask("/page/recommend", { query: { ...asking, k, where: JSON.stringify(where), exclude_seen } });
    if (!mine()) return;
    tell(null);
    showCards(items);
  } catch (error) {
    if (!mine()) return;
    tell(error);
    fill(byId("recommendations"));
    byId("recommend-status").textContent = "";
  }
}

function showCards(items) {
  const filters = Object.entries(state.filters.where).map(([name, value]) => `${named(name)} ${conditionOf(value)}`);
  const asked = filters.length ? ` where ${filters.join(", ")}` : "";
  const short = items.length < state.filters.k ? "; no more are left" : "";
  byId("recommend-status").textContent = `${plural(items.length, "item")} for ${inWords()}${asked}${short}.`;
  fill(byId("recommendations"), items.length
    ? items.map((item, position) => card(item, position + 1))
    : make("li", { class: "empty" }, "No item fits these filters. Clear some of them."));
}

const conditionOf = (value) =>
  Array.isArray(value) ? `is ${value.join(" or ")}`
    : typeof value !== "object" ? `is ${value}`
      : [value.min === undefined ? "" : `≥ ${shown(value.min)}`, value.max === undefined ? "" : `≤ ${shown(value.max)}`].filter(Boolean).join(" and ");

function card(item, rank) {
  const added = state.added.has(item.item_id);
  const had = state.visitor ? "basket" : "history";
  const details = Object.entries(item.attributes).filter(([, value]) => shown(value) !== item.label)
    .map(([name, value]) => `${named(name)} ${shown(value)}`);
  return make("li", { class: added ? "card new" : "card" },
    make("span", { class: "rank" }, rank),
    make("h3", {}, nameOf(item), " ", added ? make("span", { class: "badge" }, "just added") : null),
    make("div", { class: "score", title: "Dot product of the two embeddings" }, make("span", { class: "hidden" }, "Score "), score(item.score)),
    make("div", { class: "text" },
      make("p", { class: "soft" }, [item.label === null ? null : item.item_id, ...details].filter(Boolean).join(" · ")),
      nearest(item.nearest, had)),
    make("div", { class: "actions" },
      make("button", { type: "button", class: "small", "aria-label": `Items similar to ${nameOf(item)}`, onclick: () => showSimilar(item) }, "Similar"),
      make("button", { type: "button", class: "small", "aria-label": `Add ${nameOf(item)} to the ${had}`, onclick: () => choose(item) }, `Add to ${had}`)));
}

function nearest(found, had) {
  const near = found.filter((item) => item.cosine >= NEAR);
  if (!found.length) return null;
  if (!near.length) return make("p", { class: "soft" }, `Nothing in the ${had} lies near.`);
  return make("p", { class: "soft" }, `Nearest in the ${had}: `, near.flatMap((item, position) => [
    position ? ", " : "",
    make("span", {}, `${nameOf(item)} (${score(item.cosine)})`)]));
}

function choose(item) {
  add(item);
  byId("recommend-title").focus(); // the button that had the focus goes
}

export function showFacets() {
  fill(byId("facets"), state.columns.filter((column) => !column.is_label).map(facet));
  fillFilters();
}

// Puts into the fields what the address says; who asks is asked for next.
export function fillFilters({ k, where, exclude_seen } = readAddress()) {
  const box = byId("exclude-seen");
  byId("k").value = k;
  box.checked = exclude_seen ?? box.defaultChecked;
  for (const field of byId("facets").querySelectorAll("[data-column]")) {
    const asked = [where[field.dataset.column] ?? []].flat().map(String);
    if (field.type === "checkbox") field.checked = asked.includes(field.value);
    else field.value = asked[0] ?? "";
  }
  for (const range of byId("facets").querySelectorAll("[data-range]")) {
    for (const field of range.querySelectorAll("input")) field.value = where[range.dataset.range]?.[field.dataset.end] ?? "";
  }
  readFilters();
}

function facet({ name, kind, values, min, max }) {
  const id = `facet-${name}`;
  if (kind === "number") {
    const field = (end, text) => make("div", {}, make("label", { for: `${id}-${end}` }, text),
      make("input", { id: `${id}-${end}`, type: "number", step: "any", "data-end": end, "aria-describedby": `${id}-fault` }));
    const extent = min === null ? null : make("span", { class: "soft" }, ` ${shown(min)} to ${shown(max)}`);
    return make("fieldset", { "data-range": name }, make("legend", {}, named(name), extent),
      make("div", { class: "range" }, field("min", "At least"), field("max", "At most")),
      make("p", { id: `${id}-fault`, class: "fault", role: "status" }));
  }
  if (!values) {
    return make("div", { class: "field" }, make("label", { for: id }, named(name)),
      make("input", { id, type: "text", "data-column": name, placeholder: "Exactly this", autocomplete: "off" }));
  }
  if (values.length > 12) {
    return make("div", { class: "field" }, make("label", { for: id }, named(name)),
      make("select", { id, "data-column": name }, make("option", { value: "" }, "Any"),
        values.map(({ value, count: number }) => make("option", { value }, `${value} (${count(number)})`))));
  }
  return make("fieldset", {}, make("legend", {}, named(name)), make("div", { class: "values" }, values.map(({ value, count: number }) =>
    make("label", { class: "check" }, make("input", { type: "checkbox", value, "data-column": name }),
      make("span", {}, value, " ", make("span", { class: "soft" }, count(number)))))));
}

// Returns null where the fields hold no range.
function readRange(box) {
  const fields = [...box.querySelectorAll("input")];
  const [low, high] = fields.map((field) => field.value);
  const bad = fields.filter((field) => field.validity.badInput);
  const crossed = low !== "" && high !== "" && Number(low) > Number(high);
  judge(fields, crossed ? fields : bad, box.querySelector(".fault"),
    bad.length ? "Expected a number." : crossed ? "The least is above the most." : "");
  if (bad.length || crossed) return null;
  return Object.fromEntries(fields.filter((field) => field.value !== "").map((field) => [field.dataset.end, Number(field.value)]));
}

// Returns null where the field holds no number.
function readK() {
  const field = byId("k");
  const bad = field.validity.badInput;
  judge([field], bad ? [field] : [], byId("k-fault"), bad ? "Expected a whole number." : "");
  if (bad) return null;
  const k = field.value === "" ? USUAL : Math.min(MOST, Math.max(1, Math.round(Number(field.value))));
  // What is too much stays so whatever is typed next; the rest is put right when the field is left.
  if (Number(field.value) > MOST || document.activeElement !== field) field.value = k;
  return k;
}

// Returns whether the fields are sound; else the message stands beside one, and the last answer stays.
function readFilters() {
  const where = {};
  let sound = true;
  for (const field of byId("facets").querySelectorAll("[data-column]")) {
    const { column: name } = field.dataset;
    const text = field.type === "text" ? field.value.trim() : field.value;
    const value = valueOf(state.columns.find((column) => column.name === name), text);
    if (field.type === "checkbox") {
      if (field.checked) (where[name] ??= []).push(value);
    } else if (value !== "") where[name] = value;
  }
  for (const box of byId("facets").querySelectorAll("[data-range]")) {
    const range = readRange(box);
    if (range === null) sound = false;
    else if (Object.keys(range).length) where[box.dataset.range] = range;
  }
  const k = readK();
  if (!sound || k === null) return false;
  state.filters = { k, where, exclude_seen: byId("exclude-seen").checked };
  return true;
}

function filter() {
  if (!readFilters()) return;
  happened("filters");
  refresh();
}

export function startRecommend() {
  const form = byId("filters");
  form.addEventListener("input", later(filter, 250));
  byId("k").addEventListener("blur", () => setTimeout(readK));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  on("who", refresh);
  on("catalogue", refresh);
  fill(byId("recommendations"), make("li", { class: "empty" }, "Choose a user above, or be a new visitor."));
}
