// Does every module keep its size as the width grows? One small picture a module, size or change against the width.
import { useEffect, useMemo, useState } from "preact/hooks";
import { html } from "../h.js";
import { common, direction, fold, interval, number, order, parseOrder, place, shown, signed, without } from "../format.js";
import { Panel, atStep, span, summarise } from "../panel.js";
import { Empty, Legend, Near, Power, Segments, VerdictChip } from "../parts.js";
import { Curves } from "../curves.js";

const SHOWN = { all: () => true, hidden: (m) => m.role === "hidden", outputs: (m) => m.role === "output", doubt: (m) => m.verdict !== "agrees" };

export function expected(module, what, step) {
  const row = module.predicted.find((each) => each.step === step);
  return row ? row[what] : what === "size" ? module.size_order : null;
}

// Sizes in the limit, by module and step, from a limit log of the very same program.
function useLimit(doc, log, logs, load) {
  const [found, setFound] = useState(null);
  useEffect(() => {
    let alive = true;
    setFound(null);
    const near = doc.program ? logs.filter((each) => each.kind === "limit" && !each.error && each.script === log.script).slice(0, 8) : [];
    (async () => {
      for (const each of near) {
        const limit = await load(each.id).catch(() => null);
        if (limit && limit.program === doc.program && alive) return setFound(new Map((limit.sizes || []).filter((size) => !size.random).map((size) => [`${size.name} ${size.step}`, { value: size.value, error: size.error }])));
      }
      return undefined;
    })();
    return () => { alive = false; };
  }, [log.id, doc.program, logs.length]);
  return found;
}

