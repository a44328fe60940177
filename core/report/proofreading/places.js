// Where a clip can be cut between two of its words: the same as core/dataset/places.py, which says why.

const REACH = 0.3;
const SKIPPED = 0.1, SKIPPED_PER_SECOND = 3, LONG_PAUSE = 0.6;
const STOPPED = 0.35;
const STOPS = [".", ",", ";", ":", "!", "?", "…", "—", "。", "，", "、", "；", "：", "！", "？"];
const EDGE = 0.01;

function milliseconds(seconds) {
  return Math.round(seconds * 1000) / 1000;
}

// How pieces of clips sound one after another; `made` has what is known of the clips that they are of.
function soundingOf(pieces, made) {
  const words = [];
  const pauses = [];
  let begin = 0;
  for (const piece of pieces) {
    const by = begin - piece.start;
    for (const { text, start, end } of made[piece.clip].words) {
      const middle = (start + end) / 2;
      if (piece.start <= middle && middle < piece.end) words.push({ text, start: milliseconds(Math.max(start, piece.start) + by), end: milliseconds(Math.min(end, piece.end) + by) });
    }
    for (const [first, last] of made[piece.clip].pauses) {
      let start = Math.max(first, piece.start);
      let end = Math.min(last, piece.end);
      if (start >= end) continue;
      start = milliseconds(start + by);
      end = milliseconds(end + by);
      if (pauses.length && pauses.at(-1)[1] >= start) start = pauses.pop()[0]; // one piece ends in silence, and the next begins so
      pauses.push([start, end]);
    }
    begin += piece.end - piece.start;
  }
  return { seconds: begin, words, pauses };
}

// The places between the words of a text: where to cut, how long the pause there is, whether it is estimated.
function gapsOf(text, sounding) {
  const words = wordsOf(text);
  if (words.length < 2) return [];
  const ends = Array(words.length + 1).fill(null);
  const begins = Array(words.length + 1).fill(null);
  for (const [place, heard] of matchedWords(words, sounding.words)) {
    begins[place] = heard.start;
    ends[place + 1] = heard.end;
  }
  const isHeard = begins.slice(0, -1).map((begin) => begin !== null);
  const estimated = words.slice(1).map((_, place) => !isHeard[place] && !isHeard[place + 1]);
  const chosen = pausesAt(words, timesOf(words, ends, begins, sounding), estimated, sounding);
  for (const [place, [start, end]] of chosen) {
    ends[place] = start;
    begins[place] = end;
  }
  const times = timesOf(words, ends, begins, sounding);
  const gaps = [];
  let most = Math.max(sounding.seconds - EDGE, EDGE);
  for (let place = times.length; place > 0; place--) {
    const [start, end] = chosen.get(place) ?? [0, 0];
    const behind = [...chosen.keys()].filter((before) => before < place).map((before) => times[before - 1]);
    most = Math.min(most, Math.max(times[place - 1], EDGE, ...behind));
    gaps.unshift({ at: milliseconds(most), pause: Math.round((end - start) * 100) / 100, isEstimated: estimated[place - 1] });
  }
  return gaps;
}

// The words that were heard, each with its number: the longest common subsequence.
function matchedWords(words, heard) {
  const left = words.map(plainWord);
  const right = heard.map((each) => plainWord(each.text));
  const longest = Array.from({ length: left.length + 1 }, () => Array(right.length + 1).fill(0));
  const isSame = (i, j) => left[i] !== "" && left[i] === right[j];
  for (let i = left.length - 1; i >= 0; i--) {
    for (let j = right.length - 1; j >= 0; j--) longest[i][j] = isSame(i, j) ? longest[i + 1][j + 1] + 1 : Math.max(longest[i + 1][j], longest[i][j + 1]);
  }
  const found = [];
  let i = 0;
  let j = 0;
  while (i < left.length && j < right.length) {
    if (isSame(i, j)) found.push([i++, heard[j++]]);
    else if (longest[i + 1][j] >= longest[i][j + 1]) i += 1;
    else j += 1;
  }
  return found;
}

function plainWord(word) {
  return word.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");
}

function timesOf(words, ends, begins, sounding) {
  const letters = words.map((word) => [...plainWord(word)].length + 1);
  const inner = words.map((_, place) => place).slice(1);
  const known = inner.filter((place) => ends[place] !== null || begins[place] !== null);
  const sum = (values) => values.reduce((all, each) => all + each, 0);
  return inner.map((place) => {
    const [end, begin] = [ends[place], begins[place]];
    if (end !== null && begin !== null) return (end + begin) / 2;
    if (end !== null || begin !== null) return end ?? begin;
    const before = known.findLast((each) => each < place) ?? 0;
    const behind = known.find((each) => each > place) ?? words.length;
    const share = sum(letters.slice(before, place)) / sum(letters.slice(before, behind));
    const first = spokenUntil(begins[before] ?? ends[before] ?? 0, sounding.pauses);
    const last = spokenUntil(ends[behind] ?? begins[behind] ?? sounding.seconds, sounding.pauses);
    return timeOfSpoken(first + share * (last - first), sounding.pauses);
  });
}

function spokenUntil(time, pauses) {
  return time - pauses.reduce((silent, [start, end]) => silent + (start < time ? Math.max(0, Math.min(end, time) - start) : 0), 0);
}

function timeOfSpoken(spoken, pauses) {
  let time = spoken;
  for (const [start, end] of pauses) {
    if (start >= time) break;
    time += end - start;
  }
  return time;
}

function pausesAt(words, times, estimated, { seconds, pauses }) {
  const inside = pauses.filter(([start, end]) => start > 0 && end < seconds - EDGE);
  const moments = inside.map(([start]) => spokenUntil(start, pauses));
  const guesses = times.map((time) => spokenUntil(time, pauses));
  const skipped = inside.map(([start, end]) => SKIPPED + SKIPPED_PER_SECOND * Math.min(end - start, LONG_PAUSE));
  const cost = (gap, pause) => {
    const apart = Math.abs(guesses[gap] - moments[pause]);
    if (!estimated[gap] && apart > REACH) return Infinity;
    return apart - (STOPS.some((stop) => words[gap].endsWith(stop)) ? STOPPED : 0);
  };
  const best = Array.from({ length: times.length + 1 }, () => Array(inside.length + 1).fill(0));
  for (let gap = times.length; gap >= 0; gap--) {
    for (let pause = inside.length - 1; pause >= 0; pause--) {
      best[gap][pause] = skipped[pause] + best[gap][pause + 1];
      if (gap < times.length) best[gap][pause] = Math.min(best[gap][pause], best[gap + 1][pause], cost(gap, pause) + best[gap + 1][pause + 1]);
    }
  }
  const chosen = new Map();
  let gap = 0;
  let pause = 0;
  while (gap < times.length && pause < inside.length) {
    if (best[gap][pause] === cost(gap, pause) + best[gap + 1][pause + 1]) chosen.set(++gap, inside[pause++]);
    else if (best[gap][pause] === best[gap + 1][pause]) gap += 1;
    else pause += 1;
  }
  return chosen;
}
