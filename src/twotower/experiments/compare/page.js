"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const PALETTE = ["#2f7ed8", "#e8710a", "#1a9a6c", "#c2478f", "#8a63d2", "#b8860b", "#00899e", "#d64545", "#6b8e23", "#8d6e63"];
const colorOf = new Map();  // row number -> place in the palette
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
function nameCell(row, number) {
  const words = row.label.split(" ").flatMap(word => [make("span", { className: "word" }, word), " "]);
  const content = row.name === row.label ? breakable(row.name) : [...words, ...below("folder", ...breakable(row.name))];
  const text = make("span", { className: "text" }, content, below("own", row.note));
  const box = () => make("input", { className: "pick", type: "checkbox", value: number, checked: row.ticked });
  const label = () => make("label", {}, box(), make("span", { className: "swatch", ariaHidden: "true" }), text);
  return make("th", { scope: "row", className: "name", title: row.has_box ? row.folder : row.name }, row.has_box ? label() : text);
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
    column.style === "name" ? nameCell(data.rows[at], at + 1) :
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
/* A legend does not wrap: where a name is wider than its plot, its number says it. */
const legend = (row, id) => titled(row).length * 6.6 + 120 > element(id).clientWidth ? "#" + row : titled(row);
const rowColor = row => colorOf.has(row) ? PALETTE[colorOf.get(row)] : token("--faint");
/* Faint lines first, so that colored ones lie on top. */
const drawOrder = rows => [...rows].sort((a, b) => colorOf.has(a) - colorOf.has(b) || a - b);

function drawCurves() {
  if (!element("curves")) return;
  const key = element("curve").value, of = data.curves[key];
  const most = Math.max(...Object.values(of).map(values => values.length));
  const traces = drawOrder(Object.keys(of).map(Number)).map(row => ({
    type: "scatter", mode: of[row].length > 1 ? "lines" : "markers", x: of[row].map((_, at) => at + 1), y: of[row],
    name: legend(row, "curves"), showlegend: colorOf.has(row), legendrank: row, opacity: colorOf.has(row) ? 1 : 0.7,
    line: { color: rowColor(row), width: data.rows[row - 1].baseline ? 4 : colorOf.has(row) ? 2 : 1 },
    hovertemplate: "%{y:.4f} after epoch %{x}<extra>" + titled(row) + "</extra>",
  }));
  Plotly.react("curves", traces, layout({
    xaxis: { title: { text: "epoch" }, tickformat: "d", ...(most <= 15 ? { dtick: 1 } : {}), ...(most < 2 ? { range: [0.5, 1.5] } : {}) },
    yaxis: { title: { text: key } },
  }), CONFIG);
}

/* Ticks at 1, 2, 5 of each power of ten, written out; null where a linear axis does better. */
function logTicks(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (low <= 0 || high < 3 * low) return null;
  const powers = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) powers.push(power);
  const all = powers.flatMap(power => [1, 2, 5].map(lead => Number(lead + "e" + power)));
  return all.filter(tick => tick >= low / 2 && tick <= high * 2);
}

