// The unmodified centrifuge-js, steered by JSON lines (lib/lines.mjs):
//   {"do":"connect","url":"ws://…","token":"…","fresh":["…"]}     fresh: what getToken answers, one after the other
//   {"do":"subscribe","channel":"c","options":{}}   {"do":"unsubscribe","channel":"c"}
//   {"do":"publish","channel":"c","data":…}         {"do":"presence","channel":"c"}   {"do":"stats","channel":"c"}
//   {"do":"rpc","method":"m"}                       {"do":"history","channel":"c"}
//   {"do":"disconnect"}                             {"do":"drop"}   as a broken network does it
// Lines: {"on":"connected"|"connecting"|"disconnected"|"error"|"subscribed"|"subscribing"|"unsubscribed"|"publication"|"join"|
//   "leave"|"server_subscribed"|"server_publication"|"done"|"failed", …}
import { Centrifuge } from "centrifuge";
import WebSocket from "ws";
import { obey, say } from "../lib/lines.mjs";

let client;
const sockets = [];

// Remembers its sockets, so that one can be cut.
class Remembered extends WebSocket {
  constructor(...args) {
    super(...args);
    sockets.push(this);
  }
}

function watch(subscription) {
  for (const event of ["subscribed", "subscribing", "unsubscribed", "publication", "join", "leave", "error"]) {
    subscription.on(event, (context) => say({ on: event, ...plain(context) }));
  }
}

function plain(context) {
  return JSON.parse(JSON.stringify(context, (_, value) => (value instanceof Error ? value.message : value)));
}

function answer(promise) {
  promise.then(
    (result) => say({ on: "done", result: plain(result ?? null) }),
    (error) => say({ on: "failed", code: error.code, message: error.message, temporary: error.temporary ?? null }),
  );
}

obey({
  connect({ url, token, fresh = [], options = {} }) {
    const tokens = [...fresh];
    client = new Centrifuge(url, {
      websocket: Remembered,
      token,
      getToken: fresh.length ? async () => tokens.shift() ?? fresh.at(-1) : undefined,
      minReconnectDelay: 50,
      maxReconnectDelay: 200,
      ...options,
    });
    for (const event of ["connected", "connecting", "disconnected", "error"]) {
      client.on(event, (context) => say({ on: event, ...plain(context) }));
    }
    for (const event of ["subscribed", "publication", "unsubscribed"]) {
      client.on(event, (context) => say({ on: `server_${event}`, ...plain(context) }));
    }
    client.connect();
  },
  subscribe({ channel, options = {} }) {
    const subscription =
      client.getSubscription(channel) ?? client.newSubscription(channel, { minResubscribeDelay: 50, ...options });
    if (!subscription.watched) watch(subscription);
    subscription.watched = true;
    subscription.subscribe();
  },
  unsubscribe: ({ channel }) => client.getSubscription(channel).unsubscribe(),
  publish: ({ channel, data }) => answer(client.publish(channel, data)),
  presence: ({ channel }) => answer(client.presence(channel)),
  stats: ({ channel }) => answer(client.presenceStats(channel)),
  history: ({ channel }) => answer(client.history(channel, { limit: 10 })),
  rpc: ({ method }) => answer(client.rpc(method, {})),
  disconnect: () => client.disconnect(),
  drop: () => sockets.at(-1).terminate(),
});
