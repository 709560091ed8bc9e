// Who asks: a user whom the service knows or a visitor whom it does not, and what was added on this page.
import { readAddress, writeAddress } from "./address.js";
import { ask, inPath } from "./api.js";
import { combobox } from "./combobox.js";
import { asTyped, byId, date, fill, HINTS, judge, later, make, named, nameOf, plural, shown, tell, turns, typed } from "./elements.js";
import { itemBox, openItem } from "./items.js";
import { happened, on, state, who } from "./state.js";

const TABS = ["user", "visitor"];
const turn = turns();

const told = (step = false) => writeAddress({ step, usual: { exclude_seen: byId("exclude-seen").defaultChecked } });

function changed(step = false) {
  showWho();
  told(step);
  happened("who");
}

async function beUser(id, { basket = [], step = true } = {}) {
  const mine = turn();
  tell(null);
  let user;
  try {
    user = await ask(`/page/users/${inPath(id)}`);
  } catch (error) {
    if (mine()) tell(error);
    return;
  }
  if (!mine()) return;
  Object.assign(state, { user, visitor: null, basket });
  changed(step);
}

// Of columns that this bundle's users lack, from an address or a bundle before, nothing is asked.
function beVisitor(features = {}, { basket = [], step = true } = {}) {
  turn();
  const there = state.profile.filter(({ name }) => Object.hasOwn(features, name));
  Object.assign(state, { visitor: Object.fromEntries(there.map(({ name }) => [name, features[name]])), basket });
  for (const column of state.profile) byId(`profile-${column.name}`).value = asTyped(features[column.name]);
  changed(step);
}

async function anyUser(step = true) {
  const mine = turn();
  try {
    const { users } = await ask("/page/users", { query: { any: true, limit: 1 } });
    if (mine() && users.length) await beUser(users[0].user_id, { step });
  } catch (error) {
    if (mine()) tell(error);
  }
}

// As the address says, and where it says nothing somebody at random: an empty page shows nothing.
export async function whoever({ user, features, history } = readAddress()) {
  const asked = await Promise.allSettled(history.map((item) => ask("/page/item", { query: { item } })));
  const basket = asked.filter(({ status }) => status === "fulfilled").map(({ value }) => value.item);
  if (features) beVisitor(features, { basket, step: false });
  else if (user !== null) await beUser(user, { basket, step: false });
  else await anyUser(false);
}

// What is known of who asks may be another's after a change of bundles.
export async function again() {
  if (state.visitor) beVisitor(state.visitor, { basket: state.basket, step: false });
  else if (state.user) await beUser(state.user.user_id, { basket: state.basket, step: false });
  else await whoever();
}

export function add(item) {
  if (state.basket.some((other) => other.item_id === item.item_id)) return;
  state.basket = [...state.basket, item];
  changed();
}

function takeOut(item) {
  state.basket = state.basket.filter((other) => other.item_id !== item.item_id);
  changed();
  byId("recommend-title").focus(); // the button that had the focus is gone
}

function showWho() {
  const { visitor, user, basket } = state;
  for (const name of TABS) {
    const chosen = name === (visitor ? "visitor" : "user");
    byId(`who-${name}`).hidden = !chosen;
    byId(`tab-${name}`).setAttribute("aria-selected", String(chosen));
    byId(`tab-${name}`).tabIndex = chosen ? 0 : -1;
  }
  byId("basket-box").hidden = !basket.length;
  byId("basket-title").textContent = visitor ? "Basket" : "Added to the history";
  fill(byId("basket"), basket.map((item) => make("li", {}, nameOf(item), " ",
    make("button", { type: "button", class: "link", "aria-label": `${visitor ? "Remove" : "Undo"}: ${nameOf(item)}`, onclick: () => takeOut(item) },
      visitor ? "Remove" : "Undo"))));
  byId("history-title").textContent = visitor ? "Basket" : "History";
  if (user) showUser(user);
  showHistory(visitor ? null : user);
}

