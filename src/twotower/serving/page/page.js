// Starts the page: views, theme, key, the chosen user.
import { ask, keyIs } from "./api.js";
import { combobox } from "./combobox.js";
import { showCompare, startCompare } from "./compare.js";
import { byId, make, plural, tell } from "./elements.js";
import { showAddForm, startItems } from "./items.js";
import { showMap, startMap } from "./map.js";
import { loadUser, refresh, showFacets, startRecommend } from "./recommend.js";
import { happened, on, state } from "./state.js";

const VIEWS = ["recommend", "items", "map", "compare"];
const THEME = "twotower-theme";
const NARROW = "(max-width: 720px)";

function showView() {
  const name = location.hash.slice(1) || VIEWS[0];
  if (!VIEWS.includes(name)) return; // the skip link
  for (const view of VIEWS) byId(`view-${view}`).hidden = view !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  tell(null);
  showMap();
  showCompare();
}

function useTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  happened("theme");
}

function showCounts({ num_items, num_users, version }) {
  byId("bundle").textContent = `${plural(num_items, "item")}, ${plural(num_users, "user")}`;
  byId("version").textContent = version;
}

async function load() {
  try {
    const facets = await ask("/page/facets");
    state.columns = facets.columns;
    showCounts(facets);
  } catch (error) {
    byId("bundle").textContent = "";
    return tell(error);
  }
  byId("key-form").hidden = true;
  tell(null);
  showFacets();
  showAddForm();
  refresh();
}

const theme = localStorage.getItem(THEME) ?? "";
byId("theme").value = theme;
useTheme(theme);
byId("theme").addEventListener("change", (event) => {
  localStorage.setItem(THEME, event.target.value);
  useTheme(event.target.value);
});
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
  text: (user) => String(user.user_id),
  choose: (user) => loadUser(user.user_id),
});
byId("filters-box").open = !matchMedia(NARROW).matches;
startRecommend();
startItems();
startMap();
startCompare();
on("catalogue", () => ask("/page/facets").then(showCounts).catch(tell));
window.addEventListener("hashchange", showView);
showView();
load();
