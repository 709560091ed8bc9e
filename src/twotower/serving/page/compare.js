// The recommendations of two bundles for one user, side by side.
import { ask } from "./api.js";
import { byId, fill, make, nameOf, plural, score, short, shortened, tell, turns } from "./elements.js";
import { on, state } from "./state.js";

const AGAIN = 500; // milliseconds, while the service opens a bundle
const turn = turns();
let listed = false;

const visible = () => !byId("view-compare").hidden;
const say = (text) => { byId("compare-status").textContent = text; };

export async function showCompare() {
  if (!visible()) return;
  const mine = turn();
  try {
    if (!listed) {
      const { bundles } = await ask("/page/bundles");
      const chosen = byId("other").value;
      const brief = bundles.map(shortened);
      const told = (name, position) => (brief.indexOf(brief[position]) === brief.lastIndexOf(brief[position]) ? brief[position] : name);
      fill(byId("other"), bundles.map((name, position) =>
        make("option", { value: name, title: name, selected: name === chosen }, told(name, position))));
      listed = true;
    }
    const other = byId("other").value;
    if (!other) return say("There is no other bundle beside the one that is served.");
    if (!state.user) return say("Choose a user first.");
    say("Opening the other bundle …");
    const { k, where, exclude_seen } = state.filters;
    const query = { user: state.user.user_id, k, other, where: JSON.stringify(where), exclude_seen };
    const answer = await ask("/page/compare", { query });
    if (!mine()) return;
    tell(null);
    if (answer.opening) setTimeout(() => mine() && showCompare(), AGAIN);
    else show(answer);
  } catch (error) {
    if (!mine()) return;
    say("");
    fill(byId("ours"));
    fill(byId("theirs"));
    tell(error);
  }
}

function show({ ours, theirs }) {
  const rank = (items) => new Map(items.map((item, position) => [item.item_id, position + 1]));
  const [here, there] = [rank(ours.items), rank(theirs.items)];
  const shared = ours.items.filter((item) => there.has(item.item_id)).length;
  say(`${shared} of ${plural(ours.items.length, "item")} stand in both lists for user ${state.user.user_id}.`);
  fill(byId("ours-version"), short(ours.version));
  fill(byId("theirs-version"), short(theirs.version));
  fill(byId("ours"), ours.items.map((item, position) => line(item, position + 1, there)));
  fill(byId("theirs"), theirs.items.map((item, position) => line(item, position + 1, here)));
}

function line(item, rank, others) {
  const other = others.get(item.item_id);
  const badge = other === undefined ? make("span", { class: "badge only" }, "only here")
    : other === rank ? null : make("span", { class: "soft" }, `(place ${other} in the other)`);
  return make("li", {}, make("span", {}, rank), make("span", {}, nameOf(item), " ", badge), make("span", {}, score(item.score)));
}

export function startCompare() {
  byId("compare-form").addEventListener("change", showCompare);
  byId("compare-form").addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("version", () => { listed = false; });
  on("recommendations", showCompare);
  on("bundle", () => { if (!state.user) showCompare(); }); // else recommendations follow
}
