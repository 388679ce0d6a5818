// Curves over optimizer steps with uPlot: every point is drawn, so no spike is hidden.
import { figure, h, whole } from "/static/js/core.js";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** `curves`: [{label, values, color, width, points, dash, read: what the legend reads instead of values, silent: not in it}], drawn over `steps` in `box`, with a legend of its own. */
export class Chart {
  #plot;
  #box;
  #legend;
  #said = h("p", { className: "hidden", role: "status" }); // what the arrow keys read
  #zoomed = false;
  #shape = "";
  log = false;
  onZoom = () => {};

  constructor(box, legend) {
    this.#box = box;
    this.#legend = legend;
    legend.after(this.#said);
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(box);
    box.addEventListener("keydown", (event) => this.#key(event));
  }

  #size() {
    return { width: Math.max(200, this.#box.clientWidth), height: Math.max(200, this.#box.clientHeight) };
  }

  draw(steps, curves, broken = []) {
    this.steps = steps;
    this.curves = curves;
    this.broken = broken;
    const data = [
      steps,
      ...curves.map((curve) => (this.log ? curve.values.map((value) => (value > 0 ? value : null)) : curve.values)),
    ];
    const shape = JSON.stringify([
      this.log,
      document.documentElement.dataset.theme,
      curves.map(({ label, color, points }) => [label, color, points]),
    ]);
    if (shape !== this.#shape) {
      this.#plot?.destroy();
      this.#shape = shape;
      this.#zoomed = false;
      this.onZoom(false);
      this.#plot = new uPlot(this.#options(curves), data, this.#box);
    } else this.#plot.setData(data, !this.#zoomed);
    if (this.#zoomed) this.#plot.redraw();
    this.#tell(this.#plot.cursor.idx);
  }

  clear() {
    this.#plot?.destroy();
    this.#plot = null;
    this.#shape = "";
    this.#legend.replaceChildren();
  }

  showAll() {
    this.#zoomed = false;
    this.onZoom(false);
    this.#plot?.setData(this.#plot.data, true);
  }

  #options(curves) {
    const axis = {
      stroke: css("--muted"),
      font: "12px Inter, sans-serif",
      grid: { stroke: css("--grid"), width: 1 },
      ticks: { show: false },
    };
    return {
      ...this.#size(),
      legend: { show: false },
      padding: [10, 14, 0, 0],
      cursor: {
        y: false,
        drag: { x: true, y: false, uni: 20 },
        points: { size: 7 },
        bind: { dblclick: () => () => this.showAll() },
      },
      scales: {
        x: { time: false },
        y: { distr: this.log ? 3 : 1, range: this.log ? undefined : (_, low, high) => spread(low, high) },
      },
      axes: [
        {
          ...axis,
          space: 70,
          size: 34,
          values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? whole(tick) : "")),
        },
        { ...axis, size: 58, values: (_, ticks) => ticks.map((tick) => (tick == null ? "" : figure(tick))) },
      ],
      series: [
        {},
        ...curves.map((curve) => ({
          label: curve.label,
          stroke: css(curve.color),
          width: curve.width ?? 2,
          dash: curve.dash,
          spanGaps: true,
          points: { show: curve.points ?? false, size: 6, fill: css("--card"), stroke: css(curve.color), width: 2 },
        })),
      ],
      hooks: {
        setCursor: [(plot) => this.#tell(plot.cursor.idx)],
        setSelect: [
          (plot) => {
            if (plot.select.width > 3) {
              this.#zoomed = true;
              this.onZoom(true);
            }
          },
        ],
        draw: [(plot) => this.#drawBroken(plot)],
      },
    };
  }

  /** Steps at which the value was not a number: a mark at the top, since no line can show them. */
  #drawBroken(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.fillStyle = ctx.strokeStyle = css("--bad");
    for (const step of this.broken) {
      const x = plot.valToPos(step, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.globalAlpha = 0.35;
      ctx.fillRect(x - 0.5, bbox.top, 1, bbox.height);
      ctx.globalAlpha = 1;
      ctx.beginPath();
      ctx.moveTo(x - 6, bbox.top);
      ctx.lineTo(x + 6, bbox.top);
      ctx.lineTo(x, bbox.top + 9);
      ctx.fill();
    }
    ctx.restore();
  }

  /** Each curve of the legend with its value at a row, or the last one before it. */
  #readings(row) {
    const near = (values) => {
      for (let place = row; place >= 0; place--) if (values[place] != null) return values[place];
      return null;
    };
    return this.curves
      .filter((curve) => !curve.silent)
      .map((curve) => [curve, figure(near(curve.read ?? curve.values))]);
  }

  #tell(at) {
    const row = at ?? this.steps.length - 1;
    const keys = this.#readings(row).map(([curve, value]) => {
      const mark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      mark.setAttribute("width", "16");
      mark.setAttribute("height", "4");
      const line = mark.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "rect"));
      for (const [name, size] of Object.entries({ width: 16, height: 4, rx: 2, fill: css(curve.color) }))
        line.setAttribute(name, size);
      return h("span", { className: "key" }, mark, curve.label, h("b", {}, value));
    });
    this.#legend.replaceChildren(h("span", { className: "key" }, "Step", h("b", {}, whole(this.steps[row]))), ...keys);
  }

  /** Aloud, what the legend shows. */
  #say(row) {
    const values = this.#readings(row).map(([curve, value]) => `${curve.label} ${value}`);
    this.#said.textContent = `Step ${whole(this.steps[row])}: ${values.join(", ")}`;
  }

  #key(event) {
    if (!this.#plot || !this.steps.length) return;
    const last = this.steps.length - 1,
      at = this.#plot.cursor.idx ?? last,
      jump = event.shiftKey ? 20 : 1;
    const to = { ArrowLeft: at - jump, ArrowRight: at + jump, Home: 0, End: last }[event.key];
    if (event.key === "Escape") return void this.showAll();
    if (event.key === "+" || event.key === "-") {
      const { min, max } = this.#plot.scales.x,
        middle = this.steps[at],
        half = (max - min) * (event.key === "+" ? 0.25 : 1);
      this.#zoomed = true;
      this.onZoom(true);
      return void this.#plot.setScale("x", {
        min: Math.max(this.steps[0], middle - half),
        max: Math.min(this.steps[last], middle + half),
      });
    }
    if (to == null) return;
    event.preventDefault();
    const row = Math.max(0, Math.min(last, to));
    const value = this.curves.find((curve) => curve.values[row] != null)?.values[row] ?? 0;
    this.#plot.setCursor({ left: this.#plot.valToPos(this.steps[row], "x"), top: this.#plot.valToPos(value, "y") });
    this.#say(row);
  }
}

/** A range with air, also round one value or none. */
function spread(low, high) {
  if (low == null) return [0, 1];
  const air = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  return [low >= 0 && low - air < 0 ? 0 : low - air, high + air];
}
