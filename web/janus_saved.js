// Values of widgets: those of workflows saved by earlier versions, and the first ones of new nodes.

import { app } from "../../scripts/app.js";

// Former values of combos in saved workflows, and their present names; the same table as in nodes/choices.py.
const RENAMED = {
  "go on with its turns": "continue",
  "ask afresh about its images": "start over, keep the images",
};
// Nodes that are greedy by default: changing their seed after each run would only make them run again.
const GREEDY_NODES = ["JanusCaptionFolder", "JanusUnderstand"];

app.registerExtension({
  name: "Janus.Saved",

  nodeCreated(node) {
    const control = node.widgets?.find((widget) => widget.name === "control_after_generate");
    if (control && GREEDY_NODES.includes(node.comfyClass)) control.value = "fixed";
  },

  loadedGraphNode(node) {
    if (!node.type?.startsWith("Janus")) return;
    for (const widget of node.widgets ?? []) {
      if (widget.type === "combo") widget.value = RENAMED[widget.value] ?? widget.value;
    }
  },
});
