// Where does a value lie on a logarithmic axis, and which ticks does it get?

export const finite = (values) => values.filter((value) => value !== null && Number.isFinite(value));
export const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

export const logScale = ([low, high], [from, to]) => {
  const a = Math.log(low), b = Math.log(high);
  return (value) => from + ((Math.log(value) - a) / (b - a || 1)) * (to - from);
};

export const linearScale = ([low, high], [from, to]) => (value) => from + ((value - low) / (high - low || 1)) * (to - from);

// Ticks at powers of ten, with 2 and 5 between where the axis is short; at most about `most`.
export function logTicks([low, high], most = 4) {
  const decades = Math.log10(high / low);
  const ticks = ticksOf([low, high], most, decades);
  return ticks.length > 1 ? ticks : ticksOf([low, high], most, 0);
}

function ticksOf([low, high], most, decades) {
  const steps = decades <= 0.35 ? [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9] : decades < 1.2 ? [1, 2, 5] : decades < 2.4 ? [1, 3] : [1];
  const ticks = [];
  const stride = Math.max(1, Math.ceil(decades / most));
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    if (steps.length === 1 && power % stride) continue;
    for (const step of steps) {
      const tick = Number((step * 10 ** power).toPrecision(3));
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
    }
  }
  while (ticks.length > most + 1) for (let k = ticks.length - 2; k > 0 && ticks.length > most; k -= 2) ticks.splice(k, 1);
  return ticks;
}

export const tickText = (value) => {
  if (value === 0) return "0";
  const power = Math.floor(Math.log10(Math.abs(value)) + 1e-9);
  if (power >= -3 && power <= 4) return String(Number(value.toPrecision(3)));
  const mantissa = Number((value / 10 ** power).toPrecision(2));
  const superscript = String(power).replace(/./g, (c) => ({ "-": "⁻" })[c] || "⁰¹²³⁴⁵⁶⁷⁸⁹"[c]);
  return (mantissa === 1 ? "" : `${mantissa}·`) + `10${superscript}`;
};
