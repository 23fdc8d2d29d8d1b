// @pregon/client: follow channels of a pregón gateway.

export { openBare, type BareOptions, type BareSocket } from "./bare.js";
export type { Channel } from "./channel.js";
export { createClient, type Client } from "./client.js";
export { isTerminal } from "./codes.js";
export { PregonError } from "./error.js";
export type {
  ChannelOptions,
  ClientOptions,
  ConnectionOptions,
  EventMap,
  Gap,
  Member,
  PositionStorage,
  PregonEvent,
  Status,
  Subscribed,
  Token,
  WebSocketClass,
} from "./types.js";
