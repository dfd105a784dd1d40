// The exact phase diagram: regions, edges and corners; hover says what holds at a point, a click says what moves the script there.
import { useMemo, useRef, useState } from "preact/hooks";
import { html } from "../h.js";
import { parseOrder } from "../format.js";
import { Told } from "../parts.js";

const TONE = { "unstable at initialisation": "deep", unstable: "grows", trivial: "zero", kernel: "vanishes", "feature learning": "stays" };
const FILL = { deep: ["var(--grows)", 0.3], grows: ["var(--grows)", 0.14], zero: ["var(--zero)", 0.16], vanishes: ["var(--vanishes)", 0.3], stays: ["var(--stays)", 0.34] };
const BROAD = new Set(["kernel", "feature learning"]);
const W = 720, H = 540, L = 58, R = 20, T = 16, B = 52;
const point = ([x, y]) => [parseOrder(x), parseOrder(y)];
const near = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);

export function Phases({ document: doc }) {
  const { axes, regions, edges, corners, marks } = doc.phases;
  const { tables = [], cells = [] } = doc.phases.formulas || {};
  const [ax, ay] = axes.map((axis) => ({ ...axis, low: parseOrder(axis.low), high: parseOrder(axis.high) }));
  const x = (value) => L + ((value - ax.low) / (ax.high - ax.low)) * (W - L - R);
  const y = (value) => H - B - ((value - ay.low) / (ay.high - ay.low)) * (H - T - B);
  const [hover, setHover] = useState(null), [fixed, setFixed] = useState(null);
  const svg = useRef(null);
  const shapes = useMemo(() => ({
    regions: regions.map((region) => ({ ...region, loops: region.outline.map((loop) => loop.map(point)), cells: region.cells.map((cell) => cell.map(point)) })),
    edges: edges.map((edge) => ({ ...edge, a: point(edge.from), b: point(edge.to) })),
    corners: corners.map((corner) => ({ ...corner, p: point(corner.at) })),
    cells: cells.map((cell) => ({ ...cell, corners: cell.corners.map(point), orders: tables[cell.table] })),
  }), [doc]);
  const reach = (ax.high - ax.low) * 0.018;
  const at = (p) => {
    const corner = shapes.corners.find((each) => near(each.p, p) < reach);
    if (corner) return { ...corner, p: corner.p, what: "a point" };
    for (const edge of shapes.edges) { const foot = onto(edge.a, edge.b, p); if (foot && near(foot, p) < reach) return { ...edge, p: foot, what: "an edge" }; }
    const region = shapes.regions.find((each) => each.cells.some((cell) => inside(cell, p)));
    return region ? { ...region, p, what: "a region" } : null;
  };
  const where = (event) => {
    const box = svg.current.getBoundingClientRect();
    const px = ((event.clientX - box.left) / box.width) * W, py = ((event.clientY - box.top) / box.height) * H;
    return [ax.low + ((px - L) / (W - L - R)) * (ax.high - ax.low), ay.low + ((H - B - py) / (H - T - B)) * (ay.high - ay.low)];
  };
  const snap = (p) => { const grid = 12; return p.map((value) => Math.round(value * grid) / grid); };
  const own = [parseOrder(ax.script), parseOrder(ay.script)];
  const shown = fixed || hover;
  const told = shown && cellAt(shapes.cells, shown.p);
  const start = useMemo(() => ({ cell: cellAt(shapes.cells, own), label: labelAt(shapes, own) }), [doc]);
  const ticks = (axis) => { const list = []; for (let k = Math.ceil(axis.low * 2); k <= Math.floor(axis.high * 2); k++) list.push(k / 2); return list; };
  const half = (value) => (Number.isInteger(value) ? String(value) : `${Math.round(value * 2)}/2`).replace("-", "−");
  const named = new Map();
  Object.entries(marks).forEach(([name, corner]) => { const key = corner.join(","); named.set(key, [...(named.get(key) || []), name]); });
  const middle = Object.entries(marks).filter(([, corner]) => near(point(corner), own) < 1e-9).map(([name]) => name)[0] || "the middle";
  const labels = [...new Set([...regions, ...edges, ...corners].map((each) => each.label))];
  const keys = (event) => {
    const delta = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (event.key === "Escape") return setFixed(null);
    if (!delta) return undefined;
    event.preventDefault();
    const from = (fixed || { p: own }).p;
    return setFixed(at([Math.max(ax.low, Math.min(ax.high, from[0] + delta[0] / 4)), Math.max(ay.low, Math.min(ay.high, from[1] + delta[1] / 4))].map((value) => Math.round(value * 4) / 4)));
  };
  return html`<div class="scroll"><div style="display:flex;flex-wrap:wrap;gap:28px;align-items:flex-start">
    <div style="flex:1 1 560px;max-width:860px;min-width:0">
      <svg ref=${svg} class="plot" viewBox="0 0 ${W} ${H}" tabindex="0" role="application" aria-label="phase diagram; arrow keys move a point" style="cursor:crosshair"
        onPointerMove=${(event) => setHover(at(where(event)))} onPointerLeave=${() => setHover(null)} onClick=${(event) => { const p = where(event); const hit = at(p); setFixed(hit && hit.what === "a region" ? at(snap(p)) || hit : hit); }} onKeyDown=${keys}>
        <defs><pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><line x1="0" y1="0" x2="0" y2="7" stroke="var(--grows)" stroke-width="1.6" opacity=".5" /></pattern></defs>
        <rect x=${L} y=${T} width=${W - L - R} height=${H - T - B} fill="var(--panel)" />
        ${shapes.regions.map((region, k) => { const d = region.loops.map((loop) => `M${loop.map((p) => `${x(p[0])},${y(p[1])}`).join("L")}Z`).join(""); const [fill, opacity] = FILL[TONE[region.label]] || FILL.zero; return html`<g key=${k}><path d=${d} fill=${fill} fill-opacity=${shown && shown.label === region.label ? opacity + 0.1 : opacity} fill-rule="evenodd" />${TONE[region.label] === "deep" && html`<path d=${d} fill="url(#hatch)" />`}</g>`; })}
        ${ticks(ax).map((tick) => html`<g key=${`x${tick}`}><line x1=${x(tick)} x2=${x(tick)} y1=${T} y2=${H - B} stroke="var(--text)" opacity=".07" /><text x=${x(tick)} y=${H - B + 18} text-anchor="middle" style="font-size:12px">${half(tick)}</text></g>`)}
        ${ticks(ay).map((tick) => html`<g key=${`y${tick}`}><line y1=${y(tick)} y2=${y(tick)} x1=${L} x2=${W - R} stroke="var(--text)" opacity=".07" /><text x=${L - 9} y=${y(tick) + 4} text-anchor="end" style="font-size:12px">${half(tick)}</text></g>`)}
        ${shapes.edges.map((edge, k) => { const tone = TONE[edge.label]; return html`<line key=${k} x1=${x(edge.a[0])} y1=${y(edge.a[1])} x2=${x(edge.b[0])} y2=${y(edge.b[1])} stroke=${(FILL[tone] || FILL.zero)[0]} stroke-width=${BROAD.has(edge.label) ? 6 : 1.6} stroke-linecap="round" />`; })}
        ${shapes.corners.filter((corner) => BROAD.has(corner.label)).map((corner, k) => html`<circle key=${k} cx=${x(corner.p[0])} cy=${y(corner.p[1])} r="8" fill=${FILL[TONE[corner.label]][0]} stroke="var(--bg)" stroke-width="2" />`)}
        <text x=${(L + W - R) / 2} y=${H - 10} text-anchor="middle" style="font-size:13px;fill:var(--text)"><${Axis} label=${ax.label} /></text>
        <text transform="translate(16,${(T + H - B) / 2}) rotate(-90)" text-anchor="middle" style="font-size:13px;fill:var(--text)"><${Axis} label=${ay.label} /></text>
        ${[...named].map(([key, names]) => { const p = point(key.split(",")); if (p[0] < ax.low || p[0] > ax.high || p[1] < ay.low || p[1] > ay.high) return null; const right = p[0] - ax.low > ((ax.high - ax.low) * 2) / 3; return html`<g key=${key}><circle cx=${x(p[0])} cy=${y(p[1])} r="5.5" fill="var(--text)" stroke="var(--bg)" stroke-width="2" /><text x=${x(p[0]) + (right ? -11 : 11)} y=${y(p[1]) - 8} text-anchor=${right ? "end" : "start"} style="font-size:13px;font-weight:650;fill:var(--text);paint-order:stroke;stroke:var(--bg);stroke-width:4px;stroke-linejoin:round">${names.join(" = ")}</text></g>`; })}
        ${shown && html`<g pointer-events="none"><circle cx=${x(shown.p[0])} cy=${y(shown.p[1])} r="9" fill="none" stroke="var(--accent)" stroke-width="2.5" /></g>`}
      </svg>
    </div>
    <div style="flex:0 1 310px;min-width:270px">
      <h2 style="margin-bottom:10px">Regimes on this plane</h2>
      ${labels.map((label) => { const [fill, opacity] = FILL[TONE[label]] || FILL.zero; const area = regions.some((each) => each.label === label); return html`<div key=${label} style="display:flex;gap:10px;align-items:center;margin:5px 0"><svg width="22" height="16" aria-hidden="true">${area ? html`<rect width="22" height="16" rx="3" fill=${fill} fill-opacity=${opacity + 0.12} />` : html`<line x1="2" x2="20" y1="8" y2="8" stroke=${fill} stroke-width="6" stroke-linecap="round" />`}${TONE[label] === "deep" && html`<rect width="22" height="16" rx="3" fill="url(#hatch)" />`}</svg><span style="white-space:nowrap">${label}</span>${!area && html`<span class="muted small">lines and points</span>`}</div>`; })}
      <div class="reason" style="margin-top:22px"><div class="text">
        ${shown ? html`<div class="first">${shown.label}</div><div class="muted small">${shown.what}, x = ${number(shown.p[0])}, y = ${number(shown.p[1])}${shown.r && shown.r !== "0" ? html`; representations change by n<sup>−r</sup>, r = ${shown.r}` : ""}</div>` : html`<div class="muted">Point at the diagram, or click to hold a point.</div>`}
        ${told && html`<table class="formulas small" style="margin-top:8px"><thead><tr><th></th><th>size n<sup>…</sup></th><th>change n<sup>…</sup></th></tr></thead><tbody>${told.orders.map(({ of, size, change }) => html`<tr key=${of[0]} title=${of.join(", ")}><td>${of[0]}${of.length > 1 && html`<span class="muted"> and ${of.length - 1} more</span>`}</td>${[["size", size], ["change", change]].map(([what, order]) => html`<td key=${what}><${Formula} order=${order} p=${shown.p} before=${fixed && start.cell ? before(start.cell, of, what, own) : null} /></td>`)}</tr>`)}</tbody></table>
          <div class="muted small">${ax.moves} = x, ${ay.moves} = y${told.grows && html`; ${told.grows} grows first, what comes behind it is not read`}</div>`}</div>
        ${fixed && html`<div class="fix stacked"><b>From ${middle}${start.label && start.label !== fixed.label && html`: ${start.label} → ${fixed.label}`}</b><span>${moves(ax, own[0], fixed.p[0])}${moves(ax, own[0], fixed.p[0]) && moves(ay, own[1], fixed.p[1]) ? "; " : ""}${moves(ay, own[1], fixed.p[1])}${!moves(ax, own[0], fixed.p[0]) && !moves(ay, own[1], fixed.p[1]) ? "this is that point" : ""}</span></div>`}
      </div>
      <p class="muted small">The diagram is exact. Lines and points are phases of their own: the broad lines are where the network learns, stably.</p>
    </div></div></div>`;
}

