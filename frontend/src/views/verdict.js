// The regime, why, what to change, and what the runs say; two logs side by side.
import { useEffect, useState } from "preact/hooks";
import { html } from "../h.js";
import { OUTCOME, factor, interval, parseOrder, place, toneOf } from "../format.js";
import { Forest } from "../panel.js";
import { Direction, Name, Power, SourceLine, Told, VerdictChip } from "../parts.js";

function Tally({ counts }) {
  const parts = [["confirmed", "good"], ["undecided", "open"], ["not_explained", "zero"], ["contradicted", "bad"]];
  const total = parts.reduce((sum, [key]) => sum + counts[key], 0) || 1;
  return html`<span class="tally" aria-hidden="true">${parts.map(([key, tone]) => counts[key] > 0 && html`<i key=${key} style=${`width:${(100 * counts[key]) / total}%;background:var(--${tone})`} />`)}</span>`;
}

export function Hero({ document: doc, name }) {
  const outcome = OUTCOME[doc.outcome];
  const tone = doc.outside.length ? "zero" : toneOf(doc.regime);
  const regime = doc.outside.length ? "outside the theory" : doc.headline || doc.regime;
  const [made, all] = doc.runs || [];
  return html`<section class="hero ${tone}">
    ${name && html`<div class="of">${name}</div>`}
    <div class="regime ${regime.length > 20 ? "long" : ""}">${regime}</div>
    <div class="meaning">${doc.meaning}</div>
    <div class="evidence">
      ${outcome
        ? html`<span class="chip ${{ confirmed: "good", undecided: "open", contradicted: "bad" }[doc.outcome]}"><span aria-hidden="true">${outcome.glyph}</span>${doc.runs ? `so far ${doc.outcome}` : outcome.word}</span>
            <${Tally} counts=${doc.counts} /><span>${doc.says.replace(/^[^:]*: /, "")}</span>`
        : html`<span class="chip zero">predicted, not measured</span>`}
      ${doc.runs && html`<span class="chip open">running: ${made} of ${all} runs</span>`}
    </div>
  </section>`;
}

function Reasons({ document: doc }) {
  const reasons = [...doc.outside, ...doc.because];
  const [all, setAll] = useState(false);
  const most = 4;
  return html`<div class="section"><h2>Why</h2>
    ${(all ? reasons : reasons.slice(0, most)).map((reason, k) => html`<div class="reason" key=${k}>
      <div class="text ${k === 0 ? "first" : ""}"><${Told} text=${reason.text} /></div>
      <${SourceLine} where=${reason.place} />
      ${reason.fix && html`<div class="fix"><b>Change</b><span><${Told} text=${reason.fix} /></span></div>`}
    </div>`)}
    ${reasons.length > most && !all && html`<button class="button" onClick=${() => setAll(true)}>${reasons.length - most} more reasons</button>`}
  </div>`;
}

export function Modules({ document: doc, open }) {
  const orders = doc.modules.flatMap((module) => [parseOrder(module.change_order), module.measured_change_order?.low, module.measured_change_order?.high]);
  const reach = Math.min(2, Math.max(1, ...orders.filter((value) => value !== null && value !== undefined).map((value) => Math.abs(value))));
  const measured = doc.widths.length > 0;
  return html`<div class="section"><h2>Modules${measured ? html` <span class="muted" style="font-weight:400">changes at step ${doc.step}</span>` : ""}</h2>
    <div class="tablewrap"><table>
      <thead><tr><th>module</th><th class="r">at init</th><th class="r">change</th>${measured && html`<th class="r">measured</th><th title="bar: interval of the measured power; dot: its estimate; line: the prediction">measured, predicted</th>`}<th class="r" title="what the change is multiplied by when the width doubles">n → 2n</th>${measured && html`<th>verdict</th>`}<th>line</th></tr></thead>
      <tbody>${doc.modules.map((module) => html`<tr class="go" key=${module.name} tabindex="0" onClick=${() => open(module.name)} onKeyDown=${(event) => event.key === "Enter" && open(module.name)}>
        <td class="named"><${Name} of=${module.name} />${module.role === "output" && html` <span class="chip zero">output</span>`}</td>
        <td class="r num"><${Power} of=${module.size_order} /></td>
        <td class="r num"><${Direction} direction=${module.direction}>${module.at_most ? "≤ " : ""}<${Power} of=${module.change_order} /><//></td>
        ${measured && html`<td class="r num">${module.measured_change_order ? module.measured_change_order.estimate?.toFixed(2).replace("-", "−") : "–"}</td>
          <td title=${interval(module.measured_change_order)}><${Forest} predicted=${module.change_order} fit=${module.measured_change_order} tone=${module.direction} reach=${reach} /></td>`}
        <td class="r num">${factor(parseOrder(module.change_order))}</td>
        ${measured && html`<td title=${module.note}><${VerdictChip} verdict=${module.verdict} /></td>`}
        <td class="mono muted num">${place(module.place)}</td>
      </tr>`)}</tbody></table></div></div>`;
}

