// A text field with a list to choose from, by keyboard or pointer (the combobox pattern of WAI-ARIA).
import { fill, later, make, tell, turns } from "./elements.js";

export function combobox(input, list, { find, line, text, choose }) {
  const turn = turns();
  const found = make("span", { class: "hidden", role: "status" });
  list.after(found);
  let options = [];
  let asked = null; // what was typed when the options were found; null while there are none
  let pending = null; // the search in progress: what was typed, and a promise
  let active = -1;

  function close() {
    list.hidden = true;
    asked = pending = null;
    active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
    found.textContent = "";
  }

  function activate(position) {
    active = position;
    [...list.children].forEach((row, place) => {
      row.setAttribute("aria-selected", String(place === position));
      if (place === position) {
        input.setAttribute("aria-activedescendant", row.id);
        row.scrollIntoView({ block: "nearest" });
      }
    });
  }

  function take(position) {
    const option = options[position];
    if (!option) return;
    input.value = text(option);
    close();
    choose(option);
  }

  // Keys and the pause after typing share the search for the same text.
  function open() {
    const typed = input.value.trim();
    if (pending?.typed !== typed) {
      const done = search(typed).finally(() => { if (pending?.done === done) pending = null; });
      pending = { typed, done };
    }
    return pending.done;
  }

  async function search(typed) {
    const mine = turn();
    try {
      const answer = await find(typed);
      if (!mine() || document.activeElement !== input) return;
      options = answer;
    } catch (error) {
      if (mine()) tell(error);
      return;
    }
    tell(null);
    const rows = options.map((option, position) =>
      make("li", { id: `${list.id}-${position}`, role: "option", "aria-selected": "false",
        // Before the field loses its focus, which closes the list.
        onmousedown: (event) => { event.preventDefault(); take(position); } }, ...line(option)));
    const none = make("li", { class: "none soft", role: "option", "aria-disabled": "true" }, "Nothing found");
    fill(list, rows.length ? rows : [none]);
    found.textContent = rows.length ? `${rows.length} found` : "Nothing found";
    asked = typed;
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    active = -1;
    input.removeAttribute("aria-activedescendant");
  }

  // Keys may be faster than answers: options for what is no longer typed are not gone through.
  const isStale = () => asked !== input.value.trim();

  input.addEventListener("input", later(() => isStale() && open(), 150));
  input.addEventListener("focus", () => { input.select(); open(); });
  input.addEventListener("click", () => { if (list.hidden) open(); });
  input.addEventListener("blur", () => { turn(); close(); });
  input.addEventListener("keydown", async (event) => {
    if (event.key === "Escape") close();
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (isStale()) await open();
      const step = event.key === "ArrowDown" ? 1 : -1;
      if (options.length) activate(active < 0 && step < 0 ? options.length - 1 : (active + step + options.length) % options.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (active >= 0 && !isStale()) return take(active);
      await open();
      const typed = options.findIndex((option) => text(option).toLowerCase() === input.value.trim().toLowerCase());
      take(typed >= 0 ? typed : options.length === 1 ? 0 : -1);
    }
  });
}
