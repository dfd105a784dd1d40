// The tensor program as a map: phases run to the right, modules downwards, one box a statement, coloured by its order.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { select } from "d3-selection";
import { zoom as makeZoom, zoomIdentity } from "d3-zoom";
import { html } from "../h.js";
import { base, direction, factor, order, parseOrder, shown } from "../format.js";
import { NODE, layout, titleOf } from "../layout.js";
import { Direction, Empty, Power, Segments, Told } from "../parts.js";
import { colour } from "../theme.js";

const SHORT = { initialization: "init", forward: "fwd", backward: "back", optimizer: "opt" };
const TONES = ["grows", "stays", "vanishes", "zero"];

export function Program({ document: doc, drawn: graph, options }) {
  if (!graph) return html`<div class="scroll"><p class="muted">Reading the program…</p></div>`;
  if (graph.error) return html`<div class="scroll"><${Empty} title="No program in this log" command="tpdyn check script.py:train">${graph.error}<//></div>`;
  if (!graph.nodes.name.length) return html`<div class="scroll"><${Empty} title="The program is empty">It has no statement.<//></div>`;
  return html`<${Map_} graph=${graph} doc=${doc} options=${options} />`;
}

function Map_({ graph, doc, options }) {
  const [what, setWhat] = useState("change");
  const [step, setStep] = useState("all");
  const [foldedColumns, setFoldedColumns] = useState(new Set());
  const [foldedRows, setFoldedRows] = useState(new Set());
  const [chosen, setChosen] = useState(options.position ?? null);
  const [wanted, setWanted] = useState("");
  const [hover, setHover] = useState(null);
  const canvas = useRef(null), field = useRef(null), state = useRef({}), zooming = useRef(null);
  const nodes = graph.nodes;
  const steps = useMemo(() => [...new Set(graph.columns.filter((name) => name.includes(" ")).map((name) => name.split(" ")[0]))], [graph]);
  const place = useMemo(() => layout(graph, { foldedColumns, foldedRows, hidden: (name) => step !== "all" && name.includes(" ") && name.split(" ")[0] !== step }), [graph, foldedColumns, foldedRows, step]);
  const readers = useMemo(() => { const found = nodes.name.map(() => []); nodes.inputs.forEach((inputs, v) => inputs.forEach((u) => found[u].push(v))); return found; }, [graph]);
  const tones = useMemo(() => nodes[what].map((text) => direction(text)), [graph, what]);
  const strengths = useMemo(() => nodes[what].map((text) => { const value = parseOrder(text); return value === null ? 0 : Math.min(1, 0.45 + Math.abs(value) * 0.35); }), [graph, what]);
  const hits = useMemo(() => {
    const text = wanted.trim().toLowerCase();
    if (!text) return null;
    const found = [];
    for (let v = 0; v < nodes.name.length; v++) {
      const where = nodes.place[v] >= 0 ? graph.places[nodes.place[v]][2] : "";
      if (`${nodes.name[v]} ${nodes.formula[v]} ${where}`.toLowerCase().includes(text)) found.push(v);
    }
    return found;
  }, [graph, wanted]);
  const found = useMemo(() => new Set(hits || []), [hits]);
  state.current = { place, chosen, found, tones, strengths, hover, readers, hits };

  const paint = () => { if (!state.current.waiting) { state.current.waiting = true; requestAnimationFrame(() => { state.current.waiting = false; if (canvas.current) draw(canvas.current, graph, state.current, zooming.current.transform); }); } };
  const fit = () => {
    const { clientWidth: w, clientHeight: h } = canvas.current;
    const k = Math.max(0.02, Math.min(1.15, (w - place.side - 28) / place.width, (h - place.head - 24) / place.height));
    select(canvas.current).call(zooming.current.zoom.transform, zoomIdentity.translate(place.side + 8, place.head + 8).scale(k));
  };
  const toward = (v) => {
    const { xs, ys, side, head } = state.current.place;
    if (Number.isNaN(xs[v])) return;
    const { clientWidth: w, clientHeight: h } = canvas.current;
    const k = Math.max(0.75, zooming.current.transform.k);
    select(canvas.current).call(zooming.current.zoom.transform, zoomIdentity.translate((w + side) / 2, (h + head) / 2).scale(k).translate(-xs[v] - NODE.width / 2, -ys[v] - NODE.height / 2));
  };
  const pick = (v, move = true) => { setChosen(v); if (v !== null && move) requestAnimationFrame(() => toward(v)); };

  useEffect(() => {
    const element = canvas.current;
    const zoom = makeZoom().scaleExtent([0.02, 4]).on("zoom", (event) => { zooming.current.transform = event.transform; paint(); });
    zooming.current = { zoom, transform: zoomIdentity };
    select(element).call(zoom).on("dblclick.zoom", null);
    const observer = new ResizeObserver(() => paint());
    observer.observe(element);
    window.addEventListener("tpdyn-theme", paint);
    return () => { observer.disconnect(); window.removeEventListener("tpdyn-theme", paint); };
  }, []);
  useEffect(() => { fit(); }, [graph, step]);
  useEffect(() => { if (options.position !== undefined) { setStep("all"); pick(options.position); } }, [options]);
  useEffect(paint);

  const at = (event) => {
    const box = canvas.current.getBoundingClientRect();
    const [sx, sy] = [event.clientX - box.left, event.clientY - box.top];
    const t = zooming.current.transform, x = (sx - t.x) / t.k, y = (sy - t.y) / t.k;
    if (sy < place.head) return { column: place.columns.find((each) => x >= each.x && x <= each.x + each.width) };
    if (sx < place.side) return { row: place.rows.find((each) => y >= each.y && y <= each.y + each.height) };
    for (let v = 0; v < nodes.name.length; v++) if (x >= place.xs[v] && x <= place.xs[v] + NODE.width && y >= place.ys[v] && y <= place.ys[v] + NODE.height) return { node: v };
    return { cell: place.folded.find((cell) => x >= cell.x && x <= cell.x + cell.width && y >= cell.y && y <= cell.y + cell.height) };
  };
  const toggled = (set, key) => { const next = new Set(set); if (!next.delete(key)) next.add(key); return next; };
  const click = (event) => {
    const target = at(event);
    if (target.node !== undefined) pick(target.node, false);
    else if (target.column) setFoldedColumns(toggled(foldedColumns, target.column.name));
    else if (target.row?.name) setFoldedRows(toggled(foldedRows, target.row.name));
    else if (target.cell) { const column = graph.columns[target.cell.column]; if (foldedColumns.has(column)) setFoldedColumns(toggled(foldedColumns, column)); else setFoldedRows(toggled(foldedRows, place.rows.find((row) => row.y === target.cell.y).name)); }
    else setChosen(null);
  };
  const move = (event) => {
    const target = event.buttons ? {} : at(event);
    const box = canvas.current.getBoundingClientRect();
    const next = target.node ?? null;
    setHover(next === null ? null : { node: next, x: Math.min(event.clientX - box.left + 14, box.width - 400), y: Math.min(event.clientY - box.top + 16, box.height - 96) });
    canvas.current.style.cursor = target.node !== undefined || target.column || target.row?.name || target.cell ? "pointer" : "";
  };
  const keys = (event) => {
    const scale = { "+": 1.3, "=": 1.3, "-": 1 / 1.3 }[event.key];
    if (scale) select(canvas.current).call(zooming.current.zoom.scaleBy, scale);
    else if (event.key === "0") fit();
    else if (event.key === "Escape") setChosen(null);
    else if (event.key === "ArrowRight") pick(chosen === null ? 0 : readers[chosen][0] ?? chosen);
    else if (event.key === "ArrowLeft") pick(chosen === null ? 0 : nodes.inputs[chosen][0] ?? chosen);
    else if (event.key === "ArrowDown") pick(chosen === null ? 0 : Math.min(nodes.name.length - 1, chosen + 1));
    else if (event.key === "ArrowUp") pick(chosen === null ? 0 : Math.max(0, chosen - 1));
    else return;
    event.preventDefault();
  };
  const tops = useMemo(() => [...new Set(graph.rows.filter((name) => name.includes(".")).map((name) => name.split(".").slice(0, /^\d+$/.test(name.split(".")[1]) ? 2 : 1).join(".")))], [graph]);
  const allFolded = tops.length > 0 && tops.every((name) => foldedRows.has(name));
  return html`<div class="map">
    <div class="tools">
      <${Segments} label="colour by" value=${what} onChange=${setWhat} options=${[["change", "change"], ["size", "size"]]} />
      <${Segments} label="step" value=${step} onChange=${setStep} options=${[["all", "all"], ...steps.map((each) => [each, each])]} />
      ${tops.length > 0 && html`<button class="button" onClick=${() => setFoldedRows(new Set(allFolded ? [] : tops))}>${allFolded ? "unfold modules" : "fold modules"}</button>`}
      <button class="button" onClick=${fit} title="key 0">fit</button>
      <input type="search" style="width:230px" placeholder="find a name, formula, line" aria-label="find a statement" value=${wanted} onInput=${(event) => setWanted(event.target.value)} onKeyDown=${(event) => event.key === "Enter" && hits?.length && pick(hits[0])} />
      <span class="legend">${TONES.slice(0, 3).map((tone) => html`<span key=${tone}><svg width="14" height="12"><rect x="1" y="1" width="12" height="10" rx="2.5" fill="var(--${tone})" opacity=".8" /></svg>${tone}</span>`)}<span><svg width="14" height="12"><rect x="1.5" y="1.5" width="11" height="9" rx="2.5" fill="none" stroke="var(--zero)" /></svg>zero</span></span>
    </div>
    <div class="field" ref=${field}>
      <canvas ref=${canvas} tabindex="0" role="application" aria-label="map of ${nodes.name.length} statements; arrow keys walk along operands and order, plus and minus zoom, 0 fits" onClick=${click} onPointerMove=${move} onPointerLeave=${() => setHover(null)} onKeyDown=${keys} />
      ${hits && html`<div class="hits" role="listbox" aria-label="found statements"><div class="muted small" style="padding:4px 9px">${hits.length} found</div>${hits.slice(0, 60).map((v) => html`<button key=${v} role="option" class="mono" onClick=${() => pick(v)}>${nodes.formula[v]}</button>`)}</div>`}
      ${hover && html`<div class="tip" style=${`left:${Math.max(8, hover.x)}px;top:${hover.y}px`}><div class="mono" style="overflow-wrap:anywhere">${nodes.formula[hover.node].slice(0, 160)}</div><div class="muted">size <${Power} of=${nodes.size[hover.node]} />, change <span class=${direction(nodes.change[hover.node])}><${Power} of=${nodes.change[hover.node]} /></span></div></div>`}
    </div>
  </div>
  ${chosen !== null && chosen < nodes.name.length && html`<${Statement} graph=${graph} v=${chosen} readers=${readers} pick=${pick} close=${() => setChosen(null)} />`}`;
}

