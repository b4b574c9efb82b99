"use strict";
// What makes a report interactive: tables that sort, a choice of light and dark, and pictures drawn by plotly
// from the JSON in #data, all moved through the learning steps by one slider. Without it the page is whole, too.

const root = document.documentElement;
const byId = (id) => document.getElementById(id);

// ---- Tables: a click on a heading sorts by that column.

function sortKey(cell) {
  const text = cell.textContent.trim();
  // Numbers as the page writes them: 0.012, −3, 4.5×10⁻⁷; what follows (± spread) does not matter.
  const found = text.match(/^[−-]?[\d.]+(?:×10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?/);
  if (!found) return text.toLowerCase();
  const power = [...(found[1] || "⁰")].map((c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹".indexOf(c)).map((i) => (i ? String(i - 1) : "-"));
  return Number(found[0].split("×")[0].replace("−", "-") + "e" + power.join(""));
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return a.localeCompare(b);
}

function sortBy(table, column, heading) {
  const up = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of table.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [sortKey(row.cells[column]), row]);
  rows.sort((one, other) => (up ? 1 : -1) * compare(one[0], other[0]));
  for (const [, row] of rows) body.append(row);
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows].at(-1).querySelectorAll("th").forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sortBy(table, column, heading));
  });
}

// ---- Light and dark.

