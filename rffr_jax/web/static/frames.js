// The frames of a video on a slider: each whole, with the crop and the score of each face.

import { clock, element } from "/elements.js";
import { wholeFrame } from "/whole.js";

// A slider over the frames in which a face was judged; calls `moved` with the seconds of each.
export function frameSlider(id, name, sent, faces, moved) {
  const times = [...new Set(faces.flatMap((face) => face.frames.map((frame) => frame.time)))];
  times.sort((one, other) => one - other);
  const field = element("input", {
    id: `${id}-frame`, type: "range", min: 0, max: times.length - 1, step: 1, value: 0,
    "aria-labelledby": `${id}-frame-label ${name}`,
  });
  const value = element("output", { for: field.id, "aria-live": "off" });
  const figures = element("div", { class: "peaks" });
  const boxed = faces.some((face) => face.box);
  const whole = boxed && wholeFrame(id, sent);
  const show = () => {
    const time = times[field.valueAsNumber];
    const at = (face, frames) => frames
      .filter((frame) => frame.time === time)
      .map((frame) => ({ ...frame, face: face.face }));
    const judged = faces.flatMap((face) => at(face, face.frames));
    const others = faces.flatMap((face) => at(face, face.not_judged));
    const scores = judged.map(({ face, score }) => `face ${face}: score ${score.toFixed(3)}`);
    value.textContent = `${clock(time)}, frame ${judged[0].frame}`;
    field.setAttribute("aria-valuetext", `${value.textContent}, ${scores.join(", ")}`);
    figures.replaceChildren(...judged.map(({ picture }, place) => element("figure", {},
      ...(picture ? [element("img", { src: picture, alt: "" })] : []),
      element("figcaption", {}, scores[place]))));
    if (whole) whole.show(time, [...judged, ...others]);
    moved(time);
  };
  field.addEventListener("input", show);
  show();
  const label = element("label", { for: field.id, id: `${id}-frame-label` }, "Frame");
  return [
    element("div", { class: "controls frames" }, label, ...(times.length > 1 ? [field] : []), value),
    ...(whole ? [whole.part] : []),
    figures,
  ];
}