export function Coordinates({ document: doc, log, logs, load, options, go, drawn }) {
  const limits = useLimit(doc, log, logs, load);
  const [what, setWhat] = useState("change");
  const [step, setStep] = useState(doc.step);
  const [wanted, setWanted] = useState("");
  const [kind, setKind] = useState("all");
  const [same, setSame] = useState(true);
  const [open, setOpen] = useState(options.module ?? null);
  useEffect(() => setStep(doc.step), [doc.title, doc.step]);
  useEffect(() => { if (options.module !== undefined) setOpen(options.module); }, [options]);
  const modules = doc.modules.filter((module) => SHOWN[kind](module) && shown(module.name).toLowerCase().includes(wanted.toLowerCase()));
  const points = useMemo(() => new Map(doc.modules.map((module) => [module.name, summarise(doc.widths, atStep(module, what, step))])), [doc, what, step]);
  const spans = [...points.values()].map(span).sort((a, b) => a - b);
  const slopes = doc.modules.map((module) => Math.abs(parseOrder(expected(module, what, step)) ?? 0) * Math.log10((doc.widths.at(-1) || 2) / (doc.widths[0] || 1)));
  const decades = same ? Math.min(3, Math.max(0.8, spans[Math.floor(spans.length * 0.9)] * 1.1 || 0, Math.max(0, ...slopes) * 1.1)) : undefined;
  if (!doc.widths.length) return html`<div class="scroll"><${Empty} title="No runs yet" command="tpdyn check script.py:train">${doc.runs ? `The first of ${doc.runs[1]} runs is being made.` : "This log holds a prediction only. Coordinates are measured by running the script at several widths."}<//></div>`;
  const prefix = common(doc.modules.filter((module) => module.role !== "output").map((module) => module.name));
  const steps = [...Array(doc.steps).keys()].filter((k) => what === "size" || k > 0);
  const chosen = doc.modules.find((module) => module.name === open);
  return html`<div class="scroll">
    ${doc.runs && html`<div class="notice">Live: ${doc.runs[0]} of ${doc.runs[1]} runs are made.</div>`}
    <div class="tools">
      <${Segments} label="show" value=${what} onChange=${(key) => { setWhat(key); setStep(key === "size" ? 0 : doc.step); }} options=${[["change", "change"], ["size", "size"]]} />
      <${Segments} label="at step" value=${step} onChange=${setStep} options=${steps.map((k) => [k, k === doc.step ? `${k} ·` : String(k), k === doc.step ? "the step that the verdict compares" : ""])} />
      <${Segments} label="modules" value=${kind} onChange=${setKind} options=${[["all", "all"], ["hidden", "hidden"], ["outputs", "outputs"], ["doubt", "not ok"]]} />
      <label class="check" title="Every panel spans the same number of decades, so that slopes compare by eye"><input type="checkbox" checked=${same} onChange=${(event) => setSame(event.target.checked)} />same scale</label>
      <input type="search" style="width:150px" placeholder="find a module" aria-label="find a module" value=${wanted} onInput=${(event) => setWanted(event.target.value)} />
    </div>
    <div style="margin:-4px 0 16px"><${Legend} limit=${Boolean(limits) && what === "size"} />${limits && what === "change" && html`<p class="muted small" style="margin:6px 0 0">The limit of this program is known: <button class="link" onClick=${() => { setWhat("size"); setStep(0); }}>sizes</button> have it as a line.</p>`}</div>
    ${!modules.length && html`<${Empty} title="No such module">${wanted ? `No name holds “${wanted}”.` : "No module is of this kind."}<//>`}
    <div class="grid">${modules.map((module) => {
      const text = expected(module, what, step);
      const tone = direction(text);
      const fit = step === doc.step && what === "change" ? module.measured_change_order : module.fits[step]?.[what];
      const label = `${shown(module.name)}: ${what} at step ${step}, predicted order ${order(text)}, measured ${fit ? signed(fit.estimate) : "nothing"}`;
      return html`<button class="card" key=${module.name} aria-pressed=${String(open === module.name)} onClick=${() => setOpen(open === module.name ? null : module.name)}>
        <div class="head"><span class="name" title=${module.name}>${fold(shown(without(module.name, prefix)), 27)}</span><span class="predicted num ${tone}">${module.at_most && what === "change" ? "≤ " : ""}<${Power} of=${text} /></span></div>
        <${Near} height=${150}>${(width) => html`<${Panel} width=${width} widths=${doc.widths} points=${points.get(module.name)} predicted=${parseOrder(text)} atMost=${module.at_most && what === "change"} fit=${fit} tone=${tone} limit=${what === "size" ? limits?.get(`${module.name} ${step}`) : null} decades=${decades} label=${label} />`}<//>
        <div class="foot"><span class="num">${fit ? html`slope <b>${signed(fit.estimate)}</b>${fit.low === null ? "" : ` [${signed(fit.low)}, ${signed(fit.high)}]`}` : text === null ? "identically zero" : "no slope"}</span>
          ${step === doc.step && what === "change" ? html`<${VerdictChip} verdict=${module.verdict} />` : null}</div>
      </button>`;
    })}</div>
  </div>
  ${chosen && html`<${Detail} document=${doc} module=${chosen} what=${what} step=${step} close=${() => setOpen(null)} go=${go} drawn=${drawn} />`}`;
}

function Detail({ document: doc, module, what, step, close, go, drawn }) {
  useEffect(() => {
    const escape = (event) => event.key === "Escape" && close();
    window.addEventListener("keydown", escape);
    return () => window.removeEventListener("keydown", escape);
  }, []);
  const values = summarise(doc.widths, atStep(module, what, step));
  const series = doc.widths.map((width, k) => ({ name: String(width), points: [...Array(doc.steps).keys()].map((t) => [t, centre(module[what][k], t)]) }));
  const parts = module.split && module.split.parts.map((part, p) => ({ name: part, points: doc.widths.map((width, k) => [width, module.split.means[k]?.[step]?.[p] ?? null]) })).filter((part) => part.points.some(([, value]) => value > 0));
  return html`<aside class="drawer" aria-label="details of ${shown(module.name)}">
    <button class="close" aria-label="close" onClick=${close}>×</button>
    <h2>${shown(module.name)}</h2>
    <p class="muted small" style="margin:6px 0 0">${{ output: "output", hidden: "hidden representation", other: "other value" }[module.role]}${module.verdict ? html` <${VerdictChip} verdict=${module.verdict} />` : ""}</p>
    ${module.note && html`<p class="small">${module.note}</p>`}
    <h3>Statement</h3><div class="formula">${module.formula}</div>
    ${module.place && html`<div class="formula" style="margin-top:6px"><span class="muted">${place(module.place)}</span>  ${module.place.text}</div>`}
    ${drawn && html`<p style="margin:10px 0 0"><button class="button" onClick=${() => go("program", { position: module.position })}>show in the program</button></p>`}
    <h3>${what === "size" ? "Size" : "Change"} over the steps, one line a width</h3>
    <${Curves} series=${series} ramp=${true} x="step" xLinear=${true} integers=${true} />
    ${parts && parts.length > 0 && what === "change" && html`<h3>Parts of the change at step ${step}</h3><${Curves} series=${parts} x="width" widths=${doc.widths} />
      <p class="muted small" style="margin:6px 0 0">h − h₀ = W₀ Δx + ΔW x₀ + ΔW Δx + Δb</p>`}
    <h3>Orders</h3>
    <div class="tablewrap"><table><thead><tr><th>step</th><th class="r">size</th><th class="r">change</th><th class="r">measured change</th></tr></thead><tbody>
      ${module.predicted.map((row) => { const fit = row.step === doc.step ? module.measured_change_order : module.fits[row.step]?.change; return html`<tr key=${row.step}><td class="num">${row.step}${row.step === doc.step ? " ·" : ""}</td><td class="r num">${order(row.size)}</td><td class="r num ${direction(row.change)}">${row.at_most ? "≤ " : ""}${order(row.change)}</td><td class="r num">${fit ? `${signed(fit.estimate)} (${interval(fit)})` : "–"}</td></tr>`; })}
    </tbody></table></div>
    <h3>Values at step ${step}, over ${doc.seeds.length} seeds</h3>
    <div class="tablewrap"><table><thead><tr><th class="r">width</th><th class="r">geometric mean</th><th class="r">smallest</th><th class="r">largest</th></tr></thead><tbody>
      ${values.map((point) => html`<tr key=${point.width}><td class="r num">${point.width}</td><td class="r num">${number(point.centre)}</td><td class="r num">${number(Math.min(...point.seeds))}</td><td class="r num">${number(Math.max(...point.seeds))}</td></tr>`)}
    </tbody></table></div>
  </aside>`;
}

function centre(seeds, step) {
  const values = (seeds || []).map((steps) => steps?.[step]).filter((value) => value !== null && value !== undefined && value > 0);
  return values.length ? Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length) : null;
}
