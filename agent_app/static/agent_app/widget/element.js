// element("p", { class: "note" }, "text", child): an element with attributes, listeners (on…) and children.
const SVG = "http://www.w3.org/2000/svg";

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A line drawing of 24 × 24, hidden from assistive technology. */
export function icon(path) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", "0 0 24 24");
  drawing.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  drawing.append(line);
  return drawing;
}

export const PATHS = {
  star: "m12 4 2.500 5.100 5.600.800-4.050 3.950.950 5.600L12 16.800l-5 2.650.950-5.600L3.900 9.900l5.600-.8z",
  close: "m6 6 12 12M18 6 6 18",
  send: "M12 19V5m-6 6 6-6 6 6",
  person: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8Zm-7 8c.6-3.600 3.400-5.500 7-5.500s6.400 1.900 7 5.500",
  stop: "M8 8h8v8H8z",
  assistant: "M5 6h14v10h-7l-4 3.500V16H5z M9 11h.01M12 11h.01M15 11h.01",
  down: "m6 9 6 6 6-6",
  clip: "m20 11-8.500 8.500a5 5 0 0 1-7-7L13 4a3.300 3.300 0 0 1 4.700 4.700l-8.500 8.500a1.700 1.700 0 0 1-2.400-2.400L14.500 7",
  thumb: "M7 11v9H4v-9zm0 0 4-7.500c1.500 0 2.500 1 2.500 2.500V9h5a1.800 1.800 0 0 1 1.800 2.200l-1.400 7A2.200 2.200 0 0 1 16.700 20H7",
  page: "M7 4h7l4 4v12H7z M14 4v4h4",
};
