// npm install runs this: the files that the page needs go from node_modules into runtime/.

import { cpSync, mkdirSync, readFileSync } from "node:fs";
import { dirname } from "node:path";

for (const [from, to] of Object.entries(JSON.parse(readFileSync("runtime.json", "utf8")).files)) {
  mkdirSync(dirname(`runtime/${to}`), { recursive: true });
  cpSync(`node_modules/${from}`, `runtime/${to}`);
}
