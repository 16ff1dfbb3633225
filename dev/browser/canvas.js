// Helpers of the tests in the page: `window.janus`, added by canvas.py.

const frame = () => new Promise(requestAnimationFrame);
const { api } = window.comfyAPI.api;

// The page is quiet after so many frames in which nothing happens. With some front ends something always does.
const QUIET_FRAMES = 12;
const LONGEST_WAIT = 1500; // milliseconds, without requests
const LONGEST_REQUEST = 30_000; // milliseconds; a server on a busy machine takes long to answer
const LAYOUT_TIME = 5000; // milliseconds within which front ends have laid out their nodes

let changes = 0; // of elements, so far
new MutationObserver(() => changes++).observe(document, {
  ...{ subtree: true, childList: true, attributes: true, characterData: true },
});

let requests = 0; // to the server, not answered yet
const { fetch } = window;
window.fetch = async (...request) => {
  const own = new URL(request[0].url ?? request[0], location.href).origin === location.origin;
  requests += own;
  try {
    return await fetch(...request);
  } finally {
    requests -= own;
  }
};

// Whether a transition runs; indicators of loading run for ever.
const moves = () =>
  document.getAnimations().some(({ playState, effect }) => {
    return playState === "running" && effect?.getComputedTiming().iterations !== Infinity;
  });

const state = () => {
  const { scale, offset } = app.canvas.ds;
  return JSON.stringify([changes, scale, ...offset, app.graph._nodes.map(({ pos, size }) => [...pos, ...size])]);
};

