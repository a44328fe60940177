// The blind test: two recordings of one text without names (A/B), and one of them again (A/B/X).
// A vote names both columns, so that fishtune reads it without this page.

const VOTES_KEY = `fishtune-votes:${page.id}`;
const blind = { kind: "ab", one: "any", other: "any", trial: null };
let votes = JSON.parse(remembered(VOTES_KEY) ?? "[]");

function keepVotes() {
  remember(VOTES_KEY, JSON.stringify(votes));
}

function chance(below) {
  const drawn = new Uint32Array(1);
  crypto.getRandomValues(drawn);
  return drawn[0] % below;
}

// Every pair of recordings of one text that the settings allow: [row, column, column].
function pairs() {
  const wanted = (column, which) => blind[which] === "any" || Number(blind[which]) === column;
  const found = [];
  page.rows.forEach((_, row) => {
    const there = page.columns.map((_, column) => column).filter((column) => clipAt(row, column) !== null);
    for (const one of there) for (const other of there) if (one !== other && wanted(one, "one") && wanted(other, "other")) found.push([row, one, other]);
  });
  return found;
}

function nextTrial() {
  player.pause();
  const found = pairs();
  if (!found.length) {
    blind.trial = null;
    return;
  }
  // Those that were voted on least come first.
  const count = ([row, one, other]) => votes.filter((vote) => vote.text === page.rows[row].text && [vote.first, vote.second].includes(page.columns[one].id) && [vote.first, vote.second].includes(page.columns[other].id)).length;
  const least = Math.min(...found.map(count));
  const open = found.filter((pair) => count(pair) === least);
  const [row, one, other] = open[chance(open.length)];
  const sides = chance(2) ? [one, other] : [other, one];
  blind.trial = { row, sides, x: chance(2), playing: null };
  player.keep(sides.map((column) => clipAt(row, column)));
}

function trialClip(side) {
  const { row, sides, x } = blind.trial;
  return clipAt(row, sides[{ A: 0, B: 1, X: x }[side]]);
}

async function playSide(side) {
  const { trial } = blind;
  if (trial === null || (side === "X" && blind.kind !== "abx")) return;
  const again = trial.playing === side;
  trial.playing = side;
  if (again) await player.toggle(trialClip(side));
  else await (player.isPlaying ? player.switchTo(trialClip(side)) : player.play(trialClip(side)));
  showSides();
}

function showSides() {
  for (const button of document.querySelectorAll("button.side")) {
    const isIt = blind.trial !== null && button.dataset.side === blind.trial.playing;
    button.setAttribute("aria-pressed", String(isIt && player.isPlaying));
  }
}

function vote(answer) {
  const { trial, kind } = blind;
  if (trial === null || (answer === "same" && kind === "abx")) return;
  const asked = page.rows[trial.row];
  votes.push({
    kind,
    text: asked.text,
    seed: asked.seed,
    first: page.columns[trial.sides[0]].id,
    second: page.columns[trial.sides[1]].id,
    x: kind === "abx" ? ["first", "second"][trial.x] : null,
    choice: answer,
    time: new Date().toISOString(),
  });
  keepVotes();
  nextTrial();
  render();
  announce(say("blind_number", { number: votes.length + 1 }));
}

function openBlind() {
  player.pause();
  state.blind = true;
  nextTrial();
  render();
  document.querySelector("button.side")?.focus();
}

function closeBlind() {
  player.pause();
  state.blind = false;
  blind.trial = null;
  render();
  setCurrent(state.row, state.column, { focus: true });
}

function buildBlind() {
  const columns = [["any", say("blind_any")], ...page.columns.map((column, place) => [String(place), columnName(column)])];
  const change = (name) => (value) => {
    blind[name] = value;
    nextTrial();
    render();
  };
  return make(
    "section",
    { class: "blind", "aria-label": say("blind") },
    make("p", {}, say("blind_about")),
    make(
      "div",
      { class: "bar" },
      choice(say("blind_kind"), [["ab", say("blind_ab")], ["abx", say("blind_abx")]], blind.kind, change("kind")),
      choice(say("blind_one"), columns, blind.one, change("one")),
      choice(say("blind_other"), columns, blind.other, change("other")),
    ),
    blind.trial === null ? make("p", {}, say("blind_none")) : buildTrial(),
    make("p", { class: "note" }, say("key_votes")),
  );
}

