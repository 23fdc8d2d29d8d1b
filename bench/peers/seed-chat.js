// How the chat inbox of seed 000 is built today: triggers say NOTIFY with an id, this process LISTENs, reads the row,
// decrypts the text and emits it to the rooms of Socket.IO.
//   DATABASE_URL=… [MESSAGE_KEY=64 hex digits] node seed-chat.js
// Tables and triggers are made where they are missing. A client is in the room of the conversation that it names in
// `auth` or the query, 1 otherwise. POST /api/publish inserts `data` as JSON text into that conversation; a benchmark
// may as well insert by itself.
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import pg from "pg";
import { Server } from "socket.io";
import { body } from "./body.js";

const SETUP = `
  CREATE TABLE IF NOT EXISTS conversations (id bigint PRIMARY KEY, user_id bigint NOT NULL);
  CREATE TABLE IF NOT EXISTS messages (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, conversation_id bigint NOT NULL,
    bot_id bigint, sender text, message text, created_at timestamptz DEFAULT now());
  INSERT INTO conversations VALUES (1, 1) ON CONFLICT DO NOTHING;
  CREATE OR REPLACE FUNCTION notify_new_message() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_notify('new_message', json_build_object('message_id', NEW.id)::text); RETURN NEW; END $$;
  CREATE OR REPLACE TRIGGER trigger_notify_new_message AFTER INSERT ON messages
    FOR EACH ROW EXECUTE FUNCTION notify_new_message();`;
const READ = `
  SELECT m.id, m.conversation_id, m.bot_id, m.sender, m.message, m.created_at, c.user_id
  FROM messages m JOIN conversations c ON c.id = m.conversation_id WHERE m.id = $1`;
const INSERT = "INSERT INTO messages (conversation_id, sender, message) VALUES ($1, 'user', $2)";

const key = process.env.MESSAGE_KEY ? Buffer.from(process.env.MESSAGE_KEY, "hex") : null;

function encrypt(text) {
  if (!key) return text;
  const iv = randomBytes(12);
  const cipher = createCipheriv("aes-256-gcm", key, iv);
  const data = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
  return [iv, cipher.getAuthTag(), data].map((part) => part.toString("hex")).join(":");
}

function decrypt(text) {
  const parts = key ? text.split(":") : [];
  if (parts.length !== 3) return text;
  const [iv, tag, data] = parts.map((part) => Buffer.from(part, "hex"));
  const decipher = createDecipheriv("aes-256-gcm", key, iv).setAuthTag(tag);
  return Buffer.concat([decipher.update(data), decipher.final()]).toString("utf8");
}

const connectionString = process.env.DATABASE_URL;
const pool = new pg.Pool({ connectionString });
const listener = new pg.Client({ connectionString });

async function deliver({ message_id: id }) {
  const { rows } = await pool.query(READ, [id]);
  if (!rows.length) return;
  const { user_id, ...message } = rows[0];
  message.message = decrypt(message.message);
  io.to(`conversation_${message.conversation_id}`).emit("message:new", message);
  io.to(`user_${user_id}`).emit("conversation:updated", {
    id: message.conversation_id,
    user_id,
    last_message: message.message,
    last_message_at: message.created_at,
  });
}

const server = createServer(async (request, response) => {
  const { data } = await body(request);
  await pool.query(INSERT, [1, encrypt(JSON.stringify(data))]);
  response.end("{}");
});
server.keepAliveTimeout = 0; // Publishers are idle while others have their turn.
// A server that is saturated for long must not cut clients whose answers it has not read.
const io = new Server(server, { cors: { origin: "*" }, pingTimeout: 300_000 });
io.on("connection", (socket) => {
  const { auth, query } = socket.handshake;
  const user = auth.user ?? query.user;
  if (user) socket.join(`user_${user}`);
  socket.join(`conversation_${auth.conversation ?? query.conversation ?? 1}`);
});

await listener.connect();
await listener.query(SETUP);
listener.on("notification", ({ payload }) => deliver(JSON.parse(payload)).catch((error) => console.error(error)));
await listener.query("LISTEN new_message");
server.listen(0, "127.0.0.1", 8192, () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