const janus = {
  // Ends of runs, streamed texts and reported progress since `forget`.
  runs: [],
  texts: [],
  progress: new Set(), // ids of nodes that have reported a step

  forget() {
    janus.runs = [];
    janus.texts = [];
    janus.progress.clear();
  },

  // Waits until the front end has done all that followed from the last action.
  async quiet() {
    const start = performance.now();
    let answered = start; // when the last request had its answer, as far as is known
    for (let calm = 0, before = ""; calm < QUIET_FRAMES && performance.now() - answered < LONGEST_WAIT; ) {
      await frame();
      if (requests && performance.now() - start < LONGEST_REQUEST) answered = performance.now();
      const now = state();
      calm = now === before && !requests && !moves() ? calm + 1 : 0;
      before = now;
    }
  },

  async openTemplate(pack, name) {
    const answer = await fetch(api.apiURL(`/workflow_templates/${pack}/${encodeURIComponent(name)}.json`));
    await app.loadGraphData(await answer.json(), true, true, name, { openSource: "template" });
  },

  async closeOthers() {
    const { workflow } = app.extensionManager;
    for (const open of [...workflow.openWorkflows])
      if (open.path !== workflow.activeWorkflow.path) await workflow.closeWorkflow(open);
  },

  // Fits the graph into the part of the page without the front end's controls; returns its rectangle there.
  fit([width, height, left, top, right, bottom]) {
    const areas = app.graph._nodes.map((node) => [...node.getBounding()]);
    const x0 = Math.min(...areas.map((a) => a[0]));
    const y0 = Math.min(...areas.map((a) => a[1]));
    const x1 = Math.max(...areas.map((a) => a[0] + a[2]));
    const y1 = Math.max(...areas.map((a) => a[1] + a[3]));
    const scale = Math.min((width - left - right) / (x1 - x0), (height - top - bottom) / (y1 - y0), 1);
    const box = app.canvas.canvas.getBoundingClientRect();
    const view = app.canvas.ds;
    view.scale = scale;
    view.offset[0] = (left - box.x) / scale - x0;
    view.offset[1] = (top - box.y) / scale - y0;
    app.canvas.setDirty(true, true);
    return [left, top, left + (x1 - x0) * scale, top + (y1 - y0) * scale];
  },

  // Makes the front end record a change, as it does after a click.
  remember() {
    app.extensionManager.workflow.activeWorkflow.changeTracker.checkState();
  },

  centre(id, scale = 1) {
    app.canvas.ds.scale = scale;
    app.canvas.centerOnNode(app.graph.getNodeById(id));
    app.canvas.setDirty(true, true);
  },

  // Titles of nodes that overlap for seconds, in pairs.
  async clashes() {
    const start = performance.now();
    let found = janus.overlapping();
    while (found.length && performance.now() - start < LAYOUT_TIME) {
      await frame();
      found = janus.overlapping();
    }
    return found;
  },

  // Titles of overlapping nodes in pairs: measured as page elements if they are some, else on the canvas.
  overlapping() {
    const areas = app.graph._nodes.map((node) => {
      const element = document.querySelector(`[data-node-id="${node.id}"]`);
      if (!element) return [node, ...node.getBounding()];
      const box = element.getBoundingClientRect();
      return [node, box.x, box.y, box.width, box.height];
    });
    const meet = (a, b) =>
      a[1] < b[1] + b[3] && b[1] < a[1] + a[3] && a[2] < b[2] + b[4] && b[2] < a[2] + a[4];
    const others = (a, index) => areas.slice(index + 1).filter((b) => meet(a, b));
    return areas.flatMap((a, index) => others(a, index).map((b) => [a[0].title, b[0].title]));
  },

  // Titles of nodes whose text fields or notes hide some of their text. Each node is centred at full size first,
  // because nodes out of view have no element to measure.
  async clipped() {
    const found = [];
    for (const node of app.graph._nodes) {
      if (node.flags?.collapsed || !node.widgets?.some(({ element }) => element)) continue;
      janus.centre(node.id);
      let texts = [];
      for (let i = 0; i < 4 || (i < 60 && !texts.length); i++) {
        await frame();
        texts = janus.textElements(node).filter((element) => element.clientHeight);
      }
      if (texts.some((text) => text.scrollHeight > text.clientHeight + 4)) found.push(node.title);
    }
    return found;
  },

  // The elements that show the texts of a node: of the page if the node is drawn by Vue, else of its widgets.
  textElements(node) {
    const onPage = document.querySelector(`[data-node-id="${node.id}"]`);
    if (onPage) return [...onPage.querySelectorAll("textarea:not(.widget-markdown textarea), .comfy-markdown-content")];
    const elements = node.widgets.map(({ element }) => element).filter(Boolean);
    return elements.map((element) => (element.matches(".comfy-markdown") ? element.querySelector(".tiptap") : element));
  },

  widget: (id, name) => app.graph.getNodeById(id).widgets.find((widget) => widget.name === name),

  setWidget(id, name, value) {
    const widget = janus.widget(id, name);
    widget.value = value;
    widget.callback?.(value);
  },

  // Texts of the badges above a node in the classic rendering. A badge is an object, or a function that returns one.
  badges: (id) => app.graph.getNodeById(id).badges.map((badge) => (badge instanceof LGraphBadge ? badge : badge()).text),

  // Whether a node shows images of its output only, and this many. Nodes drawn by Vue may show one of several.
  shows(id, count) {
    const onPage = document.querySelector(`[data-node-id="${id}"]`);
    const images = [...(onPage ? onPage.querySelectorAll("img") : (app.graph.getNodeById(id).imgs ?? []))];
    const finished = images.every((image) => image.src.includes("/view?") && image.naturalWidth);
    const enough = onPage ? images.length > 0 : images.length === count;
    return finished && enough && app.nodeOutputs[id]?.images?.length === count;
  },

  // Drops a file, given in base 64, onto the canvas.
  drop(name, data) {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name, { type: "image/png" }));
    const at = { bubbles: true, cancelable: true, clientX: 400, clientY: 120, dataTransfer };
    app.canvas.canvas.dispatchEvent(new DragEvent("dragover", at));
    app.canvas.canvas.dispatchEvent(new DragEvent("drop", at));
  },
};

for (const end of ["execution_success", "execution_error", "execution_interrupted"])
  api.addEventListener(end, () => janus.runs.push(end));
api.addEventListener("janus.text", ({ detail }) => janus.texts.push(detail.text));
api.addEventListener("progress", ({ detail }) => detail.value > 0 && janus.progress.add(String(detail.node)));
// It covers the canvas, but is not part of it.
const style = document.createElement("style");
style.textContent = "[class*='minimap'] { visibility: hidden !important }";
document.head.append(style);
window.janus = janus;
