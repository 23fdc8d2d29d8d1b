// A list that stays at its end while it grows, and stays where it is for who has scrolled up.

import { useLayoutEffect, useRef, useState } from "react";

/** So near the end, in pixels, counts as at the end. */
const NEAR = 48;

export function useStickToEnd(length: number) {
  const list = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const seen = useRef(length);
  const [missed, setMissed] = useState(0);

  const toEnd = () => {
    const element = list.current;
    if (element) element.scrollTop = element.scrollHeight;
    atEnd.current = true;
    seen.current = length;
    setMissed(0);
  };
  const onScroll = () => {
    const element = list.current;
    if (!element) return;
    atEnd.current = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR;
    if (atEnd.current) {
      seen.current = length;
      setMissed(0);
    }
  };
  // Before the browser paints, so that nothing jumps.
  useLayoutEffect(() => {
    if (atEnd.current) toEnd();
    else setMissed(length - seen.current);
  }, [length]);

  return { list, missed, onScroll, toEnd };
}
