// What an event made old is fetched anew, by the real TanStack Query and the real Apollo Client.

import { ApolloClient, ApolloLink, gql, InMemoryCache, RefetchEventManager } from "@apollo/client";
import { ApolloProvider, useQuery as useApollo } from "@apollo/client/react";
import { createClient } from "@pregon/client";
import { apolloRefetch, apolloRefetchSource, PregonProvider, useInvalidate, type Keys } from "@pregon/react";
import { QueryClient, QueryClientProvider, useQuery, useQueryClient } from "@tanstack/react-query";

import { Observable } from "rxjs";
import { expect, onTestFinished, test, vi } from "vitest";
import { Gateway } from "../support/gateway";
import { render } from "./render";

const OPEN = `[log]\nkind = "memory"\n\n[[channel]]\nname = "shop"\n`;
const patiently = { timeout: 10_000, interval: 20 };

async function shop() {
  const gateway = await Gateway.start(OPEN);
  const me = createClient({ url: gateway.url, storage: null, backoff: { min: 20, max: 100 } });
  onTestFinished(() => me.close());
  return { gateway, me };
}

/** Queries that count how often each was fetched. */
class Counts {
  readonly counts: Record<string, number> = {};
  fetch = (name: string) => (this.counts[name] = (this.counts[name] ?? 0) + 1);
}

test("TanStack Query fetches what the event names: a burst once, others not, and all after a gap", async () => {
  const { gateway, me } = await shop();
  const backend = new Counts();
  const keys: Keys = { "order.*": [["orders"]], "order.changed": (data) => [["order", data.id]] };
  const Query = ({ name }: { name: unknown[] }) => (
    useQuery({ queryKey: name, queryFn: async () => backend.fetch(name.join()) }),
    null
  );
  const Shop = () => {
    useInvalidate(useQueryClient(), "shop", keys, { wait: 300 });
    return (
      <>
        {[["orders"], ["order", 1], ["order", 2], ["members"]].map((name) => (
          <Query key={name.join()} name={name} />
        ))}
      </>
    );
  };
  const queries = new QueryClient({ defaultOptions: { queries: { staleTime: Infinity } } });
  render(
    <QueryClientProvider client={queries}>
      <PregonProvider client={me}>
        <Shop />
      </PregonProvider>
    </QueryClientProvider>,
  );
  await me.channel("shop").ready();
  await vi.waitFor(() => expect(backend.counts).toEqual({ orders: 1, "order,1": 1, "order,2": 1, members: 1 }), patiently);
  await gateway.publishAll(Array.from({ length: 20 }, () => ({ channel: "shop", event: "order.changed", data: { id: 2 } })));
  await vi.waitFor(() => expect(backend.counts).toEqual({ orders: 2, "order,1": 1, "order,2": 2, members: 1 }), patiently);
  await gateway.kill();
  await gateway.run();
  await vi.waitFor(() => expect(backend.counts).toMatchObject({ "order,1": 2, members: 2 }), patiently);
});

function apollo(backend: Counts, manager?: RefetchEventManager) {
  const link = new ApolloLink(
    (operation) =>
      new Observable((observer) => {
        const name = operation.operationName!;
        observer.next({ data: { [name]: backend.fetch(name) } });
        observer.complete();
      }),
  );
  return new ApolloClient({ cache: new InMemoryCache(), link, ...(manager && { refetchEventManager: manager }) });
}

const ORDERS = gql`
  query orders {
    orders
  }
`;
const MEMBERS = gql`
  query members {
    members
  }
`;

test("Apollo refetches queries by their names, and those on the page after a gap", async () => {
  const { gateway, me } = await shop();
  const backend = new Counts();
  const client = apollo(backend);
  const Page = () => (
    <p>
      {JSON.stringify(useApollo(ORDERS).data)}
      {JSON.stringify(useApollo(MEMBERS).data)}
    </p>
  );
  const page = render(
    <ApolloProvider client={client}>
      <Page />
    </ApolloProvider>,
  );
  await vi.waitFor(() => expect(page.text()).toBe('{"orders":1}{"members":1}'), patiently);
  onTestFinished(apolloRefetch(client, me.channel("shop"), { "order.*": ["orders"] }, 20));
  await me.channel("shop").ready();
  await gateway.publish("shop", "order.created", { id: 1 });
  await gateway.publish("shop", "member.created", { id: 1 });
  await vi.waitFor(() => expect(page.text()).toBe('{"orders":2}{"members":1}'), patiently);
  await gateway.kill();
  await gateway.run();
  await vi.waitFor(() => expect(page.text()).toBe('{"orders":3}{"members":2}'), patiently);
});

test("a source of Apollo's refetch manager refetches the queries that want it", async () => {
  const { gateway, me } = await shop();
  const backend = new Counts();
  const manager = new RefetchEventManager({ sources: { shop: apolloRefetchSource(me.channel("shop"), ["order.*"]) } as any });
  const client = apollo(backend, manager);
  const Page = () => {
    const orders = useApollo(ORDERS, { refetchOn: { shop: true } as any });
    const members = useApollo(MEMBERS, { refetchOn: { shop: false } as any });
    return (
      <p>
        {JSON.stringify(orders.data)}
        {JSON.stringify(members.data)}
      </p>
    );
  };
  const page = render(
    <ApolloProvider client={client}>
      <Page />
    </ApolloProvider>,
  );
  await vi.waitFor(() => expect(page.text()).toBe('{"orders":1}{"members":1}'), patiently);
  await me.channel("shop").ready();
  await gateway.publish("shop", "order.created", { id: 1 });
  await vi.waitFor(() => expect(page.text()).toBe('{"orders":2}{"members":1}'), patiently);
  manager.disconnect();
});
