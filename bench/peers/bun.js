// bun's own server (uWebSockets) as a hub: what POST /api/publish or a message of a socket brings is published to the topic of every socket.
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  async fetch(request, server) {
    if (request.method === "POST") {
      const { data } = await request.json();
      server.publish("bench", JSON.stringify(data));
      return new Response("{}");
    }
    return server.upgrade(request) ? undefined : new Response("not found", { status: 404 });
  },
  websocket: {
    open: (socket) => socket.subscribe("bench"),
    message(_socket, text) {
      const { data } = JSON.parse(text);
      server.publish("bench", JSON.stringify(data));
    },
    backpressureLimit: 16 * 1024 * 1024,
    idleTimeout: 0,
    perMessageDeflate: false,
  },
});
console.log(`listening on http://127.0.0.1:${server.port}`);
