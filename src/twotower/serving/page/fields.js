// Raw values of a column as people type them.
export const HINTS = { number: "A number", tags: "Several, with commas between", text: "" };

export function typed(kind, text) {
  if (kind === "number") return Number(text);
  return kind === "tags" ? text.split(",").map((word) => word.trim()).filter(Boolean) : text;
}

export const asTyped = (value) => (value === undefined || value === null ? "" : Array.isArray(value) ? value.join(", ") : String(value));
