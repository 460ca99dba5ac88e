// Figures are made for a light page. On a dark one each colour keeps its hue: paper and ink change places,
// coloured lines become light enough to be seen, and a scale of shades runs from dark to light.
const dark = matchMedia("(prefers-color-scheme: dark)");
const COLOUR = /^(#[0-9a-f]{6}|rgba?\([\d., ]+\)|white|black)$/i;

function channels(colour) {
  if (colour === "white") return [255, 255, 255];
  if (colour === "black") return [0, 0, 0];
  if (colour[0] === "#") return [1, 3, 5].map(at => parseInt(colour.slice(at, at + 2), 16));
  return colour.match(/[\d.]+/g).map(Number);
}

function toLab(rgb) {  // Oklab, by Björn Ottosson
  const [r, g, b] = rgb.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const [l, m, s] = [
    0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b,
    0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b,
    0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b,
  ].map(Math.cbrt);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

function fromLab([light, a, b]) {
  const [l, m, s] = [
    light + 0.3963377774 * a + 0.2158037573 * b,
    light - 0.1055613458 * a - 0.0638541728 * b,
    light - 0.0894841775 * a - 1.291485548 * b,
  ].map(c => c ** 3);
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map(c => Math.round(255 * Math.min(1, Math.max(0, c <= 0.0031308 ? 12.92 * c : 1.055 * c ** (1 / 2.4) - 0.055))));
}

function darkened(colour, ofScale) {
  const [r, g, b, alpha] = channels(colour), [light, ...hue] = toLab([r, g, b]);
  const grey = Math.hypot(...hue) < 0.03;
  const turned = grey || ofScale ? 0.21 + 0.97 * (1 - light) : 0.58 + 0.45 * (light - 0.25);
  const rgb = fromLab([turned, ...hue]).join(",");
  return alpha === undefined ? `rgb(${rgb})` : `rgba(${rgb},${alpha})`;
}

function themed(value, key = "", within = "") {
  if (!dark.matches) return value;
  if (typeof value === "string") return key.includes("color") && COLOUR.test(value) ? darkened(value, within === "scale") : value;
  if (Array.isArray(value)) return typeof value.at(-1) === "number" ? value : value.map(one => themed(one, key, within));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => {
    const inside = name === "marker" ? "marker" : name === "colorscale" && within !== "marker" ? "scale" : within;
    return [name, themed(one, name, inside)];
  }));
}
