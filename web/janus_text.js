// Shows the text of Janus nodes in a read-only field on the node, while it is generated and afterwards.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const TEXT_NODES = [
  "JanusAsk",
  "JanusBestOf",
  "JanusCaptionFolder",
  "JanusChoose",
  "JanusScore",
  "JanusThinkAndDraw",
  "JanusUnderstand",
];
// Nodes that seldom have something to say: the field appears with the first text.
const NOTE_NODES = ["JanusEdit", "JanusLoad"];
// Nodes that are greedy by default: changing their seed after each run would only make them run again.
const GREEDY_NODES = ["JanusCaptionFolder", "JanusUnderstand"];
const FIELD = "result";
const FIELD_HEIGHT = 110; // minimum, in pixels
const NOTE_HEIGHT = 52; // of a field on a node of NOTE_NODES
const LABELS = {
  en: { label: "result", empty: "Shown here once the node has run." },
  zh: { label: "结果", empty: "节点运行后，结果显示在这里。" },
};
// Former values of combos in saved workflows, and their present names; the same table as in nodes/choices.py.
const RENAMED = {
  "go on with its turns": "continue",
  "ask afresh about its images": "start over, keep the images",
};
const LAST_PREVIEW = 600; // milliseconds within which the front end has drawn a node's last preview

const labels = () => LABELS[app.extensionManager?.setting?.get("Comfy.Locale")] ?? LABELS.en;

/** Adds the text field. It is neither saved with the workflow nor sent with the prompt. */
function addField(node) {
  const { widget } = app.widgets.STRING(node, FIELD, ["STRING", { multiline: true }], app);
  widget.serialize = false;
  widget.options.serialize = false;
  widget.options.read_only = true;
  widget.options.getMinHeight = () => (NOTE_NODES.includes(node.type) ? NOTE_HEIGHT : FIELD_HEIGHT);
  widget.label = labels().label;
  widget.element.readOnly = true;
  widget.element.placeholder = labels().empty;
  node.setSize([node.size[0], Math.max(node.size[1], node.computeSize()[1])]);
}

const fieldOf = (node) =>
  [...TEXT_NODES, ...NOTE_NODES].includes(node?.type) && node.widgets?.find((widget) => widget.name === FIELD);

function setText(node, text) {
  if (text && NOTE_NODES.includes(node?.type) && !fieldOf(node)) addField(node);
  const field = fieldOf(node);
  if (field) field.value = text;
}

/** The texts of a node, one per run, each with its note below: how answers ended. */
const textOf = ({ text, note = [] }) =>
  text.map((part, run) => (note[run] ? `${part}\n${note[run]}` : part)).join("\n\n");

const rootGraph = () => app.rootGraph ?? app.graph;

/** Finds a node by its execution id. Within subgraphs, that is a path of node ids, such as "3:12". */
function nodeByExecutionId(executionId) {
  const path = String(executionId).split(":");
  const graph = path.slice(0, -1).reduce((outer, id) => outer?.getNodeById(id)?.subgraph, rootGraph());
  return graph?.getNodeById(path.at(-1));
}

// A run continues while another workflow is open, which may have nodes with the same ids. So remember which
// workflow each prompt was queued from, and the texts of each workflow by execution id.
const workflowOfPrompt = new Map();
const textsOfWorkflow = new WeakMap();
let runningPrompt;

const openWorkflow = () => app.extensionManager?.workflow?.activeWorkflow;
const originOf = (prompt) => workflowOfPrompt.get(prompt) ?? openWorkflow();
const isOpen = (prompt) => originOf(prompt) === openWorkflow();

/** Stores the text of a node, and shows it if its workflow is open. */
function updateText(prompt, id, text) {
  const origin = originOf(prompt);
  if (origin) {
    if (!textsOfWorkflow.has(origin)) textsOfWorkflow.set(origin, new Map());
    textsOfWorkflow.get(origin).set(String(id), text);
  }
  if (isOpen(prompt)) setText(nodeByExecutionId(id), text);
}

