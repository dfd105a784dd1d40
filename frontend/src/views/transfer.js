// Does the best hyperparameter move with the width? Loss against the factor, one curve a width; below, the optimum against the width.
import * as Plot from "@observablehq/plot";
import { html } from "../h.js";
import { number } from "../format.js";
import { Drawn, shades, styled } from "../curves.js";
import { finite, logTicks, mean, tickText } from "../scales.js";
import { Told } from "../parts.js";
import { colour } from "../theme.js";

const MOVES = { true: ["moves", "bad"], false: ["stays", "good"], null: ["undecided", "open"] };

export function Transfer({ document: doc }) {
  const all = doc.transfers.flatMap((sweep) => sweep.widths.flatMap((width) => width.losses.map((losses) => finite(losses)).filter((losses) => losses.length).map(mean)));
  const lowest = Math.min(...all);
  const start = Math.max(...doc.transfers.flatMap((sweep) => sweep.widths.map((width) => mean(finite(width.losses[0])) || lowest)));
  const log = lowest > 0 && start / lowest > 4;
  const domain = log ? [lowest / (start / lowest) ** 0.08, start * (start / lowest) ** 0.15] : [lowest - 0.06 * (start - lowest), start + 0.15 * (start - lowest)];
  return html`<div class="scroll"><div class="pair">${doc.transfers.map((sweep) => html`<${Sweep} key=${sweep.name} sweep=${sweep} domain=${domain} log=${log} confidence=${doc.confidence} />`)}</div></div>`;
}

function Sweep({ sweep, domain, log, confidence }) {
  const [word, tone] = MOVES[String(sweep.moves)];
  const widths = sweep.widths.map((each) => each.width);
  const rows = sweep.widths.flatMap((each, k) => each.losses.map((losses, i) => { const values = finite(losses); return values.length === losses.length ? { k, width: each.width, factor: sweep.factors[i], mean: mean(values), low: Math.min(...values), high: Math.max(...values) } : null; }).filter(Boolean));
  const shownFactors = rows.filter((row) => row.mean < domain[1]).map((row) => row.factor);
  const last = sweep.factors[Math.min(sweep.factors.length - 1, sweep.factors.indexOf(Math.max(...shownFactors)) + 1)];
  const xs = [sweep.factors[0], last];
  const best = sweep.widths.map((each, k) => ({ k, width: each.width, ...each.best, loss: each.loss, edge: each.at_the_end_of_the_grid }));
  const colours = shades(widths.length, true);
  const powers = sweep.factors.filter((factor) => factor >= xs[0] && factor <= xs[1] && Number.isInteger(Math.log2(factor)));
  const ticks = powers.filter((_, k) => k % Math.ceil(powers.length / 9) === 0);
  const key = JSON.stringify(sweep);
  return html`<section class="reason" style="padding:18px 20px">
    <div style="display:flex;gap:10px;align-items:baseline;flex-wrap:wrap"><h2 style="overflow-wrap:anywhere">${sweep.name || "this script"}</h2><span class="chip ${tone}">best ${sweep.word} ${word}</span></div>
    <p class="muted small" style="margin:6px 0 14px;min-height:58px"><${Told} text=${sweep.says.replace(/^.*?: (?=the best|undecided)/, "")} /></p>
    <h3 style="margin:0 0 6px">Training loss against the factor of the ${sweep.word}</h3>
    <div class="legend">${widths.map((width, k) => html`<span key=${width}><svg width="16" height="10"><line x1="1" x2="15" y1="5" y2="5" stroke=${colours[k]} stroke-width="2.6" /></svg>${width}</span>`)}<span class="muted">width</span></div>
    <${Drawn} label="loss against the factor of the ${sweep.word}, one curve a width" deps=${[key]} draw=${(width) => {
      const now = shades(widths.length, true);
      return Plot.plot({
        width, ...styled(300), marginLeft: 50, marginRight: 12, marginTop: 10, marginBottom: 40,
        x: { type: "log", base: 2, domain: [xs[0] / 1.1, xs[1] * 1.1], ticks, tickFormat: (value) => (value >= 1 ? String(value) : `1/${Math.round(1 / value)}`), tickSize: 0, label: `factor of the ${sweep.word}`, labelAnchor: "center", labelArrow: "none" },
        y: { type: log ? "log" : "linear", domain, ticks: log ? logTicks(domain, 5) : 5, tickFormat: log ? tickText : undefined, tickSize: 0, label: null },
        marks: [
          Plot.gridY(log ? logTicks(domain, 5) : 5, { stroke: colour("line"), strokeOpacity: 1 }),
          ...widths.map((_, k) => Plot.areaY(rows.filter((row) => row.k === k), { x: "factor", y1: "low", y2: "high", fill: now[k], fillOpacity: 0.13, clip: true })),
          ...widths.map((_, k) => Plot.line(rows.filter((row) => row.k === k), { x: "factor", y: "mean", stroke: now[k], strokeWidth: 2, clip: true })),
          Plot.ruleY(best, { x1: "low", x2: "high", y: "loss", stroke: (row) => now[row.k], strokeWidth: 2 }),
          Plot.dot(best, { x: "estimate", y: "loss", fill: (row) => now[row.k], stroke: colour("bg"), r: 5.5, strokeWidth: 1.5 }),
        ],
      });
    }} />
    <h3 style="margin:18px 0 4px">Best factor against the width</h3>
    <${Drawn} label="best factor against the width" deps=${[key]} draw=${(width) => {
      const values = best.flatMap((row) => [row.low, row.high]);
      const span = [Math.min(...values, xs[0] * 2) / 1.3, Math.max(...values) * 1.3];
      return Plot.plot({
        width, ...styled(150), marginLeft: 50, marginRight: 12, marginTop: 8, marginBottom: 34,
        x: { type: "log", base: 2, domain: [widths[0] / 1.15, widths[widths.length - 1] * 1.15], ticks: widths, tickFormat: String, tickSize: 0, label: "width", labelAnchor: "center", labelArrow: "none" },
        y: { type: "log", domain: [Math.min(...values) / 1.4, Math.max(...values) * 1.4], ticks: logTicks([Math.min(...values) / 1.4, Math.max(...values) * 1.4], 4), tickFormat: tickText, tickSize: 0, label: null },
        marks: [
          Plot.gridY(logTicks([Math.min(...values) / 1.4, Math.max(...values) * 1.4], 4), { stroke: colour("line"), strokeOpacity: 1 }),
          Plot.line(best, { x: "width", y: "estimate", stroke: colour(tone), strokeWidth: 1.6, strokeOpacity: 0.6 }),
          Plot.ruleX(best, { x: "width", y1: "low", y2: "high", stroke: colour(tone), strokeWidth: 2 }),
          Plot.dot(best, { x: "width", y: "estimate", fill: colour(tone), stroke: colour("bg"), r: 5 }),
        ],
      });
    }} />
    <div class="tablewrap" style="margin-top:10px"><table><thead><tr><th class="r">width</th><th class="r">best factor</th><th>${Math.round(100 * confidence)} % interval</th><th class="r">loss there</th></tr></thead><tbody>
      ${best.map((row) => html`<tr key=${row.width}><td class="r num">${row.width}</td><td class="r num">${number(row.estimate)}</td><td class="num">${number(row.low)} to ${number(row.high)}${row.edge ? " (end of the grid)" : ""}</td><td class="r num">${number(row.loss, 4)}</td></tr>`)}
    </tbody></table></div>
  </section>`;
}