function showUser(user) {
  if (document.activeElement !== byId("user")) byId("user").value = user.user_id; // else somebody is typing
  const pairs = Object.entries(user.features);
  if (!user.known) pairs.push(["user", "new since training"]);
  fill(byId("user-features"), pairs.map(([name, value]) => make("div", {}, make("dt", {}, named(name)), " ", make("dd", {}, shown(value)))));
}

function showHistory(user) {
  const { basket } = state;
  const added = basket.length ? `${plural(basket.length, "item")}${user ? " added here" : ", newest first"}` : "";
  const cut = user && user.history.length < user.num_history ? `${user.history.length} of ` : "";
  const kept = user?.num_history ? `${cut}${plural(user.num_history, "item")}, newest first` : "";
  const nothing = user ? "Nothing is known of this user's past." : "Empty. Put items into it above, or from the recommendations.";
  byId("history-status").textContent = [added, kept].filter(Boolean).join("; ") || nothing;
  const line = (item, note) => make("li", {},
    make("button", { type: "button", class: "link", onclick: () => openItem(item.item_id) }, nameOf(item)), note);
  fill(byId("history"),
    basket.toReversed().map((item) => line(item, user && make("span", { class: "badge" }, "added"))),
    (user?.history ?? []).map((item) => line(item, make("span", { class: "soft" }, item.time === null ? "" : date(item.time)))));
}

// What can be said of a visitor: the columns of users that the tower reads.
export function showProfile() {
  const field = ({ name, kind, values, min, max }) => {
    const id = `profile-${name}`;
    const extent = kind === "number" && min !== null ? make("span", { class: "soft" }, ` ${shown(min)} to ${shown(max)}`) : null;
    const control = values && kind === "text"
      ? make("select", { id }, make("option", { value: "" }, "Unknown"), values.map(({ value }) => make("option", { value }, value)))
      : make("input", { id, type: kind === "number" ? "number" : "text", step: kind === "number" ? "any" : null,
        placeholder: HINTS[kind] || "Unknown", autocomplete: "off" });
    return make("div", { class: "field" }, make("label", { for: id }, named(name), extent), control);
  };
  const none = make("p", { class: "soft" }, "The user tower reads no profile: what is in the basket says it all.");
  fill(byId("profile"), state.profile.length ? state.profile.map(field) : none);
}

function readProfile() {
  if (!state.visitor) return; // left meanwhile
  const fields = state.profile.map(({ name }) => byId(`profile-${name}`));
  const wrong = fields.filter((field) => field.validity.badInput);
  judge(fields, wrong, byId("profile-fault"), wrong.length ? "Expected a number." : "");
  if (wrong.length) return;
  const given = state.profile.map((column) => {
    const text = byId(`profile-${column.name}`).value.trim();
    return [column.name, typed(column, text), text];
  });
  state.visitor = Object.fromEntries(given.filter(([, , text]) => text !== "").map(([name, value]) => [name, value]));
  changed();
}

function startTabs() {
  const open = (name) => {
    byId(`tab-${name}`).focus();
    if (name === "visitor") { if (!state.visitor) beVisitor(); }
    else if (state.user) beUser(state.user.user_id);
    else anyUser();
  };
  for (const name of TABS) {
    byId(`tab-${name}`).addEventListener("click", () => open(name));
    byId(`tab-${name}`).addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      event.preventDefault();
      open(TABS[1 - TABS.indexOf(name)]);
    });
  }
}

export function startWho() {
  startTabs();
  for (const name of TABS) byId(`who-${name}`).addEventListener("submit", (event) => event.preventDefault());
  byId("any-user").addEventListener("click", () => anyUser());
  byId("user").addEventListener("blur", () => { if (state.user) byId("user").value = state.user.user_id; });
  byId("profile").addEventListener("input", later(readProfile, 250));
  on("filters", () => { if (who()) told(); });
  combobox(byId("user"), byId("user-list"), {
    find: async (query) => (await ask("/page/users", { query: { query, limit: 20 } })).users,
    line: (user) => [make("span", {}, user.user_id), make("span", { class: "soft" }, plural(user.num_history, "item"))],
    text: (user) => user.user_id,
    choose: (user) => beUser(user.user_id),
  });
  itemBox("pick", (item) => { byId("pick").value = ""; add(item); });
}
