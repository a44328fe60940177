// The whole page, and keys that are for it.

const KEYS = [["␣", "key_space"], ["↑ ↓", "key_clip"], [", .", "key_seek"], ["Home", "key_home"], ["e", "edit"], ["x", "leave_out"], ["s", "split"], ["j", "join"], ["u", "undo"], ["/", "search"], ["w", "save"]];

function buildTop() {
  return make("header", {}, make("h1", {}, say("title", { data: page.title })), make("div", { class: "bar" }, languageChoice(render)));
}

function buildProgress() {
  return make(
    "section",
    { class: "bar progress", "aria-label": say("progress") },
    make("strong", { id: "changed" }),
    make("progress", { id: "bar", max: total, value: 0, "aria-hidden": "true" }),
    make("button", { id: "undo", "aria-keyshortcuts": "u", onclick: undo }, say("undo")),
    make("button", { id: "save", "aria-keyshortcuts": "w", onclick: saveEdits }, say("save")),
    loadButton("load-edits", say("load"), loadEdits),
    make("span", { id: "kept", class: "note" }),
    make("span", { id: "notice" }),
  );
}

function showProgress() {
  const changed = countChanged();
  document.getElementById("changed").textContent = say("changed", { number: number(changed), total: number(total) });
  document.getElementById("bar").value = changed;
  document.getElementById("undo").disabled = document.getElementById("save").disabled = edits.length === 0;
  document.getElementById("kept").textContent = edits.length === 0 ? "" : say(isSaved() ? "is_saved" : isKept() ? "is_kept" : "is_not_kept");
}

function buildControls() {
  const search = make("input", { type: "search", id: "search", value: state.search, oninput: () => {
    state.search = search.value;
    showRows();
  } });
  search.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || (event.key === "Enter" && !event.isComposing)) {
      setCurrent(state.current, { focus: true });
      event.preventDefault();
    }
  });
  return make(
    "div",
    { class: "bar" },
    choice(say("sort"), ["sure", "order", "longest", "shortest"].map((name) => [name, say(`sort_${name}`)]), state.sort, (value) => {
      state.sort = value;
      orderRows();
      showRows();
    }),
    choice(say("show"), ["all", "doubtful", "changed", "unchanged"].map((name) => [name, say(`show_${name}`)]), state.show, (value) => {
      state.show = value;
      showRows();
    }),
    make("label", { class: "choice" }, make("span", {}, say("search")), search),
    buildKeys(KEYS),
  );
}

function notice(text) {
  document.getElementById("notice").textContent = text;
  announce(text);
}

function render() {
  document.documentElement.lang = language;
  document.title = say("title", { data: page.title });
  document.getElementById("root").replaceChildren(
    buildTop(),
    make(
      "main",
      {},
      make("p", { class: "note" }, say("about")),
      buildProgress(),
      buildControls(),
      make("p", { id: "count", class: "note" }),
      make("ul", { id: "rows", role: "list", "aria-label": say("clips") }),
    ),
  );
  showRows();
}

const ACTS = {
  ArrowUp: () => goTo(-1),
  ArrowDown: () => goTo(1),
  Home: () => seek(-Infinity),
  ",": () => seek(-1),
  ".": () => seek(1),
  " ": () => tape.toggle(clipNamed(state.current)),
  e: () => startText(state.current),
  x: () => leaveOut(state.current),
  s: () => startSplit(state.current),
  j: () => join(state.current),
};
const ACTS_WITHOUT_CLIP = {
  u: undo,
  w: () => edits.length && saveEdits(),
  "/": () => document.getElementById("search").focus(),
};

function seek(by) {
  const clip = clipNamed(state.current);
  tape.seek(clip, tape.clip === clip.clip ? tape.position + by : 0);
}

document.addEventListener("keydown", (event) => {
  if (!isForPage(event)) return;
  const act = ACTS_WITHOUT_CLIP[event.key] ?? (state.current === null ? undefined : ACTS[event.key]);
  if (act === undefined) return;
  act();
  event.preventDefault();
});

player.addEventListener("change", () => {
  tape.follow();
  showPlaying();
});

function follow() {
  if (tape.isPlaying) {
    tape.follow();
    showPlaying();
  }
  requestAnimationFrame(follow);
}

restore();
orderRows();
render();
setCurrent(state.current, { focus: true });
requestAnimationFrame(follow);
