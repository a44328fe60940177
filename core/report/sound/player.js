// One thing sounds at a time. The clips that can be switched to next keep an element each, so that a switch
// loads nothing; all others are let go, since browsers limit how many players a page may have.

class Player extends EventTarget {
  #elements = new Map();
  #clip = null;
  #request = 0;
  #isStarting = false;

  get clip() {
    return this.#clip;
  }

  // Whether something sounds, or will as soon as it is loaded.
  get isPlaying() {
    const element = this.#elements.get(this.#clip);
    return this.#isStarting || (element !== undefined && !element.paused && !element.ended);
  }

  get position() {
    return this.#elements.get(this.#clip)?.currentTime ?? 0;
  }

  // Keep players for these clips and no others.
  keep(clips) {
    const wanted = new Set(clips);
    for (const [clip, element] of this.#elements) {
      if (wanted.has(clip)) continue;
      element.pause();
      element.removeAttribute("src");
      element.load();
      element.remove();
      this.#elements.delete(clip);
      if (clip === this.#clip) this.#clip = null;
    }
    for (const clip of wanted) if (!this.#elements.has(clip)) this.#elements.set(clip, this.#load(clip));
  }

  play(clip, position = 0) {
    return this.#start(clip, () => position);
  }

  // Go on with another clip where this one is by then; what is shorter than that begins again.
  switchTo(clip) {
    return this.#start(clip, () => this.position);
  }

  async #start(clip, position) {
    const request = ++this.#request;
    this.#isStarting = true;
    if (!this.#elements.has(clip)) this.keep([clip]);
    const element = this.#elements.get(clip);
    if (element.readyState < HTMLMediaElement.HAVE_METADATA) {
      await new Promise((done) => {
        element.addEventListener("loadedmetadata", done, { once: true });
        element.addEventListener("error", done, { once: true });
      });
      if (request !== this.#request) return; // another clip was chosen meanwhile
    }
    this.#isStarting = false;
    const at = position();
    if (clip !== this.#clip) this.#elements.get(this.#clip)?.pause();
    this.#clip = clip;
    element.currentTime = at < element.duration ? at : 0;
    try {
      await element.play();
    } catch (error) {
      if (error.name !== "AbortError") throw error; // paused before it began
    }
    this.#changed();
  }

  async toggle(clip) {
    if (clip !== this.#clip) return this.play(clip);
    if (this.isPlaying) return this.pause();
    const element = this.#elements.get(clip);
    return this.play(clip, element.ended ? 0 : element.currentTime);
  }

  pause() {
    this.#request += 1;
    this.#isStarting = false;
    this.#elements.get(this.#clip)?.pause();
    this.#changed();
  }

  seek(seconds) {
    const element = this.#elements.get(this.#clip);
    if (element === undefined) return;
    element.currentTime = Math.min(Math.max(0, seconds), element.duration || 0);
    this.#changed();
  }

  #load(clip) {
    const element = make("audio", { preload: "auto", src: page.clips[clip].src });
    element.addEventListener("ended", () => this.#changed());
    document.getElementById("sound").append(element);
    return element;
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

const player = new Player();
