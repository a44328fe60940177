// The list of clips. One is the current one: it has the focus, its buttons are reached by Tab, keys are for it.

const state = { sort: "sure", show: "all", search: "", order: [], current: null };
const built = new Map(); // name -> { clip, language, element }; what did not change is not made again

const ORDERS = {
  sure: (one, other) => (one.score === null) - (other.score === null) || one.score - other.score,
  order: () => 0,
  longest: (one, other) => secondsOf(other) - secondsOf(one),
  shortest: (one, other) => secondsOf(one) - secondsOf(other),
};

const FILTERS = {
  all: () => true,
  doubtful: isDoubtful,
  changed: (clip) => isChanged(madeBy.get(clip.clip), clip),
  unchanged: (clip) => !FILTERS.changed(clip),
};
const madeBy = new Map(made.map((clip) => [clip.clip, clip]));

function isDoubtful(clip) {
  return clip.score !== null && clip.score < page.doubtful;
}

function clipNamed(name) {
  return clips.find((clip) => clip.clip === name);
}

// The order holds clips that are gone, too: an edit that is taken back brings them to where they were.
function orderRows() {
  const known = new Map([...made, ...clips].map((clip) => [clip.clip, clip]));
  state.order = [...known.values()].filter((clip) => clip.sound !== null).sort(ORDERS[state.sort]).map((clip) => clip.clip);
}

// Where a clip stands it stays, corrected or not; what an edit made stands behind what it was made of.
function keepOrder() {
  const known = new Set(state.order);
  clips.forEach((clip, place) => {
    if (clip.sound === null || known.has(clip.clip)) return;
    state.order.splice(state.order.indexOf(clips[place - 1].clip) + 1, 0, clip.clip);
    known.add(clip.clip);
  });
}

// Clips that are shown, in their order.
function shownClips() {
  const now = new Map(clips.map((clip) => [clip.clip, clip]));
  const wanted = state.search.trim().toLowerCase();
  const matches = (clip) => `${clip.clip}\n${clip.text}`.toLowerCase().includes(wanted);
  return state.order.map((name) => now.get(name)).filter((clip) => clip !== undefined && FILTERS[state.show](clip) && matches(clip));
}

function showRows() {
  const found = shownClips();
  document.getElementById("rows").replaceChildren(...found.map(rowOf));
  document.getElementById("count").textContent = say("shown_clips", { number: number(found.length), total: number(clips.filter((clip) => clip.sound !== null).length) });
  if (!found.some((clip) => clip.clip === state.current)) state.current = found[0]?.clip ?? null;
  setCurrent(state.current);
  showProgress();
  showPlaying();
}

function rowOf(clip) {
  const known = built.get(clip.clip);
  if (known?.clip === clip && known.language === language) return known.element;
  const element = buildRow(clip);
  built.set(clip.clip, { clip, language, element });
  return element;
}

function buildRow(clip) {
  const row = make(
    "li",
    { class: "row", "data-clip": clip.clip },
    make("div", { class: "about" }, make("span", { class: "name" }, clip.clip), buildSure(clip)),
    buildPlay(clip),
    make("div", { class: "said" }, buildText(clip)),
    make(
      "div",
      { class: "tools" },
      ...[["e", "edit", startText], ["x", "leave_out", leaveOut], ["s", "split", startSplit], ["j", "join", join]].map(([key, what, act]) =>
        make("button", { "data-act": what, "aria-keyshortcuts": key, "aria-label": say("tool_of", { what: say(what), clip: clip.clip }), tabindex: -1, onclick: () => act(clip.clip) }, say(what)),
      ),
    ),
  );
  row.addEventListener("focusin", () => setCurrent(clip.clip));
  return row;
}

function buildSure(clip) {
  const isEdited = FILTERS.changed(clip);
  const text = isEdited ? say("changed_here") : clip.score === null ? say("not_heard") : say("sure", { percent: percent(clip.score) });
  return make("span", { class: `sure${isEdited ? " edited" : isDoubtful(clip) ? " doubtful" : ""}` }, text);
}

