// uPlot as a component: made once, given new numbers, drawn again when theme or width change.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { language } from "./i18n";
import { useSignal } from "./state";
import { theme } from "./theme";

export interface Series {
  label: string;
  /** Name of the CSS variable with its colour. */
  color: string;
}

interface Props {
  /** What it shows, in words with numbers, for those who do not see it. */
  label: string;
  series: Series[];
  data: uPlot.AlignedData;
  format: (value: number) => string;
  /** Bars with these labels under them, instead of lines over time. */
  categories?: string[];
  height?: number;
}

const variable = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function options({ series, format, categories, height = 180 }: Props, width: number): uPlot.Options {
  const ink = variable("--muted");
  const grid = { stroke: variable("--line"), width: 1 };
  const axis = { stroke: ink, grid, ticks: { show: false }, font: "12px system-ui" };
  const bars = uPlot.paths.bars!({ size: [0.8, 60] });
  return {
    width,
    height,
    padding: [10, 12, 0, 0],
    legend: { show: false },
    cursor: { show: false },
    scales: {
      x: { time: !categories, ...(categories ? { range: [-0.5, categories.length - 0.5] as [number, number] } : {}) },
      y: { range: (_, __, max) => [0, Math.max(max * 1.1, 1)] },
    },
    axes: [
      categories
        ? {
            ...axis,
            grid: { show: false },
            splits: () => categories.map((_, at) => at),
            values: () => categories,
            rotate: width < 520 ? -60 : 0,
            size: width < 520 ? 56 : 30,
          }
        : {
            ...axis,
            space: 90,
            size: 30,
            values: (_, at) => at.map((s) => new Date(s * 1000).toLocaleTimeString(language.get(), { hour12: false })),
          },
      { ...axis, size: 62, values: (_, at) => at.map(format) },
    ],
    series: [
      {},
      ...series.map(({ label, color }) => ({
        label,
        stroke: variable(color),
        fill: `${variable(color)}${categories ? "cc" : "22"}`,
        width: categories ? 0 : 2,
        points: { show: false },
        ...(categories ? { paths: bars } : {}),
      })),
    ],
  };
}

export function Chart(props: Props) {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const look = useSignal(theme);
  const spoken = useSignal(language);
  const kind = props.categories?.join() ?? "time";
  useEffect(() => {
    const inside = place.current!;
    const made = new uPlot(options(props, inside.clientWidth), props.data, inside);
    chart.current = made;
    const watch = new ResizeObserver(() => made.setSize({ width: inside.clientWidth, height: props.height ?? 180 }));
    watch.observe(inside);
    return () => {
      watch.disconnect();
      made.destroy();
      chart.current = null;
    };
  }, [look, spoken, kind]);
  useEffect(() => chart.current?.setData(props.data), [props.data]);
  return (
    <figure class="chart">
      <div ref={place} role="img" aria-label={props.label} />
      {props.series.length > 1 && (
        <figcaption>
          {props.series.map(({ label, color }) => (
            <span key={label}>
              <i class={`dot ${color.slice(2)}`} aria-hidden="true" /> {label}
            </span>
          ))}
        </figcaption>
      )}
    </figure>
  );
}
