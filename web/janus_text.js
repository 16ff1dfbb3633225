// Text on the node: what a node says stands in a read-only field, while it is written and afterwards.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const NODES = ["JanusAsk", "JanusBestOf", "JanusCaptionFolder", "JanusChoose", "JanusScore", "JanusUnderstand"];
const FIELD = "result";

/** Adds the field; it is no input, so it is part of neither the saved workflow nor the queued prompt. */
function addField(node) {
  const { widget } = app.widgets.STRING(node, FIELD, ["STRING", { multiline: true }], app);
  widget.serialize = false;
  widget.options.serialize = false;
  widget.options.read_only = true;
  widget.element.readOnly = true;
  widget.element.placeholder = "Shown here once the node has run.";
  node.setSize([node.size[0], Math.max(node.size[1], node.computeSize()[1])]);
}

function show(node, text) {
  const field = node?.widgets?.find((widget) => widget.name === FIELD);
  if (field) field.value = text;
}

/** The node that runs under an id; within subgraphs the id is a path, such as "3:12". */
function nodeOf(executionId) {
  const path = String(executionId).split(":").map(Number);
  const graph = path.slice(0, -1).reduce((outer, id) => outer?.getNodeById(id)?.subgraph, app.rootGraph ?? app.graph);
  return graph?.getNodeById(path.at(-1));
}

app.registerExtension({
  name: "Janus.Text",

  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!NODES.includes(nodeData.name)) return;
    const { onNodeCreated, onExecuted } = nodeType.prototype;
    nodeType.prototype.onNodeCreated = function (...rest) {
      onNodeCreated?.apply(this, rest);
      addField(this);
    };
    nodeType.prototype.onExecuted = function (output, ...rest) {
      onExecuted?.call(this, output, ...rest);
      if (output?.text) show(this, output.text.join("\n\n"));
    };
  },

  setup() {
    api.addEventListener("janus.text", ({ detail }) => show(nodeOf(detail.node), detail.text));
  },
});