function Statement({ graph, v, readers, pick, close }) {
  const nodes = graph.nodes, where = nodes.place[v] >= 0 ? graph.places[nodes.place[v]] : null;
  const { step, phase } = titleOf(graph.columns[nodes.column[v]]);
  const [rule, size, change] = nodes.why[v];
  const list = (title, members) => members.length > 0 && html`<h3>${title}</h3><div class="neighbours">${members.slice(0, 40).map((u) => html`<button key=${u} onClick=${() => pick(u)}><span class="mono">${nodes.name[u]}</span><${Direction} direction=${direction(nodes.change[u])}><${Power} of=${nodes.change[u]} /><//></button>`)}${members.length > 40 && html`<p class="muted small">and ${members.length - 40} more</p>`}</div>`;
  const parts = (texts) => texts.length > 0 && html`<ul class="facts" style="color:inherit">${texts.map((text) => html`<li key=${text}><${Told} text=${text} /></li>`)}</ul>`;
  return html`<aside class="drawer" aria-label="statement ${nodes.name[v]}">
    <button class="close" aria-label="close" onClick=${close}>×</button>
    <h2>${nodes.name[v]}</h2>
    <p class="muted small" style="margin:6px 0 0">${graph.kinds[nodes.kind[v]]} · ${[step, phase].filter(Boolean).join(", ")} · ${shown(graph.rows[nodes.row[v]])} · [${graph.shapes[nodes.shape[v]]}]</p>
    ${graph.marks[v] && html`<p class="small" style="margin:6px 0 0">the output of <code>${graph.marks[v]}</code></p>`}
    <h3>Formula</h3><div class="formula">${nodes.formula[v]}</div>
    ${where && html`<div class="formula" style="margin-top:6px" title=${where[0]}><span class="muted">${base(where[0])}:${where[1]}</span>  ${where[2]}</div>`}
    <h3>Orders</h3>
    <dl class="kv">
      <dt>size</dt><dd><${Direction} direction=${direction(nodes.size[v])}><${Power} of=${nodes.size[v]} /><//> <span class="muted">${nodes.size[v] === null ? "" : `${factor(parseOrder(nodes.size[v]))} when the width doubles`}</span></dd>
      <dt>change</dt><dd><${Direction} direction=${direction(nodes.change[v])}><${Power} of=${nodes.change[v]} /><//> <span class="muted">${nodes.change[v] === null ? "" : `${factor(parseOrder(nodes.change[v]))} when the width doubles`}</span></dd>
    </dl>
    <h3>Why</h3><p class="small" style="margin:0">${rule}</p>
    ${size.length > 0 && html`<p class="muted small" style="margin:8px 0 0">its size</p>`}${parts(size)}
    ${change.length > 0 && html`<p class="muted small" style="margin:8px 0 0">its change</p>`}${parts(change)}
    ${list("Reads", nodes.inputs[v])}${list("Read by", readers[v])}
  </aside>`;
}

