// The page: a list of logs, a log's views, and what was chosen; `render` is what TensorBoard calls.
import { Component, render as mount } from "preact";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { html } from "./h.js";
import css from "./style.css";
import { source } from "./data.js";
import { followTheme } from "./theme.js";
import { GLYPH, KINDS, OUTCOME, base, toneOf } from "./format.js";
import { Empty } from "./parts.js";
import { Verdict } from "./views/verdict.js";
import { Coordinates } from "./views/coordinates.js";
import { Program } from "./views/program.js";
import { Phases } from "./views/phases.js";
import { Limits } from "./views/limits.js";
import { Transfer } from "./views/transfer.js";
import { Live } from "./views/live.js";

const EVERY = 3000;
const VIEWS = [
  ["verdict", "Verdict", "check", Verdict, "tpdyn check script.py:train"],
  ["coordinates", "Coordinates", "check", Coordinates, "tpdyn check script.py:train"],
  ["program", "Program", "check", Program, "tpdyn check script.py:train"],
  ["phases", "Phases", "phases", Phases, "tpdyn phase script.py:train --logdir logs"],
  ["limits", "Limits", "limit", Limits, "tpdyn limit script.py:train --logdir logs"],
  ["transfer", "Transfer", "transfer", Transfer, "tpdyn transfer script.py:train"],
  ["live", "Live", "monitor", Live, "with tpdyn.monitor(model, optimizer, logdir=\"logs/my-run\"):\n    train()"],
];
const WHAT = { live: "A monitor watches a long run of one width, with alarms.", phases: "An exact phase diagram shows the regimes around a script.", limits: "The limit shows losses and outputs at infinite width.", transfer: "A sweep shows whether the best learning rate moves with the width.", verdict: "A check predicts the regime and compares it with runs.", coordinates: "A check measures every module at several widths.", program: "A check records the script as a program." };

// A view that fails shows words instead of an empty page.
class Guard extends Component {
  constructor() { super(); this.state = { error: null }; }
  static getDerivedStateFromError(error) { return { error }; }
  componentDidUpdate(before) { if (before.of !== this.props.of && this.state.error) this.setState({ error: null }); }
  render() {
    if (!this.state.error) return this.props.children;
    return html`<div class="scroll"><${Empty} title="This view cannot be drawn">${String(this.state.error.message || this.state.error)}<//></div>`;
  }
}

const kept = {
  get: (key) => { try { return JSON.parse(sessionStorage.getItem(`tpdyn-${key}`)); } catch { return null; } },
  set: (key, value) => { try { sessionStorage.setItem(`tpdyn-${key}`, JSON.stringify(value)); } catch { /* private windows */ } },
};

// Now, and while the page is live some seconds after each answer: a slow server is not asked faster than it answers.
function repeated(ask, live) {
  let timer = null, over = false;
  const again = async () => {
    if (document.visibilityState === "visible" || timer === null) await ask();
    if (live && !over) timer = setTimeout(again, EVERY);
  };
  again();
  return () => { over = true; clearTimeout(timer); };
}

const wanted = () => { const [log, view] = decodeURIComponent(location.hash.slice(1)).split("|"); return { log: log || kept.get("log"), view: view || kept.get("view") }; };

