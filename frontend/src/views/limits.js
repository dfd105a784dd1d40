// What does the network do at infinite width, and how close are real runs? Losses, outputs, kernels, distributions.
import * as Plot from "@observablehq/plot";
import { useState } from "preact/hooks";
import { html } from "../h.js";
import { number, shown } from "../format.js";
import { Drawn, shades, styled } from "../curves.js";
import { finite, logTicks, mean } from "../scales.js";
import { Segments } from "../parts.js";
import { colour } from "../theme.js";

const flat = (value) => (Array.isArray(value) ? value.flatMap(flat) : [value]);

export function Limits({ document: doc }) {
  return html`<div class="scroll"><div class="wide">
    <div class="pair">
      <${Losses} doc=${doc} />
      ${doc.widths.length > 0 && html`<${Approach} doc=${doc} />`}
      ${doc.approach && html`<${Entries} doc=${doc} />`}
      ${doc.approach && html`<${Distances} doc=${doc} />`}
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
      ${doc.approach && html`<li>outputs, kernels and distributions at finite widths: ${doc.approach.seeds} runs of the recorded program at each width</li>`}
      ${!doc.widths.length && html`<li>no runs: <code>tpdyn limit --widths 64,256,1024</code> sets real losses beside the limit</li>`}
      ${!doc.approach && html`<li><code>tpdyn limit --compare 64,256,1024</code> sets outputs, kernels and distributions of finite networks beside it</li>`}
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
  const [row, setRow] = useState(0);
  const entry = doc.distributions[Math.min(chosen, doc.distributions.length - 1)];
  const all = Array.isArray(entry.value[0]) ? nested(entry.value) : [entry.value], errors = Array.isArray(entry.error[0]) ? nested(entry.error) : [entry.error];
  const near = rowOf(doc, "distribution", entry);
  const widths = near ? doc.approach.widths : [];
  const inputs = near ? near.entries.map(([k]) => k) : [...all.keys()].slice(0, 5);
  const drawn = near ? [inputs[Math.min(row, inputs.length - 1)]] : inputs;
  const rows = drawn.flatMap((line, k) => all[line].map((value, i) => ({ k, value, level: doc.levels[i], low: value - errors[line][i], high: value + errors[line][i] })));
  const runs = widths.flatMap((width, w) => near.mean[w][Math.min(row, inputs.length - 1)].map((value, i) => ({ w, value, level: doc.levels[i] })));
  return card("Distribution of coordinates", html`
    ${near && html`<${Widths} widths=${widths} />`}
    <${Drawn} label="distribution functions of the coordinates" deps=${[JSON.stringify([rows, runs])]} draw=${(width) => {
    const now = near ? [colour("stays")] : shades(drawn.length, false), ramp = shades(widths.length, true);
    return Plot.plot({ width, ...styled(240), marginLeft: 46, marginBottom: 36, marginTop: 12, marginRight: 12,
      x: { tickSize: 0, label: "value of a coordinate", labelAnchor: "center", labelArrow: "none", ticks: 6 }, y: { domain: [0, 1], ticks: 5, tickSize: 0, label: null, tickFormat: (value) => `${Math.round(100 * value)} %` },
      marks: [Plot.gridY({ ticks: 5, stroke: colour("line"), strokeOpacity: 1 }),
        ...drawn.map((_, k) => Plot.areaX(rows.filter((each) => each.k === k), { x1: "low", x2: "high", y: "level", fill: now[k], fillOpacity: 0.2 })),
        ...drawn.map((_, k) => Plot.line(rows.filter((each) => each.k === k), { x: "value", y: "level", stroke: now[k], strokeWidth: near ? 3 : 2, curve: "monotone-y", sort: "level" })),
        ...widths.map((_, w) => Plot.line(runs.filter((each) => each.w === w), { x: "value", y: "level", stroke: ramp[w], strokeWidth: 1.5, sort: "level" }))] });
  }} /><p class="muted small">Share of coordinates below each value${near ? ", means over the seeds; green: the law of the limit" : "; one line for each of the first inputs"}.</p>`,
    html`<span style="display:flex;gap:8px;flex-wrap:wrap"><${Choice} entries=${doc.distributions} value=${chosen} onChange=${setChosen} />${near && inputs.length > 1 && html`<${Segments} label="input" value=${row} onChange=${setRow} options=${inputs.map((each, k) => [k, String(each)])} />`}</span>`);
}

const rowOf = (doc, kind, entry) => doc.approach?.rows.find((row) => row.kind === kind && row.name === entry.name && row.step === entry.step) || null;

const Widths = ({ widths }) => { const colours = shades(widths.length, true); return html`<div class="legend"><span><svg width="18" height="10"><line x1="1" x2="17" y1="5" y2="5" stroke="var(--stays)" stroke-width="3" /></svg>infinite width</span>${widths.map((width, k) => html`<span key=${width}><svg width="16" height="10"><line x1="1" x2="15" y1="5" y2="5" stroke=${colours[k]} stroke-width="2.4" /></svg>${width}</span>`)}</div>`; };

const KIND = { value: "", kernel: "kernel of ", distribution: "distribution of " };
const pick = (value, entry) => entry.reduce((inner, k) => (Array.isArray(inner) ? inner[k] : inner), value);

// The limit of a row of the approach: a kernel, or an output or loss of that step.
function limitOf(doc, row) {
  if (row.kind === "kernel") return doc.kernels.find((each) => each.name === row.name && each.step === row.step);
  const list = row.name === "loss" ? doc.losses : row.name === "output" ? doc.outputs : [];
  return list[row.step];
}

// Outputs, losses and kernels at growing widths, entry by entry, against their limit.
function Entries({ doc }) {
  const rows = doc.approach.rows.filter((row) => row.kind !== "distribution" && limitOf(doc, row));
  const [chosen, setChosen] = useState(Math.max(0, rows.findLastIndex((row) => row.kind === "kernel")));
  const row = rows[Math.min(chosen, rows.length - 1)];
  if (!row) return null;
  const widths = doc.approach.widths, limit = limitOf(doc, row);
  const lines = row.entries.slice(0, 4).map((entry, e) => ({ entry, value: pick(limit.value, entry), error: pick(limit.error, entry), points: widths.map((width, w) => ({ width, value: row.mean[w][e], low: row.mean[w][e] - row.spread[w][e], high: row.mean[w][e] + row.spread[w][e] })) }));
  const last = widths.at(-1) * 1.5, first = widths[0] / 1.3;
  const name = (entry) => (row.kind === "kernel" ? `inputs ${entry.join(", ")}` : entry.length ? `[${entry.join(", ")}]` : "loss");
  const colours = shades(lines.length, false);
  return card("Outputs and kernels against the width", html`
    <div class="legend">${lines.map((line, k) => html`<span key=${k}><svg width="16" height="10"><line x1="1" x2="15" y1="5" y2="5" stroke=${colours[k]} stroke-width="2.6" /></svg>${name(line.entry)}</span>`)}</div>
    <${Drawn} label="${KIND[row.kind]}${row.name} at step ${row.step} against the width, with its limit" deps=${[JSON.stringify(lines)]} draw=${(width) => {
      const now = shades(lines.length, false);
      return Plot.plot({ width, ...styled(268), marginLeft: 52, marginBottom: 36, marginTop: 12, marginRight: 52,
        x: { type: "log", base: 2, domain: [first, last], ticks: widths, tickFormat: String, tickSize: 0, label: "width", labelAnchor: "center", labelArrow: "none" },
        y: { ticks: 5, tickSize: 0, label: null, nice: true },
        marks: [Plot.gridY({ ticks: 5, stroke: colour("line"), strokeOpacity: 1 }),
          ...lines.flatMap((line, k) => [
            Plot.rect([0], { x1: first, x2: last, y1: line.value - line.error, y2: line.value + line.error, fill: now[k], fillOpacity: 0.16 }),
            Plot.ruleY([line.value], { stroke: now[k], strokeWidth: 1.6, strokeDasharray: "5 3" }),
            Plot.ruleX(line.points, { x: "width", y1: "low", y2: "high", stroke: now[k], strokeOpacity: 0.5, strokeWidth: 2, dx: (k - (lines.length - 1) / 2) * 4 }),
            Plot.dot(line.points, { x: "width", y: "value", fill: now[k], stroke: colour("bg"), r: 4, dx: (k - (lines.length - 1) / 2) * 4 })]),
          Plot.text([0], { x: last, y: lines[0].value, text: () => "n = ∞", dx: 8, textAnchor: "start", fill: colour("muted"), fontSize: 11 })] });
    }} /><p class="muted small">Dots: means over ${doc.approach.seeds} seeds, bars: one standard deviation. Dashes: the limit, with its error.</p>`,
    html`<select aria-label="value and step" value=${chosen} onChange=${(event) => setChosen(Number(event.target.value))} style="max-width:240px">${rows.map((each, k) => html`<option key=${k} value=${k}>${KIND[each.kind]}${shown(each.name)}, step ${each.step}</option>`)}</select>`);
}

// How far one run is from the limit, log-log: theory says a power of -1/2.
function Distances({ doc }) {
  const steps = [...new Set(doc.approach.rows.map((row) => row.step))];
  const [step, setStep] = useState(steps.at(-1));
  const widths = doc.approach.widths;
  const rows = doc.approach.rows.filter((row) => row.step === step && !row.random).slice(0, 5);
  const points = rows.flatMap((row, k) => row.distance.map((value, w) => ({ k, width: widths[w], value })).filter((point) => point.value > 0));
  const colours = shades(rows.length, false);
  const anchor = points.length ? Math.max(...points.filter((point) => point.width === widths[0]).map((point) => point.value)) * 1.5 : 1;
  const values = [anchor, ...points.map((point) => point.value)];
  const ticks = logTicks([Math.min(...values), Math.max(...values)], 5);
  const guide = widths.map((width) => ({ width, value: anchor * (width / widths[0]) ** -0.5 }));
  return card("Distance of one run from the limit", html`
    <div class="legend">${rows.map((row, k) => html`<span key=${k}><svg width="16" height="10"><line x1="1" x2="15" y1="5" y2="5" stroke=${colours[k]} stroke-width="2.6" /></svg>${KIND[row.kind]}${shown(row.name)}${row.power === null || row.power === undefined ? "" : html` <i class="num" style="font-style:normal">n<sup>${row.power.toFixed(2).replace("-", "−")}</sup></i>`}</span>`)}<span><svg width="22" height="12"><path d="M1,2L20,10" stroke="var(--text)" stroke-dasharray="5 4" stroke-width="1.4" /></svg><i style="font-style:normal">n<sup>−1/2</sup></i></span></div>
    <${Drawn} label="distance from the limit against the width" deps=${[JSON.stringify(points)]} draw=${(width) => {
      const now = shades(rows.length, false);
      return Plot.plot({ width, ...styled(268), marginLeft: 52, marginBottom: 36, marginTop: 12, marginRight: 18,
        x: { type: "log", base: 2, ticks: widths, tickFormat: String, tickSize: 0, label: "width", labelAnchor: "center", labelArrow: "none", inset: 8 },
        y: { type: "log", tickSize: 0, label: null, ticks: ticks, tickFormat: (value) => `${Number((100 * value).toPrecision(2))} %` },
        marks: [Plot.gridY(ticks, { stroke: colour("line"), strokeOpacity: 1 }),
          Plot.line(guide, { x: "width", y: "value", stroke: colour("text"), strokeDasharray: "5 4", strokeWidth: 1.3 }),
          ...rows.map((_, k) => Plot.line(points.filter((point) => point.k === k), { x: "width", y: "value", stroke: now[k], strokeWidth: 2 })),
          ...rows.map((_, k) => Plot.dot(points.filter((point) => point.k === k), { x: "width", y: "value", fill: now[k], stroke: colour("bg"), r: 4 }))] });
    }} /><p class="muted small">Root mean square over seeds, relative to the limit's size; in the legend the power with which runs fluctuate.</p>`,
    html`<${Segments} label="step" value=${step} onChange=${setStep} options=${steps.map((each) => [each, String(each)])} />`);
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