function onExecuted({ prompt_id, node, display_node, output }) {
  const id = display_node ?? node;
  if (output?.text) updateText(prompt_id, id, textOf(output));
  if (isOpen(prompt_id)) {
    showImages(nodeByExecutionId(id), output?.images);
  } else if (app.nodeOutputs?.[id]) {
    delete app.nodeOutputs[id].text; // the front end takes it for an output of the open workflow
  }
}

/**
 * Shows a node's finished images instead of its last preview, which front ends prefer. Where nodes are drawn by
 * Vue (Nodes 2.0) this has no effect: there, the last preview stays, a sheet of the finished images.
 */
async function showImages(node, images) {
  if (!node?.type?.startsWith("Janus") || !images?.length) return;
  const loaded = images.map((image) => {
    const element = new Image();
    element.src = api.apiURL(`/view?${new URLSearchParams(image)}`);
    return element;
  });
  const delay = new Promise((resolve) => setTimeout(resolve, LAST_PREVIEW));
  const results = await Promise.allSettled([delay, ...loaded.map((element) => element.decode())]);
  if (results.some((result) => result.status === "rejected")) return; // an image is gone: keep the preview
  node.imgs = loaded;
  node.imageIndex = null;
  app.canvas?.setDirty(true, true);
}

/** Fills the fields again after the front end has recreated nodes, as when undoing or switching workflows. */
function restoreTexts(outputs) {
  for (const [locator, output] of Object.entries(outputs ?? {})) {
    const path = locator.split(":"); // "<subgraph id>:12" within a subgraph
    const graph = path.length > 1 ? rootGraph().subgraphs?.get(path[0]) : rootGraph();
    if (output?.text) setText(graph?.getNodeById(path.at(-1)), textOf(output));
  }
  textsOfWorkflow.get(openWorkflow())?.forEach((text, id) => setText(nodeByExecutionId(id), text));
}

app.registerExtension({
  name: "Janus.Text",

  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!TEXT_NODES.includes(nodeData.name)) return;
    const { onNodeCreated } = nodeType.prototype;
    nodeType.prototype.onNodeCreated = function (...rest) {
      onNodeCreated?.apply(this, rest);
      addField(this);
      const control = this.widgets.find((widget) => widget.name === "control_after_generate");
      if (control && GREEDY_NODES.includes(nodeData.name)) control.value = "fixed";
    };
  },

  loadedGraphNode(node) {
    if (!node.type?.startsWith("Janus")) return;
    for (const widget of node.widgets ?? []) {
      if (widget.type === "combo") widget.value = RENAMED[widget.value] ?? widget.value;
    }
  },

  afterConfigureGraph() {
    setTimeout(() => restoreTexts(app.nodeOutputs)); // by then the front end knows which workflow is open
  },

  onNodeOutputsUpdated(outputs) {
    restoreTexts(outputs);
  },

  setup() {
    const { queuePrompt } = api;
    api.queuePrompt = async function (...rest) {
      const origin = openWorkflow();
      const answer = await queuePrompt.apply(this, rest);
      if (origin && answer?.prompt_id) workflowOfPrompt.set(answer.prompt_id, origin);
      return answer;
    };
    api.addEventListener("execution_start", ({ detail }) => (runningPrompt = detail.prompt_id));
    // `executing` without a node ends every run, whatever the reason. Other end events do not: a blocked node
    // sends an error in the middle of a run.
    api.addEventListener("executing", ({ detail }) =>
      detail ? updateText(runningPrompt, detail, "") : workflowOfPrompt.delete(runningPrompt),
    );
    api.addEventListener("executed", ({ detail }) => onExecuted(detail));
    api.addEventListener("janus.text", ({ detail }) => {
      updateText(runningPrompt, detail.node, detail.text);
      const { element } = (isOpen(runningPrompt) && fieldOf(nodeByExecutionId(detail.node))) || {};
      if (element) element.scrollTop = element.scrollHeight;
    });
  },
});
