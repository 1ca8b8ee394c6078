"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const smoothing = document.getElementById("smoothing");
  const shown = document.getElementById("smoothing-value");
  const plots = [];
  const ON_PAPER = 320;  // pixels: two charts beside each other

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const faint = (hex) => hex + "33";

  // An exponential mean without the bias of its start; gaps stay gaps.
  function smooth(values, weight) {
    if (!weight) return values;
    let sum = 0, norm = 0;
    return values.map((value) => {
      if (value == null) return null;
      sum = weight * sum + (1 - weight) * value;
      norm = weight * norm + (1 - weight);
      return sum / norm;
    });
  }

  function tables(chart, weight) {
    return chart.series.map((series) => {
      const columns = [series.steps, series.points || chart.exact ? series.values : smooth(series.values, weight)];
      if (series.low) columns.push(series.low, series.high);
      return columns;
    });
  }

  function number(value, digits = 4) {
    if (value == null) return "–";
    const size = Math.abs(value);
    if (size && (size < 1e-4 || size >= 1e5)) return value.toExponential(digits - 2);
    return size >= 100 && digits === 4 ? value.toFixed(0) : Number(value.toPrecision(digits)).toString();
  }

  // Ticks that lie close together have as many digits as tell them apart.
  function marks(ticks) {
    const known = ticks.filter((tick) => tick != null);
    const apart = (digits) => new Set(known.map((tick) => number(tick, digits))).size === known.length;
    let digits = 4;
    while (digits < 9 && !apart(digits)) digits += 1;
    return ticks.map((tick) => (tick == null ? "" : number(tick, digits).replace(/\.?0+e/, "e")));
  }

  // Runs beyond the eighth have a colour again, in strokes of their own; long dashes are figures on the validation data.
  const STROKES = [undefined, [10, 3, 2, 3], [2, 3]];
  const dash = (each) => (each.dashed ? [6, 4] : STROKES[Math.floor(each.colour / 8) % 3]);

  // A constant, up to the rounding of its mean, is drawn from 0 to a little beyond it (0 itself up to 1), not up to its double.
  const flat = (value) => [Math.min(0, 1.1 * value), value === 0 ? 1 : Math.max(0, 1.1 * value)];
  const upright = (_, low, high) => (low == null ? [null, null] : high - low <= 1e-9 * Math.abs(high) ? flat(high) : uPlot.rangeNum(low, high, 0.1, true));

  // Where no step is pointed at, the legend says what each curve ends with.
  const pointed = (plot, value, series, at) => (at == null ? plot.data[series].findLast((each) => each != null) : value);
  const figure = (...where) => number(pointed(...where));

  function options(chart, width) {
    const series = [{ label: "step", value: (...where) => pointed(...where)?.toLocaleString("en") ?? "–" }];
    const bands = [];
    chart.series.forEach((each, index) => {
      const stroke = colour("--c" + (each.colour % 8));
      series.push({
        label: each.label, stroke, width: 1.75, spanGaps: true, dash: dash(each),
        points: { show: each.points || each.steps.length < 3, size: 6 }, value: figure,
      });
      if (each.low) {
        const at = series.length;
        for (const label of ["lowest", "highest"]) {
          series.push({ label: each.label + ", " + label, stroke: "transparent", width: 0, spanGaps: true, points: { show: false }, value: figure });
        }
        bands.push({ series: [at + 1, at], fill: faint(stroke) });
      }
    });
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 0.5 }, ticks: { stroke: colour("--line"), width: 0.5 } };
    return {
      width, height: 260, series, bands,
      scales: { x: { time: false }, y: chart.log ? { distr: 3 } : { range: upright } },
      axes: [
        { ...axis, label: "step", labelSize: 22, labelFont: "12px system-ui, sans-serif", values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? tick.toLocaleString("en") : "")) },
        { ...axis, size: 72, values: (_, ticks) => marks(ticks) },
      ],
      cursor: { points: { size: 7 } },
      legend: { markers: { dash: (plot, index) => (plot.series[index].dash ? "dashed" : "solid") } },
    };
  }

  // Of many curves the legend names the curves alone, and not what they lie between.
  function hideBounds(plot, place) {
    const rows = place.querySelectorAll(".u-legend .u-series");
    plot.series.forEach((series, index) => { if (index && !series.width) rows[index].classList.add("u-bound"); });
  }

  function draw(width) {
    const weight = smoothing ? Number(smoothing.value) : 0;
    if (shown) shown.textContent = weight ? weight.toFixed(2) : "off";
    plots.splice(0).forEach((plot) => plot.destroy());
    charts.forEach((chart, index) => {
      const place = document.getElementById("plot-" + index);
      const data = uPlot.join(tables(chart, weight), chart.series.map((each) => Array(each.low ? 3 : 1).fill(1)));
      plots.push(new uPlot(options(chart, width || place.clientWidth), data, place));
      place.querySelectorAll("table.u-legend").forEach((legend) => legend.setAttribute("role", "presentation"));
      if (chart.series.length > 2) hideBounds(plots[index], place);
    });
  }

  let waiting = null;
  const again = () => { clearTimeout(waiting); waiting = setTimeout(() => draw(), 60); };
  if (smoothing) smoothing.addEventListener("input", again);
  window.addEventListener("resize", again);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((each) => { each.open = true; });
    draw(ON_PAPER);
  });
  window.addEventListener("afterprint", () => draw());
  draw();
})();
