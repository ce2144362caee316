// Drive a page of a web bundle in headless Chromium: node --experimental-websocket browser.mjs URL [SHOT.png] [WIDTH]
// (Node 20 or later). Prints state, status line and classes as JSON when the page has come to rest; exit 1 if it failed.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [url, shot, width = "900"] = process.argv.slice(2);
const profile = mkdtempSync(join(tmpdir(), "kexport-chromium-"));
const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", `--user-data-dir=${profile}`,
  `--window-size=${width},760`];
const chromium = spawn(process.env.CHROMIUM ?? "chromium", [...flags, "about:blank"], { stdio: ["ignore", "ignore", "pipe"] });

const address = await new Promise((resolve, reject) => {
  let said = "";
  chromium.stderr.on("data", (text) => {
    said += text;
    const found = /DevTools listening on (ws:\S+)/.exec(said);
    if (found) resolve(found[1]);
  });
  chromium.on("error", reject);
  chromium.on("exit", () => reject(new Error(`chromium ended: ${said}`)));
});
const targets = await (await fetch(`http://${new URL(address).host}/json/list`)).json();
const socket = new WebSocket(targets.find((target) => target.type === "page").webSocketDebuggerUrl);
await new Promise((resolve) => socket.addEventListener("open", resolve));

let last = 0;
const waiting = new Map(), problems = [];
socket.addEventListener("message", ({ data }) => {
  const message = JSON.parse(data);
  if (message.id) waiting.get(message.id)(message.result);
  if (message.method === "Runtime.exceptionThrown") problems.push(message.params.exceptionDetails.exception?.description);
});
const call = (method, params = {}) => new Promise((resolve) => {
  waiting.set(++last, resolve);
  socket.send(JSON.stringify({ id: last, method, params }));
});
const evaluate = async (code) => (await call("Runtime.evaluate", { expression: code, returnByValue: true })).result.value;

await call("Runtime.enable");
await call("Page.enable");
await call("Page.navigate", { url });
const QUERY = `(() => { const s = document.getElementById("status"); return s && {
  state: s.dataset.state, status: s.textContent, isolated: self.crossOriginIsolated,
  classes: [...document.querySelectorAll("#classes li")].map((line) => [...line.children].map((part) => part.textContent)) }; })()`;
const wanted = new URL(url).searchParams.has("image") ? ["done"] : new URL(url).searchParams.has("self-test") ? ["passed"] : ["ready"];
let found;
for (let tries = 0; tries < 600; tries++) {
  found = await evaluate(QUERY);
  if (found && ["failed", ...wanted].includes(found.state)) break;
  await new Promise((resolve) => setTimeout(resolve, 100));
}
if (shot) writeFileSync(shot, Buffer.from((await call("Page.captureScreenshot")).data, "base64"));
await new Promise((resolve) => process.stdout.write(JSON.stringify({ ...found, problems }) + "\n", resolve));
chromium.removeAllListeners("exit");
const ended = new Promise((resolve) => chromium.once("exit", resolve));
socket.send(JSON.stringify({ id: ++last, method: "Browser.close" }));
await ended;
rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
process.exit(found && wanted.includes(found.state) && !problems.length ? 0 : 1);
