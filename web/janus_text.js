// Text on the node: what a node says stands in a read-only field, while it is written and afterwards.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const NODES = ["JanusAsk", "JanusBestOf", "JanusCaptionFolder", "JanusChoose", "JanusScore", "JanusUnderstand"];
// Nodes whose seed draws nothing as they are added: a new one for each run would only make all run anew.
const GREEDY = ["JanusCaptionFolder", "JanusUnderstand"];
const FIELD = "result";
const FIELD_HEIGHT = 110; // pixels, at least
const WORDS = {
  en: { label: "result", empty: "Shown here once the node has run." },
  zh: { label: "结果", empty: "节点运行后，结果显示在这里。" },
};
const PREVIEWS_END = 600; // milliseconds after which a front end has let go of a node's previews

const words = () => WORDS[app.extensionManager?.setting?.get("Comfy.Locale")] ?? WORDS.en;

/** Adds the field; it is no input, so it is part of neither the saved workflow nor the queued prompt. */
function addField(node) {
  const { widget } = app.widgets.STRING(node, FIELD, ["STRING", { multiline: true }], app);
  widget.serialize = false;
  widget.options.serialize = false;
  widget.options.read_only = true;
  widget.options.getMinHeight = () => FIELD_HEIGHT;
  widget.label = words().label;
  widget.element.readOnly = true;
  widget.element.placeholder = words().empty;
  node.setSize([node.size[0], Math.max(node.size[1], node.computeSize()[1])]);
}

const fieldOf = (node) => NODES.includes(node?.type) && node.widgets?.find((widget) => widget.name === FIELD);

function show(node, text) {
  const field = fieldOf(node);
  if (field) field.value = text;
}

const textOf = (output) => output.text.join("\n\n");

const rootGraph = () => app.rootGraph ?? app.graph;

/** The node that runs under an id; within subgraphs the id is a path of nodes, such as "3:12". */
function runningNode(executionId) {
  const path = String(executionId).split(":");
  const graph = path.slice(0, -1).reduce((outer, id) => outer?.getNodeById(id)?.subgraph, rootGraph());
  return graph?.getNodeById(path.at(-1));
}

// Which workflow each prompt was queued from, and what its nodes have said by the ids that they run under: a
// run goes on while another workflow is open, whose nodes may have the same ids.
const origins = new Map();
const said = new WeakMap();
let running; // the prompt

const active = () => app.extensionManager?.workflow?.activeWorkflow;
const originOf = (prompt) => origins.get(prompt) ?? active();
const isOpen = (prompt) => originOf(prompt) === active();

function say(prompt, id, text) {
  const origin = originOf(prompt);
  if (origin) {
    if (!said.has(origin)) said.set(origin, new Map());
    said.get(origin).set(String(id), text);
  }
  if (isOpen(prompt)) show(runningNode(id), text);
}

function finish({ prompt_id, node, display_node, output }) {
  const id = display_node ?? node;
  if (output?.text) say(prompt_id, id, textOf(output));
  if (isOpen(prompt_id)) {
    if (output?.images?.length) endPreviews(id, output);
  } else if (app.nodeOutputs?.[id]) {
    delete app.nodeOutputs[id].text; // the front end has put it down as the open workflow's
  }
}

/** Shows the finished images: as long as a front end holds a node's last preview, it shows that. */
function endPreviews(id, output) {
  const [node, workflow] = [runningNode(id), active()];
  const store = app.extensionManager?._p?._s?.get("nodeOutput");
  if (!node?.type?.startsWith("Janus") || !store?.revokePreviewsByExecutionId) return;
  store.revokePreviewsByExecutionId(id);
  setTimeout(() => {
    if (workflow !== active()) return;
    node.images = node.preview = undefined; // what it has loaded
    store.setNodeOutputsByExecutionId(id, { ...output });
    app.canvas?.setDirty(true, true);
  }, PREVIEWS_END);
}

/** Nodes are made anew when a change is undone or a workflow is come back to; what they showed is kept. */
function restore(outputs) {
  for (const [place, output] of Object.entries(outputs ?? {})) {
    const path = place.split(":"); // within a subgraph its id comes first, such as "<id>:12"
    const graph = path.length > 1 ? rootGraph().subgraphs?.get(path[0]) : rootGraph();
    if (output?.text) show(graph?.getNodeById(path.at(-1)), textOf(output));
  }
  said.get(active())?.forEach((text, id) => show(runningNode(id), text));
}

app.registerExtension({
  name: "Janus.Text",

  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!NODES.includes(nodeData.name)) return;
    const { onNodeCreated } = nodeType.prototype;
    nodeType.prototype.onNodeCreated = function (...rest) {
      onNodeCreated?.apply(this, rest);
      addField(this);
      const control = this.widgets.find((widget) => widget.name === "control_after_generate");
      if (control && GREEDY.includes(nodeData.name)) control.value = "fixed";
    };
  },

  afterConfigureGraph() {
    setTimeout(() => restore(app.nodeOutputs)); // by then the front end knows which workflow is open
  },

  onNodeOutputsUpdated(outputs) {
    restore(outputs);
  },

  setup() {
    const { queuePrompt } = api;
    api.queuePrompt = async function (...rest) {
      const origin = active();
      const answer = await queuePrompt.apply(this, rest);
      if (origin && answer?.prompt_id) origins.set(answer.prompt_id, origin);
      return answer;
    };
    api.addEventListener("execution_start", ({ detail }) => (running = detail.prompt_id));
    // No node is what a run ends with, however it ends; a blocked node's error comes in the middle of one.
    api.addEventListener("executing", ({ detail }) =>
      detail ? say(running, detail, "") : origins.delete(running),
    );
    api.addEventListener("executed", ({ detail }) => finish(detail));
    api.addEventListener("janus.text", ({ detail }) => {
      say(running, detail.node, detail.text);
      const { element } = (isOpen(running) && fieldOf(runningNode(detail.node))) || {};
      if (element) element.scrollTop = element.scrollHeight;
    });
  },
});
