// What does the network do at infinite width, and how close are real runs? Losses, outputs, kernels, distributions.
import * as Plot from "@observablehq/plot";
import { useState } from "preact/hooks";
import { html } from "../h.js";
import { number, shown } from "../format.js";
import { Drawn, shades, styled } from "../curves.js";
import { finite, mean } from "../scales.js";
import { Segments } from "../parts.js";
import { colour } from "../theme.js";

const flat = (value) => (Array.isArray(value) ? value.flatMap(flat) : [value]);

export function Limits({ document: doc }) {
  return html`<div class="scroll"><div class="wide">
    <div class="pair">
      <${Losses} doc=${doc} />
      ${doc.widths.length > 0 && html`<${Approach} doc=${doc} />`}
    </div>
    <div class="pair" style="margin-top:20px">
      ${doc.distributions.length > 0 && html`<${Distributions} doc=${doc} />`}
      ${doc.kernels.length > 0 && html`<${Kernels} doc=${doc} />`}
      ${doc.outputs.length > 0 && html`<${Outputs} doc=${doc} />`}
    </div>
    <div class="section"><h2>How this was found</h2><ul class="facts">
      <li>${doc.scrambles} repetitions of ${doc.points.toLocaleString("en")} points, ${number(doc.seconds)} s; the band is two standard errors and the bias</li>
      ${doc.random.map((line) => html`<li key=${line}>a sum that stays random in the limit: <code>${line}</code></li>`)}
      ${doc.notes.map((note) => html`<li key=${note}>${note}</li>`)}
      ${!doc.widths.length && html`<li>no runs: <code>tpdyn limit --widths 64,256,1024</code> sets real losses beside the limit</li>`}
    </ul></div></div></div>`;
}

const card = (title, children, more = "") => html`<section class="reason" style="padding:16px 20px;margin:0"><div style="display:flex;gap:12px;align-items:baseline;flex-wrap:wrap;margin-bottom:8px"><h2>${title}</h2>${more}</div>${children}</section>`;

function Losses({ doc }) {
  const limit = doc.losses.map((each, step) => ({ step, value: flat(each.value)[0], error: flat(each.error)[0], spread: each.random ? flat(each.spread)[0] : 0 }));
  const runs = doc.widths.flatMap((width, k) => limit.map(({ step }) => { const values = finite((doc.measured_losses[k] || []).map((seeds) => seeds?.[step])); return values.length ? { k, width, step, value: mean(values) } : null; }).filter(Boolean));
  const colours = shades(doc.widths.length, true);
  return card("Loss at each step", html`
    <div class="legend"><span><svg width="18" height="10"><line x1="1" x2="17" y1="5" y2="5" stroke="var(--stays)" stroke-width="3" /></svg>infinite width</span>${doc.widths.map((width, k) => html`<span key=${width}><svg width="16" height="10"><line x1="1" x2="15" y1="5" y2="5" stroke=${colours[k]} stroke-width="2.4" /></svg>${width}</span>`)}</div>
    <${Drawn} label="loss at each step, runs and limit" deps=${[JSON.stringify([limit, runs])]} draw=${(width) => {
      const now = shades(doc.widths.length, true);
      return Plot.plot({ width, ...styled(250), marginLeft: 46, marginBottom: 36, marginTop: 12, marginRight: 12,
        x: { ticks: limit.map((each) => each.step), tickFormat: String, tickSize: 0, label: "step", labelAnchor: "center", labelArrow: "none", inset: 10 },
        y: { ticks: 5, tickSize: 0, label: null, nice: true },
        marks: [Plot.gridY({ ticks: 5, stroke: colour("line"), strokeOpacity: 1 }),
          Plot.areaY(limit, { x: "step", y1: (d) => d.value - d.error - d.spread, y2: (d) => d.value + d.error + d.spread, fill: colour("stays"), fillOpacity: 0.2 }),
          ...doc.widths.map((_, k) => Plot.line(runs.filter((row) => row.k === k), { x: "step", y: "value", stroke: now[k], strokeWidth: 1.6 })),
          ...doc.widths.map((_, k) => Plot.dot(runs.filter((row) => row.k === k), { x: "step", y: "value", fill: now[k], r: 3 })),
          Plot.line(limit, { x: "step", y: "value", stroke: colour("stays"), strokeWidth: 2.6 }),
          Plot.dot(limit, { x: "step", y: "value", fill: colour("stays"), stroke: colour("bg"), r: 4.5 })] });
    }} />
    <div class="tablewrap" style="margin-top:8px"><table><thead><tr><th class="r">step</th><th class="r">limit</th><th class="r">error</th>${limit.some((each) => each.spread) && html`<th class="r">spread</th>`}</tr></thead><tbody>${limit.map((each) => html`<tr key=${each.step}><td class="r num">${each.step}</td><td class="r num">${number(each.value, 5)}</td><td class="r num">${number(each.error, 2)}</td>${limit.some((row) => row.spread) && html`<td class="r num">${number(each.spread)}</td>`}</tr>`)}</tbody></table></div>`);
}

