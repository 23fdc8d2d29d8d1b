// What the two apps with conversations share: Socket.IO, and lists that grow.

export * from "./Composer.js";
export * from "./follow.js";
export * from "./socket.js";
export * from "./useStickToEnd.js";
