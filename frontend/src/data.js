// Where do documents come from? From TensorBoard's routes in the tab, from the page itself in a report.

class Live {
  constructor() { this.live = true; this.known = new Map(); }
  async get(path) {
    const response = await fetch(path, { cache: "no-cache" });
    const content = await response.json().catch(() => ({ error: `the server answered ${response.status}` }));
    if (!response.ok) throw new Error(content.error || `the server answered ${response.status}`);
    return content;
  }
  logs() { return this.get("./logs").then((content) => content.logs); }
  document(id) { return this.get(`./document?log=${encodeURIComponent(id)}`); }
  curves(id, of) { return this.get(`./curves?${new URLSearchParams({ log: id, ...of })}`); }
  program(id) { return this.get(`./program?log=${encodeURIComponent(id)}`); }
}

class Packed {
  constructor(content) { this.live = false; this.content = content; }
  async logs() { return this.content.logs; }
  async document(id) { return found(this.content.documents[id], "the report holds no such log"); }
  async curves(id, { what, name }) {
    const { steps, lines } = found(this.content.curves?.[id], "the report holds no curves of this log");
    return { steps, lines: lines.filter((line) => (what === undefined || line.what === what) && (name === undefined || line.name === name)) };
  }
  async program(id) { return found(this.content.programs[id], "the report holds no program of this log"); }
}

function found(value, otherwise) {
  if (!value) throw new Error(otherwise);
  return value;
}

export async function source() {
  const element = document.getElementById("tpdyn-data");
  if (!element) return new Live();
  const packed = Uint8Array.from(atob(element.textContent.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Packed(JSON.parse(await new Response(stream).text()));
}
