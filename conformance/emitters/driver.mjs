// What the drivers of both emitters obey, over JSON lines (lib/lines.mjs):
//   {"do":"emit","namespace":"/","to":["room"],"except":["x"],"event":"hello","args":[],"volatile":false}
//   {"do":"join"|"leave","namespace":"/","to":["room"],"except":[],"rooms":["other"]}
//   {"do":"disconnect","namespace":"/","to":["room"],"except":[],"close":true}
//   {"do":"server_side","namespace":"/","args":["event",1]}
// Each is answered with {"on":"done"} when the broker has taken it. Options in "to" and "except" may be left out.
import { decode, obey, say } from "../lib/lines.mjs";

// `emitter` is the official one; `taken` resolves when all that it has been told is with the broker.
export function drive(emitter, taken) {
  // `of` forgets the options of the Postgres emitter, so the root is not asked for.
  const of = (namespace = "/") => (namespace === "/" ? emitter : emitter.of(namespace));
  const target = ({ namespace, to = [], except = [], volatile = false }) => {
    let way = of(namespace);
    if (to.length) way = way.to(to);
    if (except.length) way = way.except(except);
    return volatile ? way.volatile : way;
  };
  const acknowledged = (act) => async (command) => {
    act(command);
    await taken();
    say({ on: "done" });
  };
  return obey({
    emit: acknowledged((command) => target(command).emit(command.event, ...decode(command.args ?? []))),
    join: acknowledged((command) => target(command).socketsJoin(command.rooms)),
    leave: acknowledged((command) => target(command).socketsLeave(command.rooms)),
    disconnect: acknowledged((command) => target(command).disconnectSockets(command.close ?? false)),
    server_side: acknowledged(({ namespace, args }) => of(namespace).serverSideEmit(...decode(args))),
  });
}
