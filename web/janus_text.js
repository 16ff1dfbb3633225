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
  const field = NODES.includes(node?.type) && node.widgets?.find((widget) => widget.name === FIELD);
  if (field) field.value = text;
}

function showOutput(node, output) {
  if (output?.text) show(node, output.text.join("\n\n"));
}

const rootGraph = () => app.rootGraph ?? app.graph;

/** The node that runs under an id; within subgraphs the id is a path of nodes, such as "3:12". */
function runningNode(executionId) {
  const path = String(executionId).split(":");
  const graph = path.slice(0, -1).reduce((outer, id) => outer?.getNodeById(id)?.subgraph, rootGraph());
  return graph?.getNodeById(path.at(-1));
}

/** Nodes are made anew when a change is undone or a workflow is come back to; what they showed is kept. */
function restore(outputs) {
  for (const [place, output] of Object.entries(outputs ?? {})) {
    const path = place.split(":"); // within a subgraph its id comes first, such as "<id>:12"
    const graph = path.length > 1 ? rootGraph().subgraphs?.get(path[0]) : rootGraph();
    showOutput(graph?.getNodeById(path.at(-1)), output);
  }
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
      showOutput(this, output);
    };
  },

  afterConfigureGraph() {
    restore(app.nodeOutputs);
  },

  onNodeOutputsUpdated(outputs) {
    restore(outputs);
  },

  setup() {
    api.addEventListener("executing", ({ detail }) => detail && show(runningNode(detail), ""));
    api.addEventListener("janus.text", ({ detail }) => show(runningNode(detail.node), detail.text));
  },
});
