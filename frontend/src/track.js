// One number of one module over the steps of a run, with the band in which it is expected.
import { html } from "./h.js";
import { finite, linearScale, logScale, logTicks, tickText } from "./scales.js";

const LEFT = 42, RIGHT = 10, TOP = 10, BOTTOM = 22;

export function Track({ steps, line, share, log, bad, width = 268, height = 150, label }) {
  const all = finite(line.values);
  if (!all.length) return html`<svg class="plot" viewBox="0 0 ${width} ${height}" role="img" aria-label="${label}: no values"><text x=${width / 2} y=${height / 2} text-anchor="middle">no finite values</text></svg>`;
  const last = Math.max(1, steps.at(-1)), first = log ? 1 : Math.min(0, steps[0]);
  const x = log ? logScale([0.7, last * 1.05], [LEFT, width - RIGHT]) : linearScale([first, last], [LEFT + 4, width - RIGHT - 4]);
  const placed = (step) => x(log ? Math.max(0.8, step) : step);
  const end = at(line.band, last);
  const band = line.band && [...line.band.steps.map((step, k) => [step, line.band.low[k], line.band.high[k]]).filter(([step]) => step < last), ...(end ? [[last, ...end]] : [])].filter(([, low, high]) => low !== null && high !== null);
  const edges = band ? band.flatMap(([, low, high]) => [low, high]) : [];
  const positive = [...all, ...edges].filter((value) => value > 0);
  const linear = share || !positive.length || all.some((value) => value < 0);
  const [y, ticks] = linear ? linearAxis(share ? [0, 1] : [Math.min(...all, ...edges), Math.max(...all, ...edges)], height) : logAxis([Math.min(...positive), Math.max(...positive)], height);
  const visible = (value) => value !== null && (linear || value > 0);
  let path = "", pen = false;
  line.values.forEach((value, k) => { if (visible(value)) { path += `${pen ? "L" : "M"}${placed(steps[k]).toFixed(1)},${y(value).toFixed(1)}`; pen = true; } else if (value === null) pen = false; });
  const low = ([, value]) => y(linear ? value : Math.max(value, positive[0] === undefined ? 1 : Math.min(...positive)));
  const area = band && band.length > 0 && `M${band.map((each) => `${placed(each[0]).toFixed(1)},${y(each[2]).toFixed(1)}`).join("L")}L${[...band].reverse().map((each) => `${placed(each[0]).toFixed(1)},${low(each).toFixed(1)}`).join("L")}Z`;
  const points = line.values.map((value, k) => [steps[k], value]).filter(([, value]) => visible(value));
  const [lastStep, now] = points.at(-1) || [];
  const tone = bad ? "bad" : "accent";
  const id = `track-${width}-${height}`;
  return html`<svg class="plot" viewBox="0 0 ${width} ${height}" role="img" aria-label=${label}>
    <defs><clipPath id=${id}><rect x=${LEFT} y=${TOP - 5} width=${width - LEFT} height=${height - TOP - BOTTOM + 10} /></clipPath></defs>
    ${ticks.map((tick) => html`<g key=${tick}><line class="rule" x1=${LEFT} x2=${width - RIGHT} y1=${y(tick)} y2=${y(tick)} /><text x=${LEFT - 6} y=${y(tick) + 3.5} text-anchor="end">${tickText(tick)}</text></g>`)}
    ${stepTicks(first, last, log).map((tick) => html`<text key=${tick} x=${placed(tick)} y=${height - 6} text-anchor="middle">${short(tick)}</text>`)}
    <line class="axis" x1=${LEFT} x2=${width - RIGHT} y1=${height - BOTTOM + 3} y2=${height - BOTTOM + 3} />
    <g clip-path="url(#${id})">
      ${area && html`<path d=${area} fill="var(--stays)" opacity=".16" /><path d=${area} fill="none" stroke="var(--stays)" stroke-opacity=".55" stroke-dasharray="3 3" />`}
      <path d=${path} fill="none" stroke="var(--${tone})" stroke-width="2" stroke-linejoin="round" stroke-linecap="round" />
      ${points.length <= 24 && points.map(([step, value]) => html`<circle key=${step} cx=${placed(step)} cy=${y(value)} r="2.2" fill="var(--${tone})" />`)}
      ${now !== undefined && html`<circle cx=${placed(lastStep)} cy=${y(now)} r="4" fill="var(--${tone})" stroke="var(--raised)" stroke-width="1.5" />`}
    </g>
  </svg>`;
}

// The same, as wide as a drawer.
export const Tracks = (props) => html`<${Track} ...${props} width=${366} height=${132} />`;

function logAxis([low, high], height) {
  const reach = Math.max(Math.sqrt(high / low) * 1.12, 1.5), middle = Math.sqrt(low * high);
  const domain = [middle / reach, middle * reach];
  return [logScale(domain, [height - BOTTOM, TOP]), logTicks(domain, 4)];
}

function linearAxis([low, high], height) {
  const reach = high - low || Math.abs(high) || 1;
  const domain = low === 0 && high === 1 ? [0, 1] : [low - 0.06 * reach, high + 0.06 * reach];
  const step = 10 ** Math.floor(Math.log10((domain[1] - domain[0]) / 3));
  const stride = [1, 2, 5, 10].map((times) => times * step).find((each) => (domain[1] - domain[0]) / each <= 4.5);
  const ticks = [];
  for (let tick = Math.ceil(domain[0] / stride) * stride; tick <= domain[1] + 1e-12; tick += stride) ticks.push(Number(tick.toPrecision(6)));
  return [linearScale(domain, [height - BOTTOM, TOP]), ticks];
}

function stepTicks(first, last, log) {
  if (log) { const ticks = []; for (let tick = 1; tick <= last; tick *= 10) ticks.push(tick); return ticks.length > 5 ? ticks.filter((_, k) => k % 2 === 0) : ticks; }
  const stride = [1, 2, 5].flatMap((times) => [...Array(10).keys()].map((power) => times * 10 ** power)).sort((a, b) => a - b).find((each) => (last - first) / each <= 4) || last;
  const ticks = [];
  for (let tick = Math.ceil(first / stride) * stride; tick <= last; tick += stride) ticks.push(tick);
  return ticks;
}

const short = (step) => (step >= 1e6 ? `${step / 1e6}M` : step >= 1e4 ? `${step / 1e3}k` : String(step));

// The band at a step, between the steps of its twins; null beyond them.
export function at(band, step) {
  if (!band || !band.steps.length || step < band.steps[0] || step > band.steps.at(-1)) return null;
  let k = band.steps.findIndex((each) => each >= step);
  if (band.steps[k] === step || k === 0) return [band.low[k], band.high[k]];
  const share = (step - band.steps[k - 1]) / (band.steps[k] - band.steps[k - 1]);
  return [band.low, band.high].map((edge) => (edge[k - 1] === null || edge[k] === null ? null : edge[k - 1] + share * (edge[k] - edge[k - 1])));
}
