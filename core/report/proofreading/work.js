// What was done here: the edits, and the clips as they are after them. Both are kept in the browser, and
// saved as the file that `fishtune prepare --edits` takes in.

const EDITS_KEY = `fishtune-edits:${page.id}`;
const soundings = Object.fromEntries(page.rows.map((row) => [row.clip, row.sounding]));
const made = page.rows.map(({ seconds, sounding, ...row }) => ({ ...row, pieces: [{ clip: row.clip, sound: row.sound, start: 0, end: seconds }] }));
const total = made.filter((clip) => clip.sound !== null).length;
let edits = [];
let clips = made;
let saved = "[]"; // the edits that the last file held, as text

function applied(list) {
  return list.reduce(edited, made);
}

function setEdits(list, now) {
  edits = list;
  clips = now;
  remember(EDITS_KEY, JSON.stringify(edits));
}

function restore() {
  try {
    const kept = JSON.parse(remembered(EDITS_KEY) ?? "[]");
    setEdits(kept, applied(kept));
  } catch {
    setEdits([], made); // of another version of this page
  }
}

function isKept() {
  return remembered(EDITS_KEY) === JSON.stringify(edits);
}

function isSaved() {
  return saved === JSON.stringify(edits);
}

// How many of the clips of the data set are not as they were.
function countChanged() {
  const now = new Map(clips.map((clip) => [clip.clip, clip]));
  return made.filter((clip) => clip.sound !== null && isChanged(clip, now.get(clip.clip))).length;
}

function isChanged(clip, now) {
  if (clip === now) return false;
  return clip === undefined || now === undefined || now.text !== clip.text || JSON.stringify(now.pieces) !== JSON.stringify(clip.pieces);
}

// Do an edit; return whether it could be done.
function change(edit) {
  try {
    setEdits([...edits, edit], edited(clips, edit));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    notice(say(error.message, { clip: edit.clip }));
    return false;
  }
  return true;
}

// Take the last edit back and return it.
function takeBack() {
  const last = edits.at(-1);
  if (last === undefined) return undefined;
  const before = edits.slice(0, -1);
  setEdits(before, applied(before));
  return last;
}

function saveEdits() {
  saveFile(`edits-${page.title}`, { edits });
  saved = JSON.stringify(edits);
  showProgress();
  notice(say("saved", { file: `edits-${page.title}.json` }));
}

function loadEdits(found, name) {
  const list = Array.isArray(found) ? found : found?.edits;
  let now;
  try {
    if (!Array.isArray(list) || !list.every(isEdit)) throw new Refused("no_edits");
    now = applied(list);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    const isOther = error.message === "no_such_clip" || error.message === "no_such_place";
    complain(say(isOther ? "edits_of_others" : "no_edits", { file: name }));
    return;
  }
  const isLost = edits.length > 0 && JSON.stringify(list.slice(0, edits.length)) !== JSON.stringify(edits);
  if (isLost && !confirm(say("replace_edits", { file: name }))) return;
  setEdits(list, now);
  saved = JSON.stringify(list);
  orderRows();
  showRows();
  notice(say("loaded", { number: number(list.length), file: name }));
}

function isEdit(edit) {
  if (typeof edit?.clip !== "string") return false;
  if (edit.kind === "text") return typeof edit.text === "string";
  if (edit.kind === "split") return Number.isFinite(edit.at) && Number.isInteger(edit.before);
  return edit.kind === "join" || edit.kind === "leave-out";
}

window.addEventListener("beforeunload", (event) => {
  if (edits.length && !isKept() && !isSaved()) event.preventDefault();
});
