// A stock worker of BullMQ: node worker.mjs REDIS_URL QUEUE. Each job is a line {"on":"job","id","name","data"}.
import { Worker } from "bullmq";

const [url, queue] = process.argv.slice(2);
const { hostname, port, password } = new URL(url);
const connection = { host: hostname, port: Number(port), password: password || undefined, maxRetriesPerRequest: null };
const say = (line) => console.log(JSON.stringify(line));
const worker = new Worker(queue, async (job) => say({ on: "job", id: job.id, name: job.name, data: job.data }), { connection });
worker.on("ready", () => say({ on: "ready" }));
worker.on("error", (error) => console.error(error));
