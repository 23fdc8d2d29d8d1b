// @pregon/client: follow channels of a pregón gateway.

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