const isDark = () => getComputedStyle(root).colorScheme === "dark" ||
  (getComputedStyle(root).colorScheme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
const redraws = [];
const theme = byId("theme");
theme.hidden = false;
const nameTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
const retheme = () => { nameTheme(); for (const redraw of redraws) redraw(); };
theme.addEventListener("click", () => { root.style.colorScheme = isDark() ? "light" : "dark"; retheme(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", retheme);
nameTheme();

// ---- Pictures.

if (byId("data")) drawPictures(JSON.parse(byId("data").textContent));

function drawPictures(data) {
  const time = byId("time"), when = byId("when"), play = byId("play"), field = byId("field");
  const config = { displaylogo: false, responsive: true, modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]] };
  const color = (name) => {
    const probe = document.createElement("span");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  };

  // A copy each time: plotly writes into what it is given.
  function look(layout, height) {
    const axis = { gridcolor: color("rule"), linecolor: color("quiet"), zeroline: false, automargin: true };
    const ink = color("ink"), ground = color("ground");
    return {
      ...layout, height, paper_bgcolor: ground, plot_bgcolor: ground, hovermode: "closest",
      font: { color: ink, size: 13, family: getComputedStyle(document.body).fontFamily },
      margin: { l: 64, r: 16, t: 12, b: 48 }, showlegend: true,
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      hoverlabel: { align: "left", bgcolor: color("panel"), font: { color: ink } },
      xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis },
    };
  }

  const step = () => data.steps[Number(time.value)];
  function cursor(figure) {
    if (figure.layout.meta !== "steps") return [];
    const x = figure.layout.xaxis.type === "log" ? Math.max(step(), 1) : step();
    return [{ type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper", line: { color: color("quiet"), width: 1.5, dash: "dot" } }];
  }

  // A place for each picture beside its image, which then is for paper only.
  const places = {};
  for (const image of document.querySelectorAll("figure[data-name] img")) {
    const figure = image.parentElement, name = figure.dataset.name;
    if (!(name in data.figures) && !(name === "network_map" && data.map)) continue;
    const place = document.createElement("div");
    place.className = "interactive";
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", image.alt);
    figure.classList.add("drawn");
    image.after(place);
    places[name] = place;
  }

  function drawFigures() {
    for (const [name, figure] of Object.entries(data.figures)) {
      if (!places[name]) continue;
      const traces = figure.data.map((trace) => (trace.meta === "now" ? { ...trace, y: spectrum() } : { ...trace }));
      Plotly.react(places[name], traces, { ...look(figure.layout, 360), shapes: cursor(figure) }, config);
    }
  }
  const spectrum = () => data.spectrum[Number(time.value)];

  const map = data.map;
  // Rounding to powers of ten tells a number well enough under the pointer.
  const told = (value) => (value === null ? "–" : Number(value).toPrecision(3).replace(/e([+-])(\d+)/, "×10^$1$2"));

  // Names may hold what a label would take for markup.
  const called = (node) => (map.names ? map.names[node].replace(/&/g, "&amp;").replace(/</g, "&lt;") : node);

  function strength(scale, value) {
    if (value === null) return 0;
    if (scale.palette === "signed") return (value - scale.low) / (scale.high - scale.low);
    const size = Math.max(Math.abs(value), scale.low);
    const share = scale.log ? Math.log(size / scale.low) / Math.log(scale.high / scale.low) : size / scale.high;
    return Math.min(Math.max(share || 0, 0), 1);
  }

  function mapTraces() {
    const frame = map.frame[Number(time.value)], scale = map.fields[Number(field.value)];
    const colors = data.palettes[scale.palette][isDark() ? 1 : 0], levels = colors.length;
    const lines = colors.map(() => ({ x: [], y: [] }));
    const middle = { x: [], y: [], text: [] };
    map.pieces.forEach(([x0, y0, x1, y1], piece) => {
      const edge = map.owners[piece], value = scale.values[frame][edge];
      const line = lines[Math.min(Math.floor(strength(scale, value) * levels), levels - 1)];
      line.x.push(x0, x1, null);
      line.y.push(y0, y1, null);
      middle.x.push((x0 + x1) / 2);
      middle.y.push((y0 + y1) / 2);
      const [a, b] = map.ends[edge];
      const rows = map.fields.map((each) => {
        const now = each.values[frame][edge], before = each.values[0][edge];
        const way = (value) => (each.label === "current" ? ` from ${called(value < 0 ? b : a)} to ${called(value < 0 ? a : b)}` : "");
        const size = (value) => told(each.label === "current" && value !== null ? Math.abs(value) : value) + way(value);
        return `${each.label}: ${size(now)}` + (frame ? ` (at first ${size(before)})` : "");
      });
      middle.text.push(`<b>edge ${map.numbers[edge]}</b>, nodes ${called(a)} and ${called(b)}<br>` + rows.join("<br>"));
    });
    const edges = lines.map((line, level) => {
      const share = scale.palette === "signed" ? Math.abs((2 * level + 1) / levels - 1) : (level + 0.5) / levels;
      return { ...line, mode: "lines", hoverinfo: "skip", showlegend: false,
        line: { color: colors[level], width: 0.4 + map.widest * share } };
    });
    // Weak ones first, so that strong ones lie on top.
    edges.sort((one, other) => one.line.width - other.line.width);
    const ticks = scale.log
      ? Array.from({ length: 12 }, (_, i) => Math.ceil(Math.log10(scale.low)) + i).filter((power) => power <= Math.log10(scale.high))
      : null;
    const bar = { title: { text: scale.label, side: "right" }, thickness: 14, outlinewidth: 0,
      ...(ticks && ticks.length ? { tickvals: ticks, ticktext: ticks.map((power) => `10<sup>${power}</sup>`) } : {}) };
    const ends = scale.log ? [Math.log10(scale.low), Math.log10(scale.high)] : [scale.low, scale.high];
    const key = { x: [null], y: [null], mode: "markers", showlegend: false, hoverinfo: "skip",
      marker: { color: [ends[0]], cmin: ends[0], cmax: ends[1], showscale: true, colorbar: bar,
        colorscale: colors.map((each, level) => [level / (levels - 1), each]) } };
    const under = { ...middle, mode: "markers", showlegend: false, marker: { opacity: 0, size: 10, color: "#808080" },
      hovertemplate: "%{text}<extra></extra>" };
    return [...edges, key, under, ...nodeTraces(frame)];
  }

  function nodeTraces(frame) {
    const plain = { size: Math.min(Math.max(90 / Math.sqrt(map.places.length), 4), 9), color: "#8a8a8a" };
    const looks = { grounded: ["triangle-down", "#4d4d4d"], driven: ["triangle-up", "#f5c000"], "read out": ["square", "#ff6b4a"] };
    const text = map.places.map((_, node) => {
      const roles = Object.keys(map.roles).filter((role) => map.roles[role].includes(node));
      const state = map.x ? `<br>${map.state}: ${map.x[frame][node].map(told).join(", ")}` : "";
      return `<b>node ${called(node)}</b>${roles.length ? ` (${roles.join(", ")})` : ""}${state}`;
    });
    const trace = (nodes, marker, name, showlegend) => ({
      x: nodes.map((node) => map.places[node][0]), y: nodes.map((node) => map.places[node][1]),
      text: nodes.map((node) => text[node]), mode: "markers", marker, name, showlegend,
      hovertemplate: "%{text}<extra></extra>",
    });
    const all = trace(map.places.map((_, node) => node), plain, "node", true);
    const marked = Object.entries(map.roles).filter(([, nodes]) => nodes.length && nodes.length < map.places.length)
      .map(([role, nodes]) => trace(nodes, { symbol: looks[role][0], color: looks[role][1], size: plain.size + 5,
        line: { color: color("ink"), width: 1 } }, role, true));
    return [all, ...marked];
  }

  function drawMap() {
    if (!places.network_map) return;
    const bare = { visible: false, showgrid: false };
    const layout = look({ xaxis: bare, yaxis: { ...bare, scaleanchor: "x" } }, 560);
    layout.margin = { l: 8, r: 8, t: 12, b: 8 };
    layout.uirevision = "map"; // Zoom stays as it is while time goes on.
    Plotly.react(places.network_map, mapTraces(), layout, config);
  }

  function draw() {
    const last = data.steps[data.steps.length - 1];
    when.textContent = `step ${step()} of ${last}`;
    time.setAttribute("aria-valuetext", when.textContent);
    drawMap();
    drawFigures();
  }

  let asked = false;
  function drawSoon() {
    if (asked) return;
    asked = true;
    setTimeout(() => { asked = false; draw(); }, 15); // Not more often than a screen shows.
  }

  time.max = String(data.steps.length - 1);
  time.value = time.max;
  time.addEventListener("input", drawSoon);
  if (map && places.network_map) {
    map.fields.forEach((each, number) => field.add(new Option(each.label, String(number))));
    field.addEventListener("change", drawSoon);
    field.parentElement.hidden = map.fields.length < 2;
  }
  let ticking = 0;
  function stop() {
    clearInterval(ticking);
    ticking = 0;
    play.textContent = "Play";
  }
  play.addEventListener("click", () => {
    if (ticking) return stop();
    if (time.value === time.max) time.value = "0";
    play.textContent = "Pause";
    drawSoon();
    ticking = setInterval(() => {
      if (time.value === time.max) return stop();
      time.value = String(Number(time.value) + 1);
      drawSoon();
    }, 150);
  });
  byId("controls").hidden = data.steps.length < 2;
  redraws.push(draw);
  draw();
  root.dataset.drawn = "yes";
}