export function Verdict({ document: doc, log, logs, load, go }) {
  const others = logs.filter((each) => each.kind === "check" && each.id !== log.id && !each.error);
  const [against, setAgainst] = useState("");
  const [other, setOther] = useState(null);
  useEffect(() => {
    let alive = true;
    setOther(null);
    if (against) load(against).then((found) => alive && setOther(found)).catch(() => alive && setAgainst(""));
    return () => { alive = false; };
  }, [against, log.id]);
  useEffect(() => setAgainst(""), [log.id]);
  const facts = [
    `recorded ${doc.recorded.steps} steps at widths ${doc.recorded.widths.join(", ")}${doc.recorded.verified ? `; replayed and verified at ${doc.recorded.verified}` : ""}; ${doc.statements.toLocaleString("en")} statements`,
    doc.widths.length ? `measured ${doc.seeds.length} seeds at widths ${doc.widths.join(", ")}; orders agree within ${doc.margin} at ${100 * doc.confidence} % confidence` : null,
    ...doc.missing, ...doc.advice, ...doc.notes,
  ].filter(Boolean);
  return html`<div class="scroll"><div class="wide">
    ${others.length > 0 && html`<div class="tools" style="justify-content:flex-end"><label><span class="label">compare with</span><select style="max-width:260px" value=${against} onChange=${(event) => setAgainst(event.target.value)}>
      <option value="">nothing</option>${others.map((each) => html`<option key=${each.id} value=${each.id}>${each.name}</option>`)}</select></label></div>`}
    <div class=${other ? "pair" : ""}><${Hero} document=${doc} name=${other && log.name} />${other && html`<${Hero} document=${other} name=${logs.find((each) => each.id === against)?.name} />`}</div>
    ${other ? html`<${Compared} one=${doc} other=${other} names=${[log.name, logs.find((each) => each.id === against)?.name]} />` : html`<${Reasons} document=${doc} />`}
    ${!other && html`<${Modules} document=${doc} open=${(name) => go("coordinates", { module: name })} />`}
    <div class="section"><h2>How this was found</h2><ul class="facts">${facts.map((fact) => html`<li key=${fact}><${Told} text=${fact} /></li>`)}</ul></div>
  </div></div>`;
}

// Module by module, before and after.
function Compared({ one, other, names }) {
  const all = [...new Map([...one.modules, ...other.modules].map((module) => [module.name, null])).keys()];
  const cell = (module) => module
    ? html`<td class="r num"><${Direction} direction=${module.direction}><${Power} of=${module.change_order} /><//></td><td class="num">${module.measured_change_order ? `${module.measured_change_order.estimate.toFixed(2).replace("-", "−")}` : ""}</td><td><${VerdictChip} verdict=${module.verdict} /></td>`
    : html`<td colspan="3" class="muted">no such module</td>`;
  return html`<div class="section"><h2>Changes, side by side</h2><div class="tablewrap"><table>
    <thead><tr><th>module</th><th colspan="3">${names[0]}: predicted, measured</th><th colspan="3">${names[1]}: predicted, measured</th></tr></thead>
    <tbody>${all.map((name) => html`<tr key=${name}><td class="named"><${Name} of=${name} /></td>${cell(one.modules.find((module) => module.name === name))}${cell(other.modules.find((module) => module.name === name))}</tr>`)}</tbody></table></div></div>`;
}
