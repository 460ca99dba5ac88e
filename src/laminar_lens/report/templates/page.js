function parse(id) { return JSON.parse(document.getElementById(id).textContent); }

function forPhones(layout, data) {
  if (window.innerWidth >= 700) return layout;
  const bar = data.map(t => t.marker && t.marker.colorbar).find(Boolean);
  const entries = data.filter(t => t.name && t.showlegend !== false).length;
  layout.margin = {...layout.margin, l: 52, r: bar ? 62 : 40, t: 20 + 19 * entries + (layout.updatemenus ? 40 : 0)};
  if (bar) { bar.x = 1.03; layout.yaxis2.visible = false; }  // degrees and the bar do not fit beside each other
  for (const t of data) if (t.error_y && t.marker.symbol === "line-ew") { t.marker.size *= 0.4; t.error_y.width *= 0.4; }
  const ticks = layout.xaxis.tickvals || [];
  if (ticks.length > 8) layout.xaxis.tickvals = ticks.filter((_, i) => i % Math.ceil(ticks.length / 7) === 0);
  layout.font = {size: 12};
  layout.legend = {...layout.legend, font: {size: 11}};
  layout.height = Math.min(layout.height || 460, 480);
  for (const slider of layout.sliders || []) slider.steps.forEach((step, i) => { if (i % 4) step.label = ""; });
  return layout;
}

async function drawFigures() {
  for (const place of document.querySelectorAll(".plot")) {
    const spec = parse("spec-" + place.dataset.figure);
    const layout = forPhones(spec.layout, spec.data);
    place.style.height = layout.height + "px";
    await Plotly.newPlot(place, spec.data, layout, {
      responsive: true, displaylogo: false,
      modeBarButtonsToRemove: ["lasso2d", "select2d", "zoomIn2d", "zoomOut2d"],
      toImageButtonOptions: {filename: place.dataset.figure, scale: 2},
    });
    await new Promise(done => setTimeout(done));  // the page answers between two figures
  }
  document.documentElement.dataset.ready = "true";
}

function shade(share) {
  const at = Math.min(Math.max(share, 0), 1) * (SHADES.length - 1);
  const i = Math.min(Math.floor(at), SHADES.length - 2);
  const channel = k => {
    const [a, b] = [SHADES[i], SHADES[i + 1]].map(c => parseInt(c.slice(k, k + 2), 16));
    return Math.round(a + (at - i) * (b - a));
  };
  const rgb = [1, 3, 5].map(channel);
  const dark = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] < 140;
  return [`rgb(${rgb.join(",")})`, dark ? "white" : "#1f2328"];
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
  draw();
}

if (document.getElementById("token-data")) drawTokens();
drawFigures();
