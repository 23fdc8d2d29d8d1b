// The report service, asked with the viewer's own token.

import { ApolloClient, HttpLink, InMemoryCache } from "@apollo/client";
import type { Facts } from "@pregon/example-kit";

/** In the demo its own page server; else where the address of the page says, or the build. */
function address(facts: Facts): string {
  const given = new URLSearchParams(location.search).get("report");
  if (given) return given;
  if (facts.live) return "/demo/marketplace/graphql";
  // @ts-expect-error Vite puts the value here, and looks for exactly these words.
  return import.meta.env.VITE_REPORT_SERVICE_URL ?? "http://localhost:4000/graphql";
}

export function reportsFor(facts: Facts, token: string): ApolloClient {
  const link = new HttpLink({ uri: address(facts), headers: { authorization: `Bearer ${token}` } });
  // A sale has no id of its own: its name is what it is known by.
  return new ApolloClient({ link, cache: new InMemoryCache({ typePolicies: { Sales: { keyFields: false } } }) });
}
