// The catalogue in two dimensions, drawn on a canvas; the same as text beside it.
import { ask } from "./api.js";
import { byId, count, fill, make, nameOf, score, tell, turns } from "./elements.js";
import { openItem } from "./items.js";
import { had, happened, on, state, who } from "./state.js";

const MARGIN = 24;
const REACH = 14;
const turn = turns();
let whole = null;       // as GET /page/map answers
let marked = [];        // the user's items, each with kind and place
let at = -1;            // which of `marked` the keyboard stands on

const visible = () => !byId("view-map").hidden;

export async function showMap() {
  if (!visible()) return;
  const mine = turn();
  try {
    byId("map-status").textContent ||= "Drawing …";
    const map = await ask("/page/map");
    const found = await userItems();
    if (!mine()) return;
    [whole, marked, at] = [map, found, -1];
    state.counts.num_items = map.num_items;
    happened("counts");
    const all = map.points.length < map.num_items ? `${count(map.points.length)} of ${count(map.num_items)} items` : `All ${count(map.num_items)} items`;
    const user = who() ? "" : " Choose a user to see where that user's items lie.";
    byId("map-status").textContent = `${all}, by the two main directions of their embeddings; these hold ${Math.round(100 * map.explained)} % of the variance.${user}`;
    showTable();
    draw();
  } catch (error) {
    if (mine()) tell(error);
  }
}

async function userItems() {
  if (!who()) return [];
  const mine = had().map((item) => ({ ...item, kind: "In the history" }));
  const best = state.recommendations.map((item) => ({ ...item, kind: "Recommended" }));
  const items = [...mine, ...best];
  if (!items.length) return [];
  const { places } = await ask("/page/places", { query: { items: items.map((item) => item.item_id) } });
  return items.map((item, position) => ({ ...item, place: places[position] }));
}

function scale() {
  const canvas = byId("map-canvas");
  const { width, height } = canvas.getBoundingClientRect();
  const places = [...whole.points.map((point) => point.place), ...marked.map((item) => item.place)];
  const ends = [0, 1].map((axis) => places.reduce(([low, high], place) => [Math.min(low, place[axis]), Math.max(high, place[axis])], [Infinity, -Infinity]));
  // One unit is as long across as it is up, so that distances can be compared.
  const unit = Math.min(...[width, height].map((size, axis) => (size - 2 * MARGIN) / (ends[axis][1] - ends[axis][0] || 1)));
  const onto = (axis, size, value) => size / 2 + (value - (ends[axis][0] + ends[axis][1]) / 2) * unit;
  return { width, height, x: (place) => onto(0, width, place[0]), y: (place) => height - onto(1, height, place[1]) };
}

function draw() {
  if (!whole || !visible()) return;
  const canvas = byId("map-canvas");
  const to = scale();
  const dots = window.devicePixelRatio || 1;
  canvas.width = Math.round(to.width * dots);
  canvas.height = Math.round(to.height * dots);
  const pen = canvas.getContext("2d");
  pen.scale(dots, dots);
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  pen.fillStyle = colour("--other");
  pen.globalAlpha = 0.55;
  for (const { place } of whole.points) disc(pen, to.x(place), to.y(place), 2);
  pen.globalAlpha = 1;
  pen.strokeStyle = colour("--card");
  pen.lineWidth = 1.5;
  for (const { kind, place } of marked) {
    pen.fillStyle = colour(kind === "Recommended" ? "--accent" : "--had");
    if (kind === "Recommended") disc(pen, to.x(place), to.y(place), 6, true);
    else {
      pen.fillRect(to.x(place) - 4, to.y(place) - 4, 8, 8);
      pen.strokeRect(to.x(place) - 4, to.y(place) - 4, 8, 8);
    }
  }
  if (at >= 0) {
    pen.strokeStyle = colour("--ink");
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(to.x(marked[at].place), to.y(marked[at].place), 11, 0, 2 * Math.PI);
    pen.stroke();
  }
}

function disc(pen, x, y, radius, edge = false) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.fill();
  if (edge) pen.stroke();
}

function tip(item) {
  const box = byId("map-tip");
  box.hidden = !item;
  if (!item) return;
  const to = scale();
  box.textContent = item.kind ? `${nameOf(item)} (${item.kind.toLowerCase()})` : nameOf(item);
  const [x, y] = [to.x(item.place), to.y(item.place)];
  box.style.left = `${Math.min(x + 14, to.width - box.offsetWidth - 6)}px`;
  box.style.top = `${y + 14 + box.offsetHeight > to.height ? y - 14 - box.offsetHeight : y + 14}px`;
}

function under(event) {
  if (!whole) return null;
  const box = byId("map-canvas").getBoundingClientRect();
  const to = scale();
  let [best, nearest] = [null, REACH];
  // Marked items lie on top, so they win where both are near.
  for (const item of [...marked, ...whole.points]) {
    const away = Math.hypot(to.x(item.place) - event.clientX + box.left, to.y(item.place) - event.clientY + box.top);
    if (away < nearest - (best?.kind ? 6 : 0)) [best, nearest] = [item, away];
  }
  return best;
}

function step(event) {
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  if (event.key === "Enter" && at >= 0) return openItem(marked[at].item_id);
  if (event.key === "Escape") at = -1;
  else if (event.key in steps && marked.length) {
    event.preventDefault();
    at = at < 0 && steps[event.key] < 0 ? marked.length - 1 : (at + steps[event.key] + marked.length) % marked.length;
  } else return;
  draw();
  tip(marked[at]);
  byId("map-point").textContent = at < 0 ? "" : `${marked[at].kind}, ${at + 1} of ${marked.length}: ${nameOf(marked[at])}`;
}

function showTable() {
  fill(byId("map-rows"), marked.length ? marked.map((item) => make("tr", {},
    make("td", {}, make("button", { type: "button", class: "link", onclick: () => openItem(item.item_id) }, nameOf(item))),
    make("td", {}, item.kind),
    item.place.map((value) => make("td", { class: "number" }, score(value)))))
    : make("tr", {}, make("td", { colspan: "4" }, "Choose a user first.")));
}

export function startMap() {
  const canvas = byId("map-canvas");
  canvas.addEventListener("mousemove", (event) => { const item = under(event); canvas.style.cursor = item ? "pointer" : ""; tip(item); });
  canvas.addEventListener("mouseleave", () => tip(null));
  canvas.addEventListener("click", (event) => { const item = under(event); if (item) openItem(item.item_id); });
  canvas.addEventListener("keydown", step);
  canvas.addEventListener("blur", () => { at = -1; tip(null); draw(); });
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  on("theme", draw);
  for (const name of ["who", "recommendations", "catalogue", "bundle"]) on(name, showMap);
}
