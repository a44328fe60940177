// The whole page, made again whenever what it shows was chosen otherwise.

const KEYS = [["␣", "key_space"], ["← →", "key_sides"], ["↑ ↓", "key_up"], ["1 … 9", "key_digits"], [", .", "key_seek"], ["Home", "key_home"], ["b", "key_blind"]];

function buildTop() {
  return make(
    "header",
    {},
    make("h1", {}, say("title", { run: page.title })),
    make(
      "div",
      { class: "bar" },
      make("button", { id: "blind", "aria-pressed": String(Boolean(state.blind)), onclick: () => (state.blind ? closeBlind() : openBlind()) }, say(state.blind ? "blind_end" : "blind")),
      languageChoice(render),
    ),
  );
}

function buildCourses() {
  const choose = (column) => {
    const place = page.columns.indexOf(column);
    state.hidden.delete(place);
    render();
    setCurrent(state.row, place, { focus: true });
    buttonAt(state.row, place)?.scrollIntoView({ block: "nearest", inline: "center" });
  };
  return page.runs.map((run) => {
    const svg = drawCourse(run, choose);
    return make(
      "figure",
      {},
      svg === null ? null : make("div", { class: "scroll" }, svg),
      make(
        "figcaption",
        {},
        svg === null ? null : make("span", { class: "legend" }, ...legend(run)),
        run.recommended ? ` ${nameOf(run.recommended)}: ${say("recommended")}. ${pick(run.reason)}` : null,
      ),
    );
  });
}

function legend(run) {
  const kinds = [["training", "course_training"], ["held_out", "course_held_out"], ["resumed", "course_resumed"]];
  return kinds.filter(([kind]) => run[kind].length).map(([kind, key]) => make("span", { class: `key ${kind}` }, say(key)));
}

function nameOf(id) {
  const column = page.columns.find((each) => each.id === id);
  return column === undefined ? id : columnName(column);
}

function buildControls() {
  const set = (name) => (value) => {
    state[name] = value;
    render();
  };
  const measured = Object.keys(MEASURES).filter((name) => page.rows.some((_, row) => cellsOf(row).some((cell) => cell[name] != null)));
  const sorts = ["order", "length", "faults"].map((name) => [name, say(`sort_${name}`)]);
  const search = make("input", { type: "search", id: "search", value: state.search, oninput: () => {
    state.search = search.value;
    showTable();
  } });
  return make(
    "div",
    { class: "bar" },
    choice(say("sort"), [...sorts, ...measured.map((name) => [name, say(name)])], state.sort, set("sort")),
    choice(say("sort_in"), [["all", say("all_columns")], ...page.columns.map((column, place) => [String(place), columnName(column)])], state.sortIn, set("sortIn")),
    choice(say("show"), ["all", "faults", "sound", "held-out"].map((name) => [name, say(`show_${name.replace("-", "_")}`)]), state.show, set("show")),
    make("label", { class: "choice" }, make("span", {}, say("search")), search),
    make("details", { class: "columns" }, make("summary", {}, say("columns")), ...page.columns.map(buildSwitch)),
    buildKeys(KEYS),
  );
}

function buildSwitch(column, place) {
  const box = make("input", { type: "checkbox", onchange: () => {
    if (box.checked) state.hidden.delete(place);
    else state.hidden.add(place);
    showTable();
  } });
  box.checked = !state.hidden.has(place);
  return make("label", {}, box, columnName(column));
}

function showTable() {
  const rows = shownRows();
  if (!rows.includes(state.row)) state.row = rows[0] ?? 0;
  if (state.hidden.has(state.column)) state.column = shownColumns()[0] ?? 0;
  document.getElementById("table").replaceChildren(
    make("p", { class: "note" }, say("shown_rows", { number: number(rows.length), total: number(page.rows.length) })),
    make("div", { class: "scroll" }, buildTable()),
  );
  showPlaying();
}

function render() {
  document.documentElement.lang = language;
  document.title = say("title", { run: page.title });
  const about = [page.reference ? say("reference", { reference: page.reference }) : "", ...page.not_judged.map(pick)].filter(Boolean);
  document.getElementById("root").replaceChildren(
    buildTop(),
    make("main", {}, ...(state.blind ? [buildBlind(), buildVotes()] : [...buildCourses(), about.length ? make("p", { class: "note" }, about.join(" ")) : "", buildVotes(), buildControls(), make("div", { id: "table" })])),
  );
  if (state.blind) showSides();
  else showTable();
}

document.addEventListener("keydown", (event) => {
  if (!isForPage(event)) return;
  if (state.blind) blindKey(event);
  else tableKey(event);
});

player.addEventListener("change", () => (state.blind ? showSides() : showPlaying()));

function follow() {
  if (player.isPlaying && !state.blind) showPlaying();
  requestAnimationFrame(follow);
}

render();
setCurrent(shownRows()[0] ?? 0, shownColumns()[0] ?? 0);
requestAnimationFrame(follow);
