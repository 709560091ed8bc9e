// The recommendations of two bundles for who asks, side by side, and what differs between the bundles.
import { ask } from "./api.js";
import { byId, fill, make, nameOf, plural, score, tell, turns } from "./elements.js";
import { inWords, on, state, who } from "./state.js";

const turn = turns();
let listed = false;

const visible = () => !byId("view-compare").hidden;
const say = (...text) => fill(byId("compare-status"), text);

export async function showCompare() {
  if (!visible()) return;
  const mine = turn();
  try {
    if (!listed) await list();
    const other = byId("other").value;
    if (!other) return;
    const asking = who();
    if (!asking) return say("Choose a user first.");
    say("Opening the other bundle …");
    const { k, where, exclude_seen } = state.filters;
    const query = { ...asking, k, other, where: JSON.stringify(where), exclude_seen };
    const answer = await ask("/page/compare", { query });
    if (!mine()) return;
    tell(null);
    show(answer);
  } catch (error) {
    if (!mine()) return;
    say("");
    byId("compare-lists").hidden = true;
    tell(error);
  }
}

async function list() {
  const { bundles, root } = await ask("/page/bundles");
  const chosen = byId("other").value;
  fill(byId("other"), bundles.map((name) => make("option", { value: name, selected: name === chosen }, name)));
  listed = bundles.length > 0; // where there is none, the next look may find one
  byId("compare-form").hidden = !listed;
  byId("compare-lists").hidden = true;
  if (!listed) {
    say("There is no other bundle beside the one that is served. To get one, train another run into the same folder, ",
      make("code", {}, `twotower train name=${root} loss=bpr negatives=uniform`),
      " say, and open this view again; or start the service with ", make("code", {}, "bundles_root="),
      " and the folder that holds the runs.");
  }
}

function show({ ours, theirs, differences }) {
  const rank = (items) => new Map(items.map((item, position) => [item.item_id, position + 1]));
  const [here, there] = [rank(ours.items), rank(theirs.items)];
  const shared = ours.items.filter((item) => there.has(item.item_id)).length;
  say(`${shared} of ${plural(ours.items.length, "item")} stand in both lists for ${inWords()}.`);
  byId("ours-version").textContent = ours.version;
  byId("theirs-version").textContent = theirs.version;
  fill(byId("ours"), ours.items.map((item, position) => line(item, position + 1, there)));
  fill(byId("theirs"), theirs.items.map((item, position) => line(item, position + 1, here)));
  showDifferences(differences);
  byId("compare-lists").hidden = false;
}

function line(item, rank, others) {
  const other = others.get(item.item_id);
  const badge = other === undefined ? make("span", { class: "badge only" }, "only here")
    : other === rank ? null : make("span", { class: "soft" }, `(place ${other} in the other)`);
  return make("li", {}, make("span", {}, rank), make("span", {}, nameOf(item), " ", badge), make("span", {}, score(item.score)));
}

function showDifferences(differences) {
  byId("differences-status").textContent = differences.length
    ? `${plural(differences.length, "difference")}; all else is the same in both.`
    : "Nothing: settings, data and embeddings are the same.";
  byId("differences").hidden = !differences.length;
  const cell = (title, value) => make("td", { "data-title": title }, value === null ? make("span", { class: "soft" }, "not there") : value);
  fill(byId("difference-rows"), differences.map(({ name, ours, theirs }) =>
    make("tr", {}, make("th", { scope: "row" }, name), cell("Served now", ours), cell("Compared with", theirs))));
}

export function startCompare() {
  byId("compare-form").addEventListener("change", showCompare);
  byId("compare-form").addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("version", () => { listed = false; });
  on("recommendations", showCompare);
  on("bundle", () => { if (!who()) showCompare(); }); // else recommendations follow
}
