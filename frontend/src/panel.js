// One value against the width, log-log: seeds as dots, their mean, the measured slope with its interval, the predicted slope.
import { html } from "./h.js";
import { parseOrder } from "./format.js";
import { finite, logScale, logTicks, mean, tickText } from "./scales.js";

const LEFT = 42, RIGHT = 10, TOP = 10, BOTTOM = 22;

// values[width][seed] at one step.
export function atStep(module, what, step) {
  return (module[what] || []).map((seeds) => seeds.map((steps) => (steps ? steps[step] ?? null : null)));
}

export function summarise(widths, values) {
  const points = [];
  widths.forEach((width, k) => {
    const positive = finite(values[k] || []).filter((value) => value > 0);
    if (positive.length) points.push({ width, seeds: positive, centre: Math.exp(mean(positive.map(Math.log))) });
  });
  return points;
}

// How many decades the seeds of a panel span.
export const span = (points) => {
  const all = points.flatMap((point) => point.seeds);
  return all.length ? Math.log10(Math.max(...all) / Math.min(...all)) : 0;
};

export function Panel({ widths, points, predicted, atMost, fit, tone, decades, limit, width = 268, height = 150, label }) {
  if (!points.length) return html`<svg class="plot" viewBox="0 0 ${width} ${height}" role="img" aria-label="${label}: no values">
    <text x=${width / 2} y=${height / 2} text-anchor="middle">no values above zero</text></svg>`;
  const logs = points.map((point) => Math.log(point.centre));
  const far = limit && limit.value > 0 ? [limit.value] : [];
  const all = [...points.flatMap((point) => point.seeds), ...far];
  const middle = (Math.log10(Math.max(...all)) + Math.log10(Math.min(...all))) / 2;
  const reach = Math.max(decades ?? 0, Math.log10(Math.max(...all) / Math.min(...all)) * 1.12, 0.6) / 2;
  const domain = [10 ** (middle - reach), 10 ** (middle + reach)];
  const first = widths[0], last = widths[widths.length - 1];
  const x = logScale([first / 1.12, last * 1.12], [LEFT, width - RIGHT]);
  const y = logScale(domain, [height - BOTTOM, TOP]);
  const anchor = { n: mean(points.map((point) => Math.log(point.width))), v: mean(logs) };
  const power = (slope) => [first, last].map((n) => Math.exp(anchor.v + slope * (Math.log(n) - anchor.n)));
  const path = (values) => `M${x(first)},${y(values[0])}L${x(last)},${y(values[1])}`;
  const expected = predicted === null ? null : power(predicted);
  const id = `clip-${width}-${height}`;
  const band = fit && fit.low !== null && [power(fit.low), power(fit.high)];
  const ticks = widths.length > 6 ? widths.filter((_, k) => k % Math.ceil(widths.length / 6) === 0) : widths;
  return html`<svg class="plot" viewBox="0 0 ${width} ${height}" role="img" aria-label=${label}>
    <defs><clipPath id=${id}><rect x=${LEFT} y=${TOP - 4} width=${width - LEFT - RIGHT} height=${height - TOP - BOTTOM + 8} /></clipPath></defs>
    ${logTicks(domain, 4).map((tick) => html`<g key=${tick}><line class="rule" x1=${LEFT} x2=${width - RIGHT} y1=${y(tick)} y2=${y(tick)} />
      <text x=${LEFT - 6} y=${y(tick) + 3.5} text-anchor="end">${tickText(tick)}</text></g>`)}
    ${ticks.map((n) => html`<text key=${n} x=${x(n)} y=${height - 6} text-anchor="middle">${n}</text>`)}
    <line class="axis" x1=${LEFT} x2=${width - RIGHT} y1=${height - BOTTOM + 3} y2=${height - BOTTOM + 3} />
    <g clip-path="url(#${id})">
      ${band && html`<path fill="var(--${tone})" opacity=".13" d="M${x(first)},${y(band[0][0])}L${x(last)},${y(band[0][1])}L${x(last)},${y(band[1][1])}L${x(first)},${y(band[1][0])}Z" />`}
      ${far.length > 0 && html`<rect x=${LEFT} width=${width - LEFT - RIGHT} y=${y(limit.value + limit.error)} height=${Math.max(0, y(Math.max(limit.value - limit.error, limit.value / 10)) - y(limit.value + limit.error))} fill="var(--accent)" opacity=".18" /><line x1=${LEFT} x2=${width - RIGHT} y1=${y(limit.value)} y2=${y(limit.value)} stroke="var(--accent)" stroke-width="1.6" /><text x=${width - RIGHT - 1} y=${y(limit.value) - 4} text-anchor="end" style="fill:var(--accent);font-weight:650">n = ∞</text>`}
      ${points.flatMap((point) => point.seeds.map((value, k) => html`<circle cx=${x(point.width)} cy=${y(value)} r="2" fill="var(--${tone})" opacity=".38" key=${`${point.width}-${k}`} />`))}
      ${expected && html`<path d=${path(expected)} stroke="var(--text)" stroke-width="1.3" stroke-dasharray=${atMost ? "1.5 3.5" : "5 4"} fill="none" opacity=".75" />`}
      <path d=${"M" + points.map((point) => `${x(point.width)},${y(point.centre)}`).join("L")} stroke="var(--${tone})" stroke-width="2" fill="none" stroke-linejoin="round" />
      ${points.map((point) => html`<circle cx=${x(point.width)} cy=${y(point.centre)} r="3.8" fill="var(--${tone})" stroke="var(--raised)" stroke-width="1.5" key=${point.width} />`)}
    </g>
  </svg>`;
}

// The interval of a measured order beside the predicted one, on a line of orders from -1 to 1 (or further).
export function Forest({ predicted, fit, tone, reach = 1, width = 168 }) {
  const limit = reach * 1.08;
  const x = (value) => width / 2 + (Math.max(-limit, Math.min(limit, value)) / limit) * (width / 2 - 4);
  const value = parseOrder(predicted);
  return html`<svg width=${width} height="18" aria-hidden="true" style="display:block">
    <line x1="4" x2=${width - 4} y1="9" y2="9" stroke="var(--line)" />
    ${[-1, -0.5, 0, 0.5, 1].filter((tick) => Math.abs(tick) <= reach).map((tick) => html`<line key=${tick} x1=${x(tick)} x2=${x(tick)} y1=${tick === 0 ? 2 : 6} y2=${tick === 0 ? 16 : 12} stroke="var(--${tick === 0 ? "strong" : "line"})" />`)}
    ${fit && fit.low !== null && html`<line x1=${x(fit.low)} x2=${x(fit.high)} y1="9" y2="9" stroke="var(--${tone})" stroke-width="5" stroke-linecap="round" opacity=".35" />`}
    ${value !== null && html`<line x1=${x(value)} x2=${x(value)} y1="1.5" y2="16.5" stroke="var(--text)" stroke-width="1.6" />`}
    ${fit && html`<circle cx=${x(fit.estimate)} cy="9" r="3.6" fill="var(--${tone})" stroke="var(--raised)" stroke-width="1.2" />`}
  </svg>`;
}
