// Starts the page: views, key, and who asks.
import { onAddress, readAddress } from "./address.js";
import { ask, keyIs } from "./api.js";
import { byId, fill, make, plural, tell } from "./elements.js";
import { showAddForm, startItems } from "./items.js";
import { fillFilters, showFacets, startRecommend } from "./recommend.js";
import { happened, on, state } from "./state.js";
import { again, showProfile, startWho, whoever } from "./who.js";

const VIEWS = ["recommend", "items"];
const NARROW = "(max-width: 720px)";

let open = null; // name of the view that is shown

const inHash = () => location.hash.slice(1);
const viewAsked = () => (VIEWS.includes(inHash()) ? inHash() : VIEWS[0]);

function showView() {
  const name = open = viewAsked();
  if (inHash() && inHash() !== name) history.replaceState(null, "", `#${name}`);
  for (const view of VIEWS) byId(`view-${view}`).hidden = view !== name;
  for (const link of document.querySelectorAll("nav a")) {
    const current = link.hash === `#${name}`;
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    if (current) document.title = `${link.textContent} · twotower`;
  }
  tell(null);
  return byId(`${name}-title`);
}

function showNotices({ known_until, warnings }) {
  const box = byId("warnings");
  fill(box, warnings.map((text) => make("li", {}, text)));
  box.hidden = !warnings.length;
  byId("known-until").textContent = known_until ? `It knows its users up to ${known_until} UTC. ` : "";
}

async function count() {
  const { columns, profile, exclude_seen, num_items, num_users, version, ...notices } = await ask("/page/facets");
  showNotices(notices);
  const box = byId("exclude-seen");
  if (box.defaultChecked !== exclude_seen) { // what the bundle's data asks for; a choice made since stays
    box.defaultChecked = box.checked = state.filters.exclude_seen = exclude_seen;
  }
  byId("bundle").textContent = `${plural(num_items, "item")}, ${plural(num_users, "user")}`;
  byId("version").textContent = version;
  return { columns, profile };
}

async function load() {
  let found;
  try {
    found = await count();
  } catch (error) {
    byId("bundle").textContent = "";
    return tell(error);
  }
  byId("key-form").hidden = true;
  tell(null);
  const differs = (name) => JSON.stringify(found[name]) !== JSON.stringify(state[name]); // else what was typed stays
  if (differs("profile") || !byId("profile").hasChildNodes()) {
    state.profile = found.profile;
    showProfile();
  }
  if (differs("columns")) {
    state.columns = found.columns;
    showFacets();
    showAddForm();
  }
  await again();
  happened("bundle");
}

document.addEventListener("version", load);
document.addEventListener("key-wanted", () => { byId("key-form").hidden = false; });
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keyIs(byId("key").value.trim());
  load();
});
byId("filters-box").open = !matchMedia(NARROW).matches;
startWho();
startRecommend();
startItems();
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); byId("main").focus(); });
on("catalogue", () => count().catch(tell));
onAddress(() => {
  const asked = readAddress();
  fillFilters(asked);
  whoever(asked);
});
// A step back over another user as well as another view changes more than the hash: only popstate tells of it.
for (const change of ["hashchange", "popstate"]) {
  window.addEventListener(change, () => { if (viewAsked() !== open) showView().focus(); });
}
showView();
load();