function Approach({ doc }) {
  const [step, setStep] = useState(doc.losses.length - 1);
  const limit = flat(doc.losses[step].value)[0], error = flat(doc.losses[step].error)[0];
  const rows = doc.widths.flatMap((width, k) => finite((doc.measured_losses[k] || []).map((seeds) => seeds?.[step])).map((value) => ({ width, value })));
  const means = doc.widths.map((width) => ({ width, value: mean(rows.filter((row) => row.width === width).map((row) => row.value)) })).filter((row) => Number.isFinite(row.value));
  return card("Loss against the width", html`
    <${Drawn} label="loss against the width, with the limit" deps=${[JSON.stringify([step, rows, limit])]} draw=${(width) => Plot.plot({ width, ...styled(290), marginLeft: 52, marginBottom: 36, marginTop: 12, marginRight: 52,
      x: { type: "log", base: 2, domain: [doc.widths[0] / 1.3, doc.widths[doc.widths.length - 1] * 1.5], ticks: doc.widths, tickFormat: String, tickSize: 0, label: "width", labelAnchor: "center", labelArrow: "none" },
      y: { ticks: 5, tickSize: 0, label: null, nice: true },
      marks: [Plot.gridY({ ticks: 5, stroke: colour("line"), strokeOpacity: 1 }),
        Plot.rect([0], { x1: doc.widths[0] / 1.3, x2: doc.widths[doc.widths.length - 1] * 1.5, y1: limit - error, y2: limit + error, fill: colour("stays"), fillOpacity: 0.2 }),
        Plot.ruleY([limit], { stroke: colour("stays"), strokeWidth: 2.2 }),
        Plot.text([limit], { x: doc.widths[doc.widths.length - 1] * 1.5, y: (d) => d, text: () => "n = ∞", dx: 8, textAnchor: "start", fill: colour("stays"), fontWeight: 650, fontSize: 12 }),
        Plot.dot(rows, { x: "width", y: "value", fill: colour("vanishes"), fillOpacity: 0.4, r: 2.6 }),
        Plot.line(means, { x: "width", y: "value", stroke: colour("vanishes"), strokeWidth: 1.8 }),
        Plot.dot(means, { x: "width", y: "value", fill: colour("vanishes"), stroke: colour("bg"), r: 4.5 })] })} />
    <p class="muted small">Small dots are seeds, large ones their mean.</p>`,
    html`<${Segments} label="step" value=${step} onChange=${setStep} options=${doc.losses.map((_, k) => [k, String(k)])} />`);
}

function Choice({ entries, value, onChange }) {
  return html`<select aria-label="value and step" value=${value} onChange=${(event) => onChange(Number(event.target.value))} style="max-width:240px">${entries.map((each, k) => html`<option key=${k} value=${k}>${shown(each.name)}, step ${each.step}</option>`)}</select>`;
}

function Distributions({ doc }) {
  const [chosen, setChosen] = useState(doc.distributions.length - 1);
  const entry = doc.distributions[Math.min(chosen, doc.distributions.length - 1)];
  const lines = (Array.isArray(entry.value[0]) ? nested(entry.value) : [entry.value]).slice(0, 5);
  const rows = lines.flatMap((line, k) => line.map((value, i) => ({ k, value, level: doc.levels[i] })));
  return card("Distribution of coordinates", html`<${Drawn} label="distribution functions of the coordinates" deps=${[JSON.stringify(rows)]} draw=${(width) => {
    const now = shades(lines.length, false);
    return Plot.plot({ width, ...styled(240), marginLeft: 46, marginBottom: 36, marginTop: 12, marginRight: 12,
      x: { tickSize: 0, label: "value of a coordinate", labelAnchor: "center", labelArrow: "none", ticks: 6 }, y: { domain: [0, 1], ticks: 5, tickSize: 0, label: null, tickFormat: (value) => `${Math.round(100 * value)} %` },
      marks: [Plot.gridY({ ticks: 5, stroke: colour("line"), strokeOpacity: 1 }), ...lines.map((_, k) => Plot.line(rows.filter((row) => row.k === k), { x: "value", y: "level", stroke: now[k], strokeWidth: 2, curve: "monotone-x" }))] });
  }} /><p class="muted small">Share of the infinitely many coordinates below each value; one line for each of the first inputs.</p>`,
    html`<${Choice} entries=${doc.distributions} value=${chosen} onChange=${setChosen} />`);
}

