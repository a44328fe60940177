// The table: texts by columns. One cell is the current one; it has the focus, and keys move it.

// What is shown of each number: how to write it, and which end is bad (+1 high, -1 low, 0 neither).
const MEASURES = {
  wer: { write: percent, bad: 1 },
  similarity: { write: (value) => number(value, 2), bad: -1 },
  rate: { write: (value) => number(value, 1), bad: 0 },
  pitch: { write: (value) => number(value), bad: 0 },
  spread: { write: (value) => number(value, 1), bad: 0 },
  background: { write: (value) => number(value, 1), bad: -1 },
  faulty: { write: percent, bad: 1 },
};

function columnName(column) {
  const name = column.kind === "base" || column.kind === "recording" ? say(column.kind) : column.name;
  return page.runs.length > 1 ? `${column.run}: ${name}` : name;
}

const state = { sort: "order", sortIn: "all", show: "all", search: "", hidden: new Set(), row: 0, column: 0 };

const longest = page.rows.map((row) => Math.max(0.1, ...row.cells.map((cell) => (cell?.clip != null ? page.clips[cell.clip].seconds : 0))));

function shownColumns() {
  return page.columns.map((_, column) => column).filter((column) => !state.hidden.has(column));
}

function cellsOf(row, columns = shownColumns()) {
  return columns.map((column) => page.rows[row].cells[column]).filter((cell) => cell !== null);
}

const FILTERS = {
  all: () => true,
  faults: (row) => cellsOf(row).some((cell) => cell.faults.length),
  sound: (row) => !cellsOf(row).some((cell) => cell.faults.length),
  "held-out": (row) => page.rows[row].source === "held-out",
};

// Places of the rows that are shown, in their order.
function shownRows() {
  const wanted = state.search.trim().toLowerCase();
  const rows = page.rows.map((_, row) => row).filter((row) => FILTERS[state.show](row) && page.rows[row].text.toLowerCase().includes(wanted));
  const key = sortKey();
  return key === null ? rows : rows.sort((one, other) => key(one) - key(other) || one - other);
}

// What rows are sorted by, smallest first; worst first for whatever has a bad end.
function sortKey() {
  const columns = state.sortIn === "all" ? shownColumns() : [Number(state.sortIn)];
  if (state.sort === "order") return null;
  if (state.sort === "length") return (row) => page.rows[row].text.length;
  if (state.sort === "faults") return (row) => -cellsOf(row, columns).reduce((sum, cell) => sum + cell.faults.length, 0);
  const sign = MEASURES[state.sort].bad || 1;
  return (row) => {
    const values = cellsOf(row, columns).map((cell) => cell[state.sort]).filter((value) => value !== null);
    return values.length ? -Math.max(...values.map((value) => sign * value)) : Infinity;
  };
}

function buildTable() {
  const columns = shownColumns();
  return make(
    "table",
    { role: "grid", "aria-label": say("title", { run: page.title }), "aria-rowcount": page.rows.length + 1 },
    make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, make("th", { role: "columnheader", scope: "col" }, say("text")), ...columns.map(buildHead))),
    make("tbody", { role: "rowgroup" }, ...shownRows().map((row) => buildRow(row, columns))),
  );
}

function buildHead(place) {
  const column = page.columns[place];
  const isBest = page.runs.some((run) => run.recommended === column.id);
  return make(
    "th",
    { role: "columnheader", scope: "col", class: isBest ? "best" : null },
    make("span", { class: "name" }, make("span", { class: "digit", "aria-hidden": "true" }, String(place + 1)), columnName(column)),
    isBest ? make("span", { class: "recommended" }, say("recommended")) : null,
    make("span", { class: "summary" }, pick(column.summary)),
    make("dl", {}, ...Object.keys(MEASURES).filter((name) => column.measures[name]).map((name) => buildMeasure(name, column.measures[name]))),
  );
}

function buildMeasure(name, measure) {
  const { write } = MEASURES[name];
  const interval = say("interval", { low: write(measure.low), high: write(measure.high) });
  return make("div", { title: interval }, make("dt", {}, say(name)), make("dd", {}, write(measure.mean)));
}

function buildRow(row, columns) {
  const asked = page.rows[row];
  const notes = [
    asked.source === "held-out" ? say("held-out", { clip: asked.clip }) : say(asked.source),
    asked.take === null ? "" : say("take", { number: asked.take }),
  ].filter(Boolean);
  return make(
    "tr",
    { role: "row", "data-row": row },
    make(
      "th",
      { role: "rowheader", scope: "row" },
      make("span", { class: "asked", lang: asked.language || null, dir: "auto" }, asked.text),
      notes.length ? make("span", { class: "note" }, notes.join(" · ")) : null,
    ),
    ...columns.map((column) => buildCell(row, column)),
  );
}

function buildCell(row, column) {
  const cell = page.rows[row].cells[column];
  const name = make("span", { class: "owner", "aria-hidden": "true" }, columnName(page.columns[column]));
  const faults = cell?.faults ?? [];
  return make(
    "td",
    { role: "gridcell", class: faults.length ? "faulty" : null, "data-column": column },
    name,
    buildPlay(row, column, cell),
    cell === null ? null : make("dl", {}, ...Object.keys(MEASURES).filter((each) => cell[each] != null).map((each) => buildNumber(each, cell))),
    faults.length ? make("ul", { class: "faults" }, ...faults.map((fault) => make("li", {}, make("strong", {}, pick(fault.kind)), ` ${pick(fault.message)}`))) : null,
    cell?.wer == null ? null : make("p", { class: "heard", dir: "auto" }, cell.heard ? say("heard", { text: cell.heard }) : say("nothing_heard")),
  );
}