function drawFront(id) {
  if (!element(id)) return;
  const plot = data.fronts[id][Number(element("front-y").value)];
  const on = new Set(plot.front), points = plot.points, front = points.filter(point => on.has(point.row));
  const hover = point => titled(point.row) + "<br>" + data.rows[point.row - 1].name + "<br>" + point.figures;
  const rest = points.filter(point => !on.has(point.row));
  const trace = (list, extra) => ({
    type: "scatter", x: list.map(p => p.x), y: list.map(p => p.y), hovertext: list.map(hover), hoverinfo: "text", ...extra,
  });
  const ticks = logTicks(points.map(p => p.x));
  Plotly.react(id, [
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
  element(id + "-front").textContent = "On the front, from the cheapest: " +
    front.map(p => (titled(p.row).length > 48 ? "#" + p.row : titled(p.row)) + " (" + p.figures + ")").join("; ") + ".";
}

function drawParallel() {
  if (!element("parallel")) return;
  const from = data.parallel;
  const dimensions = from.dimensions.map(each => {
    const [low, high] = each.range || [Math.min(...each.values), Math.max(...each.values)], room = 0.08 * (high - low);
    return {
      label: each.label, values: each.values, range: [low - room, high + room],
      ...(each.ticktext ? { tickvals: each.tickvals, ticktext: each.ticktext } : {}),
    };
  });
  const ink = token("--ink"), lines = dimensions.map(each => each.label.split("<br>"));
  const longest = Math.max(...lines.flat().map(text => text.length)), most = Math.max(...lines.map(each => each.length));
  const left = 30 + 7 * Math.max(6, ...[...(dimensions[0].ticktext || []), ...lines[0].map(text => text.slice(text.length / 2))].map(text => text.length));
  element("parallel").style.minWidth = left + 60 + Math.max(80, 8 + 6.8 * longest) * (dimensions.length - 1) + "px";  // the figure scrolls, names do not overlap
  Plotly.react("parallel", [{
    type: "parcoords", dimensions, labelfont: { color: ink, size: 12 }, tickfont: { color: ink, size: 12 }, rangefont: { color: "rgba(0,0,0,0)", size: 1 },
    line: { color: from.color, colorscale: [[0, "#2f7ed8"], [0.5, "#9a7bb0"], [1, "#e8710a"]] },
    unselected: { line: { color: token("--faint"), opacity: 0.25 } },
  }], layout({ margin: { l: left, r: 60, t: 40 + 17 * most, b: 30 } }), CONFIG);
}

function drawSlices() {
  if (!element("slices")) return;
  const from = data.slices, rows = [...colorOf.keys()].filter(row => from.values[row]).sort((a, b) => a - b);
  const traces = rows.map((row, at) => ({
    type: "scatter", mode: "markers", name: legend(row, "slices"), y: from.values[row],
    x: from.labels.map((_, place) => place + (at - (rows.length - 1) / 2) * Math.min(0.09, 0.7 / rows.length)),
    marker: { color: rowColor(row), size: 10, symbol: data.rows[row - 1].baseline ? "diamond" : "circle" },
    hovertext: from.labels.map(label => label.replaceAll("<br>", " ")), hovertemplate: "%{y:.4f} %{hovertext}<extra>" + titled(row) + "</extra>",
  }));
  Plotly.react("slices", traces, layout({
    xaxis: { tickangle: 0, tickvals: from.labels.map((_, place) => place), ticktext: from.labels, range: [-0.6, from.labels.length - 0.4], showgrid: false },
    yaxis: { title: { text: from.label }, rangemode: "tozero" }, legend: { orientation: "h", y: -0.28, yanchor: "top", x: 0, font: { size: 12 } },
    shapes: from.breaks.map(at => ({ type: "line", x0: at, x1: at, y0: 0, y1: 1, yref: "paper", line: { color: token("--line"), width: 1 } })),
  }), CONFIG);
}

/* The page has a place for everything; what these runs have nothing for is taken away. */
function furnish() {
  const options = (id, texts) => element(id).append(...texts.map(([value, text]) => new Option(text, value)));
  const plots = Object.values(data.fronts).find(each => each.length) || [];
  options("curve", Object.keys(data.curves).map(key => [key, key]));
  options("front-y", plots.map((plot, at) => [at, plot.y]));
  const gone = (id, what) => element(id).closest(what).remove();
  if (!element("curve").length) gone("curve", "section");
  for (const id of ["latency", "bytes"]) if (!data.fronts[id].length) gone(id, "figure");
  if (!plots.length) gone("front-y", "section");
  for (const id of ["parallel", "slices"]) if (!data[id]) gone(id, "section");
  if (!document.querySelector(".extra")) element("settings").options[2].remove();
  if (!document.querySelector(".setting")) gone("settings", "label");
}

function draw() {
  for (const box of document.querySelectorAll("input.pick")) {
    box.nextElementSibling.style.background = colorOf.has(Number(box.value)) ? rowColor(Number(box.value)) : "none";
  }
  drawCurves(); drawFront("latency"); drawFront("bytes"); drawParallel(); drawSlices();
}

function pick(row, wanted) {
  if (!wanted) { colorOf.delete(row); return true; }
  const taken = new Set(colorOf.values());
  const free = PALETTE.findIndex((_, at) => !taken.has(at));
  if (free < 0) return false;
  colorOf.set(row, free);
  return true;
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
for (const box of document.querySelectorAll("input.pick")) {
  if (box.checked) pick(Number(box.value), true);
  box.addEventListener("change", () => {
    if (!pick(Number(box.value), box.checked)) {
      box.checked = false;
      element("shown").textContent = "ten rows are drawn; untick one first";
    }
    draw();
  });
}
element("curve")?.addEventListener("change", drawCurves);
element("front-y")?.addEventListener("change", () => { drawFront("latency"); drawFront("bytes"); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();
