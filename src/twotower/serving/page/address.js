// The address says who asks and for what, so that it can be kept, sent on and gone back to.
import { state, who } from "./state.js";

export const USUAL = 10; // items, where the address says nothing
let written = location.search;

// Values are as they were typed into the address; what is no JSON counts as nothing.
export function readAddress() {
  const query = new URLSearchParams(location.search);
  const seen = query.get("exclude_seen");
  return {
    user: query.get("user"),
    features: parsed(query.get("features")),
    history: query.getAll("history"),
    k: Number(query.get("k")) || USUAL,
    where: parsed(query.get("where")) ?? {},
    exclude_seen: seen === null ? null : seen === "true",
  };
}

function parsed(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

// Another user is a step that the browser can go back from; another filter is not.
export function writeAddress({ step = false, usual = {} } = {}) {
  const { k, where, exclude_seen } = state.filters;
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(who() ?? {})) for (const one of [value].flat()) query.append(name, one);
  if (k !== USUAL) query.set("k", k);
  if (Object.keys(where).length) query.set("where", JSON.stringify(where));
  if (exclude_seen !== usual.exclude_seen) query.set("exclude_seen", exclude_seen);
  const text = query.toString();
  const search = text && `?${text}`;
  if (search === written) return;
  written = search;
  history[step ? "pushState" : "replaceState"](null, "", `${location.pathname}${search}${location.hash}`);
}

export function onAddress(action) {
  window.addEventListener("popstate", () => {
    if (location.search === written) return; // another view, or none of ours
    written = location.search;
    action();
  });
}
