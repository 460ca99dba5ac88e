const narrow = matchMedia("(max-width: 699px)");

function parse(id) { return JSON.parse(document.getElementById(id).textContent); }

const TYPES = {i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, f4: Float32Array, f8: Float64Array};

function unpacked(value) {
  if (value === null || typeof value !== "object") return value;
  if (value.bdata !== undefined) {
    const bytes = Uint8Array.from(atob(value.bdata), c => c.charCodeAt(0));
    return Array.from(new TYPES[value.dtype](bytes.buffer), one => isNaN(one) ? null : one);
  }
  if (value.texts) return unpacked(value.of).map(index => value.texts[index]);
  if (Array.isArray(value)) return value.map(unpacked);
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, unpacked(one)]));
}

function forPhones({data, layout}) {
  const bar = data.map(t => t.marker && t.marker.colorbar).find(Boolean);
  layout.margin = {...layout.margin, l: 52, r: bar ? 62 : 40};
  if (bar) { bar.x = 1.03; layout.yaxis2.visible = false; }  // degrees and the bar do not fit beside each other
  for (const t of data) if (t.texttemplate && t.x.length > 5) delete t.texttemplate;  // the cells are too small
  for (const t of data) if (t.error_y && t.marker.symbol === "line-ew") { t.marker.size *= 0.4; t.error_y.width *= 0.4; }
  const ticks = layout.xaxis.tickvals || [], fewer = list => list.filter((_, i) => i % Math.ceil(ticks.length / 7) === 0);
  if (ticks.length > 8) {
    layout.xaxis.tickvals = fewer(ticks);
    if (layout.xaxis.ticktext) layout.xaxis.ticktext = fewer(layout.xaxis.ticktext);
  }
  layout.font = {...layout.font, size: 12};
  layout.legend = {...layout.legend, font: {size: 11}};
  if (layout.updatemenus || layout.legend.y < 0) {  // below a menu there is no room; clear of the axis' title
    Object.assign(layout.legend, {x: 0, xanchor: "left", y: -0.24, yanchor: "top"});
  }
  layout.height = Math.min(layout.height || 460, 480);
}

// One of many lines in a trace: the points around `at` up to the gaps on both sides.
function lineAround(trace, at) {
  let [from, to] = [at, at];
  while (from > 0 && trace.x[from - 1] !== null) from--;
  while (to < trace.x.length && trace.x[to] !== null) to++;
  return {x: [trace.x.slice(from, to)], y: [trace.y.slice(from, to)]};
}

// A click on a line keeps it bold and its name below the figure; another on the same one lets it go.
function namePicked(place, picked) {
  const said = document.createElement("p");
  said.className = "picked";
  said.setAttribute("aria-live", "polite");
  place.after(said);
  place.on("plotly_click", ({points: [point]}) => {
    const trace = point.data;
    if (trace.meta !== "each") return;
    const again = said.textContent !== "" && said.dataset.name === point.customdata;
    const parts = again ? [] : point.customdata.split("<br>").map(part => new DOMParser().parseFromString(part, "text/html").body.textContent);
    said.textContent = parts.join(" · ");
    said.dataset.name = point.customdata;
    Plotly.restyle(place, again ? {x: [[null]], y: [[null]]} : lineAround(trace, point.pointNumber), [picked]);
  });
}

function figureOf(place) {
  const spec = unpacked(parse("spec-" + place.dataset.figure));
  if (narrow.matches) forPhones(spec);
  if (spec.data.some(trace => trace.meta === "each")) {
    spec.data.push({x: [null], y: [null], mode: "lines", line: {color: "#1f2328", width: 4}, hoverinfo: "skip", showlegend: false});
  }
  return themed(spec);
}

