// Waveform and pitch of a clip. All clips of a row have one time scale, so that their positions compare.

const HEIGHT = 44;
const LOUDEST = Math.max(1, ...page.clips.map((clip) => Math.max(...clip.outline)));
const pitches = page.clips.flatMap((clip) => clip.pitch.filter((hertz) => hertz > 0));
const LOWEST = Math.min(...pitches, 400) * 0.9;
const HIGHEST = Math.max(...pitches, 100) * 1.1;

function waveform(clip, longest) {
  const width = 1000 * (clip.seconds / longest);
  const step = width / clip.outline.length;
  const bars = clip.outline.map((peak, index) => {
    const half = Math.max(0.5, (peak / LOUDEST) * (HEIGHT / 2 - 1));
    return `M${((index + 0.5) * step).toFixed(1)} ${(HEIGHT / 2 - half).toFixed(1)}V${(HEIGHT / 2 + half).toFixed(1)}`;
  });
  return draw(
    "svg",
    { class: "wave", viewBox: `0 0 1000 ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    draw("rect", { class: "extent", x: 0, y: 0, width, height: HEIGHT }),
    draw("path", { class: "bars", d: bars.join("") }),
    draw("path", { class: "pitch", d: pitchLine(clip, width) }),
    draw("line", { class: "position", x1: 0, x2: 0, y1: 0, y2: HEIGHT }),
  );
}

function pitchLine(clip, width) {
  const step = width / Math.max(1, clip.pitch.length);
  let voiced = false;
  let line = "";
  clip.pitch.forEach((hertz, index) => {
    if (hertz > 0) {
      const height = HEIGHT * (1 - Math.log(hertz / LOWEST) / Math.log(HIGHEST / LOWEST));
      line += `${voiced ? "L" : "M"}${((index + 0.5) * step).toFixed(1)} ${height.toFixed(1)}`;
      if (!voiced) line += "h0.1"; // a single voiced part is a dot
    }
    voiced = hertz > 0;
  });
  return line;
}

function showPosition(svg, seconds, longest) {
  const x = 1000 * (seconds / longest);
  const line = svg.querySelector(".position");
  line.setAttribute("x1", x);
  line.setAttribute("x2", x);
}
