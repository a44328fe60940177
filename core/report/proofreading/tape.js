// Sound of clips as they should be: pieces of recordings, one after another.

class Tape {
  #clip = null; // its name
  #pieces = [];
  #piece = 0;
  #runs = false;
  #isUnderWay = false; // what the player tells is of this piece
  #request = 0;

  get clip() {
    return this.#clip;
  }

  get isPlaying() {
    return this.#runs;
  }

  // Seconds from the clip's beginning.
  get position() {
    const piece = this.#pieces[this.#piece];
    if (piece === undefined) return 0;
    const begin = this.#pieces.slice(0, this.#piece).reduce((sum, each) => sum + each.end - each.start, 0);
    const inside = player.clip === piece.sound ? player.position - piece.start : 0;
    return begin + Math.min(Math.max(inside, 0), piece.end - piece.start);
  }

  async play(clip, position = 0) {
    this.#clip = clip.clip;
    this.#pieces = clip.pieces;
    let inside = position;
    let piece = 0;
    while (piece < clip.pieces.length - 1 && inside >= clip.pieces[piece].end - clip.pieces[piece].start) {
      inside -= clip.pieces[piece].end - clip.pieces[piece].start;
      piece += 1;
    }
    player.keep([...new Set(clip.pieces.map((each) => each.sound))]);
    await this.#start(piece, inside);
  }

  async #start(number, inside) {
    const request = ++this.#request;
    this.#piece = number;
    const piece = this.#pieces[number];
    this.#runs = true;
    this.#isUnderWay = false;
    await player.play(piece.sound, piece.start + inside);
    if (request === this.#request) this.#isUnderWay = true;
  }

  toggle(clip) {
    if (clip.clip !== this.#clip || clip.pieces !== this.#pieces) return this.play(clip);
    if (this.#runs) return this.pause();
    return this.play(clip, this.position >= secondsOf(clip) - 0.05 ? 0 : this.position);
  }

  pause() {
    this.#request += 1;
    this.#runs = false;
    player.pause();
  }

  seek(clip, position) {
    const at = Math.min(Math.max(0, position), secondsOf(clip));
    return this.play(clip, at);
  }

  // At the end of a piece the next one begins; asked for at every frame, and when a recording ends.
  follow() {
    const piece = this.#pieces[this.#piece];
    if (!this.#runs || !this.#isUnderWay || player.clip !== piece.sound) return;
    if (player.isPlaying && player.position < piece.end) return;
    if (this.#piece + 1 < this.#pieces.length) this.#start(this.#piece + 1, 0);
    else this.pause();
  }
}

const tape = new Tape();
