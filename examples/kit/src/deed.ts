// Lets something happen in the real database, Redis or webhook of the demo.

import type { Facts } from "./demo.js";

/** Does a deed of the example, such as a sale. The event comes back through the gateway, like everybody else's. */
export async function deed(facts: Facts, kind: string, body: unknown = {}): Promise<void> {
  const answer = await fetch(`/demo/${facts.name}/deed/${kind}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error((await answer.text()).trim() || `deed ${kind}: ${answer.status}`);
}