function buildNumber(name, cell) {
  const errors = name === "wer" && cell.deletions !== null ? say("errors", cell) : null;
  return make("div", { title: errors }, make("dt", {}, say(name)), make("dd", {}, MEASURES[name].write(cell[name])));
}

function buildPlay(row, column, cell) {
  const isCurrent = row === state.row && column === state.column;
  const where = { class: "play", "data-row": row, "data-column": column, tabindex: isCurrent ? 0 : -1 };
  if (cell?.clip == null) {
    const what = say(cell === null ? "not_said" : "no_recording");
    return make("button", { ...where, "aria-disabled": "true", "aria-label": `${columnName(page.columns[column])}: ${what}` }, make("span", { class: "absent" }, what));
  }
  const clip = page.clips[cell.clip];
  const button = make(
    "button",
    { ...where, "aria-label": describe(row, column), "aria-pressed": "false", "data-clip": cell.clip },
    make("span", { class: "sign", "aria-hidden": "true" }),
    waveform(clip, longest[row]),
    make("span", { class: "time", "aria-hidden": "true" }, `${number(clip.seconds, 1)} s`),
  );
  button.addEventListener("click", (event) => {
    const svg = button.querySelector(".wave");
    const box = svg.getBoundingClientRect();
    const isBeside = row === state.row && player.isPlaying && player.clip !== cell.clip;
    setCurrent(row, column);
    if (isBeside) player.switchTo(cell.clip);
    // A click of a pointer into the waveform of what sounds goes there; of a key it has no place.
    else if (event.detail > 0 && player.clip === cell.clip && svg.contains(event.target)) {
      player.seek(((event.clientX - box.left) / box.width) * longest[row]);
      if (!player.isPlaying) player.play(cell.clip, player.position);
    } else player.toggle(cell.clip);
  });
  return button;
}

// What a screen reader says of a cell.
function describe(row, column) {
  const cell = page.rows[row].cells[column];
  const numbers = Object.keys(MEASURES).filter((name) => cell[name] != null).map((name) => `${say(name)} ${MEASURES[name].write(cell[name])}`);
  const faults = cell.faults.map((fault) => pick(fault.message));
  return [say("play_label", { name: columnName(page.columns[column]) }), ...faults, ...numbers].join(", ");
}

function buttonAt(row, column) {
  return document.querySelector(`button.play[data-row="${row}"][data-column="${column}"]`);
}

function clipAt(row, column) {
  return page.rows[row]?.cells[column]?.clip ?? null;
}

// Make a cell the current one: its row's clips are ready to be switched to.
function setCurrent(row, column, { focus = false } = {}) {
  buttonAt(state.row, state.column)?.setAttribute("tabindex", "-1");
  Object.assign(state, { row, column });
  const button = buttonAt(row, column);
  button?.setAttribute("tabindex", "0");
  if (focus) button?.focus();
  player.keep(shownColumns().map((each) => clipAt(row, each)).filter((clip) => clip !== null));
}

// Go to another column of the row; what sounds goes on there at the same position.
function goToColumn(column) {
  const sounds = player.isPlaying;
  setCurrent(state.row, column, { focus: true });
  const clip = clipAt(state.row, column);
  if (sounds && clip !== null) player.switchTo(clip);
  else if (sounds) player.pause();
}

function goToRow(row) {
  const sounds = player.isPlaying;
  if (sounds) player.pause();
  setCurrent(row, state.column, { focus: true });
  const clip = clipAt(row, state.column);
  if (sounds && clip !== null) player.play(clip);
}

function step(list, value, by) {
  const place = list.indexOf(value);
  return list[Math.min(Math.max(0, place + by), list.length - 1)] ?? value;
}

const TABLE_KEYS = {
  ArrowLeft: () => goToColumn(step(shownColumns(), state.column, -1)),
  ArrowRight: () => goToColumn(step(shownColumns(), state.column, 1)),
  ArrowUp: () => goToRow(step(shownRows(), state.row, -1)),
  ArrowDown: () => goToRow(step(shownRows(), state.row, 1)),
  Home: () => player.seek(0),
  ",": () => player.seek(player.position - 1),
  ".": () => player.seek(player.position + 1),
  " ": () => {
    const clip = clipAt(state.row, state.column);
    if (clip !== null) player.toggle(clip);
  },
  b: () => openBlind(),
};

function tableKey(event) {
  const digit = Number(event.key);
  if (Number.isInteger(digit) && digit >= 1 && shownColumns().includes(digit - 1)) goToColumn(digit - 1);
  else if (event.key in TABLE_KEYS) TABLE_KEYS[event.key]();
  else return;
  event.preventDefault();
}

function showPlaying() {
  for (const button of document.querySelectorAll("button.play[data-clip]")) {
    const clip = Number(button.dataset.clip);
    const isIt = clip === player.clip;
    button.setAttribute("aria-pressed", String(isIt && player.isPlaying));
    const svg = button.querySelector(".wave");
    if (svg && button.classList.toggle("here", isIt)) showPosition(svg, player.position, longest[button.dataset.row]);
  }
}
