// Light or dark? As TensorBoard is (its page is the parent of ours), else as the system is, unless the reader chose.

export function followTheme() {
  const root = document.documentElement;
  let chosen = null;
  const outer = (() => {
    try { return window.parent !== window ? window.parent.document.body : null; } catch { return null; }
  })();
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const dark = chosen === null ? (outer ? outer.classList.contains("dark-mode") : system.matches) : chosen;
    if (root.classList.contains("dark") !== dark) {
      root.classList.toggle("dark", dark);
      window.dispatchEvent(new Event("tpdyn-theme"));
    }
  };
  apply();
  system.addEventListener("change", apply);
  if (outer) new MutationObserver(apply).observe(outer, { attributes: true, attributeFilter: ["class"] });
  return { toggle: () => { chosen = !root.classList.contains("dark"); apply(); }, inside: Boolean(outer) };
}

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
