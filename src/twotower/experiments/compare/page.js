"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const element = id => document.getElementById(id);
const token = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const CONFIG = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["lasso2d", "select2d"] };

/* Texts of runs are added as text nodes, so that none is read as HTML. */
function make(tag, attributes, ...content) {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...content.flat());
  return node;
}
const below = (className, ...text) => text[0] ? [make("br", {}), make("small", { className }, ...text)] : [];

/* Long names may be broken after one of their parts. */
function breakable(text, longWord = 20) {
  const parts = text.split(new RegExp(`(\\S{${longWord},})`));  // every other part is a long word
  const pieces = parts.flatMap((part, at) => at % 2 ? part.split(/(?<=[,/_]|\.(?=[a-z]))(?=\S)/) : [part]);
  return pieces.filter(Boolean).flatMap((piece, at) => at ? [make("wbr", {}), piece] : [piece]);
}

/* The label of a row, and below it its name and the user's note. */
function nameCell(row) {
  const words = row.label.split(" ").flatMap(word => [make("span", { className: "word" }, word), " "]);
  const content = row.name === row.label ? breakable(row.name) : [...words, ...below("folder", ...breakable(row.name))];
  const text = make("span", { className: "text" }, content, below("own", row.note));
  return make("th", { scope: "row", className: "name", title: row.folder }, text);
}

function verdictCell(verdict, reason, p) {
  const style = ["better", "worse", "equivalent"].includes(verdict) ? "verdict " + verdict : "verdict";
  // A long state, such as the error of a failed run, would be a pill of several lines.
  const shown = verdict && verdict.length <= 40 ? make("span", { className: style }, verdict) : verdict;
  const more = reason ? [" ", make("span", { className: "reason" }, reason)] : [];
  const isLong = [verdict, reason].filter(Boolean).join(", ").length > 40;
  return make("td", { className: isLong ? "verdicts long" : "verdicts" }, shown, more, below("below", p));
}

function drawTable() {
  const cell = (column, at) =>
    column.style === "name" ? nameCell(data.rows[at]) :
    column.reasons ? verdictCell(column.cells[at], column.reasons[at], column.below?.[at]) :
    make("td", { className: column.style, title: column.titles?.[at] ?? "" }, column.cells[at], below("below", column.below?.[at]));
  const heading = ({ heading, style, title }) =>
    make("th", { scope: "col", className: style, title: title ?? "" }, make("button", { type: "button" }, breakable(heading, 12)));
  const table = element("table");
  table.tHead.append(make("tr", {}, data.columns.map(heading)));
  table.tBodies[0].append(...data.rows.map((row, at) =>
    make("tr", { className: row.baseline ? "baseline" : "" }, data.columns.map(column => cell(column, at)))));
  element("summary").append(...data.summary.map(line => make("li", { className: line.startsWith("note:") ? "note" : "" }, breakable(line))));
}

function layout(extra) {
  const axis = { gridcolor: token("--grid"), linecolor: token("--line"), zeroline: false, automargin: true };
  const axisOf = (own, standoff) => ({ ...axis, ...own, title: { standoff, ...(own?.title || {}) } });
  return {
    modebar: { bgcolor: "rgba(0,0,0,0)", color: token("--faint"), activecolor: token("--ink") },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 80, r: 20, t: 16, b: 50 },
    font: { color: token("--ink"), size: 13, family: getComputedStyle(document.body).fontFamily },
    hoverlabel: { bgcolor: token("--band"), bordercolor: token("--line"), font: { color: token("--ink") }, namelength: -1 },
    legend: { orientation: "h", y: -0.18, yanchor: "top", x: 0, font: { size: 12 } }, hovermode: "closest",
    ...extra, xaxis: axisOf(extra.xaxis, 8), yaxis: axisOf(extra.yaxis, 16),
  };
}
const titled = row => "#" + row + " " + data.rows[row - 1].label;
/* Ticks at 1, 2, 5 of each power of ten, written out; null where a linear axis does better. */
function logTicks(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (low <= 0 || high < 3 * low) return null;
  const powers = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) powers.push(power);
  const all = powers.flatMap(power => [1, 2, 5].map(lead => Number(lead + "e" + power)));
  return all.filter(tick => tick >= low / 2 && tick <= high * 2);
}

