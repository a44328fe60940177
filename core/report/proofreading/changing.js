// What is done to the current clip, and the two things that take a moment: typing a text, choosing a place.

// Show what an edit came to. Where its clip is no longer shown, the one that followed it has the focus.
function showChange(said) {
  tape.pause();
  keepOrder();
  const shown = new Set(shownClips().map((clip) => clip.clip));
  if (!shown.has(state.current)) {
    const place = state.order.indexOf(state.current);
    state.current = state.order.slice(place).find((name) => shown.has(name)) ?? state.order.slice(0, place).findLast((name) => shown.has(name)) ?? null;
  }
  showRows();
  setCurrent(state.current, { focus: true });
  notice(said);
}

function leaveOut(name) {
  if (change({ kind: "leave-out", clip: name })) showChange(say("done_leave_out", { clip: name }));
}

function join(name) {
  if (change({ kind: "join", clip: name })) showChange(say("done_join", { clip: name }));
}

function undo() {
  const last = takeBack();
  if (last === undefined) return notice(say("nothing_to_undo"));
  state.current = last.clip;
  showChange(say("undone", { what: say(last.kind.replace("-", "_")), clip: last.clip }));
}

// -- typing

function startText(name) {
  const clip = clipNamed(name);
  const place = elementOf(name).querySelector(".said");
  if (place.querySelector("textarea, .picker")) return;
  setCurrent(name);
  const box = make("textarea", { rows: 2, "aria-label": say("text_of", { clip: name }), lang: clip.language || null, dir: "auto", spellcheck: true });
  box.value = clip.text;
  const leave = () => endChange(name);
  const save = () => {
    if (wordsOf(box.value).join(" ") === wordsOf(clip.text).join(" ")) return leave();
    if (change({ kind: "text", clip: name, text: wordsOf(box.value).join(" ") })) showChange(say("done_text", { clip: name }));
  };
  box.addEventListener("keydown", (event) => {
    if (event.isComposing) return; // Enter ends a syllable there
    if (event.key === "Escape") leave();
    else if (event.key === "Enter" && event.shiftKey) tape.toggle(clip);
    else if (event.key === "Enter") save();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  place.replaceChildren(
    box,
    make("div", { class: "bar" }, make("button", { class: "save", onclick: save }, say("keep")), make("button", { class: "quiet", onclick: leave }, say("cancel")), make("span", { class: "note" }, say("typing_keys"))),
  );
  box.focus();
  box.setSelectionRange(box.value.length, box.value.length);
}

function endChange(name) {
  const clip = clipNamed(name);
  elementOf(name).querySelector(".said").replaceChildren(buildText(clip));
  setCurrent(name, { focus: true });
}

// -- choosing where to split

function startSplit(name) {
  const clip = clipNamed(name);
  const words = wordsOf(clip.text);
  if (words.length < 2) return notice(say("one_word", { clip: name }));
  const place = elementOf(name).querySelector(".said");
  setCurrent(name);
  const gaps = gapsOf(clip.text, soundingOf(clip.pieces, soundings));
  const about = make("p", { class: "note gap", "aria-live": "polite" });
  const buttons = words.slice(1).map((word, each) =>
    make("button", { class: "word", "data-before": each + 1, "aria-label": say("split_before", { word }), onclick: () => split(clip, each + 1, gaps[each].at), onfocus: () => (about.textContent = aboutGap(gaps[each])) }, word),
  );
  const here = () => buttons.indexOf(document.activeElement);
  const step = (by) => buttons[Math.min(Math.max(0, here() + by), buttons.length - 1)].focus();
  const acts = {
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    Home: () => step(-buttons.length),
    End: () => step(buttons.length),
    Escape: () => endChange(name),
    p: () => tape.play(clip, gaps[Math.max(0, here())].at),
  };
  const picker = make("div", { class: "picker", role: "group", "aria-label": say("split_where"), dir: "auto" }, make("span", { class: "first" }, words[0]), ...buttons);
  picker.addEventListener("keydown", (event) => {
    if (event.key in acts) {
      acts[event.key]();
      event.preventDefault();
    }
    event.stopPropagation(); // all other keys are not for the page now
  });
  place.replaceChildren(picker, about, make("p", { class: "note" }, say("split_keys")));
  const pauses = gaps.map((gap) => gap.pause);
  buttons[pauses.indexOf(Math.max(...pauses))].focus();
  return undefined;
}

function aboutGap({ at, pause, isEstimated }) {
  const text = isEstimated ? (pause ? "estimated_pause" : "estimated_sound") : pause ? "at_pause" : "at_sound";
  return say(text, { at: number(at, 2), pause: number(pause, 2) });
}

function split(clip, before, at) {
  if (change({ kind: "split", clip: clip.clip, at, before })) showChange(say("done_split", { clip: clip.clip }));
}
