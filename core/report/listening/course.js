// The training of a run: loss by step, with what was auditioned on it.

const WIDE = 960;
const TALL = 170;
const EDGE = { left: 52, right: 16, top: 12, bottom: 34 };

function drawCourse(run, choose) {
  const columns = page.columns.filter((column) => column.run === run.run && column.step !== null && column.strength === 1);
  const points = [...run.training, ...run.held_out];
  if (points.length < 2) return null;
  const last = Math.max(...points.map(([step]) => step), ...columns.map((column) => column.step));
  const losses = points.map(([, loss]) => loss).filter(Number.isFinite).sort((one, other) => one - other);
  // The first steps of a run may be far above all others; held-out losses are all shown.
  const most = losses[Math.floor((losses.length - 1) * 0.98)];
  const [low, high] = [losses[0], Math.max(most, ...run.held_out.map(([, loss]) => loss).filter(Number.isFinite))];
  const span = high - low || 1;
  const x = (step) => EDGE.left + (step / (last || 1)) * (WIDE - EDGE.left - EDGE.right);
  const y = (loss) => EDGE.top + (1 - Math.min(1.05, (loss - low) / span)) * (TALL - EDGE.top - EDGE.bottom);
  const line = (course) => course.map(([step, loss], index) => `${index ? "L" : "M"}${x(step).toFixed(1)} ${y(loss).toFixed(1)}`).join("");
  const svg = draw(
    "svg",
    { class: "course", viewBox: `0 0 ${WIDE} ${TALL}`, role: "group", "aria-label": say("course_of", { run: run.run }) },
    draw("path", { class: "training", d: line(run.training) }),
    draw("path", { class: "held-out", d: line(run.held_out) }),
    ...run.held_out.map(([step, loss]) => draw("circle", { class: "held-out", cx: x(step), cy: y(loss), r: 2.5 })),
    ...run.resumed.map((step) => draw("line", { class: "resumed", x1: x(step), x2: x(step), y1: EDGE.top, y2: TALL - EDGE.bottom })),
    ...[low, high].map((loss) => draw("text", { class: "axis", x: EDGE.left - 6, y: y(loss) + 4, "text-anchor": "end" }, number(loss, 2))),
  );
  let free = -Infinity; // where the next label has room
  for (const column of [...columns].sort((one, other) => one.step - other.step)) {
    svg.append(marker(run, column, x(column.step), x(column.step) - free > 44, choose));
    if (x(column.step) - free > 44) free = x(column.step);
  }
  return svg;
}

function marker(run, column, x, isLabelled, choose) {
  const isBest = column.id === run.recommended;
  const loss = run.held_out.find(([step]) => step === column.step)?.[1];
  const label = loss === undefined ? columnName(column) : say("checkpoint_at", { name: columnName(column), loss: number(loss, 3) });
  return draw(
    "g",
    {
      class: isBest ? "checkpoint best" : "checkpoint",
      role: "button",
      tabindex: 0,
      "aria-label": isBest ? `${label}, ${say("recommended")}` : label,
      onclick: () => choose(column),
      onkeydown: (event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          choose(column);
        }
      },
    },
    draw("title", {}, label),
    draw("rect", { class: "reach", x: x - 10, y: EDGE.top, width: 20, height: TALL - EDGE.top }),
    draw("line", { x1: x, x2: x, y1: EDGE.top, y2: TALL - EDGE.bottom + 5 }),
    draw("circle", { cx: x, cy: TALL - EDGE.bottom + 5, r: isBest ? 5 : 3.5 }),
    isLabelled ? draw("text", { class: "axis", x, y: TALL - 8, "text-anchor": "middle" }, number(column.step)) : null,
  );
}
