// The Node peer of scripts/peers.py: answers / at once, and /sleep?ms=N after holding its process
// up for so long, as a handler that blocks does. PEER_MODE says what it is: rr or none, a cluster
// with that scheduling, or pm2, one worker of PM2's.
'use strict';

const cluster = require('node:cluster');
const http = require('node:http');

const body = process.env.PEER_BODY;
const cell = new Int32Array(new SharedArrayBuffer(4));

function answer(request, response) {
  if (request.url.startsWith('/sleep?ms=')) {
    Atomics.wait(cell, 0, 0, Number(request.url.slice('/sleep?ms='.length)));
  }
  response.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': body.length });
  response.end(body);
}

function serve() {
  const server = http.createServer(answer);
  server.keepAliveTimeout = 60_000;
  server.listen({ host: '127.0.0.1', port: Number(process.env.PEER_PORT), backlog: 4096 });
}

if (process.env.PEER_MODE !== 'pm2' && cluster.isPrimary) {
  cluster.schedulingPolicy = process.env.PEER_MODE === 'rr' ? cluster.SCHED_RR : cluster.SCHED_NONE;
  for (let worker = 0; worker < Number(process.env.PEER_WORKERS); worker += 1) cluster.fork();
  process.on('SIGTERM', () => {
    for (const worker of Object.values(cluster.workers)) worker.process.kill('SIGTERM');
    process.exit(0);
  });
} else {
  serve();
}