const number = (value) => { for (const below of [1, 2, 3, 4, 6, 12]) { const above = value * below; if (Math.abs(above - Math.round(above)) < 1e-6) return (below === 1 ? String(Math.round(above)) : `${Math.round(above)}/${below}`).replace("-", "−"); } return value.toFixed(2).replace("-", "−"); };

// The cell that holds a point: the corner there, else the segment through it, else the polygon around it.
function cellAt(cells, p) {
  const on = (cell, count) => cell.corners.length === count;
  return cells.find((cell) => on(cell, 1) && near(cell.corners[0], p) < 1e-9) || cells.find((cell) => on(cell, 2) && near(onto(...cell.corners, p) || [Infinity, 0], p) < 1e-9) || cells.find((cell) => cell.corners.length > 2 && inside(cell.corners, p, true)) || null;
}

function labelAt({ corners, edges, regions }, p) {
  const found = corners.find((each) => near(each.p, p) < 1e-9) || edges.find((each) => near(onto(each.a, each.b, p) || [Infinity, 0], p) < 1e-9) || regions.find((each) => each.cells.some((cell) => inside(cell, p)));
  return found ? found.label : "";
}

// An order at a point: the largest of its forms; null for identically zero.
function valueAt({ text, forms }, [x, y]) {
  if (text === "inf") return Infinity;
  if (text === "not read") return NaN;
  return forms.length ? Math.max(...forms.map((form) => form.map(parseOrder)).map(([constant, a, b]) => constant + a * x + b * y)) : null;
}