function buildText(clip) {
  const words = wordsOf(clip.text);
  const isKnown = areWordsKnown(clip);
  const shown = words.flatMap((word, place) => {
    const isMarked = isKnown && clip.words[place].probability < page.doubtful;
    return [isMarked ? make("mark", { title: say("sure", { percent: percent(clip.words[place].probability) }) }, word) : word, " "];
  });
  return make("p", { class: "text", lang: clip.language || null, dir: "auto", onclick: () => startText(clip.clip) }, ...shown);
}

function buildPlay(clip) {
  const doubted = areWordsKnown(clip) ? wordsOf(clip.text).filter((_, place) => clip.words[place].probability < page.doubtful) : [];
  const seconds = secondsOf(clip);
  const label = [
    say("play_label", { name: clip.clip }),
    say("seconds", { seconds: number(seconds, 1) }),
    clip.score === null ? "" : say("sure", { percent: percent(clip.score) }),
    doubted.length ? say("doubted", { words: doubted.join(", ") }) : "",
    clip.text,
  ];
  const button = make(
    "button",
    { class: "play", tabindex: -1, "aria-label": label.filter(Boolean).join(", "), "aria-pressed": "false", "aria-keyshortcuts": "Space" },
    make("span", { class: "sign", "aria-hidden": "true" }),
    waveform(drawn(clip), seconds),
    make("span", { class: "time", "aria-hidden": "true" }, `${number(seconds, 1)} s`),
  );
  button.addEventListener("click", (event) => {
    const svg = button.querySelector(".wave");
    const box = svg.getBoundingClientRect();
    // A click of a pointer into the waveform plays from there; of a key it has no place.
    if (event.detail > 0 && svg.contains(event.target) && tape.clip === clip.clip) tape.seek(clip, ((event.clientX - box.left) / box.width) * seconds);
    else tape.toggle(clip);
  });
  return button;
}

// What is drawn of a clip: the outlines of its pieces, at equal steps of time.
function drawn(clip) {
  const seconds = secondsOf(clip);
  const points = Math.min(160, Math.max(1, Math.ceil(seconds * 24)));
  const outline = [];
  for (let point = 0; point < points; point++) {
    let inside = ((point + 0.5) / points) * seconds;
    let piece = 0;
    while (piece < clip.pieces.length - 1 && inside >= clip.pieces[piece].end - clip.pieces[piece].start) {
      inside -= clip.pieces[piece].end - clip.pieces[piece].start;
      piece += 1;
    }
    const { sound, start } = clip.pieces[piece];
    const { outline: whole, seconds: length } = page.clips[sound];
    outline.push(whole[Math.min(whole.length - 1, Math.floor(((start + inside) / length) * whole.length))]);
  }
  return { seconds, outline, pitch: [] };
}

function elementOf(name) {
  return built.get(name)?.element;
}

function setCurrent(name, { focus = false } = {}) {
  const old = elementOf(state.current);
  if (name !== state.current || old?.querySelector('[tabindex="0"]') === null) {
    old?.classList.remove("current");
    for (const each of old?.querySelectorAll("button") ?? []) each.setAttribute("tabindex", "-1");
    state.current = name;
    for (const each of elementOf(name)?.querySelectorAll("button") ?? []) each.setAttribute("tabindex", "0");
  }
  const row = elementOf(name);
  row?.classList.add("current");
  if (focus) {
    row?.querySelector(".play")?.focus({ preventScroll: true });
    row?.scrollIntoView({ block: "nearest" });
  }
}

function goTo(by) {
  const names = shownClips().map((clip) => clip.clip);
  const place = names.indexOf(state.current);
  const name = names[Math.min(Math.max(0, place + by), names.length - 1)];
  if (name === undefined) return;
  const sounds = tape.isPlaying;
  if (sounds) tape.pause();
  setCurrent(name, { focus: true });
  if (sounds) tape.play(clipNamed(name));
}

let marked = null; // the row that sounds, or did last

function showPlaying() {
  const button = elementOf(tape.clip)?.querySelector(".play");
  if (marked !== null && marked !== button) {
    marked.classList.remove("here");
    marked.setAttribute("aria-pressed", "false");
  }
  marked = button ?? null;
  const clip = clipNamed(tape.clip);
  if (marked === null || clip === undefined) return;
  marked.classList.add("here");
  marked.setAttribute("aria-pressed", String(tape.isPlaying));
  showPosition(marked.querySelector(".wave"), tape.position, secondsOf(clip));
}