function draw(canvas, graph, { place, chosen, found, tones, strengths, readers, hits }, t) {
  const ratio = window.devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
  if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) { canvas.width = Math.round(w * ratio); canvas.height = Math.round(h * ratio); }
  const ctx = canvas.getContext("2d");
  const ink = Object.fromEntries(["bg", "panel", "raised", "line", "strong", "text", "muted", ...TONES].map((name) => [name, colour(name)]));
  const { nodes } = graph, { xs, ys } = place;
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, w, h);
  ctx.setTransform(ratio * t.k, 0, 0, ratio * t.k, ratio * t.x, ratio * t.y);
  const left = -t.x / t.k, top = -t.y / t.k, right = left + w / t.k, bottom = top + h / t.k;
  ctx.fillStyle = ink.panel;
  for (const cell of place.cells) {
    if (cell.x > right || cell.x + cell.width < left || cell.y > bottom || cell.y + cell.height < top) continue;
    ctx.beginPath(); ctx.roundRect(cell.x, cell.y, cell.width, cell.height, 8); ctx.fill();
  }
  for (const cell of place.folded) {
    const counts = TONES.map((tone) => cell.members.filter((v) => tones[v] === tone).length);
    let y = cell.y + 4;
    const full = Math.max(1, cell.height - 8);
    counts.forEach((count, k) => { const part = (full * count) / cell.members.length; ctx.fillStyle = ink[TONES[k]]; ctx.globalAlpha = TONES[k] === "zero" ? 0.3 : 0.75; if (part) { ctx.fillRect(cell.x + 5, y, 7, part); y += part; } });
    ctx.globalAlpha = 1;
    if (t.k > 0.45) { ctx.fillStyle = ink.muted; ctx.font = "11px system-ui, sans-serif"; ctx.textAlign = "left"; ctx.fillText(String(cell.members.length), cell.x + 18, cell.y + Math.min(cell.height / 2 + 4, 20)); }
  }
  const near = chosen === null ? null : new Set([chosen, ...nodes.inputs[chosen], ...readers[chosen]]);
  const labels = t.k * NODE.height > 9.5, shownNodes = [];
  for (let v = 0; v < nodes.name.length; v++) {
    const x = xs[v], y = ys[v];
    if (!(x < right && x + NODE.width > left && y < bottom && y + NODE.height > top)) continue;
    shownNodes.push(v);
    const tone = tones[v], dim = hits ? !found.has(v) : near ? !near.has(v) : false;
    ctx.globalAlpha = (dim ? 0.4 : 1) * (tone === "zero" ? 1 : strengths[v] * (labels ? 0.3 : 1));
    ctx.beginPath(); ctx.roundRect(x, y, NODE.width, NODE.height, 4.5);
    if (tone === "zero") { ctx.fillStyle = ink.raised; ctx.fill(); ctx.lineWidth = Math.max(1, 0.6 / t.k); ctx.strokeStyle = ink.strong; ctx.stroke(); }
    else {
      ctx.fillStyle = ink[tone]; ctx.fill();
      if (labels) { ctx.globalAlpha = dim ? 0.4 : 1; ctx.lineWidth = 1.1; ctx.strokeStyle = ink[tone]; ctx.stroke(); }
    }
    if (labels) {
      ctx.globalAlpha = dim ? 0.6 : 1;
      ctx.fillStyle = ink.text; ctx.font = "10.5px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"; ctx.textAlign = "left";
      ctx.fillText(label(graph, v), x + 6, y + 15);
    }
  }
  ctx.globalAlpha = 1;
  const edge = (u, v, style, width) => {
    if (Number.isNaN(xs[u]) || Number.isNaN(xs[v])) return;
    const forward = xs[v] > xs[u] + NODE.width;
    const [x0, y0] = [xs[u] + NODE.width * (forward ? 1 : 0.5), ys[u] + NODE.height * (forward ? 0.5 : ys[v] >= ys[u] ? 1 : 0)];
    const [x1, y1] = [xs[v] + (forward ? 0 : NODE.width * 0.5), ys[v] + NODE.height * (forward ? 0.5 : ys[v] >= ys[u] ? 0 : 1)];
    const bend = forward ? Math.max(14, Math.abs(x1 - x0) / 2) : 0, drop = forward ? 0 : (y1 - y0) / 2;
    ctx.beginPath(); ctx.moveTo(x0, y0); ctx.bezierCurveTo(x0 + bend, y0 + drop, x1 - bend, y1 - drop, x1, y1);
    ctx.strokeStyle = style; ctx.lineWidth = width; ctx.stroke();
  };
  if (chosen === null && !hits && labels && shownNodes.length < 420) { ctx.globalAlpha = 0.5; for (const v of shownNodes) for (const u of nodes.inputs[v]) edge(u, v, ink.strong, 1); ctx.globalAlpha = 1; }
  if (chosen !== null) {
    const scale = Math.max(1, 0.9 / t.k);
    for (const u of nodes.inputs[chosen]) edge(u, chosen, ink.muted, 1.6 * scale);
    for (const v of readers[chosen].slice(0, 200)) edge(chosen, v, ink.text, 1.6 * scale);
    if (!Number.isNaN(xs[chosen])) { ctx.lineWidth = 2.2 * scale; ctx.strokeStyle = ink.text; ctx.beginPath(); ctx.roundRect(xs[chosen] - 2, ys[chosen] - 2, NODE.width + 4, NODE.height + 4, 6); ctx.stroke(); }
  }
  frame(ctx, place, t, ink, ratio, w, h);
}

