// Where on the map does each statement lie? Python gives every statement its column, row and slot; folding adds some of them up.

export const NODE = { width: 104, height: 22, gapX: 7, gapY: 6 };
const PAD = 11, CELL_GAP = 9, FOLDED = 30, LEAST = 62, HEAD = 34, SIDE = 190;

export const rowKey = (name, depth) => (name && depth ? name.split(".").slice(0, depth).join(".") : name);

// The row under which a module lies when some are folded: the shortest folded prefix, else itself.
function shownRow(name, folded) {
  if (!folded.size || !name) return name;
  const parts = name.split(".");
  for (let k = 1; k <= parts.length; k++) {
    const prefix = parts.slice(0, k).join(".");
    if (folded.has(prefix)) return prefix;
  }
  return name;
}

// { columns: [{name, x, width, folded}], rows: [{name, y, height, folded}], x, y: Float64Array of nodes, cells, width, height }
export function layout(graph, { foldedColumns, foldedRows, hidden }) {
  const nodes = graph.nodes, count = nodes.name.length;
  const rowNames = [...new Set(graph.rows.map((name) => shownRow(name, foldedRows)))];
  const rowOf = graph.rows.map((name) => rowNames.indexOf(shownRow(name, foldedRows)));
  const visible = graph.columns.map((name) => !hidden(name));
  const columns = graph.columns.map((name, k) => ({ name, index: k, folded: foldedColumns.has(name), shown: visible[k] }));
  const cells = new Map();
  for (let v = 0; v < count; v++) {
    if (!visible[nodes.column[v]]) continue;
    const key = nodes.column[v] * 100000 + rowOf[nodes.row[v]];
    let cell = cells.get(key);
    if (!cell) cells.set(key, (cell = { column: nodes.column[v], row: rowOf[nodes.row[v]], members: [] }));
    cell.members.push(v);
  }
  const most = columns.map(() => 0);
  for (const cell of cells.values()) most[cell.column] = Math.max(most[cell.column], cell.members.length);
  const across = most.map((number) => Math.max(1, Math.min(9, Math.ceil(Math.sqrt(number / 1.7)))));
  let x = 0;
  for (const column of columns) {
    if (!column.shown) continue;
    column.x = x;
    column.width = column.folded ? FOLDED + 2 * PAD : 2 * PAD + across[column.index] * (NODE.width + NODE.gapX) - NODE.gapX;
    x += column.width + CELL_GAP;
  }
  const lines = rowNames.map(() => 1);
  for (const cell of cells.values()) if (!columns[cell.column].folded) lines[cell.row] = Math.max(lines[cell.row], Math.ceil(cell.members.length / across[cell.column]));
  let y = 0;
  const used = new Set([...cells.values()].map((cell) => cell.row));
  const rows = rowNames.map((name, k) => {
    const folded = foldedRows.has(name);
    const row = { name, folded, shown: used.has(k), y, height: Math.max(LEAST, folded ? FOLDED : 2 * PAD + lines[k] * (NODE.height + NODE.gapY) - NODE.gapY) };
    if (row.shown) y += row.height + CELL_GAP;
    return row;
  });
  const xs = new Float64Array(count).fill(NaN), ys = new Float64Array(count).fill(NaN);
  const folded = [];
  for (const cell of cells.values()) {
    const column = columns[cell.column], row = rows[cell.row];
    cell.x = column.x; cell.y = row.y; cell.width = column.width; cell.height = row.height;
    if (column.folded || row.folded) { folded.push(cell); continue; }
    cell.members.forEach((v, k) => {
      xs[v] = column.x + PAD + (k % across[cell.column]) * (NODE.width + NODE.gapX);
      ys[v] = row.y + PAD + Math.floor(k / across[cell.column]) * (NODE.height + NODE.gapY);
    });
  }
  return { columns: columns.filter((column) => column.shown), rows: rows.filter((row) => row.shown), xs, ys, folded, cells: [...cells.values()], width: x - CELL_GAP, height: y - CELL_GAP, head: HEAD, side: SIDE };
}

export const titleOf = (column) => {
  const [step, phase] = column.split(" ");
  return phase ? { step: `step ${step}`, phase } : { step: "", phase: column };
};
