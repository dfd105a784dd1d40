// Builds the one bundle that the tab and the report share: `tox -e frontend`. With --check it fails if the committed one differs.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { readFile, readdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const target = fileURLToPath(new URL("../tpdyn/board/bundle.js", import.meta.url));

// What the bundle was made from stands in its first line: a test without Node.js compares it (tests/board/test_page.py).
const here = fileURLToPath(new URL(".", import.meta.url));
const files = (await readdir(`${here}src`, { recursive: true, withFileTypes: true }))
  .filter((each) => each.isFile())
  .map((each) => `${each.parentPath ?? each.path}/${each.name}`)
  .sort();
const hash = createHash("sha256");
for (const file of [...files, `${here}build.mjs`, `${here}package-lock.json`]) hash.update(await readFile(file));
const sources = hash.digest("hex");

const made = await build({
  entryPoints: [fileURLToPath(new URL("src/main.js", import.meta.url))],
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  charset: "utf8",
  loader: { ".css": "text" },
  legalComments: "none",
  banner: { js: "// Built from frontend/ by `tox -e frontend`: do not edit. Holds preact (MIT), htm (Apache-2.0), d3 and Observable Plot (ISC).\n// sources: " + sources },
  outfile: target,
  write: !process.argv.includes("--check"),
});
if (process.argv.includes("--check")) {
  const committed = await readFile(target, "utf8").catch(() => "");
  if (committed !== made.outputFiles[0].text) {
    console.error("tpdyn/board/bundle.js is not what frontend/ makes: run tox -e frontend and commit it");
    process.exit(1);
  }
}
