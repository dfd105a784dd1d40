// A run that goes on: alarms as text, and each module's curve with the band that a smaller twin makes expected.
import { useEffect, useMemo, useState } from "preact/hooks";
import { html } from "../h.js";
import { common, fold, number, shown, without } from "../format.js";
import { Track, Tracks, at } from "../track.js";
import { Empty, Near, Segments } from "../parts.js";

const WORDS = {
  change: ["change", "mean absolute difference of the output to the first look"], size: ["size", "mean absolute entry of the output"],
  largest: ["largest", "largest absolute entry of the output"], update: ["dW x", "mean absolute entry of the last update, applied to the input"],
  alignment: ["alignment", "dW x against the largest possible; 1: the update fits the input"], logits: ["logits", "the largest number that enters a softmax"],
  saturated: ["saturated", "fraction of entries where the activation is flat"], dead: ["dead", "fraction of units that are flat for every example"],
  gradient: ["gradient", "root mean square of a parameter's gradient"], step: ["update", "root mean square of a parameter's last change"],
  weight: ["weight", "root mean square of a parameter"], ratio: ["update / weight", "root mean squares of a parameter's last change and of the parameter, divided"],
};
export const word = (what) => (WORDS[what] || [what])[0];
const SHARES = new Set(["alignment", "saturated", "dead"]);

const ago = (seconds) => (seconds < 90 ? `${Math.max(0, Math.round(seconds))} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`);

