// What the pages of the examples share.

export { demo, type Facts, type RouteFact, type Victim } from "./demo.js";
export { deed } from "./deed.js";
export { clock, count, money, timeAgo } from "./format.js";
export { Light } from "./Light.js";
export { Avatar } from "./Avatar.js";
export { Shell } from "./Shell.js";
export { Sparkline } from "./Sparkline.js";
export { start } from "./start.js";
export { KillButtons } from "./strip/KillButtons.js";
export { Strip } from "./strip/Strip.js";
export { useStrip } from "./strip/useStrip.js";
export type { Arrival, Line, Statement, StripStore } from "./strip/store.js";
export { useLanguage, useText, type Language } from "./text.js";
export { useTheme, type Theme } from "./theme.js";
