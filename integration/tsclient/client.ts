// What a program does that was written against mesita's OpenAPI alone: every path, field
// and code below is checked by the compiler against what was generated of it.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./build/mesita.js";

type Schemas = components["schemas"];

const [address, token] = process.argv.slice(2);
assert.ok(address && token, "client.js URL TOKEN");
const mesita = createClient<paths>({ baseUrl: address, headers: { Authorization: `Bearer ${token}` } });

// must is the answer of a request that is to succeed.
async function must<T>(asked: Promise<{ data?: T; error?: Schemas["ErrorBody"] }>): Promise<T> {
  const { data, error } = await asked;
  if (data === undefined) {
    throw new Error(`refused: ${error?.error.code}: ${error?.error.message}`);
  }
  return data;
}

async function job(id: string, wait: "running" | "ended"): Promise<Schemas["Job"]> {
  return must(mesita.GET("/v1/jobs/{id}", { params: { path: { id }, query: { wait, timeout: "30s" } } }));
}

async function log(id: string): Promise<string> {
  const asked = mesita.GET("/v1/tasks/{id}/logs", { params: { path: { id } }, headers: { Accept: "application/octet-stream" }, parseAs: "text" });
  return must(asked) as Promise<string>;
}

const nodes = await must(mesita.GET("/v1/nodes"));
assert.equal(nodes.items.length, 1);
assert.equal(nodes.items[0]?.state, "ready");

const once: Schemas["JobSpecInput"] = { kind: "batch", command: ["sh", "-c", "echo hello from $MESITA_TASK_ID"] };
const made = await must(mesita.POST("/v1/jobs", { body: once }));
assert.ok("id" in made, "a plan, though no dry run was asked for");
const ended = await job(made.id, "ended");
assert.equal(ended.state, "finished");
assert.equal(await log(`${made.id}.0`), `hello from ${made.id}.0\n`);

const web: Schemas["JobSpecInput"] = { name: "web", kind: "service", command: ["sleep", "1000"], mem: "16MiB", count: 2 };
await must(mesita.POST("/v1/jobs", { body: web }));
assert.equal((await job("web", "running")).counts.running, 2);

// It hears of the stop by the events that it watches.
const { data: watched } = await mesita.GET("/v1/events", {
  params: { query: { for: "web" } },
  headers: { Accept: "text/event-stream" },
  parseAs: "stream",
});
assert.ok(watched);
await must(mesita.POST("/v1/jobs/{id}/stop", { params: { path: { id: "web" } } }));
const words = new TextDecoder();
let heard = "";
for await (const part of watched as AsyncIterable<Uint8Array>) {
  heard += words.decode(part, { stream: true });
  if (heard.includes('"kind":"job.stopped"')) {
    break;
  }
}
assert.equal((await job("web", "ended")).state, "stopped");

const none = await mesita.GET("/v1/jobs/{id}", { params: { path: { id: "none" } } });
assert.equal(none.response.status, 404);
assert.equal(none.error?.error.code, "not_found");
const wrong = await mesita.POST("/v1/jobs", { body: { ...web, name: "web2", mem: "much" } });
assert.equal(wrong.error?.error.code, "invalid");
assert.equal(wrong.error?.error.field, "mem");

console.log("a generated client submits, waits, reads, watches, stops, and is told what is wrong");
