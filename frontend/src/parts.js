// Small parts that views share.
import { useEffect, useRef, useState } from "preact/hooks";
import { html } from "./h.js";
import { GLYPH, VERDICT, base, order, place } from "./format.js";

export const Chip = ({ tone, children }) => html`<span class="chip ${tone}">${children}</span>`;

export const VerdictChip = ({ verdict }) => {
  const found = VERDICT[verdict];
  return found ? html`<span class="chip ${found.tone}" title=${found.word}><span aria-hidden="true">${found.glyph}</span><span class="w">${found.word}</span></span>` : null;
};

export const Direction = ({ direction, children }) => html`<span class="${direction}"><span aria-hidden="true">${GLYPH[direction]}</span> ${children || direction}</span>`;

export const Segments = ({ label, options, value, onChange }) => html`<span role="group" aria-label=${label}>
  <span class="label">${label}</span><span class="segments">${options.map(([key, text, title]) => html`<button key=${key} type="button" title=${title || ""} aria-pressed=${String(key === value)} onClick=${() => onChange(key)}>${text}</button>`)}</span></span>`;

// n to a power, in type: n, n⁰, n with a raised −1/2; "zero" for what is identically zero.
export const Power = ({ of }) => (of === null || of === undefined ? "zero" : String(of) === "1" ? "n" : html`n<sup>${order(of)}</sup>`);

// A sentence of the verdict: `code` in its own type, powers raised.
export const Told = ({ text }) => String(text).split(/(`[^`]*`|\bn\^-?\d+(?:\/\d+)?)/).map((part, k) => part.startsWith("`") && part.length > 1 ? html`<code key=${k}>${part.slice(1, -1)}</code>` : part.startsWith("n^") ? html`<span class="num" key=${k}>n<sup>${part.slice(2).replace("-", "−")}</sup></span>` : part);

// A module's name that may break behind its dots.
export const Name = ({ of }) => html`<span class="mono name">${String(of || "(root)").split(/(?<=\.)/).map((part, k) => html`${k > 0 && html`<wbr />`}${part}`)}</span>`;

export const SourceLine = ({ where }) => where && html`<div class="line" title=${`${where.file}:${where.line}`}><span class="where">${place(where)}</span><span>${where.text}</span></div>`;

export const Empty = ({ title, children, command }) => html`<div class="empty"><h2>${title}</h2><div>${children}</div>${command && html`<pre>${command}</pre>`}</div>`;

export const Legend = ({ limit }) => html`<div class="legend">
  ${["grows", "stays", "vanishes"].map((tone) => html`<span key=${tone}><svg width="22" height="12"><path d=${{ grows: "M2,10L20,2", stays: "M2,6L20,6", vanishes: "M2,2L20,10" }[tone]} stroke="var(--${tone})" stroke-width="2.4" /></svg>${tone}</span>`)}
  <span><svg width="22" height="12"><path d="M1,6H21" stroke="var(--text)" stroke-dasharray="5 4" stroke-width="1.4" /></svg>predicted</span>
  <span><svg width="22" height="12"><rect x="1" y="2" width="20" height="8" fill="var(--muted)" opacity=".25" rx="2" /></svg>measured slope, interval</span>
  <span><svg width="22" height="12"><circle cx="5" cy="8" r="2" fill="var(--muted)" opacity=".6" /><circle cx="11" cy="4" r="2" fill="var(--muted)" opacity=".6" /><circle cx="17" cy="7" r="2" fill="var(--muted)" opacity=".6" /></svg>seeds</span>
  ${limit && html`<span><svg width="22" height="12"><path d="M1,6H21" stroke="var(--accent)" stroke-width="2" /></svg>limit of infinite width</span>`}</div>`;

export const scriptName = (script) => base(script);

// The picture of a module appears when it comes near the screen: a deep network has hundreds.
export function Near({ children, height }) {
  const [near, setNear] = useState(false);
  const [width, setWidth] = useState(268);
  const element = useRef(null);
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && setNear(true), { rootMargin: "400px" });
    observer.observe(element.current);
    const sizes = new ResizeObserver(() => element.current && setWidth(Math.max(200, Math.round(element.current.clientWidth))));
    sizes.observe(element.current);
    return () => { observer.disconnect(); sizes.disconnect(); };
  }, []);
  return html`<div ref=${element} style=${near ? "" : `min-height:${height}px`}>${near && children(width)}</div>`;
}
