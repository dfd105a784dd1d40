// Lines with a legend, drawn by Observable Plot: values on a logarithmic axis over steps or widths.
import * as Plot from "@observablehq/plot";
import { useEffect, useRef } from "preact/hooks";
import { html } from "./h.js";
import { colour } from "./theme.js";
import { logTicks, tickText } from "./scales.js";

export const RAMP = { light: ["#9bbcf0", "#5f8fdc", "#3461bd", "#1c3a86", "#0d1d4d"], dark: ["#39528a", "#5b7fd0", "#8fb0f2", "#c1d4fb", "#eef3ff"] };
export const SERIES = { light: ["#1565a8", "#c05a00", "#0a7455", "#8a4aa8", "#6b5900"], dark: ["#74b9ff", "#ffb066", "#49cf9f", "#d5a3ee", "#d8c55a"] };

export const shades = (count, ramp) => {
  const theme = document.documentElement.classList.contains("dark") ? "dark" : "light";
  if (!ramp) return [...Array(count).keys()].map((k) => SERIES[theme][k % SERIES[theme].length]);
  const stops = RAMP[theme];
  return [...Array(count).keys()].map((k) => mix(stops, count === 1 ? 0.6 : k / (count - 1)));
};

function mix(stops, share) {
  const at = share * (stops.length - 1), low = Math.floor(at), high = Math.min(low + 1, stops.length - 1), rest = at - low;
  const channels = (text) => [1, 3, 5].map((k) => parseInt(text.slice(k, k + 2), 16));
  const [a, b] = [channels(stops[low]), channels(stops[high])];
  return `rgb(${a.map((value, k) => Math.round(value + (b[k] - value) * rest)).join(",")})`;
}

// Hangs what `draw` returns (an SVG or a figure) into the page, again when something changes.
export function Drawn({ draw, deps, label }) {
  const element = useRef(null);
  useEffect(() => {
    const paint = () => { if (!element.current) return;
      const made = draw(element.current.clientWidth || 380); element.current.replaceChildren(made); };
    paint();
    const observer = new ResizeObserver(paint);
    observer.observe(element.current);
    window.addEventListener("tpdyn-theme", paint);
    return () => { observer.disconnect(); window.removeEventListener("tpdyn-theme", paint); };
  }, deps);
  return html`<div class="plotted" ref=${element} role="img" aria-label=${label} />`;
}

export const styled = (height) => ({ height, style: { background: "transparent", color: colour("muted"), fontFamily: "inherit", fontSize: "11px", overflow: "visible" } });

export function Curves({ series, x, xLinear = false, integers = false, widths, ramp = false, height = 180 }) {
  const colours = shades(series.length, ramp);
  const rows = series.flatMap((line) => line.points.filter(([, value]) => value !== null && value > 0).map(([at, value]) => ({ at, value, name: line.name })));
  if (!rows.length) return html`<p class="muted small">no values above zero</p>`;
  const values = rows.map((row) => row.value);
  const middle = Math.sqrt(Math.min(...values) * Math.max(...values));
  const reach = Math.max(Math.sqrt(Math.max(...values) / Math.min(...values)) * 1.15, 1.6);
  const domain = [middle / reach, middle * reach];
  const ats = [...new Set(rows.map((row) => row.at))].sort((a, b) => a - b);
  return html`<div><div class="legend" style="margin-bottom:4px">${series.map((line, k) => html`<span key=${line.name}><svg width="16" height="10"><line x1="1" x2="15" y1="5" y2="5" stroke=${colours[k]} stroke-width="2.6" /></svg>${line.name}</span>`)}</div>
    <${Drawn} label="curves over the ${x}" deps=${[JSON.stringify(rows)]} draw=${(width) => {
      const now = shades(series.length, ramp);
      return Plot.plot({
        width, ...styled(height), marginLeft: 46, marginRight: 12, marginTop: 8, marginBottom: 32,
        x: { type: xLinear ? "linear" : "log", base: 2, label: x, labelArrow: "none", ticks: widths || ats, tickFormat: (value) => String(value), tickSize: 0, inset: 6 },
        y: { type: "log", domain, ticks: logTicks(domain, 4), tickFormat: tickText, label: null, tickSize: 0 },
        marks: [
          Plot.gridY(logTicks(domain, 4), { stroke: colour("line"), strokeOpacity: 1 }),
          ...series.map((line, k) => Plot.line(rows.filter((row) => row.name === line.name), { x: "at", y: "value", stroke: now[k], strokeWidth: 2 })),
          ...series.map((line, k) => Plot.dot(rows.filter((row) => row.name === line.name), { x: "at", y: "value", fill: now[k], r: 3, stroke: colour("bg") })),
        ],
      });
    }} /></div>`;
}
