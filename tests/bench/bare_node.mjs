// The least that a server on Node can be: every request gets the same small answer.
//
//   node bare_node.mjs PORT

import http from "node:http";

const ANSWER = '{"status":"ok","version":"0.0.0","authRequired":false}';

http
  .createServer((request, response) => {
    response.writeHead(200, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(ANSWER) });
    response.end(ANSWER);
  })
  .listen(Number(process.argv[2]), "127.0.0.1");
