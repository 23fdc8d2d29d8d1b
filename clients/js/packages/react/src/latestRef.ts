// What a component gave with its last render, for those who were told of it once.

import { useEffect, useRef, type RefObject } from "react";

/** Handlers may change with every render; nothing is subscribed anew for that. */
export function useLatestRef<T>(value: T): RefObject<T> {
  const ref = useRef(value);
  useEffect(() => {
    ref.current = value;
  });
  return ref;
}