function App({ data, theme }) {
  const [logs, setLogs] = useState(null);
  const [error, setError] = useState("");
  const [chosen, setChosen] = useState(wanted().log);
  const [view, setView] = useState(wanted().view || "verdict");
  const [documents, setDocuments] = useState(new Map());
  const [programs, setPrograms] = useState(new Map());
  const [options, setOptions] = useState({});
  const texts = useRef(new Map());
  const tabs = useRef(null);

  const look = useCallback(async () => {
    try {
      const found = await data.logs();
      setLogs((before) => (JSON.stringify(before) === JSON.stringify(found) ? before : found));
      setError("");
    } catch (problem) { setError(String(problem.message || problem)); setLogs((before) => before || []); }
  }, []);
  useEffect(() => {
    return repeated(look, data.live);
  }, []);

  const log = logs && (logs.find((each) => each.id === chosen) || logs.find((each) => !each.error) || logs[0]);
  const [, title, kind, View, command] = VIEWS.find(([key]) => key === view) || VIEWS[0];
  // Of a script's several logs, the view shows the one that has it: phases of the same script, and so on.
  const shownLog = log && (log.kind === kind ? log : sibling(logs, log, kind));

  const load = useCallback(async (id) => {
    const found = await data.document(id);
    const text = JSON.stringify(found);
    if (texts.current.get(id) !== text) { texts.current.set(id, text); setDocuments((before) => new Map(before).set(id, found)); }
    return JSON.parse(text);
  }, []);
  useEffect(() => {
    if (!shownLog || shownLog.error) return undefined;
    const fetchIt = () => load(shownLog.id).catch((problem) => setDocuments((before) => new Map(before).set(shownLog.id, { error: String(problem.message || problem) })));
    return repeated(fetchIt, data.live);
  }, [shownLog?.id]);
  const needsProgram = shownLog && kind === "check" && view !== "verdict";
  const version = shownLog && documents.get(shownLog.id)?.statements;
  useEffect(() => {
    if (!needsProgram || programs.has(shownLog.id)) return;
    data.program(shownLog.id).then((found) => setPrograms((before) => new Map(before).set(shownLog.id, found))).catch((problem) => setPrograms((before) => new Map(before).set(shownLog.id, { error: String(problem.message || problem) })));
  }, [needsProgram, shownLog?.id, version]);
  useEffect(() => { if (log) { kept.set("log", log.id); kept.set("view", view); if (!data.live) history.replaceState(null, "", `#${encodeURIComponent(`${log.id}|${view}`)}`); } }, [log?.id, view]);

  const go = (next, more = {}) => { setView(next); setOptions(more); };
  if (!logs) return html`<div class="empty"><p>Reading the logs…</p></div>`;
  const shown = shownLog && documents.get(shownLog.id);
  const keys = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = VIEWS[(VIEWS.findIndex(([key]) => key === view) + step + VIEWS.length) % VIEWS.length][0];
    go(next);
    requestAnimationFrame(() => tabs.current?.querySelector('[aria-selected="true"]')?.focus());
  };
  const single = logs.length === 1 && !data.live;
  return html`<div class="app ${single ? "single" : ""}">
    <a class="skip" href="#view" onClick=${(event) => { event.preventDefault(); document.getElementById("view")?.focus(); }}>to the view</a>
    ${!single && html`<${Side} logs=${logs} log=${log} choose=${(id) => { setChosen(id); setOptions({}); const next = logs.find((each) => each.id === id); const fitting = VIEWS.filter(([, , of]) => of === next.kind); if (fitting.length && !fitting.some(([key]) => key === view)) setView(fitting[0][0]); }} />`}
    <main class="main">
      ${log && html`<div class="bar">
        <div class="top"><h1>${shownLog ? shownLog.name : log.name}</h1><span class="script">${base(log.script)}</span>
          <span class="right">${!single && html`<select class="logpick" aria-label="log" value=${log.id} onChange=${(event) => setChosen(event.target.value)}>${logs.slice(0, 400).map((each) => html`<option key=${each.id} value=${each.id}>${each.name}</option>`)}</select>`}${!theme.inside && html`<button class="button" onClick=${theme.toggle} aria-label="light or dark">◐</button>`}</span></div>
        <nav class="views" role="tablist" aria-label="views" ref=${tabs} onKeyDown=${keys}>${VIEWS.map(([key, text, of]) => html`<button key=${key} role="tab" aria-selected=${String(key === view)} tabindex=${key === view ? 0 : -1} data-empty=${String(!(log.kind === of || sibling(logs, log, of)))} onClick=${() => go(key)}>${text}</button>`)}</nav>
      </div>`}
      <div class="body" id="view" tabindex="-1" role="tabpanel" aria-label=${title}>
        ${error && html`<div class="scroll"><${Empty} title="The logs cannot be read">${error}<//></div>`}
        ${!error && !log && html`<div class="scroll"><${Empty} title="No logs yet" command=${"tpdyn demo\ntensorboard --logdir logs"}>Nothing in this folder was written by tpdyn. The demo makes three logs in a minute; they appear here while it runs.<//></div>`}
        ${!error && log && log.error && html`<div class="scroll"><${Empty} title="This log cannot be read">${log.error}<//></div>`}
        ${!error && log && !log.error && !shownLog && html`<div class="scroll"><${Empty} title=${`No ${title.toLowerCase()} of this script`} command=${command}>${WHAT[view]}<//></div>`}
        ${!error && shownLog && !shownLog.error && !shown && html`<div class="scroll"><p class="muted">Reading…</p></div>`}
        ${!error && shown && shown.error && html`<div class="scroll"><${Empty} title="This log cannot be read">${shown.error}<//></div>`}
        ${!error && shown && !shown.error && html`<${Guard} of=${`${shownLog.id} ${view}`} key=${`${shownLog.id} ${view}`}><${View} document=${shown} log=${shownLog} logs=${logs} data=${data} load=${load} go=${go} options=${options} drawn=${programs.get(shownLog.id)} /><//>`}
      </div>
    </main>
  </div>`;
}

// The log of that kind that is about the same script, if there is just what fits best.
function sibling(logs, log, kind) {
  const same = (each) => (log.script && each.script === log.script) || each.name === log.name || each.name === `${log.name}/monitor` || log.name === `${each.name}/monitor`;
  const fitting = logs.filter((each) => each.kind === kind && !each.error && same(each));
  const common = (name) => { let k = 0; while (k < name.length && name[k] === log.name[k]) k++; return k; };
  return fitting.sort((a, b) => common(b.name) - common(a.name))[0] || null;
}

function Side({ logs, log, choose }) {
  const [wanted, setWanted] = useState("");
  const shown = logs.filter((each) => `${each.name} ${each.says || ""}`.toLowerCase().includes(wanted.toLowerCase()));
  const most = 400;
  return html`<aside class="side" aria-label="logs">
    <header><div class="brand"><${Mark} />Tensor Programs</div>
      ${logs.length > 6 && html`<input type="search" placeholder="find a log" aria-label="find a log" value=${wanted} onInput=${(event) => setWanted(event.target.value)} />`}</header>
    <div class="logs">${shown.slice(0, most).map((each) => html`<button class="log" key=${each.id} aria-current=${String(log && each.id === log.id)} style=${log && each.id === log.id ? "border-left-color:var(--accent)" : ""} onClick=${() => choose(each.id)} title=${each.name}>
      <span class="name">${each.name === "." ? each.title || "this folder" : each.name}</span>
      ${each.error ? html`<span class="says">cannot be read</span>` : html`<span class="says">${each.kind === "check" ? html`<span class=${toneOf(each.says)}>${each.says}</span>${each.outcome ? ` · ${OUTCOME[each.outcome]?.glyph || ""} ${each.outcome}` : ""}` : each.kind === "transfer" ? (each.says || "").split(": ").slice(0, 2).join(": ") : each.kind === "monitor" ? `live · ${each.says || ""}` : KINDS[each.kind] || each.kind}</span>`}
      ${each.runs && html`<div class="progress"><i style=${`width:${(100 * each.runs[0]) / each.runs[1]}%`} /></div>`}
    </button>`)}${shown.length > most && html`<p class="muted small" style="padding:8px">and ${shown.length - most} more: search for them</p>`}</div>
  </aside>`;
}

const Mark = () => html`<svg width="20" height="20" viewBox="0 0 20 20" aria-hidden="true"><path d="M2,15C7,15 8,4 18,3" stroke="var(--grows)" stroke-width="2.2" fill="none" stroke-linecap="round" /><path d="M2,15H18" stroke="var(--stays)" stroke-width="2.2" stroke-linecap="round" /><circle cx="2.6" cy="15" r="2.4" fill="var(--text)" /></svg>`;

export async function render() {
  const style = document.createElement("style");
  style.textContent = css;
  document.head.append(style);
  const root = document.createElement("div");
  root.id = "tpdyn";
  document.body.append(root);
  const theme = followTheme();
  try { mount(html`<${App} data=${await source()} theme=${theme} />`, root); }
  catch (problem) { root.textContent = `The page cannot be shown: ${problem.message}`; }
}

if (document.getElementById("tpdyn-data")) render();
