// A plain server of the wire contract, to measure against: one Node file that keeps memory as the reference server is
// described to do, and as one would write it in an afternoon. Nothing is durable, nothing is versioned: a file is
// overwritten where it lies, a lock is a file that is read and written at each request, all of it synchronously.
//
// With --durable it is the peer that keeps the promise of mneme: an answer of 200 to an upload, an acquire or a release
// is sent once the change would survive a power cut. A file is written beside its place, synced, renamed, and the
// directory synced. The rest is the same.
//
//   node plain_server.mjs PORT DIRECTORY [--durable]

import fs from "node:fs";
import http from "node:http";
import path from "node:path";

const [port, directory] = [Number(process.argv[2]), process.argv[3]];
const durable = process.argv.includes("--durable");
const NAMES = ["log.jsonl", "summary.json", "summary.md", "remembered.json", "entities.json"];
const TTL = 30 * 60 * 1000;
const MAX_BODY = 10 * 1024 * 1024;

function answer(response, status, body) {
  const text = JSON.stringify(body);
  response.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text) });
  response.end(text);
}

function syncDirectory(place) {
  const opened = fs.openSync(place, "r");
  try {
    fs.fsyncSync(opened);
  } finally {
    fs.closeSync(opened);
  }
}

function write(file, content) {
  if (!durable) return fs.writeFileSync(file, content, "utf8");
  const coming = `${file}.tmp`;
  const opened = fs.openSync(coming, "w", 0o600);
  try {
    fs.writeFileSync(opened, content, "utf8");
    fs.fsyncSync(opened);
  } finally {
    fs.closeSync(opened);
  }
  fs.renameSync(coming, file);
  syncDirectory(path.dirname(file));
}

function remove(file) {
  fs.unlinkSync(file);
  if (durable) syncDirectory(path.dirname(file));
}

function folder(id, make) {
  const place = path.join(directory, "projects", id.replace(/[^A-Za-z0-9_-]/g, "_"));
  if (make && !fs.existsSync(place)) {
    fs.mkdirSync(place, { recursive: true });
    // The directory of all projects may be new as well.
    if (durable) [path.dirname(place), directory].forEach(syncDirectory);
  }
  return place;
}

function lockOf(place) {
  const file = path.join(place, ".lock.json");
  if (!fs.existsSync(file)) return null;
  const lock = JSON.parse(fs.readFileSync(file, "utf8"));
  return new Date(lock.expiresAt) > new Date() ? lock : null;
}

function acquire(response, project, client) {
  const place = folder(project, true);
  const held = lockOf(place);
  if (held && held.clientId !== client) return answer(response, 409, { error: "Lock held by another client", lock: held });
  const now = Date.now();
  const lock = {
    clientId: client,
    acquiredAt: held ? held.acquiredAt : new Date(now).toISOString(),
    expiresAt: new Date(now + TTL).toISOString(),
  };
  write(path.join(place, ".lock.json"), JSON.stringify(lock, null, 2));
  answer(response, 200, { success: true, lock });
}

function release(response, project, client) {
  const place = folder(project);
  const held = lockOf(place);
  if (!held) return answer(response, 200, { success: true, message: "No lock to release" });
  if (held.clientId !== client) return answer(response, 403, { error: "Lock held by different client" });
  remove(path.join(place, ".lock.json"));
  answer(response, 200, { success: true });
}

function list(response, project) {
  const place = folder(project);
  const files = [];
  for (const name of NAMES) {
    const file = path.join(place, name);
    if (!fs.existsSync(file)) continue;
    const state = fs.statSync(file);
    files.push({ name, size: state.size, mtime: state.mtime.toISOString() });
  }
  answer(response, 200, { files });
}

function download(response, project, name) {
  if (!NAMES.includes(name)) return answer(response, 400, { error: "File not allowed for sync" });
  const file = path.join(folder(project), name);
  if (!fs.existsSync(file)) return answer(response, 404, { error: "File not found" });
  const content = fs.readFileSync(file, "utf8");
  answer(response, 200, { content, mtime: fs.statSync(file).mtime.toISOString() });
}

function upload(request, response, project, name, client) {
  if (!NAMES.includes(name)) return answer(response, 403, { error: "File not allowed for sync" });
  const chunks = [];
  let size = 0;
  request.on("data", (chunk) => {
    size += chunk.length;
    if (size > MAX_BODY) return request.destroy();
    chunks.push(chunk);
  });
  request.on("end", () => {
    const held = lockOf(folder(project));
    if (!held) return answer(response, 403, { error: "No lock held - acquire lock before writing" });
    if (held.clientId !== client) return answer(response, 403, { error: "Lock held by different client" });
    let content;
    try {
      content = JSON.parse(Buffer.concat(chunks).toString("utf8")).content;
    } catch {
      return answer(response, 400, { error: "Invalid JSON" });
    }
    const file = path.join(folder(project, true), name);
    write(file, content);
    answer(response, 200, { success: true, mtime: fs.statSync(file).mtime.toISOString() });
  });
}

function route(request, response) {
  const { pathname } = new URL(request.url, "http://localhost");
  const { method } = request;
  if (pathname === "/" || pathname === "/health")
    return answer(response, 200, { status: "ok", version: "0.0.0", authRequired: false });
  const [, projects, rawProject, kind, name, ...rest] = pathname.split("/");
  if (projects !== "projects" || !rawProject || rest.length) return answer(response, 404, { error: "Not found" });
  const project = decodeURIComponent(rawProject);
  const client = request.headers["x-client-id"];
  if (method !== "GET" && !client) return answer(response, 400, { error: "X-Client-Id header required" });
  if (kind === "lock" && !name) {
    const held = method === "GET" && lockOf(folder(project));
    if (method === "GET") return answer(response, 200, { locked: held !== null, lock: held });
    if (method === "POST") return acquire(response, project, client);
    if (method === "DELETE") return release(response, project, client);
  }
  if (kind === "files" && !name && method === "GET") return list(response, project);
  if (kind === "files" && name && method === "GET") return download(response, project, name);
  if (kind === "files" && name && method === "PUT") return upload(request, response, project, name, client);
  answer(response, 404, { error: "Not found" });
}

http
  .createServer((request, response) => {
    try {
      route(request, response);
    } catch (error) {
      answer(response, 500, { error: String(error) });
    }
  })
  .listen(port, "127.0.0.1");
