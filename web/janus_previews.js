// Shows the finished images of Janus nodes instead of their last preview.
//
// Front ends show a node's preview until it starts again, instead of its images; with Nodes 2.0 even twice. They drop
// the previews of a node when its progress says that it has started. So its start is reported again, for a few
// frames, and then its images once more.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { nodeByExecutionId } from "./janus_runs.js";

// Newer front ends read only the last progress of a frame, and none of a frame in which a run ends.
const FRAMES = 3;
const DROPPED = 600; // milliseconds within which the front end has dropped previews

const previewed = new Set(); // execution ids of nodes
let progress; // the last one that the server has reported
let change = null; // what to report instead, for now
let ours = false; // whether the event being handled comes from here
let turn = Promise.resolve(); // the end of the last `showFinished`

function say(type, detail) {
  ours = true;
  api.dispatchCustomEvent(type, detail);
  ours = false;
}

async function reportAs(alter) {
  change = (detail) => ({ ...detail, nodes: alter(detail.nodes) });
  for (let frame = 0; frame < FRAMES; frame++) {
    say("progress_state", change(progress));
    await new Promise(requestAnimationFrame);
  }
}

async function showFinished(detail) {
  const id = detail.node;
  const node = nodeByExecutionId(id);
  const state = { ...progress.nodes[id], state: "running" };
  await reportAs(({ [id]: _, ...others }) => others);
  await reportAs((nodes) => ({ ...nodes, [id]: state }));
  change = null;
  say("progress_state", progress);
  await new Promise((resolve) => setTimeout(resolve, DROPPED));
  const again = progress.prompt_id !== detail.prompt_id && progress.nodes[id]?.state === "running";
  if (again || nodeByExecutionId(id) !== node) return; // another workflow may be open by now
  say("executed", { ...detail, output: { ...detail.output, images: [...detail.output.images] } });
  app.canvas.setDirty(true, true);
}

app.registerExtension({
  name: "Janus.Previews",

  setup() {
    api.addEventListener("b_preview_with_metadata", ({ detail }) => previewed.add(detail.nodeId));
    api.addEventListener("progress_state", ({ detail }) => {
      if (ours) return;
      progress = detail;
      if (change) say("progress_state", change(detail));
    });
    api.addEventListener("executed", ({ detail }) => {
      if (ours || !previewed.delete(detail.node) || !detail.output?.images?.length) return;
      const isJanus = nodeByExecutionId(detail.node)?.type?.startsWith("Janus");
      if (isJanus && progress) turn = turn.then(() => showFinished(detail));
    });
  },
});
