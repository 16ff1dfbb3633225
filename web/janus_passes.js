// Says above a node that draws how many tokens it has drawn so far, and in how many passes of the model: these are
// fewer where tokens are drawn ahead. Nodes 2.0 keep the badges that a node was created with, and do not show it.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { nodeByExecutionId, openWorkflow, workflowOf } from "./janus_runs.js";

const WORDS = {
  en: (tokens, passes) => `${tokens} tokens, ${passes} passes`,
  zh: (tokens, passes) => `${tokens} 个 token，${passes} 次运行`,
};

let shown; // the node that draws now, and its badge
let ended = 0; // how many nodes have ended

function remove() {
  if (!shown) return;
  shown.node.badges = shown.node.badges.filter((badge) => badge !== shown.badge);
  shown = undefined;
  app.canvas.setDirty(true, true);
}

function clear() {
  ended += 1;
  remove();
}

async function show({ node: id, prompt_id, tokens, passes }) {
  const before = ended;
  const workflow = await workflowOf(prompt_id);
  if (workflow !== openWorkflow() || before !== ended) return;
  const node = nodeByExecutionId(id);
  remove();
  if (!node?.badges || !window.LGraphBadge) return;
  const words = WORDS[app.extensionManager?.setting?.get("Comfy.Locale")] ?? WORDS.en;
  const badge = new window.LGraphBadge({ text: words(tokens, passes) });
  node.badges = [...node.badges, badge];
  shown = { node, badge };
  app.canvas.setDirty(true, true);
}

app.registerExtension({
  name: "Janus.Passes",

  setup() {
    api.addEventListener("janus.passes", ({ detail }) => show(detail));
    api.addEventListener("executing", clear);
    for (const end of ["executed", "execution_success", "execution_error", "execution_interrupted"])
      api.addEventListener(end, clear);
  },
});
