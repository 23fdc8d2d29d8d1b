// The report service: counts, and tells nobody that something has changed; that is what Redis and pregón are for.
//
//   DATABASE_URL=postgres://…/shop JWT_SECRET=… PORT=4000 node server.mjs
//
// What the counting means is in ../schema.sql; who may ask what is decided here, by the token that the gateway checks as well.

import { createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { buildSchema, graphql, GraphQLError } from "graphql";
import pg from "pg";

const { DATABASE_URL, JWT_SECRET, PORT = "4000" } = process.env;
if (!DATABASE_URL || !JWT_SECRET) throw new Error("set DATABASE_URL and JWT_SECRET");

const schema = buildSchema(readFileSync(new URL("schema.graphql", import.meta.url), "utf8"));
const database = new pg.Pool({ connectionString: DATABASE_URL, max: 4 });
// A server that restarts takes idle connections with it; the next query makes a new one.
database.on("error", (error) => console.error(`PostgreSQL: ${error.message}`));

/** The most that a query may be long. */
const LIMIT = 64 * 1024;

const root = {
  shop: () => ask("SELECT report_shop() AS report"),
  sellerReport(_, { claims }) {
    if (claims.role !== "SELLER" || !claims.seller_id) throw new GraphQLError("only sellers have a report of their own");
    return ask("SELECT report_seller($1) AS report", [Number(claims.seller_id)]);
  },
  adminReport(_, { claims }) {
    if (claims.role !== "ADMIN") throw new GraphQLError("only administrators may see this report");
    return ask("SELECT report_admin() AS report");
  },
};

async function ask(sql, values = []) {
  const { rows } = await database.query(sql, values);
  return rows[0].report;
}

/** The claims of a JWT (HS256) that is signed with our secret and has not ended. */
function claimsOf(header = "") {
  const [head, payload, signature = ""] = header.replace(/^Bearer /, "").split(".");
  const wanted = createHmac("sha256", JWT_SECRET).update(`${head}.${payload}`).digest();
  const given = Buffer.from(signature, "base64url");
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return undefined;
  if (read(head).alg !== "HS256") return undefined;
  const claims = read(payload);
  return claims.exp && claims.exp * 1000 < Date.now() ? undefined : claims;
}

const read = (part) => JSON.parse(Buffer.from(part, "base64url").toString());

async function answer(request) {
  const claims = claimsOf(request.headers.authorization);
  if (!claims) return [401, { errors: [{ message: "send a valid token: Authorization: Bearer …" }] }];
  let body = "";
  for await (const part of request) if ((body += part).length > LIMIT) return [413, { errors: [{ message: "too long" }] }];
  const { query, operationName, variables } = JSON.parse(body);
  const result = await graphql({ schema, source: query, operationName, variableValues: variables, rootValue: root, contextValue: { claims } });
  return [200, result];
}

// The page lies elsewhere; tokens travel in a header, never in a cookie, so that any origin may ask.
const CORS = { "Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "authorization, content-type" };

const server = createServer(async (request, response) => {
  if (request.method === "OPTIONS") return response.writeHead(204, CORS).end();
  if (request.method !== "POST") return response.writeHead(405, CORS).end();
  const [status, json] = await answer(request).catch(() => [400, { errors: [{ message: "this is not a GraphQL request" }] }]);
  response.writeHead(status, { ...CORS, "Content-Type": "application/json" }).end(JSON.stringify(json));
});
server.listen(Number(PORT), "127.0.0.1", () => console.log(`reports on http://127.0.0.1:${server.address().port}/graphql`));
