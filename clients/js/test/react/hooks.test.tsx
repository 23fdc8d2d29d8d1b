// The hooks in strict mode against the real gateway.

import { createClient, type Client, type ClientOptions } from "@pregon/client";
import { PregonProvider, useChannel, useEvent, useLatest, useStatus } from "@pregon/react";
import React, { useState } from "react";
import { renderToString } from "react-dom/server";
import { beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { Gateway } from "../support/gateway";
import { render } from "./render";
import { Noted } from "./socket";

const OPEN = `
[[channel]]
name = "news"

[[channel]]
name = "room_{id}"
publish = "true"
`;
const patiently = { timeout: 10_000, interval: 20 };

beforeEach(() => {
  Noted.sockets = [];
});

function client(gateway: Gateway, options: ClientOptions = {}): Client {
  const made = createClient({ url: gateway.url, WebSocket: Noted, ...options });
  onTestFinished(() => made.close());
  return made;
}

test("it is the React that is meant", () => {
  expect(React.version.split(".")[0]).toBe(process.env.REACT);
});

test("many components are one subscription, and all hear", async () => {
  const gateway = await Gateway.start(OPEN);
  const heard: string[] = [];
  const Item = ({ name }: { name: string }) => {
    useEvent("news", "n", (data) => heard.push(`${name}${data}`));
    return null;
  };
  const names = ["a", "b", "c"];
  const me = client(gateway);
  const page = render(
    <PregonProvider client={me}>
      {names.map((name) => (
        <Item key={name} name={name} />
      ))}
    </PregonProvider>,
  );
  await vi.waitFor(() => expect(Noted.said("subscribe")).toHaveLength(1), patiently);
  await me.channel("news").ready();
  await gateway.publish("news", "n", 1);
  await vi.waitFor(() => expect(heard.sort()).toEqual(["a1", "b1", "c1"]), patiently);
  expect([Noted.sockets.length, Noted.said("subscribe").length, Noted.said("unsubscribe").length]).toEqual([1, 1, 0]);
  me.channel("news").leave();
  page.remove();
});

test("a channel is left with its last component", async () => {
  const gateway = await Gateway.start(OPEN);
  const Item = () => (useEvent("news", "n", () => {}), null);
  const me = client(gateway);
  const page = render(
    <PregonProvider client={me}>
      <Item />
      <Item />
    </PregonProvider>,
  );
  await vi.waitFor(() => expect(me.status).toBe("connected"), patiently);
  page.show(
    <PregonProvider client={me}>
      <Item />
    </PregonProvider>,
  );
  page.show(<PregonProvider client={me}>{null}</PregonProvider>);
  await vi.waitFor(() => expect(Noted.said("unsubscribe")).toMatchObject([{ channel: "news" }]), patiently);
  expect(Noted.said("subscribe")).toHaveLength(1);
});

test("a handler sees the component's last state, and another channel is followed when the name changes", async () => {
  const gateway = await Gateway.start(OPEN);
  const heard: unknown[] = [];
  let open: (room: string | null) => void = () => {};
  const Room = () => {
    const [room, setRoom] = useState<string | null>(null);
    open = setRoom;
    const channel = useChannel(room && `room_${room}`, { message: (text) => heard.push([room, text]) });
    return <p>{channel?.name ?? "none"}</p>;
  };
  const me = client(gateway);
  const page = render(
    <PregonProvider client={me}>
      <Room />
    </PregonProvider>,
  );
  await vi.waitFor(() => expect(page.text()).toBe("none"), patiently);
  expect(Noted.sockets).toHaveLength(0);
  for (const room of ["1", "2"]) {
    open(room);
    await vi.waitFor(() => expect(Noted.said("subscribe").at(-1)?.channel).toBe(`room_${room}`), patiently);
    await me.channel(`room_${room}`).publish("message", "hola");
    await vi.waitFor(() => expect(heard).toContainEqual([room, "hola"]), patiently);
  }
  expect(heard).toHaveLength(2);
  await vi.waitFor(() => expect(Noted.said("unsubscribe")).toMatchObject([{ channel: "room_1" }]), patiently);
});

test("the latest data and the status are shown, in every component the same", async () => {
  const gateway = await Gateway.start(OPEN);
  const Total = () => <b>{useLatest("news", "total", 0)};</b>;
  const Light = () => <i>{useStatus()}</i>;
  const me = client(gateway);
  const page = render(
    <PregonProvider client={me}>
      <Total />
      <Total />
      <Light />
    </PregonProvider>,
  );
  await vi.waitFor(() => expect(page.text()).toBe("0;0;connected"), patiently);
  await me.channel("news").ready();
  await gateway.publish("news", "total", 41);
  await gateway.publish("news", "total", 42);
  await vi.waitFor(() => expect(page.text()).toBe("42;42;connected"), patiently);
  // Who comes later sees what the others see.
  page.show(
    <PregonProvider client={me}>
      <Total />
      <Total />
      <Light />
      <Total />
    </PregonProvider>,
  );
  await vi.waitFor(() => expect(page.text()).toBe("42;42;connected42;"), patiently);
  me.close();
  await vi.waitFor(() => expect(page.text()).toContain("closed"), patiently);
});

test("on a server the page is made without a connection", () => {
  class Never {
    constructor() {
      throw new Error("connected");
    }
  }
  const me = createClient({ url: "http://127.0.0.1:9", WebSocket: Never as any, storage: null });
  const Item = () => {
    useChannel("news", { n: () => {} });
    return (
      <p>
        {useStatus()} {useLatest("news", "total", 7)}
      </p>
    );
  };
  const html = renderToString(
    <PregonProvider client={me}>
      <Item />
    </PregonProvider>,
  );
  expect(html.replace(/<!-- -->/g, "")).toBe("<p>idle 7</p>");
  expect(me.status).toBe("idle");
});

test("without a provider the error says what is missing", () => {
  const Item = () => <p>{useStatus()}</p>;
  expect(() => renderToString(<Item />)).toThrow(/PregonProvider/);
});
