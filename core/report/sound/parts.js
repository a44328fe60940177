// What every page with sound has: the choice of its language, its keys, files that it saves and takes in.

function languageChoice(render) {
  return choice(say("language"), Object.entries(LANGUAGES), language, (value) => {
    language = value;
    remember("fishtune-language", value);
    render();
  });
}

// `keys` are [key, name of the text that says what it does].
function buildKeys(keys) {
  return make("details", { class: "keys" }, make("summary", {}, say("keys")), make("dl", {}, ...keys.map(([key, what]) => make("div", {}, make("dt", {}, make("kbd", {}, key)), make("dd", {}, say(what))))));
}

function saveFile(name, data) {
  const address = URL.createObjectURL(new Blob([JSON.stringify(data, null, 2)], { type: "application/json" }));
  make("a", { href: address, download: `${name.replace(/[^\p{L}\p{N}._-]+/gu, "_")}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

// A button that takes in a file; `take` gets what it holds, undefined where it is no JSON, and its name.
function loadButton(id, text, take) {
  const read = async () => {
    const [chosen] = file.files;
    if (chosen === undefined) return;
    file.value = ""; // the same file can be chosen again
    let found;
    try {
      found = JSON.parse(await chosen.text());
    } catch {
      found = undefined;
    }
    take(found, chosen.name);
  };
  const file = make("input", { type: "file", id, accept: ".json,application/json", "aria-label": text, class: "unseen", tabindex: -1, onchange: read });
  return make("span", {}, file, make("button", { class: "quiet", onclick: () => file.click() }, text));
}

function complain(text) {
  announce(text);
  alert(text);
}

// Whether keys are for the page and not for what has the focus.
function isForPage(event) {
  const { target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return false;
  if (target.matches("input, select, textarea")) return false;
  return !(target.matches("button, summary, [role=button]") && (event.key === "Enter" || event.key === " "));
}