async function drawFigures() {
  for (const place of document.querySelectorAll(".plot")) {
    const drawn = Boolean(place.data), {data, layout} = figureOf(place);
    place.style.height = layout.height + "px";
    await Plotly.react(place, data, layout, {
      responsive: true, displaylogo: false, displayModeBar: narrow.matches ? false : "hover",
      modeBarButtonsToRemove: ["lasso2d", "select2d", "zoomIn2d", "zoomOut2d", "sendChartToCloud"],
      toImageButtonOptions: {filename: place.dataset.figure, scale: 2},
    });
    if (!drawn && data.some(trace => trace.meta === "each")) namePicked(place, data.length - 1);
    await new Promise(done => setTimeout(done));  // the page answers between two figures
  }
  document.documentElement.dataset.ready = "true";
}

function shade(share) {
  const stops = themed(SHADES, "color", "scale").map(channels);
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1), i = Math.min(Math.floor(at), stops.length - 2);
  const rgb = stops[i].map((from, k) => Math.round(from + (at - i) * (stops[i + 1][k] - from)));
  const isDark = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] < 140;
  return [`rgb(${rgb.join(",")})`, isDark ? "white" : "#1f2328"];
}

function drawTokens() {
  const data = parse("token-data");
  const find = id => document.getElementById(id);
  const [choice, slider, shown, view] = ["token-prompt", "token-layer", "token-layer-shown", "token-view"].map(find);
  const visible = word => word.replace(/^ /, "");
  const degrees = rad => Math.round(rad * 180 / Math.PI) + "°";
  data.prompts.forEach((prompt, row) => {
    choice.add(new Option(row + ": " + prompt.text, row));
  });
  slider.max = data.layers.length - 1;
  slider.value = Math.round((data.layers.length - 1) * 0.6);
  for (const end of ["low", "high"]) find("scale-" + end).textContent = data[end].toFixed(2) + " rad (" + degrees(data[end]) + ")";

  function draw() {
    const prompt = data.prompts[choice.value], row = Number(slider.value), angles = prompt.angles[row];
    find("scale-shades").style.background = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map(at => shade(at)[0])})`;
    shown.textContent = "layer " + data.layers[row] + " of " + data.layers[data.layers.length - 1];
    slider.setAttribute("aria-valuetext", shown.textContent);
    view.replaceChildren(...prompt.words.map((word, i) => {
      const token = document.createElement("span"), value = document.createElement("small");
      const angle = i > 0 ? angles[i - 1] : null;
      token.className = "token" + (/^\s/.test(word) ? " word" : "") + (i === 0 ? " first" : "") + (i === prompt.target ? " target" : "");
      token.textContent = visible(word) || "␣";
      value.textContent = angle === null ? "–" : angle.toFixed(2);
      token.append(value);
      token.title = i === 0 ? "“" + word + "”: position 0"
        : "“" + prompt.words[i - 1] + "” → “" + word + "” (" + (i - 1) + ", " + i + "): "
          + (angle === null ? "no angle" : angle.toFixed(3) + " rad, " + degrees(angle));
      if (angle !== null) [token.style.backgroundColor, token.style.color] = shade((angle - data.low) / (data.high - data.low || 1));
      return token;
    }));
  }
  slider.addEventListener("input", draw);
  choice.addEventListener("change", draw);
  dark.addEventListener("change", draw);
  draw();
}

// A table that is wider than its box says so, and keeps its first columns in sight.
function markWideTables() {
  for (const box of document.querySelectorAll(".scroll")) {
    const wide = box.scrollWidth > box.clientWidth + 1;
    box.classList.toggle("wide", wide);
    box.tabIndex = wide ? 0 : -1;  // the arrow keys scroll it
    const [first, answer] = ["th", "th.answer"].map(which => (box.querySelector(which) || {}).offsetWidth || 0);
    box.style.setProperty("--first", first + "px");
    box.classList.toggle("keeps", wide && first + answer < 0.75 * box.clientWidth);  // room to see others
  }
}

if (document.getElementById("token-data")) drawTokens();
markWideTables();
addEventListener("resize", markWideTables);
for (const query of [dark, narrow]) query.addEventListener("change", drawFigures);
drawFigures();
