// The WebSocket of npm's ws as a page uses it: it knows no position, and connects again when its socket closes. Steered by JSON lines
// (lib/lines.mjs):
//   {"do":"connect","url":"ws://…"}     {"do":"say","data":…}
// Lines: {"on":"open"|"close"|"message", "data"?:…}
import WebSocket from "ws";
import { obey, say } from "../lib/lines.mjs";

let socket;

function connect(url) {
  socket = new WebSocket(url);
  socket.onopen = () => say({ on: "open" });
  socket.onmessage = (event) => say({ on: "message", data: JSON.parse(event.data) });
  // A close follows.
  socket.onerror = () => {};
  socket.onclose = () => {
    say({ on: "close" });
    setTimeout(connect, 50, url);
  };
}

obey({
  connect({ url }) {
    connect(url);
  },
  say({ data }) {
    socket.send(JSON.stringify(data));
  },
});