const nested = (value) => (Array.isArray(value[0]?.[0]) ? value.flatMap(nested) : value);

function Kernels({ doc }) {
  const [chosen, setChosen] = useState(doc.kernels.length - 1);
  const entry = doc.kernels[Math.min(chosen, doc.kernels.length - 1)];
  const matrix = Array.isArray(entry.value[0]) ? entry.value : [[entry.value].flat()];
  const cells = matrix.flatMap((row, i) => row.map((value, j) => ({ i, j, value: flat(value)[0] })));
  const most = Math.max(...cells.map((cell) => Math.abs(cell.value))) || 1;
  return card("Feature kernel", html`<${Drawn} label="feature kernel" deps=${[JSON.stringify(cells)]} draw=${(width) => {
    const side = Math.min(width, 320);
    return Plot.plot({ width: side, height: side - 20, style: styled(0).style, marginLeft: 26, marginBottom: 24, marginTop: 4, marginRight: 4, padding: matrix.length > 16 ? 0 : 0.02,
      x: { type: "band", tickSize: 0, label: "input", labelAnchor: "center", labelArrow: "none", ticks: matrix.length > 12 ? [] : undefined }, y: { type: "band", tickSize: 0, label: null, ticks: matrix.length > 12 ? [] : undefined },
      marks: [Plot.cell(cells, { x: "j", y: "i", fill: (cell) => (cell.value < 0 ? colour("grows") : colour("vanishes")), fillOpacity: (cell) => 0.06 + (0.94 * Math.abs(cell.value)) / most, title: (cell) => `${cell.i}, ${cell.j}: ${number(cell.value)}`, rx: matrix.length > 16 ? 0 : 2 })] });
  }} /><p class="muted small">Mean over the width of products of two inputs' features; the largest is ${number(most)}. Orange is negative.</p>`,
    html`<${Choice} entries=${doc.kernels} value=${chosen} onChange=${setChosen} />`);
}

function Outputs({ doc }) {
  const [step, setStep] = useState(doc.outputs.length - 1);
  const entry = doc.outputs[step];
  const values = flat(entry.value), errors = flat(entry.error), spreads = flat(entry.spread);
  const rows = values.slice(0, 120).map((value, k) => ({ k, value, low: value - errors[k] - (entry.random ? spreads[k] : 0), high: value + errors[k] + (entry.random ? spreads[k] : 0) }));
  return card("Outputs", html`<${Drawn} label="outputs in the limit with their errors" deps=${[JSON.stringify(rows)]} draw=${(width) => Plot.plot({ width, ...styled(230), marginLeft: 46, marginBottom: 34, marginTop: 10, marginRight: 12,
    x: { label: "entry of the output", labelAnchor: "center", labelArrow: "none", tickSize: 0, inset: 6, ticks: 6, tickFormat: (value) => (Number.isInteger(value) ? String(value) : "") }, y: { ticks: 5, tickSize: 0, label: null, nice: true },
    marks: [Plot.gridY({ ticks: 5, stroke: colour("line"), strokeOpacity: 1 }), Plot.ruleX(rows, { x: "k", y1: "low", y2: "high", stroke: colour("stays"), strokeOpacity: 0.5, strokeWidth: 2 }), Plot.dot(rows, { x: "k", y: "value", fill: colour("stays"), r: 2.8 })] })} />
    <p class="muted small">${values.length} entries${values.length > 120 ? ", the first 120 are drawn" : ""}${entry.random ? "; random in the limit: bars hold one standard deviation" : ""}.</p>`,
    html`<${Segments} label="step" value=${step} onChange=${setStep} options=${doc.outputs.map((_, k) => [k, String(k)])} />`);
}