const valued = (value) => (Number.isNaN(value) ? "not read" : value === null ? "zero" : value === Infinity ? "∞" : number(value));

// What the orders of some modules are at the script's own point, where they are read there.
function before(cell, names, what, own) {
  const found = cell.orders.filter(({ of }) => names.some((name) => of.includes(name))).map((row) => valued(valueAt(row[what], own))).filter((each) => each !== "not read");
  return found.length ? [...new Set(found)].join(", ") : null;
}

function Formula({ order, p, before: was }) {
  const here = valued(valueAt(order, p));
  const constant = !order.forms.some((form) => form.slice(1).some((each) => each !== "0"));
  const text = constant ? here : (order.text || "zero").replaceAll("-", "−");
  const beneath = [constant ? "" : `= ${here}`, was !== null && was !== here ? `was ${was}` : ""].filter(Boolean).join(", ");
  return html`<span>${text}${beneath && html`<div class="muted">${beneath}</div>`}</span>`;
}

// "all learning rates ~ n^-x" with the power raised.
function Axis({ label }) {
  const [before, power] = label.split(/ (?:~|times) n\^/);
  return power === undefined ? label : html`${before} ${label.includes(" ~ ") ? "∝" : "×"} n<tspan dy="-5" font-size="9.5">${power.replace("-", "−")}</tspan>`;
}

function moves(axis, from, to) {
  if (Math.abs(from - to) < 1e-6) return "";
  const what = axis.label.split(/ (?:~|times) n\^/)[0];
  return html`multiply ${what} by n<sup>${number(from - to)}</sup>`;
}

function inside(cell, p, strictly = false) {
  let sign = 0;
  for (let k = 0; k < cell.length; k++) {
    const a = cell[k], b = cell[(k + 1) % cell.length];
    const cross = (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]);
    if (Math.abs(cross) > 1e-9) { if (sign && Math.sign(cross) !== sign) return false; sign = Math.sign(cross); } else if (strictly) return false;
  }
  return true;
}

function onto(a, b, p) {
  const along = [b[0] - a[0], b[1] - a[1]], length = along[0] ** 2 + along[1] ** 2;
  if (!length) return null;
  const share = ((p[0] - a[0]) * along[0] + (p[1] - a[1]) * along[1]) / length;
  return share < 0 || share > 1 ? null : [a[0] + share * along[0], a[1] + share * along[1]];
}
