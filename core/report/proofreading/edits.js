// What each edit does to the clips: the same as core/dataset/proofreading.py, which takes the saved file in.
// Clips are never changed: an edit gives new ones. Those without a sound are not shown by this page; they
// stand in the list so that "the next clip" is the data set's, not the page's.

const SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/u; // as Python has it
const DOUBTED = 3;

class Refused extends Error {} // its message is the name of a text of the page

function wordsOf(text) {
  return text.split(SPACE).filter(Boolean);
}

function secondsOf(clip) {
  return clip.pieces.reduce((sum, piece) => sum + piece.end - piece.start, 0);
}

// When each word is said is known only where as many were heard as stand in the text.
function areWordsKnown(clip) {
  return clip.words.length > 0 && clip.words.length === wordsOf(clip.text).length;
}

function folderOf(name) {
  return name.slice(0, name.lastIndexOf("/") + 1);
}

function edited(clips, edit) {
  const place = clips.findIndex((clip) => clip.clip === edit.clip);
  if (place < 0 || clips[place].sound === null) throw new Refused("no_such_clip");
  const clip = clips[place];
  const before = clips.slice(0, place);
  const after = clips.slice(place + 1);
  switch (edit.kind) {
    case "text":
      return [...before, { ...clip, text: sayable(edit.text), score: 1, words: [] }, ...after];
    case "leave-out":
      return [...before, ...after];
    case "split":
      return [...before, ...parts(clip, edit, new Set(clips.map((each) => each.clip))), ...after];
    case "join":
      if (!after.length || folderOf(after[0].clip) !== folderOf(clip.clip)) throw new Refused("none_behind");
      if (after[0].sound === null) throw new Refused("behind_not_shown");
      return [...before, joined(clip, after[0]), ...after.slice(1)];
    default:
      throw new Refused("no_such_edit");
  }
}

// A text as it may be given; what steers the model or has no letters is refused, as fishtune would.
function sayable(given) {
  const text = wordsOf(given).join(" ");
  if (!text) throw new Refused("text_empty");
  if (/<\|(?!phoneme_(start|end)\|>).*?\|>/u.test(text)) throw new Refused("text_steers");
  if (!/[\p{L}\p{N}]/u.test(text.replace(/\{[^}]*\}|<[^>]*>/gu, " "))) throw new Refused("text_wordless");
  return text;
}

function parts(clip, { at, before }, taken) {
  const said = wordsOf(clip.text);
  if (!(at > 0 && at < secondsOf(clip) && before > 0 && before < said.length)) throw new Refused("no_such_place");
  const heard = clip.words.length === said.length ? clip.words : [];
  let name = `${clip.clip}+`;
  while (taken.has(name)) name += "+";
  const [first, second] = cut(clip.pieces, at);
  const part = (named, pieces, text, words, begin) => ({
    ...clip,
    clip: named,
    pieces,
    text: text.join(" "),
    words: words.map((word) => shifted(word, -begin)),
    score: words.length ? certainty(words) : clip.score,
  });
  return [
    part(clip.clip, first, said.slice(0, before), heard.slice(0, before), 0),
    part(name, second, said.slice(before), heard.slice(before), at),
  ];
}

function cut(pieces, at) {
  const first = [];
  const second = [];
  let begin = 0;
  for (const piece of pieces) {
    const inside = piece.start + Math.min(Math.max(at - begin, 0), piece.end - piece.start);
    if (inside > piece.start) first.push({ ...piece, end: inside });
    if (inside < piece.end) second.push({ ...piece, start: inside });
    begin += piece.end - piece.start;
  }
  return [first, second];
}

function joined(clip, following) {
  const scores = [clip.score, following.score].filter((score) => score !== null);
  const areHeard = clip.words.length > 0 && following.words.length > 0;
  return {
    ...clip,
    pieces: [...clip.pieces, ...following.pieces],
    text: `${clip.text} ${following.text}`,
    score: scores.length ? Math.min(...scores) : null,
    words: areHeard ? [...clip.words, ...following.words.map((word) => shifted(word, secondsOf(clip)))] : [],
  };
}

function shifted(word, by) {
  const moved = (time) => Math.round(Math.max(time + by, 0) * 100) / 100;
  return { ...word, start: moved(word.start), end: moved(word.end) };
}

// The mean probability of the least sure words.
function certainty(words) {
  const doubted = words.map((word) => word.probability).sort((one, other) => one - other).slice(0, DOUBTED);
  return Math.round((1000 * doubted.reduce((sum, each) => sum + each, 0)) / doubted.length) / 1000;
}