export function Live({ document: doc, log, data }) {
  const [what, setWhat] = useState(null);
  const [wanted, setWanted] = useState("");
  const [early, setEarly] = useState(false);
  const [bad, setBad] = useState(false);
  const [open, setOpen] = useState(null);
  const [found, setFound] = useState(null);
  const [own, setOwn] = useState(null);
  const [error, setError] = useState("");
  const seen = what && doc.whats.includes(what) ? what : doc.whats[0];
  const version = `${log.id} ${doc.looks} ${doc.step}`;
  useEffect(() => {
    let alive = true;
    if (seen) data.curves(log.id, { what: seen }).then((curves) => alive && (setFound({ ...curves, what: seen }), setError(""))).catch((problem) => alive && setError(String(problem.message || problem)));
    return () => { alive = false; };
  }, [version, seen]);
  useEffect(() => {
    let alive = true;
    if (open === null) setOwn(null);
    else data.curves(log.id, { name: open }).then((curves) => alive && setOwn({ ...curves, name: open })).catch(() => alive && setOwn(null));
    return () => { alive = false; };
  }, [version, open]);
  const alarmed = useMemo(() => new Set(doc.alarms.filter((each) => each.stands).map((each) => each.name)), [doc]);
  const rings = (name) => alarmed.has(name) || [...alarmed].some((each) => each.startsWith(`${name}.`) && !/[.].*[.]/.test(each.slice(name.length)));
  if (!doc.looks) return html`<div class="scroll"><${Empty} title="No look yet">The monitor has started. Its first look comes with the first optimizer step.<//></div>`;
  const lines = found && found.what === seen ? found.lines.filter((line) => shown(line.name).toLowerCase().includes(wanted.toLowerCase()) && (!bad || rings(line.name) || outside(line, found.steps))) : null;
  const prefix = common((found?.lines || []).map((line) => line.name).filter((name) => name !== "output"));
  const since = Date.now() / 1000 - doc.time;
  const running = data.live && !doc.over;
  return html`<div class="scroll"><div>
    <div class="strip">
      <span class="chip ${running ? (since < 600 ? "good" : "open") : "zero"}">${running ? html`<i class="pulse" aria-hidden="true" />${since < 600 ? "running" : "silent"}` : doc.over ? "ended" : "not ended"}</span>
      <span><b class="num">step ${doc.step.toLocaleString("en")}</b></span><span class="muted">${doc.looks.toLocaleString("en")} looks${doc.width ? `, width ${doc.width}` : ""}${running ? `, the last ${ago(since)} ago` : ""}</span>
      <span class="chip ${alarmed.size ? "bad" : "good"}">${alarmed.size ? `${doc.alarms.filter((each) => each.stands).length} alarms` : "no alarm now"}</span>
    </div>
    ${doc.alarms.length > 0 && html`<${Alarms} alarms=${doc.alarms} open=${(name) => setOpen(doc.modules.some((each) => each.name === name) ? name : null)} />`}
    <div class="tools" style="margin-top:22px">
      <${Segments} label="show" value=${seen} onChange=${setWhat} options=${doc.whats.map((each) => [each, word(each), (WORDS[each] || [])[1]])} />
      <label class="check" title="Steps on a logarithmic axis show the beginning"><input type="checkbox" checked=${early} onChange=${(event) => setEarly(event.target.checked)} />log steps</label>
      <label class="check"><input type="checkbox" checked=${bad} onChange=${(event) => setBad(event.target.checked)} />only with an alarm</label>
      <input type="search" style="width:150px" placeholder="find a module" aria-label="find a module" value=${wanted} onInput=${(event) => setWanted(event.target.value)} />
    </div>
    <p class="muted small" style="margin:-8px 0 14px"><span>${(WORDS[seen] || ["", ""])[1]}. </span>${found?.lines.some((line) => line.band) && html`<span class="legend" style="display:inline-flex"><span><svg width="22" height="12"><rect x="1" y="1" width="20" height="10" fill="var(--stays)" opacity=".2" rx="2" /><path d="M1,1.5H21M1,10.5H21" stroke="var(--stays)" stroke-dasharray="3 3" /></svg>expected, from a smaller twin</span></span>`}</p>
    ${error && html`<div class="notice">${error}</div>`}
    ${!lines && !error && html`<p class="muted">Reading…</p>`}
    ${lines && !lines.length && html`<${Empty} title="No such curve">${wanted ? `No name holds “${wanted}”.` : "No module has an alarm."}<//>`}
    <div class="grid">${(lines || []).map((line) => {
      const values = line.values.filter((value) => value !== null);
      const out = outside(line, found.steps);
      const last = line.values.at(-1) ?? null;
      const expected = at(line.band, found.steps.at(-1));
      return html`<button class="card ${rings(line.name) ? "alarmed" : ""}" key=${line.name} aria-pressed=${String(open === line.name)} onClick=${() => setOpen(open === line.name ? null : line.name)}>
        <div class="head"><span class="name" title=${line.name}>${fold(shown(without(line.name, prefix)), 27)}</span><span class="predicted num">${number(last)}</span></div>
        <${Near} height=${150}>${(width) => html`<${Track} width=${width} steps=${found.steps} line=${line} share=${SHARES.has(seen)} log=${early} bad=${out} label=${`${word(seen)} of ${shown(line.name)} over ${found.steps.length} looks, now ${number(last)}`} />`}<//>
        <div class="foot"><span class="num">${expected ? html`expected ${number(expected[0])} to ${number(expected[1])}` : values.length > 1 ? html`from ${number(values[0])}` : "one look"}</span>
          ${out ? html`<span class="chip bad"><span aria-hidden="true">✕</span><span class="w">${out}</span></span>` : line.band && expected ? html`<span class="chip good"><span aria-hidden="true">✓</span><span class="w">inside</span></span>` : null}</div>
      </button>`;
    })}</div>
  </div></div>
  ${open !== null && html`<${Detail} doc=${doc} name=${open} own=${own && own.name === open ? own : null} log=${early} close=${() => setOpen(null)} />`}`;
}

function Alarms({ alarms, open }) {
  const [all, setAll] = useState(false);
  const sorted = [...alarms].sort((a, b) => b.stands - a.stands || b.step - a.step);
  const most = 5;
  return html`<section class="reason alarms" role="log" aria-label="alarms">${(all ? sorted : sorted.slice(0, most)).map((each, k) => html`<button key=${k} class="alarm ${each.stands ? "" : "past"}" onClick=${() => open(each.name)}>
      <span class="chip ${each.stands ? "bad" : "zero"}">${each.rule}</span><span class="what"><span>${each.text}</span>${each.source && html`<span class="mono muted">${each.source.split(/[\\/]/).pop()}</span>`}</span><span class="muted num">step ${each.step.toLocaleString("en")}${each.stands ? "" : ", over"}</span></button>`)}
    ${sorted.length > most && html`<button class="alarm more" onClick=${() => setAll(!all)}>${all ? "show fewer" : `${sorted.length - most} more alarms`}</button>`}</section>`;
}

function Detail({ doc, name, own, log, close }) {
  useEffect(() => {
    const escape = (event) => event.key === "Escape" && close();
    window.addEventListener("keydown", escape);
    return () => window.removeEventListener("keydown", escape);
  }, []);
  const module = doc.modules.find((each) => each.name === name);
  const alarms = doc.alarms.filter((each) => each.name === name);
  const order = (line) => { const k = doc.whats.indexOf(line.what); return k < 0 ? 99 : k; };
  return html`<aside class="drawer" aria-label="details of ${shown(name)}">
    <button class="close" aria-label="close" onClick=${close}>×</button>
    <h2>${shown(name)}</h2>
    <p class="muted small" style="margin:6px 0 0">${module?.of || ""}${module?.dtype ? `, ${module.dtype}` : ""}</p>
    ${module?.source && html`<div class="formula" style="margin-top:8px">${module.source}</div>`}
    ${alarms.map((each, k) => html`<div class="notice" style="margin:10px 0 0;background:var(--bad-soft);color:var(--bad)" key=${k}>step ${each.step}: ${each.text}</div>`)}
    ${!own && html`<p class="muted">Reading…</p>`}
    ${own && [...own.lines].sort((a, b) => order(a) - order(b)).map((line) => html`<div key=${line.what}><h3 title=${(WORDS[line.what] || [])[1]}>${word(line.what)} <span class="num" style="float:right;color:var(--text)">${number(line.values.at(-1) ?? null)}</span></h3><${Tracks} steps=${own.steps} line=${line} share=${SHARES.has(line.what)} log=${log} bad=${outside(line, own.steps)} label=${`${word(line.what)} of ${shown(name)}`} /></div>`)}
  </aside>`;
}

// On which side of its band a curve ends; "" inside, and where nothing is expected.
function outside(line, steps) {
  const value = line.values.at(-1), expected = at(line.band, steps.at(-1));
  if (value === null || value === undefined || !expected || expected[0] === null) return "";
  return value < expected[0] ? "below" : value > expected[1] ? "above" : "";
}
