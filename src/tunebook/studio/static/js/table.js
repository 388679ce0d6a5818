// Metrics of runs in columns, and what is made of them before they are drawn.

/** Metrics by step. Rows of one step are one; a resumed run cuts off what it does again. */
export class Table {
  steps = [];
  columns = {};
  seq = 0;
  broken = new Map();

  load({ last, metrics }) {
    Object.assign(this, { steps: [], columns: {}, broken: new Map() });
    const names = Object.keys(metrics).filter((name) => !["seq", "step", "not_finite"].includes(name));
    metrics.step.forEach((step, row) =>
      names.forEach((name) => metrics[name][row] != null && this.put(step, name, metrics[name][row])),
    );
    const steps = new Map(metrics.seq.map((seq, row) => [seq, metrics.step[row]]));
    metrics.not_finite.forEach(({ seq, metric }) => this.flag(metric, steps.get(seq)));
    this.seq = last;
  }

  /** True when the event changed a curve. */
  take(event) {
    if (event.seq <= this.seq) return false;
    this.seq = event.seq;
    if (event.kind === "run" && event.state === "resumed") return this.cut(event.step);
    if (event.kind !== "metrics" && event.kind !== "evaluation") return false;
    if (event.kind === "evaluation") this.#forget(event);
    for (const [name, value] of Object.entries(event.values)) if (value != null) this.put(event.step, name, value);
    (event.not_finite ?? []).forEach((name) => this.flag(name, event.step));
    return true;
  }

  put(step, name, value) {
    const row = this.#row(step);
    if (this.steps[row] !== step) {
      this.steps.splice(row, 0, step);
      for (const column of Object.values(this.columns)) column.splice(row, 0, null);
    }
    (this.columns[name] ??= new Array(this.steps.length).fill(null))[row] = value;
  }

  /** The row of a step, or where it belongs: a resumed run may measure the base, step 0, once more. */
  #row(step) {
    let row = this.steps.length;
    while (row > 0 && this.steps[row - 1] >= step) row--;
    return row;
  }

  /** What an evaluation says takes the place of what an earlier one said of the same step. */
  #forget({ step, values }) {
    const row = this.#row(step);
    for (const name of Object.keys(values)) {
      if (this.steps[row] === step && this.columns[name]) this.columns[name][row] = null;
      if (this.broken.has(name))
        this.broken.set(
          name,
          this.broken.get(name).filter((at) => at !== step),
        );
    }
  }

  flag(name, step) {
    this.broken.set(name, [...(this.broken.get(name) ?? []), step]);
  }

  cut(step) {
    while (this.steps.length && this.steps.at(-1) > step) {
      this.steps.pop();
      for (const column of Object.values(this.columns)) column.pop();
    }
    for (const [name, steps] of this.broken)
      this.broken.set(
        name,
        steps.filter((at) => at <= step),
      );
    return true;
  }
}

/** A running mean that forgets at the pace of the run's length; it begins without a lean towards zero. */
export function smoothed(values) {
  const keep = 1 - 1 / Math.max(3, Math.min(100, values.length / 60));
  let sum = 0,
    weight = 0;
  return values.map((value) => {
    if (value == null) return null;
    sum = keep * sum + (1 - keep) * value;
    weight = keep * weight + (1 - keep);
    return sum / weight;
  });
}

/** Curves of several tables over all their steps; what a table has nothing for is a gap that lines bridge. */
export function joined(steps, groups) {
  if (steps.length === 1) return { steps: steps[0], curves: groups[0] };
  const tables = groups.map((curves, place) => [
    steps[place],
    ...curves.flatMap((curve) => [curve.values, curve.read ?? curve.values]),
  ]);
  const [all, ...columns] = uPlot.join(tables);
  const curves = groups
    .flat()
    .map((curve, place) => ({ ...curve, values: columns[2 * place], read: columns[2 * place + 1] }));
  return { steps: all, curves };
}