function draw() {
  if (!element("plot")) return;
  const plot = data.plots[Number(element("axes").value)];
  const on = new Set(plot.front), points = plot.points, front = points.filter(point => on.has(point.row));
  const hover = point => titled(point.row) + "<br>" + data.rows[point.row - 1].name + "<br>" + point.figures;
  const rest = points.filter(point => !on.has(point.row));
  const trace = (list, extra) => ({
    type: "scatter", x: list.map(p => p.x), y: list.map(p => p.y), hovertext: list.map(hover), hoverinfo: "text", ...extra,
  });
  const ticks = logTicks(points.map(p => p.x));
  Plotly.react("plot", [
    trace(rest, { mode: "markers", name: "others", marker: { size: 8, symbol: "circle-open", color: token("--soft") } }),
    trace(front, {
      mode: "lines+markers+text", name: "Pareto front", line: { shape: "hv", width: 1.5, dash: "dot", color: token("--accent") },
      marker: { size: 11, color: token("--accent") }, text: front.map(p => "#" + p.row), textposition: front.map((_, at) => at % 2 ? "bottom right" : "top left"),
      textfont: { size: 13, color: token("--ink") }, cliponaxis: false,
    }),
  ], layout({
    xaxis: { title: { text: plot.x }, ...(ticks ? { type: "log", tickvals: ticks, ticktext: ticks.map(String) } : { type: "linear" }) },
    yaxis: { title: { text: plot.y } }, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, margin: { l: 80, r: 40, t: 40, b: 50 },
  }), CONFIG);
  element("front").textContent = "On the front, from the cheapest: " +
    front.map(p => (titled(p.row).length > 48 ? "#" + p.row : titled(p.row)) + " (" + p.figures + ")").join("; ") + ".";
}

/* The page has a place for everything; what these runs have nothing for is taken away. */
function furnish() {
  element("axes").append(...data.plots.map((plot, at) => new Option(plot.y + " against " + plot.x, at)));
  if (!data.plots.length) element("plot").closest("section").remove();
  if (!document.querySelector(".extra")) element("settings").options[2].remove();
  if (!document.querySelector(".setting")) element("settings").closest("label").remove();
}

/* What a figure, the beginning of an interval or "<.0001" says. */
const number = text => parseFloat(text.replace(/^[[<]|,(?=\d{3})/g, ""));

/* Numbers are sorted from the highest on at first, texts from A; a second click turns the order. */
function sortBy(heading, column) {
  const numbers = heading.classList.contains("number"), before = heading.getAttribute("aria-sort");
  const direction = { ascending: "descending", descending: "ascending" }[before] ?? (numbers ? "descending" : "ascending");
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1, body = element("table").tBodies[0];
  const none = text => text === "" || (numbers && isNaN(number(text)));
  const compare = (a, b) => {
    const [x, y] = [a, b].map(row => row.cells[column].textContent);
    if (none(x) || none(y)) return none(x) - none(y);  // what is missing stays last
    return sign * (numbers ? number(x) - number(y) : x.localeCompare(y, "en", { numeric: true }));
  };
  body.append(...[...body.rows].sort(compare));
}

drawTable();
furnish();
[...element("table").tHead.rows[0].cells].forEach((heading, column) =>
  heading.firstChild.addEventListener("click", () => sortBy(heading, column)));
element("filter").addEventListener("input", event => {
  const wanted = event.target.value.toLowerCase(), rows = [...element("table").tBodies[0].rows];
  for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  const shown = rows.filter(row => !row.hidden).length;
  element("shown").textContent = wanted ? shown + " of " + rows.length + " rows" : "";
});
/* What differs says the settings in words: they have columns as well where there is room. */
function setSettings(way) {
  element("table").classList.toggle("words", way === "words");
  element("table").classList.toggle("all", way === "all");
}
if (element("settings")) {
  const around = element("table").parentElement;
  element("settings").value = around.scrollWidth > around.clientWidth ? "words" : "columns";
  setSettings(element("settings").value);
  element("settings").addEventListener("change", event => setSettings(event.target.value));
}
element("axes")?.addEventListener("change", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();