// What a box says: the name without its module, or what the instruction is where a value has no name.
function label(graph, v) {
  const row = graph.rows[graph.nodes.row[v]];
  let name = graph.nodes.name[v];
  if (/^v\d+$/.test(name)) name = graph.kinds[graph.nodes.kind[v]].replace("linear combination", "combination");
  else if (row && name.startsWith(`${row}@`)) name = row.split(".").pop() + name.slice(row.length);
  else for (const before of [`d ${row}.`, `${row}.`]) if (row && name.startsWith(before)) name = (before.startsWith("d ") ? "d " : "") + name.slice(before.length);
  return name.length > 15 ? `${name.slice(0, 7)}…${name.slice(-7)}` : name;
}

// The names of rows and columns, which stay where they are.
function frame(ctx, place, t, ink, ratio, w, h) {
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.fillStyle = ink.bg;
  ctx.fillRect(0, 0, w, place.head); ctx.fillRect(0, 0, place.side, h);
  ctx.globalAlpha = 1;
  ctx.textBaseline = "alphabetic";
  let last = -Infinity;
  for (const row of place.rows) {
    const y = t.y + row.y * t.k, high = row.height * t.k;
    if (y + high < place.head || y > h) continue;
    const line = Math.max(place.head + 14, Math.min(y + Math.min(high / 2, 15) + 4, y + high));
    if (line - last < 10.4) continue;
    last = line;
    ctx.fillStyle = row.name ? ink.text : ink.muted; ctx.font = "11px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"; ctx.textAlign = "right";
    const name = shown(row.name), text = name.length > 23 ? `…${name.slice(-22)}` : name;
    ctx.fillText((row.folded ? "▸ " : "") + text, place.side - 10, line);
  }
  ctx.fillStyle = ink.bg; ctx.fillRect(0, 0, place.side, place.head);
  let end = -Infinity, stepBefore = null;
  for (const column of place.columns) {
    const x = t.x + column.x * t.k, wide = column.width * t.k;
    if (x + wide < place.side || x > w) continue;
    const { step, phase } = titleOf(column.name);
    const from = Math.max(place.side + 4, x);
    ctx.textAlign = "left";
    if (step && step !== stepBefore) { ctx.font = "600 11.5px system-ui, sans-serif"; ctx.fillStyle = ink.text; ctx.fillText(step, from, 14); stepBefore = step; }
    ctx.font = "11.5px system-ui, sans-serif"; ctx.fillStyle = ink.muted;
    const room = x + wide - from - 6;
    const text = [phase, SHORT[phase] || phase].find((each) => ctx.measureText(each).width <= room) || "";
    if (text && from >= end) { ctx.fillText(text, from, 28); end = from + ctx.measureText(text).width; }
  }
  ctx.strokeStyle = ink.line; ctx.lineWidth = 1;
  ctx.beginPath(); ctx.moveTo(0, place.head + 0.5); ctx.lineTo(w, place.head + 0.5); ctx.moveTo(place.side + 0.5, place.head); ctx.lineTo(place.side + 0.5, h); ctx.stroke();
}
