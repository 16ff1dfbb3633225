// A read-only text field on a node: one element of our own, so that it looks the same in both renderings.

import { app } from "../../scripts/app.js";

const NAME = "result";
const TYPE = "JANUS_TEXT";
const LABELS = {
  en: { label: "result", empty: "Shown here once the node has run." },
  zh: { label: "结果", empty: "节点运行后，结果显示在这里。" },
};

const labels = () => LABELS[app.extensionManager.setting.get("Comfy.Locale")] ?? LABELS.en;

export const fieldOf = (node) => node?.widgets?.find(({ name, type }) => name === NAME && type === TYPE);

function makeElement(height) {
  const element = document.createElement("textarea");
  element.className = "comfy-multiline-input";
  element.readOnly = true;
  element.placeholder = labels().empty;
  element.ariaLabel = labels().label;
  Object.assign(element.style, { minHeight: `${height}px`, boxSizing: "border-box", width: "100%", resize: "none" });
  element.addEventListener("wheel", (event) => {
    const scrolls = element.scrollHeight > element.clientHeight && !event.ctrlKey && !event.metaKey;
    if (scrolls) event.stopPropagation();
    else app.canvas.processMouseWheel(event);
  });
  return element;
}

/** Adds the field, at least this high in pixels. It is neither saved with the workflow nor sent with the prompt. */
export function addField(node, height) {
  const element = makeElement(height);
  const widget = node.addDOMWidget(NAME, TYPE, element, {
    serialize: false,
    getMinHeight: () => height,
    getValue: () => element.value,
    setValue: (text) => (element.value = text ?? ""),
  });
  widget.serialize = false;
  widget.label = labels().label;
  node.setSize([node.size[0], Math.max(node.size[1], node.computeSize()[1])]);
}
