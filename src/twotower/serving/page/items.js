// Items: found by text, looked at, added, changed and removed.
import { ask, inPath } from "./api.js";
import { combobox } from "./combobox.js";
import { asTyped, byId, fill, HINTS, judge, make, named, nameOf, score, shown, tell, turns, typed } from "./elements.js";
import { happened, inWords, on, state, who } from "./state.js";

const NUM_SIMILAR = 8;
const NUM_LOOKED_AT = 100;
const turn = turns();
let open = null; // id of the item that is shown
let changed = null; // item of the form, with all its features: those without a field are kept
let untouched = {}; // column -> what its field showed at first

const similarTo = (id) => ask("/page/similar", { query: { item: id, k: NUM_SIMILAR } });

const lines = (items) => items.map((item) => make("li", {},
  make("button", { type: "button", class: "link", onclick: () => openItem(item.item_id) }, nameOf(item)),
  make("span", { class: "soft" }, score(item.score))));

export async function showSimilar(item) {
  let answer;
  try {
    answer = await similarTo(item.item_id);
  } catch (error) {
    return tell(error);
  }
  byId("similar-title").textContent = `Similar to ${nameOf(item)}`;
  fill(byId("similar-items"), lines(answer.items));
  byId("similar").showModal();
}

export async function openItem(id) {
  byId("similar").close();
  location.hash = "#items";
  open = id;
  await look();
  heading()?.focus();
}

const heading = () => byId("item-detail").querySelector("h3");

async function look() {
  if (open === null) return;
  const mine = turn();
  try {
    const { item } = await ask("/page/item", { query: { item: open } });
    const similar = item.offered ? (await similarTo(item.item_id)).items : [];
    if (!mine()) return;
    tell(null);
    byId("item").value = nameOf(item);
    showItem(item, similar);
  } catch (error) {
    if (mine()) tell(error);
  }
}

function showItem(item, similar) {
  const pairs = [["Id", item.item_id], ...Object.entries(item.attributes).map(([name, value]) => [named(name), value])];
  const status = item.offered ? null : make("p", {}, "Not offered: no request gets it. It stays in histories.");
  const actions = make("div", { class: "actions" },
    make("button", { type: "button", onclick: () => change(item) }, item.offered ? "Change" : "Offer again"),
    item.offered ? make("button", { type: "button", onclick: () => sure(item) }, "Remove …") : null);
  const focused = byId("item-detail").contains(document.activeElement);
  fill(byId("item-detail"), make("div", { class: "detail" },
    make("h3", { tabindex: "-1" }, nameOf(item)),
    make("dl", {}, pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, shown(value))])),
    status, actions,
    similar.length ? make("h3", {}, "Similar items") : null,
    make("ol", { class: "list" }, lines(similar))));
  if (focused) heading().focus(); // what had it is gone
}

async function change(item) {
  try {
    changed = await ask(`/items/${inPath(item.item_id)}`);
  } catch (error) {
    return tell(error);
  }
  byId("add-id").value = item.item_id;
  untouched = Object.fromEntries(state.columns.map(({ name }) => {
    const field = byId(`add-column-${name}`);
    field.value = asTyped(item.attributes[name]);
    return [name, field.value];
  }));
  say("", "");
  fill(byId("add-found"));
  byId(state.columns.length ? `add-column-${state.columns[0].name}` : "add-id").focus();
}

function sure(item) {
  const dialog = byId("remove");
  byId("remove-title").textContent = `Remove ${nameOf(item)}?`;
  dialog.returnValue = "";
  dialog.onclose = () => { if (dialog.returnValue === "remove") remove(item); };
  dialog.showModal();
}

async function remove(item) {
  try {
    await ask(`/items/${inPath(item.item_id)}`, { method: "DELETE" });
  } catch (error) {
    return tell(error);
  }
  state.added.delete(item.item_id);
  happened("catalogue");
}

function say(kind, text) {
  const status = byId("add-status");
  status.className = kind;
  status.textContent = text;
}

function features(id) {
  const isChange = changed !== null && String(changed.item_id) === id;
  const given = isChange ? { ...changed.features } : {};
  for (const column of state.columns) {
    const { name } = column;
    const shown = byId(`add-column-${name}`).value;
    if (isChange && shown === untouched[name]) continue; // a field cannot show every value as it is
    const text = shown.trim();
    if (text === "") delete given[name];
    else given[name] = typed(column, text);
  }
  return given;
}

async function save(event) {
  event.preventDefault();
  const field = byId("add-id");
  const id = field.value.trim();
  const fields = [field, ...byId("add-fields").querySelectorAll("input")];
  const wrong = fields.filter((input) => input.validity.badInput || (input === field && !id));
  const bad = !wrong.length ? "" : id ? `${wrong[0].labels[0].textContent}: expected a number.` : "An item needs an id.";
  judge(fields, wrong, byId("add-status"), bad);
  if (bad) {
    say("bad", bad);
    return wrong[0].focus();
  }
  fill(byId("add-found"));
  const started = performance.now();
  try {
    await ask(`/items/${inPath(id)}`, { method: "PUT", body: { features: features(id) } });
    const milliseconds = Math.max(1, Math.round(performance.now() - started));
    say("good", `Item ${id} is in the catalogue, after ${milliseconds} ms.`);
    state.added.add(id);
    happened("catalogue");
    const [similar, place] = await Promise.all([similarTo(id), placeFor(id)]);
    fill(byId("add-found"), place ? make("p", {}, place) : null,
      make("h3", {}, "Found: its most similar items"), make("ol", { class: "list" }, lines(similar.items)));
  } catch (error) {
    say("bad", error.message);
  }
}

// Whether who asks would get the item, asked of the service like any other request.
async function placeFor(id) {
  const asking = who();
  if (!asking) return null;
  const first = (query) => ask("/page/recommend", { query: { ...asking, exclude_seen: false, ...query } });
  const [{ items }, { items: alone }] = await Promise.all([first({ k: NUM_LOOKED_AT }), first({ k: 1, allow: id })]);
  const place = items.findIndex((other) => other.item_id === id);
  const scored = `a score of ${score(alone[0].score)}`;
  return place >= 0 ? `For ${inWords()} it stands at place ${place + 1}, with ${scored}.`
    : `For ${inWords()} it has ${scored}; the first ${items.length} have ${score(items.at(-1).score)} or more.`;
}

export function showAddForm() {
  fill(byId("add-fields"), state.columns.map(({ name, kind, values }) => {
    const list = values && kind === "text" && values.length ? `add-values-${name}` : null;
    return make("div", { class: "field" },
      make("label", { for: `add-column-${name}` }, named(name)),
      make("input", { id: `add-column-${name}`, type: kind === "number" ? "number" : "text", step: kind === "number" ? "any" : null,
        placeholder: HINTS[kind], list, autocomplete: "off" }),
      list ? make("datalist", { id: list }, values.map(({ value }) => make("option", { value }))) : null);
  }));
}

export const itemBox = (name, choose) =>
  combobox(byId(name), byId(`${name}-list`), {
    find: async (query) => (await ask("/page/items", { query: { query, limit: 20 } })).items,
    line: (item) => [make("span", {}, nameOf(item)), make("span", { class: "soft" }, item.label === null ? "" : item.item_id)],
    text: nameOf,
    choose,
  });

export function startItems() {
  itemBox("item", (item) => openItem(item.item_id));
  byId("add").addEventListener("submit", save);
  for (const name of ["catalogue", "bundle"]) on(name, look);
  fill(byId("item-detail"), make("p", { class: "empty" }, "The item's attributes and what is similar to it stand here."));
}
