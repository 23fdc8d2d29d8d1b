"use client";
// @pregon/react: hooks for what a pregón gateway brings.

export { apolloRefetch, apolloRefetchSource, type Apollo } from "./apollo.js";
export { PregonProvider, usePregon } from "./context.js";
export { useChannel, useEvent, type Handlers } from "./useChannel.js";
export { useInvalidate, type Keys, type Queries, type QueryKey } from "./useInvalidate.js";
export { useLatest } from "./useLatest.js";
export { useStatus } from "./useStatus.js";
export { useWebSocket, type StatsEvent, type WebSocketOptions } from "./useWebSocket.js";
