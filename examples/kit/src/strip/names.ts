// How people call the parts that may be killed.

import type { Victim } from "../demo.js";
import { useText } from "../text.js";

const es: Record<Victim, string> = { postgres: "PostgreSQL", redis: "Redis", gateway: "la pasarela" };
const en: Record<Victim, string> = { postgres: "PostgreSQL", redis: "Redis", gateway: "gateway" };

export const useNames = () => useText({ es, en });
