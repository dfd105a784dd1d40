// How are orders, numbers and names written?

export const parseOrder = (text) => {
  if (text === null || text === undefined) return null;
  const [above, below] = String(text).split("/");
  return Number(above) / (below === undefined ? 1 : Number(below));
};

const MINUS = "\u2212";

export const signed = (value, digits = 2) =>
  value === null || value === undefined ? "–" : (value < 0 ? MINUS : "+") + Math.abs(value).toFixed(digits);

// An order as text: −1/2, 0, 1, or zero for what is identically zero.
export const order = (text) => (text === null || text === undefined ? "zero" : String(text).replace("-", MINUS));

// How a value of that order moves when the width doubles.
export const factor = (value) => {
  if (value === null || value === undefined) return "–";
  const times = 2 ** value;
  return `×${times < 99.995 ? times.toFixed(2) : times.toPrecision(3)}`;
};

export const interval = (found) =>
  found === null || found === undefined ? "" : found.low === null ? "no interval" : `${signed(found.low)} to ${signed(found.high)}`;

export const number = (value, digits = 3) => {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size >= 1e5 || size < 1e-3) {
    const [mantissa, power] = value.toExponential(digits - 1).split("e");
    return `${Number(mantissa)}e${Number(power)}`.replace("-", MINUS);
  }
  return String(Number(value.toPrecision(digits))).replace("-", MINUS);
};

// A long name loses its middle.
export const fold = (name, most = 30) => {
  if (name.length <= most) return name;
  const left = Math.ceil((most - 1) / 2);
  return `${name.slice(0, left)}…${name.slice(name.length - (most - 1 - left))}`;
};

// What all names begin with, up to a dot: it says nothing in a picture of one module.
export function common(names) {
  const split = names.filter(Boolean).map((name) => name.split("."));
  if (split.length < 3) return "";
  let k = 0;
  while (split.every((parts) => parts.length > k + 1 && parts[k] === split[0][k])) k++;
  return k ? `${split[0].slice(0, k).join(".")}.` : "";
}

export const without = (name, prefix) => (prefix && name.startsWith(prefix) ? name.slice(prefix.length) : name);

export const shown = (name) => name || "(root)";

export const base = (path) => String(path || "").split(/[\\/]/).pop();

export const place = (where) => (where ? `${base(where.file)}:${where.line}` : "");

export const direction = (orderText) => {
  const value = parseOrder(orderText);
  return value === null ? "zero" : value > 0 ? "grows" : value < 0 ? "vanishes" : "stays";
};

export const GLYPH = { grows: "↗", stays: "→", vanishes: "↘", zero: "·" };

export const OUTCOME = {
  confirmed: { glyph: "✓", word: "confirmed by the runs" },
  undecided: { glyph: "?", word: "left undecided by the runs" },
  contradicted: { glyph: "✕", word: "contradicted by the runs" },
};

export const VERDICT = {
  agrees: { glyph: "✓", word: "ok", tone: "good" },
  inconclusive: { glyph: "?", word: "unclear", tone: "open" },
  "not measured": { glyph: "–", word: "no runs", tone: "open" },
  "not explained": { glyph: "~", word: "odd", tone: "open" },
  disagrees: { glyph: "✕", word: "wrong", tone: "bad" },
  diverged: { glyph: "✕", word: "NaN", tone: "bad" },
};

export const KINDS = { check: "verdict", phases: "phases", transfer: "transfer", limit: "limit", monitor: "monitor" };

export const toneOf = (regime) =>
  ({ unstable: "grows", trivial: "zero", kernel: "vanishes", "feature learning": "stays" })[regime] || "zero";