function buildTrial() {
  const asked = page.rows[blind.trial.row];
  const sides = blind.kind === "abx" ? ["A", "B", "X"] : ["A", "B"];
  const answers = blind.kind === "abx" ? [["first", "x_is_a"], ["second", "x_is_b"]] : [["first", "better_a"], ["same", "no_difference"], ["second", "better_b"]];
  return make(
    "div",
    { class: "trial" },
    make("h2", {}, say("blind_number", { number: votes.length + 1 })),
    make("p", { class: "asked", lang: asked.language || null, dir: "auto" }, asked.text),
    make("div", { class: "sides" }, ...sides.map((side) => make("button", { class: "side", "data-side": side, "aria-pressed": "false", "aria-label": say("play_label", { name: side }), onclick: () => playSide(side) }, side))),
    make("div", { class: "answers" }, ...answers.map(([answer, key]) => make("button", { "data-answer": answer, onclick: () => vote(answer) }, say(key)))),
    make("button", { class: "quiet", onclick: () => { nextTrial(); render(); } }, say("skip")),
  );
}

function buildVotes() {
  if (!votes.length && !state.blind) return "";
  return make(
    "section",
    { class: "votes", "aria-label": say("votes", { number: votes.length }) },
    make(
      "div",
      { class: "bar" },
      make("strong", {}, say("votes", { number: votes.length })),
      make("button", { id: "save-votes", onclick: saveVotes }, say("votes_save")),
      loadButton("load-votes", say("votes_load"), loadVotes),
      votes.length ? make("button", { class: "quiet", onclick: clearVotes }, say("votes_clear")) : null,
    ),
    state.blind || !votes.length ? null : buildResults(), // names while a test runs would tell too much
  );
}

function buildResults() {
  const counted = new Map();
  for (const { kind, first, second, choice } of votes) {
    if (kind !== "ab") continue;
    for (const [id, side] of [[first, "first"], [second, "second"]]) {
      const row = counted.get(id) ?? { won: 0, lost: 0, same: 0 };
      row[choice === "same" ? "same" : choice === side ? "won" : "lost"] += 1;
      counted.set(id, row);
    }
  }
  const guesses = votes.filter((vote) => vote.kind === "abx");
  const names = new Map(page.columns.map((column) => [column.id, columnName(column)]));
  const ordered = [...counted].sort(([, one], [, other]) => other.won - other.lost - (one.won - one.lost));
  return make(
    "div",
    { class: "results" },
    ordered.length
      ? make(
          "table",
          {},
          make("thead", {}, make("tr", {}, ...["result_name", "result_won", "result_lost", "result_same"].map((key) => make("th", { scope: "col" }, say(key))))),
          make("tbody", {}, ...ordered.map(([id, row]) => make("tr", {}, make("th", { scope: "row" }, names.get(id) ?? id), ...["won", "lost", "same"].map((each) => make("td", {}, number(row[each])))))),
        )
      : null,
    guesses.length ? make("p", {}, abxResult(guesses)) : null,
  );
}

function abxResult(guesses) {
  const right = guesses.filter((guess) => guess.choice === guess.x).length;
  return say("result_abx", { right, total: guesses.length, chance: percent(atLeast(right, guesses.length)) });
}

// The chance of at least this many heads in so many throws of a coin.
function atLeast(heads, throws) {
  let ways = 1;
  let sum = 0;
  for (let k = 0; k <= throws; k++) {
    if (k >= heads) sum += ways;
    ways = (ways * (throws - k)) / (k + 1);
  }
  return sum / 2 ** throws;
}

function saveVotes() {
  saveFile(`votes-${page.title}`, { fishtune_votes: 1, page: page.id, title: page.title, votes });
}

function loadVotes(found, name) {
  const isVote = (vote) => ["ab", "abx"].includes(vote?.kind) && ["first", "second", "same"].includes(vote.choice) && [vote.text, vote.first, vote.second, vote.time].every((text) => typeof text === "string");
  if (found?.fishtune_votes !== 1 || !Array.isArray(found.votes) || !found.votes.every(isVote)) {
    complain(say("votes_wrong", { file: name }));
    return;
  }
  const known = new Set(votes.map((vote) => JSON.stringify([vote.time, vote.text, vote.first, vote.second])));
  const added = found.votes.filter((vote) => !known.has(JSON.stringify([vote.time, vote.text, vote.first, vote.second])));
  votes.push(...added);
  keepVotes();
  render();
  announce(say("votes_loaded", { number: added.length }));
}

function clearVotes() {
  if (!confirm(say("votes_sure", { number: votes.length }))) return;
  votes = [];
  keepVotes();
  render();
}

const BLIND_KEYS = {
  a: () => playSide("A"),
  b: () => playSide("B"),
  x: () => playSide("X"),
  1: () => vote("first"),
  2: () => vote("second"),
  0: () => vote("same"),
  Escape: () => closeBlind(),
};

function blindKey(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!(key in BLIND_KEYS)) return;
  BLIND_KEYS[key]();
  event.preventDefault();
}
