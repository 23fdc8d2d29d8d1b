// The webhook of seed 004 as its plan writes it: express, each message normalised and processed in parallel, query after query
// through a pool, and the answer when all of it is done. Signatures are checked, so that both do the same work.
//   DATABASE_URL=… APP_SECRET=… PORT=… node seed-router.js
import { createHmac, timingSafeEqual } from "node:crypto";
import express from "express";
import pg from "pg";

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });
const secret = process.env.APP_SECRET;

await pool.query(`
  CREATE TABLE IF NOT EXISTS contactos (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, telefono text, nombre text);
  CREATE TABLE IF NOT EXISTS conversaciones (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, contacto_id bigint REFERENCES contactos,
    telefono text, ts_ultimo_mensaje timestamptz);
  CREATE TABLE IF NOT EXISTS mensajes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, conversacion_id bigint REFERENCES conversaciones,
    wamid text, mensaje text, remitente_tipo text, timestamp timestamptz);
  CREATE INDEX IF NOT EXISTS idx_conversaciones_telefono ON conversaciones (telefono);
  CREATE INDEX IF NOT EXISTS idx_conversaciones_contacto_id ON conversaciones (contacto_id);
  CREATE INDEX IF NOT EXISTS idx_conversaciones_ts_ultimo_mensaje ON conversaciones (ts_ultimo_mensaje DESC);
  CREATE INDEX IF NOT EXISTS idx_mensajes_conversacion_id ON mensajes (conversacion_id);
  CREATE INDEX IF NOT EXISTS idx_mensajes_timestamp ON mensajes (timestamp DESC);
  CREATE INDEX IF NOT EXISTS idx_mensajes_remitente_tipo ON mensajes (remitente_tipo);
  CREATE INDEX IF NOT EXISTS idx_contactos_telefono ON contactos (telefono);`);

async function processMessage({ from, name, wamid, text, at }) {
  let contact = (await pool.query("SELECT * FROM contactos WHERE telefono = $1 LIMIT 1", [from])).rows[0];
  contact ??= (await pool.query("INSERT INTO contactos (telefono, nombre) VALUES ($1, $2) RETURNING *", [from, name])).rows[0];
  let talk = (await pool.query("SELECT * FROM conversaciones WHERE contacto_id = $1 LIMIT 1", [contact.id])).rows[0];
  talk ??= (await pool.query("INSERT INTO conversaciones (contacto_id, telefono) VALUES ($1, $2) RETURNING *", [contact.id, from])).rows[0];
  await pool.query("SELECT * FROM mensajes WHERE conversacion_id = $1 ORDER BY timestamp DESC LIMIT 10", [talk.id]);
  await pool.query("INSERT INTO mensajes (conversacion_id, wamid, mensaje, remitente_tipo, timestamp) VALUES ($1, $2, $3, 'user', $4)",
    [talk.id, wamid, text, at]);
  await pool.query("UPDATE conversaciones SET ts_ultimo_mensaje = $2 WHERE id = $1", [talk.id, at]);
  return { success: true, conversationId: talk.id };
}

const app = express();
app.use(express.json({ limit: "4mb", verify: (request, _, body) => { request.raw = body; } }));
app.post("/webhook", async (request, response) => {
  const given = Buffer.from(request.get("x-hub-signature-256")?.slice(7) ?? "", "hex");
  const wanted = createHmac("sha256", secret).update(request.raw).digest();
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return response.sendStatus(401);
  const messages = request.body.entry.flatMap((entry) => entry.changes).flatMap(({ value }) =>
    (value.messages ?? []).map((message) => ({
      from: message.from, name: value.contacts?.[0]?.profile?.name, wamid: message.id,
      text: message.text?.body ?? message.image?.caption ?? null, at: new Date(Number(message.timestamp) * 1000),
    })));
  const results = await Promise.allSettled(messages.map(async (message) => {
    const began = Date.now();
    const result = await processMessage(message);
    console.log(JSON.stringify({ timestamp: new Date().toISOString(), event: "message_processed",
      conversationId: result.conversationId, duration: Date.now() - began, success: result.success }));
    return result;
  }));
  response.json({ success: true, processed: results.length });
});
app.listen(Number(process.env.PORT), "127.0.0.1", () => console.error("listening"));
