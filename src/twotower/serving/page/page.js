// Starts the page: views, theme, key, the chosen user.
import { ask, keyIs } from "./api.js";
import { combobox } from "./combobox.js";
import { showCompare, startCompare } from "./compare.js";
import { byId, fill, make, plural, short, tell } from "./elements.js";
import { showAddForm, startItems } from "./items.js";
import { showMap, startMap } from "./map.js";
import { loadUser, showFacets, startRecommend } from "./recommend.js";
import { happened, on, state } from "./state.js";

const VIEWS = ["recommend", "items", "map", "compare"];
const THEME = "twotower-theme";
const NARROW = "(max-width: 720px)";

function showView() {
  const asked = location.hash.slice(1);
  const name = VIEWS.includes(asked) ? asked : VIEWS[0];
  if (asked && asked !== name) history.replaceState(null, "", `#${name}`);
  for (const view of VIEWS) byId(`view-${view}`).hidden = view !== name;
  for (const link of document.querySelectorAll("nav a")) {
    const current = link.hash === `#${name}`;
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    if (current) document.title = `${link.textContent} · twotower`;
  }
  tell(null);
  showMap();
  showCompare();
  return byId(`${name}-title`);
}

function useTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  happened("theme");
}

function showCounts() {
  const { num_items, num_users } = state.counts;
  byId("bundle").textContent = `${plural(num_items, "item")}, ${plural(num_users, "user")}`;
}

async function count() {
  const { columns, exclude_seen, num_items, num_users, version } = await ask("/page/facets");
  state.counts = { num_items, num_users };
  const box = byId("exclude-seen");
  if (box.defaultChecked !== exclude_seen) { // what the bundle's data asks for; a choice made since stays
    box.defaultChecked = box.checked = state.filters.exclude_seen = exclude_seen;
  }
  showCounts();
  fill(byId("version"), short(version));
  return columns;
}

async function load() {
  let columns;
  try {
    columns = await count();
  } catch (error) {
    byId("bundle").textContent = "";
    return tell(error);
  }
  byId("key-form").hidden = true;
  tell(null);
  if (JSON.stringify(columns) !== JSON.stringify(state.columns)) { // else what was typed stays
    state.columns = columns;
    showFacets();
    showAddForm();
  }
  if (state.user) await loadUser(state.user.user_id);
  happened("bundle");
}

const theme = localStorage.getItem(THEME) ?? "";
byId("theme").value = theme;
useTheme(theme);
byId("theme").addEventListener("change", (event) => {
  localStorage.setItem(THEME, event.target.value);
  useTheme(event.target.value);
});
document.addEventListener("version", load);
document.addEventListener("key-wanted", () => { byId("key-form").hidden = false; });
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keyIs(byId("key").value.trim());
  load();
});
byId("who").addEventListener("submit", (event) => event.preventDefault());
combobox(byId("user"), byId("user-list"), {
  find: async (query) => (await ask("/page/users", { query: { query, limit: 20 } })).users,
  line: (user) => [make("span", {}, user.user_id), make("span", { class: "soft" }, plural(user.num_history, "item"))],
  text: (user) => user.user_id,
  choose: (user) => loadUser(user.user_id),
});
byId("filters-box").open = !matchMedia(NARROW).matches;
startRecommend();
startItems();
startMap();
startCompare();
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); byId("main").focus(); });
on("catalogue", () => count().catch(tell));
on("counts", showCounts);
window.addEventListener("hashchange", () => showView().focus());
showView();
load();
